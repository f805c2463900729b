"""Micron-BERT's second stage (arXiv 2304.03195): all weights fine-tuned on labelled clips. t = onset, t + d = apex, nothing is swapped.

The paper does not say how a class is read from its tokens; the frozen network is asked in the same ways. Read-outs, P_dma(x, y) being DMA
with P_s = enc(x) and P_r = enc(y):

    dma      P_dma(apex, onset) - P_dma(onset, apex), means over the cells of a 4 x 4 grid    (B, 16 D)
    token    patch tokens, apex - onset, on the same grid; DMA and PoI take no part           (B, 16 D)
    mean     [mean P_dma(onset, apex); ct_apex - ct_onset], which forgets where               (B, 2 D)

Shapes: B batch, L patches, D width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from loupe.errors import LoupeError
from loupe.models.micro_attention import MicroAttention
from loupe.models.micron_bert import MicronBert, pair_features
from loupe.models.readout import grid_means
from loupe.models.vit import Encoder

SIDE = 4  # cells a side: aligned faces have brows, eyes, nose and mouth at about this grain
READOUTS = ("dma", "token", "mean")


def check_readout(name: str) -> None:
    """Raises LoupeError for an unknown read-out."""
    if name not in READOUTS:
        raise LoupeError(f"Unknown readout '{name}'; choose one of {', '.join(READOUTS)}.")


def read_pair(encoder: Encoder, attention: MicroAttention | None, onset: Tensor, apex: Tensor, readout: str) -> Tensor:
    """onset, apex (B, C, H, W) -> (B, 16 D), with `mean` (B, 2 D). `token` needs no attention. Raises LoupeError for an unknown
    read-out."""
    check_readout(readout)
    if readout == "mean":
        return pair_features(encoder, attention, onset, apex)
    first, last = encoder(torch.cat([onset, apex])).chunk(2)  # (B, 1 + L, D) each, the contextual token first
    if readout == "token":
        change = last[:, 1:] - first[:, 1:]
    else:
        change = _p_dma(attention, last, first) - _p_dma(attention, first, last)
    return grid_means(change, encoder.grid, SIDE).flatten(1)


def _p_dma(attention: MicroAttention, source: Tensor, reference: Tensor) -> Tensor:
    """P_dma (B, L, D) of P_s = `source` and P_r = `reference`, each (B, 1 + L, D)."""
    return attention(source[:, 1:], reference[:, 1:], reference[:, 0]).tokens


class MicronClassifier(nn.Module):
    """Read-out, batch norm, dropout, Linear(., classes). Shares encoder and attention with `micron`; its decoder is left behind.

    What two frames of one person have in common is large beside what moved and the same in all his clips; a batch norm without weights (as
    MAE's linear probe has) takes it away. Dropout where the read-out is as wide as a grid. Raises LoupeError for an unknown read-out.
    """

    def __init__(self, micron: MicronBert, *, classes: int, readout: str = "mean", dropout: float = 0.0) -> None:
        super().__init__()
        check_readout(readout)
        self.encoder, self.readout = micron.encoder, readout
        self.attention = None if readout == "token" else micron.attention
        width = micron.encoder.width * (2 if readout == "mean" else SIDE**2)
        self.standardise = nn.BatchNorm1d(width, eps=1e-8, affine=False)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(width, classes)
        self._init_own(None)

    def init_weights(self, generator: torch.Generator | None = None) -> None:
        """Draw every weight anew, the encoder's included."""
        self.encoder.init_weights(generator)
        if self.attention is not None:
            self.attention.init_weights(generator)
        self._init_own(generator)

    def _init_own(self, generator: torch.Generator | None) -> None:
        self.standardise.reset_running_stats()
        nn.init.normal_(self.head.weight, std=0.01, generator=generator)
        nn.init.zeros_(self.head.bias)

    def features(self, onset: Tensor, apex: Tensor) -> Tensor:
        """onset, apex (B, C, H, W) -> what the head reads, before the batch norm: (B, 16 D), with `mean` (B, 2 D)."""
        return read_pair(self.encoder, self.attention, onset, apex, self.readout)

    def forward(self, onset: Tensor, apex: Tensor) -> Tensor:
        """onset, apex (B, C, H, W) -> logits (B, classes)."""
        return self.head(self.dropout(self.standardise(self.features(onset, apex).float())))

    def no_weight_decay(self) -> set[str]:
        return {"encoder.cls_token"}

    def group_matcher(self, coarse: bool = False) -> dict:
        """Two groups: what may have been pre-trained, and the head, which learns faster."""
        return {"trunk": r"^(?:encoder|attention)\."}
