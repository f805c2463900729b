"""Micro-expression sets: import and check of look-alikes with the official counts, and every known trap of their annotations."""

import os
import shutil

import numpy as np
import pandas as pd
import pytest
from lookalikes import micro
from lookalikes.drawing import doubled, workbook

from loupe.data.checking import check_set
from loupe.data.clips import onset_and_apex
from loupe.data.importing import import_set
from loupe.data.manifest import read_manifest
from loupe.data.sources import casme2, casme3, megc2019, samm, smic
from loupe.data.sources.listing import Dropped
from loupe.data.sources.micro import Clip, clip_rows
from loupe.data.sources.registry import source
from loupe.data.sources.sheets import excel_sheets
from loupe.data.store import read_store
from loupe.errors import LoupeError

pytest.importorskip("openpyxl", reason="the annotations are Excel files")


@pytest.fixture(scope="module")
def downloads(tmp_path_factory):
    """The composite holds CASME II, SAMM and SMIC HS; the others lie beside it."""
    root = tmp_path_factory.mktemp("raw")
    micro.megc2019(root / "megc")
    micro.casme3_a(root / "casme3")
    micro.casme3_c(root / "casme3")
    micro.smic(root / "smic", "VIS")
    micro.smic(root / "smic", "NIR", padded=True)
    return root


ROOTS = {
    "casme2": ("megc/CASME2", 256, 256),
    "samm": ("megc/SAMM", 159, 159),
    "smic-hs": ("megc/SMIC", 164, 164),
    "smic-vis": ("smic", 71, 71),
    "smic-nir": ("smic", 71, 71),
    "casme3a": ("casme3", 860, 860),
    "casme3c": ("casme3", 166, 166),
    "megc2019": ("megc", 442, 442),
}


@pytest.mark.parametrize("name", ROOTS)
def test_import_then_check_agrees_with_every_official_count(name, downloads, tmp_path):
    where, found, used = ROOTS[name]
    report = import_set(name, downloads / where, tmp_path / name, workers=1)
    assert (report.found, report.used, report.reasons) == (found, used, {})
    assert report.ok and report.counts and not report.disagreeing
    assert check_set(tmp_path / name, workers=1) == report
    table = read_manifest(tmp_path / name / "manifest.parquet")
    assert set(table["split"]) == {"loso"}
    first = table.groupby("clip").agg(onset=("onset", "first"), apex=("apex", "first"), offset=("offset", "first"), roles=("role", list))
    assert (first["onset"] < first["apex"]).all() and (first["apex"] <= first["offset"]).all()
    assert first["roles"].map(lambda roles: roles.count("onset") == 1 and roles.count("apex") == 1).all()
    named = table[table["label"] >= 0].groupby("label")["label_name"].unique().map(list).to_dict()
    assert named == ({} if name == "casme3c" else {0: ["negative"], 1: ["positive"], 2: ["surprise"]})


def test_sized_import_feeds_the_leave_one_subject_out_code(downloads, tmp_path):
    import_set("megc2019", downloads / "megc", tmp_path, size=8, workers=1)
    pairs = onset_and_apex(read_store(tmp_path), labelled_only=True)
    assert np.bincount(pairs.labels).tolist() == [250, 109, 83] and len(set(pairs.subjects)) == 68
    assert pairs.onset.shape == (442, 8, 8, 3)
    grey = pairs.onset[[clip.startswith("samm-") for clip in pairs.clips]]
    assert len(grey) == 133 and (grey[..., 0] == grey[..., 2]).all()  # SAMM is grey, and has three channels here


def test_casme2_traps(downloads):
    listing = casme2.read(downloads / "megc" / "CASME2")
    clips = listing.table.drop_duplicates("clip").set_index("clip")
    assert (clips["apex_from"] == "midpoint").sum() == 21  # rows without apex
    assert clips.iloc[60]["offset"] == 91 and any("row 60" in sentence for sentence in listing.mended)
    assert set(clips.loc[clips["label"] == 0, "emotion"]) == {"disgust", "repression"}  # sadness and fear are not in MEGC2019
    assert (clips["label"] == -1).sum() == 99 + 6 + 2 + 2
    # the frame number is the one in the name, not the place in the folder
    assert listing.table["path"].iloc[0].endswith("img46.jpg") and listing.table["frame"].iloc[0] == 46


