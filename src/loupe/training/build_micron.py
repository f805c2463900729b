"""Micron-BERT of the study's settings."""

from __future__ import annotations

import torch

from loupe.config import Config
from loupe.models.agreement import agreement_named
from loupe.models.micron_bert import MicronBert, MicronSwitches
from loupe.models.vit import Encoder


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
    )
    encoder.checkpoint_blocks = config.scale.encoder.checkpoint_blocks
    switches = MicronSwitches(
        swap_ratio=settings.swap_ratio,
        swap_block=settings.swap_block,
        corruption=corruption,
        dma=dma or settings.dma,
        poi=settings.poi if poi is None else poi,
        poi_topk=None if poi_topk is None else max(1, round(poi_topk * encoder.patches)),
        scale=settings.scale,
        layout=settings.layout,
        beta=settings.beta,
        norm_pix=settings.norm_pix,
    )
    return MicronBert(
        encoder,
        decoder_depth=schedule.decoder_depth,
        decoder_heads=heads,
        switches=switches,
        agreement=agreement_named(settings.agreement),
    )
