"""The study's look: one matplotlib style, and one colour, marker and line for each arm wherever it appears."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ParamSpec, TypeVar

from matplotlib import rc_params_from_file, rcParams, style

from loupe.errors import LoupeError

P = ParamSpec("P")
R = TypeVar("R")

STYLE_FILE = Path(__file__).with_name("loupe.mplstyle")
LAYERS: list[str] = ["default", str(STYLE_FILE)]  # later ones win; `loupe figure --style` adds the author's own

PAGE = 6.85  # inches: both columns of a two-column paper (174 mm)

# Okabe and Ito, "Color Universal Design" (2008): told apart with every common colour blindness.
BLACK, ORANGE, SKY, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
YELLOW, BLUE, VERMILLION, PURPLE = "#F0E442", "#0072B2", "#D55E00", "#CC79A7"
GREY = "#767676"


@dataclass(frozen=True)
class ArmStyle:
    """How one arm is drawn. Marker and dash differ between arms that share a figure, so that grey print still tells them apart."""

    label: str
    colour: str
    marker: str
    dash: str = "-"


ARMS: dict[str, ArmStyle] = {
    # stills: the published method is vermillion, what it must beat is blue
    "concat": ArmStyle("dual view (concat)", VERMILLION, "o"),
    "mae-fusion": ArmStyle("MAE + dual view", VERMILLION, "o"),
    "single": ArmStyle("single view", BLUE, "s", "--"),
    "mae": ArmStyle("MAE, single view", BLUE, "s", "--"),
    "single-deep": ArmStyle("single view, depth-matched", GREEN, "v", "-."),
    "duplicate": ArmStyle("dual view, same face twice", SKY, "D", ":"),
    "shuffled": ArmStyle("dual view, another person's", YELLOW, "P", ":"),
    "scratch": ArmStyle("from scratch", ORANGE, "^", "-."),
    "concat-scratch": ArmStyle("dual view without MAE", ORANGE, "^", "-."),
    "concat-no-attention": ArmStyle("dual view without fusion attention", PURPLE, "X", ":"),
    "concat-no-local": ArmStyle("fusion without local attention", BLUE, "<", "--"),
    "concat-no-importance": ArmStyle("fusion without importance", GREEN, ">", "--"),
    "concat-highlight": ArmStyle("auxiliary view: rest dimmed", SKY, "p", "--"),
    "concat-mirror": ArmStyle("auxiliary view: mirrored half", BLACK, "h", "--"),
    "concat-warp": ArmStyle("auxiliary view: warped", ORANGE, "d", "--"),
    "concat-camera": ArmStyle("auxiliary view: second camera", PURPLE, "*", "--"),
    "single-augmented": ArmStyle("single view, strong augmentation", BLUE, "<", ":"),
    "concat-augmented": ArmStyle("dual view, strong augmentation", VERMILLION, ">", ":"),
    "single-transfer": ArmStyle("single view after labelled clips", GREEN, "D", "--"),
    "concat-transfer": ArmStyle("dual view after labelled clips", ORANGE, "P", "--"),
    "single-units": ArmStyle("single view, action units", SKY, "v", "-."),
    "concat-units": ArmStyle("dual view, action units", PURPLE, "d", "-."),
    "small-cnn": ArmStyle("small CNN from scratch", GREEN, "p", "-."),
    "fixmatch": ArmStyle("small CNN, FixMatch", BLACK, "h", ":"),
    "mae-probe": ArmStyle("MAE, frozen, linear probe", SKY, "D", "--"),
    "probe": ArmStyle("probe on frames of video", VERMILLION, "o", ":"),
    "hog": ArmStyle("HOG + logistic regression", PURPLE, "X", ":"),
    # micro-expressions
    "micron-bert": ArmStyle("Micron-BERT", VERMILLION, "o"),
    "micron-bert-full-attention": ArmStyle("Micron-BERT without DMA", GREEN, "v", "-."),
    "micron-bert-no-poi": ArmStyle("Micron-BERT without PoI", PURPLE, "X", ":"),
    "micron-bert-untrained": ArmStyle("Micron-BERT without pre-training", ORANGE, "^", "-."),
    "micron-bert-masking": ArmStyle("Micron-BERT, masked not swapped", SKY, "<", "--"),
    "micron-bert-mean": ArmStyle("Micron-BERT, mean read-out", SKY, "d", ":"),
    "micron-bert-topk": ArmStyle("Micron-BERT, best patches only", BLACK, ">", "--"),
    "micron-bert-painting": ArmStyle("Micron-BERT, frame painted anew", PURPLE, "d", "--"),
    "micron-finetuned-scratch": ArmStyle("Micron-BERT fine-tuned, from scratch", ORANGE, "^", "-."),
    "micron-finetuned": ArmStyle("Micron-BERT fine-tuned, own pre-training", VERMILLION, "o"),
    "micron-finetuned-mae": ArmStyle("Micron-BERT fine-tuned, from MAE-Face", GREEN, "v", "-."),
    "micron-finetuned-mae-own": ArmStyle("Micron-BERT fine-tuned, MAE-Face then own", PURPLE, "X", ":"),
    "micron-finetuned-mae-token": ArmStyle("the same from MAE-Face, token difference", BLACK, "<", "--"),
    "micron-finetuned-mae-mean": ArmStyle("the same from MAE-Face, mean read-out", YELLOW, "P", ":"),
    "micron-finetuned-mae-no-poi": ArmStyle("the same from MAE-Face, without PoI", BLUE, ">", "--"),
    "micron-finetuned-mae-full-attention": ArmStyle("the same from MAE-Face, without DMA", BLACK, "h", "-."),
    "flow-svm": ArmStyle("optical flow + SVM", BLUE, "s", "--"),
    "flow-cnn": ArmStyle("optical flow + CNN", BLACK, "h", "-."),
    "difference-vit": ArmStyle("frame difference + ViT", PURPLE, "*", "--"),
    "difference-svm": ArmStyle("frame difference + SVM", SKY, "D", ":"),
    "lbp-top": ArmStyle("LBP-TOP + SVM", GREEN, "p", ":"),
    # floor and ceiling
    "majority": ArmStyle("majority class", GREY, "x", ":"),
    "au-oracle": ArmStyle("true action units (oracle)", BLACK, "*", ":"),
}

_DASHES = {"-": "", "--": (3.7, 1.6), "-.": (6.4, 1.6, 1, 1.6), ":": (1, 1.65)}  # matplotlib's, as seaborn wants them

_SPARE = [(colour, marker) for marker in ("<", ">", "p", "h", "*", "d") for colour in (GREEN, PURPLE, SKY, BLACK, ORANGE, BLUE)]

# Verdicts are told by shape and word as well as by colour.
VERDICTS: dict[str, tuple[str, str]] = {
    "supported": (BLUE, "o"),
    "not supported": (VERMILLION, "X"),
    "inconclusive": (GREY, "D"),
    "not run at this scale": (GREY, "x"),
}


def arm_styles(arms: Iterable[str]) -> dict[str, ArmStyle]:
    """Style of every arm in `arms`, in the given order. Arms the study does not name get spare styles, in alphabetical order."""
    arms = list(dict.fromkeys(arms))
    unknown = sorted(arm for arm in arms if arm not in ARMS)
    spare = {arm: ArmStyle(arm, *_SPARE[index % len(_SPARE)], dash="--") for index, arm in enumerate(unknown)}
    return {arm: ARMS.get(arm) or spare[arm] for arm in arms}


def seaborn_styles(arms: Iterable[str]) -> dict[str, dict[str, object]]:
    """The same as seaborn's arguments, by the arms' labels: colours (palette), markers, dashes."""
    styles = arm_styles(arms).values()
    return {
        "palette": {style.label: style.colour for style in styles},
        "markers": {style.label: style.marker for style in styles},
        "dashes": {style.label: _DASHES[style.dash] for style in styles},
    }


def arm_label(arm: str) -> str:
    """The name of an arm as figures and tables print it."""
    return arm_styles([arm])[arm].label


def arm_order(arms: Iterable[str]) -> list[str]:
    """The arms in the order of `ARMS`, those the study does not name last, alphabetically."""
    known = list(ARMS)
    return sorted(set(arms), key=lambda arm: (known.index(arm) if arm in ARMS else len(known), arm))


_METRICS = {
    "macro_f1": "macro-F1",
    "uf1": "UF1",
    "uar": "UAR",
    "auroc": "AUROC",
    "sensitivity_at_fpr05": "sensitivity at 5 % false alarms",
}


def metric_name(metric: str) -> str:
    """The metric as the field writes it."""
    return _METRICS.get(metric, metric.replace("_", " "))


def percent(share: float, _: object = None) -> str:
    """A share as ticks print it."""
    return f"{100 * share:g} %"


def styled(function: Callable[P, R]) -> Callable[P, R]:
    """Run `function` in the study's style, whatever style the caller has set."""

    @functools.wraps(function)
    def inside(*args: P.args, **kwargs: P.kwargs) -> R:
        with style.context(LAYERS):
            return function(*args, **kwargs)

    return inside


@contextmanager
def styled_by(style_file: Path | None) -> Iterator[None]:
    """Draw with an author's matplotlib style on top of the study's own. Raises LoupeError for a file that is no such style."""
    if style_file is None:
        yield
        return
    try:
        lines = [line.split("#")[0] for line in style_file.read_text(encoding="utf-8").splitlines()]
        unknown = [line.split(":")[0].strip() for line in lines if line.strip() and line.split(":")[0].strip() not in rcParams]
        if unknown:  # matplotlib itself would only log a warning
            raise ValueError(f"it has no setting {unknown[0]!r}")
        rc_params_from_file(style_file, fail_on_error=True, use_default_template=False)
    except (OSError, ValueError) as error:
        raise LoupeError(f"{style_file} is no matplotlib style file ({error}): write lines such as `font.size: 9`.") from error
    LAYERS.append(str(style_file))
    try:
        yield
    finally:
        LAYERS.pop()
