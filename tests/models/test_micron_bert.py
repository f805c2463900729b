"""Micron-BERT: swapping, DMA, PoI, losses and teacher against loops; the limits the equations give; features and maps."""

import math

import model_oracles as oracles
import numpy as np
import pytest
import torch

from loupe.errors import LoupeError
from loupe.models.agreement import DinoAgreement, agreement_named, dino_schedules
from loupe.models.micro_attention import MicroAttention
from loupe.models.micron_bert import MicronBert, MicronSwitches, swap_blocks
from loupe.models.patches import patchify

# ---- swapping


@pytest.mark.parametrize("rows, columns", [(4, 4), (8, 8), (3, 5), (7, 7)])
@pytest.mark.parametrize("ratio", [0.0, 0.1, 0.3, 0.5, 0.7, 1.0])
@pytest.mark.parametrize("block", [1, 2, 3])
def test_swap_has_exactly_the_asked_number_in_every_row(rows, columns, ratio, block, generator):
    swapped = swap_blocks((6, rows, columns), ratio, block, generator)
    assert swapped.shape == (6, rows * columns) and swapped.dtype == torch.bool
    assert swapped.sum(1).tolist() == [round(ratio * rows * columns)] * 6


def test_swap_takes_whole_blocks_but_for_one(generator):
    """Some shift of the 2 x 2 tiling must explain each mask with at most one broken block."""
    masks = swap_blocks((50, 8, 8), 0.5, 2, generator).reshape(50, 8, 8)
    for mask in masks:
        broken = []
        for down in range(2):
            for right in range(2):
                count = {}
                for r in range(8):
                    for c in range(8):
                        count.setdefault(((r + down) // 2, (c + right) // 2), []).append(bool(mask[r, c]))
                broken.append(sum(any(v) and not all(v) for v in count.values()))
        assert min(broken) <= 1


def test_swap_is_fair_and_repeatable(generator):
    masks = swap_blocks((4000, 6, 6), 0.5, 2, generator)
    assert (masks.float().mean(0) - 0.5).abs().max() < 0.05  # 6 standard errors
    again = swap_blocks((4000, 6, 6), 0.5, 2, torch.Generator().manual_seed(0))
    assert torch.equal(masks, again)
    assert len({tuple(m.tolist()) for m in masks[:100]}) > 90


@pytest.mark.parametrize("ratio, block", [(-0.1, 2), (1.1, 2), (0.5, 0)])
def test_swap_refuses_nonsense(ratio, block, generator):
    with pytest.raises(LoupeError, match="swap_"):
        swap_blocks((1, 4, 4), ratio, block, generator)


# ---- DMA and PoI


def slow_micro(layer, swapped, reference, ct):
    """Eqs 8 and 9 and W = diag(A) S on one sample; returns (tokens, a, s)."""
    patches, width = swapped.shape
    normalised, released = layer.normalised, layer.released
    s = a = None
    if layer.poi:
        context = oracles.layer_norm(ct[None])[0]
        product = torch.stack([(context * row).sum() for row in oracles.layer_norm(reference)])
        s = patches * oracles.softmax(product / math.sqrt(width)) if normalised else oracles.softmax(product)
    if layer.dma == "off":
        return (swapped if s is None else s[:, None] * swapped), a, s
    asking, asked = (swapped, reference) if released else (reference, swapped)
    q, k, v = oracles.linear(layer.to_q, asking), oracles.linear(layer.to_k, asked), oracles.linear(layer.to_v, swapped)
    full = torch.stack([oracles.softmax(k @ row / (math.sqrt(width) if normalised else 1)) for row in q])
    a = torch.stack([full[i, i] for i in range(patches)]) * (patches if normalised and not released else 1)
    out = torch.stack([full[i] @ v if layer.dma == "full" else a[i] * v[i] for i in range(patches)])
    if s is not None:
        out = s[:, None] * out
    if layer.poi_topk is not None:
        best = set(s.argsort(descending=True)[: layer.poi_topk].tolist())
        out = torch.stack([out[i] if i in best else torch.zeros(width, dtype=out.dtype) for i in range(patches)])
        a = torch.stack([a[i] if i in best else torch.zeros((), dtype=a.dtype) for i in range(patches)])
    return (oracles.linear(layer.proj, out) if released else out), a, s


MICRO = [
    {},
    {"poi": False},
    {"dma": "full"},
    {"dma": "full", "poi": False},
    {"dma": "off"},
    {"dma": "off", "poi": False},
    {"scale": "literal"},
    {"scale": "literal", "dma": "full"},
    {"layout": "released", "poi": False},
    {"layout": "released", "poi": False, "dma": "full"},
    {"poi_topk": 3},
    {"poi_topk": 99},
    {"poi_topk": 5, "scale": "literal"},
]


@pytest.mark.parametrize("patches, width", [(9, 16), (12, 8)])
@pytest.mark.parametrize("options", MICRO, ids=str)
def test_micro_attention_equals_loops_in_value_and_after_one_step(options, patches, width):
    torch.manual_seed(0)
    layer, slow = MicroAttention(width, **options), MicroAttention(width, **options)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    slow.load_state_dict(layer.state_dict())
    swapped, reference = torch.randn(2, 3, patches, width)
    ct = torch.randn(3, width)
    out = layer(swapped, reference, ct)
    expected = [slow_micro(slow, a.double(), b.double(), c.double()) for a, b, c in zip(swapped, reference, ct, strict=True)]
    torch.testing.assert_close(out.tokens.double(), torch.stack([e[0] for e in expected]), rtol=1e-5, atol=1e-5)
    for got, index in ((out.dma, 1), (out.poi, 2)):
        assert (got is None) == (expected[0][index] is None)
        if got is not None:
            torch.testing.assert_close(got.double(), torch.stack([e[index] for e in expected]), rtol=1e-5, atol=1e-5)
    if list(layer.parameters()):
        for model, value in ((layer, out.tokens.square().mean()), (slow, torch.stack([e[0] for e in expected]).square().mean())):
            optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
            value.backward()
            optimizer.step()
        torch.testing.assert_close(layer.state_dict(), slow.state_dict(), rtol=1e-5, atol=1e-5)


def test_uniform_attention_weighs_one_and_literal_one_over_l():
    """Queries of zero attend evenly: A = 1/L, so a = 1 normalised and 1/L as printed."""
    for scale, expected in (("normalised", 1.0), ("literal", 1 / 9)):
        layer = MicroAttention(16, scale=scale, poi=False)
        torch.nn.init.zeros_(layer.to_q.weight)
        a = layer(*torch.randn(2, 2, 9, 16), torch.randn(2, 16)).dma
        torch.testing.assert_close(a, torch.full((2, 9), expected))


def test_identical_frames_give_what_eq_8_says():
    """P_r = P_s and Q = K = identity: row i of A is softmax(<p_i, p_j>); orthogonal patches of length c give a known diagonal."""
    width, length = 16, 4.0
    layer = MicroAttention(width, poi=False)
    with torch.no_grad():
        for part in (layer.to_q, layer.to_k):
            part.weight.copy_(torch.eye(width))
    tokens = length * torch.eye(width)[None, :9]
    diagonal = math.exp(length**2 / math.sqrt(width)) / (math.exp(length**2 / math.sqrt(width)) + 8)
    a = layer(tokens, tokens, torch.randn(1, width)).dma
    torch.testing.assert_close(a, torch.full((1, 9), 9 * diagonal))


def test_a_changed_patch_stands_out_of_the_diagonal():
    """With Q = K the patch that no longer matches its own place attends elsewhere: its a is the lowest."""
    layer = MicroAttention(16, poi=False)
    with torch.no_grad():
        for part in (layer.to_q, layer.to_k):
            part.weight.copy_(torch.eye(16))
    swapped = 4.0 * torch.eye(16)[None, :9].clone()
    reference = swapped.clone()
    reference[:, 5] = 4.0 * torch.eye(16)[12]
    assert int(layer(swapped, reference, torch.randn(1, 16)).dma.argmin()) == 5


@pytest.mark.parametrize("scale, constant", [("normalised", 1.0), ("literal", 1 / 9)])
def test_equal_patches_are_equally_interesting(scale, constant):
    """PoI over patches that all equal each other is constant: s = 1 and W = a, so P_dma = a V(P_s); as printed s = 1/L and W = a / L."""
    layer = MicroAttention(16, scale=scale)
    swapped, reference, ct = torch.randn(2, 9, 16), torch.randn(2, 1, 16).expand(-1, 9, -1), torch.randn(2, 16)
    out = layer(swapped, reference, ct)
    torch.testing.assert_close(out.poi, torch.full((2, 9), constant))
    without = MicroAttention(16, scale=scale, poi=False)
    without.load_state_dict(layer.state_dict())
    alone = without(swapped, reference, ct)
    torch.testing.assert_close(out.dma, alone.dma)
    torch.testing.assert_close(out.tokens, constant * alone.tokens)
    torch.testing.assert_close(out.tokens, constant * out.dma[..., None] * layer.to_v(swapped))
    assert out.dma.std() > 1e-3  # a itself is not constant: the reference's one query meets nine different keys


def test_interest_follows_correlation_not_size():
    """s ranks patches by Pearson correlation with the contextual token; scaling or shifting a patch does not matter."""
    layer = MicroAttention(16)
    reference, ct = torch.randn(1, 9, 16), torch.randn(1, 16)
    s = layer.interest(reference, ct)
    correlation = torch.stack([torch.corrcoef(torch.stack([ct[0], patch]))[0, 1] for patch in reference[0]])
    assert torch.equal(s[0].argsort(), correlation.argsort())
    torch.testing.assert_close(s[0].log() - s[0].log().mean(), 4 * (correlation - correlation.mean()), rtol=1e-4, atol=1e-4)  # sqrt(16)
    torch.testing.assert_close(layer.interest(3 * reference + 2, ct), s, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(s.mean(1), torch.ones(1))


def test_topk_never_looks_at_the_dropped_patches():
    """The dropped patches' values must not matter to P_dma, else poi_topk would save nothing."""
    layer = MicroAttention(16, poi_topk=3)
    swapped, reference, ct = torch.randn(1, 9, 16), torch.randn(1, 9, 16), torch.randn(1, 16)
    out = layer(swapped, reference, ct)
    assert out.kept.shape == (1, 3)
    assert (out.tokens.abs().sum(-1) > 0).sum() == 3 and (out.dma > 0).sum() == 3
    torch.testing.assert_close(out.mean(), out.tokens.gather(1, out.kept[..., None].expand(-1, -1, 16)).mean(1))
    everything = MicroAttention(16)
    everything.load_state_dict(layer.state_dict())
    whole = everything(swapped, reference, ct).tokens
    torch.testing.assert_close(
        out.tokens.gather(1, out.kept[..., None].expand(-1, -1, 16)), whole.gather(1, out.kept[..., None].expand(-1, -1, 16))
    )


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(dma="diag"), "dma"),
        (dict(scale="none"), "scale"),
        (dict(layout="mine"), "layout"),
        (dict(layout="released"), "poi=False"),
        (dict(poi_topk=4, poi=False), "poi_topk"),
        (dict(poi_topk=0), "poi_topk"),
        (dict(poi_topk=4, dma="full"), "poi_topk"),
    ],
)
def test_switches_that_do_not_fit_are_refused(options, message):
    with pytest.raises(LoupeError, match=message):
        MicroAttention(16, **options)


