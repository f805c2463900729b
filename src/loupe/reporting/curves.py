"""Curves: a quantity over training steps, a score over the share of labels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from loupe.errors import LoupeError
from loupe.evaluation.effects import effect_of
from loupe.evaluation.statistics import RESAMPLES, bootstrap_interval
from loupe.reporting.drawing import Drawing, blank
from loupe.reporting.selection import one_task, require
from loupe.reporting.style import ARMS, BLUE, GREY, PAGE, arm_order, arm_styles, metric_name, styled


@styled
def training_curves(history: pd.DataFrame, names: Sequence[str] = (), caption: str = "", log: Sequence[str] = ()) -> Drawing:
    """One panel for each quantity in `names` (all of them by default), one line for each run; several runs in the colours of their arms.

    Args:
        history: columns run, step, name, value. A run belongs to the arm whose name it starts with (`concat-0.1-3` to `concat`).
        names: quantities, in order.
        log: those of them on a logarithmic scale.

    Raises LoupeError for missing columns, an empty history and a quantity that nobody recorded.
    """
    require(history, ("run", "step", "name", "value"), "history")
    names = list(names) or list(dict.fromkeys(history["name"]))
    for name in names:
        if not (history["name"] == name).any():
            raise LoupeError(f"No run recorded {name!r}: the history holds {', '.join(sorted(set(history['name'])))}.")
    columns = min(len(names), 3)
    rows = -(-len(names) // columns)
    figure = blank(PAGE if columns > 1 else PAGE * 0.6, 2.3 * rows)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    said = []
    for axis, name in zip(axes, names, strict=False):
        part = history[history["name"] == name]
        runs = list(dict.fromkeys(part["run"]))
        # A single run needs neither a name nor the colour of an arm: a pre-training is none.
        arms = {run: _arm_of(run) if history["run"].nunique() > 1 else None for run in runs}
        styles = arm_styles(arm for arm in arms.values() if arm)
        labelled: set[str | None] = set()
        for run in runs:
            line = part[part["run"] == run].sort_values("step")
            style = styles.get(arms[run])
            label = style.label if style and arms[run] not in labelled else None
            labelled.add(arms[run])
            axis.plot(
                line["step"],
                line["value"],
                color=style.colour if style else BLUE,
                linestyle=style.dash if style else "-",
                alpha=0.9 if len(runs) <= 6 else 0.5,
                linewidth=1.4 if len(runs) <= 6 else 0.9,
                label=label,
            )
        if name in log:
            axis.set_yscale("log")
        axis.set_title(name.replace("_", " "))
        axis.set_xlabel("step")
        if axis.get_legend_handles_labels()[1]:
            axis.legend()
        ends = part.sort_values("step").groupby("run")["value"].agg(["first", "last"])
        said.append(f"{name.replace('_', ' ')} goes from {ends['first'].mean():.3g} to {ends['last'].mean():.3g}")
    for axis in axes[len(names) :]:
        axis.set_visible(False)
    count = history["run"].nunique()
    lines = f"{count} runs" if count > 1 else "one run"
    return Drawing(
        figure, caption or f"Training, {lines}: {', '.join(names)} over steps.", f"Training curves of {lines}: {'; '.join(said)}."
    )


def low_label_points(
    predictions: pd.DataFrame, classes: int, generator: np.random.Generator, metric: str = "macro_f1", resamples: int = RESAMPLES
) -> pd.DataFrame:
    """The score of each arm at each share of labels: columns arm, fraction, value, low, high, sd, n_seeds, n_subjects.

    `value` is the mean over seeds of the score of the pooled predictions; `low` and `high` bound the 95 % interval over resampled subjects,
    seeds averaged inside; `sd` is the spread of the seeds' own scores (ddof 1, NaN for a single seed).
    """
    require(predictions, ("arm", "fraction", "seed", "sample", "subject", "label", "pred"), "predictions")
    one_task(predictions)
    rows = []
    for arm in arm_order(predictions["arm"]):
        for fraction, part in predictions[predictions["arm"] == arm].groupby("fraction", sort=True):
            interval = bootstrap_interval(effect_of(part, None, metric, classes, names=(arm, "")), generator, resamples=resamples)
            scores = [
                effect_of(run, None, metric, classes).resampled(np.ones((1, run["subject"].nunique())))[0]
                for _, run in part.groupby("seed")
            ]
            rows.append(
                {
                    "arm": arm,
                    "fraction": float(fraction),
                    "value": interval.value,
                    "low": interval.low,
                    "high": interval.high,
                    "sd": float(np.std(scores, ddof=1)) if len(scores) > 1 else float("nan"),
                    "n_seeds": len(scores),
                    "n_subjects": part["subject"].nunique(),
                }
            )
    return pd.DataFrame(rows)


@styled
def low_label_curves(
    points: pd.DataFrame, metric: str = "macro_f1", floor: float | None = None, ceiling: float | None = None, caption: str = ""
) -> Drawing:
    """Score over the share of labels (logarithmic), one curve an arm, its 95 % interval over subjects as a band.

    Args:
        points: what `low_label_points` returns.
        floor, ceiling: scores drawn as level lines: what no skill gives (majority class), what the best possible input gives (AU oracle).
    """
    require(points, ("arm", "fraction", "value", "low", "high", "n_seeds", "n_subjects"), "points")
    fractions = sorted(points["fraction"].unique())
    styles = arm_styles(arm_order(points["arm"]))
    figure = blank(PAGE * 0.8, 3.3)
    axis = figure.subplots()
    for arm, style in styles.items():
        line = points[points["arm"] == arm].sort_values("fraction")
        axis.fill_between(line["fraction"], line["low"], line["high"], color=style.colour, alpha=0.14, linewidth=0)
        axis.plot(line["fraction"], line["value"], color=style.colour, marker=style.marker, linestyle=style.dash, label=style.label)
    for height, word in ((floor, "floor"), (ceiling, "ceiling")):
        if height is not None:
            axis.axhline(height, color=GREY, linewidth=1, linestyle=(0, (1, 2)))
            axis.annotate(  # beside the axes, where no curve passes
                f"{word} {height:.2f}", (1.01, height), xycoords=("axes fraction", "data"), ha="left", va="center", fontsize=8, color=GREY
            )
    axis.set_xscale("log")
    axis.xaxis.set_major_locator(FixedLocator(fractions))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:g} %"))
    axis.set_xlabel("share of the training labels")
    axis.set_ylabel(metric_name(metric))
    axis.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
    seeds, subjects = sorted(set(points["n_seeds"])), sorted(set(points["n_subjects"]))
    caption = caption or (
        f"{metric_name(metric)} on {_span(subjects)} unseen people over the share of training labels; mean of {_span(seeds)} seeds, "
        "band: 95 % interval over people."
    )
    said = []
    for fraction in fractions:
        at = points[points["fraction"] == fraction]
        said.append(f"at {100 * fraction:g} %: " + ", ".join(f"{styles[row.arm].label} {row.value:.2f}" for row in at.itertuples()))
    return Drawing(figure, caption, f"{metric_name(metric)} over the share of labels. " + "; ".join(said) + ".")


def _span(values: Sequence[int]) -> str:
    return str(values[0]) if len(values) == 1 else f"{values[0]} to {values[-1]}"


def _arm_of(run: str) -> str | None:
    """The longest arm name that `run` starts with, followed by nothing or by a separator."""
    fitting = [arm for arm in ARMS if run == arm or (run.startswith(arm) and not run[len(arm)].isalnum())]
    return max(fitting, key=len) if fitting else None
