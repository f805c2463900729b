"""What every import promises: one sentence for each kind of bad download, nothing lost without a row, killed imports continue, leaks are
refused."""

import numpy as np
import pandas as pd
import pytest
from lookalikes import micro, stills
from lookalikes.drawing import face
from PIL import Image
from typer.testing import CliRunner

from loupe.cli import app
from loupe.data import examining
from loupe.data.checking import check_set
from loupe.data.imagehash import across_splits, picture_hash
from loupe.data.importing import import_set
from loupe.data.manifest import read_manifest
from loupe.data.sources.registry import SOURCES
from loupe.data.store import read_store
from loupe.errors import LoupeError


@pytest.fixture
def smic(tmp_path):
    micro.smic(tmp_path / "raw", "NIR")
    return tmp_path


@pytest.mark.parametrize("name", SOURCES)
def test_archive_missing_and_empty_roots_are_one_sentence_for_every_set(name, tmp_path):
    (tmp_path / "set.zip").write_bytes(b"PK")
    (tmp_path / "packed").mkdir()
    (tmp_path / "packed" / "set.7z").write_bytes(b"7z")
    (tmp_path / "empty").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "holiday.txt").write_text("")
    for where, message in [
        ("set.zip", "unpack it"),
        ("packed", "archives only"),
        ("empty", "is empty"),
        ("none", "does not exist"),
        ("other", "holds n|combined_3class_gt.csv is missing"),
    ]:
        with pytest.raises(LoupeError, match=message):
            import_set(name, tmp_path / where, tmp_path / "out")


def test_unknown_set_is_refused_with_the_list_of_sets(tmp_path):
    with pytest.raises(LoupeError, match="choose casme2, samm"):
        import_set("casme", tmp_path, tmp_path / "out")


def test_truncated_picture_stops_the_import_by_name_and_can_be_skipped(smic):
    onset = sorted((smic / "raw/NIR/s1/micro/negative/s1_ne_01").iterdir())
    later = sorted((smic / "raw/NIR/s2/micro/negative/s2_ne_01").iterdir())
    onset[0].write_bytes(onset[0].read_bytes()[:100])
    later[2].write_bytes(b"")
    with pytest.raises(LoupeError, match=r"image140.bmp cannot be read as a picture .*\(2 such picture") as caught:
        import_set("smic-nir", smic / "raw", smic / "out", workers=1)
    assert "\n" not in str(caught.value)
    assert pd.read_csv(smic / "out" / "dropped.csv")["reason"].tolist() == ["picture is missing or damaged"] * 2
    with pytest.raises(LoupeError, match="has not been finished"):
        check_set(smic / "out")
    report = import_set("smic-nir", smic / "raw", smic / "out", size=8, workers=1, skip_damaged=True)
    # a clip without its onset goes as a whole, one without its last frame stays
    assert report.used == 70 and report.rows == 71 * 3 - 4 and not report.ok
    table = read_manifest(smic / "out" / "manifest.parquet")
    assert "smic-nir-s01_ne_01" not in set(table["clip"]) and "smic-nir-s02_ne_01" in set(table["clip"])
    assert check_set(smic / "out", workers=1).rows == len(table)


def test_a_killed_import_continues_where_it_was(smic, monkeypatch):
    monkeypatch.setattr(examining, "PIECE", 50)
    seen = []
    look = examining._look

    def interrupted(root, path, box, size):
        if len(seen) == 120:
            raise KeyboardInterrupt
        seen.append(path)
        return look(root, path, box, size)

    monkeypatch.setattr(examining, "_look", interrupted)
    with pytest.raises(KeyboardInterrupt):
        import_set("smic-nir", smic / "raw", smic / "out", size=8, workers=1)
    before = set(seen[:100])
    seen.clear()
    monkeypatch.setattr(examining, "_look", lambda *args: (seen.append(args[1]), look(*args))[1])
    import_set("smic-nir", smic / "raw", smic / "out", size=8, workers=1)
    assert len(seen) == 213 - 100 and not before & set(seen)  # two whole pieces were kept
    import_set("smic-nir", smic / "raw", smic / "fresh", size=8, workers=1)
    for name in ("images.npy", "manifest.parquet"):
        assert (smic / "out" / name).read_bytes() == (smic / "fresh" / name).read_bytes()


