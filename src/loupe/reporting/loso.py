"""Leave one subject out: how each arm does on each person."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import seaborn as sns

from loupe.errors import LoupeError
from loupe.reporting.drawing import Drawing, blank
from loupe.reporting.selection import one_state, require
from loupe.reporting.style import PAGE, arm_label, seaborn_styles, styled


def subject_accuracy(predictions: pd.DataFrame) -> pd.DataFrame:
    """Accuracy of each arm on each subject, mean over seeds: columns arm, subject, accuracy, n_clips (samples a seed).

    Raises LoupeError where several tasks, splits, states or shares of labels are mixed.
    """
    require(predictions, ("arm", "fraction", "seed", "subject", "sample", "label", "pred"), "predictions")
    one_state(predictions)
    if (predictions.groupby("arm")["fraction"].nunique() > 1).any():
        raise LoupeError("The predictions hold an arm at several shares of labels: select one before scoring each person.")
    right = predictions.assign(right=(predictions["label"] == predictions["pred"]).astype(float))
    seeds = right.groupby(["arm", "subject", "seed"])["right"].agg(["mean", "size"]).reset_index()
    return seeds.groupby(["arm", "subject"]).agg(accuracy=("mean", "mean"), n_clips=("size", "max")).reset_index()


@styled
def loso_subjects(predictions: pd.DataFrame, arms: Sequence[str]) -> Drawing:
    """Accuracy on each left-out person, arms side by side, people ordered by the first arm.

    A person's clips are few, so single points say little; the figure shows whether an arm gains on most people or on a few.
    """
    table = subject_accuracy(predictions)
    for arm in arms:
        if arm not in set(table["arm"]):
            raise LoupeError(f"No prediction has arm {arm!r}: run the stage that makes it, or name another.")
    wide = table.pivot(index="subject", columns="arm", values="accuracy")[list(arms)].reset_index()
    wide = wide.sort_values([arms[0], "subject"], ascending=[False, True]).set_index("subject")
    clips = table[table["arm"] == arms[0]].set_index("subject")["n_clips"]
    labels = {arm: f"{arm_label(arm)} (mean {wide[arm].mean():.2f})" for arm in arms}
    points = wide.rename(columns=labels, index=lambda name: f"{name} ({clips[name]})").melt(ignore_index=False).reset_index()
    look = seaborn_styles(arms)
    figure = blank(PAGE, 3.0)
    axis = figure.subplots()
    drawn = {
        "palette": list(look["palette"].values()),
        "markers": list(look["markers"].values()),
        "linestyle": "none",
        "markersize": 6,
        "markeredgewidth": 0,
    }
    sns.pointplot(points, x="subject", y="value", hue="arm", dodge=0.3, errorbar=None, **drawn, ax=axis)
    axis.tick_params(axis="x", rotation=0 if len(wide) <= 6 else 90)
    axis.set(ylim=(-0.02, 1.04), xlabel="left-out person (number of clips)", ylabel="accuracy")
    axis.grid(axis="x")  # one line a person
    handles, _ = axis.get_legend_handles_labels()
    axis.get_legend().remove()
    figure.legend(handles=handles, loc="outside upper left", ncols=2)
    first = arm_label(arms[0])
    caption = (
        f"Accuracy on each of {len(wide)} people, each left out in turn "
        f"(mean of {predictions['seed'].nunique()} seeds); ordered by {first}."
    )
    told = "; ".join(
        f"{arm_label(arm)}: mean {wide[arm].mean():.2f}, lowest {wide[arm].min():.2f}, highest {wide[arm].max():.2f}" for arm in arms
    )
    better = ""
    if len(arms) > 1:
        ahead, behind = (int(count) for count in ((wide[arms[0]] > wide[arms[1]]).sum(), (wide[arms[0]] < wide[arms[1]]).sum()))
        better = f" {first} is ahead of {arm_label(arms[1])} on {ahead} people and behind on {behind}."
    return Drawing(figure, caption, f"Accuracy on each of {len(wide)} left-out people. {told}.{better}")
