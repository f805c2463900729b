"""Metrics equal scikit-learn's with every class listed, on random and on degenerate predictions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, recall_score, roc_auc_score, roc_curve

from loupe.errors import LoupeError
from loupe.evaluation.metrics import (
    CONFUSION_METRICS,
    accuracy,
    auroc,
    confusion,
    grouped_confusion,
    macro_f1,
    per_class_f1,
    sensitivity_at_fpr,
    uar,
    uf1,
    weighted_sensitivity,
)

# Few values on purpose: absent classes, one class only and total failure all come up.
cases = st.integers(1, 6).flatmap(
    lambda c: st.integers(1, 25).flatmap(
        lambda n: st.tuples(
            st.just(c), st.lists(st.integers(0, c - 1), min_size=n, max_size=n), st.lists(st.integers(0, c - 1), min_size=n, max_size=n)
        )
    )
)


@pytest.mark.filterwarnings("ignore:A single label was found")
@given(cases)
@settings(max_examples=60, deadline=None)
def test_equal_to_scikit_learn_with_all_labels_listed(case):
    classes, truth, prediction = case
    listed = {"labels": list(range(classes)), "zero_division": 0}
    np.testing.assert_array_equal(confusion(truth, prediction, classes), confusion_matrix(truth, prediction, labels=range(classes)))
    assert macro_f1(truth, prediction, classes) == pytest.approx(f1_score(truth, prediction, average="macro", **listed), abs=1e-12)
    assert uf1(truth, prediction, classes) == macro_f1(truth, prediction, classes)
    assert uar(truth, prediction, classes) == pytest.approx(recall_score(truth, prediction, average="macro", **listed), abs=1e-12)
    assert accuracy(truth, prediction, classes) == pytest.approx(accuracy_score(truth, prediction), abs=1e-12)
    np.testing.assert_allclose(per_class_f1(truth, prediction, classes), f1_score(truth, prediction, average=None, **listed), atol=1e-12)


@given(
    st.lists(st.tuples(st.integers(0, 1), st.integers(-3, 3)), min_size=2, max_size=40), st.sampled_from([0.0, 0.05, 0.1, 0.25, 0.5, 1.0])
)
@settings(max_examples=60, deadline=None)
def test_ranking_scores_equal_scikit_learn_with_ties(rows, limit):
    truth, score = (np.array(column) for column in zip(*rows, strict=True))
    if truth.min() == truth.max():
        assert np.isnan(auroc(truth, score)) and np.isnan(sensitivity_at_fpr(truth, score, limit))
        return
    assert auroc(truth, score) == pytest.approx(roc_auc_score(truth, score), abs=1e-12)
    false_alarms, hits, _ = roc_curve(truth, score, drop_intermediate=False)
    assert sensitivity_at_fpr(truth, score, limit) == pytest.approx(hits[false_alarms <= limit + 1e-12].max(), abs=1e-12)


def test_integer_weights_equal_repeated_rows():
    rng = np.random.default_rng(0)
    truth, score, weights = rng.integers(2, size=60), rng.integers(8, size=60).astype(float), rng.integers(0, 4, size=(20, 60))
    got = weighted_sensitivity(score[None], weights.astype(float), truth.astype(bool), 0.1)
    want = [sensitivity_at_fpr(np.repeat(truth, w), np.repeat(score, w), 0.1) for w in weights]
    np.testing.assert_allclose(got, want, atol=1e-12)


def test_the_convention_that_matters():
    # Class 2 occurs neither in truth nor in prediction: scikit-learn's default drops it (.733), listing it does not (.489).
    truth, prediction = [0, 0, 0, 1, 1], [0, 0, 1, 1, 0]
    assert uf1(truth, prediction) == pytest.approx((4 / 6 + 1 / 2) / 3)
    assert uf1(truth, prediction) == uf1(truth, prediction, 3) != macro_f1(truth, prediction)
    assert macro_f1([0, 0], [1, 1], 3) == uar([0, 0], [1, 1], 3) == 0.0
    assert uar([0, 0, 2], [0, 0, 2], 3) == pytest.approx(2 / 3)


def test_stacked_matrices_equal_single_ones():
    rng = np.random.default_rng(1)
    stack = rng.integers(0, 5, size=(4, 7, 3, 3))
    stack[0, 0] = 0
    for metric in CONFUSION_METRICS.values():
        single = np.array([[metric(matrix) for matrix in row] for row in stack])
        np.testing.assert_array_equal(metric(stack), single)
        assert metric(stack)[0, 0] == 0


def test_groups_sum_to_the_pool():
    rng = np.random.default_rng(2)
    groups, truth, prediction = rng.integers(5, size=80), rng.integers(3, size=80), rng.integers(3, size=80)
    parts = grouped_confusion(groups, truth, prediction, 3, 6)
    np.testing.assert_array_equal(parts.sum(axis=0), confusion(truth, prediction, 3))
    np.testing.assert_array_equal(parts[2], confusion(truth[groups == 2], prediction[groups == 2], 3))
    assert parts[5].sum() == 0


@pytest.mark.parametrize(
    ("truth", "prediction", "classes", "message"),
    [
        ([0, 1], [0, 3], 3, "label 3 is outside the 3 classes"),
        ([0, -1], [0, 1], 3, "label -1"),
        ([0.5, 1], [0, 1], 3, "whole numbers"),
        ([0, np.nan], [0, 1], 3, "whole numbers"),
        (["0", "1"], [0, 1], 3, "whole numbers"),
        ([0, 1], [0], 3, "same samples"),
        ([], [], 3, "empty"),
        ([[0, 1]], [[0, 1]], 3, "dimensions"),
    ],
)
def test_bad_labels_are_refused(truth, prediction, classes, message):
    with pytest.raises(LoupeError, match=message):
        macro_f1(truth, prediction, classes)


def test_bad_scores_are_refused():
    with pytest.raises(LoupeError, match="finite"):
        auroc([0, 1], [0.1, np.nan])
    with pytest.raises(LoupeError, match="needs 0"):
        auroc([0, 2], [0.1, 0.2])
    with pytest.raises(LoupeError, match="same samples"):
        sensitivity_at_fpr([0, 1, 1], [0.1, 0.2])