def test_check_notices_a_changed_picture_a_lost_row_and_a_lost_file(smic):
    import_set("smic-nir", smic / "raw", smic / "out", workers=1)
    (picture, *_) = sorted((smic / "raw/NIR/s3/micro/positive/s3_po_01").iterdir())
    original = picture.read_bytes()
    face(99).save(picture)
    with pytest.raises(LoupeError, match="is not the picture that was imported"):
        check_set(smic / "out", workers=1)
    picture.unlink()
    with pytest.raises(LoupeError, match="is missing"):
        check_set(smic / "out", workers=1)
    picture.write_bytes(original)
    check_set(smic / "out", workers=1)
    table = pd.read_parquet(smic / "out" / "manifest.parquet")
    table.iloc[:-1].to_parquet(smic / "out" / "manifest.parquet")
    with pytest.raises(LoupeError, match="has 212 rows, but 213 were imported"):
        check_set(smic / "out", workers=1)
    (smic / "out" / "import.json").write_text("{")
    with pytest.raises(LoupeError, match="is damaged"):
        check_set(smic / "out", workers=1)


def test_a_continued_import_keeps_its_pieces_unless_the_squares_are_gone(tmp_path, monkeypatch):
    stills.rafdb(tmp_path / "raw")
    monkeypatch.setattr(examining, "PIECE", 8)
    import_set("rafdb", tmp_path / "raw", tmp_path / "whole", size=16, workers=1, partial=True)
    picture = tmp_path / "raw/basic/Image/aligned/train_00014_aligned.jpg"
    original = picture.read_bytes()
    for lost in (False, True):
        picture.write_bytes(original[:99])
        with pytest.raises(LoupeError, match="train_00014"):
            import_set("rafdb", tmp_path / "raw", tmp_path / "out", size=16, workers=1, partial=True)
        kept = sorted((tmp_path / "out" / "partial").glob("0*.parquet"))
        assert len(kept) == 2  # of three pieces, one of which holds the damaged picture
        if lost:
            (tmp_path / "out" / "partial" / "pixels.npy").unlink()
        picture.write_bytes(original)
        import_set("rafdb", tmp_path / "raw", tmp_path / "out", size=16, workers=1, partial=True)
        assert (tmp_path / "out" / "images.npy").read_bytes() == (tmp_path / "whole" / "images.npy").read_bytes()
        assert not (tmp_path / "out" / "partial").exists()


def test_squares_of_dropped_pictures_are_left_out(tmp_path):
    stills.rafdb(tmp_path / "raw")
    import_set("rafdb", tmp_path / "raw", tmp_path / "whole", size=16, workers=1, partial=True)
    (tmp_path / "raw/basic/Image/aligned/train_00003_aligned.jpg").write_bytes(b"no picture")
    import_set("rafdb", tmp_path / "raw", tmp_path / "out", size=16, workers=1, partial=True, skip_damaged=True)
    whole, part = read_store(tmp_path / "whole"), read_store(tmp_path / "out")
    rows = [row for row, path in enumerate(whole.manifest["path"]) if "train_00003" not in path]
    np.testing.assert_array_equal(part.images, whole.images[rows])
    assert part.manifest["path"].tolist() == whole.manifest["path"].iloc[rows].tolist()


def test_a_person_in_two_splits_is_refused(tmp_path):
    stills.affwild2(tmp_path)
    base = tmp_path / "6th ABAW Annotations/EXPR_Recognition_Challenge"
    (base / "Validation_Set/5-60-1920x1080-1.txt").write_text((base / "Train_Set/5-60-1920x1080-1.txt").read_text())
    with pytest.raises(LoupeError, match="subject affwild2-5-60-1920x1080-1 stands in the splits train and val"):
        import_set("affwild2", tmp_path, tmp_path / "out", workers=1)


