"""A choice of clips keeps every column together."""

from dataclasses import fields

import numpy as np

from loupe.data.clips import OnsetApex


def test_some_clips_keep_all_that_is_known_of_them():
    numbers = np.arange(5)
    frames = np.broadcast_to(numbers[:, None, None, None], (5, 2, 2, 3)).astype(np.uint8)
    label_names = [f"name{n}" for n in numbers]
    subjects, names = np.array([f"s{n}" for n in numbers]), np.array([f"c{n}" for n in numbers])
    clips = OnsetApex(frames, frames + 10, numbers + 20, label_names, subjects, names, numbers + 30, numbers + 40)
    chosen = np.array([False, True, False, True, True])
    kept = clips.some(chosen)
    assert kept.label_names == ["name1", "name3", "name4"] and list(kept.clips) == ["c1", "c3", "c4"]
    for field in fields(clips):
        whole, part = np.asarray(getattr(clips, field.name)), np.asarray(getattr(kept, field.name))
        assert (part == whole[chosen]).all(), field.name
