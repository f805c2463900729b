"""Schedules as tables of the step: printable, testable, and nothing to restore when a run resumes."""

from __future__ import annotations

import numpy as np


def warmup_cosine(steps: int, warmup: int, peak: float, floor: float = 0.0) -> np.ndarray:
    """Learning rate of each of `steps` steps: linear from 0 to `peak` over `warmup`, then half a cosine down to `floor` (MAE's
    schedule)."""
    if not 0 <= warmup < steps:
        raise ValueError(f"warmup ({warmup}) must be at least 0 and below steps ({steps})")
    up = peak * np.arange(1, warmup + 1) / max(warmup, 1)
    t = np.arange(steps - warmup) / max(steps - warmup - 1, 1)
    down = floor + (peak - floor) * 0.5 * (1 + np.cos(np.pi * t))
    return np.concatenate([up, down])


def batch_order(count: int, batch: int, step: int, seed: int) -> np.ndarray:
    """Rows of the batch at `step`: each epoch is a fresh permutation, a pure function of (seed, epoch), the last partial batch dropped.

    A set smaller than a batch is one batch an epoch.
    """
    size = min(batch, count)
    per_epoch = count // size
    epoch, place = divmod(step, per_epoch)
    order = np.random.default_rng([seed, epoch]).permutation(count)
    return order[place * size : (place + 1) * size]


def pretraining_lr(epochs: int, warmup_epochs: int, base_lr: float, batch: int, count: int) -> np.ndarray:
    """Learning rates of `epochs` passes over `count` samples in batches of `batch`: warm-up, cosine, and MAE's linear rule."""
    per_epoch = count // batch
    steps = epochs * per_epoch
    return warmup_cosine(steps, min(warmup_epochs * per_epoch, steps - 1), scaled_lr(base_lr, batch))


def scaled_lr(base_lr: float, effective_batch: int) -> float:
    """MAE's linear rule: `base_lr` is per 256 images."""
    return base_lr * effective_batch / 256
