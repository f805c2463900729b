"""Operations of a step: those of the matrix products, counted by hand."""

from __future__ import annotations

import pytest
import torch
from runs import classifier, inputs_of, loss_of
from torch import nn

from flops import measured_matmul_rate, step_flops
from loupe.errors import LoupeError
from loupe.models.mae import MaskedAutoencoder
from loupe.models.vit import Encoder


def test_operations_are_those_of_the_matrix_products():
    """Linear(3 -> 5) on 7 rows: 2·7·3·5 forward, twice that backward less the gradient of the input, which nobody asks for."""
    layer = nn.Linear(3, 5)
    loss = lambda module, x: {"loss": module(x).sum()}
    assert step_flops(layer, loss, (torch.ones(7, 3),)) == 2 * (2 * 7 * 3 * 5)


def test_a_masked_autoencoder_counts_only_what_it_computes():
    """Twelve hidden of sixteen: the encoder embeds 4 patches, its blocks see 1 + 4 tokens; the decoder's attention sees 1 + 16, its MLP and
    its pixels only the 12. Counted by hand: products of weights, and of queries, keys, values."""
    width, tokens, batch = 16, 5, 2
    encoder = Encoder(image_size=32, patch_size=8, width=width, depth=1, heads=2)
    model = MaskedAutoencoder(encoder, decoder_width=8, decoder_depth=1, decoder_heads=2)

    def block(w, n, given):
        return 2 * n * w * (3 * w + w) + 2 * given * w * 8 * w + 2 * 2 * n * n * w

    embed, unembed, pixels = 2 * 4 * 192 * width, 2 * tokens * width * 8, 2 * 12 * 8 * 192
    forward = embed + block(width, tokens, tokens) + unembed + block(8, 17, 12) + pixels
    counted = step_flops(
        model, lambda module, x, noise: {"loss": module(x, noise)["loss"]}, (torch.ones(batch, 3, 32, 32), torch.rand(batch, 16))
    )
    assert batch * (3 * forward - embed) * 0.99 <= counted <= batch * (3 * forward - embed) * 1.01


def test_counting_changes_neither_model_nor_random_stream():
    model = classifier().train()
    before = torch.get_rng_state()
    step_flops(model, loss_of, inputs_of(torch.arange(4), torch.Generator()))
    assert torch.equal(before, torch.get_rng_state()) and model.training and all(p.grad is None for p in model.parameters())


def test_own_tensors_in_the_loss_are_not_counted_rather_than_wrong():
    def with_own(module, x):
        return {"loss": (module(x) * torch.ones(5)).sum()}

    with pytest.raises(LoupeError, match="cannot be counted"):
        step_flops(nn.Linear(3, 5), with_own, (torch.ones(7, 3),))


def test_the_measured_rate_is_a_rate():
    assert 1e7 < measured_matmul_rate(torch.device("cpu"), "fp32", size=128, repeats=2) < 1e15
