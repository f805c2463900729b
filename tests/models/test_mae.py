"""Masked autoencoder: parity with loops, invariants of the mask, reconstruction."""

import model_oracles as oracles
import pytest
import torch

from loupe.errors import LoupeError
from loupe.models.mae import MaskedAutoencoder, gather_patches, split_tokens
from loupe.models.patches import patchify


def build(encoder, **options):
    return MaskedAutoencoder(encoder, **dict(decoder_width=16, decoder_depth=1, decoder_heads=2) | options)


def slow_mae(model, images, noise):
    """Loss, predictions of the hidden patches in the order of `noise`, and mask of every sample by loops: tokens in their places, as MAE
    has them."""
    losses, preds, masks = [], [], []
    for image, row in zip(images, noise, strict=True):
        length = len(row)
        order = sorted(range(length), key=lambda i: float(row[i]))
        keep, hidden = order[: model.kept], order[model.kept :]
        latent = oracles.encoder_tokens(model.encoder, image, keep)
        small = oracles.linear(model.decoder.embed, latent)
        tokens = [small[0]] + [model.mask_token[0, 0].double()] * length
        for place, patch in enumerate(keep):
            tokens[1 + patch] = small[1 + place]
        pred = oracles.decoder_pixels(model.decoder, torch.stack(tokens), 0)[1:]
        target = oracles.patches_of(image, model.encoder.patch_size)
        if model.norm_pix:
            if model.norm_channels:
                target = torch.stack([t - torch.stack([t[c::3].mean() for c in range(3)] * (len(t) // 3)) for t in target])
            target = torch.stack([(t - t.mean()) / ((((t - t.mean()) ** 2).sum() / (len(t) - 1)) + 1e-6).sqrt() for t in target])
        losses += [((pred[i] - target[i]) ** 2).mean() for i in hidden]
        preds.append(pred[hidden])
        masks.append(torch.tensor([i in hidden for i in range(length)]))
    return torch.stack(losses).mean(), torch.stack(preds), torch.stack(masks)


@pytest.mark.parametrize(
    "ratio, norm_pix, norm_channels, deep", [(0.75, True, False, 1), (0.75, False, False, 2), (0.5, True, True, 1), (0.9, False, False, 1)]
)
def test_equals_loops_in_value_and_after_one_step(nano, images, ratio, norm_pix, norm_channels, deep):
    fast, slow = (
        build(nano(depth=1), mask_ratio=ratio, norm_pix=norm_pix, norm_channels=norm_channels, decoder_depth=deep) for _ in range(2)
    )
    slow.load_state_dict(fast.state_dict())
    batch, noise = images(2), torch.rand(2, 16, generator=torch.Generator().manual_seed(2))
    out = fast(batch, noise)
    loss, pred, masked = slow_mae(slow, batch, noise)
    torch.testing.assert_close(out["loss"].double(), loss, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(out["pred"].double(), pred, rtol=1e-5, atol=1e-5)
    assert torch.equal(out["masked"], masked)
    for model, value in ((fast, out["loss"]), (slow, loss)):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        value.backward()
        optimizer.step()
    torch.testing.assert_close(fast.state_dict(), slow.state_dict(), rtol=1e-5, atol=1e-5)


def test_split_keeps_the_smallest_noise():
    noise = torch.rand(5, 12, generator=torch.Generator().manual_seed(0))
    split = split_tokens(noise, 3)
    assert torch.equal(torch.cat([split.keep, split.hidden], dim=1), split.order)
    assert torch.equal(split.order.sort(dim=1).values, torch.arange(12).expand(5, -1))
    for row in range(5):
        assert sorted(split.hidden[row].tolist()) == split.masked[row].nonzero().flatten().tolist()
        assert noise[row][split.keep[row]].max() < noise[row][split.hidden[row]].min()


def test_patches_are_gathered_row_by_row():
    patches, index = torch.arange(24.0).reshape(2, 4, 3), torch.tensor([[3, 0], [1, 1]])
    assert torch.equal(gather_patches(patches, index), torch.stack([patches[0][[3, 0]], patches[1][[1, 1]]]))


def test_order_of_kept_tokens_does_not_matter(nano, images):
    """Noise that keeps the same patches in another order hands the encoder a permuted set: the loss must not move."""
    model = build(nano())
    first = torch.linspace(0, 1, 16).expand(3, -1)
    second = first.clone()
    second[:, :4] = first[:, [3, 1, 0, 2]]
    torch.testing.assert_close(model(images(), first)["loss"], model(images(), second)["loss"], rtol=1e-5, atol=1e-6)


def test_hidden_pixels_do_not_reach_the_prediction(nano, images):
    model = build(nano())
    batch, noise = images(1), torch.linspace(0, 1, 16)[None]
    changed = batch.clone()
    changed[:, :, 8:] += 5.0  # patches 4..15 are hidden
    torch.testing.assert_close(model(batch, noise)["pred"], model(changed, noise)["pred"], rtol=0, atol=0)


@pytest.mark.parametrize("norm_pix", [True, False])
def test_reconstruct_keeps_visible_patches_and_rescales_hidden_ones(nano, images, norm_pix):
    model = build(nano(), norm_pix=norm_pix)
    batch, noise = images(), torch.rand(3, 16, generator=torch.Generator().manual_seed(3))
    picture, out = model.reconstruct(batch, noise), model(batch, noise)
    shown, true = patchify(picture, 8), patchify(batch, 8)
    torch.testing.assert_close(shown[~out["masked"]], true[~out["masked"]], rtol=0, atol=0)
    for row, (hidden, pred) in enumerate(zip(out["hidden"], out["pred"], strict=True)):
        for patch, value in zip(hidden, pred, strict=True):
            if norm_pix:
                value = value * (true[row, patch].var() + 1e-6).sqrt() + true[row, patch].mean()
            torch.testing.assert_close(shown[row, patch], value, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("ratio", [0.0, 1.0, 0.99])
def test_ratio_that_hides_nothing_or_all_is_refused(nano, ratio):
    with pytest.raises(LoupeError, match="mask_ratio"):
        build(nano(), mask_ratio=ratio)


def test_overfits_eight_images(nano, images):
    torch.manual_seed(0)
    model = build(nano(width=64), decoder_width=32)
    batch = torch.nn.functional.interpolate(images(8, side=4), size=32, mode="bilinear")
    noise = torch.rand(8, 16, generator=torch.Generator().manual_seed(4))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    first = float(model(batch, noise)["loss"].detach())
    for _ in range(110):
        optimizer.zero_grad()
        loss = model(batch, noise)["loss"]
        loss.backward()
        optimizer.step()
    assert first > 1.0 and float(loss.detach()) < 0.4
