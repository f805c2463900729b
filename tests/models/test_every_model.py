"""What holds for every network: gradients arrive, weights are drawn, evaluation is clean, compiled equals eager."""

import copy

import pytest
import torch
import torch.distributed as dist
from timm.models._manipulate import group_parameters
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.parallel import DistributedDataParallel
from torch.utils._python_dispatch import TorchDispatchMode

from loupe.models.agreement import DinoAgreement, agreement_named, update_centre
from loupe.models.baselines.difference_vit import DifferenceViT
from loupe.models.baselines.small_cnn import SmallVGG
from loupe.models.baselines.three_stream import ThreeStream
from loupe.models.dual_view import classifier
from loupe.models.fusion_attention import Attention, FusionParts
from loupe.models.mae import MaskedAutoencoder
from loupe.models.micron_bert import MicronBert, MicronSwitches
from loupe.models.micron_classifier import MicronClassifier
from loupe.models.vit import Encoder


def encoder(checkpoint_blocks=False):
    network = Encoder(image_size=32, patch_size=8, width=32, depth=2, heads=2)
    network.checkpoint_blocks = checkpoint_blocks
    return network


def micron(agreement="mse", **switches):
    part = DinoAgreement(hidden=12, bottleneck=6, out=5) if agreement == "dino" else agreement_named(agreement)
    return MicronBert(encoder(), decoder_depth=1, decoder_heads=2, switches=MicronSwitches(**switches), agreement=part)


def dual(fuse_at=1, **options):
    parts = FusionParts(**{name: options.pop(name) for name in FusionParts.__annotations__ if name in options})
    return classifier(encoder(), classes=8, fuse_at=fuse_at, parts=parts, **options)


MODELS = {
    "encoder": encoder,
    "encoder-checkpointed": lambda: encoder(checkpoint_blocks=True),
    "mae": lambda: MaskedAutoencoder(encoder(), decoder_width=16, decoder_depth=1, decoder_heads=2),
    "mae-checkpointed": lambda: MaskedAutoencoder(encoder(checkpoint_blocks=True), decoder_width=16, decoder_depth=1, decoder_heads=2),
    "mae-raw": lambda: MaskedAutoencoder(encoder(), decoder_width=16, decoder_depth=1, decoder_heads=2, norm_pix=False),
    "single": lambda: dual(variant="single"),
    "single-matched": lambda: dual(variant="single", depth_matched=True),
    "concat": dual,
    "concat-own-low": lambda: dual(share_low=False),
    "concat-off": lambda: dual(attention=False),
    "concat-no-local": lambda: dual(local_attention=False),
    "concat-no-self": lambda: dual(self_attention=False),
    "concat-no-importance": lambda: dual(importance=False),
    "concat-no-skip": lambda: dual(skip=False, fuse_at=2),
    "concat-two-layers": lambda: dual(fusion_depth=2),
    "mean": lambda: dual(variant="mean"),
    "mean-off": lambda: dual(variant="mean", attention=False),
    "updown": lambda: dual(variant="updown", fusion_depth=2),
    "updown-own-low": lambda: dual(variant="updown", share_low=False),
    "updown-off": lambda: dual(variant="updown", attention=False),
    "late": lambda: dual(variant="late"),
    "single-grid": lambda: dual(variant="single", head="grid"),
    "late-grid": lambda: dual(variant="late", head="grid"),
    "late-own-low": lambda: dual(variant="late", share_low=False),
    "micron": micron,
    "micron-dino": lambda: micron(agreement="dino"),
    "micron-full": lambda: micron(dma="full"),
    "micron-off": lambda: micron(dma="off", poi=False, agreement="off"),
    "micron-literal": lambda: micron(scale="literal"),
    "micron-released": lambda: micron(layout="released", poi=False, agreement="dino"),
    "micron-topk": lambda: micron(poi_topk=4),
    "micron-mask": lambda: micron(corruption="mask"),
    "micron-residual": lambda: micron(residual=True),
    "micron-classifier": lambda: MicronClassifier(micron(), classes=3),
    "micron-classifier-dma": lambda: MicronClassifier(micron(), classes=3, readout="dma"),
    "micron-classifier-token": lambda: MicronClassifier(micron(), classes=3, readout="token"),
    "small-cnn": lambda: SmallVGG(8, channels=(16, 32), dropout=0.0),
    "three-stream": lambda: ThreeStream(3, dropout=0.0),
    "difference-vit": lambda: DifferenceViT(encoder(), classes=3),
}


