"""`loupe faces render`: whole folders that explain themselves, same bytes however they were made, one sentence for what cannot be."""

import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from loupe.errors import LoupeError
from loupe.faces import generate
from loupe.faces.folder import render as folder_module
from loupe.faces.folder.datacard import attribute_balance, class_balance, datacard
from loupe.faces.folder.prepared_card import prepared_card
from loupe.faces.folder.render import Order, render_folder
from loupe.faces.plan import generator_version

ORDER = Order(subjects=2, stills=8, clips=1, size=32, seed=3, cameras=2)


def content(out):
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def rendered(tmp_path_factory, cache):
    out = tmp_path_factory.mktemp("faces") / "out"
    return out, render_folder(ORDER, out, 1, cache)


def test_a_folder_holds_pictures_manifest_card_and_sheet(rendered):
    out, counts = rendered
    manifest = pd.read_parquet(out / "manifest.parquet")
    assert counts == {"stills": 16, "camera": 16, "micro": 10} == manifest["set"].value_counts().to_dict()
    assert manifest["path"].is_unique and all(np.asarray(Image.open(out / path)).shape == (32, 32, 3) for path in manifest["path"])
    assert {path for path in content(out) if path.endswith(".png")} == {*manifest["path"], "contact.png"}
    assert np.load(out / "micro/expression_flow.npy").shape == (2, 32, 32, 2) and not (out / ".unfinished").exists()
    assert Image.open(out / "contact.png").height > 4 * 32
    card = (out / "datacard.md").read_text()
    assert generator_version() in card and "must not be used" in card and "| Fear | 2 | 0.125 | 0.125 |" in card


def test_pictures_are_the_generators(rendered, cache, tmp_path):
    out, _ = rendered
    render_folder(Order(**{**vars(ORDER), "form": "store", "clips": 0, "cameras": 1}), tmp_path / "store", 1, cache)
    stored = np.load(tmp_path / "store/stills/images.npy")
    manifest = pd.read_parquet(tmp_path / "store/manifest.parquet")
    files = pd.read_parquet(out / "manifest.parquet").query("set == 'stills'")["path"]
    assert (manifest["path"] == "stills/images.npy").all() and manifest["row"].tolist() == list(range(16))
    assert all(np.array_equal(np.asarray(Image.open(out / path)), image) for path, image in zip(files, stored, strict=True))


def test_a_killed_run_continues_to_the_same_bytes(rendered, cache, tmp_path, monkeypatch):
    out, counts = rendered
    written, write = [], folder_module._write_png

    def stops(image, path):
        if len(written) == 5:
            raise KeyboardInterrupt
        written.append(path)
        write(image, path)

    with monkeypatch.context() as patch:
        patch.setattr(folder_module, "_write_png", stops)
        with pytest.raises(KeyboardInterrupt):
            render_folder(ORDER, tmp_path / "out", 1, cache)
    assert not (tmp_path / "out/manifest.parquet").exists()  # nothing half-written is taken for whole
    with monkeypatch.context() as patch:  # finished people are kept
        patch.setattr(generate, "render_job", lambda *_: pytest.fail("drawn again"))
        assert render_folder(ORDER, tmp_path / "out", 1, cache) == counts
    assert content(tmp_path / "out") == content(out)
    assert render_folder(ORDER, tmp_path / "out", 1, cache) == counts  # whole: nothing to do


@pytest.mark.parametrize(
    "change, told",
    [
        ({"stills": -1}, "--stills is -1"), ({"subjects": 0}, "--subjects is 0"), ({"size": 8}, "--size is 8"), ({"seed": -5}, "--seed"),
        ({"stills": 10**9}, "--stills"), ({"nuisance": 3}, "--nuisance"), ({"form": "gif"}, "png or store"),
        ({"stills": 0, "clips": 0}, "Nothing"), ({"subjects": 100_000, "stills": 10_000}, "more than 10,000,000"),
    ],
)  # fmt: skip
def test_a_senseless_order_is_told_by_its_option(tmp_path, cache, change, told):
    with pytest.raises(LoupeError, match=told):
        render_folder(Order(**{**vars(ORDER), **change}), tmp_path / "out", 1, cache)
    assert not (tmp_path / "out").exists()


def test_other_peoples_folders_are_left_alone(rendered, tmp_path, cache):
    out, _ = rendered
    with pytest.raises(LoupeError, match="another order"):
        render_folder(Order(**{**vars(ORDER), "seed": 4}), out, 1, cache)
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(LoupeError, match="not empty"):
        render_folder(ORDER, tmp_path, 1, cache)
    with pytest.raises(LoupeError, match=r"mine\.txt"):
        render_folder(ORDER, tmp_path / "mine.txt", 1, cache)
    with pytest.raises(LoupeError, match="--workers is 0"):
        render_folder(ORDER, tmp_path / "new", 0, cache)
    note = tmp_path / "old" / "order.json"
    note.parent.mkdir()
    note.write_text(json.dumps({**vars(ORDER), "generator": "0" * 12}))
    with pytest.raises(LoupeError, match="another generator version"):
        render_folder(ORDER, tmp_path / "old", 1, cache)


def test_the_card_counts_what_the_manifest_says(rendered, tmp_path):
    out, _ = rendered
    manifest = pd.read_parquet(out / "manifest.parquet")
    stills = manifest[manifest["set"] == "stills"]
    table = class_balance(stills, "stills")
    assert table["n"].tolist() == [2] * 8 and np.allclose(table["share"], 1 / 8) and np.allclose(table["plan"], 1 / 8)
    skewed = class_balance(stills[stills["label"] > 3], "stills")
    assert len(skewed) == 4 and np.allclose(skewed["share"].sum(), 1)
    people = attribute_balance(manifest.drop_duplicates("subject"))
    assert (people.groupby("attribute")["n"].sum() == 4).all()  # two in stills, two in clips
    assert datacard(manifest, "v", 3) == datacard(manifest, "v", 3)
    (tmp_path / "stills").mkdir()
    stills.drop(columns="path").assign(sample=range(16)).to_parquet(tmp_path / "stills/manifest.parquet")
    assert "seed 3" in prepared_card(tmp_path) and "| stills | train | 16 | 2 | 0 |" in prepared_card(tmp_path)
    with pytest.raises(LoupeError, match="no prepared set"):
        prepared_card(tmp_path / "stills")


def test_the_folder_writer_is_no_part_of_the_sets_version():
    """Its modules lie in a sub-package, which the version's hash leaves out; the generator imports none of them."""
    generator = [path for path in folder_module.Path(generate.__file__).parent.glob("*.py")]
    assert not any("faces.folder" in path.read_text(encoding="utf-8") for path in generator)
