"""Small models and inputs shared by the model tests."""

import sys
from pathlib import Path

import pytest
import torch

from loupe.models.vit import Encoder

sys.path.insert(0, str(Path(__file__).parent))  # for model_oracles, the slow versions that several test files share


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture
def nano():
    """Build a nano encoder (32 px, patch 8, 16 patches) from a seed; options override."""

    def build(seed: int = 0, **options) -> Encoder:
        torch.manual_seed(seed)
        return Encoder(**dict(image_size=32, patch_size=8, width=32, depth=2, heads=2) | options)

    return build


@pytest.fixture
def images():
    """Draw images (n, 3, side, side) from a seed."""

    def draw(n: int = 3, seed: int = 1, side: int = 32) -> torch.Tensor:
        return torch.randn(n, 3, side, side, generator=torch.Generator().manual_seed(seed))

    return draw
