"""Models built from the study's settings: the one place where settings and model constructors meet."""

from __future__ import annotations

from pathlib import Path

import torch

from loupe.config import Arm, Config
from loupe.models.baselines.small_cnn import SmallVGG
from loupe.models.dual_view import DualViewClassifier
from loupe.models.mae import MaskedAutoencoder
from loupe.models.micron_bert import MicronBert
from loupe.models.vit import Encoder
from loupe.training.checkpoint import load_weights


def build_encoder(config: Config, drop_path: float = 0.0) -> Encoder:
    """The encoder of the active scale, freshly initialised from torch's random stream."""
    image, size = config.scale.image, config.scale.encoder
    return Encoder(
        image_size=image.size,
        patch_size=image.patch,
        width=size.width,
        depth=size.depth,
        heads=size.heads,
        drop_path=drop_path,
        checkpoint_blocks=size.checkpoint_blocks,
    )


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


def build_classifier(config: Config, arm: Arm, classes: int, seed: int, encoder_weights: Path) -> DualViewClassifier | SmallVGG:
    """The classifier of one arm. The seed draws what pre-training did not make (head, fusion; for `scratch` the encoder, too)."""
    torch.manual_seed(seed)
    if arm.variant == "small-cnn":
        return SmallVGG(classes)
    settings = config.dual_view
    encoder = build_encoder(config, drop_path=settings.drop_path)
    if arm.pretrained:
        load_weights(encoder_weights, encoder)
    return DualViewClassifier(
        encoder,
        classes=classes,
        variant=arm.variant,
        fuse_at=max(1, round(settings.fuse_at_share * config.scale.encoder.depth)),
        fusion_depth=settings.fusion_depth,
        share_low=settings.share_low,
        attention=arm.attention,
        self_attention=settings.self_attention if arm.self_attention is None else arm.self_attention,
        local_attention=settings.local_attention if arm.local_attention is None else arm.local_attention,
        importance=settings.importance if arm.importance is None else arm.importance,
        skip=settings.skip,
        depth_matched=arm.depth_matched,
    )


def build_micron_bert(
    config: Config, seed: int, dma: str | None = None, poi: bool | None = None, corruption: str = "swap", poi_topk: float | None = None
) -> MicronBert:
    """Micron-BERT of the active scale; `dma` and `poi` override the settings for ablations. poi_topk: the share of the patches that it keeps."""
    torch.manual_seed(seed)
    settings, schedule = config.micron_bert, config.scale.micron
    heads = schedule.heads or config.scale.encoder.heads
    encoder = Encoder(
        image_size=config.scale.image.size,
        patch_size=schedule.patch or config.scale.image.patch,
        width=schedule.width or config.scale.encoder.width,
        depth=schedule.encoder_depth,
        heads=heads,
        checkpoint_blocks=config.scale.encoder.checkpoint_blocks,
    )
    return MicronBert(
        encoder,
        decoder_depth=schedule.decoder_depth,
        decoder_heads=heads,
        swap_ratio=settings.swap_ratio,
        swap_block=settings.swap_block,
        corruption=corruption,
        dma=dma or settings.dma,
        poi=settings.poi if poi is None else poi,
        poi_topk=None if poi_topk is None else max(1, round(poi_topk * encoder.grid[0] * encoder.grid[1])),
        agreement=settings.agreement,
        beta=settings.beta,
        scale=settings.scale,
        layout=settings.layout,
        norm_pix=settings.norm_pix,
    )
