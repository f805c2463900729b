"""What more pre-training gives: scores over the pictures that were seen, beside what needs none."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.ticker import FixedLocator, NullLocator

from loupe.reporting.curves import score_interval
from loupe.reporting.drawing import Drawing, blank
from loupe.reporting.selection import one_state, require
from loupe.reporting.style import PAGE, arm_label, arm_styles, percent, styled


def dose_points(answers: pd.DataFrame, rivals: pd.DataFrame, classes: int, resamples: int) -> pd.DataFrame:
    """Macro-F1 of each arm at each share of the labels and each dose, then of arms without pre-training (times NaN).

    Columns arm, fraction, times, value, low, high, n_seeds, n_subjects; `low` and `high` bound the 95 % interval over people and seeds.

    answers: predictions with the column `times`; rivals: predictions without it. Raises LoupeError where tasks, splits or states are mixed.
    """
    rows = []
    for table in (answers, rivals.assign(times=np.nan)):
        require(table, ("arm", "fraction", "times", "seed", "sample", "subject", "label", "pred"), "predictions")
        one_state(table)
        for (arm, share, times), part in table.groupby(["arm", "fraction", "times"], sort=True, dropna=False):
            scored = score_interval(part, "macro_f1", classes, np.random.default_rng(0), resamples)
            rows.append({"arm": arm, "fraction": float(share), "times": float(times)} | scored)
    return pd.DataFrame(rows)


@styled
def dose_curves(points: pd.DataFrame) -> Drawing:
    """A panel for each share of the labels: macro-F1 over the dose (logarithmic, 0 at its left), arms without pre-training as level lines.

    points: what `dose_points` returns. Raises LoupeError for a missing column or an empty table.
    """
    require(points, ("arm", "fraction", "times", "value", "low", "high", "n_subjects"), "points")
    shares, styles = sorted(points["fraction"].unique()), arm_styles(points["arm"].unique())
    doses = sorted(points["times"].dropna().unique())
    smallest = min(dose for dose in doses if dose > 0)
    figure = blank(PAGE, 3.3)
    axes = figure.subplots(1, len(shares), sharey=True, squeeze=False)[0]
    told = []
    for axis, share in zip(axes, shares, strict=True):
        for arm, part in points[points["fraction"] == share].groupby("arm", sort=False):
            look, part = styles[arm], part.sort_values("times")
            label = look.label if axis is axes[0] else None
            if part["times"].isna().all():
                axis.axhline(part["value"].iloc[0], color=look.colour, linestyle=look.dash, linewidth=1.2, label=label)
                told.append(f"{arm_label(arm)}, {percent(share)} of the labels: {part['value'].iloc[0]:.3f}")
                continue
            axis.plot(part["times"], part["value"], color=look.colour, linestyle=look.dash, marker=look.marker, label=label)
            axis.fill_between(part["times"], part["low"], part["high"], color=look.colour, alpha=0.14, linewidth=0)
            reached = ", ".join(f"{row.value:.3f} at {row.times:g}" for row in part.itertuples())
            told.append(f"{arm_label(arm)}, {percent(share)} of the labels: {reached}")
        axis.set_xscale("symlog", base=2, linthresh=smallest)
        axis.xaxis.set_major_locator(FixedLocator(doses))
        axis.xaxis.set_minor_locator(NullLocator())
        axis.xaxis.set_major_formatter(lambda dose, _: f"{dose:g}")
        axis.set(
            title=f"{percent(share)} of the labels", xlabel="pictures seen, times the study's", ylabel="macro-F1" if axis is axes[0] else ""
        )
    figure.legend(loc="outside upper left", ncols=3)
    caption = (
        f"Macro-F1 on {int(points['n_subjects'].max())} unseen people over the pictures that pre-training saw (1: the study's), one "
        "pre-training a dose, each with a schedule of its own. Bands: 95 % over people and seeds; another pre-training is not in them. "
        "Level lines need none."
    )
    return Drawing(figure, caption, f"Macro-F1 over the dose of pre-training. {'; '.join(told)}.")
