"""What lies beside the data of a download is no data, does no harm, and is told; and a picture's frame number is the camera's, not a
copy's."""

import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from lookalikes import drawing, encoded, micro, stills
from lookalikes.drawing import face, save
from PIL import Image

from loupe.data.importing import import_set
from loupe.data.sources.pictures import check_root, left_over, load_picture, numbered_pictures, picture_names, strays
from loupe.data.sources.registry import SOURCES
from loupe.errors import LoupeError

APPLE_DOUBLE = bytes.fromhex("00051607000200004d6163204f532058") + bytes(66)
NOT_UTF8 = os.fsdecode(b"M\xfcller_1.jpg")
TOLD = ["1.jpg", "gone.jpg", "loop", "Thumbs.db", ascii(NOT_UTF8)[1:-1]]


def two_films(root):
    for name in ("a.mp4", "ann/b.mp4"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        drawing.film(root / name, 3)


DOWNLOADS = {  # set: writer of a look-alike, and whether the reader lists folders, so that it can tell what else lies there
    "smic-nir": (lambda root: micro.smic(root, "NIR"), True),
    "casme3c": (micro.casme3_c, True),
    "affwild2": (stills.affwild2, True),
    "casia-webface": (stills.casia_folders, True),
    "folder": (drawing.class_folders, True),
    "video": (two_films, True),
    "rafdb": (stills.rafdb, False),
    "affectnet": (stills.affectnet_new, False),
    "celeba": (stills.celeba, False),
    "imdb-wiki": (stills.imdb_wiki, False),
    "fer2013": (stills.fer2013, False),
    "csv": (drawing.own_clips, False),
}


def litter(root):
    """What a Mac, Windows, an old archive and a careless hand leave beside the files of each folder."""
    for folder in [root, *(path for path in root.rglob("*") if path.is_dir())]:
        for file in [path for path in folder.iterdir() if path.is_file()][:2]:
            (folder / f"._{file.name}").write_bytes(APPLE_DOUBLE)
            (folder / NOT_UTF8).write_bytes(b"?")
            (folder / "Thumbs.db").write_bytes(b"?")
            (folder / "deeper").mkdir(exist_ok=True)
            face(1).save(folder / "deeper" / "1.jpg")
            for link, target in (("gone.jpg", "nowhere"), ("loop", "."), ("loop.jpg", "loop.jpg")):
                if not os.path.lexists(folder / link):
                    (folder / link).symlink_to(target)
    for folder in [path for path in root.iterdir() if path.is_dir() and not path.is_symlink()]:
        (root / "__MACOSX" / folder.name).mkdir(parents=True)
        (root / "__MACOSX" / folder.name / "._1.jpg").write_bytes(APPLE_DOUBLE)


@pytest.mark.parametrize("name", DOWNLOADS)
def test_litter_beside_the_files_changes_no_row_of_any_set_and_is_told(name, tmp_path):
    make, tells = DOWNLOADS[name]
    make(tmp_path / "raw")
    clean = SOURCES[name].read(tmp_path / "raw")
    litter(tmp_path / "raw")
    found = SOURCES[name].read(tmp_path / "raw")
    pd.testing.assert_frame_equal(found.table, clean.table)
    assert found.used == clean.used
    if tells:
        items = set(found.dropped["item"]) - set(clean.dropped["item"])
        assert all(any(item.strip("'").endswith(told) for item in items) for told in TOLD)
        assert not any("/._" in item or "__MACOSX" in item for item in items)
    report = import_set(name, tmp_path / "raw", tmp_path / "out", workers=1, partial=True)
    assert report.rows == len(clean.table) and len(pd.read_csv(tmp_path / "out" / "dropped.csv")) == len(found.dropped)


@pytest.mark.parametrize(
    "names, numbers",
    [
        (["image140.bmp", "image141.bmp", "image141 (1).bmp"], {140: "image140.bmp", 141: "image141.bmp"}),
        (["image140(2).bmp", "image140.bmp"], {140: "image140.bmp"}),
        (["image140.bmp", "image140 2.bmp", "image140 copy 3.bmp"], {140: "image140.bmp"}),  # as macOS and iCloud name them
        (["image140.bmp", "image140 - Copy (2).bmp", "image140 - Kopie.bmp", "Copy of image140.bmp"], {140: "image140.bmp"}),
        (["image140.bmp", "image140-1.bmp", "image140_2.bmp"], {140: "image140.bmp"}),  # as browsers and 7-Zip do
        (["image (1).bmp", "image (2).bmp"], {}),  # renamed by Windows: the camera's numbers are gone
        (["006_05562.jpg", "006_05563.jpg"], {5562: "006_05562.jpg", 5563: "006_05563.jpg"}),
        (["reg_img9.jpg", "reg_img10.jpg"], {9: "reg_img9.jpg", 10: "reg_img10.jpg"}),
        (["._image140.bmp", "image140.bmp", ".image139.bmp"], {140: "image140.bmp"}),
        (["img7.jpg", "img07.jpg", "cover.jpg"], {7: "img07.jpg"}),
        (["a140.bmp", "image140.bmp", "image141.bmp"], {140: "image140.bmp", 141: "image141.bmp"}),
        (["175.jpg", "175.png", "176.png"], {175: "175.png", 176: "176.png"}),
    ],
)
def test_frame_numbers_are_the_cameras(names, numbers, tmp_path):
    for name in names:
        face(1).save(tmp_path / name, "BMP")
    frames = numbered_pictures(tmp_path)
    assert {number: path.name for number, path in frames.items()} == numbers
    others = {name for name in names if not name.startswith(".")} - set(numbers.values())
    assert dict(strays(tmp_path, frames)) == dict.fromkeys(others, "beside the data: copy, or no frame number of its own")


def test_a_copy_is_not_the_onset_frame(tmp_path):
    micro.smic(tmp_path / "raw", "NIR")
    folder = tmp_path / "raw/NIR/s1/micro/negative/s1_ne_01"
    shutil.copy(folder / "image142.bmp", folder / "image142 (1).bmp")
    report = import_set("smic-nir", tmp_path / "raw", tmp_path / "out", workers=1)
    table = pd.read_parquet(tmp_path / "out" / "manifest.parquet")
    clip = table[table["clip"] == "smic-nir-s01_ne_01"]
    assert clip["frame"].tolist() == [140, 141, 142] and (clip["onset"] == 140).all() and report.ok
    assert pd.read_csv(tmp_path / "out" / "dropped.csv")["item"].tolist() == ["NIR/s1/micro/negative/s1_ne_01/image142 (1).bmp"]


def test_every_picture_of_a_folder_is_used_or_listed_with_its_reason(tmp_path):
    raw = tmp_path / "raw"
    drawing.class_folders(raw)
    picture = face(4, 24)
    for name in ("ann_1.gif", "ann_2.jfif", "ann_3.pgm"):
        picture.save(raw / "happy" / name, {"gif": "GIF", "jfif": "JPEG", "pgm": "PPM"}[name.split(".")[1]])
    (raw / "happy" / "ann_4.HEIC").write_bytes(b"\0\0\0\x18ftypheic" + bytes(64))
    save(raw / "happy" / "more" / "ann_5.jpg", 5)
    save(raw / "ann_6.jpg", 6)
    (raw / "happy" / "ann_7.jpg").symlink_to("/nowhere/ann_7.jpg")
    report = import_set("folder", raw, tmp_path / "out", size=8, workers=1)
    assert (report.found, report.used) == (13, 9)
    dropped = pd.read_csv(tmp_path / "out" / "dropped.csv").set_index("item")["reason"].to_dict()
    assert dropped == {
        "happy/ann_4.HEIC": "ending that is not read",
        "happy/more/ann_5.jpg": "not in <class>/<picture>",
        "ann_6.jpg": "not in <class>/<picture>",
        "happy/ann_7.jpg": "no file: a link to nowhere or in a circle",
    }


def test_damaged_pictures_that_are_skipped_are_listed_with_what_is_wrong(tmp_path):
    drawing.class_folders(tmp_path / "raw")
    encoded.write(tmp_path / "raw/happy/bob_1.png", encoded.png(np.full((9, 9), 300, np.uint16)))
    Image.new("L", (9, 9)).save(tmp_path / "raw/happy/eve_1.png")
    encoded.write(tmp_path / "raw/happy/eve_1.png", (tmp_path / "raw/happy/eve_1.png").read_bytes()[:40])
    report = import_set("folder", tmp_path / "raw", tmp_path / "out", size=8, workers=1, skip_damaged=True)
    dropped = pd.read_csv(tmp_path / "out" / "dropped.csv").set_index("item")
    assert (report.found, report.used) == (8, 6) and (dropped["reason"] == "picture is missing or damaged").all()
    assert "nothing says which value is white" in dropped["detail"]["happy/bob_1.png"]
    assert "eve_1.png cannot be read as a picture" in dropped["detail"]["happy/eve_1.png"]


def test_links_to_folders_are_followed_but_not_in_a_circle(tmp_path):
    drawing.class_folders(tmp_path / "disk")
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / "happy").symlink_to(tmp_path / "disk" / "happy")  # on a larger disk
    (raw / "all").symlink_to(tmp_path)
    (tmp_path / "disk" / "happy" / "back").symlink_to(raw)
    assert picture_names(raw / "happy") == ["ann0_1.jpg", "ann1_1.jpg", "ann2_1.jpg"]
    used = {f"happy/ann{n}_1.jpg" for n in range(3)}
    circle = "no file: a link to nowhere or in a circle"
    assert left_over(raw, used, (".jpg",), "?") == [("all", circle), ("happy/back", circle)]


