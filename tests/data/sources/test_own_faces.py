"""Your own faces: faces.csv, a folder of classes, a folder of videos."""

import unicodedata

import numpy as np
import pandas as pd
import pytest
from lookalikes.drawing import doubled, face, save

from loupe.data.checking import check_set
from loupe.data.importing import import_set
from loupe.data.manifest import STILL_CLASSES, read_manifest
from loupe.data.sources.listing import Dropped
from loupe.data.sources.paths import member, unpacked
from loupe.data.sources.pictures import load_picture
from loupe.data.sources.registry import source
from loupe.data.sources.sheets import csv_table
from loupe.data.sources.table import parse
from loupe.errors import LoupeError


def cells(header, *rows):
    return pd.DataFrame([row.split(",") for row in rows], columns=header.split(","))


def test_csv_import_and_check(tmp_path):
    for number in range(6):
        save(tmp_path / "raw" / f"p{number}.jpg", number)
    labels = ["happiness", "Anger", ""]
    rows = [f"p{n}.jpg,{labels[n % 3]},s{n // 3},{'train' if n < 3 else 'test'}" for n in range(6)]
    (tmp_path / "raw" / "faces.csv").write_text(
        "Path,label,subject,split\n" + "\n".join([*rows, ",Anger,s9,train", "p1.jpg,Anger,s0,train"]) + "\n"
    )
    report = import_set("csv", tmp_path / "raw", tmp_path / "out", size=16, workers=1)
    assert (report.found, report.used, report.ok) == (8, 6, True)
    assert report.reasons == {"no path or subject": 1, "picture listed twice": 1}
    table = read_manifest(tmp_path / "out" / "manifest.parquet")
    assert table["label"].tolist() == [4, 1, -1] * 2 and table["label_name"].tolist() == ["Happiness", "Anger", ""] * 2
    assert STILL_CLASSES[4] == "Happiness"
    assert check_set(tmp_path / "out", workers=1) == report


@pytest.mark.parametrize(
    "table, message",
    [
        (cells("path,label", "a.jpg,x"), "lacks the column subject"),
        (cells("path,subject", "../a.jpg,x"), "line 2: ../a.jpg leads out of the folder"),
        (cells("path,subject", "/etc/a.jpg,x"), "leads out of the folder"),
        (cells("path,subject,split", "a.jpg,x,dev"), "line 2: split is 'dev'"),
        (cells("path,subject,label", "a.jpg,x,0", "b.jpg,x,2"), "labels 0, 2 must count from 0"),
        (cells("path,subject,frame", "a.jpg,x,first"), "line 2: frame is 'first'"),
        (cells("path,subject,fps", "a.jpg,x,-5"), "line 2: fps is '-5'"),
        (cells("path,subject,onset", "a.jpg,x,3"), "needs the column clip"),
        (cells("path,subject,label,clip,frame,onset,offset", "a.jpg,x,none,c,1,1,2", "b.jpg,y,none,c,2,1,2"), "clip c disagree"),
    ],
)
def test_senseless_tables_are_one_sentence(table, message):
    with pytest.raises(LoupeError, match=message) as caught:
        parse(table, "faces.csv", Dropped())
    assert "\n" not in str(caught.value)


