"""Diagonal Micro-Attention (DMA) and Patch of Interest (PoI) of Micron-BERT (arXiv 2304.03195, Eqs 8 and 9 and the PoI section).

Shapes: B batch, L patches, D width. P_s: patch tokens of the swapped frame I_{t/s}; P_r: of the reference frame I_{t+d};
ct_r (B, D): the contextual token of I_{t+d}.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from loupe.errors import LoupeError
from loupe.models.vit import init_linear_and_norm


class Micro(NamedTuple):
    tokens: Tensor  # (B, L, D) P_dma; zero where poi_topk drops a patch
    dma: Tensor | None  # (B, L) a, the attention of a patch to its own place; None with dma="off"
    poi: Tensor | None  # (B, L) s, the interest of a patch; None without PoI
    kept: Tensor | None  # (B, k) indices of the patches poi_topk kept

    def mean(self) -> Tensor:
        """Mean P_dma over the patches that are kept (B, D)."""
        return self.tokens.sum(dim=1) / (self.tokens.shape[1] if self.kept is None else self.kept.shape[1])


class MicroAttention(nn.Module):
    """P_dma from two frames. The switches are explained in `loupe.models.micron_bert`."""

    def __init__(
        self,
        width: int,
        *,
        dma: str = "diagonal",
        poi: bool = True,
        poi_topk: int | None = None,
        scale: str = "normalised",
        layout: str = "paper",
    ) -> None:
        super().__init__()
        for name, value, choices in (
            ("dma", dma, ("diagonal", "full", "off")), ("scale", scale, ("normalised", "literal")),
            ("layout", layout, ("paper", "released")),
        ):  # fmt: skip
            if value not in choices:
                raise LoupeError(f"Unknown {name} '{value}'; choose one of {', '.join(choices)}.")
        if layout == "released" and (poi or scale != "normalised" or dma == "off"):
            raise LoupeError(
                "layout 'released' has no PoI, its own scale, and always attends; set poi=False, scale='normalised', dma!='off'."
            )
        if poi_topk is not None and not (poi and dma == "diagonal" and poi_topk > 0):
            raise LoupeError(
                f"poi_topk={poi_topk} ranks patches by interest for the diagonal: it needs poi=True, dma='diagonal', a k above 0."
            )
        self.width, self.dma, self.poi, self.poi_topk = width, dma, poi, poi_topk
        self.normalised, self.released = scale == "normalised", layout == "released"
        if dma != "off":
            self.to_q, self.to_k, self.to_v = (nn.Linear(width, width) for _ in range(3))
        self.proj = nn.Linear(width, width) if self.released else None
        self.init_weights()

    def init_weights(self, generator: torch.Generator | None = None) -> None:
        init_linear_and_norm(self, generator)

    def forward(self, swapped: Tensor, reference: Tensor, ct: Tensor) -> Micro:
        """P_s (B, L, D), P_r (B, L, D), ct_r (B, D) -> Micro."""
        s = self.interest(reference, ct) if self.poi else None
        if self.poi_topk is not None:
            return self._best_patches(swapped, reference, s)
        if self.dma == "off":
            return Micro(swapped if s is None else s[..., None] * swapped, None, s, None)
        logits = self._logits(swapped, reference)
        a = self._diagonal(logits, reference.shape[1])
        values = self.to_v(swapped)
        if self.dma == "full":
            mixed = logits.softmax(dim=-1).to(values.dtype) @ values  # ordinary cross-attention, the rival of DMA
        else:
            mixed = a.to(values.dtype)[..., None] * values  # Eq. 9: P_dma = diag(A) V(P_s)
        if s is not None:
            mixed = s[..., None] * mixed  # PoI section: W = diag(A) s, P_dma = W V(P_s)
        return Micro(mixed if self.proj is None else self.proj(mixed), a, s, None)

    def interest(self, reference: Tensor, ct: Tensor) -> Tensor:
        """PoI: s = L softmax over patches of <LN ct_r, LN P_r,i> / sqrt(D), mean 1 (B, L).

        LN has no weights here: the product over sqrt(D) is then sqrt(D) times the correlation (Pearson's) of the contextual token with
        the patch, the word the paper uses. `literal`: softmax of the plain product, no factor L.
        """
        ct, patches = F.layer_norm(ct.float(), ct.shape[-1:], eps=1e-6), F.layer_norm(reference.float(), ct.shape[-1:], eps=1e-6)
        product = (patches * ct[:, None]).sum(dim=-1)
        if not self.normalised:
            return product.softmax(dim=-1)
        return product.shape[1] * (product / self.width**0.5).softmax(dim=-1)

    def _logits(self, swapped: Tensor, reference: Tensor, rows: Tensor | None = None) -> Tensor:
        """Q K^T in float32 (B, rows or L, L), before the softmax over the last axis."""
        asking, asked = (swapped, reference) if self.released else (reference, swapped)  # the released code exchanges them
        if rows is not None:
            asking = pick(asking, rows)
        q, k = self.to_q(asking).float(), self.to_k(asked).float()
        return q @ k.transpose(-2, -1) * (self.width**-0.5 if self.normalised else 1.0)

    def _diagonal(self, logits: Tensor, patches: int, rows: Tensor | None = None) -> Tensor:
        """Eq. 8: A = softmax(Q(P_r) K(P_s)^T), each row sums to 1; a = L diag(A), 1 under uniform attention.

        The diagonal of a softmax needs one number a row besides the logits. No factor L with `literal` and `released`.
        """
        own = logits.diagonal(dim1=-2, dim2=-1) if rows is None else logits.gather(2, rows[..., None]).squeeze(-1)
        a = (own - logits.logsumexp(dim=-1)).exp()
        return patches * a if self.normalised and not self.released else a

    def _best_patches(self, swapped: Tensor, reference: Tensor, s: Tensor) -> Micro:
        """W only for the k most interesting patches: k rows of A instead of L, k values instead of L; the other patches stay zero."""
        kept = s.topk(min(self.poi_topk, s.shape[1]), dim=1).indices  # (B, k)
        a = self._diagonal(self._logits(swapped, reference, kept), s.shape[1], kept)
        weight = a * s.gather(1, kept)
        values = self.to_v(pick(swapped, kept))
        mixed = weight.to(values.dtype)[..., None] * values
        tokens = torch.zeros_like(swapped, dtype=mixed.dtype).scatter(1, kept[..., None].expand_as(mixed), mixed)
        everywhere = torch.zeros_like(s).scatter(1, kept, a.to(s.dtype))  # the map of a: zero for the patches nobody looked at
        return Micro(tokens, everywhere, s, kept)


def pick(tokens: Tensor, rows: Tensor) -> Tensor:
    """Rows (B, k) of tokens (B, L, D): (B, k, D)."""
    return tokens.gather(1, rows[..., None].expand(-1, -1, tokens.shape[-1]))
