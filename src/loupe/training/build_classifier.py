"""The classifiers of stills, one an arm, of the study's settings."""

from __future__ import annotations

from pathlib import Path

import torch

from loupe.config import Arm, Config
from loupe.models.baselines.small_cnn import SmallVGG
from loupe.models.dual_view import DualViewClassifier, classifier
from loupe.models.fusion_attention import FusionParts
from loupe.training.build_encoder import build_encoder
from loupe.training.checkpoint import load_weights


def build_classifier(config: Config, arm: Arm, classes: int, seed: int, encoder_weights: Path) -> DualViewClassifier | SmallVGG:
    """The classifier of one arm. The seed draws what pre-training did not make (head, fusion; for `scratch` the encoder, too)."""
    torch.manual_seed(seed)
    if arm.variant == "small-cnn":
        return SmallVGG(classes)
    settings = config.dual_view
    encoder = build_encoder(config, drop_path=settings.drop_path)
    if arm.pretrained:
        load_weights(encoder_weights, encoder)
    return classifier(
        encoder,
        classes=classes,
        variant=arm.variant,
        depth_matched=arm.depth_matched,
        fuse_at=max(1, round(settings.fuse_at_share * config.scale.encoder.depth)),
        share_low=settings.share_low,
        head=settings.head,
        parts=FusionParts(
            attention=arm.attention,
            self_attention=settings.self_attention if arm.self_attention is None else arm.self_attention,
            local_attention=settings.local_attention if arm.local_attention is None else arm.local_attention,
            importance=settings.importance if arm.importance is None else arm.importance,
            skip=settings.skip,
            fusion_depth=settings.fusion_depth,
        ),
    )
