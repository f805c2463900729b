"""MAE-Face: a masked autoencoder on faces (arXiv 2111.06377; on faces arXiv 2210.15878, stage 1 of Emotic MAE, arXiv 2403.13039).

MAE's paper numbers no equations; `MaskedAutoencoder.forward` has the order of its section 3: masking, encoder, decoder, target. One method,
`decode`, is faster than the paper's words, with the same result.
Shapes: B batch, L patches, K kept patches, D width, P*P*C pixels of a patch. `masked`: True = hidden from the encoder.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from loupe.errors import LoupeError
from loupe.models.patches import normalise_patches, unpatchify
from loupe.models.vit import CHANNELS, Decoder, Encoder, layer_groups


class Split(NamedTuple):
    order: Tensor  # (B, L) indices of the patches, [kept..., hidden...]
    keep: Tensor  # (B, K) the first of them
    hidden: Tensor  # (B, L - K) the others
    masked: Tensor  # (B, L) bool, True = hidden


def kept_patches(patches: int, mask_ratio: float) -> int:
    """K = floor(L (1 - ratio)) as MAE counts; at least one kept and one hidden, or LoupeError."""
    kept = int(patches * (1 - mask_ratio))
    if not 0 < kept < patches:
        raise LoupeError(f"mask_ratio {mask_ratio} keeps {kept} of {patches} patches; choose one that keeps some and hides some.")
    return kept


def split_tokens(noise: Tensor, kept: int) -> Split:
    """Keep the `kept` patches with the smallest noise (B, L) in every row."""
    order = noise.argsort(dim=1)
    return Split(order, order[:, :kept], order[:, kept:], order.argsort(dim=1) >= kept)


def gather_patches(patches: Tensor, index: Tensor) -> Tensor:
    """The patches (B, n, F) that `index` (B, n) names, of patches (B, L, F)."""
    rows = index + patches.shape[1] * torch.arange(len(patches), device=index.device)[:, None]
    return F.embedding(rows, patches.flatten(0, 1))  # whole rows at once; `gather` goes pixel by pixel


class MaskedAutoencoder(nn.Module):
    """Hide most patches, encode the rest, predict the hidden pixels.

    mask_ratio: share of patches hidden, .75 in MAE and Emotic MAE; norm_pix: predict pixels standardised within each patch (MAE's
    better variant) rather than raw ones; norm_channels: there, take out each channel's own mean instead of the common one (not in MAE).
    Masks come from outside: pass uniform noise (B, L).
    """

    def __init__(
        self,
        encoder: Encoder,
        *,
        decoder_width: int,
        decoder_depth: int,
        decoder_heads: int,
        mask_ratio: float = 0.75,
        norm_pix: bool = True,
        norm_channels: bool = False,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = Decoder(encoder, width=decoder_width, depth=decoder_depth, heads=decoder_heads)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, decoder_width))
        self.mask_ratio, self.norm_pix, self.norm_channels = mask_ratio, norm_pix, norm_channels
        self.kept = kept_patches(encoder.patches, mask_ratio)
        nn.init.normal_(self.mask_token, std=0.02)

    def init_weights(self, generator: torch.Generator | None = None) -> None:
        """Draw every weight anew, the encoder's included."""
        self.encoder.init_weights(generator)
        self.decoder.init_weights(generator)
        nn.init.normal_(self.mask_token, std=0.02, generator=generator)

    def forward(self, images: Tensor, noise: Tensor) -> dict[str, Tensor]:
        """images (B, C, H, W), noise (B, L) -> loss (), pred (B, L - K, P*P*C) and hidden (B, L - K): of which patches, masked (B, L)
        bool."""
        patches = self.encoder.patchify(images)
        split = split_tokens(noise, self.kept)  # masking
        latent = self.encode(patches, split.keep)
        pred = self.decode(latent, split)
        loss = self.mse(pred, gather_patches(patches, split.hidden))  # target: the hidden pixels alone
        return {"loss": loss, "pred": pred, "hidden": split.hidden, "masked": split.masked}

    def encode(self, patches: Tensor, keep: Tensor) -> Tensor:
        """The encoder sees the kept patches only: (B, 1 + K, D) of patches (B, L, P*P*C)."""
        return self.encoder.forward_tokens(self.encoder.embed_patches(gather_patches(patches, keep), keep))

    def decode(self, latent: Tensor, split: Split) -> Tensor:
        """A learnt token stands in for each hidden patch, every token takes the position of its patch; pixels of the hidden ones (B, L - K,
        P*P*C).

        **The fast way.** MAE puts the tokens back into their places, decodes all patches and drops the kept ones' pixels. Attention sees
        the positions, not the order: so the tokens stay in the order [kept..., hidden...], and what nobody reads, the last block's MLP and
        the prediction for kept patches, is not computed.
        """
        latent = self.decoder.embed(latent)
        hidden = self.mask_token.to(latent.dtype).expand(*split.hidden.shape, -1)
        table = self.decoder.pos_embed
        positions = torch.cat([table[:, :1].expand(len(latent), -1, -1), F.embedding(split.order, table[0, 1:])], dim=1)
        return self.decoder.pixels(torch.cat([latent, hidden], dim=1) + positions, last=split.hidden.shape[1])

    def mse(self, pred: Tensor, patches: Tensor) -> Tensor:
        """Mean squared error between predictions and the target of patches (B, n, P*P*C), in float32."""
        target = patches.float()
        if self.norm_pix:
            target = self.normalise(target)[0]
        return F.mse_loss(pred.float(), target)

    def normalise(self, patches: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The target of patches (B, L, P*P*C), with the mean and deviation that were taken out."""
        return normalise_patches(patches, CHANNELS if self.norm_channels else 1)

    @torch.no_grad()
    def reconstruct(self, images: Tensor, noise: Tensor) -> Tensor:
        """Images (B, C, H, W) with the hidden patches replaced by predictions, on the scale of the input.

        With `norm_pix` the network predicts a patch only up to its mean and deviation; those two numbers are taken from the true
        patch, as in MAE's figures. Such pictures flatter the model: errors in brightness do not show.
        """
        out = self.forward(images, noise)
        patches = self.encoder.patchify(images).float()
        pred = out["pred"].float()
        if self.norm_pix:
            _, mean, deviation = self.normalise(gather_patches(patches, out["hidden"]))
            pred = pred * deviation + mean
        places = out["hidden"][..., None].expand_as(pred)
        return unpatchify(patches.scatter(1, places, pred), self.encoder.patch_size, self.encoder.grid)

    def no_weight_decay(self) -> set[str]:
        return {"encoder.cls_token", "mask_token"}

    def group_matcher(self, coarse: bool = False) -> dict:
        return layer_groups("encoder.", coarse)
