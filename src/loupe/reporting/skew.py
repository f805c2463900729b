"""What uneven pre-training people cost: the score over the share that comes from one half of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from loupe.errors import LoupeError
from loupe.reporting.curves import score_interval
from loupe.reporting.drawing import Drawing, blank
from loupe.reporting.selection import one_state, require, usual
from loupe.reporting.style import ARMS, PAGE, percent, styled

TRAINED, UNTRAINED = "micron-bert", "micron-bert-untrained"


def skew_points(predictions: pd.DataFrame, doses: Sequence[float], classes: int, resamples: int) -> pd.DataFrame:
    """UF1 of each dose and, last, of the untrained copy (dose NaN): columns arm, dose, value, low, high, n_seeds, n_subjects.

    `value` is the mean over head seeds of the score of the pooled predictions, `low` and `high` bound its 95 % interval over people and
    head seeds. All rows share their resamples. Raises LoupeError without doses, where a dose has no predictions, and for predictions of
    several tasks.
    """
    if not doses:
        raise LoupeError("This scale pre-trains on no skewed people: choose one with `more: true` (smoke, gpu).")
    trained = predictions[predictions["arm"] == TRAINED]
    parts = [(TRAINED, dose, trained[np.isclose(trained["dose"], dose)]) for dose in doses]
    parts.append((UNTRAINED, np.nan, usual(predictions[predictions["arm"] == UNTRAINED])))
    rows = []
    for arm, dose, part in parts:
        require(part, ("seed", "sample", "subject", "label", "pred"), f"predictions of {arm}, dose {dose:g}")
        one_state(part)
        rows.append({"arm": arm, "dose": dose} | score_interval(part, "uf1", classes, np.random.default_rng(0), resamples))
    return pd.DataFrame(rows)


@styled
def skew_curve(points: pd.DataFrame) -> Drawing:
    """UF1 over the dose with 95 % intervals over people and head seeds, and the untrained copy as a line with its own interval as a band.

    points: what `skew_points` returns. Raises LoupeError for a missing column or an empty table.
    """
    require(points, ("dose", "value", "low", "high", "n_subjects"), "points")
    doses, (untrained,) = points[points["dose"].notna()].sort_values("dose"), points[points["dose"].isna()].itertuples()
    trained, level = ARMS[TRAINED], ARMS[UNTRAINED]
    figure = blank(PAGE * 0.8, 3.0)
    axis = figure.subplots()
    axis.axhspan(untrained.low, untrained.high, color=level.colour, alpha=0.14, linewidth=0)
    axis.axhline(untrained.value, color=level.colour, linestyle=level.dash, label=level.label)
    reach = [doses["value"] - doses["low"], doses["high"] - doses["value"]]
    drawn = {"color": trained.colour, "marker": trained.marker, "elinewidth": 1.6, "label": f"{trained.label}, half of the people"}
    axis.errorbar(doses["dose"], doses["value"], yerr=reach, **drawn)
    axis.set_xticks(doses["dose"], map(percent, doses["dose"]))
    axis.set(xlabel="share of the pre-training people from one half of the skin tones", ylabel="UF1")
    figure.legend(loc="outside upper left", ncols=2)
    caption = (
        f"UF1 of Micron-BERT, leave one subject out ({int(points['n_subjects'].max())} people), over how uneven its unlabelled people "
        "were: as many people and frames at every dose, one pre-training each. Bars and band: 95 % intervals over the people left out "
        "and the head seeds; they do not cover another pre-training, and a difference has an interval of its own, narrower or wider "
        "than two bars suggest."
    )
    told = [f"at {percent(row.dose)} {row.value:.3f}, interval {row.low:.3f} to {row.high:.3f}" for row in doses.itertuples()]
    told.append(f"without pre-training {untrained.value:.3f}, interval {untrained.low:.3f} to {untrained.high:.3f}")
    return Drawing(figure, caption, f"UF1 over the share of people from one half: {'; '.join(told)}.")