def test_whole_numbers_and_other_names_are_classes_too():
    table = parse(cells("path,subject,label", "a.jpg,x,1", "b.jpg,x,0", "c.jpg,x,-1"), "faces.csv", Dropped())
    assert table["label"].tolist() == [1, 0, -1] and (table["split"] == "train").all()
    table = parse(cells("path,subject,label", "a.jpg,x,wink", "b.jpg,x,blink"), "faces.csv", Dropped())
    assert table["label"].tolist() == [1, 0] and table["label_name"].tolist() == ["wink", "blink"]
    assert parse(cells("path,subject", "a.jpg,x"), "faces.csv", Dropped())["split"].tolist() == ["pretrain"]


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ("angry disgust fear happy neutral sad surprise", "Anger 1 Disgust 2 Fear 3 Happiness 4 Neutral 0 Sadness 5 Surprise 6"),  # FER2013
        (
            "anger contempt disgust fear happy sadness surprise",
            "Anger 1 Contempt 8 Disgust 2 Fear 3 Happiness 4 Sadness 5 Surprise 6",
        ),  # CK+
        ("happy wink Sad", "happy 1 wink 2 Sad 0"),  # not all are known: each stays as it is
        ("0.0 1,0 -1.0 2 NaN None 10", None),  # 3..9 are missing
        ("0.0 1,0 -1.0 2 NaN None", "0 0 1 1 - -1 2 2 - -1 - -1"),
        ("wink -1.0 blink nan", "wink 1 - -1 blink 0 - -1"),
    ],
)
def test_names_of_classes_stay_or_are_mapped_by_name_and_no_class_is_none(labels, expected):
    table = cells("path\tsubject\tlabel".replace("\t", ","), *(f"{n}.jpg,s{n}," for n in range(len(labels.split()))))
    table["label"] = labels.split()
    if expected is None:
        with pytest.raises(LoupeError, match="labels 0, 1, 2, 10 must count from 0"):
            parse(table, "faces.csv", Dropped())
        return
    table = parse(table, "faces.csv", Dropped())
    names, numbers = expected.split()[::2], expected.split()[1::2]
    assert table["label_name"].tolist() == [name.strip("-") for name in names] and table["label"].tolist() == [int(n) for n in numbers]


def test_chosen_classes_override_and_the_report_says_how(tmp_path):
    for number, name in enumerate(["happy", "sad", "happy", "7"]):
        save(tmp_path / "raw" / name / f"s{number}_a.jpg", number)
    report = import_set("folder", tmp_path / "raw", tmp_path / "out", classes="7=Grin,happy")
    table = read_manifest(tmp_path / "out" / "manifest.parquet").set_index("path")
    assert table.loc["happy/s0_a.jpg", ["label", "label_name"]].tolist() == [1, "happy"]
    assert table.loc["7/s3_a.jpg", ["label", "label_name"]].tolist() == [0, "Grin"] and table.loc["sad/s1_a.jpg", "label"] == -1
    assert report.mended == ["classes by name: sad = no class, 7 = 0 Grin, happy = 1 happy"] and report.unlabelled == {"sad": 1}
    with pytest.raises(LoupeError, match="no class 'grin' to choose: it has 7, happy, sad"):
        import_set("folder", tmp_path / "raw", tmp_path / "out", classes="grin")
    with pytest.raises(LoupeError, match="those of rafdb are known"):
        import_set("rafdb", tmp_path / "raw", tmp_path / "out", classes="grin")


def test_one_person_one_class_and_one_picture_in_two_spellings(tmp_path):
    both = [unicodedata.normalize(form, "Zoë") for form in ("NFC", "NFD")]
    for number, name in enumerate(both):
        save(tmp_path / "folder" / f"wink {name}" / f"{name}_{number}.jpg", number)
    table = source("folder").read(tmp_path / "folder").table
    assert set(table["subject"]) == {"Zoë"} and set(table["label_name"]) == {"wink Zoë"}
    save(tmp_path / "csv" / both[1] / f"{both[0]}.jpg", 1)
    save(tmp_path / "csv" / "b.jpg", 2)
    rows = [f"{both[0]}/{both[1]}.jpg, {both[0]} ,x ", f"{both[1]}/{both[0]}.jpg,{both[1]},x", f"b.jpg,\xa0{both[1]} ,y", "./b.jpg,7.0,y"]
    (tmp_path / "csv" / "faces.csv").write_text("\n".join(["path,subject,label", *rows]), encoding="utf-8")
    listing = source("csv").read(tmp_path / "csv")
    assert listing.table["path"].tolist() == [f"{both[1]}/{both[0]}.jpg", "b.jpg"] and set(listing.table["subject"]) == {"Zoë"}
    assert listing.table["label_name"].tolist() == ["x", "y"] and listing.dropped["reason"].tolist() == ["picture listed twice"] * 2
    assert parse(cells("path,subject", "a.jpg,7.0", "b.jpg,7"), "t", Dropped())["subject"].tolist() == ["7", "7"]


