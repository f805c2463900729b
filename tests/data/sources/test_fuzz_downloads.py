"""Whole downloads, one file of which is damaged, or in whose folders other things lie: refused in one sentence, or every entry accounted
for."""

import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from lookalikes import drawing, stills
from lookalikes.damage import DRAWN, FAST, HARM, harmed
from PIL import Image

from loupe.data.checking import check_set
from loupe.data.importing import import_set
from loupe.data.sources.pictures import BESIDE, load_picture
from loupe.data.sources.registry import SOURCES
from loupe.errors import LoupeError

DOWNLOADS = {
    "rafdb": stills.rafdb,
    "affwild2": stills.affwild2,
    "affectnet": stills.affectnet_new,
    "celeba": stills.celeba,
    "imdb-wiki": stills.imdb_wiki,
    "fer2013": stills.fer2013,
    "ferplus": stills.fer2013,
    "casia-webface": stills.casia_records,
    "csv": drawing.own_clips,
}
ENTRIES_TOO = {"folder": drawing.class_folders, "smic-nir": drawing.smic_clips}


@pytest.fixture(scope="module")
def downloads(tmp_path_factory):
    root = tmp_path_factory.mktemp("downloads")
    for name, make in (DOWNLOADS | ENTRIES_TOO).items():
        make(root / name)
    return root


@given(name=st.sampled_from([*DOWNLOADS]), which=st.integers(0, 10**6), harm=st.one_of(HARM, st.just(("lost", None))), skip=st.booleans())
@settings(FAST, max_examples=DRAWN or 12)
def test_a_download_with_one_file_harmed_or_lost(name, which, harm, skip, downloads, tmp_path):
    raw, out = tmp_path / "raw", tmp_path / "out"
    for folder in (raw, out):
        shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(downloads / name, raw, copy_function=os.link)
    files = sorted(path for path in raw.rglob("*") if path.is_file())
    # Annotations are few beside pictures: every second time one of them.
    lists = [path for path in files if path.suffix not in (".jpg", ".npy")] or files
    victim = (lists if which % 2 else files)[which // 2 % len(lists if which % 2 else files)]
    data = victim.read_bytes()
    victim.unlink()  # the others are links to the clean download
    if harm[0] != "lost":
        victim.write_bytes(harmed(data, harm))
    try:
        report = import_set(name, raw, out, size=8, workers=1, partial=True, skip_damaged=skip)
    except LoupeError as error:
        assert "\n" not in str(error) and len(str(error)) < 600
        return
    dropped = pd.read_csv(out / "dropped.csv")
    kept = ~dropped["reason"].astype(str).str.endswith("(its clip is kept)") & ~dropped["reason"].astype(str).str.startswith(BESIDE)
    assert report.found == report.used + int(kept.sum()) and report.rows >= report.used
    assert check_set(out, workers=1) == report
    assert_stored_as_decoded(raw, out)


def assert_stored_as_decoded(raw, out):
    """Each stored square against the picture file itself, opened and cut in the plainest way."""
    squares, table = np.load(out / "images.npy"), pd.read_parquet(out / "manifest.parquet")
    for square, path in zip(squares, table["path"], strict=True):
        if "#" in path:  # no file of its own
            pixels = Image.fromarray(load_picture(raw, path)[1])
        else:
            with Image.open(raw / path) as picture:
                pixels = picture.convert("RGB")
        side = min(pixels.size)
        left, top = (pixels.width - side) / 2, (pixels.height - side) / 2
        box = (left, top, left + side, top + side)
        expected = np.asarray(pixels.resize(square.shape[:2], Image.Resampling.LANCZOS, box=box, reducing_gap=3.0))
        np.testing.assert_array_equal(square, expected)


# What may come to lie in a folder of a download; %s is the stem of a file that lies there. Each is no new class and no new person.
ENTRY = st.tuples(
    st.integers(0, 10**6),
    st.sampled_from(["picture", "text", "folder", "dead link", "circle", "up", "pipe"]),
    st.sampled_from(["._%s", ".%s", "%s (1)", "%s - Copy", "%s copy 2", "%s~", "%s", "Thumbs", "\udcfc%s"]
                    + ["%s\n", "é%s", "e\u0301%s", " %s", "%s#1", "x" * 100]),
    st.sampled_from([".jpg", ".JPG", ".heic", ".gif", ".bmp", ".mp4", ".txt", ".csv", ".xlsx", ""]),
)  # fmt: skip


def put(root: Path, where: int, kind: str, stem: str, ending: str) -> None:
    folders = [root, *sorted(path for path in root.rglob("*") if path.is_dir() and not path.is_symlink())]
    folder = folders[where % len(folders)]
    files = sorted(path.stem[:100] for path in folder.iterdir() if not path.name.startswith(".")) or ["x"]
    path = folder / (stem.replace("%s", files[where // len(folders) % len(files)]) + ending)
    if os.path.lexists(path):
        return
    if kind == "picture":
        path.write_bytes(drawing.encoded(where % 97))
    elif kind == "text":
        path.write_text("a,b\n1,2\n")
    elif kind == "folder":
        (path / "deeper").mkdir(parents=True)  # directly in it the picture would be one of a class of this name
        (path / "deeper" / "1.jpg").write_bytes(drawing.encoded(1))
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to({"dead link": "nowhere", "circle": path.name, "up": ".."}[kind])


@given(name=st.sampled_from([*DOWNLOADS, *ENTRIES_TOO]), entries=st.lists(ENTRY, min_size=1, max_size=5))
@settings(FAST, max_examples=DRAWN or 25, phases=[Phase.explicit, Phase.generate])  # a minute for each step of a shrunken example
def test_a_download_with_odd_directory_entries(name, entries, downloads, tmp_path):
    raw, out = tmp_path / "raw", tmp_path / "out"
    for folder in (raw, out):
        shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(downloads / name, raw, copy_function=os.link)
    clean = SOURCES[name].read(raw).table.set_index("path")
    for entry in entries:
        put(raw, *entry)
    try:
        report = import_set(name, raw, out, size=8, workers=1, partial=True)
    except LoupeError as error:
        assert "\n" not in str(error) and len(str(error)) < 600
        return
    table = pd.read_parquet(out / "manifest.parquet").set_index("path")
    shared = table.index.intersection(clean.index)
    facts = ["subject", "label", "label_name", "split", "clip", "frame", "onset", "offset"]
    pd.testing.assert_frame_equal(table.loc[shared, facts], clean.loc[shared, facts])
    assert len(shared) == len(clean) and report.rows == len(table)
    if name not in ("folder", "casia-webface"):  # a further picture in a class folder is one of the class
        assert len(table) == len(clean)
    assert set(table["label_name"]) <= set(clean["label_name"])
    assert_stored_as_decoded(raw, out)
