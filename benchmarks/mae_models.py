"""The same masked autoencoder three times: ours, Hugging Face transformers', lightly's. Equal sizes, equal target, equal optimiser."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from loupe.errors import LoupeError
from loupe.models.mae import MaskedAutoencoder
from loupe.models.vit import Encoder


@dataclass(frozen=True)
class Shape:
    """Sizes of a masked autoencoder and of a batch."""

    image: int
    patch: int
    width: int
    depth: int
    heads: int
    decoder_width: int
    decoder_depth: int
    decoder_heads: int
    batch: int
    mask_ratio: float = 0.75

    @property
    def patches(self) -> int:
        return (self.image // self.patch) ** 2


def ours(shape: Shape) -> nn.Module:
    """`loupe.models.mae`; draws its masks from torch's stream here, as the peers do."""

    class Ours(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            encoder = Encoder(image_size=shape.image, patch_size=shape.patch, width=shape.width, depth=shape.depth, heads=shape.heads)
            self.mae = MaskedAutoencoder(
                encoder,
                decoder_width=shape.decoder_width,
                decoder_depth=shape.decoder_depth,
                decoder_heads=shape.decoder_heads,
                mask_ratio=shape.mask_ratio,
            )

        def forward(self, images: Tensor) -> Tensor:
            return self.mae(images, torch.rand(len(images), shape.patches, device=images.device))["loss"]

    return Ours()


def transformers_mae(shape: Shape) -> nn.Module:
    """`transformers.ViTMAEForPreTraining` with `norm_pix_loss` and the attention that it chooses itself. Raises ImportError where
    transformers is not installed."""
    from transformers import ViTMAEConfig, ViTMAEForPreTraining

    class Transformers(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            config = ViTMAEConfig(
                image_size=shape.image,
                patch_size=shape.patch,
                hidden_size=shape.width,
                num_hidden_layers=shape.depth,
                num_attention_heads=shape.heads,
                intermediate_size=4 * shape.width,
                decoder_hidden_size=shape.decoder_width,
                decoder_num_hidden_layers=shape.decoder_depth,
                decoder_num_attention_heads=shape.decoder_heads,
                decoder_intermediate_size=4 * shape.decoder_width,
                mask_ratio=shape.mask_ratio,
                norm_pix_loss=True,
            )
            self.mae = ViTMAEForPreTraining(config)

        def forward(self, images: Tensor) -> Tensor:
            return self.mae(pixel_values=images).loss

    return Transformers()


def lightly_mae(shape: Shape) -> nn.Module:
    """lightly's timm modules, put together as its MAE example does, with the normalised target. Raises ImportError where lightly is
    missing."""
    from lightly.models import utils
    from lightly.models.modules import MAEDecoderTIMM, MaskedVisionTransformerTIMM
    from timm.models.vision_transformer import VisionTransformer

    class Lightly(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            vit = VisionTransformer(
                img_size=shape.image, patch_size=shape.patch, embed_dim=shape.width, depth=shape.depth, num_heads=shape.heads, num_classes=0
            )
            self.backbone = MaskedVisionTransformerTIMM(vit=vit)
            self.decoder = MAEDecoderTIMM(
                num_patches=shape.patches,
                patch_size=shape.patch,
                embed_dim=shape.width,
                decoder_embed_dim=shape.decoder_width,
                decoder_depth=shape.decoder_depth,
                decoder_num_heads=shape.decoder_heads,
                mlp_ratio=4.0,
                proj_drop_rate=0.0,
                attn_drop_rate=0.0,
            )

        def forward(self, images: Tensor) -> Tensor:
            length = self.backbone.sequence_length
            kept, hidden = utils.random_token_mask(size=(len(images), length), mask_ratio=shape.mask_ratio, device=images.device)
            encoded = self.decoder.embed(self.backbone.encode(images=images, idx_keep=kept))
            tokens = utils.repeat_token(self.decoder.mask_token, (len(images), length))
            decoded = self.decoder.decode(utils.set_at_index(tokens, kept, encoded.type_as(tokens)))
            predicted = self.decoder.predict(utils.get_at_index(decoded, hidden))
            target = utils.get_at_index(utils.patchify(images, shape.patch), hidden - 1)
            return nn.functional.mse_loss(predicted.float(), utils.normalize_mean_var(target.float(), dim=-1))

    return Lightly()


PEERS: dict[str, Callable[[Shape], nn.Module]] = {"loupe": ours, "transformers": transformers_mae, "lightly": lightly_mae}


def build_all(shape: Shape, device: torch.device) -> tuple[dict[str, nn.Module], dict[str, str]]:
    """Models by name, and why a missing one is missing. Raises LoupeError where equal sizes do not give equal parameters, within 3 %."""
    models, missing = {}, {}
    for name, build in PEERS.items():
        torch.manual_seed(0)
        try:
            models[name] = build(shape).to(device).train()
        except ImportError as error:
            missing[name] = f"not installed ({error})"
    sizes = {name: sum(p.numel() for p in model.parameters() if p.requires_grad) for name, model in models.items()}
    if max(sizes.values()) > 1.03 * min(sizes.values()):
        raise LoupeError(f"The models to compare are not of one size ({sizes} parameters): this version of a peer counts sizes otherwise.")
    return models, missing


def training_step(model: nn.Module, device: torch.device, precision: str, compiled: bool = False) -> Callable[[Tensor], None]:
    """Forward, backward, clip, AdamW (fused) for one batch of normalised images; the same for all models.

    Weights are fp32; `bf16` is autocast around the forward pass, as accelerate and the peers' own scripts do. `compiled`: by torch.compile.
    """
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.9, 0.95), weight_decay=0.05, fused=True)
    parameters = list(model.parameters())
    forward = torch.compile(model, dynamic=False) if compiled else model

    def step(images: Tensor) -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
            loss = forward(images)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step