@pytest.mark.parametrize("mark", [",", ";", "\t", "|"])
@pytest.mark.parametrize(
    ("first", "coding"), [("", "utf-8"), ("", "utf-16"), ("\n", "utf-8-sig"), ("sep={}\r\n", "utf-8-sig"), ("sep={}\r", "utf-16")]
)
def test_tables_as_spreadsheets_save_them(mark, first, coding, tmp_path):
    rows = ["path,subject,label", 'a.jpg,"Müller, A",wink', "b.jpg,s2,blink", ",,", "c.jpg,,wink"]
    text = "\n".join(rows).replace('"Müller, A"', "Müller" if mark == "," else "Müller~ A").replace(",", mark).replace("~", ",")
    path = tmp_path / "faces.csv"
    path.write_bytes((first.format(mark) + text).encode(coding))
    dropped = Dropped()
    table = parse(csv_table(path, ()), "faces.csv", dropped)
    assert table[["path", "subject", "label"]].values.tolist() == [
        ["a.jpg", "Müller" if mark == "," else "Müller, A", 1],
        ["b.jpg", "s2", 0],
    ]
    assert dropped.rows[0][:2] == (f"faces.csv line {6 if first else 5}", "no path or subject")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("path,subject\na.jpg,Müller\n".encode("cp1252"), "is not UTF-8"),
        ("path,subject\na.jpg,b\n".encode("utf-16-le"), "is not UTF-8"),
        (b"path,subject\na.jpg,b,c\nd.jpg,e\n", "line 2 has more cells than the header"),  # pandas would shift every column
        (b"path:subject\na.jpg:b\n", "lacks the column path.*has path:subject"),
        (b"\n\n", "it is empty"),
    ],
)
def test_tables_that_cannot_be_read_are_one_sentence(data, message, tmp_path):
    (tmp_path / "faces.csv").write_bytes(data)
    with pytest.raises(LoupeError, match=message) as caught:
        source("csv").read(tmp_path)
    assert "faces.csv" in str(caught.value) and "\n" not in str(caught.value)


def test_a_number_sign_is_part_of_a_name_unless_a_file_holds_many(tmp_path):
    for number, name in enumerate(["take #2.jpg", "b#3", "c.rec#7", "d.jpg"]):
        face(number).save(tmp_path / name, "PNG")
        np.testing.assert_array_equal(load_picture(tmp_path, name)[1], np.asarray(face(number)))
    assert member(tmp_path, "a #1.mp4#12") == ("a #1.mp4", "12") and member(tmp_path, "c.rec#7") == ("c.rec#7", "")
    with pytest.raises(LoupeError, match=r"d.jpg#4 is missing"):
        load_picture(tmp_path, "d.jpg#4")


def test_own_faces_unpacked_into_a_folder_of_its_own_name(tmp_path):
    save(tmp_path / "fer" / "wink" / "a_1.jpg", 1)
    save(tmp_path / "fer" / "blink" / "b_1.jpg", 2)
    (tmp_path / "fer" / "faces.csv").write_text("path,subject\nwink/a_1.jpg,a\n")
    doubled(tmp_path / "fer" / "wink")
    doubled(tmp_path / "fer")
    assert source("csv").read(tmp_path / "fer").table["path"].tolist() == ["fer/wink/a_1.jpg"]
    table = source("folder").read(tmp_path / "fer").table
    assert table[["path", "label_name"]].values.tolist() == [["fer/blink/b_1.jpg", "blink"], ["fer/wink/wink/a_1.jpg", "wink"]]
    (tmp_path / "fer" / "extra").mkdir()  # something else lies beside: nothing is guessed
    assert unpacked(tmp_path / "fer") == tmp_path / "fer"


