"""Fine-tuned Micron-BERT: each read-out against loops, what the symmetry of two frames gives, and what of the network learns."""

import model_oracles as oracles
import pytest
import torch
from test_micron_bert import build, slow_micro
from timm.models._manipulate import group_parameters

from loupe.errors import LoupeError
from loupe.models.micron_classifier import MicronClassifier


def slow_features(model, onset, apex):
    """One clip, double precision: the read-out by its formula, cell by cell of the 4 x 4 grid."""
    first, last = (oracles.encoder_tokens(model.encoder, frame) for frame in (onset, apex))

    def p_dma(source, reference):
        return slow_micro(model.attention, source[1:], reference[1:], reference[0])[0]

    if model.readout == "mean":
        return torch.cat([p_dma(first, last).mean(0), last[0] - first[0]])
    change = last[1:] - first[1:] if model.readout == "token" else p_dma(last, first) - p_dma(first, last)
    rows, columns = model.encoder.grid
    high, wide = rows // 4, columns // 4
    cells = [
        torch.stack([change[r * columns + c] for r in range(i * high, (i + 1) * high) for c in range(j * wide, (j + 1) * wide)]).mean(0)
        for i in range(4)
        for j in range(4)
    ]
    return torch.cat(cells)


@pytest.mark.parametrize("switches", [{}, {"poi": False}, {"dma": "full"}], ids=str)
@pytest.mark.parametrize("readout", ["dma", "token", "mean"])
def test_the_readout_equals_loops(nano, images, readout, switches):
    model = MicronClassifier(build(nano(image_size=64, width=16, depth=1), **switches), classes=3, readout=readout)
    onset, apex = images(2, seed=1, side=64), images(2, seed=2, side=64)
    expected = torch.stack([slow_features(model, *pair) for pair in zip(onset, apex, strict=True)])
    assert expected.shape == (2, 32 if readout == "mean" else 256)
    torch.testing.assert_close(model.features(onset, apex).double(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("readout", ["dma", "token"])
def test_frames_that_change_places_change_the_sign_and_a_still_face_reads_zero(nano, images, readout):
    model = MicronClassifier(build(nano()), classes=3, readout=readout).eval()
    onset, apex = images(seed=1), images(seed=2)
    torch.testing.assert_close(model.features(onset, apex), -model.features(apex, onset), rtol=1e-4, atol=1e-5)
    assert model.features(onset, onset).abs().max() < 1e-5


def test_logits_are_the_head_on_standardised_features(nano, images):
    micron = build(nano())
    model = MicronClassifier(micron, classes=3)
    assert model.encoder is micron.encoder and not any("decoder" in name for name, _ in model.named_parameters())
    model.train()(images(8), images(8, seed=2))
    model.eval()
    features = micron.features(images(), images(seed=2))
    scaled = (features - model.standardise.running_mean) / (model.standardise.running_var + 1e-8).sqrt()
    torch.testing.assert_close(model(images(), images(seed=2)), model.head(scaled), rtol=1e-4, atol=1e-4)


def test_the_head_has_a_rate_of_its_own_and_what_is_not_read_has_no_weights(nano):
    model = MicronClassifier(build(nano()), classes=3, readout="dma")
    layers = group_parameters(model, model.group_matcher(), reverse=True)
    assert {name: layer for name, layer in layers.items() if layer} == {"head.weight": 1, "head.bias": 1}
    assert set(layers) == {name for name, _ in model.named_parameters()} and {"attention.to_q.weight", "encoder.cls_token"} <= set(layers)
    assert not any("attention.to_" in name for name, _ in MicronClassifier(build(nano()), classes=3, readout="token").named_parameters())


def test_unknown_readouts_are_refused(nano):
    with pytest.raises(LoupeError, match="readout 'max'"):
        MicronClassifier(build(nano()), classes=3, readout="max")
