"""Frame by frame through one clip of video: what it shows, what was predicted, and what smoothing makes of that."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from loupe.errors import LoupeError
from loupe.evaluation.smoothing import SMOOTHED
from loupe.reporting.drawing import Drawing, blank
from loupe.reporting.selection import require
from loupe.reporting.style import GREY, PAGE, arm_label, arm_styles, styled


def shown_clip(frames: pd.DataFrame) -> str:
    """The clip that shows the most classes; of equals the one with the most frames, then the first by name. No prediction has a say in it."""
    require(frames, ("clip", "label", "sample"), "frames")
    clips = frames.groupby("clip").agg(classes=("label", "nunique"), frames=("sample", "size")).reset_index()
    return str(clips.sort_values(["classes", "frames", "clip"], ascending=[False, False, True])["clip"].iloc[0])


@styled
def clip_timeline(
    predictions: pd.DataFrame, frames: pd.DataFrame, classes: Sequence[str], arm: str = "probe-frames", caption: str = ""
) -> Drawing:
    """One test clip (`shown_clip`) over time, a column for each share of the training frames. Above: the true class and the predicted ones, below: the
    probability of the true class; `arm` and its smoothed twin, first seed.

    Args:
        predictions: in the study's schema; rows of the task `frames` are used.
        frames: manifest of the frames, for their times (frame / fps, in seconds).

    Raises LoupeError where `arm` or its smoothed twin has no test row.
    """
    tested = predictions[(predictions["task"] == "frames") & (predictions["split"] == "test")]
    arms = (arm, arm + SMOOTHED)
    for name in arms:
        if not (tested["arm"] == name).any():
            raise LoupeError(
                f"No frame of a test clip was scored by {name}: this study has no labelled frames of video, or its stage has not run."
            )
    clip = shown_clip(frames[frames["split"] == "test"])
    seconds = (frames["frame"] / frames["fps"]).set_axis(frames["sample"])
    part = tested[(tested["clip"] == clip) & tested["arm"].isin(arms)]
    part = part[part["seed"] == part["seed"].min()]
    part = part.assign(seconds=seconds.loc[part["sample"]].to_numpy()).sort_values("seconds")
    present = sorted(set(part["label"]) | set(part["pred"]))
    fractions, styles = sorted(part["fraction"].unique()), arm_styles(arms)
    figure = blank(PAGE, 1.9 + 0.2 * len(present))
    rows = figure.subplots(2, len(fractions), squeeze=False, sharex=True, sharey="row", height_ratios=[0.6 + 0.2 * len(present), 1.0])
    said = []
    for fraction, (upper, lower) in zip(fractions, rows.T, strict=True):
        told = []
        for name, style in styles.items():
            line = part[(part["arm"] == name) & (part["fraction"] == fraction)]
            time, truth = line["seconds"].to_numpy(), line["label"].to_numpy()
            drawn = {"color": style.colour, "marker": style.marker, "linestyle": style.dash, "linewidth": 1.3, "markersize": 4}
            if name == arm:
                upper.step(
                    time, [present.index(label) for label in truth], where="mid", color=GREY, alpha=0.45, linewidth=7, label="true class"
                )
                drawn |= {"markerfacecolor": "none", "markersize": 6}
            upper.plot(time, [present.index(label) for label in line["pred"]], **drawn | {"linestyle": ""}, label=style.label)
            own = line[[f"p{label}" for label in range(len(classes))]].to_numpy()[np.arange(len(line)), truth]
            lower.plot(time, own, **drawn)
            told.append(
                f"{arm_label(name)} right in {(line['pred'] == line['label']).sum()} of {len(line)} frames, mean probability {own.mean():.2f}"
            )
        upper.set_title(f"trained on {100 * fraction:g} % of the frames", fontweight="normal")
        lower.set_xlabel("seconds")
        said.append(f"Trained on {100 * fraction:g} %: {'; '.join(told)}")
    rows[0][0].set_yticks(range(len(present)), [classes[label] for label in present])
    rows[0][0].set_ylim(len(present) - 0.5, -0.5)
    rows[1][0].set_ylim(-0.04, 1.04)
    rows[1][0].set_ylabel("probability of\nthe true class")
    figure.legend(*rows[0][0].get_legend_handles_labels(), loc="outside upper left", ncols=3)
    shows = ", ".join(classes[label] for label in dict.fromkeys(part["label"]))
    caption = caption or f"A clip of a person unseen in training, frame by frame: {shows}."
    return Drawing(figure, caption, f"One clip over time; it shows {shows}. {'. '.join(said)}.")
