"""Shards give back every pixel and fact, an epoch is every row once, damage is named, equal stores give equal bytes."""

from __future__ import annotations

import json
import tarfile

import fsspec
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from typer.testing import CliRunner

from loupe.cli import app
from loupe.data.shards import ShardStore, shuffled_near, write_shards
from loupe.data.store import read_store, write_store
from loupe.errors import LoupeError
from loupe.training.schedules import batch_order


@pytest.fixture
def store(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (23, 8, 8, 3), dtype=np.uint8)
    table = pd.DataFrame({"subject": [f"s{i // 4}" for i in range(23)], "split": "train", "label": -1})
    write_store(tmp_path / "store", images, table)
    return tmp_path / "store"


def test_every_row_comes_back_whatever_the_order(store, tmp_path):
    index = write_shards(store, str(tmp_path / "out"), 5)
    assert [shard["count"] for shard in index["shards"]] == [5, 5, 5, 5, 3]
    source, shards = read_store(store), ShardStore(str(tmp_path / "out"), open_shards=2)
    rows = np.array([22, 0, 7, 7, 14, 5, 21])
    np.testing.assert_array_equal(shards.images(rows), source.images[rows])
    assert [fact["subject"] for fact in shards.facts(rows)] == list(source.subjects[rows])
    assert len(shards) == 23 and len(shards._open) == 2
    with pytest.raises(LoupeError, match="rows 0 to 22, and row 23"):
        shards.images(np.array([3, 23]))


def test_training_order_is_that_of_the_store_in_memory_and_continues_in_mid_epoch(store, tmp_path):
    write_shards(store, str(tmp_path / "out"), 4)
    images = np.asarray(read_store(store).images)
    for step in (0, 3, 7):  # a fresh reader at step 7 needs no history
        rows = batch_order(23, 6, step, seed=1)
        np.testing.assert_array_equal(ShardStore(str(tmp_path / "out")).images(rows), images[rows])


def test_equal_stores_give_equal_bytes_and_whole_shards_stay(store, tmp_path):
    first = write_shards(store, str(tmp_path / "a"), 10)
    kept = (tmp_path / "a" / "faces-000000.tar").stat().st_mtime_ns
    (tmp_path / "a" / "faces-000001.tar").write_bytes(b"half")
    assert write_shards(store, str(tmp_path / "a"), 10) == first == write_shards(store, str(tmp_path / "b"), 10)
    assert (tmp_path / "a" / "faces-000000.tar").stat().st_mtime_ns == kept
    for name in ("faces-000000.tar", "faces-000001.tar", "faces-000002.tar", "index.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_any_tar_reader_sees_pairs_of_picture_and_facts(store, tmp_path):
    write_shards(store, str(tmp_path / "out"), 10)
    with tarfile.open(tmp_path / "out" / "faces-000002.tar") as tar:
        assert tar.getnames() == [f"{row:09d}.{suffix}" for row in (20, 21, 22) for suffix in ("png", "json")]
        picture = np.asarray(Image.open(tar.extractfile("000000021.png")))
        assert json.load(tar.extractfile("000000021.json"))["sample"] == 21
    np.testing.assert_array_equal(picture, read_store(store).images[21])


def test_damage_is_named(store, tmp_path):
    write_shards(store, str(tmp_path / "out"), 10)
    path = tmp_path / "out" / "faces-000001.tar"
    data = bytearray(path.read_bytes())
    data[700] ^= 1
    path.write_bytes(data)
    shards = ShardStore(str(tmp_path / "out"))
    shards.images(np.arange(10))
    with pytest.raises(LoupeError, match="faces-000001.tar is damaged"):
        shards.images(np.arange(11))
    path.unlink()
    with pytest.raises(LoupeError, match="faces-000001.tar cannot be read"):
        ShardStore(str(tmp_path / "out")).images(np.arange(11))
    with pytest.raises(LoupeError, match="index.json cannot be read"):
        ShardStore(str(tmp_path / "nowhere"))


def test_the_kind_order_shows_every_row_once_and_opens_each_shard_once(store, tmp_path):
    index = write_shards(store, str(tmp_path / "out"), 4)
    epochs = [shuffled_near(index, 0, epoch, window=2) for epoch in (0, 1)]
    assert all(sorted(order) == list(range(23)) for order in epochs) and not np.array_equal(*epochs)
    np.testing.assert_array_equal(epochs[1], shuffled_near(index, 0, 1, window=2))
    shard_of = epochs[0] // 4
    changes = [len(set(shard_of[: i + 1])) - len(set(shard_of[:i])) for i in range(23)]
    last_seen = {shard: np.flatnonzero(shard_of == shard) for shard in set(shard_of)}
    assert sum(changes) == 6 and max(places.max() - places.min() for places in last_seen.values()) < 8


def test_shards_elsewhere_are_read_through_fsspec(store):
    write_shards(store, "memory://faces", 10)
    np.testing.assert_array_equal(ShardStore("memory://faces").images(np.arange(23)), read_store(store).images)
    fsspec.filesystem("memory").rm("/faces", recursive=True)


def test_the_command_counts_what_it_wrote(store, tmp_path):
    done = CliRunner().invoke(app, ["data", "shard", str(store), str(tmp_path / "out"), "--shard-size", "10"])
    assert done.exit_code == 0 and "23 faces in 3 shards" in done.output
    assert isinstance(
        CliRunner().invoke(app, ["data", "shard", str(store), str(tmp_path / "out"), "--shard-size", "0"]).exception, LoupeError
    )
