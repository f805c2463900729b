"""The dual-view classifier of Emotic MAE and its Fusion Attention (arXiv 2403.13039).

An auxiliary *ipsilateral* view of the same face guides the *examined* view, the one being classified: both pass the low blocks,
Fusion Attention mixes them, the high blocks see the fused tokens. No code was released and the text numbers no equation we could
read, so the formulas below are Loupe's, labelled F1 to F6 in the order of use:

    F1  u = LN x, v = LN y                      x, y (B, L, D): patch tokens of the two views after block k + a learnt view embedding
    F2  S = MHA(q = u, kv = [u; v])             self-attention over both views
    F3  N = MHA(q = u, kv = [u; v] nearby)      local attention: the 3 x 3 neighbours in both views, 18 keys, fewer at the border
    F4  g = L softmax_L(MLP([u; v]))            importance of a patch, mean 1: the map that is reported
    F5  F = x + gamma MLP([S; g N])             gamma (D) starts at .1: the skip keeps the examined view
    F6  logits = Linear(LN(mean_c high(F)))     c: the cells of a 4 x 4 grid of the patches, side by side, after dropout (`head` grid), or
                                                all patches as one cell (mean); the encoder's own final norm, applied after the mean as
                                                MAE-Face does

What the paper leaves open, and the choice:
    where the views meet    after block `fuse_at`
    "independently"         share_low=False gives the ipsilateral view its own copy of the low blocks (the patch embedding stays shared)
    Mean                    kv = (u + v) / 2, so 9 local keys
    UpDown                  first y attends to x (own weights), then x to the new y
    self and local          separate projections: either can be removed without touching the other
    class token             bypasses the fusion; the ipsilateral one is dropped there

Removing a part (`FusionParts`) removes its weights. Without the local branch the importance weighs S; without self the MLP sees g N alone;
without `skip` F = gamma MLP(...) with gamma starting at 1; `attention=False` removes both attentions and the importance, and what is left
is token by token: F = x + gamma MLP([u; v]) (mean: [u; (u + v) / 2]). `late` and `single` have no fusion that parts could be taken from.

Shapes: B batch, L patches, D width, H heads, E head width.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from loupe.errors import LoupeError
from loupe.models.fusion_attention import LAYERS, WHOLE, FusionParts, OwnFusion
from loupe.models.readout import grid_means, head_named
from loupe.models.vit import Encoder, layer_groups, run_blocks


class DualViewClassifier(nn.Module):
    """Classify the examined view with the help of the ipsilateral one, fused by the layer of `variant`; `classifier` knows all variants.

    encoder: pre-trained or fresh; used, not copied. classes: number of classes. fuse_at: k, the number of low blocks (default: half the
    depth). head: what it reads the tokens from, see F6. For share_low see the module.
    Raises LoupeError for a `fuse_at` outside the encoder and for an unknown head.
    """

    layers = LAYERS  # of fusion, by variant
    views, pooled_views = 2, 1  # that are looked at; whose pooled tokens the head sees

    def __init__(
        self,
        encoder: Encoder,
        *,
        classes: int,
        variant: str = "concat",
        fuse_at: int | None = None,
        share_low: bool = True,
        parts: FusionParts = WHOLE,
        head: str = "mean",
    ) -> None:
        super().__init__()
        self.encoder, self.variant = encoder, variant
        self.fuse_at = encoder.depth // 2 if fuse_at is None else fuse_at
        if not 0 <= self.fuse_at <= encoder.depth:
            raise LoupeError(f"fuse_at {fuse_at} lies outside the encoder's {encoder.depth} blocks; choose 0 to {encoder.depth}.")
        # The copy starts from the encoder's weights as they are now: load pre-trained weights before building the classifier.
        self.low_ipsilateral = copy.deepcopy(encoder.blocks[: self.fuse_at]) if self.views == 2 and not share_low else None
        layer = self.layers[variant]
        self.fusion = nn.ModuleList(
            layer(encoder.width, encoder.heads, encoder.grid, parts) for _ in range(parts.fusion_depth if layer else 0)
        )
        self.view_embed = nn.Parameter(torch.zeros(self.views, encoder.width)) if len(self.fusion) else None
        self.side, dropout = head_named(head)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(self.pooled_views * self.side**2 * encoder.width, classes)
        self._init_own(None)

    def init_weights(self, generator: torch.Generator | None = None) -> None:
        """Draw every weight anew, the encoder's included; the low blocks of both views start equal."""
        self.encoder.init_weights(generator)
        if self.low_ipsilateral is not None:
            self.low_ipsilateral.load_state_dict(self.encoder.blocks[: self.fuse_at].state_dict())
        self._init_own(generator)

    def _init_own(self, generator: torch.Generator | None) -> None:
        for layer in self.fusion:
            layer.init_weights(generator)
        if self.view_embed is not None:
            nn.init.normal_(self.view_embed, std=0.02, generator=generator)
        nn.init.normal_(self.head.weight, std=0.01, generator=generator)  # small, so that training starts near uniform predictions
        nn.init.zeros_(self.head.bias)

    def forward(self, examined: Tensor, ipsilateral: Tensor | None = None) -> Tensor:
        """examined, ipsilateral (B, C, H, W) -> logits (B, classes)."""
        x, y = self._low(examined, ipsilateral)
        if len(self.fusion):
            a, b = self._views(x, y)
            for layer in self.fusion:
                a, b, _ = layer(a, b)
            x = torch.cat([x[:, :1], a], dim=1)  # the class token bypasses the fusion
        return self._classify(x, y)

    @torch.no_grad()
    def forward_maps(self, examined: Tensor, ipsilateral: Tensor | None = None) -> tuple[Tensor, dict[str, Tensor | None]]:
        """As `forward`, with the maps of the last fusion layer (see FusionAttention.maps; all None without a fusion)."""
        x, y = self._low(examined, ipsilateral)
        if not len(self.fusion):
            return self._classify(x, y), {"importance": None, "self": None, "local": None}
        a, b = self._views(x, y)
        for layer in self.fusion:
            maps = layer.maps(a, b)
            a, b, _ = layer(a, b)
        return self._classify(torch.cat([x[:, :1], a], dim=1), y), maps

    def _low(self, examined: Tensor, ipsilateral: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Blocks 1..k: tokens (B, 1 + L, D) of the examined and of the ipsilateral view."""
        encoder, k = self.encoder, self.fuse_at
        if ipsilateral is None:
            raise LoupeError(f"Variant '{self.variant}' needs the ipsilateral view as second argument; pass it or use 'single'.")
        x, y = (encoder.with_class_token(encoder.embed(view)) for view in (examined, ipsilateral))
        if self.low_ipsilateral is None:
            return tuple(encoder.run_blocks(torch.cat([x, y]), 0, k).chunk(2))
        checkpointed = encoder.checkpoint_blocks and self.training
        return encoder.run_blocks(x, 0, k), run_blocks(self.low_ipsilateral, y, checkpointed=checkpointed)

    def _views(self, x: Tensor, y: Tensor | None) -> tuple[Tensor, Tensor]:
        """Patch tokens plus view embeddings; the control looks at itself."""
        a = x[:, 1:] + self.view_embed[0]
        return a, a if y is None else y[:, 1:] + self.view_embed[1]

    def _pool(self, tokens: Tensor) -> Tensor:
        """Blocks k+1..N and the norm of the mean patch of each cell (B, cells x D)."""
        patches = self.encoder.run_blocks(tokens, self.fuse_at)[:, 1:]
        return self.encoder.norm(grid_means(patches, self.encoder.grid, self.side)).flatten(1)

    def _classify(self, x: Tensor, y: Tensor | None) -> Tensor:
        """F6 on the fused tokens x."""
        return self.head(self.dropout(self._pool(x)))

    def no_weight_decay(self) -> set[str]:
        return {"encoder.cls_token", "view_embed"} | {name for name, _ in self.fusion.named_parameters("fusion") if name.endswith(".gamma")}

    def group_matcher(self, coarse: bool = False) -> dict:
        return layer_groups("encoder.", coarse, copies="low_ipsilateral")


class SingleView(DualViewClassifier):
    """The examined view alone; a second one is ignored."""

    layers, views = {"single": None}, 1

    def _low(self, examined: Tensor, ipsilateral: Tensor | None) -> tuple[Tensor, None]:
        return self.encoder.run_blocks(self.encoder.with_class_token(self.encoder.embed(examined)), 0, self.fuse_at), None


class DepthMatchedView(SingleView):
    """The control of `single`: one more layer at the same place that sees the examined view alone. It has the parameters of `concat` less
    the ipsilateral view embedding (D)."""

    layers = {"single": OwnFusion}


class LateFusion(DualViewClassifier):
    """Both views through all blocks, unfused; the head sees the pooled tokens of both."""

    layers, pooled_views = {"late": None}, 2

    def _classify(self, x: Tensor, y: Tensor) -> Tensor:
        return self.head(self.dropout(torch.cat([self._pool(x), self._pool(y)], dim=-1)))


VARIANTS = {"single": SingleView, **dict.fromkeys(LAYERS, DualViewClassifier), "late": LateFusion}


def classifier(encoder: Encoder, *, variant: str = "concat", depth_matched: bool = False, **options) -> DualViewClassifier:
    """The classifier of a variant, or the depth-matched control of `single`. Raises LoupeError for an unknown variant or a control of
    another."""
    if variant not in VARIANTS:
        raise LoupeError(f"Unknown dual-view variant '{variant}'; choose one of {', '.join(VARIANTS)}.")
    if depth_matched and variant != "single":
        raise LoupeError(f"depth_matched is the control of variant 'single', not of '{variant}'; set it to false.")
    return (DepthMatchedView if depth_matched else VARIANTS[variant])(encoder, variant=variant, **options)
