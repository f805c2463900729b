"""The torch renderer against the numba one: the same triangles at the same pixels, the same pictures within a stated error."""

import numpy as np
import pytest
import torch

from loupe.faces.raster import CULL_BACK, TWO_SIDED, Buffers
from loupe.faces.sensor import tone
from loupe.faces.subject import Studio, render_still, still_scene
from loupe.faces.torch_path.raster import rasterise
from loupe.faces.torch_path.renderer import TorchRenderer

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


@pytest.mark.parametrize("device", DEVICES)
def test_random_triangles_land_on_the_same_pixels(device):
    rng = np.random.default_rng(0)
    x, y = (rng.uniform(-5, 45, 300).astype(np.float32) for _ in range(2))
    inverse = rng.uniform(0.05, 0.2, 300).astype(np.float32)
    triangles = rng.integers(0, 300, (400, 3))
    sides = rng.choice((CULL_BACK, TWO_SIDED), 400).astype(np.int8)
    numba = Buffers(30, 40)
    numba.draw(x, y, inverse, triangles, sides)
    to = lambda values: torch.as_tensor(values, device=device)  # noqa: E731
    hits = rasterise(to(x), to(y), to(inverse), to(triangles), to(sides == TWO_SIDED), 30, 40)
    index = np.full(30 * 40, -1)
    index[hits.pixel.cpu()] = hits.triangle.cpu()
    assert np.array_equal(index.reshape(30, 40), numba.index) and (index >= 0).sum() > 500
    assert np.allclose(hits.depth.cpu(), numba.depth, atol=1e-6)
    seen = numba.index.ravel() >= 0
    assert np.allclose(hits.weights[:, 1].cpu(), numba.second.ravel()[seen], atol=1e-4)
    assert np.allclose(hits.weights[:, 2].cpu(), numba.third.ravel()[seen], atol=1e-4)


def test_of_equally_near_triangles_the_first_is_seen():
    x, y = torch.tensor([0.0, 0.0, 8.0]), torch.tensor([0.0, 8.0, 0.0])
    hits = rasterise(x, y, torch.full((3,), 0.1), torch.tensor([[0, 1, 2], [0, 1, 2]]), torch.zeros(2, dtype=torch.bool), 8, 8)
    assert len(hits.pixel) and (hits.triangle == 0).all() and hits.pixel.diff().min() > 0
    behind = rasterise(x, y, torch.full((3,), 0.1), torch.tensor([[0, 2, 1]]), torch.zeros(1, dtype=torch.bool), 8, 8)
    assert not len(behind.pixel) and not behind.depth.any()


@pytest.mark.parametrize("device", DEVICES)
def test_pictures_equal_the_numba_renderers(studio, device):
    """Worn things, long hair, open mouths and the second camera included: mean and tail of the error as the renderer's docstring states."""
    other = Studio(studio.head, TorchRenderer(studio.head, 32, device))
    errors, kinds = [], set()
    for person in range(3):
        for still, label in enumerate(("Neutral", "Disgust", "Happiness", "Surprise", "Fear", "Other")):
            scene = still_scene(studio, 11, "train", person, still, label)
            ours, theirs = (
                room.renderer.draw(scene.who, scene.au, scene.view, scene.light, scene.background, scene.occluder)[0]
                for room in (studio, other)
            )
            errors.append(np.abs(tone(ours) - tone(theirs)) * 255)
            kinds |= {scene.occluder.kind, scene.who.style}
    errors = np.stack(errors)
    assert {"glasses", "mask", "long"} & kinds
    assert errors.mean() < 1e-3 and (errors > 1).mean() < 1e-4
    image, row = render_still(other, 11, "train", 0, 1, "Disgust", camera=1)
    same, same_row = render_still(studio, 11, "train", 0, 1, "Disgust", camera=1)
    assert np.abs(image.astype(int) - same).mean() < 0.1 and np.array_equal(row["landmarks"], same_row["landmarks"])
