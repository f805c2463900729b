"""The six planted leaks are caught, and the same code without the leak passes."""

import numpy as np
import pandas as pd
import pytest
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from loupe.data.imagehash import difference_hash, thumbnails
from loupe.errors import LoupeError
from loupe.evaluation.duplicates import check_near_duplicates, near_duplicates
from loupe.evaluation.guards import Vault, check_ignores_labels, check_ignores_test, check_pretraining_overlap
from loupe.evaluation.protocols import Split


@pytest.fixture
def study():
    """60 samples of 12 subjects, 5 features; the last 20 samples are the test."""
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"sample": range(60), "subject": [f"s{i // 5:02d}" for i in range(60)], "label": rng.integers(3, size=60)})
    table["split"] = np.where(table["sample"] < 30, "train", np.where(table["sample"] < 40, "val", "test"))
    return table, rng.normal(size=(60, 5)) + table["label"].to_numpy()[:, None]


# Leak 1: a subject in two splits.
def test_leak_subject_in_two_splits(study):
    table, _ = study
    Split.from_manifest(table)
    table.loc[59, "subject"] = "s00"
    with pytest.raises(LoupeError, match="s00 is in both train and test"):
        Split.from_manifest(table)


# Leak 2: a test subject in pre-training.
def test_leak_test_subject_in_pretraining(study):
    table, _ = study
    test = Split.from_manifest(table).test
    check_pretraining_overlap(["p1", "s00"], test)
    with pytest.raises(LoupeError, match="pre-training saw 2 test subject.*first s10"):
        check_pretraining_overlap(["p1", "s11", "s10"], test)
    with pytest.raises(LoupeError, match="both test and pretrain"):
        Split.from_manifest(table, pretrain=["s10"])


# Leak 3: epoch, threshold or window chosen on test.
def test_leak_epoch_chosen_on_test(study):
    table, features = study
    labels, rng = table["label"].to_numpy(), np.random.default_rng(1)
    train, val, test = (np.flatnonzero(table["split"] == part) for part in ("train", "val", "test"))

    def best_step_on(rows):
        def run(x, y):
            models = [LogisticRegression(C=c).fit(x[train], y[train]) for c in (1e-4, 1e-3, 1e-2, 1e-1, 1)]
            return np.argmax([model.score(x[rows], y[rows]) for model in models])

        return run

    check_ignores_test(best_step_on(val), features, labels, test, rng, what="the number of epochs")
    with pytest.raises(LoupeError, match="the number of epochs depends on test rows"):
        check_ignores_test(best_step_on(test), features, labels, test, rng, what="the number of epochs")


# Leak 4: scaler or PCA fitted on all.
@pytest.mark.parametrize("part", [StandardScaler, lambda: PCA(2)])
def test_leak_preprocessing_fitted_on_all(study, part):
    table, features = study
    labels, rng = table["label"].to_numpy(), np.random.default_rng(2)
    train, test = (np.flatnonzero(table["split"] == name) for name in ("train", "test"))
    check_ignores_test(lambda x, y: part().fit(x[train]).mean_, features, labels, test, rng, what="the scaler")
    with pytest.raises(LoupeError, match="the scaler depends on test rows"):
        check_ignores_test(lambda x, y: part().fit(x).mean_, features, labels, test, rng, what="the scaler")
    split = Split.from_manifest(table)
    split.require("train", table["subject"].iloc[train], "the scaler")
    with pytest.raises(LoupeError, match="the scaler was made from subject s06, who is not in train"):
        split.require("train", table["subject"], "the scaler")


def blobs(rng: np.random.Generator, n: int, side: int = 64) -> np.ndarray:
    """Images alike as aligned faces are: one common blob, small individual ones."""
    y, x = np.mgrid[:side, :side] / side
    images = np.empty((n, side, side, 3))
    for i in range(n):
        image = 160 * np.exp(-((x - 0.5) ** 2 + (y - 0.5) ** 2) / 0.08)
        for _ in range(8):
            cx, cy, height, width = rng.uniform(0.2, 0.8), rng.uniform(0.2, 0.8), rng.uniform(-60, 60), rng.uniform(0.002, 0.01)
            image = image + height * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / width)
        images[i] = image[..., None] * [1.0, 0.8, 0.7]
    return np.clip(images + rng.normal(0, 2, images.shape), 0, 255).astype(np.uint8)


