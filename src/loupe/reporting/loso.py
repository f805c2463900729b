"""Leave one subject out: how each arm does on each person."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from loupe.errors import LoupeError
from loupe.reporting.drawing import Drawing, blank
from loupe.reporting.selection import one_task, require
from loupe.reporting.style import PAGE, arm_order, arm_styles, styled


def subject_accuracy(predictions: pd.DataFrame) -> pd.DataFrame:
    """Accuracy of each arm on each subject, mean over seeds: columns arm, subject, accuracy, n_clips (samples a seed).

    Raises LoupeError where several tasks, splits or shares of labels are mixed.
    """
    require(predictions, ("arm", "seed", "subject", "sample", "label", "pred"), "predictions")
    one_task(predictions)
    if "fraction" in predictions and (predictions.groupby("arm")["fraction"].nunique() > 1).any():
        raise LoupeError("The predictions hold an arm at several shares of labels: select one before scoring each person.")
    right = predictions.assign(right=(predictions["label"] == predictions["pred"]).astype(float))
    seeds = right.groupby(["arm", "subject", "seed"])["right"].agg(["mean", "size"]).reset_index()
    table = seeds.groupby(["arm", "subject"]).agg(accuracy=("mean", "mean"), n_clips=("size", "max")).reset_index()
    return table


@styled
def loso_subjects(predictions: pd.DataFrame, arms: Sequence[str] = (), chance: float | None = None, caption: str = "") -> Drawing:
    """Accuracy on each left-out person, arms side by side, people ordered by the first arm.

    A person's clips are few, so single points say little; the figure shows whether an arm gains on most people or on a few.
    `chance` draws a level line (share of the largest class, say).
    """
    table = subject_accuracy(predictions)
    arms = list(arms) or arm_order(table["arm"])
    for arm in arms:
        if arm not in set(table["arm"]):
            raise LoupeError(f"No prediction has arm {arm!r}: run the stage that makes it, or name another.")
    wide = table.pivot(index="subject", columns="arm", values="accuracy")
    clips = table[table["arm"] == arms[0]].set_index("subject")["n_clips"]
    wide = wide.assign(_name=wide.index).sort_values([arms[0], "_name"], ascending=[False, True]).drop(columns="_name")
    styles = arm_styles(arms)
    figure = blank(PAGE, 3.0)
    axis = figure.subplots()
    width = 0.64 / max(len(arms), 2)
    for index, (arm, style) in enumerate(styles.items()):
        places = [place + (index - (len(arms) - 1) / 2) * width for place in range(len(wide))]
        axis.vlines(places, 0, wide[arm], color=style.colour, alpha=0.35, linewidth=1.2)
        axis.plot(
            places,
            wide[arm],
            color=style.colour,
            marker=style.marker,
            linestyle="none",
            label=f"{style.label} (mean {wide[arm].mean():.2f})",
        )
    if chance is not None:
        axis.axhline(chance, color="#767676", linewidth=1, linestyle=(0, (1, 2)))
        axis.annotate(
            f"chance\n{chance:.2f}",
            (1.005, chance),
            xycoords=("axes fraction", "data"),
            ha="left",
            va="center",
            fontsize=8,
            color="#767676",
        )
    axis.set_xticks(range(len(wide)), [f"{subject} ({clips[subject]})" for subject in wide.index], rotation=0 if len(wide) <= 6 else 90)
    axis.set_ylim(-0.02, 1.04)
    axis.grid(visible=False, axis="x")
    axis.set_xlabel("left-out person (number of clips)")
    axis.set_ylabel("accuracy")
    figure.legend(loc="outside upper left", ncols=2)
    seeds = predictions["seed"].nunique()
    caption = (
        caption
        or f"Accuracy on each of {len(wide)} people, each left out in turn (mean of {seeds} seeds); ordered by {styles[arms[0]].label}."
    )
    said = "; ".join(
        f"{styles[arm].label}: mean {wide[arm].mean():.2f}, lowest {wide[arm].min():.2f}, highest {wide[arm].max():.2f}" for arm in arms
    )
    better = ""
    if len(arms) > 1:
        wins = int((wide[arms[0]] > wide[arms[1]]).sum())
        losses = int((wide[arms[0]] < wide[arms[1]]).sum())
        better = f" {styles[arms[0]].label} is ahead of {styles[arms[1]].label} on {wins} people and behind on {losses}."
    return Drawing(figure, caption, f"Accuracy on each of {len(wide)} left-out people. {said}.{better}")
