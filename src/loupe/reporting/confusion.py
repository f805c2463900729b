"""Which class is taken for which: the confusion matrix."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from loupe.errors import LoupeError
from loupe.evaluation.metrics import confusion
from loupe.reporting.drawing import Drawing, blank
from loupe.reporting.selection import one_arm, require
from loupe.reporting.style import PAGE, arm_label, styled


def confusion_counts(
    predictions: pd.DataFrame, classes: Sequence[str], arm: str | None = None, fraction: float | None = None
) -> np.ndarray:
    """Counts (C, C) of one arm, all folds and seeds pooled; rows are the true classes, columns the predicted ones.

    Raises LoupeError where several arms, shares of labels, tasks or splits remain, or a label stands outside the classes.
    """
    require(predictions, ("arm", "label", "pred", "seed", "subject"), "predictions")
    part = one_arm(predictions, arm, fraction)
    if part[["label", "pred"]].min().min() < 0 or part[["label", "pred"]].max().max() >= len(classes):
        raise LoupeError(
            f"The predictions hold labels outside the {len(classes)} classes {', '.join(classes)}: select the labelled rows first."
        )
    return confusion(part["label"].to_numpy(), part["pred"].to_numpy(), len(classes))


@styled
def confusion_matrix(
    predictions: pd.DataFrame, classes: Sequence[str], arm: str | None = None, fraction: float | None = None, caption: str = ""
) -> Drawing:
    """Confusion matrix of one arm: shares of each true class as colour and number, counts under them (folds and seeds pooled)."""
    counts = confusion_counts(predictions, classes, arm, fraction)
    part = one_arm(predictions, arm, fraction)
    totals = counts.sum(axis=1, keepdims=True)
    shares = counts / np.maximum(totals, 1)
    size = len(classes)
    side = min(PAGE, 1.6 + 0.62 * size)
    figure = blank(side, side * 0.88, fixed_aspect=True)
    axis = figure.subplots()
    shown = axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axis.grid(False)
    for row in range(size):
        for column in range(size):
            colour = "white" if shares[row, column] > 0.55 else "#1a1a1a"
            weight = "bold" if row == column else "normal"
            axis.text(column, row - 0.13, f"{100 * shares[row, column]:.0f} %", ha="center", va="center", color=colour, fontweight=weight)
            axis.text(column, row + 0.24, f"{counts[row, column]}", ha="center", va="center", color=colour, fontsize=8)
    long = max(map(len, classes)) > 6 and size > 4
    axis.set_xticks(
        range(size), classes, rotation=40 if long else 0, ha="right" if long else "center", rotation_mode="anchor" if long else "default"
    )
    axis.set_yticks(range(size), classes)
    axis.tick_params(length=0)
    for spine in axis.spines.values():
        spine.set_visible(False)
    axis.set_xlabel("predicted")
    axis.set_ylabel("true")
    bar = figure.colorbar(shown, ax=axis, fraction=0.04, pad=0.02)
    bar.ax.yaxis.set_major_formatter(lambda share, _: f"{100 * share:.0f} %")
    bar.outline.set_visible(False)
    name = arm_label(part["arm"].iloc[0])
    share = f" at {100 * part['fraction'].iloc[0]:g} % of the labels" if "fraction" in part else ""
    caption = caption or (
        f"Confusion matrix of {name}{share}: share of each true class, counts below ({part['subject'].nunique()} people, "
        f"{part['seed'].nunique()} seeds pooled)."
    )
    recalls = ", ".join(f"{label} {100 * shares[i, i]:.0f} %" for i, label in enumerate(classes) if totals[i])
    off = np.where(np.eye(size, dtype=bool), -1, shares)
    row, column = np.unravel_index(int(off.argmax()), off.shape)
    alt = (
        f"Confusion matrix of {name}{share}. Recognised: {recalls}. Most frequent mistake: {classes[row]} taken for {classes[column]}, "
        f"{100 * off[row, column]:.0f} %."
    )
    return Drawing(figure, caption, alt)
