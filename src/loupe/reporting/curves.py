"""Curves: a quantity over training steps, a score over the share of labels."""

from __future__ import annotations

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.ticker import FixedLocator, NullLocator

from loupe.evaluation.effects import effect_of
from loupe.evaluation.statistics import RESAMPLES, bootstrap_interval
from loupe.reporting.drawing import Drawing, blank
from loupe.reporting.selection import one_state, require
from loupe.reporting.style import BLUE, GREY, PAGE, arm_label, arm_order, percent, seaborn_styles, styled


@styled
def training_curves(history: pd.DataFrame, caption: str) -> Drawing:
    """One panel for each quantity of one run.

    history: columns step, name (of the quantity), value. Raises LoupeError for a missing column and an empty history.
    """
    require(history, ("step", "name", "value"), "history")
    panels = {name: part.sort_values("step") for name, part in history.groupby("name", sort=False)}
    columns = min(len(panels), 3)
    rows = -(-len(panels) // columns)
    figure = blank(PAGE if columns > 1 else PAGE * 0.6, 2.3 * rows)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    told = []
    for axis, (name, part) in zip(axes, panels.items(), strict=False):
        sns.lineplot(part, x="step", y="value", color=BLUE, linewidth=1.4, estimator=None, ax=axis)
        quantity = name.replace("_", " ")
        axis.set(title=quantity, ylabel="")
        told.append(f"{quantity} goes from {part['value'].iloc[0]:.3g} to {part['value'].iloc[-1]:.3g}")
    for axis in axes[len(panels) :]:
        axis.set_visible(False)
    return Drawing(figure, caption, f"Training curves of one run: {'; '.join(told)}.")


def low_label_points(predictions: pd.DataFrame, classes: int, generator: np.random.Generator, resamples: int = RESAMPLES) -> pd.DataFrame:
    """Macro-F1 of each arm at each share of labels: columns arm, fraction, value, low, high, n_seeds, n_subjects.

    `value` is the mean over seeds of the score of the pooled predictions; `low` and `high` bound the 95 % interval over people
    and seeds. Raises LoupeError where several tasks, splits or states are mixed.
    """
    require(predictions, ("arm", "fraction", "seed", "sample", "subject", "label", "pred"), "predictions")
    one_state(predictions)
    rows = []
    for arm in arm_order(predictions["arm"]):
        for share, part in predictions[predictions["arm"] == arm].groupby("fraction", sort=True):
            rows.append({"arm": arm, "fraction": float(share)} | score_interval(part, "macro_f1", classes, generator, resamples))
    return pd.DataFrame(rows)


def score_interval(part: pd.DataFrame, metric: str, classes: int, generator: np.random.Generator, resamples: int) -> dict[str, float]:
    """Score of one arm's pooled predictions, mean over seeds, its 95 % interval over people and seeds: value, low, high, n_seeds,
    n_subjects."""
    interval = bootstrap_interval(effect_of(part, None, metric, classes, names=(part["arm"].iloc[0], "")), generator, resamples=resamples)
    bounds = {"value": interval.value, "low": interval.low, "high": interval.high}
    return bounds | {"n_seeds": part["seed"].nunique(), "n_subjects": part["subject"].nunique()}


@styled
def low_label_curves(points: pd.DataFrame, floor: float, ceiling: float | None = None) -> Drawing:
    """Macro-F1 over the share of labels (logarithmic), one curve an arm, its 95 % interval over people and seeds as a band.

    Args:
        points: what `low_label_points` returns.
        floor, ceiling: scores drawn as level lines: what no skill gives (majority class), what true action units give (AU oracle).
    """
    require(points, ("arm", "fraction", "value", "low", "high", "n_subjects"), "points")
    fractions = sorted(points["fraction"].unique())
    arms = arm_order(points["arm"])
    look = seaborn_styles(arms)
    figure = blank(PAGE * 0.8, 3.3)
    axis = figure.subplots()
    labelled = points.assign(label=points["arm"].map(arm_label))
    sns.lineplot(
        labelled, x="fraction", y="value", hue="label", style="label", **look, errorbar=None, markersize=6.5, markeredgewidth=0, ax=axis
    )
    for label, band in labelled.sort_values("fraction").groupby("label"):
        axis.fill_between(band["fraction"], band["low"], band["high"], color=look["palette"][label], alpha=0.14, linewidth=0)
    for height, word in ((floor, "floor"), (ceiling, "ceiling")):
        if height is not None:
            axis.axhline(height, color=GREY, linewidth=1, linestyle=(0, (1, 2)))
            beside = {"xycoords": ("axes fraction", "data"), "ha": "left", "va": "center"}  # the axes, where no curve passes
            axis.annotate(f"{word} {height:.2f}", (1.01, height), fontsize=8, color=GREY, **beside)
    axis.set(xscale="log", xlabel="share of the training labels", ylabel="macro-F1")
    axis.xaxis.set_major_locator(FixedLocator(fractions))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_major_formatter(percent)
    axis.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
    levels = "AU oracle with all labels (ceiling) and majority class (floor)" if ceiling is not None else "majority class (floor)"
    caption = (
        f"Macro-F1 on {points['n_subjects'].max()} unseen people over the share of labels; bands: 95 % over people and seeds. "
        f"Dotted: {levels}."
    )
    told = []
    for fraction in fractions:
        at = points[points["fraction"] == fraction]
        told.append(f"at {percent(fraction)}: " + ", ".join(f"{arm_label(row.arm)} {row.value:.2f}" for row in at.itertuples()))
    return Drawing(figure, caption, "macro-F1 over the share of labels. " + "; ".join(told) + ".")
