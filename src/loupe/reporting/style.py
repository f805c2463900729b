"""The study's look: one matplotlib style, and one colour, marker and line for each arm wherever it appears."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import ParamSpec, TypeVar

from matplotlib import style

P = ParamSpec("P")
R = TypeVar("R")

STYLE_FILE = Path(__file__).with_name("loupe.mplstyle")
LAYERS: list[str] = ["default", str(STYLE_FILE)]  # later ones win; `loupe figure --style` adds the author's own

COLUMN = 3.35  # inches: one column of a two-column paper (85 mm)
PAGE = 6.85  # inches: both columns (174 mm)

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
    "mae-fusion-people": ArmStyle("MAE + dual view, share of people", VERMILLION, "p", "--"),
    "scratch-people": ArmStyle("from scratch, share of people", ORANGE, "h", "--"),
    "small-cnn": ArmStyle("small CNN from scratch", GREEN, "p", "-."),
    "probe-frames": ArmStyle("probe on frames of video", VERMILLION, "o", ":"),
    "probe-frames-smoothed": ArmStyle("probe on frames, smoothed", BLUE, "s"),
    "mae-fusion-frames": ArmStyle("MAE + dual view on frames", ORANGE, "^", "--"),
    "mae-fusion-frames-smoothed": ArmStyle("MAE + dual view on frames, smoothed", GREEN, "v", "-."),
    "hog": ArmStyle("HOG + logistic regression", PURPLE, "X", ":"),
    # micro-expressions
    "micron-bert": ArmStyle("Micron-BERT", VERMILLION, "o"),
    "micron-bert-full-attention": ArmStyle("Micron-BERT without DMA", GREEN, "v", "-."),
    "micron-bert-no-poi": ArmStyle("Micron-BERT without PoI", PURPLE, "X", ":"),
    "micron-bert-untrained": ArmStyle("Micron-BERT without pre-training", ORANGE, "^", "-."),
    "micron-bert-masking": ArmStyle("Micron-BERT, masked not swapped", SKY, "<", "--"),
    "micron-bert-skewed-50": ArmStyle("Micron-BERT, people of both halves alike", VERMILLION, "p", ":"),
    "micron-bert-skewed-75": ArmStyle("Micron-BERT, 75 % of people of one half", VERMILLION, "h", ":"),
    "micron-bert-skewed-100": ArmStyle("Micron-BERT, all people of one half", VERMILLION, "D", ":"),
    "micron-bert-shifted": ArmStyle("Micron-BERT, unseen looks", VERMILLION, "d", "--"),
    "micron-bert-untrained-shifted": ArmStyle("Micron-BERT without pre-training, unseen looks", ORANGE, "v", ":"),
    "flow-svm-shifted": ArmStyle("optical flow + SVM, unseen looks", BLUE, "P", ":"),
    "micron-bert-topk": ArmStyle("Micron-BERT, best patches only", BLACK, ">", "--"),
    "flow-svm": ArmStyle("optical flow + SVM", BLUE, "s", "--"),
    "flow-cnn": ArmStyle("optical flow + CNN", BLACK, "h", "-."),
    "difference-vit": ArmStyle("frame difference + ViT", PURPLE, "*", "--"),
    "difference-svm": ArmStyle("frame difference + SVM", SKY, "D", ":"),
    "lbp-top": ArmStyle("LBP-TOP + SVM", GREEN, "p", ":"),
    # floor and ceiling
    "majority": ArmStyle("majority class", GREY, "x", ":"),
    "au-oracle": ArmStyle("true action units (oracle)", BLACK, "*", ":"),
}

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


def styled(function: Callable[P, R]) -> Callable[P, R]:
    """Run `function` in the study's style, whatever style the caller has set."""

    @functools.wraps(function)
    def inside(*args: P.args, **kwargs: P.kwargs) -> R:
        with style.context(LAYERS):
            return function(*args, **kwargs)

    return inside
