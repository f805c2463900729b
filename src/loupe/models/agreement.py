"""Contextual agreement of Micron-BERT: the contextual token of a frame agrees with that of a crop of it (arXiv 2304.03195).

The paper prints two forms: H(p_ct, p_ct_crop), a cross-entropy as in DINO (arXiv 2104.14294), in its PoI section, and the mean
squared error of Eq. 15 in its loss section. The released code has DINO. Both are here, each a part that a `MicronBert` is built with. A
part has no tensors: the model holds them, under the names that they have in checkpoints.

Nothing in this file talks to other processes inside a forward pass, so DDP and torch.compile are safe; the one collective, in
`update_centre`, is guarded by `dist.is_initialized()`.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F

from loupe.errors import LoupeError

if TYPE_CHECKING:
    from loupe.models.micron_bert import MicronBert

FIRST_TEMPERATURE = 0.04  # of the teacher: DINO's start, and the released code's value throughout


def dino_schedules(steps: int, *, constant_temperature: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """The teacher's momentum and temperature at each of `steps` steps.

    Momentum rises to 1 along half a cosine, from the decay that the released checkpoint stores (.997). Temperature warms up from .04 to .07
    over the first 30 % (DINO, section 3 and its ablation); `constant_temperature`: .04 throughout, as released.
    """
    momentum = 1 - (1 - 0.997) * 0.5 * (1 + np.cos(np.pi * np.arange(steps) / max(steps - 1, 1)))
    if constant_temperature:
        return momentum, np.full(steps, FIRST_TEMPERATURE)
    return momentum, np.interp(np.arange(steps), [0, max(0.3 * steps, 1)], [FIRST_TEMPERATURE, 0.07])


def mse_agreement(ct: Tensor, ct_crop: Tensor) -> Tensor:
    """Eq. 15: L_agg = MSE(ct_{t+d}, ct_{t+d/crop}), no gradient into the crop's token. Both (B, D); returns ()."""
    return F.mse_loss(ct.float(), ct_crop.detach().float())


def dino_agreement(student: Tensor, teacher: Tensor, centre: Tensor, student_temp: float, teacher_temp: Tensor) -> Tensor:
    """H(p_ct, p_ct_crop): cross-entropy of the student's distribution under the teacher's, centred and sharpened (DINO, Eq. 1-3).

    student, teacher: logits (B, K); centre (K). No gradient into the teacher. Returns ().
    """
    target = ((teacher.detach().float() - centre) / teacher_temp).softmax(dim=-1)
    return -(target * (student.float() / student_temp).log_softmax(dim=-1)).sum(dim=-1).mean()


@torch.no_grad()
def update_centre(centre: Tensor, teacher: Tensor, momentum: float) -> None:
    """centre <- m centre + (1 - m) mean of the teacher's logits (B, K) over the batch and over all processes; in place (DINO, Eq. 4)."""
    mean = teacher.detach().float().mean(dim=0)
    if dist.is_available() and dist.is_initialized():
        dist.all_reduce(mean)
        mean /= dist.get_world_size()
    centre.lerp_(mean, 1 - momentum)


@torch.no_grad()
def update_teacher(teacher: nn.Module, student: nn.Module, momentum: float) -> None:
    """teacher <- m teacher + (1 - m) student, parameter by parameter; in place."""
    torch._foreach_lerp_(list(teacher.parameters()), list(student.parameters()), 1 - momentum)


