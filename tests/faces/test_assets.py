"""Head data: damage and other versions are told, the baked cache is only a cache."""

import shutil

import numpy as np
import pytest

from loupe.errors import LoupeError
from loupe.faces import assets
from loupe.faces.subdivide import catmull_clark


def test_the_installed_data_is_the_pinned_one():
    assets.verify(assets.locate())


def test_one_flipped_byte_is_caught(tmp_path):
    root = assets.locate()
    for path in assets.asset_paths(root).values():
        copy = tmp_path / path.relative_to(root)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
    assets.verify(tmp_path)
    victim = assets.asset_paths(tmp_path)["expression/jawOpen"]
    content = bytearray(victim.read_bytes())
    content[100] ^= 1
    victim.write_bytes(content)
    with pytest.raises(LoupeError, match="damaged.*make setup"):
        assets.verify(tmp_path)


def test_a_missing_file_is_caught(tmp_path):
    with pytest.raises(LoupeError, match="make setup"):
        assets.verify(tmp_path)


def test_another_version_and_an_absent_wheel_are_told(monkeypatch):
    monkeypatch.setattr(assets.importlib.metadata, "version", lambda name: "0.7.0")
    with pytest.raises(LoupeError, match="0.7.0.*make setup"):
        assets.locate()

    def absent(name):
        raise assets.importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(assets.importlib.metadata, "version", absent)
    with pytest.raises(LoupeError, match="not installed.*make setup"):
        assets.locate()


def test_subdivision_of_a_cube_is_catmull_clark():
    cube = np.array([(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], float)
    faces = np.array(((0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)))
    fine = catmull_clark(faces, np.zeros((6, 4, 2)), 8)
    points = fine.matrix @ cube
    assert len(points) == 26 and len(fine.triangles) == 48
    assert np.allclose(np.abs(points[:8]), 5 / 9)  # (mean of face points + 2 x mean of edge middles + vertex * 0) / 3
    assert np.allclose(np.sort(np.abs(points[8:20]), axis=1), (0, 0.75, 0.75))  # (two ends + two face points) / 4
    assert np.allclose(np.sort(np.abs(points[20:]), axis=1), (0, 0, 1))


def test_a_border_follows_the_crease_rule():
    square = np.array(((0, 0, 0), (1, 0, 0), (1, 1, 0), (0, 1, 0)), float)
    fine = catmull_clark(np.array([[0, 1, 2, 3]]), np.zeros((1, 4, 2)), 4)
    points = fine.matrix @ square
    assert np.allclose(points[0], (0.125, 0.125, 0)) and np.allclose(points[8], (0.5, 0.5, 0))


def test_a_damaged_cache_is_baked_again(tmp_path, monkeypatch):
    from loupe.faces import bake

    calls = []
    monkeypatch.setattr(bake, "bake", lambda root: calls.append(root) or {"vertices": np.arange(3)})
    assets.load.cache_clear()
    assert assets.load(tmp_path)["vertices"].tolist() == [0, 1, 2]
    (cached,) = tmp_path.glob("*.npz")
    cached.write_bytes(cached.read_bytes()[:40])
    assets.load.cache_clear()
    assert assets.load(tmp_path)["vertices"].tolist() == [0, 1, 2] and len(calls) == 2
    assets.load.cache_clear()
    assert assets.load(tmp_path)["vertices"].tolist() == [0, 1, 2] and len(calls) == 2
    assets.load.cache_clear()
