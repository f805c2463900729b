"""Micron-BERT of the study's settings."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from loupe.config import Config
from loupe.experiments import MicronArm
from loupe.models.agreement import agreement_named
from loupe.models.micron_bert import MicronBert, MicronSwitches
from loupe.models.vit import Encoder
from loupe.training.checkpoint import load_weights

_SWITCHES = "swap_ratio swap_block dma poi scale layout beta norm_pix residual".split()


def build_micron_bert(
    config: Config, seed: int, *, poi_topk: float | None = None, encoder_weights: Path | None = None, **exchanged: object
) -> MicronBert:
    """Micron-BERT of the active scale. poi_topk: the share of the patches that it keeps. encoder_weights: of MAE-Face, to start from.
    exchanged: switches (`MicronSwitches`) that override the settings; None leaves one as it is.

    Raises LoupeError where MAE-Face's encoder is of another size.
    """
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
    if encoder_weights is not None:
        load_weights(encoder_weights, encoder)
    switches = MicronSwitches(
        **{name: getattr(settings, name) for name in _SWITCHES},
        poi_topk=None if poi_topk is None else max(1, round(poi_topk * encoder.patches)),
    )
    switches = replace(switches, **{name: value for name, value in exchanged.items() if value is not None})
    return MicronBert(
        encoder,
        decoder_depth=schedule.decoder_depth,
        decoder_heads=heads,
        switches=switches,
        agreement=agreement_named(settings.agreement),
    )


def exchanged_by(arm: MicronArm | None) -> dict[str, object]:
    """The switches that an ablation exchanges."""
    return {} if arm is None else {name: getattr(arm, name) for name in ("dma", "poi", "corruption", "residual")}
