"""Your own faces: faces.csv, a folder of classes, a folder of videos."""

import numpy as np
import pandas as pd
import pytest
from lookalikes.drawing import save

from loupe.data.checking import check_set
from loupe.data.importing import import_set
from loupe.data.manifest import STILL_CLASSES, read_manifest
from loupe.data.sources.listing import Dropped
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
