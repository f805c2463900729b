"""The masked autoencoder of the study's settings."""

from __future__ import annotations

from loupe.config import Config
from loupe.models.mae import MaskedAutoencoder
from loupe.training.build_encoder import build_encoder


def build_mae(config: Config) -> MaskedAutoencoder:
    schedule = config.scale.mae
    return MaskedAutoencoder(
        build_encoder(config),
        decoder_width=schedule.decoder_width,
        decoder_depth=schedule.decoder_depth,
        decoder_heads=schedule.decoder_heads,
        mask_ratio=config.mae_face.mask_ratio,
        norm_pix=config.mae_face.norm_pix,
        norm_channels=config.mae_face.norm_channels,
    )
