"""Fusion Attention of Emotic MAE: formulas F1 to F5 of `loupe.models.dual_view` (arXiv 2403.13039).

A fusion variant is one class here, registered in `LAYERS` under the name that an arm's `variant` gives.
Shapes: B batch, L patches, D width, H heads, E head width, M keys.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from loupe.errors import LoupeError
from loupe.models.vit import Norm, init_linear_and_norm


class Attention(nn.Module):
    """Multi-head attention of queries (B, L, D) over other tokens (B, M, D)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q = nn.Linear(width, width)
        self.kv = nn.Linear(width, 2 * width)
        self.proj = nn.Linear(width, width)

    def _heads(self, queries: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q = self.q(queries).unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (B, H, L, E)
        k, v = self.kv(tokens).unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)  # (B, H, M, E) each
        return q, k, v

    def forward(self, queries: Tensor, tokens: Tensor, allowed: Tensor | None = None) -> Tensor:
        """`allowed` (L, M) bool: True where a query may look."""
        q, k, v = self._heads(queries, tokens)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=allowed)
        return self.proj(mixed.transpose(1, 2).flatten(2))

    def weights(self, queries: Tensor, tokens: Tensor, allowed: Tensor | None = None) -> Tensor:
        """The attention itself, mean over heads (B, L, M); rows sum to 1."""
        q, k, _ = self._heads(queries, tokens)
        logits = q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5
        if allowed is not None:
            logits = logits.masked_fill(~allowed, -torch.inf)
        return logits.softmax(dim=-1).mean(dim=1)


class NoAttention(nn.Module):
    """In the place of an attention that is switched off: each token by itself, the query's own or the one at its place in the last view."""

    def __init__(self, *, own: bool) -> None:
        super().__init__()
        self.own = own

    def forward(self, queries: Tensor, tokens: Tensor, allowed: Tensor | None = None) -> Tensor:
        return queries if self.own else tokens[:, -queries.shape[1] :]

    def weights(self, queries: Tensor, tokens: Tensor, allowed: Tensor | None = None) -> None:
        """There is no map of it."""


@dataclass(frozen=True)
class FusionParts:
    """Which parts of Fusion Attention are there, and how many layers of it. A part that is not takes its weights with it; `attention` False
    removes the first three."""

    self_attention: bool = True
    local_attention: bool = True
    importance: bool = True
    attention: bool = True
    skip: bool = True
    fusion_depth: int = 1

    def __post_init__(self) -> None:
        if self.attention and not (self.self_attention or self.local_attention):
            raise LoupeError("Fusion Attention has neither self nor local attention; set attention=False to ask for that.")


WHOLE = FusionParts()


class Fused(NamedTuple):
    examined: Tensor  # (B, L, D) the fused tokens F
    ipsilateral: Tensor  # (B, L, D) unchanged, except by updown
    importance: Tensor | None  # (B, L), mean 1; None where the importance is removed