def test_micro_expression_clips_come_whole_with_role_and_class():
    rows = [f"{clip}{frame}.jpg,{who},{label},{clip},{frame},4,{apex},7" for clip, who, label, apex in
            [("a", "x", "positive", 5), ("b", "y", "others", ""), ("c", "y", "none", ""), ("d", "z", "surprise", 6)]
            for frame in range(3, 9) if (clip, frame) != ("d", 4)]  # fmt: skip
    rows += ["twice.jpg,z,surprise,d,5,4,6,7", "again.jpg,x,positive,a,5,4,5,7"]  # doubled frames are listed, in dropped clips too
    dropped = Dropped()
    table = parse(cells("path,subject,label,clip,frame,onset,apex,offset", *rows), "faces.csv", dropped)
    assert len(table) == 3 * 4 and len(table) + len(dropped.rows) == len(rows)
    first = table[table["clip"] == "a"]
    assert first["role"].tolist() == ["onset", "apex", "fall", "offset"] and (first["apex_from"] == "annotated").all()
    assert table.drop_duplicates("clip")[["label", "label_name"]].values.tolist() == [[1, "positive"], [-1, "others"], [-1, "none"]]
    assert table[table["clip"] == "b"]["role"].tolist() == ["onset", "apex", "fall", "offset"] and (table["split"] == "loso").all()


def test_class_folders(tmp_path):
    for number in range(6):
        save(tmp_path / "raw" / f"class{number % 2}" / f"s{number}_a.jpg", number)
    report = import_set("folder", tmp_path / "raw", tmp_path / "out", workers=1)
    table = read_manifest(tmp_path / "out" / "manifest.parquet")
    assert report.rows == 6 and table["subject"].tolist() == ["s0", "s2", "s4", "s1", "s3", "s5"]
    assert table["label"].tolist() == [0, 0, 0, 1, 1, 1]


def test_videos_become_rows_with_times_and_are_checked_by_their_file(tmp_path):
    av = pytest.importorskip("av", reason="PyAV is part of the extra `align`")
    for name in ("one.mp4", "ann/two.mp4"):
        (tmp_path / "raw" / name).parent.mkdir(parents=True, exist_ok=True)
        with av.open(str(tmp_path / "raw" / name), "w") as container:
            stream = container.add_stream("mpeg4", rate=25)
            stream.width = stream.height = 32
            for number in range(12):
                pixels = np.full((32, 32, 3), 20 * number, dtype=np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
            container.mux(stream.encode())
    report = import_set("video", tmp_path / "raw", tmp_path / "out", size=16, workers=2)
    table = read_manifest(tmp_path / "out" / "manifest.parquet")
    assert report.rows == 24 and table["subject"].unique().tolist() == ["video-ann", "video-one"]
    np.testing.assert_allclose(table["time"][:12], np.arange(12) / 25, atol=1e-3)
    assert table["fps"].iloc[0] == pytest.approx(25) and set(table["split"]) == {"unlabelled"}
    means = np.load(tmp_path / "out" / "images.npy").mean((1, 2, 3))
    np.testing.assert_allclose(means, np.tile(20.0 * np.arange(12), 2), atol=6)
    check_set(tmp_path / "out", workers=2)
    film = tmp_path / "raw" / "one.mp4"
    film.write_bytes(film.read_bytes() + b"\0")
    with pytest.raises(LoupeError, match="not the picture that was imported"):
        check_set(tmp_path / "out", workers=1)
    film.write_bytes(film.read_bytes()[:300])
    with pytest.raises(LoupeError, match="one.mp4"):
        import_set("video", tmp_path / "raw", tmp_path / "out2")


def test_a_damaged_cell_of_thousands_of_characters_is_told_in_one_short_sentence():
    cells = pd.DataFrame({"path": ["a.jpg"], "subject": ["s"], "label": ["0"], "fps": ["\0" * 5000], "frame": ["1"]})
    with pytest.raises(LoupeError, match=r"fps is '.*\.\.\..*', but must be a number") as told:
        parse(cells, "faces.csv", Dropped())
    assert len(str(told.value)) < 150
