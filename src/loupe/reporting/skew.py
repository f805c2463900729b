"""What uneven pre-training people cost: the score over the share that comes from one half of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.ticker import FixedLocator, FuncFormatter

from loupe.data.skew import skewed_arm
from loupe.errors import LoupeError
from loupe.evaluation.effects import effect_of
from loupe.evaluation.statistics import bootstrap_interval
from loupe.reporting.drawing import Drawing, blank
from loupe.reporting.selection import one_task, require
from loupe.reporting.style import ARMS, PAGE, metric_name, styled

UNTRAINED = "micron-bert-untrained"


def skew_points(predictions: pd.DataFrame, doses: Sequence[float], classes: int, resamples: int, metric: str = "uf1") -> pd.DataFrame:
    """Score of each dose and, last, of the untrained copy (dose NaN): columns arm, dose, value, low, high, n_seeds, n_subjects.

    `value` is the mean over head seeds of the score of the pooled predictions, `low` and `high` bound its 95 % interval over people. All rows
    share their resamples. Raises LoupeError without doses, where an arm has no predictions, and for predictions of several tasks.
    """
    if not doses:
        raise LoupeError("This scale pre-trains on no skewed people: choose one with `more: true` (smoke, gpu).")
    one_task(predictions)
    rows = []
    for arm, dose in [*((skewed_arm(dose), dose) for dose in doses), (UNTRAINED, np.nan)]:
        part = predictions[predictions["arm"] == arm]
        require(part, ("seed", "sample", "subject", "label", "pred"), f"predictions of {arm}")
        interval = bootstrap_interval(
            effect_of(part, None, metric, classes, names=(arm, "")), np.random.default_rng(0), resamples=resamples
        )
        counts = {"n_seeds": part["seed"].nunique(), "n_subjects": part["subject"].nunique()}
        rows.append({"arm": arm, "dose": dose, "value": interval.value, "low": interval.low, "high": interval.high, **counts})
    return pd.DataFrame(rows)


@styled
def skew_curve(points: pd.DataFrame, metric: str = "uf1") -> Drawing:
    """Score over the dose with 95 % intervals over people, and the untrained copy as a line with its own interval as a band.

    points: what `skew_points` returns. Raises LoupeError for a missing column or an empty table.
    """
    require(points, ("dose", "value", "low", "high", "n_subjects"), "points")
    doses, (untrained,) = points[points["dose"].notna()].sort_values("dose"), points[points["dose"].isna()].itertuples()
    trained, level = ARMS["micron-bert"], ARMS[UNTRAINED]
    figure = blank(PAGE * 0.8, 3.0)
    axis = figure.subplots()
    axis.axhspan(untrained.low, untrained.high, color=level.colour, alpha=0.14, linewidth=0)
    axis.axhline(untrained.value, color=level.colour, linestyle=level.dash, label=level.label)
    reach = [doses["value"] - doses["low"], doses["high"] - doses["value"]]
    axis.errorbar(
        doses["dose"],
        doses["value"],
        yerr=reach,
        color=trained.colour,
        marker=trained.marker,
        elinewidth=1.6,
        label=f"{trained.label}, half of the people",
    )
    axis.xaxis.set_major_locator(FixedLocator(list(doses["dose"])))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:g} %"))
    axis.set_xlabel("share of the pre-training people from one half of the skin tones")
    axis.set_ylabel(metric_name(metric))
    figure.legend(loc="outside upper left", ncols=2)
    name, people = metric_name(metric), int(points["n_subjects"].max())
    caption = (
        f"{name} of Micron-BERT, leave one subject out ({people} people), over how uneven its unlabelled people were: as many people and frames at "
        "every dose, one pre-training each. Bars and band: 95 % intervals over the people left out; they do not cover another pre-training, "
        "and a difference has an interval of its own, narrower or wider than two bars suggest."
    )
    said = [f"at {100 * row.dose:g} % {row.value:.3f}, interval {row.low:.3f} to {row.high:.3f}" for row in doses.itertuples()]
    level_said = f"without pre-training {untrained.value:.3f}, interval {untrained.low:.3f} to {untrained.high:.3f}"
    return Drawing(figure, caption, f"{name} over the share of people from one half: {'; '.join(said)}; {level_said}.")
