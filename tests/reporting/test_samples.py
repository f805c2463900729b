"""Whoever stands in a column is the same person in each row."""

import numpy as np
import pandas as pd
import pytest
from loupe.reporting.samples import clip_strip, other_looks

from loupe.data.manifest import complete
from loupe.data.store import Store


def store(rows, first=0):
    """A store whose picture i is uniformly grey level first + i."""
    table = complete(pd.DataFrame(rows).assign(sample=range(len(rows)))) if rows else complete(pd.DataFrame({"sample": []}))
    images = np.stack([np.full((8, 8, 3), first + i, np.uint8) for i in range(len(rows))]) if rows else np.zeros((0, 8, 8, 3), np.uint8)
    return Store(images, table)


def shown(drawing):
    """First pixel of each picture, row by row."""
    pictures = [int(axis.images[0].get_array()[0, 0, 0]) for axis in drawing.figure.axes]
    return pictures


@pytest.fixture
def people():
    splits = ["train", "test", "test", "test", "test", "val"]
    rows = [{"subject": f"g{i // 2}", "split": splits[i // 2 * 2 % 6], "label": 0, "label_name": "Neutral"} for i in range(12)]
    rows = [row | {"split": split} for row, split in zip(rows, np.repeat(splits, 2), strict=True)]
    return rows


def test_columns_are_test_people_and_rows_show_the_same_person(people):
    labelled, camera = store(people), store(people, first=100)
    shift = store(
        [{"subject": name, "split": "test", "label": 0, "label_name": "Neutral"} for name in ("g4", "g4", "g3", "g2", "g1")], first=200
    )
    drawing = other_looks(labelled, camera, shift, columns=3)
    # People g1, g2 or g3, g4: first stills 2, 4 or 6, 8; held-out pictures 204, 203 or 202, 200.
    top, middle, bottom = np.array(shown(drawing)).reshape(3, -1)
    assert (middle == top + 100).all()
    held_out = {2: 204, 4: 203, 6: 202, 8: 200}
    assert [held_out[first] for first in top] == list(bottom) and len(top) == 3


def test_a_set_that_is_empty_has_no_row(people):
    labelled, empty = store(people), store([])
    assert other_looks(labelled, empty, empty) is None and clip_strip(empty) is None
    assert len(shown(other_looks(labelled, store(people, 100), empty, columns=2))) == 4


def test_a_clip_is_shown_in_the_order_of_time():
    rows = [
        {"subject": "g0", "clip": "a", "frame": frame, "fps": 30.0, "label": 0, "label_name": "Neutral", "split": "train"}
        for frame in (0, 5, 10)
    ]
    rows += [
        {"subject": "g1", "clip": "b", "frame": frame, "fps": 30.0, "label": label, "label_name": name, "split": "train"}
        for frame, label, name in ((10, 0, "Neutral"), (0, 0, "Neutral"), (5, 4, "Happiness"))
    ]
    drawing = clip_strip(store(rows))
    assert shown(drawing) == [4, 5, 3]
    assert [axis.get_title() for axis in drawing.figure.axes] == ["Neutral\n0.0 s", "Happiness\n0.2 s", "Neutral\n0.3 s"]
