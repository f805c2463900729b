"""The folder source reads what it says it reads and refuses everything else with one sentence that names the file."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from loupe.data.sources.folder import FolderSource, read_folder
from loupe.data.sources.listing import Dropped
from loupe.errors import LoupeError


def source(root, **changes):
    settings = dict(root=root, csv=None, subject_pattern=r"([^_.]+)", crop=(0, 0, 1, 1), val_share=0.2, test_share=0.4, seed=0)
    return FolderSource(**{**settings, **changes})


@pytest.fixture
def faces(tmp_path):
    for name, value in (("calm", 60), ("glad", 190)):
        (tmp_path / name).mkdir()
        for person in range(5):
            Image.new("RGB", (20, 20), (value, person * 40, 0)).save(tmp_path / name / f"p{person}_1.png")
    return tmp_path


def test_class_folders_give_labels_subjects_and_disjoint_splits(faces):
    images, table = read_folder(source(faces), size=8)
    assert images.shape == (10, 8, 8, 3)
    assert list(table["label_name"].unique()) == ["calm", "glad"]
    np.testing.assert_array_equal(images[:, 0, 0, 0], np.where(table["label"] == 0, 60, 190))
    assert table.groupby("subject")["split"].nunique().max() == 1
    assert table.groupby("split")["subject"].nunique().to_dict() == {"train": 2, "val": 1, "test": 2}


def test_csv_splits_are_kept_and_crop_is_applied(faces):
    half = np.zeros((10, 20, 3), np.uint8)
    half[:, 10:] = 255
    Image.fromarray(half).save(faces / "half.png")
    rows = [("half.png", "glad", "z", "test"), ("calm/p0_1.png", "calm", "p0", "train"), ("calm/p1_1.png", "calm", "p1", "val")]
    pd.DataFrame(rows, columns=["path", "label", "subject", "split"]).to_csv(faces / "list.csv", index=False)
    images, table = read_folder(source(faces, csv="list.csv", crop=(0.5, 0, 1, 1)), size=4)
    assert list(table["split"]) == ["test", "train", "val"]
    assert images[0].min() > 200  # uncropped, the dark half would show


def test_rows_without_a_class_are_left_out_by_name_and_classes_count_from_0(faces):
    rows = [(f"calm/p{n}_1.png", label, f" p{n}") for n, label in enumerate(["sad ", "happy", " sad", "-1.0", "NaN"])]
    pd.DataFrame(rows, columns=["path", "label", "subject"]).to_csv(faces / "list.csv", index=False, sep=";")
    dropped = Dropped()
    images, table = read_folder(source(faces, csv="list.csv"), 4, dropped)
    assert table[["source", "label", "label_name", "subject"]].values.tolist() == [
        ["calm/p0_1.png", 1, "Sadness", "p0"],
        ["calm/p1_1.png", 0, "Happiness", "p1"],
        ["calm/p2_1.png", 1, "Sadness", "p2"],
    ]
    assert len(images) == 3 and sorted(table["split"]) == ["test", "train", "val"]
    assert dropped.rows == [("list.csv line 6", "no class", "calm/p4_1.png p4"), ("calm/p3_1.png", "no class", "")]
    _, table = read_folder(source(faces, classes="glad,calm=quiet"), 4)
    assert table.groupby("label")["label_name"].first().tolist() == ["glad", "quiet"]


def test_a_person_with_a_space_behind_the_name_is_not_in_two_splits(faces):
    rows = [("calm/p0_1.png", "a", "p0", "train"), ("calm/p1_1.png", "b ", "p0 ", "test")]
    pd.DataFrame(rows, columns=["path", "label", "subject", "split"]).to_csv(faces / "list.csv", index=False)
    with pytest.raises(LoupeError, match="subject p0 stands in the splits test and train"):
        read_folder(source(faces, csv="list.csv"), size=4)


def test_a_picture_that_is_no_square_is_cut_not_squeezed(faces):
    wide = np.zeros((10, 30, 3), np.uint8)
    wide[:, 10:20] = 255
    Image.fromarray(wide).save(faces / "calm" / "p0_1.png")
    images, table = read_folder(source(faces), size=10)
    assert images[list(table["source"]).index("calm/p0_1.png")].min() == 255


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("calm/p0_1.png", "a", "p0", "train"), ("calm/p1_1.png", "b", "p0", "test")], "p0"),
        ([("calm/p0_1.png", "0", "p0", "train"), ("calm/p1_1.png", "9", "p1", "test")], "label 9 is outside the class list"),
        ([("calm/p0_1.png", "a", "p0", "training"), ("calm/p1_1.png", "b", "p1", "test")], "line 2"),
        ([("calm/p0_1.png", "a", "p0", "train"), ("calm/p1_1.png", "", "p1", "test")], "line 3"),
        ([("gone.png", "a", "p0", "train"), ("calm/p1_1.png", "b", "p1", "test")], "gone.png"),
    ],
)
def test_bad_csv_is_refused(faces, rows, message):
    pd.DataFrame(rows, columns=["path", "label", "subject", "split"]).to_csv(faces / "list.csv", index=False)
    with pytest.raises(LoupeError, match=message):
        read_folder(source(faces, csv="list.csv"), size=4)


@pytest.mark.parametrize(("content", "message"), [(b"", "0 bytes"), (b"\xff\xd8\xff not a picture", "p0_1.png cannot be read")])
def test_damaged_picture_is_refused_by_name(faces, content, message):
    (faces / "calm" / "p0_1.png").write_bytes(content)
    with pytest.raises(LoupeError, match=message):
        read_folder(source(faces), size=4)


def test_missing_root_missing_column_and_missing_csv(faces):
    with pytest.raises(LoupeError, match="is not a folder"):
        read_folder(source(faces / "nowhere"), size=4)
    with pytest.raises(LoupeError, match="missing"):
        read_folder(source(faces, csv="none.csv"), size=4)
    (faces / "list.csv").write_text("path,label\ncalm/p0_1.png,calm\n")
    with pytest.raises(LoupeError, match="lacks the column subject"):
        read_folder(source(faces, csv="list.csv"), size=4)