def test_equal_and_recompressed_pictures_across_splits_are_found_others_are_not(tmp_path):
    stills.rafdb(tmp_path / "raw")
    faces = tmp_path / "raw/basic/Image/aligned"
    (faces / "test_0001_aligned.jpg").write_bytes((faces / "train_00002_aligned.jpg").read_bytes())
    smooth(77).resize((96, 96)).save(faces / "train_00003_aligned.jpg")
    smooth(77).resize((64, 64)).save(faces / "test_0002_aligned.jpg", quality=60)
    smooth(78).resize((64, 64)).save(faces / "test_0003_aligned.jpg")
    report = import_set("rafdb", tmp_path / "raw", tmp_path / "out", workers=1)
    pairs = pd.read_csv(tmp_path / "out" / "duplicates.csv")
    assert (report.equal_across_splits, report.near_across_splits) == (1, 1)
    names = [tuple(sorted(path.rsplit("/", 1)[1][:-12] for path in (row.first, row.second))) for row in pairs.itertuples()]
    assert set(names) == {("test_0001", "train_00002"), ("test_0002", "train_00003")}


def test_banded_search_equals_comparing_all_pairs():
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 2**63, 60, dtype=np.uint64)
    for i in range(30, 60):  # copies with 0 to 5 bits turned
        codes[i] = codes[i - 30]
        for bit in rng.permutation(64)[: i % 6]:
            codes[i] ^= np.uint64(1) << np.uint64(bit)
    split = np.where(rng.random(60) < 0.5, "train", "test")
    table = pd.DataFrame(
        {"split": split, "path": [f"p{i}" for i in range(60)], "sha": [str(i) for i in range(60)], "dhash": [f"{c:016x}" for c in codes]}
    )
    found = {(row.first, row.second) for row in across_splits(table).itertuples()}
    slow = {
        (f"p{i}", f"p{j}")
        for i in range(60)
        for j in range(i + 1, 60)
        if split[i] != split[j] and bin(int(codes[i] ^ codes[j])).count("1") <= 3
    }
    assert found == slow and len(slow) > 5


def test_difference_hash_survives_size_and_brightness_and_tells_pictures_apart():
    picture, other = np.asarray(smooth(5)), np.asarray(smooth(6))
    changed = np.asarray(smooth(5).resize((50, 60))) * 0.8
    assert bin(picture_hash(picture) ^ picture_hash(changed.astype(np.uint8))).count("1") <= 3
    assert bin(picture_hash(picture) ^ picture_hash(other)).count("1") > 15


def smooth(number: int) -> Image.Image:
    """A picture with the large soft shapes of a photo, which the hash looks at; noise alone would average out."""
    return Image.fromarray(np.random.default_rng(number).integers(0, 256, (9, 8, 3), dtype=np.uint8)).resize(
        (80, 90), Image.Resampling.BICUBIC
    )


def test_command_prints_the_table_and_its_exit_code_tells_whether_counts_agree(smic):
    run = CliRunner().invoke(app, ["data", "import", "smic-nir", str(smic / "raw"), "--out", str(smic / "out"), "--workers", "1"])
    assert run.exit_code == 0 and "clips found 71, used 71 (213 pictures)" in run.stdout and "DIFFERS" not in run.stdout
    assert CliRunner().invoke(app, ["data", "check", str(smic / "out")]).exit_code == 0
    for folder in (smic / "raw/NIR/s1/micro/negative").iterdir():
        folder.rename(smic / folder.name)
    run = CliRunner().invoke(app, ["data", "import", "smic-nir", str(smic / "raw"), "--out", str(smic / "out")])
    assert run.exit_code == 1 and "DIFFERS" in run.stdout
    assert (
        CliRunner().invoke(app, ["data", "import", "smic-nir", str(smic / "raw"), "--out", str(smic / "out"), "--partial"]).exit_code == 0
    )
    run = CliRunner().invoke(app, ["data", "import", "smic-nir", str(smic / "nowhere")])
    assert run.exit_code == 1 and isinstance(run.exception, LoupeError)
    assert "casme3a" in CliRunner().invoke(app, ["data", "list"]).stdout
