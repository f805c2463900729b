"""Redrawing figures: every figure that a notebook saves can be redrawn, words are kept, an author's style counts, mistakes are one sentence.

That the bytes are those of the notebooks is compared on a whole study in tests/wiring/test_study.py.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from loupe.reporting.redraw import FIGURES, redraw

from loupe.errors import LoupeError
from loupe.reporting import style
from loupe.reporting.drawing import save
from loupe.reporting.effects import effect_plot
from loupe.reporting.faces import contact_sheet

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def study(tmp_path):
    root = tmp_path / "study"
    rows = [{"id": "a", "paper": "emotic-mae", "sentence": "It helps.", "effect": 0.1, "low": 0.05, "high": 0.15, "sesoi": 0.05, "verdict": "supported"},
            {"id": "b", "paper": "emotic-mae", "sentence": "Not run.", "effect": np.nan, "low": np.nan, "high": np.nan, "sesoi": 0.05, "verdict": "not run at this scale"}]  # fmt: skip
    claims = pd.DataFrame(rows)
    (root / "reports").mkdir(parents=True)
    claims.to_csv(root / "reports" / "claims.csv", index=False)
    save(
        effect_plot(claims[claims["effect"].notna()], caption="Of one claim."),
        root / "reports" / "figures" / "claims",
        "effects-emotic-mae",
    )
    return root


def test_every_figure_of_the_notebooks_can_be_redrawn():
    """Names as the notebooks write them; a loop over tasks or papers writes one for each."""
    saved = set()
    for script in (ROOT / "notebooks").glob("*.py"):
        stage = script.stem.split("-", 1)[1]
        for name in re.findall(r'save\(\w+, session\.figures, f?"([^"]+)"\)', script.read_text(encoding="utf-8")):
            pattern = re.escape(f"{stage}/{name}").replace(r"\{task\}", r"[\w-]+").replace(r"\{paper\}", r"[\w-]+")
            drawn = [figure for figure in FIGURES if re.fullmatch(pattern, figure)]
            assert drawn, f"{stage}/{name} has no function in loupe.reporting.drawn_again"
            saved |= set(drawn)
    assert saved == set(FIGURES)


def test_a_redrawn_figure_has_the_bytes_and_the_words_of_the_first(study, tmp_path):
    paths = redraw(study, "effects-emotic-mae", tmp_path / "out")
    assert [path.suffix for path in paths] == [".png", ".svg", ".pdf"]
    for path in paths:
        assert path.read_bytes() == (study / "reports/figures/claims" / path.name).read_bytes()
    assert "Of one claim." in (tmp_path / "out/claims/effects-emotic-mae.json").read_text()


def test_a_photograph_comes_in_three_formats_as_pixels_of_about_its_own_size(tmp_path, monkeypatch):
    faces = np.random.default_rng(0).integers(0, 256, (12, 64, 64, 3), dtype=np.uint8)  # noise: nothing that a format could shrink
    monkeypatch.setitem(FIGURES, "data/pretraining-faces", lambda results: contact_sheet(faces, columns=6, caption="Noise."))
    png, svg, pdf = redraw(tmp_path, "data/pretraining-faces", tmp_path / "a")
    assert (png.suffix, svg.suffix, pdf.suffix) == (".png", ".svg", ".pdf")
    assert svg.read_text(encoding="utf-8").count("<image") == 1 == pdf.read_bytes().count(b"/Subtype /Image")
    assert all(path.stat().st_size < 2 * png.stat().st_size for path in (svg, pdf))
    for path in redraw(tmp_path, "data/pretraining-faces", tmp_path / "b"):
        assert path.read_bytes() == (tmp_path / "a/data" / path.name).read_bytes()


def test_an_authors_style_counts_and_is_gone_afterwards(study, tmp_path):
    own = tmp_path / "own.mplstyle"
    own.write_text("axes.facecolor: 123456\n")
    restyled = redraw(study, "claims/effects-emotic-mae", tmp_path / "a", own)[1].read_text()
    plain = redraw(study, "claims/effects-emotic-mae", tmp_path / "b")[1].read_text()
    assert "#123456" in restyled and "#123456" not in plain
    assert len(style.LAYERS) == 2


@pytest.mark.parametrize("text", ["axes.facecolour: red\n", "axes.facecolor: no-such-colour\n"])
def test_a_bad_style_file_is_one_sentence(study, tmp_path, text):
    own = tmp_path / "own.mplstyle"
    own.write_text(text)
    with pytest.raises(LoupeError, match="own.mplstyle"):
        redraw(study, "claims/effects-emotic-mae", tmp_path / "a", own)


def test_unknown_names_and_missing_inputs_name_the_way_out(study, tmp_path):
    with pytest.raises(LoupeError, match="low-label/curves"):
        redraw(study, "nonsense", tmp_path)
    with pytest.raises(LoupeError, match="dual-view/confusion, micro-expressions/confusion"):
        redraw(study, "confusion", tmp_path)
    with pytest.raises(LoupeError, match="dvc repro low-label"):
        redraw(study, "low-label/curves", tmp_path)
