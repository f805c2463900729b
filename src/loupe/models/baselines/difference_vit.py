"""A ViT on the difference of two frames: our encoder without DMA, PoI or pre-training, the plain rival of Micron-BERT."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from loupe.models.vit import Encoder, layer_groups


class DifferenceViT(nn.Module):
    """logits of apex - onset: the difference image, divided by its own deviation, through the encoder, pooled, Linear."""

    def __init__(self, encoder: Encoder, *, classes: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(encoder.width, classes)
        self._init_own(None)

    def init_weights(self, generator: torch.Generator | None = None) -> None:
        self.encoder.init_weights(generator)
        self._init_own(generator)

    def _init_own(self, generator: torch.Generator | None) -> None:
        nn.init.normal_(self.head.weight, std=0.01, generator=generator)
        nn.init.zeros_(self.head.bias)

    def forward(self, onset: Tensor, apex: Tensor) -> Tensor:
        """onset, apex (B, C, H, W) -> logits (B, classes)."""
        difference = apex - onset
        deviation = difference.float().square().mean(dim=(1, 2, 3), keepdim=True).add(1e-8).sqrt()
        return self.head(self.encoder.pooled(difference / deviation.to(difference.dtype)))

    def no_weight_decay(self) -> set[str]:
        return {"encoder.cls_token"}

    def group_matcher(self, coarse: bool = False) -> dict:
        return layer_groups("encoder.", coarse)
