"""Saved figures: the same bytes in every process, with the words that belong to them."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib import colors, rc_context

from loupe.errors import LoupeError
from loupe.reporting.drawing import Drawing, blank, render, save
from loupe.reporting.style import ARMS, VERDICTS, arm_order, arm_styles, styled

_SCRIPT = """
import sys
from pathlib import Path
import numpy as np, pandas as pd
from loupe.reporting.confusion import confusion_matrix
from loupe.reporting.drawing import save
from loupe.reporting.faces import face_rows
rng = np.random.default_rng(0)
table = pd.DataFrame({"task": "stills", "arm": "mae", "fraction": 1.0, "seed": 0, "split": "test", "sample": range(60),
                      "subject": "a", "label": rng.integers(0, 3, 60), "pred": rng.integers(0, 3, 60)})
save(confusion_matrix(table, ("One", "Two", "Three"), "mae"), Path(sys.argv[1]), "matrix")
save(face_rows({"row": rng.integers(0, 256, (4, 16, 16, 3), dtype=np.uint8)}, caption="Faces.", alt="Faces."), Path(sys.argv[1]), "faces")
"""


def _files(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def test_two_processes_write_the_same_bytes(tmp_path):
    # Different hash seeds, another day by the clock's zone, another user style: none of them may show.
    for name, seed, settings in (("one", "1", "axes.facecolor: red\n"), ("two", "2", "")):
        (tmp_path / name / "stage").mkdir(parents=True)
        (tmp_path / f"{name}-home").mkdir()
        (tmp_path / f"{name}-home" / "matplotlibrc").write_text(settings)
        environment = os.environ | {
            "PYTHONHASHSEED": seed,
            "MATPLOTLIBRC": str(tmp_path / f"{name}-home"),
            "TZ": "Asia/Tokyo" if seed == "2" else "UTC",
        }
        environment["PYTHONPATH"] = str(Path(__file__).resolve().parents[2] / "src")
        subprocess.run([sys.executable, "-c", _SCRIPT, str(tmp_path / name / "stage")], check=True, env=environment)
    first, second = _files(tmp_path / "one" / "stage"), _files(tmp_path / "two" / "stage")
    assert first == second
    assert set(first) == {"matrix.png", "matrix.svg", "matrix.pdf", "matrix.json", "faces.png", "faces.json"}


def _line(height: float) -> Drawing:
    figure = blank(2, 1)
    figure.subplots().plot([0, 1], [0, height])
    return Drawing(figure, "A line.", "A rising line.")


@pytest.mark.parametrize("kind", ["png", "svg", "pdf"])
def test_bytes_follow_the_content_and_carry_no_date_or_version(kind):
    content = render(_line(1), kind)
    assert content == render(_line(1), kind)
    assert content != render(_line(2), kind)
    import matplotlib

    for trace in (matplotlib.__version__.encode(), b"CreationDate", b"<dc:date>"):
        assert trace not in content


def test_json_beside_the_figure_tells_caption_alt_stage_and_command(tmp_path):
    paths = save(_line(1), tmp_path / "low-label", "curve", formats=("png", "svg"))
    assert [path.name for path in paths] == ["curve.png", "curve.svg"]
    about = json.loads((tmp_path / "low-label" / "curve.json").read_text())
    assert about == {"caption": "A line.", "alt": "A rising line.", "stage": "low-label", "command": "dvc repro low-label"}


def test_a_figure_without_words_and_an_unknown_format_are_refused(tmp_path):
    with pytest.raises(LoupeError, match="curve has no alt"):
        save(Drawing(blank(1, 1), "caption", " "), tmp_path, "curve")
    with pytest.raises(LoupeError, match="'gif'"):
        save(_line(1), tmp_path, "curve", formats=("gif",))


def test_a_notebook_shows_the_figure_with_its_alternative_text():
    data, metadata = _line(1)._repr_mimebundle_()
    assert data["image/png"].startswith(b"\x89PNG")
    assert metadata["image/png"]["alt"] == "A rising line."


def test_style_is_the_study_s_whatever_the_caller_set():
    @styled
    def sizes():
        from matplotlib import rcParams

        return [rcParams[f"{part}.labelsize"] for part in ("axes", "xtick", "ytick")] + [rcParams["legend.fontsize"], rcParams["font.size"]]

    with rc_context({"font.size": 3, "xtick.labelsize": 2}):
        assert min(sizes()) >= 8


def _luminance(colour: str) -> float:
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in colors.to_rgb(colour)]
    return float(np.dot([0.2126, 0.7152, 0.0722], linear))


def test_arms_of_one_figure_are_told_apart_without_colour():
    together = [
        ["single", "single-deep", "concat", "duplicate", "concat-no-attention", "concat-scratch"],
        ["scratch", "mae", "mae-fusion", "hog", "majority", "au-oracle"],
        [
            "micron-bert",
            "micron-bert-full-attention",
            "micron-bert-no-poi",
            "micron-bert-untrained",
            "flow-svm",
            "difference-svm",
            "majority",
        ],
    ]
    for arms in together:
        styles = [ARMS[arm] for arm in arms]
        assert len({style.marker for style in styles}) == len(arms)
        assert len({style.colour for style in styles}) == len(arms)
    assert len({marker for _, marker in VERDICTS.values()}) == len(VERDICTS)
    for style in ARMS.values():
        assert _luminance(style.colour) < 0.9  # seen on white paper


def test_unknown_arms_get_styles_of_their_own_in_any_order():
    forwards, backwards = arm_styles(["zeta", "mae", "alpha"]), arm_styles(["alpha", "zeta"])
    assert (forwards["zeta"].colour, forwards["zeta"].marker) == (backwards["zeta"].colour, backwards["zeta"].marker)
    assert forwards["zeta"] != forwards["alpha"]
    assert forwards["mae"] == ARMS["mae"]
    assert arm_order(["zeta", "scratch", "alpha", "mae"]) == ["mae", "scratch", "alpha", "zeta"]