def build(name):
    torch.manual_seed(0)
    return MODELS[name]()


def inputs(model, n=6, seed=1):
    generator = torch.Generator().manual_seed(seed)
    frames = [torch.randn(n, 3, 32, 32, generator=generator) for _ in range(3)]
    if isinstance(model, MaskedAutoencoder):
        return frames[0], torch.rand(n, 16, generator=generator)
    if isinstance(model, MicronBert):
        return *frames, model.draw_swaps(n, generator)
    if isinstance(model, ThreeStream):
        return (torch.randn(n, 3, 28, 28, generator=generator),)
    return tuple(frames[: 1 if isinstance(model, (Encoder, SmallVGG)) else 2])


def tensors_of(out):
    return out if isinstance(out, dict) else {"out": out}


def loss_of(out):
    if isinstance(out, dict):
        return out["loss"]
    flat = out.flatten(1)
    return (flat * torch.linspace(-1, 1, flat.shape[1])).mean() + flat.square().mean()


@pytest.mark.parametrize("name", MODELS)
def test_every_trainable_tensor_gets_a_gradient_and_no_teacher_does(name):
    model = build(name).train()
    with torch.no_grad():  # a zero-initialised head would hide a broken path behind it
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape))
    loss_of(model(*inputs(model))).backward()
    silent = [n for n, p in model.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.abs().sum() > 0)]
    # What all keys share cancels in a softmax over keys: the bias of Micron-BERT's K has gradient 0 up to rounding.
    assert set(silent) <= {"attention.to_k.bias"}
    assert all(p.grad is None for p in model.parameters() if not p.requires_grad)
    teachers = [n for n, p in model.named_parameters() if not p.requires_grad]
    assert bool(teachers) == (getattr(model, "agreement", "") == "dino") and all(n.startswith("teacher_") for n in teachers)


@pytest.mark.parametrize("name", MODELS)
def test_init_weights_covers_every_tensor(name):
    """Built without memory, filled with NaN, initialised: what somebody forgot to draw is still NaN."""
    fresh = build(name)
    with torch.device("meta"):
        model = build(name)
    model.to_empty(device="cpu")
    for tensor in (*model.parameters(), *model.buffers()):
        tensor.data.fill_(float("nan") if tensor.is_floating_point() else 1)
    model.init_weights(torch.Generator().manual_seed(1))
    assert not [n for n, t in model.state_dict().items() if t.is_floating_point() and not t.isfinite().all()]
    for (n, a), b in zip(fresh.named_buffers(), model.buffers(), strict=True):
        torch.testing.assert_close(
            a, b, msg=f"{n} starts otherwise than when it is built", check_dtype=True
        ) if "num_batches" not in n else None
    assert torch.isfinite(loss_of(model.train()(*inputs(model))))


@pytest.mark.parametrize("name", MODELS)
def test_init_weights_is_a_function_of_the_generator(name):
    states = []
    for seed in (1, 2):
        model = build(name)
        torch.manual_seed(seed)
        model.init_weights(torch.Generator().manual_seed(7))
        states.append(model.state_dict())
    torch.testing.assert_close(*states, rtol=0, atol=0)


# Losses are means over the batch; what is compared is what a sample gets on its own.
PER_SAMPLE = ("out", "pred", "masked", "dma", "poi", "teacher")


