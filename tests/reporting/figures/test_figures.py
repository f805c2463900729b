"""Figures by name: drawn from a study alone, in an author's style, with one sentence for each mistake."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score

from loupe.config import load
from loupe.data.manifest import complete
from loupe.data.store import Store
from loupe.errors import LoupeError
from loupe.evaluation.claim_book import PAPERS
from loupe.reporting import figures, style
from loupe.reporting.faces import contact_sheet
from loupe.reporting.figures.claims import part_effects
from loupe.reporting.figures.registry import FIGURES
from loupe.reporting.style import ARMS
from loupe.study import Study

ROOT = Path(__file__).resolve().parents[3]
STATE = {"condition": "", "regime": "labels", "smoothed": False, "pretraining": "none", "dose": np.nan}


@pytest.fixture
def study(tmp_path, claims):
    (tmp_path / "study" / "reports").mkdir(parents=True)
    claims.to_csv(tmp_path / "study" / "reports" / "claims.csv", index=False)
    (tmp_path / "study" / "conf").symlink_to(ROOT / "conf")
    return Study(tmp_path / "study")


@pytest.fixture
def run(run_of):
    """One run on test people with the state's columns: arm, share, seed, right answers of each subject, task, and what else is so."""

    def build(arm, fraction, seed, rights, task="stills", **columns):
        return run_of(arm, fraction, seed, rights, task=task, classes=3 if task == "micro" else 2).assign(**STATE | columns)

    return build


def leave(study: Study, stage: str, *tables: pd.DataFrame) -> None:
    folder = study.root / "data" / "runs" / stage
    folder.mkdir(parents=True)
    pd.concat(tables, ignore_index=True).to_parquet(folder / "predictions.parquet")


def store(rows, first=0):
    """A store whose picture i is uniformly grey level first + i."""
    table = complete(pd.DataFrame(rows or {"sample": []}).assign(sample=range(len(rows))))
    return Store(np.repeat(first + np.arange(len(rows), dtype=np.uint8), 192).reshape(-1, 8, 8, 3), table)


def test_notebooks_draw_every_figure_and_no_other():
    drawn = set()
    for script in (ROOT / "notebooks").glob("*.py"):
        for name in re.findall(r'session\.draw\(f?"([^"]+)"\)', script.read_text(encoding="utf-8")):
            papers = PAPERS if "{paper}" in name else ("",)
            drawn |= {f"{script.stem.split('-', 1)[1]}/{name.replace('{paper}', paper)}" for paper in papers}
    assert drawn == set(figures.names())


def test_a_figure_is_written_in_three_formats_that_are_the_same_twice(study, tmp_path):
    paths = figures.write(study, "effects-emotic-mae", tmp_path / "a")
    assert [path.suffix for path in paths] == [".png", ".svg", ".pdf"]
    for path in figures.write(study, "claims/effects-emotic-mae", tmp_path / "b"):
        assert path.read_bytes() == (tmp_path / "a/claims" / path.name).read_bytes()
    about = (tmp_path / "a/claims/effects-emotic-mae.json").read_text(encoding="utf-8")
    assert "the smallest effect of interest. On generated faces." in about and "loupe figure claims/effects-emotic-mae" in about


def test_a_photograph_comes_in_three_formats_as_pixels_of_about_its_own_size(study, tmp_path, monkeypatch):
    faces = np.random.default_rng(0).integers(0, 256, (12, 64, 64, 3), dtype=np.uint8)  # noise: nothing that a format could shrink
    monkeypatch.setitem(FIGURES, "data/pretraining-faces", lambda study: contact_sheet(faces, columns=6, caption="Noise."))
    png, svg, pdf = figures.write(study, "data/pretraining-faces", tmp_path / "a")
    assert svg.read_text(encoding="utf-8").count("<image") == 1 == pdf.read_bytes().count(b"/Subtype /Image")
    assert all(path.stat().st_size < 2 * png.stat().st_size for path in (svg, pdf))


def test_an_authors_style_counts_and_is_gone_afterwards(study, tmp_path):
    own = tmp_path / "own.mplstyle"
    own.write_text("axes.facecolor: 123456\n")
    restyled = figures.write(study, "effects-emotic-mae", tmp_path / "a", own)[1].read_text()
    plain = figures.write(study, "effects-emotic-mae", tmp_path / "b")[1].read_text()
    assert "#123456" in restyled and "#123456" not in plain
    assert len(style.LAYERS) == 2


@pytest.mark.parametrize("text", ["axes.facecolour: red\n", "axes.facecolor: no-such-colour\n"])
def test_a_bad_style_file_is_one_sentence(study, tmp_path, text):
    own = tmp_path / "own.mplstyle"
    own.write_text(text)
    with pytest.raises(LoupeError, match="own.mplstyle"):
        figures.write(study, "effects-emotic-mae", tmp_path / "a", own)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nonsense", "low-label/curves"),
        ("confusion", "dual-view/confusion"),
        ("confusion", "micro-expressions/confusion"),
        ("low-label/curves", "data/runs/low-label/predictions.parquet is missing: run `dvc repro low-label`"),
        ("start-here/classes", "data/prepared/labelled is missing: run `dvc repro data`"),
    ],
)
def test_unknown_names_and_missing_inputs_name_the_way_out(study, name, words):
    with pytest.raises(LoupeError, match=words):
        figures.draw(study, name)


