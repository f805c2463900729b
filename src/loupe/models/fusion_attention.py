"""Fusion Attention of Emotic MAE: formulas F1 to F5 of `loupe.models.dual_view` (arXiv 2403.13039).

Shapes: B batch, L patches, D width, H heads, E head width, M keys.
"""

from __future__ import annotations

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


class Fused(NamedTuple):
    examined: Tensor  # (B, L, D) the fused tokens F
    ipsilateral: Tensor  # (B, L, D) unchanged, except by updown
    importance: Tensor | None  # (B, L), mean 1; None where the importance is removed


class FusionAttention(nn.Module):
    """One layer of Fusion Attention (F1 to F5). variant: concat, mean, updown, or own (no second view: the depth-matched control)."""

    def __init__(
        self,
        width: int,
        heads: int,
        grid: tuple[int, int],
        *,
        variant: str = "concat",
        attention: bool = True,
        self_attention: bool = True,
        local_attention: bool = True,
        importance: bool = True,
        skip: bool = True,
    ) -> None:
        super().__init__()
        if attention and not (self_attention or local_attention):
            raise LoupeError("Fusion Attention has neither self nor local attention; set attention=False to ask for that.")
        self.variant, self.attention, self.skip, self.grid = variant, attention, skip, grid
        switches = dict(
            attention=attention, self_attention=self_attention, local_attention=local_attention, importance=importance, skip=skip
        )
        self.towards_examined = FusionAttention(width, heads, grid, variant="concat", **switches) if variant == "updown" else None
        self.norm = Norm(width)
        self.self_attention = Attention(width, heads) if attention and self_attention else None
        self.local_attention = Attention(width, heads) if attention and local_attention else None
        self.importance = (  # no bias at the end: a softmax takes it off again
            nn.Sequential(nn.Linear(2 * width, width // 2), nn.GELU(), nn.Linear(width // 2, 1, bias=False))
            if attention and importance
            else None
        )
        branches = (self_attention + local_attention) if attention else 2
        self.mlp = nn.Sequential(nn.Linear(branches * width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.gamma = nn.Parameter(torch.empty(width))
        nearby, index, inside = neighbours(grid, 1 if variant in ("mean", "own") else 2)
        self.register_buffer("nearby", nearby, persistent=False)  # (L, M) bool
        self.register_buffer("nearby_index", index, persistent=False)  # (L, 9 or 18) the keys in reading order, view after view
        self.register_buffer("nearby_inside", inside, persistent=False)  # (L, 9 or 18) False beyond the border
        self.init_weights()

    def init_weights(self, generator: torch.Generator | None = None) -> None:
        init_linear_and_norm(self, generator)
        nn.init.constant_(self.gamma, 0.1 if self.skip else 1.0)
        views = self.nearby.shape[1] // self.nearby.shape[0]
        for buffer, value in zip((self.nearby, self.nearby_index, self.nearby_inside), neighbours(self.grid, views), strict=True):
            buffer.copy_(value)
        if self.towards_examined is not None:
            self.towards_examined.init_weights(generator)

    def forward(self, x: Tensor, y: Tensor) -> Fused:
        """x, y (B, L, D): patch tokens of the examined and the ipsilateral view, view embeddings added."""
        if self.towards_examined is not None:
            y = self.towards_examined(y, x).examined
        u, v = self.norm(x), self.norm(y)  # F1
        keys = self._keys(u, v)
        if not self.attention:
            return Fused(self._merge(x, [u, keys[:, -u.shape[1] :]]), y, None)
        g = self._importance(u, v)  # F4
        branches = []
        if self.self_attention is not None:
            branches.append(self.self_attention(u, keys))  # F2
        if self.local_attention is not None:
            branches.append(self.local_attention(u, keys, self.nearby))  # F3
        if g is not None:
            branches[-1] = g[..., None] * branches[-1]
        return Fused(self._merge(x, branches), y, g)

    @torch.no_grad()
    def maps(self, x: Tensor, y: Tensor) -> dict[str, Tensor | None]:
        """importance (B, L), self (B, L, 2L), local (B, L, 18; reading order, examined view first; 0 beyond the border).

        `mean` and the control have L and 9 keys instead. None for a part that is removed.
        """
        if self.towards_examined is not None:
            y = self.towards_examined(y, x).examined
        u, v = self.norm(x), self.norm(y)
        keys = self._keys(u, v)
        local = None
        if self.local_attention is not None:
            dense = self.local_attention.weights(u, keys, self.nearby)
            local = dense.gather(2, self.nearby_index.expand(len(dense), -1, -1)) * self.nearby_inside
        return {
            "importance": self._importance(u, v) if self.attention else None,
            "self": self.self_attention.weights(u, keys) if self.self_attention is not None else None,
            "local": local,
        }

    def _keys(self, u: Tensor, v: Tensor) -> Tensor:
        """What the examined view may look at: concat [u; v], mean (u + v) / 2, the control u alone."""
        if self.variant == "mean":
            return (u + v) / 2
        return u if self.variant == "own" else torch.cat([u, v], dim=1)

    def _importance(self, u: Tensor, v: Tensor) -> Tensor | None:
        if self.importance is None:
            return None
        logits = self.importance(torch.cat([u, v], dim=-1)).squeeze(-1)  # (B, L)
        return u.shape[1] * logits.softmax(dim=-1)  # F4: times L, so that a flat map leaves the branch as it is

    def _merge(self, x: Tensor, branches: list[Tensor]) -> Tensor:
        change = self.gamma * self.mlp(torch.cat(branches, dim=-1))  # F5
        return x + change if self.skip else change


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
