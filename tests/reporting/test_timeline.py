"""The timeline of one clip: the clip that truth alone chooses, and lines that stand where the predictions are."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from loupe.errors import LoupeError
from loupe.reporting.drawing import render
from loupe.reporting.style import ARMS, BLUE
from loupe.reporting.timeline import clip_timeline, shown_clip

CLASSES = ["calm", "glad", "sad"]


@pytest.fixture
def frames():
    """Three clips of a test person; c shows three classes, a and b two. A val clip with three and more frames must not be chosen."""
    rows = []
    for clip, labels in {"a": [0, 0, 1, 1], "b": [0, 1, 1, 0, 0], "c": [0, 1, 2, 0], "v": [0, 1, 2, 0, 0, 0]}.items():
        rows += [
            {"clip": clip, "frame": 5 * place, "fps": 10.0, "label": label, "split": "val" if clip == "v" else "test"}
            for place, label in enumerate(labels)
        ]
    return pd.DataFrame(rows).assign(sample=lambda t: range(len(t)), subject="p")


@pytest.fixture
def predictions(frames):
    """Raw: class 0 everywhere, at .5; smoothed: right everywhere, at .8. Rows mixed, two seeds, of which the second says otherwise."""
    rows = []
    for seed in (0, 1):
        for fraction in (0.1, 1.0):
            for right in (False, True):
                pred = frames["label"] if right else 0 * frames["label"]
                values = np.where(np.eye(3)[frames["label"]] == 1, 0.8 if right else 0.5, 0.1 if right else 0.25) - 0.05 * seed
                about = frames[["sample", "subject", "clip", "label", "split"]].assign(
                    task="frames", arm="probe", smoothed=right, fraction=fraction, seed=seed, pred=(pred + seed) % 3
                )
                rows.append(about.assign(**{f"p{c}": values[:, c] for c in range(3)}))
    return pd.concat(rows).sample(frac=1, random_state=0)


def test_the_clip_is_the_one_with_most_classes_then_most_frames(frames):
    tested = frames[frames["split"] == "test"]
    assert shown_clip(tested) == "c" and shown_clip(tested[tested["clip"] != "c"]) == "b"
    with pytest.raises(LoupeError, match="frames"):
        shown_clip(frames[:0])


def test_lines_stand_at_the_times_and_probabilities_of_the_first_seed(frames, predictions):
    drawing = clip_timeline(predictions, frames, CLASSES, "A clip.")
    axes = drawing.figure.axes
    assert len(axes) == 4 and [axis.get_title(loc="left") for axis in axes[:2]] == [
        "trained on 10 % of the frames",
        "trained on 100 % of the frames",
    ]
    assert [text.get_text() for text in axes[0].get_yticklabels()] == CLASSES
    for upper, lower in zip(axes[:2], axes[2:], strict=True):
        truth, raw, smooth = upper.get_lines()
        for line, height in ((truth, [0, 1, 2, 0]), (raw, [0, 0, 0, 0]), (smooth, [0, 1, 2, 0])):
            np.testing.assert_allclose(line.get_xydata(), np.c_[[0, 0.5, 1, 1.5], height])
        for line, height, colour, marker in zip(lower.get_lines(), (0.5, 0.8), (ARMS["probe"].colour, BLUE), "os", strict=True):
            np.testing.assert_allclose(line.get_xydata(), np.c_[[0, 0.5, 1, 1.5], [height] * 4])
            assert to_hex(line.get_color()).lower() == colour.lower() and line.get_marker() == marker
    assert (
        "probe on frames of video right in 2 of 4 frames, mean probability 0.50" in drawing.alt
        and "smoothed right in 4 of 4 frames, mean probability 0.80" in drawing.alt
    )
    again = clip_timeline(predictions.sample(frac=1, random_state=1), frames, CLASSES, "A clip.")
    assert render(again, "svg") == render(drawing, "svg")


def test_without_scored_frames_it_is_one_sentence(frames, predictions):
    for table in (
        predictions[:0],
        predictions[~predictions["smoothed"]],
        predictions.assign(split="val"),
        predictions.assign(task="stills"),
    ):
        with pytest.raises(LoupeError, match="no labelled frames of video"):
            clip_timeline(table, frames, CLASSES, "A clip.")
