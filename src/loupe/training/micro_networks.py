"""The two small networks that micro-expressions are read with, behind scikit-learn's interface: chosen and scored as the linear methods
are."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.class_weight import compute_class_weight
from torch import Tensor, nn
from torch.nn import functional

from loupe.models.baselines.difference_vit import DifferenceViT
from loupe.models.baselines.three_stream import ThreeStream
from loupe.models.vit import Encoder
from loupe.settings import EncoderSize, NetworkRecipe
from loupe.training.device import one_thread
from loupe.training.loop import parameter_groups
from loupe.training.schedules import batch_order, warmup_cosine


def three_stream(classes: int, fields: Tensor) -> ThreeStream:
    """The published deep baseline on optical flow, scaled by its training fields (N, 3, 28, 28): u and v in px of the original frame,
    strain."""
    network = ThreeStream(classes)
    network.fit_scale(fields)
    return network


def difference_vit(classes: int, onset: Tensor, apex: Tensor, *, size: EncoderSize, patch: int) -> DifferenceViT:
    """The frame-difference ViT for pictures as large as the training frames (N, 3, H, H); patch: px."""
    assert onset.shape == apex.shape
    encoder = Encoder(image_size=onset.shape[-1], patch_size=patch, width=size.width, depth=size.depth, heads=size.heads)
    return DifferenceViT(encoder, classes=classes)


class NetworkClassifier(ClassifierMixin, BaseEstimator):
    """A network trained from scratch on the clips it is given.

    Rows x (N, I, C, H, W) float32: the I pictures of a clip that the network's `forward` takes. `build(classes, *pictures)` makes the
    network; the pictures (N, C, H, W) are those of the training clips. Classes are weighted by inverse frequency. On the CPU it trains and
    predicts with one
    thread (their number decides the order of sums): the same seed gives the same bytes.
    """

    def __init__(
        self, build: Callable[..., nn.Module], recipe: NetworkRecipe, seed: int, device: torch.device | str, weight_decay: float
    ) -> None:
        self.build, self.recipe, self.seed, self.device, self.weight_decay = build, recipe, seed, device, weight_decay

    def fit(self, x: np.ndarray, y: np.ndarray) -> NetworkClassifier:
        self.classes_, numbers = np.unique(y, return_inverse=True)
        device = torch.device(self.device)
        pictures, truth = self._pictures(x), torch.from_numpy(numbers).to(device)
        weight = torch.tensor(compute_class_weight("balanced", classes=self.classes_, y=y), dtype=torch.float32, device=device)
        with one_thread(), torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(self.seed)  # dropout and the initial weights draw from torch's own stream
            self.network_ = self.build(len(self.classes_), *pictures).to(device)
            optimizer = torch.optim.AdamW(parameter_groups(self.network_, self.weight_decay, 1.0), lr=0.0)
            for step, rate in enumerate(warmup_cosine(self.recipe.steps, self.recipe.steps // 10, self.recipe.lr)):
                for group in optimizer.param_groups:
                    group["lr"] = float(rate)
                rows = torch.from_numpy(batch_order(len(truth), self.recipe.batch, step, self.seed)).to(device)
                loss = functional.cross_entropy(self.network_(*(picture[rows] for picture in pictures)), truth[rows], weight=weight)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        self.network_.eval()
        return self

    @torch.inference_mode()
    def predict_proba(self, x: np.ndarray) -> np.ndarray:
        with one_thread():
            return self.network_(*self._pictures(x)).softmax(-1).cpu().numpy()

    def predict(self, x: np.ndarray) -> np.ndarray:
        return self.classes_[self.predict_proba(x).argmax(-1)]

    def _pictures(self, x: np.ndarray) -> tuple[Tensor, ...]:
        return torch.from_numpy(np.ascontiguousarray(x, dtype=np.float32)).to(self.device).unbind(1)
