"""The networks of the micro-expression stage under leave-one-subject-out: they learn, they repeat, and a fold's own person cannot reach
it."""

from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch

from loupe.evaluation.protocols import loso_folds
from loupe.models.baselines.linear import choose_setting
from loupe.models.baselines.three_stream import FLOW_SIDE
from loupe.settings import EncoderSize, NetworkRecipe
from loupe.training.clip_tasks import ClipTask
from loupe.training.loso import loso_probabilities
from loupe.training.micro_networks import NetworkClassifier, difference_vit, three_stream

FLOW = NetworkRecipe(steps=12, batch=12, lr=0.02)
PAIR = NetworkRecipe(steps=20, batch=12, lr=0.003)
VIT = partial(difference_vit, size=EncoderSize(width=32, depth=1, heads=2), patch=8)


def people():
    return np.tile(np.arange(3), 12), np.repeat([f"p{i}" for i in range(3)], 12)


@pytest.fixture(scope="module")
def flow():
    """Flow of 3 people, 3 classes (36, 1, 3, 28, 28): which third of the face moves, whatever the person."""
    rng = np.random.default_rng(0)
    labels, subjects = people()
    fields = rng.normal(scale=0.1, size=(36, 1, 3, FLOW_SIDE, FLOW_SIDE)).astype(np.float32)
    for (field,), label in zip(fields, labels, strict=True):
        field[:2, 9 * label : 9 * label + 9] += 0.5
    return fields, labels, subjects


@pytest.fixture(scope="module")
def frames():
    """Onset and apex of 3 people, 3 classes (36, 2, 3, 24, 24): a face of one's own, and which of its colours grows."""
    rng = np.random.default_rng(1)
    labels, subjects = people()
    faces = np.repeat(rng.normal(size=(3, 3, 24, 24)), 12, axis=0)
    pairs = np.stack([faces, faces], axis=1) + rng.normal(scale=0.05, size=(36, 2, 3, 24, 24))
    for pair, label in zip(pairs, labels, strict=True):
        pair[1, label] += 0.3
    return pairs.astype(np.float32), labels, subjects


def probabilities(clips, build, recipe, seeds=(0, 1), decays=(1.0, 0.01), workers=1):
    makers = [partial(NetworkClassifier, build, recipe, seed, "cpu") for seed in seeds]
    pictures, labels, subjects = clips
    rows = pd.DataFrame({"label": labels, "subject": subjects})
    task = ClipTask("micro", 3, np.ones(len(labels), dtype=bool), rows, tuple(loso_folds(subjects)))
    return loso_probabilities(task, pictures, makers, decays, label="test", workers=workers)


@pytest.mark.parametrize(
    ("data", "build", "recipe"), [("flow", three_stream, FLOW), ("frames", VIT, PAIR)], ids=["flow-cnn", "difference-vit"]
)
def test_it_reads_unseen_people_and_repeats_whatever_the_number_of_threads(data, build, recipe, request):
    clips = request.getfixturevalue(data)
    found = probabilities(clips, build, recipe, decays=[0.01])
    assert found.shape == (2, 36, 3) and found.dtype == np.float32
    np.testing.assert_allclose(found.sum(-1), 1, atol=1e-5)
    assert (found.argmax(-1) == clips[1]).mean() > 0.9
    assert (found[0] != found[1]).any(), "two seeds gave the same network"
    threads, state = torch.get_num_threads(), torch.random.get_rng_state()
    torch.set_num_threads(2 if threads == 1 else 1)
    try:
        np.testing.assert_array_equal(probabilities(clips, build, recipe, decays=[0.01]), found)
        assert torch.equal(torch.random.get_rng_state(), state), "the caller's random stream has moved"
        NetworkClassifier(build, recipe, 0, "cpu", 0.1).fit(*clips[:2])
        assert torch.get_num_threads() != threads, "the caller's number of threads has changed"
    finally:
        torch.set_num_threads(threads)


def test_folds_fitted_by_two_processes_equal_those_of_one(flow):
    np.testing.assert_array_equal(*(probabilities(flow, three_stream, FLOW, workers=workers) for workers in (1, 2)))


def test_the_labels_of_a_person_do_not_reach_that_persons_own_fold(flow):
    fields, labels, subjects = flow
    mine = subjects == "p0"
    turned = np.where(mine, (labels + 1) % 3, labels)
    one, two = (probabilities((fields, truth, subjects), three_stream, FLOW, seeds=[0]) for truth in (labels, turned))
    np.testing.assert_array_equal(one[:, mine], two[:, mine])
    assert (one[:, ~mine] != two[:, ~mine]).any()


def test_the_setting_is_chosen_once_and_the_first_of_equals_is_taken(flow):
    """A choice made with the first seed serves the second; where settings cannot be told apart, the strongest decay, listed first, wins."""
    both, (alone,) = (probabilities(flow, three_stream, FLOW, seeds=seeds) for seeds in ([3, 5], [3]))
    np.testing.assert_array_equal(both[0], alone)
    seen = []

    class Same:
        def fit(self, x, y):
            return self

        def predict(self, x):
            return np.zeros(len(x), dtype=int)

    def make(decay):
        seen.append(decay)
        return Same()

    assert choose_setting(make, flow[0], flow[1], flow[2], grid=[10.0, 0.1, 1.0]) == 10.0
    assert set(seen) == {10.0, 0.1, 1.0}


def test_classes_weigh_alike_and_labels_keep_their_numbers(flow):
    fields, labels, _ = flow
    rare = np.flatnonzero(labels == 2)[:3]
    rows = np.concatenate([np.flatnonzero(labels == 0), rare])
    network = NetworkClassifier(three_stream, FLOW, 0, "cpu", 0.01).fit(fields[rows], labels[rows])
    assert list(network.classes_) == [0, 2]
    assert (network.predict(fields[labels == 2]) == 2).mean() > 0.8


def test_weight_decay_reaches_the_weights_and_spares_the_norms_of_the_transformer(frames):
    """With a learning rate too small to learn anything, what moves is what decays."""
    still = NetworkRecipe(steps=10, batch=12, lr=1e-4)
    weak, strong = (NetworkClassifier(VIT, still, 0, "cpu", decay).fit(*frames[:2]).network_ for decay in (0.0, 1000.0))
    assert strong.encoder.patch_embed.weight.norm() < 0.8 * weak.encoder.patch_embed.weight.norm()
    assert (strong.encoder.norm.weight - 1).abs().max() < 0.01 and (weak.encoder.norm.weight - 1).abs().max() < 0.01
