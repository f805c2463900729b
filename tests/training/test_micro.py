"""Frame pairs obey the gap; batched LOSO heads equal folds trained one after another and never see the held-out person."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import f1_score
from sklearn.model_selection import StratifiedGroupKFold
from torch.nn import functional

from loupe.config import load
from loupe.data.store import Store, write_store
from loupe.errors import LoupeError
from loupe.evaluation.protocols import loso_folds
from loupe.models.baselines.linear import make_linear_svm
from loupe.training.build_micron import build_micron_bert
from loupe.training.clip_tasks import ClipTask
from loupe.training.loso import HeadRecipe, loso_heads, loso_heads_on_the_way, loso_probabilities
from loupe.training.micro import frame_pairs, pretrain, pretraining_step, swap_signal


def clips(frames, fps=100.0):
    rows = [{"clip": clip, "frame": frame, "fps": fps} for clip, numbers in frames.items() for frame in numbers]
    return pd.DataFrame(rows).assign(sample=range(len(rows)))


def test_pairs_stay_inside_a_clip_and_a_quarter_of_a_second():
    table = clips({"a": [0, 10, 25, 60], "b": [3, 28, 29]})
    pairs = frame_pairs(table)
    frame, clip = table["frame"].to_numpy(), table["clip"].to_numpy()
    found = {
        (anchor, partner)
        for anchor, partners, count in zip(pairs.anchors, pairs.partners, pairs.counts, strict=True)
        for partner in partners[:count]
    }
    expected = {(i, j) for i in range(7) for j in range(7) if clip[i] == clip[j] and 1 <= frame[j] - frame[i] <= 25}
    assert found == expected
    generator = torch.Generator().manual_seed(0)
    for _ in range(50):
        first, second = pairs.draw(torch.arange(len(pairs.anchors)), generator)
        assert set(zip(first.tolist(), second.tolist(), strict=True)) <= expected


def test_no_pair_at_all_is_a_sentence():
    with pytest.raises(LoupeError, match="frames_per_clip_subject"):
        frame_pairs(clips({"a": [0, 90]}))


def problem():
    generator = np.random.default_rng(0)
    subjects = np.repeat(np.array(["p", "q", "r", "s"]), [5, 7, 6, 4])
    labels = generator.integers(0, 3, len(subjects))
    features = generator.normal(size=(len(subjects), 6)).astype(np.float32)
    features[:, 0] += labels
    return features, labels, subjects


def task_of(labels, subjects):
    """The clips as a task of leave one subject out, with three classes."""
    rows = pd.DataFrame({"label": labels, "subject": subjects})
    return ClipTask("micro", 3, np.ones(len(labels), dtype=bool), rows, tuple(loso_folds(subjects)))


def one_fold(features, labels, subjects, person, seed, steps, lr, weight_decay):
    """The obvious way: this fold alone, its own scaler, its own loop."""
    train = subjects != person
    mean, sd = features[train].astype(float).mean(0), features[train].astype(float).std(0)
    x, held_out = torch.tensor((features[train] - mean) / sd), torch.tensor((features[~train] - mean) / sd)
    y = torch.tensor(labels[train])
    counts = np.bincount(labels[train], minlength=3)
    weight = torch.tensor(len(y) / (3 * np.maximum(counts, 1)))[y]
    initial = torch.randn(x.shape[1], 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 0.01
    matrix, bias = initial.clone().requires_grad_(), torch.zeros(3, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.AdamW([{"params": [matrix], "weight_decay": weight_decay}, {"params": [bias], "weight_decay": 0.0}], lr=lr)
    for _ in range(steps):
        loss = (functional.cross_entropy(x @ matrix + bias, y, reduction="none") * weight).sum() / weight.sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return (held_out @ matrix + bias).softmax(-1).detach().numpy()


def test_batched_heads_equal_sequential_folds():
    features, labels, subjects = problem()
    settings = dict(steps=25, lr=0.05, weight_decay=0.1)
    batched = loso_heads(task_of(labels, subjects), features, HeadRecipe([0, 4], 25, 0.05, [0.1]))
    for i, seed in enumerate([0, 4]):
        for person in np.unique(subjects):
            expected = one_fold(features, labels, subjects, person, seed, **settings)
            np.testing.assert_allclose(batched[i, subjects == person], expected, atol=1e-5)


def test_heads_on_the_way_are_those_that_stop_there():
    features, labels, subjects = problem()
    task = task_of(labels, subjects)
    found = loso_heads_on_the_way(task, features, HeadRecipe([0, 4], 25, 0.05, [0.1]), [1, 7, 25])
    assert found.shape == (3, 2, len(labels), 3)
    for steps, probabilities in zip([1, 7, 25], found, strict=True):
        np.testing.assert_array_equal(probabilities, loso_heads(task, features, HeadRecipe([0, 4], steps, 0.05, [0.1])))


def test_each_fold_chooses_its_decay_on_inner_people_as_a_sequential_search_would():
    generator = np.random.default_rng(3)
    subjects = np.repeat(np.array(list("pqrstu")), 8)
    labels = generator.integers(0, 3, len(subjects))
    features = (generator.normal(size=(len(subjects), 30)) + 0.6 * labels[:, None] * (np.arange(30) < 3)).astype(np.float32)
    settings, grid = dict(steps=40, lr=0.05), [0.01, 15.0]
    found = loso_heads(task_of(labels, subjects), features, HeadRecipe([1], weight_decays=grid, **settings))[0]
    chosen = []
    for person in np.unique(subjects):
        rows = np.flatnonzero(subjects != person)
        inner = StratifiedGroupKFold(4, shuffle=True, random_state=0)
        scores = []
        for decay in grid:
            predicted = np.zeros(len(rows), dtype=int)
            for train, val in inner.split(rows, labels[rows], subjects[rows]):
                x, y, who = features[rows], labels[rows], np.where(np.isin(np.arange(len(rows)), val), "held out", "train")
                assert not set(subjects[rows[train]]) & set(subjects[rows[val]])
                predicted[val] = one_fold(x, y, who, "held out", 1, weight_decay=decay, **settings).argmax(1)
            scores.append(f1_score(labels[rows], predicted, average="macro"))
        chosen.append(grid[int(np.argmax(scores))])
        expected = one_fold(features, labels, subjects, person, 1, weight_decay=chosen[-1], **settings)
        np.testing.assert_allclose(found[subjects == person], expected, atol=1e-5)
    assert set(chosen) == set(grid)  # else the search was not tried


def test_held_out_labels_and_features_cannot_change_the_fold_that_leaves_them_out():
    features, labels, subjects = problem()
    recipe = HeadRecipe([0], 20, 0.05, [0.01, 1.0, 10.0])
    before = loso_heads(task_of(labels, subjects), features, recipe)[0]
    spoilt = labels.copy()
    spoilt[subjects == "q"] = (spoilt[subjects == "q"] + 1) % 3
    after = loso_heads(task_of(spoilt, subjects), features, recipe)[0]
    np.testing.assert_array_equal(before[subjects == "q"], after[subjects == "q"])
    assert not np.array_equal(before[subjects == "p"], after[subjects == "p"])


@pytest.mark.parametrize("agreement", ["mse", "dino"])
def test_pretraining_learns_and_the_dino_teacher_follows(tmp_path, agreement):
    root = Path(__file__).resolve().parents[2]
    config = load(
        ["scale=smoke", "scale.image.size=16", "scale.encoder.width=32", "scale.micron.epochs=60", f"micron_bert.agreement={agreement}"]
        + ["micron_bert.residual=false"],  # what is noise from frame to frame, as here, nobody can add
        root,
    )
    generator = np.random.default_rng(0)
    faces = generator.integers(0, 256, (4, 1, 16, 16, 3))
    images = np.clip(faces + generator.normal(0, 8, (4, 6, 16, 16, 3)), 0, 255).astype(np.uint8).reshape(-1, 16, 16, 3)
    table = clips({name: [0, 4, 9, 13, 18, 22] for name in "abcd"})
    model, history = pretrain(config, Store(images, table), 0, tmp_path / "run")
    assert history[-1]["reconstruction"] < 0.95 * history[0]["reconstruction"]
    assert history[-1]["ct_std"] > 0
    if agreement == "dino":
        moved = [(s - t).abs().max() for s, t in zip(model.encoder.parameters(), model.teacher_encoder.parameters(), strict=True)]
        untrained = build_micron_bert(config, 0)
        followed = [(u - t).abs().max() for u, t in zip(untrained.encoder.parameters(), model.teacher_encoder.parameters(), strict=True)]
        assert max(moved) > 0 and max(followed) > 0


def test_swap_signal_is_what_the_slow_way_finds():
    root = Path(__file__).resolve().parents[2]
    config = load(["scale=smoke", "scale.image.size=16", "scale.encoder.width=32"], root)
    images = np.random.default_rng(0).integers(0, 256, (6, 16, 16, 3), dtype=np.uint8)
    store = Store(images, clips({"a": [0, 4, 9], "b": [13, 18, 22]}))

    class Identity(torch.nn.Module):  # restores whatever comes in
        def __init__(self, like):
            super().__init__()
            self.encoder = like.encoder

        def reconstruct(self, frame_t, frame_td, swapped):
            wide = swapped.reshape(-1, 1, 2, 2).repeat_interleave(8, 2).repeat_interleave(8, 3)
            return torch.where(wide, frame_td, frame_t)

    found = swap_signal(Identity(build_micron_bert(config, 0)), config, store, seed=3, pairs=40)
    assert found["reconstruction"] == pytest.approx(found["unchanged"], rel=1e-5)
    share = round(config.micron_bert.swap_ratio * 4) / 4
    assert found["unchanged"] == pytest.approx(found["swap"] * share, rel=1e-5)
    still = Store(np.repeat(images[:1], 6, axis=0), store.manifest)
    assert swap_signal(Identity(build_micron_bert(config, 0)), config, still, seed=3)["swap"] == 0


def test_folds_fitted_by_two_processes_equal_those_of_one():
    generator = np.random.default_rng(5)
    subjects = np.repeat(np.array(list("pqrs")), 9)
    labels = np.tile([0, 1, 2], 12)
    features = generator.normal(size=(36, 6)) + labels[:, None]
    task = task_of(labels, subjects)
    one, two = (loso_probabilities(task, features, [make_linear_svm], [0.01, 1.0], label="svm", workers=n) for n in (1, 2))
    assert one.shape == (1, 36, 3) and np.array_equal(one, two) and one.max() > 0


def test_a_choice_made_once_serves_every_seed():
    generator = np.random.default_rng(6)
    subjects = np.repeat(np.array(list("pqrs")), 9)
    labels = generator.integers(0, 3, 36)
    features = generator.normal(size=(36, 8)).astype(np.float32) + labels[:, None]
    both, alone = (loso_heads(task_of(labels, subjects), features, HeadRecipe(seeds, 60, 0.05, [0.01, 15.0])) for seeds in ([2, 7], [2]))
    assert np.array_equal(both[0], alone[0]) and not np.array_equal(both[0], both[1])


def test_skewed_pretraining_sees_its_own_people_and_nobody_else(tmp_path, shelf_of):
    """Spoilt frames of the half that dose 1 leaves out change nothing; the same frames of the other half do, and so does another dose."""
    root = Path(__file__).resolve().parents[2]
    config = load(
        ["scale=smoke", "scale.image.size=16", "scale.encoder.width=32", "scale.micron.epochs=2", "scale.micron.warmup_epochs=0"], root
    )
    table = clips({name: [0, 4, 9, 13] for name in "abcd"}).assign(label=-1, split="unlabelled")
    table = table.assign(subject=table["clip"], tone=table["clip"].map({"a": 1.0, "b": 6.0, "c": 2.0, "d": 5.0}))
    images = np.random.default_rng(0).integers(0, 256, (16, 16, 16, 3), dtype=np.uint8)

    def weights(name, spoilt, dose):
        shown = np.where(table["subject"].isin(list(spoilt)).to_numpy()[:, None, None, None], 255 - images, images)
        write_store(tmp_path / name, shown, table)
        return (shelf_of("s").make(pretraining_step(name, tmp_path / name, config, dose=dose)) / "micron_bert.safetensors").read_bytes()

    clean = weights("clean", "", 1.0)
    assert weights("left-out", "ac", 1.0) == clean
    assert weights("seen", "bd", 1.0) != clean and weights("even", "", 0.5) != clean
