"""Leave one subject out: classifiers whose scaler, setting and weights come from the training clips of their own fold alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from joblib import Parallel, delayed
from sklearn.base import ClassifierMixin
from sklearn.metrics import f1_score
from sklearn.model_selection import StratifiedGroupKFold
from torch import Tensor
from torch.nn import functional

from loupe.models.baselines.linear import choose_setting, class_probabilities
from loupe.progress import track
from loupe.training.clip_tasks import ClipTask

INNER_FOLDS = 4


def loso_probabilities(
    task: ClipTask,
    features: np.ndarray,
    makers: Sequence[Callable[[float], ClassifierMixin]],
    grid: Sequence[float] = (1.0,),
    *,
    label: str,
    workers: int = 1,
) -> np.ndarray:
    """Scores (S, n, classes) float32 of each clip of `task` by the fold that never saw its subject, once a maker.

    features: rows (n, ...) of the task's clips, as the classifiers take them. makers (S): one a seed, a single one where nothing is drawn;
    `make(setting)` builds a fresh classifier. Each fold chooses the setting from `grid` (strongest regularisation first) by macro-F1 on
    inner validation subjects among its training people, once, with the first maker. Folds are fitted in `workers` processes of one thread
    each; the scores do not depend on their number.
    """
    scores = np.zeros((len(makers), len(task.labels), task.classes), dtype=np.float32)
    fold_of = task.fold_of
    held_out = [np.flatnonzero(fold_of == number) for number in range(len(task.folds))]
    fits = Parallel(n_jobs=workers, return_as="generator")(
        delayed(_fold_probabilities)(task, features, makers, grid, np.flatnonzero(task.trains(fold)), rows)
        for fold, rows in zip(task.folds, held_out, strict=True)
    )
    for rows, found in zip(held_out, track(fits, label, total=len(held_out)), strict=True):
        scores[:, rows] = found
    return scores


def _fold_probabilities(task: ClipTask, features, makers, grid, train: np.ndarray, held_out: np.ndarray) -> np.ndarray:
    subjects = task.subjects
    assert not set(subjects[train]) & set(subjects[held_out])
    x, y = features[train], task.labels[train]
    setting = choose_setting(makers[0], x, y, subjects[train], grid=grid, folds=INNER_FOLDS) if len(grid) > 1 else grid[0]
    return np.stack([class_probabilities(make(setting).fit(x, y), features[held_out], task.classes) for make in makers])


@dataclass(frozen=True)
class HeadRecipe:
    """How linear heads are trained: full-batch AdamW, one head a seed and fold; each fold chooses among `weight_decays`."""

    seeds: Sequence[int]
    steps: int
    lr: float
    weight_decays: Sequence[float]


def loso_heads(task: ClipTask, features: np.ndarray, recipe: HeadRecipe, device: torch.device | str = "cpu") -> np.ndarray:
    """Leave-one-subject-out linear heads, every fold at once: probabilities (S, n, C) for each clip's own held-out fold, after the last
    step.

    Each fold chooses its weight decay by macro-F1 on inner validation subjects among its training people, as `loso_probabilities` chooses
    its setting (of equals the strongest), then trains on all of them. The choice is made once, with the first seed: a head's loss is
    convex, so a seed hardly moves where it ends. Equal to training the folds one after another.
    """
    return loso_heads_on_the_way(task, features, recipe, [recipe.steps], device)[0]


def loso_heads_on_the_way(
    task: ClipTask, features: np.ndarray, recipe: HeadRecipe, marks: Sequence[int], device: torch.device | str = "cpu"
) -> np.ndarray:
    """What `loso_heads` of as many steps as the last of `marks` say after each of the steps `marks` (P, ascending): (P, S, n, C).

    Only to show what choosing among them on the held-out people fakes: whoever scores a method takes `loso_heads`.
    """
    device = "cpu" if torch.device(device).type == "mps" else device  # which has no float64
    x, y = torch.tensor(features, dtype=torch.float64, device=device), torch.tensor(task.labels, dtype=torch.int64, device=device)
    folds = np.stack([task.trains(fold) for fold in task.folds])  # (F, n) True: trains in this fold
    recipe = replace(recipe, steps=marks[-1], weight_decays=sorted(recipe.weight_decays))
    decay = _choose_decay(x, y, folds, task, recipe)
    found = heads_on_the_way(x, y, torch.from_numpy(folds), decay, task.classes, recipe, marks)
    own = torch.from_numpy(task.fold_of), torch.arange(len(y))
    return np.stack([probabilities[:, *own].float().cpu().numpy() for probabilities in found])


def _choose_decay(x: Tensor, y: Tensor, folds: np.ndarray, task: ClipTask, recipe: HeadRecipe) -> Tensor:
    """The weight decay (F) of each fold, chosen on inner folds of its training people."""
    grid, subjects = recipe.weight_decays, task.subjects
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
        predicted = train_heads(x, y, masks, decays, task.classes, replace(recipe, seeds=recipe.seeds[:1]))[0].argmax(-1).cpu().numpy()
        names, scores = np.unique(labels[rows]), []
        for g in range(len(grid)):
            pooled = np.full(len(y), -1)
            for i, (_, val) in enumerate(splits):
                pooled[val] = predicted[g * len(splits) + i, val]
            scores.append(f1_score(labels[rows], pooled[rows], labels=names, average="macro", zero_division=0))
        best = max(scores)
        chosen.append(max(decay for decay, score in zip(grid, scores, strict=True) if score == best))
    return torch.tensor(chosen, dtype=torch.float64)


def train_heads(x: Tensor, y: Tensor, trains: Tensor, decay: Tensor, classes: int, recipe: HeadRecipe) -> Tensor:
    """Linear heads of S seeds and M folds as one batched problem: probabilities (S, M, N, C) of all clips after the last step, on the
    device of x."""
    *_, last = heads_on_the_way(x, y, trains, decay, classes, recipe, [recipe.steps])
    return last


def heads_on_the_way(
    x: Tensor, y: Tensor, trains: Tensor, decay: Tensor, classes: int, recipe: HeadRecipe, marks: Sequence[int]
) -> Iterator[Tensor]:
    """As `train_heads`, yielding the probabilities (S, M, N, C) after each of the steps `marks` (1 and up, ascending).

    x (N, D) float64, y (N) int64; trains (M, N) bool: the clips a head learns from; decay (M): its AdamW weight decay. Each head
    standardises with the mean and deviation of its own clips, weighs classes by inverse frequency and takes full-batch AdamW steps; a clip
    outside `trains` has weight 0 in its loss. Standardising is folded into the weights, ((x - mean) / deviation) W = x (W / deviation) -
    (mean / deviation) W, so that all heads share one product with the clips as they are.
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
        torch.randn(x.shape[1], classes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 0.01 for seed in recipe.seeds
    ]
    matrix = torch.stack(initial, 2).to(x.device)[..., None].expand(-1, -1, -1, len(trains)).clone().requires_grad_()  # (D, C, S, M)
    bias = torch.zeros(matrix.shape[1:], dtype=torch.float64, device=x.device, requires_grad=True)
    scale, offset = scale.T[:, None, None], (mean * scale).T[:, None, None]  # (D, 1, 1, M)
    optimizer = torch.optim.AdamW([matrix, bias], lr=recipe.lr, weight_decay=0.0, fused=True)
    shrink = 1 - recipe.lr * decay  # AdamW's decoupled decay, one a head; biases are not decayed

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