@pytest.mark.parametrize("name", MODELS)
def test_evaluation_does_not_depend_on_the_rest_of_the_batch(name):
    model = build(name).eval()
    batch = inputs(model)
    with torch.no_grad():
        whole, again = tensors_of(model(*batch)), tensors_of(model(*batch))
        alone = tensors_of(model(*(x[2:3] for x in batch)))
    for key in whole.keys() & set(PER_SAMPLE):
        torch.testing.assert_close(whole[key], again[key], rtol=0, atol=0)
        torch.testing.assert_close(whole[key][2:3], alone[key], rtol=1e-4, atol=1e-5)


def test_features_of_a_pair_do_not_depend_on_the_batch():
    model = build("micron").eval()
    onset, apex = inputs(model)[:2]
    torch.testing.assert_close(model.features(onset, apex)[1:2], model.features(onset[1:2], apex[1:2]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["mae", "concat", "updown", "micron", "micron-dino", "micron-classifier"])
def test_one_sample_has_its_own_gradient_path(name):
    """No output of one sample may depend on another's input (evaluation): the gradient across samples is exactly zero."""
    model = build(name).eval()
    first, *rest = inputs(model)
    first = first.clone().requires_grad_()
    out = tensors_of(model(first, *rest))
    out["pred" if "pred" in out else "out"][0].square().sum().backward()
    assert first.grad[0].abs().sum() > 0 and first.grad[1:].abs().sum() == 0


class Operations(TorchDispatchMode):
    """Names of the operations that run."""

    def __init__(self):
        super().__init__()
        self.names = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.names.add(function.__name__)
        return function(*args, **kwargs or {})


@pytest.mark.parametrize("name", ["encoder", "mae", "concat", "concat-no-self", "mean", "updown", "micron"])
def test_fused_attention_equals_maths(name):
    """The fused kernel is allowed alone on one side, so that maths cannot be compared with itself."""
    model = build(name).eval()
    batch, found = inputs(model), {}
    for backend in (SDPBackend.FLASH_ATTENTION, SDPBackend.MATH):
        with torch.no_grad(), sdpa_kernel([backend]), Operations() as ran:
            try:
                found[backend] = tensors_of(model(*batch))
            except RuntimeError as error:
                if backend is SDPBackend.FLASH_ATTENTION and "No available kernel" in str(error):
                    pytest.skip(f"this platform has no fused attention for the shapes of {name}")
                raise
        assert any("flash_attention" in op for op in ran.names) == (backend is SDPBackend.FLASH_ATTENTION)
    fused, maths = found.values()
    for key in fused.keys() & set(PER_SAMPLE):
        torch.testing.assert_close(fused[key], maths[key], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["concat", "updown", "mean"])
def test_the_normal_path_computes_no_attention_map(name, monkeypatch):
    """Maps cost a dense softmax; training and prediction must not pay for them, and get the same logits without."""
    model = build(name).eval()
    with torch.no_grad():
        logits, maps = model.forward_maps(*inputs(model))
        monkeypatch.setattr(Attention, "weights", None)
        torch.testing.assert_close(model(*inputs(model)), logits)
        with pytest.raises(TypeError):
            model.forward_maps(*inputs(model))
    assert maps["importance"].shape == (6, 16)


GROUPED = [
    "encoder",
    "mae",
    "concat-own-low",
    "concat-two-layers",
    "updown",
    "late-grid",
    "micron-dino",
    "micron-mask",
    "difference-vit",
]


@pytest.mark.parametrize("name", GROUPED)
def test_decay_and_layers_know_every_parameter(name):
    """What is no weight of a linear map is never decayed: it is a vector, or the model names it. Layers: stem 0, block i is i + 1, rest
    last."""
    model = build(name)
    trained = {n: p for n, p in model.named_parameters() if p.requires_grad}
    tokens = {n for n, p in trained.items() if p.ndim > 1 and not n.endswith((".weight", "head.last"))}
    assert tokens <= model.no_weight_decay() and "cls_token" in " ".join(model.no_weight_decay())
    assert all(trained[n].ndim == 1 or n in tokens for n in model.no_weight_decay() & trained.keys())
    layers = group_parameters(model, model.group_matcher(coarse=False), reverse=True)
    prefix = "" if name == "encoder" else "encoder."
    for n in trained:
        if n.startswith((f"{prefix}blocks.", "low_ipsilateral.")):  # the second view's own copies learn as fast as their originals
            assert layers[n] == 1 + int(n.removeprefix(f"{prefix}blocks.").removeprefix("low_ipsilateral.").split(".")[0])
        elif n.startswith((f"{prefix}cls_token", f"{prefix}patch_embed")):
            assert layers[n] == 0
        else:
            assert layers[n] == 3 == max(layers.values()), n


def test_convolutional_baselines_have_layers_and_decay_too():
    """The rate falls with depth: the first convolution is layer 0, the head last; batch norms and biases are not decayed (they are
    vectors)."""
    for name, first in (("small-cnn", "features.0.weight"), ("three-stream", "streams.1.0.weight")):
        model = build(name)
        assert model.no_weight_decay() == set()
        layers = group_parameters(model, model.group_matcher(coarse=False), reverse=True)
        assert layers[first] == 0 and layers["head.weight"] == layers["head.bias"] == max(layers.values()) > 0
        assert set(layers) == {n for n, _ in model.named_parameters()}
    order = [
        layers
        for n, layers in group_parameters(build("small-cnn"), SmallVGG(8).group_matcher(), reverse=True).items()
        if n.endswith("weight")
    ]
    assert order == sorted(order)


@pytest.mark.parametrize("name", ["mae", "mae-raw", "micron", "micron-dino", "micron-literal", "micron-released"])
def test_a_loss_over_processes_is_the_loss_of_the_whole_batch(name):
    """DDP averages the gradients of equal parts. That is the gradient of the whole batch only if a loss is a mean over samples and if a
    forward pass changes no buffer, which would make the parts diverge.
    """
    model = build(name).train()
    before = {n: b.clone() for n, b in model.named_buffers()}
    batch = inputs(model)
    whole = model(*batch)["loss"]
    parts = [model(*(x[rows] for x in batch))["loss"] for rows in (slice(0, 3), slice(3, 6))]
    torch.testing.assert_close(whole, (parts[0] + parts[1]) / 2, rtol=1e-5, atol=1e-6)
    trained = [p for p in model.parameters() if p.requires_grad]
    a, b = torch.autograd.grad(whole, trained), torch.autograd.grad((parts[0] + parts[1]) / 2, trained)
    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(dict(model.named_buffers()), before, rtol=0, atol=0)


COMPILED = ["encoder-checkpointed", "mae", "mae-checkpointed", "concat-own-low", "updown", "late", "micron-dino", "micron-topk",
            "micron-classifier", "difference-vit"]  # fmt: skip


@pytest.mark.parametrize("name", COMPILED)
def test_compiled_equals_eager_in_one_graph(name):
    """Traced without a graph break and without a second compilation; Inductor's code generation is exercised by hand (it takes minutes)."""
    torch._dynamo.reset()
    eager = build(name).train()
    traced = copy.deepcopy(eager)
    compiled = torch.compile(traced, backend="eager", fullgraph=True)
    for seed in (1, 2):  # a second batch must not compile again
        batch = inputs(eager, seed=seed)
        with torch._dynamo.config.patch(error_on_recompile=seed == 2):
            a, b = loss_of(eager(*batch)), loss_of(compiled(*batch))
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)
        a.backward()
        b.backward()
    for (n, p), q in zip(eager.named_parameters(), traced.parameters(), strict=True):
        if p.requires_grad:
            torch.testing.assert_close(p.grad, q.grad, rtol=1e-4, atol=1e-5, msg=n)


