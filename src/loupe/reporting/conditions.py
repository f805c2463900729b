"""The same trained arms on other pictures of the same people: how far each falls."""

from __future__ import annotations

import pandas as pd

from loupe.data.conditions import COVERED, SHIFTED
from loupe.evaluation.metrics import guessing_score
from loupe.reporting.drawing import Drawing, blank, named_rows
from loupe.reporting.selection import require
from loupe.reporting.style import BLACK, BLUE, GREY, PAGE, VERMILLION, arm_label, arm_order, styled
from loupe.reporting.tables import results

CLEAN = "clean"
_MARKS = {CLEAN: (BLACK, "o"), SHIFTED: (VERMILLION, "s"), COVERED: (BLUE, "D")}


def condition_scores(predictions: pd.DataFrame, classes: int) -> pd.DataFrame:
    """One row for each arm and condition: `macro_f1_mean` and `macro_f1_sd` over seeds, guess, n_seeds, n_subjects, n_samples.

    Args:
        predictions: rows of test people are scored; pictures as they are (`condition` empty) count as `clean`. Arms without another
        condition are
            left out.

    `guess` is the expected score of naming every class equally often. Raises LoupeError for missing columns, and without further
    conditions.
    """
    require(predictions, ("arm", "split", "condition"), "predictions")
    tested = predictions[predictions["split"] == "test"].replace({"condition": {"": CLEAN}})
    tested = tested[tested["arm"].isin(tested.loc[tested["condition"] != CLEAN, "arm"])]
    require(tested, (), "predictions under further conditions")
    rows = [
        results(part, classes, ("macro_f1",)).assign(condition=name, guess=guessing_score("macro_f1", part["label"], classes))
        for name, part in tested.groupby("condition")
    ]
    order = [*arm_order(tested["arm"]), *_MARKS]
    table = pd.concat(rows).sort_values(["arm", "condition"], key=lambda names: names.map(order.index), ignore_index=True)
    return table[["arm", "condition", "macro_f1_mean", "macro_f1_sd", "guess", "n_seeds", "n_subjects", "n_samples"]]


@styled
def condition_plot(scores: pd.DataFrame) -> Drawing:
    """A row for each arm, a mark for each condition: macro-F1, mean over seeds; the line is the mean plus and minus their standard
    deviation.

    scores: what `condition_scores` returns. The dotted line is guessing, where it is best.
    """
    require(scores, ("arm", "condition", "macro_f1_mean", "macro_f1_sd", "guess", "n_subjects"), "scores")
    arms, conditions = list(dict.fromkeys(scores["arm"])), [name for name in _MARKS if (scores["condition"] == name).any()]
    figure = blank(PAGE * 0.85, 0.9 + 0.42 * len(arms))
    axis = named_rows(figure, [arm_label(arm) for arm in arms], "macro-F1")
    for offset, name in enumerate(conditions):
        colour, marker = _MARKS[name]
        part = scores[scores["condition"] == name]
        places = [arms.index(arm) + 0.22 * (offset - (len(conditions) - 1) / 2) for arm in part["arm"]]
        drawn = {"color": colour, "marker": marker, "markersize": 6, "linestyle": "", "elinewidth": 1.6}
        axis.errorbar(part["macro_f1_mean"], places, xerr=part["macro_f1_sd"].fillna(0), label=name, **drawn)
    guess = float(scores["guess"].max())
    axis.axvline(guess, color=GREY, linewidth=1, linestyle=(0, (1, 2)), label="guessing")
    figure.legend(loc="outside upper left", ncols=len(conditions) + 1)
    told = "; ".join(f"{arm_label(row.arm)} {row.condition} {row.macro_f1_mean:.3f}" for row in scores.itertuples())
    caption = f"Macro-F1 of the same trained arms in each condition, mean ± sd over seeds, {scores['n_subjects'].max()} unseen people."
    return Drawing(figure, caption, f"Macro-F1 in each condition: {told}; guessing {guess:.3f}.")