def test_curves_leave_out_what_is_no_share_of_the_labels(study, run, monkeypatch):
    monkeypatch.setattr(Study, "store", lambda self, name: SimpleNamespace(class_names=["no", "yes"]))
    curve = run("mae", 1.0, 0, [4, 3, 3])
    leave(
        study, "low-label", curve, run("mae", 1.0, 0, [0, 0, 0], regime="people"),
        run("mae", 1.0, 0, [0, 0, 0], task="frames", regime="frames"), run("majority", 1.0, 0, [2, 2, 2]),
    )  # fmt: skip
    drawing = figures.draw(study, "low-label/curves")
    (line,) = [line for line in drawing.figure.axes[0].lines if line.get_color() == ARMS["mae"].colour and len(line.get_xdata())]
    assert line.get_ydata().tolist() == pytest.approx([f1_score(curve["label"], curve["pred"], average="macro")])
    assert "Macro-F1 on 3 unseen people" in drawing.caption and "Dotted: majority class (floor)." in drawing.caption


def test_effects_of_parts_are_differences_of_the_usual_rows(study, run):
    rights = {
        "micron-bert": [2, 4, 3],
        "micron-bert-full-attention": [1, 1, 4],
        "micron-bert-no-poi": [4, 4, 4],
        "micron-bert-untrained": [0, 1, 2],
    }
    tables = {arm: run(arm, 1.0, 0, right, task="micro") for arm, right in rights.items()}
    leave(study, "micro-expressions", tables["micron-bert"])
    shifted = run("micron-bert-untrained", 1.0, 0, [4, 4, 4], task="micro", condition="shifted")
    leave(study, "ablations", *(table for arm, table in tables.items() if arm != "micron-bert"), shifted)
    study.config = load(["scale=laptop"], ROOT)
    scores = {arm: f1_score(table["label"], table["pred"], average="macro") for arm, table in tables.items()}
    effects = part_effects(study, "micro").set_index("arm")
    assert list(effects.index) == list(rights)[1:]
    for arm, effect in effects["effect"].items():
        assert effect == pytest.approx(scores[arm] - scores["micron-bert"])
    assert "without pre-training" in figures.draw(study, "ablations/effects-micro").alt


def pixels(drawing):
    """First pixel of each picture, row by row."""
    return [int(axis.images[0].get_array()[0, 0, 0]) for axis in drawing.figure.axes]


def of(**stores):
    return SimpleNamespace(store=stores.get)


def test_columns_are_test_people_and_rows_show_the_same_person():
    splits = np.repeat(["train", "test", "test", "test", "test", "val"], 2)
    people = [{"subject": f"g{i // 2}", "split": split, "label": 0, "label_name": "Neutral"} for i, split in enumerate(splits)]
    labelled, camera, empty = store(people), store(people, 100), store([])
    shift = store([{"subject": name, "split": "test", "label": 0} for name in ("g4", "g4", "g3", "g2", "g1")], 200)
    drawing = figures.draw(of(labelled=labelled, camera=camera, shift=shift), "data/other-looks")
    assert pixels(drawing) == [2, 4, 6, 8, 102, 104, 106, 108, 204, 203, 202, 200]
    assert drawing.caption.startswith("4 test people: a still, the same instant from 20 to 40 degrees to the side, and other pictures")
    drawing = figures.draw(of(labelled=labelled, camera=camera, shift=empty), "data/other-looks")
    assert len(pixels(drawing)) == 8 and drawing.caption == "4 test people: a still and the same instant from 20 to 40 degrees to the side."
    for name in ("other-looks", "macro-clip"):
        with pytest.raises(figures.NothingToDraw):
            figures.draw(of(labelled=labelled, camera=empty, shift=empty, macro=empty), name)


def test_a_clip_is_shown_in_the_order_of_time():
    rows = [{"subject": "g0", "clip": "a", "frame": frame, "fps": 30.0, "label": 0, "label_name": "Neutral"} for frame in (0, 5, 10)]
    named = ((10, 0, "Neutral"), (0, 0, "Neutral"), (5, 4, "Happiness"))
    rows += [
        {"subject": "g1", "clip": "b", "frame": frame, "fps": 30.0, "label": label, "label_name": name} for frame, label, name in named
    ]
    drawing = figures.draw(of(macro=store(rows)), "data/macro-clip")
    assert pixels(drawing) == [4, 5, 3]
    assert [axis.get_title() for axis in drawing.figure.axes] == ["Neutral\n0.0 s", "Happiness\n0.2 s", "Neutral\n0.3 s"]
