"""The Vision Transformer under all models: encoder, decoder, sizes (arXiv 2010.11929 as MAE uses it, arXiv 2111.06377).

Shapes: B batch, L patches, D width, P*P*C pixels of a patch. Blocks are timm's; LayerNorm has eps 1e-6 throughout.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from timm.models import vision_transformer
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from loupe.errors import LoupeError
from loupe.models.patches import patchify, sincos_positions

Norm = partial(nn.LayerNorm, eps=1e-6)
CHANNELS = 3  # of an image


@dataclass(frozen=True)
class ViTSize:
    """One dial for the size of a model: the encoder and the decoder that goes with it."""

    width: int
    depth: int
    heads: int
    decoder_width: int
    decoder_depth: int
    decoder_heads: int


# nano is for tests and the smoke scale, tiny and small for two CPU cores (32 channels a head), base and large are the published
# ViT-B and ViT-L (64 channels a head) with MAE's decoder "dec512d8b".
SIZES: dict[str, ViTSize] = {
    "nano": ViTSize(64, 2, 2, 32, 1, 2),
    "tiny": ViTSize(128, 6, 4, 64, 2, 2),
    "small": ViTSize(192, 6, 6, 96, 2, 3),
    "medium": ViTSize(256, 8, 8, 128, 2, 4),
    "base": ViTSize(768, 12, 12, 512, 8, 16),
    "large": ViTSize(1024, 24, 16, 512, 8, 16),
}


class Block(vision_transformer.Block):
    """timm's pre-norm block x' = x + MHA(LN x); x = x' + MLP(LN x'), which may give its last tokens only, as the last block of a decoder
    does: attention mixes tokens, but the MLP takes each by itself, so those that nobody reads need none."""

    def forward(self, tokens: Tensor, last: int | None = None) -> Tensor:
        """Tokens (B, n, D) of tokens (B, n, D), or the last `last` of them (B, last, D)."""
        tokens = tokens + self.drop_path1(self.ls1(self.attn(self.norm1(tokens))))
        if last is not None:
            tokens = tokens[:, -last:]
        return tokens + self.drop_path2(self.ls2(self.mlp(self.norm2(tokens))))


class Encoder(nn.Module):
    """A ViT encoder: linear patch embedding, class token, fixed sine-cosine positions, pre-norm blocks, final norm.

    The class token is the *contextual token* of Micron-BERT. The patch embedding is a Linear on patchified pixels: the same
    map as MAE's strided convolution (`loupe.models.layouts` converts the weights exactly), without its memory-format traps.

    image_size, patch_size: pixels; drop_path: stochastic depth of the last block, growing linearly from 0 at the first.
    Set `checkpoint_blocks` to trade a second forward pass of every block for its activations (for base and large); a decoder built
    afterwards does as its encoder. Raises LoupeError where the sizes do not divide.
    """

    checkpoint_blocks = False

    def __init__(
        self, *, image_size: int, patch_size: int, width: int, depth: int, heads: int, mlp_ratio: float = 4.0, drop_path: float = 0.0
    ) -> None:
        super().__init__()
        if image_size % patch_size:
            raise LoupeError(f"image_size {image_size} is not a multiple of patch_size {patch_size}; choose one that is.")
        if width % heads or width % 4:
            raise LoupeError(f"width {width} must be a multiple of heads ({heads}) and of 4; choose one that is.")
        self.image_size, self.patch_size, self.width, self.depth, self.heads = image_size, patch_size, width, depth, heads
        self.mlp_ratio = mlp_ratio
        self.grid = (image_size // patch_size, image_size // patch_size)
        self.patches = self.grid[0] * self.grid[1]
        self.patch_embed = nn.Linear(patch_size * patch_size * CHANNELS, width)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.register_buffer("pos_embed", torch.zeros(1, 1 + self.patches, width))  # fixed; stored, so foreign tables survive
        self.blocks = transformer_blocks(width, depth, heads, mlp_ratio, drop_path)
        self.norm = Norm(width)
        self.init_weights()

    def init_weights(self, generator: torch.Generator | None = None) -> None:
        """Draw all weights as MAE does: Xavier-uniform linear maps, zero biases, class token N(0, .02)."""
        init_linear_and_norm(self, generator)
        nn.init.normal_(self.cls_token, std=0.02, generator=generator)
        with torch.no_grad():
            self.pos_embed.copy_(sincos_positions(self.width, self.grid, self.pos_embed.device))

    def patchify(self, images: Tensor) -> Tensor:
        """Patches (B, L, P*P*C) of images (B, C, H, W). Raises LoupeError where the images are of another size than the encoder's."""
        expected = (CHANNELS, self.image_size, self.image_size)
        if images.shape[1:] != expected:
            raise LoupeError(f"The encoder takes images of {expected}, not {tuple(images.shape[1:])}; resize them or set image_size.")
        return patchify(images, self.patch_size)

    def embed_patches(self, patches: Tensor, places: Tensor | None = None) -> Tensor:
        """Tokens with their positions (B, n, D) of patches (B, n, P*P*C) that stand at `places` (B, n), or of all patches in order."""
        positions = self.pos_embed[:, 1:] if places is None else F.embedding(places, self.pos_embed[0, 1:])
        return self.patch_embed(patches) + positions

    def embed(self, images: Tensor) -> Tensor:
        """Patch tokens with their positions (B, L, D) of images (B, C, H, W)."""
        return self.embed_patches(self.patchify(images))

    def with_class_token(self, tokens: Tensor) -> Tensor:
        """(B, K, D) patch tokens -> (B, 1 + K, D), the class token first."""
        first = (self.cls_token + self.pos_embed[:, :1]).expand(len(tokens), -1, -1)
        return torch.cat([first.to(tokens.dtype), tokens], dim=1)

    def run_blocks(self, tokens: Tensor, start: int = 0, stop: int | None = None) -> Tensor:
        """Apply blocks `start` to `stop` (exclusive) to tokens (B, n, D); no final norm."""
        return run_blocks(self.blocks, tokens, start, stop, checkpointed=self.checkpoint_blocks and self.training)

    def forward_tokens(self, tokens: Tensor) -> Tensor:
        """Class token, all blocks and the final norm on embedded patches: (B, K, D) -> (B, 1 + K, D)."""
        return self.norm(self.run_blocks(self.with_class_token(tokens)))

    def forward_features(self, images: Tensor) -> Tensor:
        """Tokens after the final norm (B, 1 + L, D) of images (B, C, H, W); row 0 is the class token."""
        return self.forward_tokens(self.embed(images))

    def pooled(self, images: Tensor) -> Tensor:
        """One feature an image (B, D): the mean of the patch tokens, then the norm (MAE-Face's `global_pool`)."""
        tokens = self.run_blocks(self.with_class_token(self.embed(images)))
        return self.norm(tokens[:, 1:].mean(dim=1))

    def forward(self, images: Tensor) -> Tensor:
        return self.forward_features(images)

    def no_weight_decay(self) -> set[str]:
        """Names of parameters that are never decayed (timm's convention)."""
        return {"cls_token"}

    def group_matcher(self, coarse: bool = False) -> dict:
        """timm's convention for layer-wise learning rates: the stem, then one group a block, then all else."""
        return layer_groups("", coarse)