# ---- the whole model


def build(encoder, agreement="mse", **switches):
    torch.manual_seed(5)
    part = DinoAgreement(hidden=12, bottleneck=6, out=5) if agreement == "dino" else agreement_named(agreement)
    return MicronBert(encoder, decoder_depth=1, decoder_heads=2, switches=MicronSwitches(**switches), agreement=part)


def slow_head(head, x):
    hidden = oracles.gelu(oracles.linear(head.mlp[2], oracles.gelu(oracles.linear(head.mlp[0], x))))
    z = oracles.linear(head.mlp[4], hidden)
    return (z / z.norm(dim=1, keepdim=True)) @ (head.last.double() / head.last.double().norm(dim=1, keepdim=True)).T


def slow_forward(model, frame_t, frame_td, crop_td, swapped, teacher_temp):
    """Eqs 13 to 15, sample by sample; swapping in the pixels (or a token in the place of hidden patches), three passes. Returns (loss,
    reconstruction, agreement, teacher)."""
    encoder, patch = model.encoder, model.encoder.patch_size
    errors, cts, crops = [], [], []
    for t, td, crop, mask in zip(frame_t, frame_td, crop_td, swapped, strict=True):
        mixed, places = t.clone(), mask.nonzero()[:, 0].tolist()
        for index in places:
            r, c = divmod(index, encoder.grid[1])
            area = (slice(None), slice(r * patch, (r + 1) * patch), slice(c * patch, (c + 1) * patch))
            mixed[area] = td[area]
        hidden = () if model.mask_token is None else places
        tokens_s, tokens_r = oracles.encoder_tokens(encoder, mixed, None, hidden, model.mask_token), oracles.encoder_tokens(encoder, td)
        p_dma = slow_micro(model.attention, tokens_s[1:], tokens_r[1:], tokens_r[0])[0]
        pred = oracles.decoder_pixels(model.decoder, oracles.linear(model.decoder.embed, p_dma), 1)
        if model.residual:
            came_in = oracles.patches_of(mixed, patch)
            if model.mask_token is not None:
                came_in[places] = 0
            pred = pred + came_in
        target = oracles.patches_of(t, patch)
        if model.norm_pix:
            target = torch.stack([(row - row.mean()) / (row.var() + 1e-6).sqrt() for row in target])
        errors.append(((pred - target) ** 2).mean())
        cts.append(tokens_r[0])
        teacher = model.teacher_encoder if model.agreement == "dino" else encoder
        crops.append(oracles.encoder_tokens(teacher, crop)[0].detach())
    reconstruction, ct, ct_crop = torch.stack(errors).mean(), torch.stack(cts), torch.stack(crops)
    agreement, teacher = torch.zeros((), dtype=torch.float64), None
    if model.agreement == "mse":
        agreement = ((ct - ct_crop) ** 2).mean()
    elif model.agreement == "dino":
        teacher = slow_head(model.teacher_head, ct_crop).detach()
        target = torch.stack([oracles.softmax(row) for row in (teacher - model.centre.double()) / teacher_temp])
        student = slow_head(model.head, ct) / model.student_temp
        agreement = -sum((q * (z - z.exp().sum().log())).sum() for q, z in zip(target, student, strict=True)) / len(ct)
    return reconstruction + model.beta * agreement, reconstruction, agreement, teacher


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"agreement": "off"},
        {"agreement": "dino", "beta": 0.5},
        {"norm_pix": True, "beta": 2.0},
        {"layout": "released", "poi": False, "agreement": "dino"},
        {"scale": "literal"},
        {"dma": "off", "poi": False},
        {"dma": "full"},
        {"corruption": "mask"},
        {"poi_topk": 5},
        {"residual": True},
        {"residual": True, "corruption": "mask"},
    ],
    ids=str,
)
def test_forward_equals_loops_in_value_state_and_after_one_step(nano, images, generator, options):
    small = dict(image_size=24, width=16, depth=1)
    fast, slow = build(nano(**small), **options), build(nano(**small), **options)
    if "dino" in options.values():
        with torch.no_grad():
            fast.centre.copy_(torch.randn(5, generator=generator))
            # A teacher that is not the student, else an exchange would not show; large weights, else the L2 norm divides by nearly 0.
            for parameter in (*fast.head.parameters(), *fast.teacher_head.parameters()):
                parameter.add_(0.5 * torch.randn(parameter.shape, generator=generator))
            fast.teacher_temp.fill_(0.07)
    if options.get("residual"):
        torch.nn.init.normal_(fast.decoder.pred.weight, std=0.1, generator=generator)  # else it adds nothing
    slow.load_state_dict(fast.state_dict())
    frames = [images(2, seed=seed, side=24) for seed in (1, 2, 3)]
    swapped = fast.draw_swaps(2, generator)
    out = fast(*frames, swapped)
    loss, reconstruction, agreement, teacher = slow_forward(slow, *frames, swapped, 0.07)
    for got, expected in ((out["loss"], loss), (out["reconstruction"], reconstruction), (out["agreement"], agreement)):
        torch.testing.assert_close(got.double(), expected, rtol=1e-5, atol=1e-5)
    for model, value in ((fast, out["loss"]), (slow, loss)):
        optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.05)
        value.backward()
        optimizer.step()
    if teacher is not None:
        torch.testing.assert_close(out["teacher"].double(), teacher, rtol=1e-5, atol=1e-5)
        fast.update_teacher(out["teacher"], momentum=0.9)
        with torch.no_grad():
            students = dict(slow.encoder.named_parameters(prefix="teacher_encoder")) | dict(
                slow.head.named_parameters(prefix="teacher_head")
            )
            for name, parameter in slow.named_parameters():
                if name.startswith("teacher"):
                    parameter.copy_(0.9 * parameter + 0.1 * students[name])
            slow.centre.copy_(slow.centre_momentum * slow.centre + (1 - slow.centre_momentum) * teacher.float().mean(0))
    torch.testing.assert_close(fast.state_dict(), slow.state_dict(), rtol=1e-5, atol=1e-5)