@pytest.mark.parametrize("name", ["mae", "concat", "updown", "micron", "micron-dino"])
def test_bfloat16_autocast_stays_close(name):
    model = build(name).eval()
    batch = inputs(model)
    with torch.no_grad():
        exact = loss_of(model(*batch))
        with torch.autocast("cpu", torch.bfloat16):
            rough = loss_of(model(*batch))
    assert rough.dtype == torch.float32 or not isinstance(model, (MaskedAutoencoder, MicronBert))
    torch.testing.assert_close(rough.float(), exact, rtol=0.03, atol=0.03)


@pytest.mark.parametrize(
    "name", ["mae", "concat", "concat-own-low", "late", "updown", "micron", "micron-dino", "micron-off", "micron-classifier"]
)
def test_distributed_training_finds_every_parameter_used(name):
    """DDP without find_unused_parameters fails on its second step if any trainable tensor took no part in the first."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        model = build(name).train()
        alone = copy.deepcopy(model)
        wrapped = DistributedDataParallel(model)
        for _ in range(2):
            batch = inputs(model)
            out = wrapped(*batch)
            loss_of(out).backward()
            loss_of(alone(*batch)).backward()
        for (n, p), q in zip(model.named_parameters(), alone.named_parameters(), strict=True):
            if p.requires_grad:
                torch.testing.assert_close(p.grad, q[1].grad, msg=n)
        if name == "micron-dino":
            centre = model.centre.clone()
            model.update_teacher(out["teacher"], 0.9)
            torch.testing.assert_close(model.centre, 0.9 * centre + 0.1 * out["teacher"].mean(0))
    finally:
        dist.destroy_process_group()


def test_centre_averages_over_processes(monkeypatch):
    """Two processes of equal batches must end with the centre of the joint batch."""
    here, there = torch.randn(2, 4, 5)
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "get_world_size", lambda: 2)
    monkeypatch.setattr(dist, "all_reduce", lambda tensor: tensor.add_(there.mean(0)))
    centre = torch.ones(5)
    update_centre(centre, here, 0.9)
    torch.testing.assert_close(centre, 0.9 * torch.ones(5) + 0.1 * torch.cat([here, there]).mean(0))


OVERFIT = ["single", "single-grid", "concat", "mean", "updown", "late", "micron-classifier", "small-cnn", "three-stream", "difference-vit"]


@pytest.mark.parametrize("name", OVERFIT)
def test_overfits_eight_samples(name):
    model = build(name).train()
    # Smooth patterns: a network that averages over space cannot tell white noise from white noise.
    batch = [nn.functional.interpolate(x[..., :3, :3], size=x.shape[-1], mode="bilinear") for x in inputs(model, n=8)]
    labels = torch.arange(8) % 3
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(60):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(*batch), labels)
        loss.backward()
        optimizer.step()
    assert loss.detach() < 0.15


def test_micron_bert_overfits_eight_pairs_and_their_teacher():
    """The pixels come back and the student learns what a teacher at rest says of each crop."""
    model = build("micron-dino").train()
    smooth = lambda x: nn.functional.interpolate(x[..., :4, :4], size=32, mode="bilinear")
    first, second, _, swapped = inputs(model, n=8)
    batch = (smooth(first), smooth(second), smooth(second), swapped)  # the crop is the frame itself: agreement can be had
    model.centre.copy_(model(*batch)["teacher"].mean(0))  # else the targets are the same for all eight
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=3e-3)
    agreement = []
    for _ in range(100):
        optimizer.zero_grad()
        out = model(*batch)
        out["loss"].backward()
        optimizer.step()
        agreement.append(out["agreement"].detach())
    target = ((out["teacher"] - model.centre) / model.teacher_temp).softmax(dim=-1)
    least = -torch.special.xlogy(target, target).sum(-1).mean()  # the cross-entropy of a perfect student
    assert target.std(0).mean() > 0.2 and agreement[-1] - least < 0.1 * (agreement[0] - least)
    assert out["reconstruction"].detach() < 0.3 * batch[0].var()
