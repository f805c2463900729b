"""A shallow three-stream network on optical flow (STSTNet, Liong et al. 2019, arXiv 1902.03634)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from loupe.models.baselines.small_cnn import init_convolutions

FLOW_SIDE = 28  # px, of the fields that `ThreeStream` takes


class ThreeStream(nn.Module):
    """Three streams of 3, 5 and 8 filters see the same u, v and strain; their maps are stacked, averaged and classified by one Linear.

    Takes (B, 3, 28, 28) from `flow_fields(..., side=28)`, each channel divided by its deviation over the training clips (`scale`);
    returns logits (B, classes).
    """

    def __init__(self, classes: int, *, filters: tuple[int, ...] = (3, 5, 8), dropout: float = 0.5) -> None:
        super().__init__()
        self.streams = nn.ModuleList(
            nn.Sequential(nn.Conv2d(3, n, 3, padding=1), nn.ReLU(), nn.BatchNorm2d(n), nn.MaxPool2d(3, 3, padding=1), nn.Dropout(dropout))
            for n in filters
        )
        self.pool = nn.AvgPool2d(2)
        self.head = nn.Linear(sum(filters) * 25, classes)
        self.register_buffer("scale", torch.ones(3))
        self.init_weights()

    def init_weights(self, generator: torch.Generator | None = None) -> None:
        init_convolutions(self, generator)
        nn.init.ones_(self.scale)

    @torch.no_grad()
    def fit_scale(self, training: Tensor) -> None:
        """Set `scale` (3) from training flow fields (N, 3, 28, 28); the zero of motion stays zero, so no mean is taken off."""
        self.scale.copy_(training.square().mean(dim=(0, 2, 3)).sqrt().clamp(min=1e-6))

    def forward(self, fields: Tensor) -> Tensor:
        fields = fields / self.scale[:, None, None]
        maps = torch.cat([stream(fields) for stream in self.streams], dim=1)  # (B, 16, 10, 10)
        return self.head(self.pool(maps).flatten(1))

    def no_weight_decay(self) -> set[str]:
        return set()

    def group_matcher(self, coarse: bool = False) -> dict:
        """The streams lie side by side: one layer, before the head."""
        return {"stem": r"^streams", "blocks": []}
