"""What is estimated: the score of one arm, or the difference between two, on pooled predictions, averaged over seeds.

An effect is held as statistics *per subject* (confusion matrices, sums, win counts), because the subject is the unit of inference (design,
Protocol 4). Two questions can be put to it, each for thousands of draws at once:

* `scores(weights)`: what each seed of each arm scores when subject i counts `weights[:, i]` times, of which `resampled` is the difference
  of
  the arms' means: the bootstrap and the jackknife, and how far seeds lie apart;
* `exchanged(swaps)`: its value when the two arms are exchanged within the subjects marked in `swaps`: the permutation test.

All seeds share the draw of subjects. An arm with one deterministic run (an SVM, say) stands against every seed of the other arm.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import rankdata

from loupe.errors import LoupeError
from loupe.evaluation.arms import SCORE_METRICS, ArmArrays, arms_of
from loupe.evaluation.metrics import CONFUSION_METRICS, grouped_confusion, weighted_sensitivity

FALSE_ALARMS = 0.05
CHUNK = 500


class Effect(Protocol):
    """shapes: R draws, n subjects."""

    subjects: tuple[str, ...]

    def scores(self, weights: NDArray) -> list[NDArray[np.float64]]:
        """Score of each seed under subject weights (R, n): one (R, S) an arm."""

    def resampled(self, weights: NDArray) -> NDArray[np.float64]:
        """Value under subject weights (R, n) -> (R,)."""
        means = [scores.mean(axis=1) for scores in self.scores(weights)]
        return means[0] if len(means) == 1 else means[0] - means[1]

    def exchanged(self, swaps: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Value with the arms exchanged within marked subjects (R, n) -> (R,); defined for two arms."""

    def after_exchange(self, swap: NDArray[np.bool_]) -> Effect:
        """The effect of the two arms that one exchange (n,) makes: a study in which no difference exists, for null controls."""


@dataclass(frozen=True)
class CountsEffect(Effect):
    """Effect of a score that is a function of sums over samples: confusion matrices, or sums and counts for a mean.

    a, b (S, n, ...): statistics of each seed and subject; b is None for the score of a single arm.
    score: (..., statistic) -> (...).
    """

    subjects: tuple[str, ...]
    a: NDArray
    b: NDArray | None
    score: Callable[[NDArray], NDArray[np.float64]]

    def _scores(self, weights: NDArray, statistics: NDArray, offset: NDArray | None = None) -> NDArray[np.float64]:
        n_seeds, n, *shape = statistics.shape
        found = np.empty((len(weights), n_seeds))
        for seed in range(n_seeds):
            sums = weights @ statistics[seed].reshape(n, -1).astype(np.float64)
            found[:, seed] = self.score(sums.reshape(-1, *shape) + (0.0 if offset is None else offset[seed]))
        return found

    def scores(self, weights: NDArray) -> list[NDArray[np.float64]]:
        return [self._scores(weights, arm) for arm in (self.a, self.b) if arm is not None]

    def exchanged(self, swaps: NDArray[np.bool_]) -> NDArray[np.float64]:
        a, b = np.broadcast_arrays(self.a, _second_arm(self.b))
        marked = swaps.astype(np.float64)
        gaps = self._scores(marked, b - a, a.sum(axis=1)) - self._scores(marked, a - b, b.sum(axis=1))
        return gaps.mean(axis=1)

    def after_exchange(self, swap: NDArray[np.bool_]) -> CountsEffect:
        a, b = np.broadcast_arrays(self.a, _second_arm(self.b))
        marked = swap.reshape(1, -1, *[1] * (a.ndim - 2))
        return CountsEffect(self.subjects, np.where(marked, b, a), np.where(marked, a, b), self.score)


