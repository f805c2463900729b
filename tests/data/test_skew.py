"""Uneven pre-training people: as many of them for every dose, the stated share from one half, nested, and frames that are still those of
their people."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loupe.data.skew import people_by_attribute, skewed, skewed_people, upper_half
from loupe.data.store import Store
from loupe.errors import LoupeError

DOSES = (0.5, 0.75, 1.0)


def people(count: int, seed: int = 0) -> pd.Series:
    names = [f"g{i:03d}" for i in range(count)]
    return pd.Series(np.random.default_rng(seed).permutation(count) / 3.0, index=names)


def store(frames: dict[str, int], tones: dict[str, float]) -> Store:
    """Image values name the person and the frame; people's rows are mixed, as no set promises an order."""
    rows = [(name, frame) for name, count in frames.items() for frame in range(count)]
    rows = [rows[i] for i in np.random.default_rng(4).permutation(len(rows))]
    names = sorted(frames)
    images = np.array([np.full((2, 2, 3), 20 * names.index(name) + frame) for name, frame in rows], dtype=np.uint8)
    table = pd.DataFrame({"sample": range(len(rows)), "subject": [name for name, _ in rows], "frame": [frame for _, frame in rows]})
    return Store(images, table.assign(tone=table["subject"].map(tones)))


def test_sixty_people_by_hand():
    values = people(60)
    upper = upper_half(values)
    assert upper == set(values.index[values >= 10]) and len(upper) == 30
    chosen = {dose: set(skewed_people(values, dose, 7)) for dose in DOSES}
    assert [len(chosen[dose] & upper) for dose in DOSES] == [15, 23, 30]  # 22.5 is rounded up
    assert [len(chosen[dose]) for dose in DOSES] == [30, 30, 30] and chosen[1.0] == upper


@settings(max_examples=60, deadline=None)
@given(count=st.integers(2, 41), dose=st.floats(0, 1), more=st.floats(0, 1), seed=st.integers(0, 5))
def test_counts_are_equal_shares_are_exact_and_doses_nest(count, dose, more, seed):
    values = people(count, seed)
    upper, lower = upper_half(values), upper_half(-values)
    assert not upper & lower and len(upper | lower) == count - count % 2
    small, large = (set(skewed_people(values, d, seed)) for d in sorted((dose, more)))
    for found, d in ((small, min(dose, more)), (large, max(dose, more))):
        assert len(found) == count // 2 and found <= upper | lower
        assert abs(len(found & upper) - d * (count // 2)) <= 0.5 + 1e-9
    assert small & upper <= large & upper and large & lower <= small & lower


def test_the_seed_alone_decides_and_the_order_of_the_rows_does_not():
    values = people(40)
    assert skewed_people(values, 0.75, 3) == skewed_people(values.sample(frac=1, random_state=1), 0.75, 3)
    assert len({tuple(skewed_people(values, 0.75, seed)) for seed in range(6)}) == 6


def test_people_of_equal_value_still_make_two_halves():
    values = pd.Series(1.0, index=list("dbca"))
    assert upper_half(values) == {"c", "d"} and skewed_people(values, 1.0, 0) == ["c", "d"] and skewed_people(values, 0.0, 0) == ["a", "b"]


def test_a_skewed_store_holds_the_frames_of_its_people_equally_many_and_counted_anew():
    tones = dict(zip("abcdef", (5.0, 1.0, 6.0, 2.0, 7.0, 3.0), strict=True))
    whole = store({"a": 5, "b": 4, "c": 4, "d": 6, "e": 4, "f": 4}, tones)
    for dose in DOSES:
        part = skewed(whole, dose, 0)
        assert sorted(set(part.subjects)) == skewed_people(people_by_attribute(whole.manifest), dose, 0)
        assert set(part.manifest["subject"].value_counts()) == {4} and len(part.images) == 12
        assert part.manifest["sample"].tolist() == list(range(12))
        named = 20 * part.manifest["subject"].map("abcdef".index) + part.manifest["frame"]
        np.testing.assert_array_equal(part.images[:, 0, 0, 0], named)
    assert set(skewed(whole, 1.0, 0).subjects) == {"a", "c", "e"}


@pytest.mark.parametrize(
    ("values", "dose", "message"),
    [
        (people(4), 1.01, "skew of 1.01 is no share"),
        (people(4), -0.1, "no share"),
        (people(4), float("nan"), "no share"),
        (people(1), 0.5, "1 unlabelled people have no two halves"),
        (people(4).where(lambda values: values.index != "g002"), 0.5, "tone of g002"),
    ],
)
def test_an_impossible_dose_is_one_sentence(values, dose, message):
    with pytest.raises(LoupeError, match=message):
        skewed_people(values, dose, 0)
