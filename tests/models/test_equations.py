"""A reader finds every equation of both papers in the code, under its number, where it is computed, in the order of the papers."""

import inspect
import re

import pytest

from loupe.models import dual_view, fusion_attention, micron_bert
from loupe.models.agreement import dino_agreement, mse_agreement
from loupe.models.dual_view import DualViewClassifier
from loupe.models.fusion_attention import FusionAttention
from loupe.models.mae import MaskedAutoencoder
from loupe.models.micro_attention import MicroAttention
from loupe.models.micron_bert import MicronBert

# What is written beside the line that computes it, in the order of the papers.
PLACES = [
    ("x' = x + MHA(LN x); x = x' + MLP(LN x')", "loupe.models.vit", None),
    ("Eq. 8: A = softmax(Q(P_r) K(P_s)^T)", None, MicroAttention._diagonal),
    ("Eq. 9: P_dma = diag(A) V(P_s)", None, MicroAttention.forward),
    ("W = diag(A) s, P_dma = W V(P_s)", None, MicroAttention.forward),
    ("Eq. 13 with gamma = 1", None, MicronBert.forward),
    ("Eq. 14: L_r = MSE(y'_t, I_t)", None, MicronBert.reconstruction_loss),
    ("Eq. 15: L_agg = MSE(ct_{t+d}, ct_{t+d/crop})", None, mse_agreement),
    ("H(p_ct, p_ct_crop)", None, dino_agreement),
    ("# F1", None, FusionAttention.forward),
    ("# F2", None, FusionAttention.forward),
    ("# F3", None, FusionAttention.forward),
    ("# F4", None, FusionAttention.forward),
    ("# F5", None, FusionAttention.forward),
    ("F6", None, DualViewClassifier._classify),
]


@pytest.mark.parametrize("text, module, function", PLACES, ids=[place[0][:12] for place in PLACES])
def test_every_equation_stands_where_it_is_computed(text, module, function):
    import importlib

    assert text in inspect.getsource(function or importlib.import_module(module))


def test_the_overviews_list_the_equations_in_the_order_of_the_papers():
    listed = re.findall(r"Eq\. (\d+)", micron_bert.__doc__[: micron_bert.__doc__.index("Where paper")].split("\n\n", 2)[2])
    assert listed == ["8", "9", "13", "14", "15"]
    assert re.findall(r"^    (F\d)  ", dual_view.__doc__, re.M) == [f"F{i}" for i in range(1, 7)]
    assert "F1 to F5" in fusion_attention.__doc__


@pytest.mark.parametrize(
    "function, steps",
    [
        (
            MicronBert.forward,
            ["self.encode(", "self.attention(", "self.decode(", "self.reconstruction_loss(", ".agreement(", 'out["loss"]'],
        ),
        (MicroAttention.forward, ["self.interest(", "self._logits(", "self._diagonal(", "self.to_v(", "s[..., None] * mixed"]),
        (FusionAttention.forward, ["u, v =", "S = ", "N = ", "g = ", "Fused(x + change"]),
        (MaskedAutoencoder.forward, ["split_tokens(", "self.encode(", "self.decode(", "self.mse("]),
    ],
    ids=lambda value: getattr(value, "__qualname__", ""),
)
def test_forward_reads_like_the_method_section(function, steps):
    source = inspect.getsource(function)
    places = [source.index(step) for step in steps]
    assert places == sorted(places)