@dataclass(frozen=True)
class AurocEffect(Effect):
    """Effect on the area under the ROC curve, exact under any subject weights.

    AUROC is a ratio of sums over pairs of subjects, sum w_i w_j U_ij / (sum w_i P_i)(sum w_j N_j), where U_ij counts the wins of the
    positives of subject i over the negatives of subject j; so resampling needs U and no rows. wins (S, A, A, n, n): seed, arm of the
    positives, arm of the negatives; A is 1 or 2. positives, negatives (n,).
    """

    subjects: tuple[str, ...]
    wins: NDArray[np.float64]
    positives: NDArray
    negatives: NDArray

    @property
    def _arms(self) -> int:
        return self.wins.shape[1]

    def _pairs(self, weights: NDArray) -> NDArray[np.float64]:
        return (weights @ self.positives) * (weights @ self.negatives)

    def scores(self, weights: NDArray) -> list[NDArray[np.float64]]:
        weights = np.asarray(weights, dtype=np.float64)
        pairs = self._pairs(weights)[:, None]
        wins = [
            np.stack([np.einsum("ri,ri->r", weights @ seed[arm, arm], weights) for seed in self.wins], axis=1) for arm in range(self._arms)
        ]
        return [np.divide(won, pairs, out=np.full(won.shape, np.nan), where=pairs > 0) for won in wins]

    def exchanged(self, swaps: NDArray[np.bool_]) -> NDArray[np.float64]:
        if self._arms == 1:
            _second_arm(None)
        first = np.stack([~swaps, swaps]).astype(np.float64)
        total = np.zeros(len(swaps))
        for seed in self.wins:
            for i in range(2):
                for j in range(2):
                    total += np.einsum("ri,ri->r", first[i] @ seed[i, j], first[j])
                    total -= np.einsum("ri,ri->r", first[1 - i] @ seed[i, j], first[1 - j])
        return total / len(self.wins) / self._pairs(np.ones((1, len(self.subjects))))

    def after_exchange(self, swap: NDArray[np.bool_]) -> AurocEffect:
        if self._arms == 1:
            _second_arm(None)
        n, wins = np.arange(len(self.subjects)), np.empty_like(self.wins)
        for i in range(2):
            for j in range(2):
                wins[:, i, j] = self.wins[:, (i ^ swap)[:, None], (j ^ swap)[None], n[:, None], n[None]]
        return AurocEffect(self.subjects, wins, self.positives, self.negatives)


@dataclass(frozen=True)
class SensitivityEffect(Effect):
    """Effect on the sensitivity at a false-alarm rate; a threshold looks at all rows, so draws are computed on rows, in chunks.

    rows (N,): subject index of each sample; positive (N,); ranks (S, A, N) of their scores.
    """

    subjects: tuple[str, ...]
    rows: NDArray[np.int64]
    positive: NDArray[np.bool_]
    ranks: NDArray[np.float64]
    fpr: float = FALSE_ALARMS

    def scores(self, weights: NDArray) -> list[NDArray[np.float64]]:
        def reached(part: NDArray[np.float64]) -> NDArray[np.float64]:
            counts = part[:, self.rows]
            seeds = [[weighted_sensitivity(arm[None], counts, self.positive, self.fpr) for arm in seed] for seed in self.ranks]
            return np.array(seeds).transpose(2, 0, 1)

        found = self._chunked(np.asarray(weights, dtype=np.float64), reached)
        return [found[..., arm] for arm in range(found.shape[-1])]

    def exchanged(self, swaps: NDArray[np.bool_]) -> NDArray[np.float64]:
        if self.ranks.shape[1] == 1:
            _second_arm(None)
        once = np.ones((1, len(self.rows)))

        def difference(part: NDArray[np.bool_]) -> NDArray[np.float64]:
            marked, total = part[:, self.rows], 0.0
            for a, b in self.ranks:
                total = total + weighted_sensitivity(np.where(marked, b, a), once, self.positive, self.fpr)
                total = total - weighted_sensitivity(np.where(marked, a, b), once, self.positive, self.fpr)
            return total / len(self.ranks)

        return self._chunked(swaps, difference)

    def after_exchange(self, swap: NDArray[np.bool_]) -> SensitivityEffect:
        if self.ranks.shape[1] == 1:
            _second_arm(None)
        ranks = np.where(swap[self.rows], self.ranks[:, ::-1], self.ranks)
        return SensitivityEffect(self.subjects, self.rows, self.positive, ranks, self.fpr)

    def _chunked(self, draws: NDArray, function: Callable[[NDArray], NDArray[np.float64]]) -> NDArray[np.float64]:
        parts = [function(draws[start : start + CHUNK]) for start in range(0, len(draws), CHUNK)]
        return np.concatenate(parts)


