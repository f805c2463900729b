"""Frame by frame through one clip of video: what it shows, what was predicted, and what smoothing makes of that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from loupe.errors import LoupeError
from loupe.reporting.drawing import Drawing, blank
from loupe.reporting.selection import require
from loupe.reporting.style import ARMS, BLUE, GREY, PAGE, percent, styled

ARM = "probe"
_STYLES = {  # by whether the scores are smoothed
    False: replace(ARMS[ARM], dash=":"),
    True: replace(ARMS[ARM], label=f"{ARMS[ARM].label}, smoothed", colour=BLUE, marker="s", dash="-"),
}


def shown_clip(frames: pd.DataFrame) -> str:
    """The clip that shows the most classes; of equals the one with the most frames, then the first by name. No prediction has a say in
    it."""
    require(frames, ("clip", "label", "sample"), "frames")
    clips = frames.groupby("clip").agg(classes=("label", "nunique"), frames=("sample", "size")).reset_index()
    return str(clips.sort_values(["classes", "frames", "clip"], ascending=[False, False, True])["clip"].iloc[0])


@styled
def clip_timeline(predictions: pd.DataFrame, frames: pd.DataFrame, classes: Sequence[str], caption: str) -> Drawing:
    """One test clip (`shown_clip`) over time, a column for each share of the training frames. Above: the true class and the predicted ones,
    below: the probability of the true class; the probe, raw and smoothed, first seed.

    Args:
        predictions: in the study's schema; rows of the task `frames` are used.
        frames: manifest of the frames, for their times (frame / fps, in seconds).

    Raises LoupeError where the raw or the smoothed probe has no test row.
    """
    tested = predictions[(predictions["task"] == "frames") & (predictions["split"] == "test") & (predictions["arm"] == ARM)]
    if set(tested["smoothed"]) != set(_STYLES):
        raise LoupeError(
            "No frame of a test clip was scored by the probe: this study has no labelled frames of video, or its stage has not run."
        )
    clip = shown_clip(frames[frames["split"] == "test"])
    seconds = (frames["frame"] / frames["fps"]).set_axis(frames["sample"])
    part = tested[(tested["clip"] == clip) & (tested["seed"] == tested["seed"].min())]
    part = part.assign(seconds=seconds.loc[part["sample"]].to_numpy()).sort_values("seconds")
    present = sorted(set(part["label"]) | set(part["pred"]))
    fractions = sorted(part["fraction"].unique())
    figure = blank(PAGE, 1.9 + 0.2 * len(present))
    rows = figure.subplots(2, len(fractions), squeeze=False, sharex=True, sharey="row", height_ratios=[0.6 + 0.2 * len(present), 1.0])
    told = []
    for fraction, axes in zip(fractions, rows.T, strict=True):
        scores = _column(axes, part[part["fraction"] == fraction], present)
        axes[0].set_title(f"trained on {percent(fraction)} of the frames", fontweight="normal")
        told.append(f"Trained on {percent(fraction)}: {scores}")
    rows[0][0].set_yticks(range(len(present)), [classes[label] for label in present])
    rows[0][0].set_ylim(len(present) - 0.5, -0.5)
    rows[1][0].set(ylim=(-0.04, 1.04), ylabel="probability of\nthe true class")
    figure.legend(*rows[0][0].get_legend_handles_labels(), loc="outside upper left", ncols=3)
    classes_shown = ", ".join(classes[label] for label in dict.fromkeys(part["label"]))
    return Drawing(figure, caption, f"One clip over time; it shows {classes_shown}. {'. '.join(told)}.")


def _column(axes: Sequence, part: pd.DataFrame, present: Sequence[int]) -> str:
    """Draw the frames of one share: classes above, probabilities below. Returns what they show in words."""
    upper, lower = axes
    told = []
    for smoothed, style in _STYLES.items():
        line = part[part["smoothed"] == smoothed]
        time, truth = line["seconds"].to_numpy(), line["label"].to_numpy()
        drawn = {"color": style.colour, "marker": style.marker, "linestyle": style.dash, "linewidth": 1.3, "markersize": 4}
        if not smoothed:
            places = [present.index(label) for label in truth]
            upper.step(time, places, where="mid", color=GREY, alpha=0.45, linewidth=7, label="true class")
            drawn |= {"markerfacecolor": "none", "markersize": 6}
        upper.plot(time, [present.index(label) for label in line["pred"]], **drawn | {"linestyle": ""}, label=style.label)
        own = np.array([row[f"p{row['label']}"] for row in line.to_dict("records")])
        lower.plot(time, own, **drawn)
        right = (line["pred"] == line["label"]).sum()
        told.append(f"{style.label} right in {right} of {len(line)} frames, mean probability {own.mean():.2f}")
    lower.set_xlabel("seconds")
    return "; ".join(told)