class Decoder(nn.Module):
    """The decoder of MAE, which Micron-BERT shares: embed, add positions, blocks, norm, one linear map to pixels.

    Its blocks are checkpointed where the encoder's are.
    """

    def __init__(self, encoder: Encoder, *, width: int, depth: int, heads: int) -> None:
        super().__init__()
        if width % heads or width % 4:
            raise LoupeError(f"decoder width {width} must be a multiple of its heads ({heads}) and of 4; choose one that is.")
        self.grid, self.width = encoder.grid, width
        self.checkpoint_blocks = encoder.checkpoint_blocks
        self.embed = nn.Linear(encoder.width, width)
        self.register_buffer("pos_embed", torch.zeros(1, 1 + encoder.patches, width))
        self.blocks = transformer_blocks(width, depth, heads, encoder.mlp_ratio, 0.0)
        self.norm = Norm(width)
        self.pred = nn.Linear(width, encoder.patch_size**2 * CHANNELS)
        self.init_weights()

    def init_weights(self, generator: torch.Generator | None = None) -> None:
        init_linear_and_norm(self, generator)
        with torch.no_grad():
            self.pos_embed.copy_(sincos_positions(self.width, self.grid, self.pos_embed.device))

    def forward(self, tokens: Tensor) -> Tensor:
        """Pixels (B, L, P*P*C) of tokens (B, L, D) of the decoder's width, in the order of the patches."""
        return self.pixels(tokens + self.pos_embed[:, 1:])

    def pixels(self, tokens: Tensor, last: int | None = None) -> Tensor:
        """Pixels of tokens (B, n, D) that have their positions, or of the last `last` of them."""
        return self.pred(self.norm(run_blocks(self.blocks, tokens, checkpointed=self.checkpoint_blocks and self.training, last=last)))


def transformer_blocks(width: int, depth: int, heads: int, mlp_ratio: float, drop_path: float) -> nn.ModuleList:
    """`depth` pre-norm blocks x' = x + MHA(LN x); x = x' + MLP(LN x'), stochastic depth growing from 0 to `drop_path`."""
    rates = [drop_path * index / max(depth - 1, 1) for index in range(depth)]
    return nn.ModuleList(Block(width, heads, mlp_ratio, qkv_bias=True, norm_layer=Norm, drop_path=rate) for rate in rates)


def run_blocks(
    blocks: nn.ModuleList, tokens: Tensor, start: int = 0, stop: int | None = None, *, checkpointed: bool, last: int | None = None
) -> Tensor:
    """Apply blocks `start` to `stop` (exclusive); `checkpointed` recomputes each in the backward pass; `last`: only so many tokens, from
    the end."""
    stop = len(blocks) if stop is None else stop
    for index in range(start, stop):
        wanted = last if index == stop - 1 else None
        if checkpointed and torch.is_grad_enabled():
            tokens = checkpoint(blocks[index], tokens, wanted, use_reentrant=False)
        else:
            tokens = blocks[index](tokens, wanted)
    return tokens


def init_linear_and_norm(module: nn.Module, generator: torch.Generator | None = None) -> None:
    """Xavier-uniform weights and zero biases for every Linear, identity for every LayerNorm inside `module`."""
    for part in module.modules():
        if isinstance(part, nn.Linear):
            nn.init.xavier_uniform_(part.weight, generator=generator)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
        elif isinstance(part, nn.LayerNorm) and part.elementwise_affine:
            nn.init.ones_(part.weight)
            nn.init.zeros_(part.bias)


def layer_groups(prefix: str, coarse: bool, copies: str | None = None) -> dict:
    """The group_matcher of a model whose encoder's names start with `prefix`.

    The stem, one group a block; all else (final norm, heads, fusion) matches nothing, which timm puts last, at the full rate, as MAE does.
    copies: a list of copied blocks elsewhere in the model; each stands at the depth of its original.
    """
    encoder = prefix.replace(".", r"\.")
    stem = rf"^{encoder}(?:cls_token|patch_embed)"  # timm takes capturing groups for layer numbers
    blocks = rf"^(?:{encoder}blocks|{copies})\.(\d+)" if copies else rf"^{encoder}blocks\.(\d+)"
    return {"stem": stem, "blocks": blocks if coarse else [(blocks, None)]}
