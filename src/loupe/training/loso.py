"""Leave one subject out: classifiers whose scaler, setting and weights come from the training clips of their own fold alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from joblib import Parallel, delayed
from sklearn.base import ClassifierMixin
from sklearn.metrics import f1_score
from sklearn.model_selection import LeaveOneGroupOut, StratifiedGroupKFold
from torch import Tensor
from torch.nn import functional

from loupe.models.baselines.linear import choose_setting, class_probabilities
from loupe.progress import track

INNER_FOLDS = 4


def loso_probabilities(
    makers: Sequence[Callable[[float], ClassifierMixin]],
    features: np.ndarray,
    labels: np.ndarray,
    subjects: np.ndarray,
    classes: int,
    label: str,
    grid: Sequence[float] = (1.0,),
    workers: int = 1,
) -> np.ndarray:
    """Scores (S, N, classes) float32 of each clip by the fold that never saw its subject, once a maker.

    makers (S): one a seed, a single one where nothing is drawn; `make(setting)` builds a fresh classifier. Each fold chooses the setting from `grid`
    (strongest regularisation first) by macro-F1 on inner validation subjects among its training people, once, with the first maker.
    features: rows (N, ...) as the classifiers take them. Folds are fitted in `workers` processes of one thread each; the scores do not depend on
    their number.
    """
    scores = np.zeros((len(makers), len(labels), classes), dtype=np.float32)
    folds = list(LeaveOneGroupOut().split(features, labels, subjects))
    fits = Parallel(n_jobs=workers, return_as="generator")(
        delayed(_fold_probabilities)(makers, features, labels, subjects, classes, grid, *fold) for fold in folds
    )
    for (_, held_out), found in zip(folds, track(fits, label, total=len(folds)), strict=True):
        scores[:, held_out] = found
    return scores


def _fold_probabilities(makers, features, labels, subjects, classes, grid, train, held_out) -> np.ndarray:
    assert not set(subjects[train]) & set(subjects[held_out])
    x, y = features[train], labels[train]
    setting = choose_setting(makers[0], x, y, subjects[train], grid=grid, folds=INNER_FOLDS) if len(grid) > 1 else grid[0]
    return np.stack([class_probabilities(make(setting).fit(x, y), features[held_out], classes) for make in makers])


def loso_heads(
    features: np.ndarray,
    labels: np.ndarray,
    subjects: np.ndarray,
    classes: int,
    *,
    seeds: Sequence[int],
    steps: int,
    lr: float,
    weight_decays: Sequence[float],
    device: torch.device | str = "cpu",
) -> np.ndarray:
    """Leave-one-subject-out linear heads, every fold at once: probabilities (S, N, C) for each clip's own held-out fold, after the last step.

    Each fold chooses its weight decay by macro-F1 on inner validation subjects among its training people, as `loso_probabilities` chooses
    its setting (of equals the strongest), then trains on all of them. The choice is made once, with the first seed: a head's loss is convex, so a seed
    hardly moves where it ends. Equal to training the folds one after another.
    """
    settings = dict(seeds=seeds, lr=lr, weight_decays=weight_decays, device=device)
    return loso_heads_on_the_way(features, labels, subjects, classes, marks=[steps], **settings)[0]


def loso_heads_on_the_way(
    features: np.ndarray,
    labels: np.ndarray,
    subjects: np.ndarray,
    classes: int,
    *,
    seeds: Sequence[int],
    marks: Sequence[int],
    lr: float,
    weight_decays: Sequence[float],
    device: torch.device | str = "cpu",
) -> np.ndarray:
    """What `loso_heads` of as many steps as the last of `marks` say after each of the steps `marks` (P, ascending): (P, S, N, C).

    Only to show what choosing among them on the held-out people fakes: whoever scores a method takes `loso_heads`.
    """
    people, fold_of = np.unique(subjects, return_inverse=True)
    device = "cpu" if torch.device(device).type == "mps" else device  # which has no float64
    x, y = torch.tensor(features, dtype=torch.float64, device=device), torch.tensor(labels, dtype=torch.int64, device=device)
    folds = fold_of[None, :] != np.arange(len(people))[:, None]  # (F, N) True: trains in this fold
    decay = _choose_decay(x, y, folds, subjects, classes, seeds[0], marks[-1], lr, sorted(weight_decays))
    found = heads_on_the_way(x, y, torch.from_numpy(folds), decay, classes, seeds=seeds, marks=marks, lr=lr)
    own = torch.from_numpy(fold_of), torch.arange(len(y))
    return np.stack([probabilities[:, *own].float().cpu().numpy() for probabilities in found])


def _choose_decay(
    x: Tensor, y: Tensor, folds: np.ndarray, subjects: np.ndarray, classes: int, seed: int, steps: int, lr: float, grid: list[float]
) -> Tensor:
    """The weight decay (F) of each fold, chosen on inner folds of its training people."""
    if len(grid) == 1:
        return torch.full((len(folds),), grid[0], dtype=torch.float64)
    labels = y.cpu().numpy()
    chosen = []
    for fold in folds:
        rows = np.flatnonzero(fold)
        inner = StratifiedGroupKFold(min(INNER_FOLDS, len(np.unique(subjects[rows]))), shuffle=True, random_state=0)
        splits = [(rows[train], rows[val]) for train, val in inner.split(rows, labels[rows], subjects[rows])]
        trains = torch.zeros(len(splits), len(y), dtype=torch.bool)
        for i, (train, _) in enumerate(splits):
            trains[i, train] = True
        masks, decays = trains.repeat(len(grid), 1), torch.tensor(grid, dtype=torch.float64).repeat_interleave(len(splits))
        predicted = train_heads(x, y, masks, decays, classes, seeds=[seed], steps=steps, lr=lr)[0].argmax(-1).cpu().numpy()
        names, scores = np.unique(labels[rows]), []
        for g in range(len(grid)):
            pooled = np.full(len(y), -1)
            for i, (_, val) in enumerate(splits):
                pooled[val] = predicted[g * len(splits) + i, val]
            scores.append(f1_score(labels[rows], pooled[rows], labels=names, average="macro", zero_division=0))
        best = max(scores)
        chosen.append(max(decay for decay, score in zip(grid, scores, strict=True) if score == best))
    return torch.tensor(chosen, dtype=torch.float64)


def train_heads(
    x: Tensor, y: Tensor, trains: Tensor, decay: Tensor, classes: int, *, seeds: Sequence[int], steps: int, lr: float
) -> Tensor:
    """Linear heads of S seeds and M folds as one batched problem: probabilities (S, M, N, C) of all clips after `steps` steps, on the device of x."""
    *_, last = heads_on_the_way(x, y, trains, decay, classes, seeds=seeds, marks=[steps], lr=lr)
    return last


def heads_on_the_way(
    x: Tensor, y: Tensor, trains: Tensor, decay: Tensor, classes: int, *, seeds: Sequence[int], marks: Sequence[int], lr: float
) -> Iterator[Tensor]:
    """As `train_heads`, yielding the probabilities (S, M, N, C) after each of the steps `marks` (1 and up, ascending).

    x (N, D) float64, y (N) int64; trains (M, N) bool: the clips a head learns from; decay (M): its AdamW weight decay. Each head standardises
    with the mean and deviation of its own clips, weighs classes by inverse frequency and takes full-batch AdamW steps; a clip outside
    `trains` has weight 0 in its loss. Standardising is folded into the weights, ((x - mean) / deviation) W = x (W / deviation) - (mean /
    deviation) W, so that all heads share one product with the clips as they are.
    """
    weight, decay = trains.to(x.device).double(), decay.to(x.device)
    mean = (weight @ x) / weight.sum(1, keepdim=True)
    variance = (weight @ x.square()) / weight.sum(1, keepdim=True) - mean.square()
    scale = variance.clamp(min=1e-8).rsqrt()
    per_class = weight @ functional.one_hot(y, classes).double()  # (M, C)
    balance = (weight.sum(1, keepdim=True) / (classes * per_class.clamp(min=1)))[:, y] * weight  # (M, N)
    balance = balance / balance.sum(1, keepdim=True)
    target = functional.one_hot(y, classes).double()[..., None, None] * balance.T[:, None, None]  # (N, C, 1, M)
    initial = [
        torch.randn(x.shape[1], classes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 0.01 for seed in seeds
    ]
    matrix = torch.stack(initial, 2).to(x.device)[..., None].expand(-1, -1, -1, len(trains)).clone().requires_grad_()  # (D, C, S, M)
    bias = torch.zeros(matrix.shape[1:], dtype=torch.float64, device=x.device, requires_grad=True)
    scale, offset = scale.T[:, None, None], (mean * scale).T[:, None, None]  # (D, 1, 1, M)
    optimizer = torch.optim.AdamW([matrix, bias], lr=lr, weight_decay=0.0, fused=True)
    shrink = 1 - lr * decay  # AdamW's decoupled decay, one a head; biases are not decayed

    def logits() -> Tensor:
        return (x @ (scale * matrix).flatten(1)).view(len(x), *bias.shape) + (bias - (offset * matrix).sum(0))  # (N, C, S, M)

    for step in range(1, marks[-1] + 1):
        loss = -(target * logits().log_softmax(1)).sum()
        optimizer.zero_grad()
        loss.backward()
        with torch.no_grad():
            matrix.mul_(shrink)
        optimizer.step()
        if step in marks:
            with torch.no_grad():
                said = logits().softmax(1).permute(2, 3, 0, 1)
            yield said