class DinoHead(nn.Module):
    """DINO's projection: three linear layers with GELU, L2 normalisation, and a last layer of unit rows (B, D) -> (B, K).

    The released code writes the last layer as a weight-normed Linear with its gain frozen at 1; dividing each row by its own length
    is the same map with one tensor fewer.
    """

    def __init__(self, width: int, *, hidden: int = 2048, bottleneck: int = 256, out: int = 128) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, hidden), nn.GELU(), nn.Linear(hidden, bottleneck)
        )  # fmt: skip
        self.last = nn.Parameter(torch.empty(out, bottleneck))
        self.init_weights()

    def init_weights(self, generator: torch.Generator | None = None) -> None:
        for part in self.mlp:
            if isinstance(part, nn.Linear):
                nn.init.trunc_normal_(part.weight, std=0.02, generator=generator)
                nn.init.zeros_(part.bias)
        nn.init.normal_(self.last, generator=generator)

    def forward(self, tokens: Tensor) -> Tensor:
        return F.linear(F.normalize(self.mlp(tokens), dim=-1), F.normalize(self.last, dim=-1))


@dataclass(frozen=True)
class NoAgreement:
    """Without the second term of Eq. 13; the interface of the two others."""

    name: ClassVar[str] = "off"

    def add_to(self, model: MicronBert) -> None:
        """Give the model the modules and buffers that the part needs."""

    def init_weights(self, model: MicronBert, generator: torch.Generator | None = None) -> None:
        """Draw them anew."""

    def agreement(self, model: MicronBert, ct: Tensor, crop: Tensor) -> dict[str, Tensor]:
        """`agreement` () of the contextual tokens (B, D) with those of crops (B, C, H, W), and what `MicronBert.update_teacher` wants."""
        return {"agreement": torch.zeros((), device=ct.device)}


@dataclass(frozen=True)
class MseAgreement(NoAgreement):
    """Eq. 15: the crop goes through the encoder itself, without gradient."""

    name: ClassVar[str] = "mse"

    def agreement(self, model: MicronBert, ct: Tensor, crop: Tensor) -> dict[str, Tensor]:
        with torch.no_grad():
            ct_crop = model.encoder(crop)[:, 0]
        return {"agreement": mse_agreement(ct, ct_crop)}


MSE = MseAgreement()


@dataclass(frozen=True)
class DinoAgreement(NoAgreement):
    """DINO: the crop goes through a teacher, a moving average of encoder and head. hidden, bottleneck, out: sizes of the heads."""

    name: ClassVar[str] = "dino"
    hidden: int = 2048
    bottleneck: int = 256
    out: int = 128
    student_temp: float = 0.1
    centre_momentum: float = 0.9

    def add_to(self, model: MicronBert) -> None:
        """The teacher starts as a copy of the student."""
        model.student_temp, model.centre_momentum = self.student_temp, self.centre_momentum
        model.head = DinoHead(model.encoder.width, hidden=self.hidden, bottleneck=self.bottleneck, out=self.out)
        model.teacher_encoder = copy.deepcopy(model.encoder).requires_grad_(False)
        model.teacher_head = copy.deepcopy(model.head).requires_grad_(False)
        model.register_buffer("centre", torch.zeros(self.out))
        model.register_buffer("teacher_temp", torch.tensor(FIRST_TEMPERATURE))  # follows a schedule; stored, so that a run resumes

    def init_weights(self, model: MicronBert, generator: torch.Generator | None = None) -> None:
        model.head.init_weights(generator)
        model.teacher_encoder.load_state_dict(model.encoder.state_dict())
        model.teacher_head.load_state_dict(model.head.state_dict())
        model.centre.zero_()
        model.teacher_temp.fill_(FIRST_TEMPERATURE)

    def agreement(self, model: MicronBert, ct: Tensor, crop: Tensor) -> dict[str, Tensor]:
        with torch.no_grad():
            teacher = model.teacher_head(model.teacher_encoder(crop)[:, 0])
        agreement = dino_agreement(model.head(ct), teacher, model.centre, model.student_temp, model.teacher_temp)
        return {"agreement": agreement, "teacher": teacher}


def agreement_named(name: str) -> NoAgreement:
    """The part with its published constants. Raises LoupeError for another name than mse, dino or off."""
    for part in (MseAgreement, DinoAgreement, NoAgreement):
        if part.name == name:
            return part()
    raise LoupeError(f"Unknown agreement '{name}'; choose mse, dino or off.")
