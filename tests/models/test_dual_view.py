"""Fusion Attention and the dual-view classifier: parity with loops for every variant and switch, invariants, controls."""

import copy

import model_oracles as oracles
import pytest
import torch
from timm.models._manipulate import group_parameters

from loupe.errors import LoupeError
from loupe.models import dual_view
from loupe.models.dual_view import VARIANTS
from loupe.models.fusion_attention import LAYERS, FusionParts, OwnFusion, neighbours


def fusion(variant="concat", width=16, grid=(3, 4), **parts):
    torch.manual_seed(3)
    layer = (LAYERS | {"own": OwnFusion})[variant](width, 2, grid, FusionParts(**parts))
    with torch.no_grad():  # move every weight off its neutral start, else a missing norm or gamma would not show
        for parameter in layer.parameters():
            parameter.add_(torch.randn(parameter.shape) * 0.2)
    return layer


def slow_fusion(layer, x, y):
    """F1 to F5 on one sample (L, D); returns (F, y, g, self weights, local weights)."""
    rows, columns = layer.grid
    if layer.towards_examined is not None:
        y = slow_fusion(layer.towards_examined, y, x)[0]
    u = oracles.layer_norm(x, layer.norm.weight, layer.norm.bias)
    v = oracles.layer_norm(y, layer.norm.weight, layer.norm.bias)
    keys = {"mean": [(u + v) / 2], "own": [u]}.get(layer.variant, [u, v])
    tokens, views = torch.cat(keys), len(keys)
    g = self_weights = local_weights = None
    branches = []
    if not layer.attention:
        branches = [u, keys[-1]]
    else:
        if layer.self_attention is not None:
            out, self_weights = oracles.attention(layer.self_attention, u, tokens, lambda row: range(len(tokens)))
            branches.append(out)
        if layer.local_attention is not None:
            out, local_weights = oracles.attention(layer.local_attention, u, tokens, lambda row: oracles.near(row, columns, rows, views))
            branches.append(out)
        if layer.importance is not None:
            score = oracles.mlp(layer.importance, torch.cat([u, v], dim=1))[:, 0]
            g = len(u) * oracles.softmax(score)
            branches[-1] = g[:, None] * branches[-1]
    change = layer.gamma.double() * oracles.mlp(layer.mlp, torch.cat(branches, dim=1))
    return (x + change if layer.skip else change), y, g, self_weights, local_weights


SWITCHES = [
    {},
    {"attention": False},
    {"self_attention": False},
    {"local_attention": False},
    {"importance": False},
    {"skip": False},
    {"local_attention": False, "importance": False, "skip": False},
]


