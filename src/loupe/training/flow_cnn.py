"""The three-stream network on optical flow, leave one subject out: the published deep baseline of micro-expression recognition."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from joblib import Parallel, delayed
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.model_selection import LeaveOneGroupOut
from sklearn.utils.class_weight import compute_class_weight
from torch.nn import functional

from loupe.models.baselines.linear import choose_c, class_probabilities
from loupe.models.baselines.three_stream import ThreeStream
from loupe.progress import track
from loupe.settings import FlowCnn
from loupe.training.loso import INNER_FOLDS
from loupe.training.schedules import batch_order, warmup_cosine

SIDE = 28  # px, the input of `ThreeStream`


class FlowCnnClassifier(ClassifierMixin, BaseEstimator):
    """`ThreeStream` behind scikit-learn's interface, so that it is chosen and scored as the other methods are.

    Rows are flattened flow fields (N, 28 * 28 * 3) of `flow_fields(..., side=28)`, u and v in px of the original frame; classes are weighted by
    inverse frequency. On one CPU thread the same seed gives the same bytes.
    """

    def __init__(self, recipe: FlowCnn, weight_decay: float, seed: int) -> None:
        self.recipe, self.weight_decay, self.seed = recipe, weight_decay, seed

    def fit(self, x: np.ndarray, y: np.ndarray) -> FlowCnnClassifier:
        self.classes_, numbers = np.unique(y, return_inverse=True)
        fields, truth = _images(x), torch.from_numpy(numbers)
        weight = torch.tensor(compute_class_weight("balanced", classes=self.classes_, y=y), dtype=torch.float32)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)  # dropout and the initial weights draw from torch's own stream
            self.network_ = ThreeStream(len(self.classes_))
            self.network_.fit_scale(fields)
            optimizer = torch.optim.AdamW(self.network_.parameters(), lr=0.0, weight_decay=self.weight_decay)
            for step, rate in enumerate(warmup_cosine(self.recipe.steps, self.recipe.steps // 10, self.recipe.lr)):
                optimizer.param_groups[0]["lr"] = float(rate)
                rows = torch.from_numpy(batch_order(len(truth), self.recipe.batch, step, self.seed))
                loss = functional.cross_entropy(self.network_(fields[rows]), truth[rows], weight=weight)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        self.network_.eval()
        return self

    @torch.inference_mode()
    def predict_proba(self, x: np.ndarray) -> np.ndarray:
        return self.network_(_images(x)).softmax(-1).numpy()

    def predict(self, x: np.ndarray) -> np.ndarray:
        return self.classes_[self.predict_proba(x).argmax(-1)]


def loso_flow_cnn(
    fields: np.ndarray,
    labels: np.ndarray,
    subjects: np.ndarray,
    classes: int,
    *,
    recipe: FlowCnn,
    seeds: Sequence[int],
    weight_decays: Sequence[float],
    label: str,
    workers: int = 1,
) -> np.ndarray:
    """Probabilities (seeds, N, C) float32 of each clip by the networks of the fold that never saw its subject.

    fields (N, 28 * 28 * 3). As in `loso_heads`, each fold chooses its weight decay by macro-F1 on inner validation subjects among its training
    people, once, with the first seed. Folds run in `workers` processes; the result does not depend on their number.
    """
    scores = np.zeros((len(seeds), len(labels), classes), dtype=np.float32)
    folds = list(LeaveOneGroupOut().split(fields, labels, subjects))
    fits = Parallel(n_jobs=workers, return_as="generator")(
        delayed(_fold)(fields, labels, subjects, classes, recipe, seeds, weight_decays, *fold) for fold in folds
    )
    for (_, held_out), found in zip(folds, track(fits, label, total=len(folds)), strict=True):
        scores[:, held_out] = found
    return scores


def _fold(fields, labels, subjects, classes, recipe, seeds, weight_decays, train, held_out) -> np.ndarray:
    assert not set(subjects[train]) & set(subjects[held_out])
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the number of threads decides the order of sums, and so the bytes
    try:
        x, y = fields[train], labels[train]

        def make(strength: float) -> FlowCnnClassifier:
            return FlowCnnClassifier(recipe, 1 / strength, seeds[0])

        grid = [1 / decay for decay in weight_decays]  # `choose_c` prefers the smallest, which is the strongest decay
        decay = 1 / choose_c(make, x, y, subjects[train], grid=grid, folds=INNER_FOLDS)
        fitted = [FlowCnnClassifier(recipe, decay, seed).fit(x, y) for seed in seeds]
        return np.stack([class_probabilities(network, fields[held_out], classes) for network in fitted])
    finally:
        torch.set_num_threads(threads)


def _images(x: np.ndarray) -> torch.Tensor:
    """(N, 28 * 28 * 3) -> (N, 3, 28, 28)."""
    return torch.from_numpy(np.asarray(x, dtype=np.float32).reshape(-1, SIDE, SIDE, 3)).permute(0, 3, 1, 2).contiguous()
