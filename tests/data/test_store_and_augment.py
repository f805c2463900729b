"""Store round trip, leaks caught at load, and augmentation that views of one sample share."""

import numpy as np
import pandas as pd
import pytest
import torch

from loupe.data.augment import flip_and_shift, random_crop_resized, to_float, to_uint8
from loupe.data.store import read_store, write_store
from loupe.errors import LoupeError


def manifest(subjects, splits, labels=None):
    labels = labels or [i % 2 for i in range(len(subjects))]
    return pd.DataFrame({"subject": subjects, "split": splits, "label": labels, "label_name": [f"class{i}" for i in labels]})


def test_store_round_trip_keeps_pixels_and_rows(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (4, 6, 6, 3), dtype=np.uint8)
    write_store(tmp_path, images, manifest(["a", "a", "b", "c"], ["train", "train", "val", "test"]))
    store = read_store(tmp_path)
    np.testing.assert_array_equal(store.images, images)
    part = store.split("train")
    np.testing.assert_array_equal(part.images, images[:2])
    assert store.rows(np.array([3])).manifest["sample"].tolist() == [3]
    assert store.class_names == ["class0", "class1"]


def test_a_subject_in_two_splits_is_refused(tmp_path):
    images = np.zeros((2, 4, 4, 3), np.uint8)
    with pytest.raises(LoupeError, match="subject a stands in the splits test and train"):
        write_store(tmp_path, images, manifest(["a", "a"], ["train", "test"]))


def test_truncated_images_and_missing_manifest_are_named(tmp_path):
    images = np.zeros((2, 4, 4, 3), np.uint8)
    write_store(tmp_path, images, manifest(["a", "b"], ["train", "test"]))
    content = (tmp_path / "images.npy").read_bytes()
    (tmp_path / "images.npy").write_bytes(content[:-10])
    with pytest.raises(LoupeError, match="images.npy"):
        read_store(tmp_path)
    (tmp_path / "manifest.parquet").unlink()
    with pytest.raises(LoupeError, match="manifest.parquet is missing"):
        read_store(tmp_path)


def test_pixels_survive_normalisation():
    images = torch.randint(0, 256, (3, 5, 5, 3), dtype=torch.uint8)
    assert torch.equal(to_uint8(to_float(images), images), images)


def test_a_face_reads_the_same_under_another_exposure_and_tint():
    face = torch.randint(20, 100, (1, 6, 6, 3), dtype=torch.uint8)
    tinted = (2 * face + torch.tensor([5, 0, 30])).to(torch.uint8)
    assert torch.allclose(to_float(tinted), to_float(face), atol=1e-5)
    pixels = to_float(face)[0]
    assert pixels.mean((1, 2)).abs().max() < 1e-5 and abs(float(pixels.square().mean()) - 1) < 1e-5
    assert to_float(torch.full((1, 4, 4, 3), 7, dtype=torch.uint8)).abs().max() == 0  # a flat picture stays finite


def test_flip_and_shift_equals_the_slow_way_and_is_shared():
    images = torch.randint(0, 256, (6, 8, 8, 3), dtype=torch.uint8)
    one, two = flip_and_shift([images, images.clone()], 2, torch.Generator().manual_seed(3))
    assert torch.equal(one, two)
    generator = torch.Generator().manual_seed(3)
    flip = torch.rand(6, generator=generator) < 0.5
    shift = torch.randint(-2, 3, (2, 6), generator=generator)
    for i in range(6):
        for y in range(8):
            for x in range(8):
                source_x = 7 - x if flip[i] else x
                row = min(max(y + int(shift[0, i]), 0), 7)
                column = min(max(source_x + int(shift[1, i]), 0), 7)
                assert torch.equal(one[i, y, x], images[i, row, column])


def test_full_crop_is_the_identity():
    images = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(random_crop_resized(images, 1.0, torch.Generator().manual_seed(0)), images)
