"""The same trained arms on other pictures of the same people: how far each falls."""

from __future__ import annotations

import pandas as pd

from loupe.data.conditions import CONDITIONS, COVERED, SHIFTED
from loupe.evaluation.metrics import guessing_score
from loupe.reporting.drawing import Drawing, blank
from loupe.reporting.selection import require
from loupe.reporting.style import BLACK, BLUE, GREY, PAGE, VERMILLION, arm_label, arm_order, styled
from loupe.reporting.tables import results

CLEAN = "clean"
_MARKS = {CLEAN: (BLACK, "o"), SHIFTED: (VERMILLION, "s"), COVERED: (BLUE, "D")}


def condition_scores(predictions: pd.DataFrame, further: pd.DataFrame, classes: int) -> pd.DataFrame:
    """One row for each arm and condition: `macro_f1_mean` and `macro_f1_sd` over seeds, guess, n_seeds, n_subjects, n_samples.

    Args:
        predictions: those of the test pictures as they are (condition `clean`); rows of other splits and arms without a condition are left out.
        further: those under the further conditions, their arms named by `Condition.arm`.

    `guess` is the expected score of naming every class equally often. Raises LoupeError for empty predictions and missing columns.
    """
    require(further, ("arm", "split"), "predictions under further conditions")
    parts = {CLEAN: predictions[predictions["split"] == "test"]}
    for name in CONDITIONS:
        own = further[further["arm"].str.endswith(f"-{name}")]
        parts[name] = own.assign(arm=own["arm"].str.removesuffix(f"-{name}"))
    arms = set().union(*(parts[name]["arm"] for name in CONDITIONS))
    rows = []
    for name, part in parts.items():
        part = part[part["arm"].isin(arms)]
        if len(part):
            rows.append(
                results(part, classes, ("macro_f1",)).assign(condition=name, guess=guessing_score("macro_f1", part["label"], classes))
            )
    table = pd.concat(rows, ignore_index=True)
    places = arm_order(table["arm"])
    table = table.sort_values("arm", key=lambda names: names.map(places.index), kind="stable", ignore_index=True)
    return table[["arm", "condition", "macro_f1_mean", "macro_f1_sd", "guess", "n_seeds", "n_subjects", "n_samples"]]


@styled
def condition_plot(scores: pd.DataFrame, caption: str = "") -> Drawing:
    """A row for each arm, a mark for each condition: macro-F1, mean over seeds; the line is the mean plus and minus their standard deviation.

    scores: what `condition_scores` returns. The dotted line is guessing, where it is best.
    """
    require(scores, ("arm", "condition", "macro_f1_mean", "macro_f1_sd", "guess", "n_subjects"), "scores")
    arms, shown = list(dict.fromkeys(scores["arm"])), [name for name in _MARKS if (scores["condition"] == name).any()]
    figure = blank(PAGE * 0.85, 0.9 + 0.42 * len(arms))
    axis = figure.subplots()
    for offset, name in enumerate(shown):
        colour, marker = _MARKS[name]
        part = scores[scores["condition"] == name]
        places = [arms.index(arm) + 0.22 * (offset - (len(shown) - 1) / 2) for arm in part["arm"]]
        spread = part["macro_f1_sd"].fillna(0)
        axis.errorbar(
            part["macro_f1_mean"], places, xerr=spread, color=colour, marker=marker, linestyle="", markersize=6, elinewidth=1.6, label=name
        )
    guess = float(scores["guess"].max())
    axis.axvline(guess, color=GREY, linewidth=1, linestyle=(0, (1, 2)), label="guessing")
    axis.set_yticks(range(len(arms)), [arm_label(arm) for arm in arms])
    axis.tick_params(axis="y", length=0)
    axis.set_ylim(len(arms) - 0.5, -0.5)
    axis.grid(visible=False, axis="y")
    axis.set_xlabel("macro-F1")
    figure.legend(loc="outside upper left", ncols=len(shown) + 1)
    said = [f"{arm_label(row.arm)} {row.condition} {row.macro_f1_mean:.3f}" for row in scores.itertuples()]
    caption = (
        caption or f"Macro-F1 of the same trained arms in each condition, mean ± sd over seeds, {scores['n_subjects'].max()} unseen people."
    )
    return Drawing(figure, caption, f"Macro-F1 in each condition: {'; '.join(said)}; guessing {guess:.3f}.")
