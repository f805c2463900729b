"""MAE-Face: a masked autoencoder on faces (arXiv 2111.06377; on faces arXiv 2210.15878, stage 1 of Emotic MAE, arXiv 2403.13039).

MAE's paper numbers no equations; the order below is that of its section 3: masking, encoder, decoder, target.
Shapes: B batch, L patches, K kept patches, D width, P*P*C pixels of a patch. `masked`: True = hidden from the encoder.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from loupe.errors import LoupeError
from loupe.models.patches import normalise_patches, patchify, unpatchify
from loupe.models.vit import Decoder, Encoder, layer_groups


class Split(NamedTuple):
    keep: Tensor  # (B, K) indices of the kept patches
    restore: Tensor  # (B, L) where each patch stands in [kept..., hidden...]
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
    restore = order.argsort(dim=1)
    return Split(order[:, :kept], restore, restore >= kept)


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
        self.decoder = Decoder(encoder, width=decoder_width, depth=decoder_depth, heads=decoder_heads, class_token=True)
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
        """images (B, C, H, W), noise (B, L) -> loss (), pred (B, L, P*P*C), masked (B, L) bool."""
        split = split_tokens(noise, self.kept)
        latent = self.encode(images, split.keep)
        pred = self.decode(latent, split.restore)
        return {"loss": self.masked_mse(pred, images, split.masked), "pred": pred, "masked": split.masked}

    def encode(self, images: Tensor, keep: Tensor) -> Tensor:
        """The encoder sees the kept patches only: (B, 1 + K, D)."""
        return self.encoder.forward_tokens(self.encoder.embed(images, keep))

    def decode(self, latent: Tensor, restore: Tensor) -> Tensor:
        """A learnt token stands in for each hidden patch; all return to their places; pixels (B, L, P*P*C)."""
        latent = self.decoder.embed(latent)
        batch, length = restore.shape
        hidden = self.mask_token.to(latent.dtype).expand(batch, length - self.kept, -1)
        tokens = torch.cat([latent[:, 1:], hidden], dim=1)
        tokens = tokens.gather(1, restore[..., None].expand(-1, -1, tokens.shape[-1]))
        return self.decoder(torch.cat([latent[:, :1], tokens], dim=1))

    def masked_mse(self, pred: Tensor, images: Tensor, masked: Tensor) -> Tensor:
        """Mean squared error over the hidden patches alone, in float32."""
        target = patchify(images, self.encoder.patch_size).float()
        if self.norm_pix:
            target = self.normalise(target)[0]
        error = (pred.float() - target).square().mean(dim=-1)  # (B, L)
        return (error * masked).sum() / (len(masked) * (masked.shape[1] - self.kept))  # every row hides L - K patches

    def normalise(self, patches: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The target of patches (B, L, P*P*C), with the mean and deviation that were taken out."""
        return normalise_patches(patches, self.encoder.in_chans if self.norm_channels else 1)

    @torch.no_grad()
    def reconstruct(self, images: Tensor, noise: Tensor) -> Tensor:
        """Images (B, C, H, W) with the hidden patches replaced by predictions, on the scale of the input.

        With `norm_pix` the network predicts a patch only up to its mean and deviation; those two numbers are taken from the true
        patch, as in MAE's figures. Such pictures flatter the model: errors in brightness do not show.
        """
        out = self.forward(images, noise)
        patches = patchify(images, self.encoder.patch_size).float()
        pred = out["pred"].float()
        if self.norm_pix:
            _, mean, deviation = self.normalise(patches)
            pred = pred * deviation + mean
        return unpatchify(torch.where(out["masked"][..., None], pred, patches), self.encoder.patch_size, self.encoder.grid)

    def no_weight_decay(self) -> set[str]:
        return {"encoder.cls_token", "mask_token"}

    def group_matcher(self, coarse: bool = False) -> dict:
        return layer_groups("encoder.", coarse)
