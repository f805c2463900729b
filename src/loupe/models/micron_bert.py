"""Micron-BERT: micro-expressions from two frames, learnt without labels (arXiv 2304.03195).

The order of the paper, with its equation numbers. Loupe could read Eqs 8, 9 and 13 to 15 and the prose between them; what else is numbered
can be told by its place alone, and the exact number is unknown to us:

    embedding    z^i = alpha(p^i) + e(i), and a contextual token         within Eqs 1 to 7; loupe.models.vit.Encoder.embed
    swapping     I_{t/s} = where(m, I_{t+d}, I_t), m random blocks       within Eqs 1 to 7; swap_blocks, MicronBert.encode
    encoder      x' = x + MHA(LN x); x = x' + MLP(LN x')                 within Eqs 1 to 7; loupe.models.vit (timm's Block)
    DMA          Eq. 8 A = softmax(Q(P_r) K(P_s)^T)                      loupe.models.micro_attention, MicroAttention._diagonal
                 Eq. 9 P_dma = diag(A) V(P_s)                            MicroAttention.forward
    PoI          S, W = diag(A) S, P_dma = W V(P_s)                      within Eqs 10 to 12; MicroAttention.interest and forward
    decoder      restores the unswapped I_t                              within Eqs 10 to 12; MicronBert.decode
    losses       Eq. 13 L = gamma L_r + beta L_agg                       MicronBert.forward
                 Eq. 14 L_r = MSE(y'_t, I_t)                             MicronBert.reconstruction_loss
                 Eq. 15 L_agg = MSE(ct, ct of a crop)                    loupe.models.agreement

Where paper, released code (github uark-cviu/Micron-BERT @03cfb02) and Loupe differ:

    item              paper                           released code                       Loupe (default first)
    attention map     softmax(Q(P_r) K(P_s)^T),       query = swapped, key = reference,   layout="paper": Q(P_r), K(P_s), 1/sqrt(D);
                      no scale written                1/sqrt(D), output projection        layout="released": as released
    DMA weight        diag(A), at most 1              diag(A) if diag_att, else full A    L diag(A), mean about 1; scale="literal": diag(A);
                                                      (the public weights: full)          dma="diagonal" | "full" | "off"
    map as a picture  sign not stated                 1 - diag(A) / max of the batch:     a itself and max a - a, "inverted"
                                                      changed patches are low in A
    PoI               correlation of ct_r with each   absent                              L softmax(<LN ct_r, LN P_r>/sqrt(D)); poi=False;
                      patch, form not given                                               scale="literal": softmax of the plain product
    agreement         H(., .) in one section, MSE     DINO, 2 global + 8 local crops,     agreement="mse" | "dino" | "off"; one pair, frame
                      in Eq. 15                       loss on student and EMA teacher     (student) and crop (teacher)
    gamma, beta       not given                       1, 1                                gamma = 1, beta = 1
    swapped patches   blocks, share not given         left to an unreleased loader        blocks of swap_block^2 patches, share .5
    frame gap         "a short time"                  unreleased                          chosen by the data side, 1..fps/4
    mask token        none                            none                                none; corruption="mask" puts one in their place
    reconstruction    MSE to I_t                      MSE over all patches,               MSE over all patches; norm_pix optional
                                                      norm_pix optional (off)
    decoder's output  the frame                       the frame                           the frame; residual: added to the input I_{t/s}
    teacher at start  -                               drawn anew after copying            equal to the student
    teacher's heat    -                               .04 throughout                      .04 to .07 (DINO); layout="released": .04
    further losses    -                               two, defined but not used           none
    encoder, decoder  symmetric, sizes not given      512 wide, 4 + 4 blocks, patch 8     any size; the decoder as wide as the encoder
    pre-trained on    CAS(ME)3, all of it by count    public weights: CASME II, no DMA    clips of people who stand in no test fold
    feature           not given                       patch tokens of one frame           by place: loupe.models.micron_classifier; means
    fine-tuning       on labelled clips, form open    unreleased                          all weights; readout="dma" | "token" | "mean"
    poi_topk          -                               -                                   W for the k best patches only

`scale="literal"` is kept because it is what is printed: with L patches both factors are about 1/L, so W is about 1/L^2 and P_dma all but
vanishes. Row i of Eq. 8 asks with P_r(i) for K(P_s(i)): equal content answers itself, so a patch that changed is *low* on the diagonal.
That is what the algebra says where Q and K agree; the sign of a trained map is fixed on validation subjects, not here.

Shapes: B batch, L patches, D width. `swapped`: True = the patch is taken from I_{t+d}.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from loupe.errors import LoupeError
from loupe.models.agreement import MSE, NoAgreement, update_centre, update_teacher
from loupe.models.micro_attention import Micro, MicroAttention
from loupe.models.patches import normalise_patches, patchify, unpatchify
from loupe.models.vit import Decoder, Encoder, layer_groups


def swap_blocks(shape: tuple[int, int, int], ratio: float, block: int, generator: torch.Generator) -> Tensor:
    """Which patches to swap: (B, L) bool with exactly round(ratio L) True in every row (Python's round: half to even).

    shape = (B, rows, columns) of the patch grid. Whole block x block squares are taken in random order from a randomly shifted tiling;
    at most one of them is cut short to meet the count. Drawn on the generator's device.
    """
    batch, rows, columns = shape
    if not 0 <= ratio <= 1 or block < 1:
        raise LoupeError(f"swap_ratio {ratio} must lie in 0..1 and swap_block {block} must be at least 1.")
    device = generator.device
    down, right = rows // block + 2, columns // block + 2  # enough blocks for any shift
    shift = torch.randint(block, (2, batch, 1), generator=generator, device=device)
    block_row = (torch.arange(rows, device=device) + shift[0]) // block  # (B, rows)
    block_column = (torch.arange(columns, device=device) + shift[1]) // block  # (B, columns)
    block_of = (block_row[:, :, None] * right + block_column[:, None, :]).flatten(1)  # (B, L)
    rank = torch.rand(batch, down * right, generator=generator, device=device).argsort(dim=1).argsort(dim=1)
    order = rank.gather(1, block_of) + torch.rand(batch, rows * columns, generator=generator, device=device)  # within a block: random
    return order.argsort(dim=1).argsort(dim=1) < round(ratio * rows * columns)


@dataclass(frozen=True)
class MicronSwitches:
    """What the table above leaves open. dma, poi, poi_topk, scale, layout: as in MicroAttention, which checks them. beta: of Eq. 13.
    corruption: "swap", or "mask", the ordinary BERT way, as a rival. residual: the decoder adds to the pixels that came in, at first
    nothing: its error starts at what swapping changed."""

    swap_ratio: float = 0.5
    swap_block: int = 2
    corruption: str = "swap"
    dma: str = "diagonal"
    poi: bool = True
    poi_topk: int | None = None
    scale: str = "normalised"
    layout: str = "paper"
    beta: float = 1.0
    norm_pix: bool = False
    residual: bool = False

    def __post_init__(self) -> None:
        if self.corruption not in ("swap", "mask"):
            raise LoupeError(f"Unknown corruption '{self.corruption}'; choose swap or mask.")
        if self.residual and (self.norm_pix or self.layout == "released"):
            raise LoupeError(
                "residual adds to pixels as they are, which neither norm_pix nor layout 'released' restores: set residual=False."
            )


class MicronBert(nn.Module):
    """Pre-training on pairs of frames: restore I_t from patches swapped with I_{t+d}, guided by DMA and PoI.

    encoder: pre-trained or fresh; used, not copied. Decoder of the encoder's width. agreement: the contextual term of Eq. 13
    (`loupe.models.agreement`). Load weights into the encoder first: the teacher of `DinoAgreement` starts as its copy.
    """

    def __init__(
        self,
        encoder: Encoder,
        *,
        decoder_depth: int,
        decoder_heads: int,
        switches: MicronSwitches = MicronSwitches(),
        agreement: NoAgreement = MSE,
    ) -> None:
        super().__init__()
        attention = {name: getattr(switches, name) for name in ("dma", "poi", "poi_topk", "scale", "layout")}
        self.encoder = encoder
        self.attention = MicroAttention(encoder.width, **attention)
        self.decoder = Decoder(encoder, width=encoder.width, depth=decoder_depth, heads=decoder_heads)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, encoder.width)) if switches.corruption == "mask" else None
        self.swap_ratio, self.swap_block = switches.swap_ratio, switches.swap_block
        self.beta, self.norm_pix, self.residual = switches.beta, switches.norm_pix, switches.residual
        self.context, self.agreement = agreement, agreement.name
        self.context.add_to(self)
        self._init_own(None)

    def init_weights(self, generator: torch.Generator | None = None) -> None:
        """Draw every weight anew, the encoder's included; the teacher starts equal to the student, the centre at zero."""
        for part in (self.encoder, self.attention, self.decoder):
            part.init_weights(generator)
        self._init_own(generator)
        self.context.init_weights(self, generator)

    def _init_own(self, generator: torch.Generator | None) -> None:
        if self.mask_token is not None:
            nn.init.normal_(self.mask_token, std=0.02, generator=generator)
        if self.residual:  # untrained, the network hands on what came in
            nn.init.zeros_(self.decoder.pred.weight)
            nn.init.zeros_(self.decoder.pred.bias)

    def draw_swaps(self, batch: int, generator: torch.Generator) -> Tensor:
        """The `swapped` argument of `forward` for this model's grid, ratio and block."""
        return swap_blocks((batch, *self.encoder.grid), self.swap_ratio, self.swap_block, generator)

    def forward(self, frame_t: Tensor, frame_td: Tensor, crop_td: Tensor, swapped: Tensor) -> dict[str, Tensor]:
        """I_t, I_{t+d}, a crop of I_{t+d} resized to the same size (B, C, H, W each), swapped (B, L) bool -> losses and maps.

        loss, reconstruction, agreement, ct_std are (); pred (B, L, P*P*C); dma, poi (B, L) where they exist; teacher (B, K) with `dino`,
        for `update_teacher`. ct_std, the standard deviation of the contextual token over the batch, is the canary: near 0 = collapse.
        """
        tokens_s, tokens_r = self.encode(frame_t, frame_td, swapped)
        ct = tokens_r[:, 0]
        micro = self.attention(tokens_s[:, 1:], tokens_r[:, 1:], ct)
        pred = self.decode(micro.tokens, frame_t, frame_td, swapped)
        reconstruction = self.reconstruction_loss(pred, frame_t)
        out = {"reconstruction": reconstruction, "pred": pred, "ct_std": ct.detach().float().std(dim=0, correction=0).mean()}
        out |= self.context.agreement(self, ct, crop_td)  # Eq. 15, or DINO
        out["loss"] = reconstruction + self.beta * out["agreement"]  # Eq. 13 with gamma = 1
        for name, value in (("dma", micro.dma), ("poi", micro.poi)):
            if value is not None:
                out[name] = value.detach()
        return out

    def encode(self, frame_t: Tensor, frame_td: Tensor, swapped: Tensor) -> tuple[Tensor, Tensor]:
        """P_s = enc(I_{t/s}) and P_r = enc(I_{t+d}), each (B, 1 + L, D) behind its contextual token.

        The embedding works patch by patch, so swapping embedded patches is swapping pixels.
        """
        kept, reference = self.encoder.embed(frame_t), self.encoder.embed(frame_td)
        other = reference if self.mask_token is None else self.mask_token.to(kept.dtype) + self.encoder.pos_embed[:, 1:]
        corrupted = torch.where(swapped[..., None], other, kept)
        return self.encoder.forward_tokens(torch.cat([corrupted, reference])).chunk(2)

    def decode(self, tokens: Tensor, frame_t: Tensor, frame_td: Tensor, swapped: Tensor) -> Tensor:
        """P_dma (B, L, D) -> pixels of I_t (B, L, P*P*C): the decoder adds positions and mirrors the encoder.

        With `residual` what it says is added to the pixels of I_{t/s}, of which hidden patches (corruption "mask") have none.
        """
        pred = self.decoder(self.decoder.embed(tokens))
        if not self.residual:
            return pred
        kept, other = (patchify(frame, self.encoder.patch_size) for frame in (frame_t, frame_td))
        return pred + torch.where(swapped[..., None], other if self.mask_token is None else torch.zeros_like(other), kept)

    def reconstruction_loss(self, pred: Tensor, frame_t: Tensor) -> Tensor:
        """Eq. 14: L_r = MSE(y'_t, I_t) over all patches, in float32."""
        target = patchify(frame_t, self.encoder.patch_size).float()
        if self.norm_pix:
            target = normalise_patches(target)[0]
        return F.mse_loss(pred.float(), target)

    def update_teacher(self, teacher: Tensor, momentum: float, temperature: float | None = None) -> None:
        """After the optimiser's step, with forward's `teacher` output: the EMA teacher follows, then the centre. `dino` only.

        temperature: the teacher's at the next step (None: as it is); see `dino_schedules`.
        """
        update_teacher(self.teacher_encoder, self.encoder, momentum)
        update_teacher(self.teacher_head, self.head, momentum)
        update_centre(self.centre, teacher, self.centre_momentum)
        if temperature is not None:
            self.teacher_temp.fill_(temperature)

    @torch.no_grad()
    def reconstruct(self, frame_t: Tensor, frame_td: Tensor, swapped: Tensor) -> Tensor:
        """The restored I_t (B, C, H, W); with norm_pix on each true patch's mean and deviation."""
        tokens_s, tokens_r = self.encode(frame_t, frame_td, swapped)
        tokens = self.attention(tokens_s[:, 1:], tokens_r[:, 1:], tokens_r[:, 0]).tokens
        pred = self.decode(tokens, frame_t, frame_td, swapped).float()
        if self.norm_pix:
            _, mean, deviation = normalise_patches(patchify(frame_t, self.encoder.patch_size).float())
            pred = pred * deviation + mean
        return unpatchify(pred, self.encoder.patch_size, self.encoder.grid)

    def features(self, onset: Tensor, apex: Tensor) -> Tensor:
        """Two frames -> (B, 2D): [mean P_dma; ct_apex - ct_onset]; nothing swapped, t = onset, t + d = apex."""
        return pair_features(self.encoder, self.attention, onset, apex)

    def features_single(self, image: Tensor) -> Tensor:
        """One frame -> (B, 2D): [mean patch token; ct]; no attention between frames, as the released extract_features."""
        tokens = self.encoder(image)
        return torch.cat([tokens[:, 1:].mean(dim=1), tokens[:, 0]], dim=-1)

    @torch.no_grad()
    def maps(self, onset: Tensor, apex: Tensor) -> dict[str, Tensor | None]:
        """dma (B, L), poi (B, L) and weight W = a s (B, L) of two frames; None for a part that is switched off."""
        micro, _ = attend_pair(self.encoder, self.attention, onset, apex)
        factors = [value for value in (micro.dma, micro.poi) if value is not None]
        weight = torch.stack(factors).prod(dim=0) if factors else None
        return {"dma": micro.dma, "poi": micro.poi, "weight": weight}

    def no_weight_decay(self) -> set[str]:
        return {"encoder.cls_token", "mask_token"}

    def group_matcher(self, coarse: bool = False) -> dict:
        return layer_groups("encoder.", coarse)


def attend_pair(encoder: Encoder, attention: MicroAttention, onset: Tensor, apex: Tensor) -> tuple[Micro, Tensor]:
    """DMA and PoI at inference (r = 0), and the change of the contextual token, ct_apex - ct_onset (B, D)."""
    tokens_s, tokens_r = encoder(torch.cat([onset, apex])).chunk(2)
    return attention(tokens_s[:, 1:], tokens_r[:, 1:], tokens_r[:, 0]), tokens_r[:, 0] - tokens_s[:, 0]


def pair_features(encoder: Encoder, attention: MicroAttention, onset: Tensor, apex: Tensor) -> Tensor:
    """(B, 2D): [mean P_dma; ct_apex - ct_onset]."""
    micro, change = attend_pair(encoder, attention, onset, apex)
    return torch.cat([micro.mean(), change.to(micro.tokens.dtype)], dim=-1)
