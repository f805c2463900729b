"""Store round trip, leaks caught at load, and augmentation that views of one sample share."""

import errno
import os

import numpy as np
import pandas as pd
import pytest
import torch

from loupe.data.augment import flip_and_shift, random_crop_resized, strengthen, to_float, to_uint8
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


@pytest.mark.parametrize("number", [errno.EMFILE, errno.EACCES, errno.EIO])
def test_a_file_that_cannot_be_opened_is_not_called_damaged(tmp_path, monkeypatch, number):
    write_store(tmp_path, np.zeros((2, 4, 4, 3), np.uint8), manifest(["a", "b"], ["train", "val"]))

    def refuse(*_, **__):
        raise OSError(number, os.strerror(number))

    for reader in ("numpy.load", "pandas.read_parquet"):
        with monkeypatch.context() as patched:
            patched.setattr(reader, refuse)
            with pytest.raises(LoupeError, match="cannot be opened .*which is no damage") as told:
                read_store(tmp_path)
            assert os.strerror(number) in str(told.value) and "delete" not in str(told.value)


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


def strong(views, targets, seed=0, **amounts):
    usual = {"smallest_side": 1.0, "erased": 0.0, "mixed": 0.0}
    return strengthen(views, targets, **(usual | amounts), generator=torch.Generator().manual_seed(seed))


def test_strong_augmentation_of_nothing_is_the_identity_and_views_share_every_draw():
    views, targets = torch.randn(16, 3, 12, 12), torch.eye(16)
    (same,), kept = strong([views], targets)
    torch.testing.assert_close(same, views)
    assert torch.equal(kept, targets)
    (one, two), mixed = strong([views, views.clone()], targets, smallest_side=0.6, erased=0.5, mixed=0.5)
    assert torch.equal(one, two) and not torch.allclose(one, views)
    torch.testing.assert_close(mixed.sum(1), torch.ones(16))


def test_a_share_of_the_samples_loses_one_rectangle_of_the_promised_size():
    views = torch.ones(2000, 3, 32, 32)
    (holed,), _ = strong([views], torch.zeros(2000, 1), erased=0.25)
    empty = (holed == 0).all(1)
    assert torch.equal(empty, (holed == 0).any(1))  # all channels alike
    hit = empty.any((1, 2))
    assert 0.21 < hit.float().mean() < 0.29
    high, wide = empty.any(2).sum(1), empty.any(1).sum(1)
    assert torch.equal(high * wide, empty.sum((1, 2)))  # a rectangle
    area = empty[hit].float().mean((1, 2))
    assert 0.005 < area.min() and area.max() < 0.24 and 0.09 < area.mean() < 0.13
    centre = torch.stack([(empty.any(2) * torch.arange(32)).sum(1) / high, (empty.any(1) * torch.arange(32)).sum(1) / wide])[:, hit]
    assert (centre.mean(1) - 15.5).abs().max() < 1.2  # anywhere in the picture


def test_mixed_pictures_and_targets_are_the_same_blend():
    level = torch.arange(64.0)
    (blend,), targets = strong([level[:, None, None, None].expand(64, 3, 4, 4)], torch.eye(64), mixed=0.5)
    torch.testing.assert_close(blend[:, 0, 0, 0], targets @ level)
    assert 0.3 < (targets.max(1).values < 1).float().mean() < 0.65 and torch.equal((targets > 0).sum(1).unique(), torch.tensor([1, 2]))