# Leak 5: near-duplicate frames across splits.
@pytest.mark.parametrize("change", ["same", "brighter", "noisy", "mirrored", "resized"])
def test_leak_near_duplicate_across_splits(change):
    rng = np.random.default_rng(3)
    train, test = blobs(rng, 40), blobs(rng, 40)
    assert near_duplicates(train, test) == []
    check_near_duplicates(train, test, names=("train", "test"))
    copy = train[[5, 17]].astype(np.float64)
    copy = {
        "same": copy,
        "brighter": copy * 0.85 + 12,
        "noisy": copy + rng.normal(0, 4, copy.shape),
        "mirrored": copy[:, :, ::-1],
        "resized": np.repeat(np.repeat(copy[:, ::2, ::2], 2, axis=1), 2, axis=2),
    }[change]
    test[[3, 30]] = np.clip(copy, 0, 255).astype(np.uint8)
    assert near_duplicates(train, test) == [(5, 3), (17, 30)]
    with pytest.raises(LoupeError, match=r"image 5 of train and image 3 of test are near-duplicates \(2 pair"):
        check_near_duplicates(train, test, names=("train", "test"))


def test_hash_bits_against_a_loop():
    image = blobs(np.random.default_rng(4), 1, side=45)
    small = thumbnails(image, 9)[0]
    np.testing.assert_allclose(small, image[0].mean(axis=-1).reshape(9, 5, 9, 5).mean(axis=(1, 3)))
    right = "".join(str(int(small[r, c] > small[r, c + 1])) for r in range(8) for c in range(8))
    below = "".join(str(int(small[r, c] > small[r + 1, c])) for r in range(8) for c in range(8))
    assert difference_hash(image).tolist() == [[int(right, 2), int(below, 2)]]
    with pytest.raises(LoupeError, match="uint8"):
        difference_hash(image.astype(float))
    with pytest.raises(LoupeError, match="too small"):
        near_duplicates(image[:, :10, :10], image)


# Leak 6: a view or landmark built from labels.
def test_leak_view_built_from_labels():
    rng = np.random.default_rng(5)
    images, labels = blobs(rng, 6), np.array([0, 1, 2, 0, 1, 2])

    def honest(pixels, _):
        return pixels[:, 20:40]

    def leaking(pixels, y):
        return np.stack([np.roll(image, label, axis=1) for image, label in zip(pixels, y, strict=True)])[:, 20:40]

    check_ignores_labels(honest, images, labels, what="the ipsilateral view")
    with pytest.raises(LoupeError, match="the ipsilateral view depends on labels"):
        check_ignores_labels(leaking, images, labels, what="the ipsilateral view")
    with pytest.raises(LoupeError, match="one class only"):
        check_ignores_labels(honest, images, np.zeros(6, int), what="the ipsilateral view")


def test_the_vault_hands_out_test_rows_and_writes_it_down(study, tmp_path):
    table, _ = study
    split, vault = Split.from_manifest(table), Vault("dual-view", tmp_path / "logs" / "vault.jsonl")
    assert vault.openings().empty
    np.testing.assert_array_equal(vault.open(split, table, "final score"), np.flatnonzero(table["split"] == "test"))
    vault.open(split, table.assign(label=(table["label"] + 1) % 3), "again")
    log = vault.openings()
    assert log[["stage", "reason", "rows"]].values.tolist() == [["dual-view", "final score", 20], ["dual-view", "again", 20]]
    assert log["subjects"][0] == ["s08", "s09", "s10", "s11"]
    assert log["fingerprint"].nunique() == 2, "test labels changed between two openings, and it does not show"
    with pytest.raises(LoupeError, match="without a reason"):
        vault.open(split, table, " ")
    with pytest.raises(LoupeError, match="no row of a test subject"):
        vault.open(split, table[table["split"] == "train"], "wrong table")
