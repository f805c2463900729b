"""Whose checkpoint is this? Names of tensors in the layouts of five code bases, mapped onto Loupe's and back.

    layout        how it is recognised                                   holds
    loupe         patch_embed.weight (a Linear), bare or `encoder.`      safetensors: encoder, or any model of Loupe
    mae           patch_embed.proj.weight (a convolution) and            facebookresearch/mae pre-training files with decoder, in a
                  mask_token or decoder_*                                dict under "model"
    mae-face      the same without decoder, under "model"                MAE-Face's mae_face_pretrain_vit_*.pth; MAE's encoder-only files
    timm          the same without decoder, not wrapped                  state dicts of timm's ViTs (`norm` or `fc_norm`)
    micron-bert   backbone.*                                             uark-cviu/Micron-BERT, with att.*, decoder_*, student/teacher

Before, what compiling and wrapping put into the names is taken off (`unwrap`). Loupe's names always start with `encoder.`; see `Weights`.
What a layout holds and the other cannot is dropped, with the reason, never in silence. What is neither known nor listed is refused.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field

import torch
from torch import Tensor

from loupe.errors import LoupeError

LAYOUTS = ("loupe", "mae", "mae-face", "timm", "micron-bert")
WRAPPED = ("mae", "mae-face", "micron-bert")  # stored as {"model": tensors}

# Foreign tensors that have no place in Loupe, and why that loses nothing that is used.
EXPLAINED = {
    r"(head|head_dist|fc)\..*": "classifier of another task",
    r"head_drop\..*|pos_drop\..*": "dropout holds no weights",
    r"student\.backbone\..*": "the same tensors as backbone.*",
    r"(student|teacher)\.head\.last_layer\.weight_g": "gain of the last DINO layer, frozen at 1",
    r"fc_norm\..*": "norm of the pooled feature, beside a norm of the tokens, which is the one that is used",
}

DINO_PARTS = "student.head.*, teacher.*, dino_loss_fn.center"
GAIN = "student.head.last_layer.weight_g or the teacher's is not 1, a gain that Loupe's DINO head does not have; features need no head"
WRAPPING = re.compile(r"\b(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")  # torch.compile and FSDP, at any depth


@dataclass
class Weights:
    """A checkpoint under Loupe's names: encoder.*, decoder.*, mask_token, attention.*, head.*, teacher_encoder.*, teacher_head.*, centre.

    dropped: name in the file -> why it was left out. settings: what the file itself states of its network: our own header all sizes, MAE's
    stored arguments the depths; the rest is worked out (`loupe.models.pretrained`).
    """

    layout: str
    tensors: dict[str, Tensor]
    dropped: dict[str, str] = field(default_factory=dict)
    settings: dict[str, float] = field(default_factory=dict)

    def only_encoder(self) -> dict[str, Tensor]:
        """The encoder's tensors under the names of `loupe.models.vit.Encoder`."""
        return {name.removeprefix("encoder."): tensor for name, tensor in self.tensors.items() if name.startswith("encoder.")}

    @property
    def kind(self) -> str:
        """encoder, mae (with decoder) or micron-bert: decides which decoder it is."""
        has_decoder = any(name.startswith("decoder.") for name in self.tensors)
        if any(name.startswith(("attention.", "teacher_")) for name in self.tensors):
            return "micron-bert"
        if has_decoder:
            return "mae" if "mask_token" in self.tensors else "micron-bert"
        return "encoder"