def test_a_root_that_is_no_text_is_refused(tmp_path):
    root = Path(os.fsdecode(os.fsencode(tmp_path) + b"/M\xfcller"))
    save(root / "a" / "1.jpg", 1)
    with pytest.raises(LoupeError, match=r"M.udcfcller' is not UTF-8: rename the folder"):
        check_root(root, "folder")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read_is_not_called_damaged(tmp_path):
    save(tmp_path / "closed" / "1.png", 1)
    (tmp_path / "closed" / "1.png").chmod(0)
    with pytest.raises(LoupeError, match=r"cannot be read \(Permission denied\)"):
        load_picture(tmp_path, "closed/1.png")
    (tmp_path / "closed").chmod(0)
    with pytest.raises(LoupeError, match=r"cannot be opened \(Permission denied\)"):
        picture_names(tmp_path / "closed")
    (tmp_path / "closed").chmod(0o700)


@pytest.mark.parametrize("path", ["x" * 300 + ".jpg", "a\0.jpg", "loop.jpg", "folder.jpg", "gone.jpg#3"])
def test_paths_that_lead_to_no_file_are_missing(path, tmp_path):
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    (tmp_path / "folder.jpg").mkdir()
    with pytest.raises(LoupeError, match="is missing"):
        load_picture(tmp_path, path)