def test_samm_traps(downloads):
    listing = samm.read(downloads / "megc" / "SAMM")
    clips = listing.table.drop_duplicates("clip")
    assert clips.iloc[56]["offset"] == 5739 and len(listing.mended) == 1
    assert (clips["apex_from"] == "midpoint").sum() == 3  # invalid apexes
    assert clips["subject"].str.fullmatch(r"samm-\d{3}").all()
    assert set(listing.table["frame"]) == {101, 103, 105, 5733, 5736, 5739}  # whatever the pattern of the names


@pytest.mark.parametrize(
    ("set_name", "download", "folders"),
    [
        ("casme2", "megc/CASME2", ["CASME2_RAW_selected/sub01/EP01_01f", "CASME2_RAW_selected/sub01", "CASME2_RAW_selected"]),
        ("samm", "megc/SAMM", ["SAMM/006", "SAMM"]),
        ("smic-hs", "megc/SMIC", ["HS/s1/micro/negative", "HS/s1/micro", "HS/s1", "HS"]),
        ("casme3a", "casme3", ["ME_A/spNo.1", "ME_A"]),
        ("casme3c", "casme3", ["ME_C/01/1", "ME_C"]),
        ("megc2019", "megc", ["CASME2/CASME2_RAW_selected", "SAMM/SAMM", "SMIC"]),
    ],
)
def test_a_folder_in_a_folder_of_its_own_name_loses_nothing(set_name, download, folders, downloads, tmp_path):
    shutil.copytree(downloads / download, tmp_path / "raw", copy_function=os.link)
    before = source(set_name).read(tmp_path / "raw")
    for folder in folders:
        doubled(tmp_path / "raw" / folder)
    after = source(set_name).read(tmp_path / "raw")
    columns = ["subject", "clip", "frame", "onset", "apex", "offset", "label"]
    pd.testing.assert_frame_equal(after.table[columns], before.table[columns])
    assert (after.found, after.used) == (before.found, before.used)


def test_smic_subjects_have_one_name_in_raw_and_cropped_copies(downloads):
    vis, nir = smic.read_vis(downloads / "smic"), smic.read_nir(downloads / "smic")  # s1 in one, s01 in the other
    assert set(vis.table["subject"]) == set(nir.table["subject"]) == {f"smic-s{n:02d}" for n in range(1, 9)}
    assert set(vis.table["fps"]) == {25.0} and set(vis.table["apex_from"]) == {"midpoint"}


def test_casme3_one_letter_holds_several_clips_and_six_rows_are_mended(downloads):
    listing = casme3.read_a(downloads / "casme3")
    assert listing.table["clip"].nunique() == 860
    assert len(listing.mended) == 6
    assert "860 rows" in listing.release
    assert not listing.table["path"].str.contains("depth").any()
    clips = listing.table.drop_duplicates("clip").reset_index(drop=True)
    assert clips.loc[[128, 708, 796, 798], "offset"].tolist() == [163, 34, 1845, 2403] and clips.loc[128, "apex"] == 160
    assert clips.loc[749, "onset"] == 2647 and clips.loc[750, "onset"] == 1
    assert casme3.read_c(downloads / "casme3").table["units"].unique().tolist() == ["4+7"]  # with a Chinese comma in row 16


@pytest.mark.parametrize(("offset", "expected", "mended"), [(19, 91, 1), (90, 90, 0)])
def test_published_corrections_apply_only_to_rows_that_contradict_themselves(tmp_path, offset, expected, mended):
    frames = {number: tmp_path / f"img{number}.jpg" for number in (86, 88, 90, 91)}
    clip = Clip("row 60", 60, "s", "c", tmp_path, 86, 88, offset, 200.0, "disgust", "negative")
    table, sentences = clip_rows([clip], tmp_path, Dropped(), casme2.CORRECTIONS, lambda folder: frames)
    assert table["offset"].unique().tolist() == [expected] and len(sentences) == mended