def unwrap(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A state dict without what wrappers put into its names: torch's marks anywhere, and first parts (`module.`, `model.`, any other) that
    all names share, as long as that takes to a known layout; otherwise as it was."""
    state = bare = {WRAPPING.sub("", name).removeprefix("module."): tensor for name, tensor in state.items()}
    while bare and _layout(bare, wrapped=True) is None:
        first = {name.partition(".")[0] for name in bare}
        if len(first) > 1 or not all("." in name for name in bare):
            return state
        bare = {name.partition(".")[2]: tensor for name, tensor in bare.items()}
    return bare


def recognise(state: dict[str, Tensor], wrapped: bool, where: str) -> str:
    """The layout of a state dict that `unwrap` returned. Raises LoupeError naming `where` for any other."""
    if layout := _layout(state, wrapped):
        return layout
    some = ", ".join(sorted(state)[:3]) or "nothing"
    raise LoupeError(f"{where} holds no layout Loupe knows ({some}, ...): expected one of {', '.join(LAYOUTS)}.")


def _layout(state: dict[str, Tensor], wrapped: bool) -> str | None:
    if any(f"{part}patch_embed.{name}" in state for part in ("", "encoder.") for name in ("weight", "bias")):
        return "loupe"
    if any(name.startswith("backbone.") for name in state):
        return "micron-bert"
    if any(name.startswith("patch_embed.") or name.startswith("blocks.") for name in state):
        if any(name.startswith(("decoder_", "mask_token")) for name in state):
            return "mae"
        return "mae-face" if wrapped else "timm"
    return None


def to_loupe(state: dict[str, Tensor], layout: str, where: str) -> Weights:
    """Rename a foreign state dict. Raises LoupeError for a tensor that is neither known nor explained."""
    if layout == "loupe":
        bare = not any(name.startswith("encoder.") for name in state)
        return Weights(layout, {f"encoder.{name}" if bare else name: tensor for name, tensor in state.items()})
    weights = Weights(layout, {})
    if any(name.endswith("last_layer.weight_g") and not bool((gain == 1).all()) for name, gain in state.items()):
        state = {name: tensor for name, tensor in state.items() if not name.startswith(("student.head.", "teacher.", "dino_loss_fn."))}
        weights.dropped[DINO_PARTS] = GAIN
    has_norm = "norm.weight" in state
    for name, tensor in state.items():
        ours = _ours(name, layout, has_norm)
        if ours is None:
            weights.dropped[name] = _explain(name, tensor, where)
            continue
        if ours.endswith("patch_embed.weight"):
            tensor = convolution_to_linear(tensor, f"{where} ({name})")
        weights.tensors[ours] = tensor[0] if ours == "centre" and tensor.ndim else tensor
    return weights


def from_loupe(weights: Weights, layout: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Loupe's tensors under the names of `layout`; also which were dropped and why."""
    if layout not in LAYOUTS:
        raise LoupeError(f"Unknown layout '{layout}'; choose one of {', '.join(LAYOUTS)}.")
    if layout == "loupe":
        return dict(weights.tensors), {}
    state: dict[str, Tensor] = {}
    dropped: dict[str, str] = {}
    for name, tensor in weights.tensors.items():
        reason = _no_place(name, weights, layout)
        if reason:
            dropped[name] = reason
            continue
        if name.endswith("patch_embed.weight"):
            tensor = linear_to_convolution(tensor)
        state[name_in(name, layout)] = tensor[None] if name == "centre" else tensor
    if layout == "micron-bert" and any(name.startswith("student.head.") for name in state):
        state |= {f"student.{name}": tensor for name, tensor in state.items() if name.startswith("backbone.")}
        for side in ("student", "teacher"):
            rows = len(state[f"{side}.head.last_layer.weight_v"])
            state[f"{side}.head.last_layer.weight_g"] = torch.ones(rows, 1)
    return state, dropped


def convolution_to_linear(weight: Tensor, where: str = "The checkpoint") -> Tensor:
    """Patch embedding: (D, C, P, P) convolution -> (D, P*P*C) Linear on patches whose pixels run row, column, channel."""
    if weight.ndim != 4 or weight.shape[2] != weight.shape[3]:
        raise LoupeError(
            f"{where}: the patch embedding has shape {tuple(weight.shape)}, not (D, C, P, P); it is no ViT for square patches."
        )
    return weight.permute(0, 2, 3, 1).flatten(1).contiguous()


def linear_to_convolution(weight: Tensor, channels: int = 3) -> Tensor:
    """The inverse of `convolution_to_linear`."""
    side = math.isqrt(weight.shape[1] // channels)
    return weight.reshape(len(weight), side, side, channels).permute(0, 3, 1, 2).contiguous()


_VIT = re.compile(r"(cls_token|pos_embed|patch_embed\.proj\.(?:weight|bias)|norm\.(?:weight|bias)"
                  r"|blocks\.\d+\.(?:norm1|norm2|attn\.qkv|attn\.proj|mlp\.fc1|mlp\.fc2)\.(?:weight|bias))")  # fmt: skip
_DECODER = re.compile(r"decoder_(pos_embed|(?:embed|norm|pred)\.(?:weight|bias)|blocks\..*)")


def _ours(name: str, layout: str, has_norm: bool) -> str | None:
    """Loupe's name of a foreign tensor, or None where Loupe has no place for it."""
    if match := _DECODER.fullmatch(name):
        return f"decoder.{match[1]}"
    if layout == "micron-bert":
        for theirs, ours in (("backbone.", "encoder."), ("teacher.backbone.", "teacher_encoder.")):
            if name.startswith(theirs) and _VIT.fullmatch(name.removeprefix(theirs)):
                return ours + name.removeprefix(theirs).replace("patch_embed.proj.", "patch_embed.")
        if re.fullmatch(r"att\.(to_q|to_k|to_v|proj)\.(weight|bias)", name):
            return name.replace("att.", "attention.", 1)
        if match := re.fullmatch(r"(student|teacher)\.head\.(mlp\.\d\.(?:weight|bias)|last_layer\.weight_v)", name):
            head = "head" if match[1] == "student" else "teacher_head"
            return f"{head}.{match[2].replace('last_layer.weight_v', 'last')}"
        return "centre" if name == "dino_loss_fn.center" else None
    if name == "mask_token":
        return name
    if not has_norm and name.startswith("fc_norm."):  # a pooled ViT: its norm is the encoder's
        name = name.removeprefix("fc_")
    return f"encoder.{name}".replace("patch_embed.proj.", "patch_embed.") if _VIT.fullmatch(name) else None


def _explain(name: str, tensor: Tensor, where: str) -> str:
    for pattern, reason in EXPLAINED.items():
        if re.fullmatch(pattern, name):
            return reason
    raise LoupeError(f"{where} holds an unexpected tensor {name} {tuple(tensor.shape)}: it is not one of the networks Loupe can read.")


def name_in(name: str, layout: str) -> str:
    """What `layout` calls a tensor of Loupe, the inverse of `_ours`; of Loupe's own, the name inside its part."""
    if layout == "loupe":
        return name.removeprefix("encoder.")
    if name.startswith("decoder."):
        return name.replace("decoder.", "decoder_", 1)
    convolution = re.sub(r"patch_embed\.(weight|bias)$", r"patch_embed.proj.\1", name)
    if layout != "micron-bert":
        return convolution.removeprefix("encoder.")
    for ours, theirs in (("encoder.", "backbone."), ("teacher_encoder.", "teacher.backbone."), ("attention.", "att."),
                         ("teacher_head.", "teacher.head."), ("head.", "student.head.")):  # fmt: skip
        if convolution.startswith(ours):
            return re.sub(r"head\.last$", "head.last_layer.weight_v", theirs + convolution.removeprefix(ours))
    return "dino_loss_fn.center" if name == "centre" else convolution


def _no_place(name: str, weights: Weights, layout: str) -> str | None:
    """Why a tensor of Loupe cannot go into `layout`; None where it can."""
    if name.startswith("encoder."):
        return None
    if layout in ("timm", "mae-face"):
        return f"layout {layout} holds the encoder alone"
    if name.startswith("decoder.") or name == "mask_token":
        same = weights.kind == layout and not (layout == "micron-bert" and name == "mask_token")
        return None if same else f"a decoder of {weights.kind} is not a decoder of {layout}"
    if layout == "micron-bert" and weights.kind == layout:
        if name.startswith("attention."):
            return None if "attention.proj.weight" in weights.tensors else "DMA of layout 'paper' has no counterpart in the released code"
        if name == "teacher_temp":
            return "the released code keeps the teacher's temperature outside its weights"
        if name == "centre" or name.startswith(("teacher_encoder.", "teacher_head.", "head.mlp.", "head.last")):
            return None
    return f"layout {layout} has no such part"
