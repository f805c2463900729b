"""A small VGG-style network for stills (Simonyan and Zisserman 2015); the challenge's own baseline is a VGGFACE network."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class SmallVGG(nn.Module):
    """Pairs of 3 x 3 convolutions with batch norm, halved after each pair; mean over space, dropout, Linear: its own head, whatever
    `dual_view.head` says.

    channels: one entry a pair. Takes (B, 3, H, W), H and W at least 2^pairs; returns logits (B, classes).
    """

    def __init__(self, classes: int, *, channels: tuple[int, ...] = (32, 64, 128, 256), dropout: float = 0.3) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 3
        for width in channels:
            for source in (before, width):
                layers += [nn.Conv2d(source, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
            layers.append(nn.MaxPool2d(2))
            before = width
        self.features = nn.Sequential(*layers)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(before, classes)
        self.init_weights()

    def init_weights(self, generator: torch.Generator | None = None) -> None:
        init_convolutions(self, generator)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.dropout(self.features(images).mean(dim=(2, 3))))

    def no_weight_decay(self) -> set[str]:
        return set()

    def group_matcher(self, coarse: bool = False) -> dict:
        """Each convolution and each batch norm is a layer, as in timm's VGG."""
        return {"stem": r"^features\.0", "blocks": r"^features\.(\d+)"}


def init_convolutions(module: nn.Module, generator: torch.Generator | None = None) -> None:
    """He-normal convolutions, identity batch norms, small Linear heads."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu", generator=generator)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
        elif isinstance(part, nn.modules.batchnorm._BatchNorm):
            part.reset_parameters()
        elif isinstance(part, nn.Linear):
            nn.init.normal_(part.weight, std=0.01, generator=generator)
            nn.init.zeros_(part.bias)