def test_a_count_that_differs_fails_the_import_unless_a_part_is_declared(tmp_path):
    micro.smic(tmp_path / "raw", "NIR")
    (folder,) = (tmp_path / "raw" / "NIR" / "s1" / "micro" / "surprise").glob("*_01")
    for picture in folder.iterdir():
        picture.unlink()
    report = import_set("smic-nir", tmp_path / "raw", tmp_path / "out", workers=1)
    assert not report.ok and [count.name for count in report.disagreeing] == ["clips with frames"]
    dropped = pd.read_csv(tmp_path / "out" / "dropped.csv")
    assert dropped["reason"].tolist() == ["folder without pictures"] and report.found == report.used + 1
    assert import_set("smic-nir", tmp_path / "raw", tmp_path / "out", workers=1, partial=True).ok


def test_off_by_one_frames_move_inwards_and_larger_holes_drop_the_clip(tmp_path):
    micro.casme3_c(tmp_path)
    (tmp_path / "ME_C/01/1/color/375.jpg").unlink()
    for frame in (374, 375):
        (tmp_path / f"ME_C/02/1/color/{frame}.jpg").unlink()
    listing = casme3.read_c(tmp_path)
    assert listing.table.loc[listing.table["clip"] == "casme3c-01-1-373", "offset"].tolist() == [374, 374]
    assert len(listing.mended) == 1 and listing.dropped["reason"].tolist() == ["no picture of the offset frame"]


def test_wrong_column_missing_sheet_and_absent_frames_are_one_sentence_each(tmp_path):
    header = [*micro.CASME2_HEADER]
    header[5] = "End"
    micro.casme2(tmp_path / "a", header, pictures=False)
    (tmp_path / "a" / "CASME2_RAW_selected").mkdir()
    with pytest.raises(LoupeError, match="lacks the column 'OffsetFrame'"):
        casme2.read(tmp_path / "a")
    workbook(tmp_path / "a" / "CASME2-coding-updated.xlsx", [["nothing here"]], "Notes")
    with pytest.raises(LoupeError, match="has no sheet with the columns"):
        casme2.read(tmp_path / "a")
    (tmp_path / "a" / "CASME2-coding-updated.xlsx").write_bytes(b"PK not a workbook")
    with pytest.raises(LoupeError, match="cannot be read as an Excel file"):
        casme2.read(tmp_path / "a")
    (tmp_path / "a" / "CASME2_RAW_selected").rename(tmp_path / "frames")
    with pytest.raises(LoupeError, match="holds no CASME2_RAW_selected"):
        casme2.read(tmp_path / "a")


def test_renamed_columns_of_other_releases_are_understood(tmp_path):
    header = ["Subject", "File Name", None, "Onset", "apex frame", "OFFSET_FRAME", None, "AU", "Emotion"]
    micro.casme2(tmp_path, header, pictures=False)
    path = tmp_path / "CASME2-coding-updated.xlsx"
    clips, found = casme2.parse(excel_sheets(path), path.name, tmp_path, Dropped())
    assert found == len(clips) == 256 and (clips[0].onset, clips[0].apex, clips[0].offset) == (46, 48, 50)


def test_the_damaged_list_of_megc_is_refused(tmp_path):
    (tmp_path / "combined_3class_gt-2.csv").write_text("casme2,sub01,EP02_01f,1\n")
    with pytest.raises(LoupeError, match="has a damaged row: use combined_3class_gt.csv"):
        megc2019.read(tmp_path)
    with pytest.raises(LoupeError, match="line 2, is not set,subject,clip"):
        megc2019.parse(["casme2,sub01,EP02_01f,1", "smic,s01,s01_ne_01"], "list")
    with pytest.raises(LoupeError, match="line 2, repeats the clip of line 1"):
        megc2019.parse(["smic,s1,s1_ne_01,0", "smic,s01,s01_ne_01,0"], "list")
