"""The flow network under leave-one-subject-out: it learns, it repeats, and a fold's own person cannot reach it."""

import numpy as np
import pytest
import torch

from loupe.settings import FlowCnn
from loupe.training.flow_cnn import SIDE, FlowCnnClassifier, loso_flow_cnn

RECIPE = FlowCnn(steps=12, batch=12, lr=0.02)


@pytest.fixture(scope="module")
def clips():
    """Flow of 3 people, 3 classes: which third of the face moves, whatever the person."""
    rng = np.random.default_rng(0)
    labels, subjects = np.tile(np.arange(3), 12), np.repeat([f"p{i}" for i in range(3)], 12)
    fields = rng.normal(scale=0.1, size=(36, SIDE, SIDE, 3)).astype(np.float32)
    for field, label in zip(fields, labels, strict=True):
        field[9 * label : 9 * label + 9, :, :2] += 0.5
    return fields.reshape(36, -1), labels, subjects


def probabilities(clips, **changed):
    fields, labels, subjects = clips
    options = {"recipe": RECIPE, "seeds": [0, 1], "weight_decays": [0.01, 1.0], "label": "test"} | changed
    return loso_flow_cnn(fields, labels, subjects, 3, **options)


def test_it_reads_unseen_people_and_repeats_whatever_the_number_of_threads_and_workers(clips):
    found = probabilities(clips)
    assert found.shape == (2, 36, 3) and found.dtype == np.float32
    np.testing.assert_allclose(found.sum(-1), 1, atol=1e-5)
    assert (found.argmax(-1) == clips[1]).mean() > 0.9
    assert (found[0] != found[1]).any(), "two seeds gave the same network"
    threads, state = torch.get_num_threads(), torch.random.get_rng_state()
    torch.set_num_threads(2 if threads == 1 else 1)
    try:
        np.testing.assert_array_equal(probabilities(clips, workers=2), found)
        assert torch.equal(torch.random.get_rng_state(), state), "the caller's random stream has moved"
    finally:
        torch.set_num_threads(threads)


def test_the_labels_of_a_person_do_not_reach_that_persons_own_fold(clips):
    fields, labels, subjects = clips
    mine = subjects == "p0"
    turned = np.where(mine, (labels + 1) % 3, labels)
    one = {"seeds": [0]}
    np.testing.assert_array_equal(probabilities((fields, turned, subjects), **one)[:, mine], probabilities(clips, **one)[:, mine])


def test_classes_weigh_alike_and_labels_keep_their_numbers(clips):
    fields, labels, _ = clips
    rare = np.flatnonzero(labels == 2)[:3]
    rows = np.concatenate([np.flatnonzero(labels == 0), rare])
    network = FlowCnnClassifier(RECIPE, 0.01, 0).fit(fields[rows], labels[rows])
    assert list(network.classes_) == [0, 2]
    assert (network.predict(fields[labels == 2]) == 2).mean() > 0.8