@pytest.mark.parametrize("variant", ["concat", "mean", "updown", "own"])
@pytest.mark.parametrize("switches", SWITCHES, ids=lambda s: "+".join(s) or "all")
def test_fusion_equals_loops_in_value_map_and_after_one_step(variant, switches):
    layer, slow = (fusion(variant=variant, width=8, grid=(3, 3), **switches) for _ in range(2))
    x, y = torch.randn(2, 2, 9, 8, generator=torch.Generator().manual_seed(1))
    y = x if variant == "own" else y
    out, expected = layer(x, y), [slow_fusion(slow, a.double(), b.double()) for a, b in zip(x, y, strict=True)]
    torch.testing.assert_close(out.examined.double(), torch.stack([e[0] for e in expected]), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(out.ipsilateral.double(), torch.stack([e[1] for e in expected]), rtol=1e-5, atol=1e-5)
    assert (out.importance is None) == (expected[0][2] is None)
    if out.importance is not None:
        torch.testing.assert_close(out.importance.double(), torch.stack([e[2] for e in expected]), rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(out.importance.mean(1), torch.ones(2))
    for model, value in ((layer, out.examined.square().mean()), (slow, torch.stack([e[0] for e in expected]).square().mean())):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        value.backward()
        optimizer.step()
    torch.testing.assert_close(layer.state_dict(), slow.state_dict(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("variant", ["concat", "mean", "updown"])
def test_maps_are_the_attention_that_was_used(variant):
    layer = fusion(variant=variant)
    x, y = torch.randn(2, 2, 12, 16, generator=torch.Generator().manual_seed(1))
    maps = layer.maps(x, y)
    views = 1 if variant == "mean" else 2
    for sample in range(2):
        _, _, g, self_weights, local_weights = slow_fusion(layer, x[sample].double(), y[sample].double())
        torch.testing.assert_close(maps["importance"][sample].double(), g, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(maps["self"][sample].double(), self_weights, rtol=1e-5, atol=1e-5)
        for patch in range(12):
            r, c = divmod(patch, 4)
            for view in range(views):
                for step in range(9):
                    rr, cc = r + step // 3 - 1, c + step % 3 - 1
                    inside = 0 <= rr < 3 and 0 <= cc < 4
                    expected = local_weights[patch, view * 12 + rr * 4 + cc] if inside else 0.0
                    assert float(maps["local"][sample, patch, 9 * view + step]) == pytest.approx(
                        float(expected.detach()) if inside else 0.0, abs=1e-5
                    )
    torch.testing.assert_close(maps["local"].sum(-1), torch.ones(2, 12))


def test_neighbourhoods_have_four_six_or_nine_patches_a_view():
    nearby, _, inside = neighbours((3, 4), 2)
    assert nearby.sum(1).tolist() == [2 * n for n in (4, 6, 6, 4, 6, 9, 9, 6, 4, 6, 6, 4)]
    assert torch.equal(inside.sum(1), nearby.sum(1))


def test_swapping_the_views_swaps_their_attention():
    """Keys are a set: with both views exchanged as keys, patch for patch, the weights change places and the mixture stays."""
    layer = fusion().self_attention
    u, v = torch.randn(2, 2, 12, 16, generator=torch.Generator().manual_seed(1))
    first, second = layer.weights(u, torch.cat([u, v], 1)), layer.weights(u, torch.cat([v, u], 1))
    torch.testing.assert_close(first[..., :12], second[..., 12:])
    torch.testing.assert_close(layer(u, torch.cat([u, v], 1)), layer(u, torch.cat([v, u], 1)))


def test_gamma_zero_leaves_the_examined_view():
    layer = fusion()
    torch.nn.init.zeros_(layer.gamma)
    x, y = torch.randn(2, 2, 12, 16)
    assert torch.equal(layer(x, y).examined, x)


def test_flat_importance_is_the_same_as_none():
    with_map, without = fusion(), fusion(importance=False)
    without.load_state_dict({k: v for k, v in with_map.state_dict().items() if not k.startswith("importance")})
    torch.nn.init.zeros_(with_map.importance[2].weight)
    x, y = torch.randn(2, 2, 12, 16)
    torch.testing.assert_close(with_map(x, y).examined, without(x, y).examined)


def test_local_attention_is_local_and_self_attention_is_not():
    far = torch.randn(1, 12, 16)
    changed = far.clone()
    changed[:, 11] += torch.randn(16)  # bottom right; patch 0 is top left
    quiet = torch.randn(1, 12, 16)
    local, everywhere = fusion(self_attention=False, importance=False), fusion(local_attention=False, importance=False)
    assert torch.equal(local(quiet, far).examined[:, 0], local(quiet, changed).examined[:, 0])
    assert not torch.allclose(local(quiet, far).examined[:, 11], local(quiet, changed).examined[:, 11])
    assert not torch.allclose(everywhere(quiet, far).examined[:, 0], everywhere(quiet, changed).examined[:, 0])


def classifier(encoder, **options):
    torch.manual_seed(4)
    parts = FusionParts(**{name: options.pop(name) for name in FusionParts.__annotations__ if name in options})
    return dual_view.classifier(encoder, parts=parts, **dict(classes=8, fuse_at=1) | options).eval()


def slow_classifier(model, examined, ipsilateral):
    """Logits of one sample, by loops."""
    encoder, k = model.encoder, model.fuse_at

    def low(image, blocks):
        x = oracles.linear(encoder.patch_embed, oracles.patches_of(image, encoder.patch_size)) + encoder.pos_embed[0, 1:].double()
        x = torch.cat([(encoder.cls_token + encoder.pos_embed[:, :1])[0].double(), x])
        for part in blocks:
            x = oracles.block(part, x)
        return x

    def high(x):
        for part in encoder.blocks[k:]:
            x = oracles.block(part, x)
        cells = oracles.cells(x[1:], *encoder.grid, model.side)
        return oracles.layer_norm(cells, encoder.norm.weight, encoder.norm.bias).flatten()[None]

    x = low(examined, encoder.blocks[:k])
    y = None if model.variant == "single" else low(ipsilateral, model.low_ipsilateral or encoder.blocks[:k])
    if model.variant == "late":
        return oracles.linear(model.head, torch.cat([high(x), high(y)], dim=1))[0]
    if len(model.fusion):
        a = x[1:] + model.view_embed[0].double()
        b = a if y is None else y[1:] + model.view_embed[1].double()
        for layer in model.fusion:
            a, b, *_ = slow_fusion(layer, a, b)
        x = torch.cat([x[:1], a])
    return oracles.linear(model.head, high(x))[0]


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(
    "options", [{}, {"share_low": False}, {"fuse_at": 0, "fusion_depth": 2, "head": "grid"}, {"fuse_at": 2, "attention": False}], ids=str
)
def test_classifier_equals_loops_in_value_map_and_after_one_step(nano, images, variant, options):
    """In float64, where both sides differ by rounding alone: in float32 that rounding comes near 1e-5 by itself."""
    fast, slow = (classifier(nano(image_size=24, width=16), variant=variant, **options).double() for _ in range(2))
    with torch.no_grad():
        for parameter in fast.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(parameter.numel())) * 0.1)
    slow.load_state_dict(fast.state_dict())
    start = copy.deepcopy(fast.state_dict())
    x, y = images(2, seed=1, side=24).double(), images(2, seed=2, side=24).double()
    out, expected = fast(x, y), torch.stack([slow_classifier(slow, a, b) for a, b in zip(x, y, strict=True)])
    torch.testing.assert_close(out, expected, rtol=1e-9, atol=1e-9)
    logits, maps = fast.forward_maps(x, y)
    torch.testing.assert_close(logits, out)
    for model, value in ((fast, out.square().mean()), (slow, expected.square().mean())):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        value.backward()
        optimizer.step()
    torch.testing.assert_close(fast.state_dict(), slow.state_dict(), rtol=1e-9, atol=1e-9)
    assert all((start[name] - p).abs().max() > 1e-7 for name, p in fast.named_parameters())  # the step moved every tensor that was compared
    assert (maps["importance"] is not None) == (variant in ("concat", "mean", "updown") and options.get("attention", True))


def test_examined_view_decides_when_the_fusion_is_silent(nano, images):
    """gamma = 0: the second view must not reach the logits, and the class token must have bypassed the fusion."""
    model, plain = classifier(nano()), classifier(nano(), variant="single")
    torch.nn.init.zeros_(model.fusion[0].gamma)
    torch.nn.init.zeros_(model.view_embed)
    plain.head.load_state_dict(model.head.state_dict())
    torch.testing.assert_close(model(images(), images(seed=9)), plain(images()))


@pytest.mark.parametrize("variant", ["single", "concat", "late"])
def test_the_grid_head_knows_where_the_mean_head_does_not(nano, variant):
    """Tokens whose left and right half change places: the same mean, other cells."""
    models = {head: classifier(nano(), variant=variant, head=head) for head in ("mean", "grid")}
    tokens = torch.randn(2, 17, 32, generator=torch.Generator().manual_seed(1))
    exchanged = torch.cat([tokens[:, :1], tokens[:, 1:].unflatten(1, (4, 4)).roll(2, dims=2).flatten(1, 2)], dim=1)
    for head, model in models.items():
        model.fuse_at = model.encoder.depth  # no block is left, so the tokens are what the head reads
        same = torch.allclose(model._classify(tokens, tokens), model._classify(exchanged, exchanged), atol=1e-5)
        assert same == (head == "mean")


def test_duplicate_differs_from_a_true_second_view(nano, images):
    model = classifier(nano())
    assert not torch.allclose(model(images(), images()), model(images(), images(seed=9)), atol=1e-6)


def test_depth_matched_single_has_the_parameters_of_concat_and_one_view(nano, images):
    concat, control = classifier(nano()), classifier(nano(), variant="single", depth_matched=True)
    count = lambda model: sum(p.numel() for p in model.parameters())
    assert count(concat) - count(control) == concat.encoder.width  # the ipsilateral view embedding
    assert torch.equal(control(images()), control(images(), images(seed=9)))
    # Own keys twice are own keys once: with equal weights and view embeddings it is `concat` on the same face.
    state = concat.state_dict()
    state["view_embed"] = state["view_embed"][:1]
    control.load_state_dict(state)
    with torch.no_grad():
        concat.view_embed[1] = concat.view_embed[0]
    torch.testing.assert_close(control(images()), concat(images(), images()), rtol=1e-5, atol=1e-5)


def test_layer_groups_give_fusion_and_head_the_full_rate(nano):
    groups = group_parameters(classifier(nano()), classifier(nano()).group_matcher(coarse=False), reverse=True)
    assert groups["encoder.cls_token"] == 0 and groups["encoder.blocks.1.mlp.fc1.weight"] == 2
    full = max(groups.values())
    assert {groups[name] for name in ("head.weight", "view_embed", "fusion.0.gamma", "encoder.norm.weight")} == {full}


def test_own_low_blocks_start_equal_and_learn_apart(nano, images):
    model = classifier(nano(), share_low=False).train()
    torch.testing.assert_close(model.low_ipsilateral.state_dict(), model.encoder.blocks[:1].state_dict(), rtol=0, atol=0)
    model(images(), images(seed=9)).square().mean().backward()
    assert not torch.allclose(model.low_ipsilateral[0].mlp.fc1.weight.grad, model.encoder.blocks[0].mlp.fc1.weight.grad)


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(variant="middle"), "middle.*concat"),
        (dict(fuse_at=3), "fuse_at"),
        (dict(depth_matched=True), "single"),
        (dict(head="median"), "median.*mean, grid"),
        (dict(self_attention=False, local_attention=False), "attention=False"),
    ],
)
def test_switches_that_do_not_fit_are_refused(nano, options, message):
    with pytest.raises(LoupeError, match=message):
        classifier(nano(), **options)


def test_a_missing_second_view_is_named(nano, images):
    with pytest.raises(LoupeError, match="ipsilateral"):
        classifier(nano())(images())
