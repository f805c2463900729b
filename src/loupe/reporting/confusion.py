"""Which class is taken for which: the confusion matrix."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.ticker import FuncFormatter

from loupe.errors import LoupeError
from loupe.evaluation.metrics import confusion
from loupe.reporting.drawing import Drawing, blank
from loupe.reporting.selection import one_arm, require
from loupe.reporting.style import PAGE, arm_label, percent, styled


@styled
def confusion_matrix(predictions: pd.DataFrame, classes: Sequence[str], arm: str) -> Drawing:
    """Confusion matrix of one arm: shares of each true class (rows) as colour and number, counts under them (folds and seeds pooled).

    Raises LoupeError where several shares of labels, tasks, splits or states remain, or a label stands outside the classes.
    """
    require(predictions, ("arm", "fraction", "label", "pred", "seed", "subject"), "predictions")
    part = one_arm(predictions, arm)
    if part[["label", "pred"]].min().min() < 0 or part[["label", "pred"]].max().max() >= len(classes):
        raise LoupeError(
            f"The predictions hold labels outside the {len(classes)} classes {', '.join(classes)}: select the labelled rows first."
        )
    counts = pd.DataFrame(confusion(part["label"].to_numpy(), part["pred"].to_numpy(), len(classes)), index=classes, columns=classes)
    shares = counts.div(counts.sum(axis=1).clip(lower=1), axis=0)
    cells = shares.map(lambda share: f"{100 * share:.0f} %\n") + counts.astype(str)
    side = min(PAGE, 1.6 + 0.62 * len(classes))
    figure = blank(side, side * 0.88, fixed_aspect=True)
    axis = figure.subplots()
    bar = {"format": FuncFormatter(percent), "fraction": 0.04, "pad": 0.02}
    sns.heatmap(shares, vmin=0, vmax=1, cmap="Blues", annot=cells, fmt="", annot_kws={"fontsize": 8}, square=True, cbar_kws=bar, ax=axis)
    for text in axis.texts[:: len(classes) + 1]:  # the diagonal
        text.set_fontweight("bold")
    long = max(map(len, classes)) > 6 and len(classes) > 4
    axis.set_xticklabels(classes, rotation=40 if long else 0, ha="right" if long else "center", rotation_mode="anchor")
    axis.set_yticklabels(classes, rotation=0)
    axis.tick_params(length=0)
    axis.set(xlabel="predicted", ylabel="true")
    what = f"{arm_label(arm)} at {percent(part['fraction'].iloc[0])} of the labels"
    caption = (
        f"Confusion matrix of {what}: share of each true class, counts below ({part['subject'].nunique()} people, "
        f"{part['seed'].nunique()} seeds pooled)."
    )
    recalls = ", ".join(f"{name} {100 * shares.loc[name, name]:.0f} %" for name in classes if counts.loc[name].sum())
    mistakes = shares.where(~np.eye(len(classes), dtype=bool), -1).stack()
    truth, taken_for = mistakes.idxmax()
    alt = (
        f"Confusion matrix of {what}. Recognised: {recalls}. "
        f"Most frequent mistake: {truth} taken for {taken_for}, {100 * mistakes.max():.0f} %."
    )
    return Drawing(figure, caption, alt)