def test_swap_ratio_zero_and_one_give_what_the_definition_says(nano, images):
    """r = 0: P_s = enc(I_t); r = 1: P_s = enc(I_{t+d}) = P_r."""
    model = build(nano())
    t, td = images(seed=1), images(seed=2)
    none, every = torch.zeros(3, 16, dtype=torch.bool), torch.ones(3, 16, dtype=torch.bool)
    torch.testing.assert_close(model.encode(t, td, none)[0], model.encoder(t), rtol=1e-5, atol=1e-5)
    tokens_s, tokens_r = model.encode(t, td, every)
    torch.testing.assert_close(tokens_s, tokens_r, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(tokens_r, model.encoder(td), rtol=1e-5, atol=1e-5)
    assert model.swap_ratio == 0.5 and model.draw_swaps(3, torch.Generator().manual_seed(0)).sum(1).tolist() == [8, 8, 8]


def test_corruption_mask_puts_the_token_and_its_position(nano, images):
    model = build(nano(), corruption="mask")
    every = torch.ones(2, 16, dtype=torch.bool)
    a = model.encode(images(2, seed=1), images(2, seed=2), every)[0]
    b = model.encode(images(2, seed=7), images(2, seed=2), every)[0]
    torch.testing.assert_close(a, b)  # everything hidden: the frame cannot matter
    expected = model.encoder.forward_tokens((model.mask_token + model.encoder.pos_embed[:, 1:]).expand(2, -1, -1))
    torch.testing.assert_close(a, expected, rtol=1e-5, atol=1e-5)


def test_teacher_starts_as_the_student_and_learns_only_by_ema(nano, images, generator):
    model = build(nano(), agreement="dino")
    torch.testing.assert_close(model.teacher_encoder.state_dict(), model.encoder.state_dict(), rtol=0, atol=0)
    torch.testing.assert_close(model.teacher_head.state_dict(), model.head.state_dict(), rtol=0, atol=0)
    out = model(images(), images(seed=2), images(seed=3), model.draw_swaps(3, generator))
    out["loss"].backward()
    assert all(p.grad is None for name, p in model.named_parameters() if name.startswith("teacher"))
    before = [p.clone() for p in model.teacher_encoder.parameters()]
    model.update_teacher(out["teacher"], momentum=1.0)
    assert all(torch.equal(a, b) for a, b in zip(before, model.teacher_encoder.parameters(), strict=True))
    with torch.no_grad():
        for parameter in model.encoder.parameters():
            parameter.add_(1.0)
    model.update_teacher(out["teacher"], momentum=0.0)
    torch.testing.assert_close(list(model.teacher_encoder.parameters()), list(model.encoder.parameters()))


def test_centre_is_the_moving_mean_of_the_teacher(nano):
    model = build(nano(), agreement="dino")
    logits = torch.randn(2, 7, 5)
    for value in logits:
        model.update_teacher(value, momentum=1.0)
    expected = 0.9 * (0.1 * logits[0].mean(0)) + 0.1 * logits[1].mean(0)
    torch.testing.assert_close(model.centre, expected)


def test_teacher_schedules_start_and_end_where_they_should():
    momentum, temperature = dino_schedules(100)
    assert momentum[0] == pytest.approx(0.997) and momentum[-1] == pytest.approx(1) and (np.diff(momentum) > 0).all()
    assert momentum[33] == pytest.approx(1 - 0.003 * (1 + math.cos(math.pi / 3)) / 2)
    assert temperature[0] == pytest.approx(0.04) and temperature[15] == pytest.approx(0.055)
    np.testing.assert_allclose(temperature[30:], 0.07)
    np.testing.assert_allclose(dino_schedules(100, constant_temperature=True)[1], 0.04)
    assert all(len(table) == 1 for table in dino_schedules(1))


def test_teacher_temperature_is_kept_with_the_model_and_sharpens(nano, images, generator):
    """A colder teacher is surer of itself; the temperature of the next step survives saving, so that a killed run goes on alike."""
    model = build(nano(), agreement="dino")
    batch = (images(), images(seed=2), images(seed=3), model.draw_swaps(3, generator))
    warm = model(*batch)
    model.update_teacher(warm["teacher"], momentum=1.0, temperature=0.01)
    other = build(nano(), agreement="dino")
    other.load_state_dict(model.state_dict())
    assert float(other.teacher_temp) == pytest.approx(0.01)
    torch.testing.assert_close(other(*batch)["agreement"], model(*batch)["agreement"], rtol=0, atol=0)
    assert not torch.allclose(model(*batch)["agreement"], warm["agreement"], atol=1e-4)
    model.update_teacher(warm["teacher"], momentum=1.0)
    assert float(model.teacher_temp) == pytest.approx(0.01)  # None leaves it


def test_crop_gets_no_gradient_and_canary_sees_collapse(nano, images, generator):
    model = build(nano())
    crop = images(seed=3).requires_grad_()
    out = model(images(), images(seed=2), crop, model.draw_swaps(3, generator))
    out["loss"].backward()
    assert crop.grad is None
    same = images(1).expand(3, -1, -1, -1)
    collapsed = model(same, same, same, torch.zeros(3, 16, dtype=torch.bool))
    assert collapsed["ct_std"] < 1e-5 < 0.05 < out["ct_std"]


@pytest.mark.parametrize("options", [{}, {"poi": False}, {"dma": "full"}, {"dma": "off"}, {"poi_topk": 4}], ids=str)
def test_features_and_maps_agree_with_the_parts(nano, images, options):
    model = build(nano(), **options).eval()
    onset, apex = images(seed=1), images(seed=2)
    features, maps = model.features(onset, apex), model.maps(onset, apex)
    tokens_s, tokens_r = model.encoder(onset), model.encoder(apex)
    micro = model.attention(tokens_s[:, 1:], tokens_r[:, 1:], tokens_r[:, 0])
    torch.testing.assert_close(features[:, :32], micro.mean(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(features[:, 32:], tokens_r[:, 0] - tokens_s[:, 0], rtol=1e-4, atol=1e-5)
    assert (maps["dma"] is None) == (options.get("dma") == "off") and (maps["poi"] is None) == (options.get("poi") is False)
    ones = torch.ones(3, 16)
    expected = (ones if maps["dma"] is None else maps["dma"]) * (ones if maps["poi"] is None else maps["poi"])
    torch.testing.assert_close(maps["weight"], expected)
    assert model.features(onset, onset)[:, 32:].abs().max() < 1e-5
    assert model.features_single(onset).shape == (3, 64)


def test_reconstruct_returns_the_prediction_as_an_image(nano, images, generator):
    model = build(nano(), norm_pix=True)
    swapped = model.draw_swaps(3, generator)
    picture = model.reconstruct(images(), images(seed=2), swapped)
    out = model(images(), images(seed=2), images(seed=3), swapped)
    for patch in (0, 7):
        r, c = divmod(patch, 4)
        area = (slice(None), slice(None), slice(8 * r, 8 * r + 8), slice(8 * c, 8 * c + 8))
        true = images()[area].permute(0, 2, 3, 1).flatten(1)
        expected = out["pred"][:, patch] * (true.var(1, keepdim=True) + 1e-6).sqrt() + true.mean(1, keepdim=True)
        torch.testing.assert_close(picture[area].permute(0, 2, 3, 1).flatten(1), expected, rtol=1e-4, atol=1e-5)


def test_a_decoder_that_adds_starts_at_what_swapping_changed(nano, images, generator):
    """Untrained it hands on I_{t/s}: the loss is the mean square of the change over swapped patches, and `reconstruct` gives that frame."""
    model = build(nano(), residual=True)
    frames = [images(seed=seed) for seed in (1, 2)]
    swapped = model.draw_swaps(3, generator)
    change = (patchify(frames[0], 8) - patchify(frames[1], 8)).square().mean(-1) * swapped
    torch.testing.assert_close(model(*frames, frames[1], swapped)["reconstruction"], change.mean())
    again = patchify(model.reconstruct(*frames, swapped), 8)
    torch.testing.assert_close(again, torch.where(swapped[..., None], patchify(frames[1], 8), patchify(frames[0], 8)))


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(agreement="bce"), "agreement"),
        (dict(corruption="noise"), "corruption"),
        (dict(residual=True, norm_pix=True), "residual"),
        (dict(residual=True, layout="released", poi=False), "residual"),
    ],
)
def test_unknown_words_are_refused(nano, options, message):
    with pytest.raises(LoupeError, match=message):
        build(nano(), **options)


def test_overfits_eight_pairs(nano, images, generator):
    # Low-frequency frames: raw pixels of white noise cannot be squeezed through one decoder block.
    model = build(nano(width=64), agreement="mse")
    frames = [torch.nn.functional.interpolate(images(8, seed=seed, side=4), size=32, mode="bilinear") for seed in (1, 2, 2)]
    swapped = model.draw_swaps(8, generator)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    for _ in range(90):
        optimizer.zero_grad()
        out = model(*frames, swapped)
        out["loss"].backward()
        optimizer.step()
    assert out["reconstruction"].detach() < 0.25 * frames[0].var()
