"""Expression and pre-training sets: import and check of look-alikes with exact counts, and every known trap of their annotations."""

import numpy as np
import pandas as pd
import pytest
from lookalikes import stills
from lookalikes.drawing import doubled, save

from loupe.data.checking import check_set
from loupe.data.importing import import_set
from loupe.data.manifest import STILL_CLASSES, read_manifest
from loupe.data.sources import affectnet, affwild2, casia_webface, celeba, fer2013, imdb_wiki, rafdb
from loupe.data.sources.pictures import load_picture
from loupe.data.sources.registry import source
from loupe.data.store import read_store
from loupe.errors import LoupeError

CASES = {  # look-alike: set, writer, found, used, dropped by reason, found figures of counts that the look-alike settles
    "affwild2": ("affwild2", stills.affwild2, 30, 25,
                 {"ignored by the annotators (-1)": 2, "no face found by the organisers": 2, "picture without a label": 1},
                 {"train frames": 18, "val frames": 7, "train Neutral": 6, "train Happiness": 6, "val Anger": 0,
                   "train labelled, no face": 1}),
    "affectnet-old": ("affectnet", stills.affectnet_old, 33, 30, {"non-face": 3},
                      {"train Happiness": 2, "train Contempt": 2, "val Non-Face": 1}),
    "affectnet-new": ("affectnet", stills.affectnet_new, 24, 24, {}, {"train Anger": 2, "val annotations": 8, "missing or damaged": 0}),
    "rafdb": ("rafdb", stills.rafdb, 21, 21, {}, {"lines": 21, "train Surprise": 2, "test Neutral": 1}),
    "fer2013": ("fer2013", stills.fer2013, 21, 21, {}, {"train lines": 7, "val lines": 7, "test lines": 7}),
    "ferplus": ("ferplus", stills.fer2013, 21, 19, {"not a face by FER+ votes": 1, "taken out by FER+": 1}, {"damaged lines": 0}),
    "celeba": ("celeba", stills.celeba, 12, 12, {},
               {"pictures": 12, "identities": 4, "partition train": 6, "partition val": 3, "partition test": 3}),
    "imdb-wiki": ("imdb-wiki", stills.imdb_wiki, 12, 10, {"no face found (face_score -inf)": 2},
                  {"imdb rows": 6, "wiki rows": 6, "missing or damaged": 0}),
    "casia-folders": ("casia-webface", stills.casia_folders, 12, 12, {}, {"pictures": 12, "people": 3}),
    "casia-records": ("casia-webface", stills.casia_records, 12, 12, {}, {"pictures": 12, "people": 3}),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_import_then_check_gives_exact_counts(case, tmp_path):
    name, write, found, used, reasons, figures = CASES[case]
    write(tmp_path / "raw")
    report = import_set(name, tmp_path / "raw", tmp_path / "out", size=8, workers=1)
    assert (report.found, report.used, report.rows, report.reasons) == (found, used, used, reasons)
    assert {count.name: count.found for count in report.counts}.items() >= figures.items()
    assert not report.ok  # a look-alike is far smaller than the official set, and the import says so
    assert check_set(tmp_path / "out", workers=1) == report
    store = read_store(tmp_path / "out")
    assert store.images.shape == (used, 8, 8, 3) and len(np.unique(store.images.reshape(used, -1), axis=0)) >= used - 1
    table = store.manifest
    assert not table.duplicated("path").any() and len(pd.read_csv(tmp_path / "out" / "dropped.csv")) == found - used
    named = table[table["label"] >= 0].drop_duplicates("label")
    assert all(STILL_CLASSES[row.label] == row.label_name for row in named.itertuples())


def test_affwild2_line_i_is_frame_i_also_where_faces_are_missing(tmp_path):
    stills.affwild2(tmp_path)
    table = affwild2.read(tmp_path).table.set_index("path")
    assert table.loc["cropped_aligned/5-60-1920x1080-1/00004.jpg", "label_name"] == "Fear"
    assert table.loc["cropped_aligned/video7/00007.jpg", "label"] == 2  # 00008 has no face, and shifts nothing
    assert "cropped_aligned/10-60-1280x720_left/00003.jpg" not in table.index
    assert table.loc["cropped_aligned/10-60-1280x720_left/00004.jpg", "frame"] == 4
    assert {"affwild2-10-60-1280x720_left", "affwild2-10-60-1280x720_right"} <= set(table["subject"])


@pytest.mark.parametrize(
    "second", ["cropped_aligned_new_50_vids", "cropped_aligned/cropped_aligned_new_50_vids", "a/b/cropped_aligned_new_50_vids"]
)
def test_affwild2_faces_of_the_second_folder_are_found_wherever_it_lies(second, tmp_path):
    stills.affwild2(tmp_path)
    (tmp_path / second).mkdir(parents=True)
    (tmp_path / "cropped_aligned/video7").rename(tmp_path / second / "video7")
    if second.startswith("cropped_aligned/"):  # as it is handed out: both inside one
        (tmp_path / "cropped_aligned/cropped_aligned").mkdir()
        for video in (tmp_path / "cropped_aligned").glob("*-*"):
            video.rename(tmp_path / "cropped_aligned/cropped_aligned" / video.name)
    listing = affwild2.read(tmp_path)
    assert (listing.found, listing.used) == CASES["affwild2"][2:4] and f"{second}/video7/00007.jpg" in set(listing.table["path"])
    assert listing.release.endswith("cropped_aligned, cropped_aligned_new_50_vids")
    save(tmp_path / "x/y/z/cropped_aligned_again/video7/00007.jpg", 9)  # the same frame once more: the shallower folder counts
    again = affwild2.read(tmp_path)
    assert again.used == listing.used and "x/y/z/cropped_aligned_again/video7/00007.jpg" in set(again.dropped["item"])


@pytest.mark.parametrize(
    ("case", "folder"),
    [
        ("affwild2", "cropped_aligned/video7"),
        ("affectnet-old", "Manually_Annotated/Manually_Annotated_Images"),
        ("affectnet-new", "val_set"),
        ("affectnet-new", "val_set/images"),
        ("rafdb", "basic/Image/aligned"),
        ("celeba", "img_align_celeba"),
        ("imdb-wiki", "wiki_crop"),
        ("casia-folders", "CASIA-WebFace"),
    ],
)
def test_a_folder_in_a_folder_of_its_own_name_loses_nothing(case, folder, tmp_path):
    name, write, found, used, *_ = CASES[case]
    write(tmp_path)
    doubled(tmp_path / folder)
    listing = source(name).read(tmp_path)
    assert (listing.found, listing.used) == (found, used)


def test_tables_as_spreadsheets_save_them_are_read_the_same(tmp_path):
    stills.affectnet_old(tmp_path)
    whole = affectnet.read(tmp_path).table
    text = (tmp_path / "training.csv").read_text()
    quoted = [",".join(f'"{cell}"' if ";" in cell else cell for cell in line.split(",")) for line in text.splitlines()]
    (tmp_path / "training.csv").write_text("sep=,\n" + "\n".join(quoted), encoding="utf-16")
    pd.testing.assert_frame_equal(affectnet.read(tmp_path).table, whole)
    stills.fer2013(tmp_path)
    whole = fer2013.read_plus(tmp_path).table.drop(columns=["path", "source"])
    for name in ("fer2013.csv", "fer2013new.csv"):
        (tmp_path / name).write_text("sep=;\n" + (tmp_path / name).read_text().replace(",", ";"))
    listing = fer2013.read_plus(tmp_path)
    pd.testing.assert_frame_equal(listing.table.drop(columns=["path", "source"]), whole)
    assert load_picture(tmp_path, listing.table["path"][0])[1].shape == (48, 48, 3)


def test_affwild2_older_folders_and_orders_are_read_and_the_latest_edition_wins(tmp_path):
    stills.affwild2(tmp_path, old=True)
    assert affwild2.read(tmp_path).release.startswith("annotations/EXPR_Set")
    stills.affwild2(tmp_path)
    assert affwild2.read(tmp_path).release.startswith("6th ABAW")
    assert affwild2.parse(["Anger,Neutral,Disgust,Fear,Happiness,Sadness,Surprise", "0", "1", "-1", "7"], "f").tolist() == [1, 0, -1, -2]
    with pytest.raises(LoupeError, match="line 1, is not a list of the classes"):
        affwild2.parse(["valence,arousal", "0.1,0.2"], "f")


def test_affwild2_damaged_lines_and_two_surplus_pictures_disagree(tmp_path):
    stills.affwild2(tmp_path)
    path = tmp_path / "6th ABAW Annotations/EXPR_Recognition_Challenge/Validation_Set/video7.txt"
    path.write_text(stills.AFFWILD2_HEADER + "\n0\n9\nx\n3\n2\n")
    listing = affwild2.read(tmp_path)
    counts = {count.name: count for count in listing.counts}
    assert counts["damaged label lines"].found == 2 and not counts["damaged label lines"].agrees
    assert not counts["videos with 2 or more pictures beyond the labels"].agrees
    assert listing.found == listing.used + len(listing.dropped)


@pytest.mark.parametrize(("write", "layout"), [(stills.affectnet_old, "old"), (stills.affectnet_new, "new")])
def test_affectnet_order_becomes_affwild2_order(write, layout, tmp_path):
    write(tmp_path)
    table = affectnet.read(tmp_path).table
    # AffectNet counts Happy 1, Sad 2, Surprise 3, Fear 4, Disgust 5, Anger 6; Aff-Wild2 counts Anger 1 ... Surprise 6
    first = table[table["split"] == "train"].head(8)
    assert first["label"].tolist() == [0, 4, 5, 6, 3, 2, 1, -1]
    assert first["label_name"].tolist()[-1] == "Contempt"
    assert np.isnan(first["valence"].iloc[0]) and first["valence"].iloc[1] == 0.5  # -2 means missing
    if layout == "old":
        assert len(first["landmarks"].iloc[0]) == 136 and list(first["box"].iloc[0]) == [4, 4, 8, 8]


def test_affectnet_box_is_what_a_sized_import_stores(tmp_path):
    stills.affectnet_old(tmp_path / "raw")
    import_set("affectnet", tmp_path / "raw", tmp_path / "out", size=8, workers=1)
    from PIL import Image

    store = read_store(tmp_path / "out")
    with Image.open(tmp_path / "raw" / store.manifest["path"][0]) as picture:
        np.testing.assert_array_equal(store.images[0], np.asarray(picture.crop((4, 4, 12, 12))))


def test_rafdb_order_and_renumbered_lists(tmp_path):
    stills.rafdb(tmp_path)
    table = rafdb.read(tmp_path).table
    assert table["label"].head(7).tolist() == [6, 3, 2, 4, 5, 1, 0]
    with pytest.raises(LoupeError, match="counts from 1"):
        rafdb.parse(["train_00001.jpg 0"], "list", set(), affectnet.Dropped())


def test_fer2013_order_and_equal_pictures_across_splits_are_reported(tmp_path):
    stills.fer2013(tmp_path / "raw")
    report = import_set("fer2013", tmp_path / "raw", tmp_path / "out", workers=1)
    assert report.equal_across_splits == 0 and report.near_across_splits == 1  # other label and usage, so not the same line
    pair = pd.read_csv(tmp_path / "out" / "duplicates.csv").iloc[0]
    assert {pair["first_split"], pair["second_split"]} == {"train", "test"} and pair["bits"] == 0
    table = read_manifest(tmp_path / "out" / "manifest.parquet")
    assert table["label"].head(7).tolist() == [1, 2, 3, 4, 5, 6, 0]


def test_ferplus_majority_contempt_and_missing_majority(tmp_path):
    stills.fer2013(tmp_path)
    listing = fer2013.read_plus(tmp_path)
    val = listing.table[listing.table["split"] == "val"]
    assert val["label_name"].tolist()[:2] == ["Contempt", "No majority"] and val["label"].tolist()[:2] == [-1, -1]
    assert fer2013.majority({"neutral": 4, "anger": 4, "fear": 1}) == "no majority"
    assert fer2013.majority({"neutral": 3, "anger": 2, "fear": 1}) == "neutral"
    rows = (tmp_path / "fer2013new.csv").read_text().splitlines()
    (tmp_path / "fer2013new.csv").write_text("\n".join(rows[:-1]))
    with pytest.raises(LoupeError, match="has 20 lines, but fer2013.csv has 21"):
        fer2013.read_plus(tmp_path)


def test_celeba_attributes_identities_and_a_list_cut_short(tmp_path):
    stills.celeba(tmp_path)
    table = celeba.read(tmp_path).table
    assert table["sex"].head(4).tolist() == [1, 1, 0, 0] and table["attributes"].iloc[0] == "Male;Smiling"
    assert table.groupby("subject")["partition"].nunique().max() == 1
    rows = (tmp_path / "list_attr_celeba.txt").read_text().splitlines()
    (tmp_path / "list_attr_celeba.txt").write_text("\n".join(rows[:-1]))
    with pytest.raises(LoupeError, match="announces 12 pictures but lists 11"):
        celeba.read(tmp_path)


def test_imdb_wiki_ages_sex_and_fields(tmp_path):
    stills.imdb_wiki(tmp_path)
    table = imdb_wiki.read(tmp_path).table
    assert table["age"].iloc[0] == pytest.approx(30.5, abs=0.01) and np.isnan(table["age"].iloc[3])
    assert table["sex"].iloc[:2].tolist() == [1, 0] and np.isnan(table["sex"].iloc[2])
    assert table["subject"].iloc[0] == "imdb-imdb person 0"
    (tmp_path / "imdb_crop" / "imdb.mat").write_bytes(b"MATLAB 5.0 no")
    with pytest.raises(LoupeError, match="imdb.mat cannot be read as a MATLAB file"):
        imdb_wiki.read(tmp_path)


def test_recordio_gives_the_pictures_and_people_that_were_packed(tmp_path):
    stills.casia_records(tmp_path)
    listing = casia_webface.read(tmp_path)
    assert listing.table.groupby("subject").size().tolist() == [4, 4, 4]
    data = (tmp_path / "train.rec").read_bytes()
    (tmp_path / "train.rec").write_bytes(data[: len(data) // 2])
    cut = casia_webface.read(tmp_path)
    assert 0 < cut.used < 12 and cut.used + len(cut.dropped) == 12 and set(cut.dropped["reason"]) == {"damaged record"}
