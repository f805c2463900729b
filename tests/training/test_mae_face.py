"""Pre-training of MAE-Face reads its faces batch by batch: a memory map gives the bytes that an array gives, in the memory of one batch."""

from __future__ import annotations

import numpy as np
import psutil
import torch
from runs import ROOT, SMALL

from loupe.config import load
from loupe.training.mae_face import pretrain, read_faces

CPU = torch.device("cpu")


def test_rows_of_a_memory_map_train_as_those_faces_alone(tmp_path):
    faces = np.random.default_rng(0).integers(0, 256, (60, 16, 16, 3), dtype=np.uint8)
    np.save(tmp_path / "faces.npy", faces)
    rows, config = np.arange(3, 60, 2), load(SMALL, ROOT)
    alone, history = pretrain(config, faces[rows], 0, tmp_path / "a")
    mapped, same = pretrain(config, np.load(tmp_path / "faces.npy", mmap_mode="r"), 0, tmp_path / "b", rows)
    assert history == same
    for name, tensor in alone.state_dict().items():
        assert torch.equal(tensor, mapped.state_dict()[name]), name


def test_what_was_read_of_a_memory_map_does_not_stay(tmp_path):
    """400 MB, read once; the numbers that come are those of the rows asked for."""
    faces = np.lib.format.open_memmap(tmp_path / "faces.npy", mode="w+", dtype=np.uint8, shape=(2700, 224, 224, 3))
    faces[7], faces[2699] = 7, 99
    del faces
    faces = np.load(tmp_path / "faces.npy", mmap_mode="r")
    before = psutil.Process().memory_info().rss
    for start in range(0, 2700, 100):
        read_faces(faces, np.arange(start, start + 100), CPU)
    assert psutil.Process().memory_info().rss - before < 60 * 2**20
    assert read_faces(faces, np.array([2699, 7]), CPU)[:, 0, 0, 0].tolist() == [99, 7]