def _second_arm(b: NDArray | None) -> NDArray:
    if b is None:
        raise LoupeError("exchanging arms needs two of them; this effect is the score of a single arm.")
    return b


def _mean_of_sums(sums: NDArray) -> NDArray[np.float64]:
    return np.divide(sums[..., 0], sums[..., 1], out=np.full(sums.shape[:-1], np.nan), where=sums[..., 1] > 0)


def effect_of(a: pd.DataFrame, b: pd.DataFrame | None, metric: str, classes: int, *, names: tuple[str, str] = ("arm A", "arm B")) -> Effect:
    """The effect metric(A) - metric(B), or the score of A alone where `b` is None.

    a, b: predictions of one task, arm, share of labels and split, all folds pooled. The metric is one of `CONFUSION_METRICS` (reads
    `pred`), `SCORE_METRICS` (label 0/1, reads `p1`), or the name of a column with one number a sample (its mean is taken).
    Raises LoupeError where the arms do not cover the same samples, or hold different numbers of seeds, both above one.
    """
    return effect_between(arms_of(a, b, metric, names=names), metric, classes)


def effect_between(arms: list[ArmArrays], metric: str, classes: int) -> Effect:
    """`effect_of` for one arm or two that are arrays already and cover the same samples in one order."""
    subjects, rows, n = arms[0].subjects, arms[0].rows, len(arms[0].subjects)
    if metric in SCORE_METRICS:
        return _score_effect(arms, metric)
    if metric in CONFUSION_METRICS:
        score = CONFUSION_METRICS[metric]
        found = [np.stack([grouped_confusion(rows, arm.label, values, classes, n) for values in arm.values]) for arm in arms]
    else:
        score = _mean_of_sums
        found = [
            np.stack(
                [np.stack([np.bincount(rows, values, n), np.bincount(rows, minlength=n)], axis=-1) for values in arm.values.astype(float)]
            )
            for arm in arms
        ]
    return CountsEffect(subjects, found[0], found[1] if len(found) == 2 else None, score)


def _score_effect(grids: list[ArmArrays], metric: str) -> AurocEffect | SensitivityEffect:
    first = grids[0]
    positive = first.label == 1
    if not np.isin(first.label, (0, 1)).all():
        raise LoupeError(f"predictions of {first.name} hold labels other than 0 and 1; {metric} needs a yes-or-no task.")
    if not positive.any() or positive.all():
        raise LoupeError(f"predictions of {first.name} hold one class only; {metric} needs samples with label 0 and with label 1.")
    n_seeds = max(g.n_seeds for g in grids)
    # Both scores see ranks only. Ranking each arm first puts margins and probabilities on one scale, without which exchanging arms
    # within a subject would mix units (Venkatraman and Begg 1996).
    ranked = [np.broadcast_to(rankdata(g.values.astype(float), axis=1), (n_seeds, positive.size)) for g in grids]
    scores = np.stack(ranked, axis=1)
    if metric != "auroc":
        return SensitivityEffect(first.subjects, first.rows, positive, scores)
    n, arms = len(first.subjects), len(grids)
    member = np.eye(n)[first.rows]
    ups, downs = member[positive], member[~positive]
    wins = np.empty((n_seeds, arms, arms, n, n))
    for seed in range(n_seeds):
        for i in range(arms):
            for j in range(arms):
                gap = scores[seed, i, positive][:, None] - scores[seed, j, ~positive][None]
                wins[seed, i, j] = ups.T @ ((np.sign(gap) + 1) / 2) @ downs
    return AurocEffect(first.subjects, wins, ups.sum(axis=0), downs.sum(axis=0))
