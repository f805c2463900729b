"""Splits refuse leaks, folds partition, label shares nest."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loupe.errors import LoupeError
from loupe.evaluation.protocols import Split, every_kth_frame, label_subset, loso_folds, stratified_folds, subject_folds, subject_subset


@pytest.mark.parametrize(
    ("parts", "named"),
    [
        ({"train": ["a", "b"], "test": ["b"]}, "b is in both train and test"),
        ({"train": ["a"], "val": ["a"]}, "a is in both train and val"),
        ({"val": ["a"], "test": ["a"]}, "a is in both val and test"),
        ({"train": ["a"], "test": ["b", "c"], "pretrain": ["c", "b"]}, "b and 1 more is in both test and pretrain"),
        ({"val": ["b"], "pretrain": ["b"]}, "b is in both val and pretrain"),
        ({"train": [7], "test": ["7"]}, "7 is in both train and test"),
        ({"train": "ab"}, "single string"),
    ],
)
def test_a_leaking_split_cannot_be_made(parts, named):
    with pytest.raises(LoupeError, match=named):
        Split(**parts)


def test_a_split_cannot_be_changed_into_a_leak():
    split = Split(train={"a"}, test={"b"}, pretrain={"a"})
    with pytest.raises(dataclasses.FrozenInstanceError):
        split.train = frozenset("b")
    with pytest.raises(LoupeError, match="both train and test"):
        dataclasses.replace(split, train={"a", "b"})
    with pytest.raises(AttributeError):
        split.train.add("b")


def manifest(**parts: str) -> pd.DataFrame:
    rows = [(name, part) for part, names in parts.items() for name in names for _ in range(2)]
    return pd.DataFrame(rows, columns=["subject", "split"])


def test_split_of_a_manifest():
    table = manifest(pretrain="ab", unlabelled="c", train="de", val="f", test="gh")
    split = Split.from_manifest(table, pretrain=["x"])
    assert (split.pretrain, split.train, split.val, split.test) == (set("abcx"), set("de"), set("f"), set("gh"))
    np.testing.assert_array_equal(split.rows(table, "val"), np.flatnonzero(table["split"] == "val"))
    np.testing.assert_array_equal(split.rows(table, "pretrain"), np.flatnonzero(table["split"].isin(["pretrain", "unlabelled"])))
    with pytest.raises(LoupeError, match="Vault"):
        split.rows(table, "test")
    with pytest.raises(LoupeError, match="no part 'dev'"):
        split.rows(table, "dev")
    with pytest.raises(LoupeError, match="g is in both test and pretrain"):
        Split.from_manifest(table, pretrain=["g"])
    with pytest.raises(LoupeError, match="e is in both train and test"):
        Split.from_manifest(manifest(train="e", test="ef"))
    with pytest.raises(LoupeError, match="loso_folds"):
        Split.from_manifest(manifest(loso="ab"))
    with pytest.raises(LoupeError, match="'dev'"):
        Split.from_manifest(manifest(dev="ab"))


def test_loso_tests_everyone_once_and_trains_on_all_others():
    names = ["s3", "s1", "s2", "s1"]
    folds = loso_folds(names, pretrain=["p"])
    assert [set(fold.test) for fold in folds] == [{"s1"}, {"s2"}, {"s3"}]
    assert all(fold.train | fold.test == {"s1", "s2", "s3"} and not fold.val for fold in folds)
    with pytest.raises(LoupeError, match="s2 is in both"):
        loso_folds(names, pretrain=["s2"])
    with pytest.raises(LoupeError, match="two subjects"):
        loso_folds(["s1", "s1"])


def test_inner_validation_subjects_come_from_the_training_people():
    folds = loso_folds(map(str, range(10)), inner_val=3, rng=np.random.default_rng(0))
    assert all((len(fold.train), len(fold.val), len(fold.test)) == (6, 3, 1) for fold in folds)
    assert len({fold.val for fold in folds}) > 1
    with pytest.raises(LoupeError, match="pass rng"):
        loso_folds("abc", inner_val=1)
    with pytest.raises(LoupeError, match="nobody to train on"):
        loso_folds("abc", inner_val=2, rng=np.random.default_rng(0))


def test_subject_folds_partition():
    folds = subject_folds(map(str, range(11)), 5, np.random.default_rng(0), inner_val=2)
    tested = [name for fold in folds for name in fold.test]
    assert sorted(tested) == sorted(map(str, range(11)))
    assert {len(fold.test) for fold in folds} == {2, 3}
    with pytest.raises(LoupeError, match="cannot make 12 folds"):
        subject_folds(map(str, range(11)), 12, np.random.default_rng(0))


def test_stratified_folds_test_everybody_once_with_like_classes():
    rng = np.random.default_rng(0)
    subjects = np.repeat([f"s{i:02d}" for i in range(20)], 12)
    labels = np.repeat(rng.permutation(np.arange(20) % 4 == 0), 12).astype(int)  # a class that five people alone show
    folds = stratified_folds(subjects, labels, 5, pretrain={"p"})
    assert sorted(name for fold in folds for name in fold.test) == sorted(set(subjects))
    assert all(fold.train | fold.test == set(subjects) and not fold.train & fold.test for fold in folds)
    assert [labels[np.isin(subjects, sorted(fold.test))].sum() for fold in folds] == [12] * 5
    assert folds == stratified_folds(subjects, labels, 5, pretrain={"p"})
    assert stratified_folds(subjects, labels, None) == stratified_folds(subjects, labels, 20) == loso_folds(subjects)
    with pytest.raises(LoupeError, match="s03 is in both test and pretrain"):
        stratified_folds(subjects, labels, 5, pretrain={"s03"})
    with pytest.raises(LoupeError, match="1 folds"):
        stratified_folds(subjects, labels, 1)


FRACTIONS = (0.01, 0.02, 0.05, 0.1, 0.25, 1.0)
labelled = st.tuples(st.integers(1, 5), st.integers(1, 6), st.integers(5, 150), st.integers(0, 2**32 - 1))


@given(labelled)
@settings(max_examples=60, deadline=None)
def test_label_shares_nest_and_are_stratified(case):
    classes, people, n, seed = case
    rng = np.random.default_rng(seed)
    labels, subjects = rng.integers(classes, size=n), rng.integers(people, size=n)
    before: set[int] = set()
    for fraction in FRACTIONS:
        rows = label_subset(labels, subjects, fraction, np.random.default_rng(seed))
        assert before <= set(rows) and len(set(rows)) == len(rows)
        before = set(rows)
        for label in np.unique(labels):
            size = (labels == label).sum()
            assert (labels[rows] == label).sum() == max(1, np.floor(fraction * size + 0.5))
            turns = np.bincount(subjects[rows][labels[rows] == label], minlength=people)
            available = np.bincount(subjects[labels == label], minlength=people)
            # Nobody gives a second sample while another who has one more gives none.
            assert ((turns >= turns.max() - 1) | (turns == available)).all()
    assert len(before) == n


@given(labelled)
@settings(max_examples=60, deadline=None)
def test_subject_shares_nest_and_hold_every_class(case):
    classes, people, n, seed = case
    rng = np.random.default_rng(seed)
    labels, subjects = rng.integers(classes, size=n), rng.integers(people, size=n)
    before: set[int] = set()
    for fraction in FRACTIONS:
        rows = subject_subset(labels, subjects, fraction, np.random.default_rng(seed))
        assert before <= set(rows)
        before = set(rows)
        assert set(labels[rows]) == set(labels)
        kept = np.unique(subjects[rows])
        assert set(rows) == set(np.flatnonzero(np.isin(subjects, kept)))
        assert kept.size >= max(1, np.floor(fraction * np.unique(subjects).size + 0.5))
    assert len(before) == n


def test_rows_without_a_label_are_never_taken_and_bad_fractions_refused():
    labels, subjects = np.array([-1, 0, 1, -1, 1]), np.array(list("aabbc"))
    for choose in (label_subset, subject_subset):
        assert list(choose(labels, subjects, 1.0, np.random.default_rng(0))) == [1, 2, 4]
        with pytest.raises(LoupeError, match="2 % as 0.02"):
            choose(labels, subjects, 2, np.random.default_rng(0))
        with pytest.raises(LoupeError):
            choose(np.full(5, -1), subjects, 0.5, np.random.default_rng(0))


@given(st.lists(st.integers(1, 25), min_size=1, max_size=6), st.integers(1, 12), st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_every_kth_frame_counts_on_from_clip_to_clip(lengths, k, seed):
    rng = np.random.default_rng(seed)
    clips = np.repeat([f"c{i}" for i in range(len(lengths))], lengths)
    frames = np.concatenate([np.cumsum(rng.integers(1, 9, n)) for n in lengths])
    mixed = rng.permutation(len(clips))
    rows = every_kth_frame(clips[mixed], frames[mixed], k)
    assert (np.diff(rows) > 0).all() and len(rows) == -(-len(clips) // k)
    assert sorted(mixed[rows]) == list(range(0, len(clips), k))  # the clips end to end, as made


def test_every_kth_frame_takes_all_of_one_and_refuses_none():
    clips, frames = np.array(list("aabb")), np.array([0, 1, 0, 1])
    assert every_kth_frame(clips, frames, 1).tolist() == [0, 1, 2, 3] and every_kth_frame(clips, frames, 9).tolist() == [0]
    with pytest.raises(LoupeError, match="counts from 1"):
        every_kth_frame(clips, frames, 0)
