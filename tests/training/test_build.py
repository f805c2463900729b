"""An arm's switches reach the model that is built of it; what it leaves open is as the settings say."""

from pathlib import Path

import torch

from loupe.config import Arm, load
from loupe.models.baselines.small_cnn import SmallVGG
from loupe.training.build_classifier import build_classifier
from loupe.training.build_mae import build_mae
from loupe.training.build_micron import build_micron_bert

CONFIG = load(["scale=smoke"], Path(__file__).resolve().parents[2])


def parts(**switches):
    (layer,) = build_classifier(CONFIG, Arm("x", "concat", init="scratch", **switches), 8, 0, Path("none")).fusion
    return [part is not None for part in (layer.self_attention, layer.local_attention, layer.importance)]


def test_each_switch_of_an_arm_takes_out_its_own_part():
    assert parts() == [True, True, True]
    assert parts(self_attention=False) == [False, True, True]
    assert parts(local_attention=False) == [True, False, True]
    assert parts(importance=False) == [True, True, False]


def test_every_arm_has_the_head_of_the_settings():
    """16 cells of 64 channels, or one; the late arm has those of both views."""
    mean = load(["scale=smoke", "dual_view.head=mean"], Path(__file__).resolve().parents[2])
    build = lambda config, variant: build_classifier(config, Arm("x", variant, init="scratch"), 8, 0, Path("none")).head.in_features
    for variant, views in {"single": 1, "mean": 1, "concat": 1, "updown": 1, "late": 2}.items():
        assert (build(CONFIG, variant), build(mean, variant)) == (views * 16 * 64, views * 64)


def test_micron_bert_masks_and_keeps_the_share_of_patches_it_is_asked_for():
    assert build_micron_bert(CONFIG, 0).mask_token is None and build_micron_bert(CONFIG, 0, corruption="mask").mask_token is not None
    patches = (CONFIG.scale.image.size // CONFIG.scale.image.patch) ** 2
    assert build_micron_bert(CONFIG, 0, poi_topk=0.5).attention.poi_topk == patches // 2


def test_one_setting_checkpoints_the_blocks_of_every_model():
    saving = load(["scale=smoke", "scale.encoder.checkpoint_blocks=true"], Path(__file__).resolve().parents[2])
    for config, asked in ((CONFIG, False), (saving, True)):
        models = (
            build_mae(config),
            build_micron_bert(config, 0),
            build_classifier(config, Arm("x", "concat", init="scratch"), 8, 0, Path("none")),
        )
        assert [model.encoder.checkpoint_blocks for model in models] == [asked] * 3
        assert [model.decoder.checkpoint_blocks for model in models[:2]] == [asked] * 2


def test_the_convolutional_baseline_is_an_arm_with_one_view_and_needs_no_encoder():
    arm = Arm(name="small-cnn", variant="small-cnn")
    first, again, other = (build_classifier(CONFIG, arm, 8, seed, Path("absent.safetensors")) for seed in (0, 0, 1))
    assert isinstance(first, SmallVGG) and not arm.two_views and not arm.pretrained
    weights = [model.features[0].weight for model in (first, again, other)]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])
