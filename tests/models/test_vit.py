"""Encoder, patches and positions."""

import math

import model_oracles as oracles
import pytest
import torch
from timm.models._manipulate import group_parameters
from timm.models.vision_transformer import VisionTransformer

from loupe.errors import LoupeError
from loupe.models.patches import patchify, sincos_positions, unpatchify
from loupe.models.vit import SIZES, Decoder, Encoder


@pytest.mark.parametrize("patch, grid, channels", [(8, (4, 4), 3), (2, (3, 5), 1), (4, (2, 3), 3)])
def test_patchify_is_a_bijection_in_reading_order(patch, grid, channels):
    images = torch.randn(2, channels, grid[0] * patch, grid[1] * patch)
    patches = patchify(images, patch)
    torch.testing.assert_close(unpatchify(patches, patch, grid), images, rtol=0, atol=0)
    for sample in range(2):
        torch.testing.assert_close(patches[sample].double(), oracles.patches_of(images[sample], patch), rtol=0, atol=0)


@pytest.mark.parametrize("width, grid", [(8, (2, 3)), (64, (8, 8)), (12, (1, 4))])
def test_positions_have_maes_channel_order(width, grid):
    table = sincos_positions(width, grid)[0].double()
    assert table[0].abs().max() == 0
    quarter = width // 4
    for row in range(grid[0]):
        for column in range(grid[1]):
            place = table[1 + row * grid[1] + column]
            for i in range(quarter):
                frequency = 1 / 10000 ** (i / quarter)
                expected = [f(place_ * frequency) for place_ in (column, row) for f in (math.sin, math.cos)]
                got = [place[i], place[quarter + i], place[2 * quarter + i], place[3 * quarter + i]]
                assert [float(g) for g in got] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("options", [dict(), dict(depth=3, heads=4), dict(image_size=24, patch_size=8, width=16, heads=1, depth=1)])
def test_encoder_equals_loops_in_value_and_after_one_step(nano, images, options):
    fast, slow = nano(**options), nano(**options)
    batch = images(2, side=fast.image_size)
    out, expected = fast.forward_features(batch), torch.stack([oracles.encoder_tokens(slow, image) for image in batch])
    torch.testing.assert_close(out.double(), expected, rtol=1e-5, atol=1e-5)
    weigh = torch.linspace(-1, 1, out.shape[-1])  # the mean square of a normalised token is constant: it would have no gradient
    for model, value in ((fast, (out * weigh).sum(-1).square().mean()), (slow, (expected * weigh.double()).sum(-1).square().mean())):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
        value.backward()
        optimizer.step()
    torch.testing.assert_close(fast.state_dict(), slow.state_dict(), rtol=1e-5, atol=1e-5)


def test_pooled_is_the_norm_of_the_mean_patch(nano, images):
    encoder = nano()
    tokens = encoder.run_blocks(encoder.with_class_token(encoder.embed(images())))
    torch.testing.assert_close(encoder.pooled(images()), encoder.norm(tokens[:, 1:].mean(1)))


def test_fused_attention_equals_maths(nano, images):
    fused, maths = nano(), nano()
    for part in maths.blocks:
        part.attn.fused_attn = False
    torch.testing.assert_close(fused(images()), maths(images()), rtol=1e-5, atol=1e-5)


def test_checkpointing_changes_memory_not_gradients(nano, images):
    plain, saving = nano().train(), nano().train()
    saving.checkpoint_blocks = True
    for encoder in (plain, saving):
        encoder(images()).square().mean().backward()
    for (name, a), b in zip(plain.named_parameters(), saving.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, msg=name)


def test_drop_path_grows_linearly_and_is_off_in_eval(nano, images):
    encoder = nano(depth=3, drop_path=0.2)
    rates = [getattr(part.drop_path1, "drop_prob", 0.0) for part in encoder.blocks]
    assert rates == pytest.approx([0, 0.1, 0.2])
    encoder.eval()
    torch.testing.assert_close(encoder(images()), encoder(images()), rtol=0, atol=0)


PUBLISHED = {"base": 85_798_656 - 197 * 768, "large": 303_301_632 - 197 * 1024}


@pytest.mark.parametrize("name", SIZES)
def test_sizes_are_the_networks_of_timm_and_the_published_ones(name):
    size = SIZES[name]
    with torch.device("meta"):
        ours = Encoder(image_size=224, patch_size=16, width=size.width, depth=size.depth, heads=size.heads)
        timms = VisionTransformer(img_size=224, patch_size=16, embed_dim=size.width, depth=size.depth, num_heads=size.heads, num_classes=0)
        decoder = Decoder(ours, width=size.decoder_width, depth=size.decoder_depth, heads=size.decoder_heads)
        assert ours(torch.empty(2, 3, 224, 224)).shape == (2, 197, size.width)
        assert decoder.pixels(decoder.embed(torch.empty(2, 197, size.width)), last=196).shape == (2, 196, 16 * 16 * 3)
    count = sum(p.numel() for p in ours.parameters())
    # timm's positions are a parameter, ours a buffer
    assert count == sum(p.numel() for p in timms.parameters()) - timms.pos_embed.numel()
    assert count == PUBLISHED.get(name, count)
    assert size.width // size.heads == (64 if name in PUBLISHED else 32)


def test_layer_groups_cover_every_parameter_in_order(nano):
    groups = group_parameters(nano(depth=3), nano(depth=3).group_matcher(coarse=False), reverse=True)
    assert groups["cls_token"] == groups["patch_embed.weight"] == 0
    assert [groups[f"blocks.{i}.attn.qkv.weight"] for i in range(3)] == [1, 2, 3]
    assert groups["norm.weight"] == 4


def test_init_weights_is_repeatable_from_a_generator(nano):
    a, b = nano(seed=1), nano(seed=2)
    for encoder in (a, b):
        encoder.init_weights(torch.Generator().manual_seed(5))
    torch.testing.assert_close(a.state_dict(), b.state_dict(), rtol=0, atol=0)


@pytest.mark.parametrize("options", [dict(image_size=33), dict(heads=3), dict(width=30, heads=2)])
def test_sizes_that_do_not_divide_are_refused(nano, options):
    with pytest.raises(LoupeError, match="multiple"):
        nano(**options)


def test_a_wrong_image_size_is_named(nano, images):
    with pytest.raises(LoupeError, match=r"\(3, 32, 32\).*\(3, 16, 16\)"):
        nano()(images(side=16))
