"""How much memory a pre-training step of the published size needs, counted from what autograd keeps, without running it."""

import pytest
import torch

from loupe.models.mae import MaskedAutoencoder
from loupe.models.vit import SIZES, Encoder

GIB = 2**30


def bytes_kept(model, batch):
    """Bytes of the tensors a forward pass keeps for the backward pass, weights and buffers apart; on the meta device, in float32."""
    weights = {tensor.untyped_storage()._cdata for tensor in (*model.parameters(), *model.buffers())}
    kept = {}

    def note(tensor):
        storage = tensor.untyped_storage()
        if storage._cdata not in weights:
            kept[storage._cdata] = storage  # held, so that no address is used twice
        return tensor

    size = model.encoder.image_size
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        model(torch.empty(batch, 3, size, size, device="meta"), torch.empty(batch, model.encoder.patches, device="meta"))
    return sum(storage.nbytes() for storage in kept.values())


def vit_b_mae(checkpoint_blocks=False):
    size = SIZES["base"]
    with torch.device("meta"):
        encoder = Encoder(image_size=224, patch_size=16, width=size.width, depth=size.depth, heads=size.heads)
        encoder.checkpoint_blocks = checkpoint_blocks
        return MaskedAutoencoder(
            encoder, decoder_width=size.decoder_width, decoder_depth=size.decoder_depth, decoder_heads=size.decoder_heads
        )


@pytest.mark.parametrize("batch, limit", [(64, 24), (256, 80)])
def test_a_vit_b_step_fits_the_card_even_in_float32(batch, limit):
    """Weights, gradients and AdamW's two moments in float32 (16 bytes a parameter) and the activations; bf16 needs about half of these."""
    model = vit_b_mae()
    activations = bytes_kept(model, batch)
    states = 16 * sum(p.numel() for p in model.parameters())
    backward = 2 * max(batch * 197 * 4 * 512, batch * 50 * 4 * 768) * 4  # the largest gradient and its partner, alive at once
    assert 111e6 < states / 16 < 112e6
    assert (states + activations + backward) / GIB < limit
    assert activations == pytest.approx(2 * bytes_kept(model, batch // 2), rel=0.01)  # linear: nothing of B^2 is kept


def test_checkpointing_keeps_little_more_than_the_input_of_each_block():
    """Of encoder and decoder; in eval mode nothing is recomputed."""
    saving = vit_b_mae(checkpoint_blocks=True)
    inputs = 8 * (12 * 50 * 768 + 8 * 197 * 512) * 4  # bytes: what enters 12 + 8 blocks
    assert inputs < bytes_kept(saving.train(), 8) < 3 * inputs < 0.2 * bytes_kept(vit_b_mae().train(), 8)
    assert bytes_kept(saving.eval(), 8) == bytes_kept(vit_b_mae().eval(), 8)
