"""The encoder of the study's settings."""

from __future__ import annotations

from loupe.config import Config
from loupe.models.vit import Encoder


def build_encoder(config: Config, drop_path: float = 0.0) -> Encoder:
    """The encoder of the active scale, freshly initialised from torch's random stream."""
    image, size = config.scale.image, config.scale.encoder
    encoder = Encoder(
        image_size=image.size,
        patch_size=image.patch,
        width=size.width,
        depth=size.depth,
        heads=size.heads,
        drop_path=drop_path,
    )
    encoder.checkpoint_blocks = size.checkpoint_blocks
    return encoder
