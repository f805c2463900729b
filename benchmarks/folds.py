"""Leave-one-subject-out heads one after another, to time against `loupe.training.loso.loso_heads`, which trains them together."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from torch.nn import functional

from loupe.evaluation.protocols import loso_folds
from loupe.training.clip_tasks import ClipTask
from loupe.training.loso import HeadRecipe


def problem(people: int = 20, clips: int = 240, width: int = 256, classes: int = 3, seed: int = 0) -> tuple[ClipTask, np.ndarray]:
    """(task, features (clips, width)) of the laptop study's size."""
    chance = np.random.default_rng(seed)
    labels = np.arange(clips) % classes
    features = chance.normal(size=(clips, width)).astype(np.float32)
    features[:, 0] += labels
    rows = pd.DataFrame({"label": labels, "subject": [f"s{i % people:02d}" for i in range(clips)]})
    return ClipTask("micro", classes, np.ones(clips, dtype=bool), rows, tuple(loso_folds(rows["subject"].to_numpy()))), features


def sequential_heads(task: ClipTask, features: np.ndarray, recipe: HeadRecipe) -> np.ndarray:
    """Probabilities (seeds, N, C), one fold and one seed after another, in double precision; the recipe names one weight decay."""
    labels, subjects, classes, (decay,) = task.labels, task.subjects, task.classes, recipe.weight_decays
    out = np.zeros((len(recipe.seeds), len(labels), classes), dtype=np.float32)
    for i, seed in enumerate(recipe.seeds):
        for person in np.unique(subjects):
            train = subjects != person
            x = torch.tensor(features[train], dtype=torch.float64)
            mean, deviation = x.mean(0), x.std(0, correction=0).clamp(min=1e-4)
            y = torch.tensor(labels[train])
            counts = torch.bincount(y, minlength=classes)
            weight = (len(y) / (classes * counts.clamp(min=1)))[y].double()
            initial = torch.randn(x.shape[1], classes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 0.01
            matrix, bias = initial.clone().requires_grad_(), torch.zeros(classes, dtype=torch.float64, requires_grad=True)
            optimizer = torch.optim.AdamW(
                [{"params": [matrix], "weight_decay": decay}, {"params": [bias], "weight_decay": 0.0}], lr=recipe.lr
            )
            scaled = (x - mean) / deviation
            for _ in range(recipe.steps):
                loss = (functional.cross_entropy(scaled @ matrix + bias, y, reduction="none") * weight).sum() / weight.sum()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            held_out = (torch.tensor(features[~train], dtype=torch.float64) - mean) / deviation
            out[i, ~train] = (held_out @ matrix + bias).softmax(-1).detach().numpy()
    return out