class FusionAttention(nn.Module):
    """One layer of Fusion Attention (F1 to F5), variant `concat`: the examined view looks at both views.

    grid: rows and columns of the patches. towards_examined: the first step of `UpDown`, whose weights stand before the layer's own.
    """

    variant = "concat"
    views = 2  # whose tokens `keys` gives, one view after the other

    def __init__(
        self, width: int, heads: int, grid: tuple[int, int], parts: FusionParts = WHOLE, towards_examined: FusionAttention | None = None
    ) -> None:
        super().__init__()
        self.grid, self.attention, self.skip = grid, parts.attention, parts.skip
        self.towards_examined = towards_examined
        self.norm = Norm(width)
        self.self_attention = self.local_attention = self.importance = None
        if not parts.attention:
            self.self_attention, self.local_attention = NoAttention(own=True), NoAttention(own=False)
        if parts.attention and parts.self_attention:
            self.self_attention = Attention(width, heads)
        if parts.attention and parts.local_attention:
            self.local_attention = Attention(width, heads)
        if parts.attention and parts.importance:  # no bias at the end: a softmax takes it off again
            self.importance = nn.Sequential(nn.Linear(2 * width, width // 2), nn.GELU(), nn.Linear(width // 2, 1, bias=False))
        branches = sum(branch is not None for branch in (self.self_attention, self.local_attention))
        self.mlp = nn.Sequential(nn.Linear(branches * width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.gamma = nn.Parameter(torch.empty(width))
        nearby, index, inside = neighbours(grid, self.views)
        self.register_buffer("nearby", nearby, persistent=False)  # (L, M) bool
        self.register_buffer("nearby_index", index, persistent=False)  # (L, 9 or 18) the keys in reading order, view after view
        self.register_buffer("nearby_inside", inside, persistent=False)  # (L, 9 or 18) False beyond the border
        self.init_weights()

    def init_weights(self, generator: torch.Generator | None = None) -> None:
        init_linear_and_norm(self, generator)
        nn.init.constant_(self.gamma, 0.1 if self.skip else 1.0)
        buffers = (self.nearby, self.nearby_index, self.nearby_inside)
        for buffer, value in zip(buffers, neighbours(self.grid, self.views), strict=True):
            buffer.copy_(value)
        if self.towards_examined is not None:
            self.towards_examined.init_weights(generator)

    def keys(self, u: Tensor, v: Tensor) -> Tensor:
        """What a patch of the examined view may look at, (B, views * L, D)."""
        return torch.cat([u, v], dim=1)

    def forward(self, x: Tensor, y: Tensor) -> Fused:
        """x, y (B, L, D): patch tokens of the examined and the ipsilateral view, view embeddings added."""
        u, v = self.norm(x), self.norm(y)  # F1
        # `pair` is made before S and N: the backward pass adds up the gradients of u in the order in which it was used.
        tokens, pair = self.keys(u, v), torch.cat([u, v], dim=-1)
        S = None if self.self_attention is None else self.self_attention(u, tokens)  # F2
        N = None if self.local_attention is None else self.local_attention(u, tokens, self.nearby)  # F3
        g = None if self.importance is None else self.weigh(pair)  # F4
        if g is not None:
            S, N = (S, g[..., None] * N) if N is not None else (g[..., None] * S, None)
        change = self.gamma * self.mlp(torch.cat([branch for branch in (S, N) if branch is not None], dim=-1))
        return Fused(x + change if self.skip else change, y, g)  # F5

    def weigh(self, pair: Tensor) -> Tensor:
        """F4 on [u; v] (B, L, 2D): g = L softmax_L(MLP([u; v])) (B, L); times L, so that a flat map leaves the branch as it is."""
        return pair.shape[1] * self.importance(pair).squeeze(-1).softmax(dim=-1)

    @torch.no_grad()
    def maps(self, x: Tensor, y: Tensor) -> dict[str, Tensor | None]:
        """importance (B, L), self (B, L, 2L), local (B, L, 18; reading order, examined view first; 0 beyond the border).

        `mean` and the control have L and 9 keys instead. None for a part that is removed.
        """
        u, v = self.norm(x), self.norm(y)
        tokens = self.keys(u, v)
        everywhere = None if self.self_attention is None else self.self_attention.weights(u, tokens)
        nearby = None if self.local_attention is None else self.local_attention.weights(u, tokens, self.nearby)
        if nearby is not None:
            nearby = nearby.gather(2, self.nearby_index.expand(len(nearby), -1, -1)) * self.nearby_inside
        g = None if self.importance is None else self.weigh(torch.cat([u, v], dim=-1))
        return {"importance": g, "self": everywhere, "local": nearby}


class MeanFusion(FusionAttention):
    """The examined view looks at the mean of both views."""

    variant, views = "mean", 1

    def keys(self, u: Tensor, v: Tensor) -> Tensor:
        return (u + v) / 2


class OwnFusion(FusionAttention):
    """The examined view looks at itself: no second view, the depth-matched control."""

    variant, views = "own", 1

    def keys(self, u: Tensor, v: Tensor) -> Tensor:
        return u


class UpDown(FusionAttention):
    """First the ipsilateral view looks at both, with weights of its own; then the examined view at itself and at what came of it."""

    variant = "updown"

    def __init__(self, width: int, heads: int, grid: tuple[int, int], parts: FusionParts = WHOLE) -> None:
        super().__init__(width, heads, grid, parts, towards_examined=FusionAttention(width, heads, grid, parts))

    def forward(self, x: Tensor, y: Tensor) -> Fused:
        return super().forward(x, self.towards_examined(y, x).examined)

    def maps(self, x: Tensor, y: Tensor) -> dict[str, Tensor | None]:
        with torch.no_grad():
            return super().maps(x, self.towards_examined(y, x).examined)


LAYERS = {layer.variant: layer for layer in (FusionAttention, MeanFusion, UpDown)}


def neighbours(grid: tuple[int, int], views: int) -> tuple[Tensor, Tensor, Tensor]:
    """The 3 x 3 neighbourhood of every patch, in each of `views` views whose tokens are concatenated.

    Returns (L, views*L) bool: may look; (L, 9*views) key index; (L, 9*views) bool: False where that index lies beyond the border.
    """
    rows, columns = grid
    length = rows * columns
    nearby = torch.zeros(length, views * length, dtype=torch.bool, device="cpu")
    index = torch.zeros(length, 9 * views, dtype=torch.long, device="cpu")
    inside = torch.zeros(length, 9 * views, dtype=torch.bool, device="cpu")
    for patch in range(length):
        row, column = divmod(patch, columns)
        for view in range(views):
            for step in range(9):
                r, c = row + step // 3 - 1, column + step % 3 - 1
                if 0 <= r < rows and 0 <= c < columns:
                    key = view * length + r * columns + c
                    nearby[patch, key] = True
                    index[patch, 9 * view + step] = key
                    inside[patch, 9 * view + step] = True
    return nearby, index, inside
