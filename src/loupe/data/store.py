"""The store: one uint8 array of images on disk beside its manifest."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from loupe.data.manifest import check_manifest, complete, read_manifest
from loupe.errors import LoupeError, unreadable


@dataclass(frozen=True)
class Store:
    """`images` uint8 (N, H, W, 3), RGB; row i of `manifest` describes image i."""

    images: np.ndarray
    manifest: pd.DataFrame

    def rows(self, chosen: np.ndarray | pd.Series) -> Store:
        """The part whose rows are `chosen` (bool mask or row numbers); `manifest.sample` keeps the numbers of the whole store."""
        index = np.flatnonzero(chosen) if np.asarray(chosen).dtype == bool else np.asarray(chosen)
        return Store(np.ascontiguousarray(self.images[index]), self.manifest.iloc[index].reset_index(drop=True))

    def split(self, name: str) -> Store:
        """The pictures of one split. Raises LoupeError for `test`: those rows come out of loupe.evaluation.guards.Vault, which writes the
        opening down."""
        if name == "test":
            raise LoupeError(
                "Test pictures are opened through loupe.evaluation.guards.Vault, which writes the opening down: "
                "take `Store.rows` of what it hands out."
            )
        return self.rows((self.manifest["split"] == name).to_numpy())

    @property
    def labels(self) -> np.ndarray:
        return self.manifest["label"].to_numpy()

    @property
    def subjects(self) -> np.ndarray:
        return self.manifest["subject"].to_numpy()

    @property
    def class_names(self) -> list[str]:
        """Names of the classes 0..C-1. Raises LoupeError when a class number is skipped."""
        named = self.manifest.loc[self.manifest["label"] >= 0, ["label", "label_name"]].drop_duplicates().sort_values("label")
        if list(named["label"]) != list(range(len(named))):
            raise LoupeError(f"The labels {list(named['label'])} skip a class number: mend the source's labels so that they count from 0.")
        return list(named["label_name"])


def read_store(folder: Path) -> Store:
    """Read `folder/images.npy` (memory-mapped) and `folder/manifest.parquet`; raises LoupeError naming the file that is wrong."""
    manifest = read_manifest(folder / "manifest.parquet")
    path = folder / "images.npy"
    try:
        images = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # numpy reads the header as Python and believes it: damage raises TokenError, SystemError and others
        raise unreadable(path, error, "delete the folder and run `dvc repro data` again.") from error
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != 3 or len(images) != len(manifest):
        raise LoupeError(
            f"{path} holds {images.dtype} {images.shape}, but {len(manifest)} uint8 RGB images were expected: run `dvc repro data`."
        )
    return Store(images, manifest)


def write_store(folder: Path, images: np.ndarray, manifest: pd.DataFrame) -> None:
    """Write a store; each file appears whole or not at all. Raises LoupeError for a manifest that breaks the schema."""
    folder.mkdir(parents=True, exist_ok=True)
    table = complete(manifest.assign(sample=range(len(manifest))))
    check_manifest(table, str(folder / "manifest.parquet"))
    with (folder / "images.tmp").open("wb") as file:
        np.save(file, np.ascontiguousarray(images), allow_pickle=False)
    os.replace(folder / "images.tmp", folder / "images.npy")
    table.to_parquet(folder / "manifest.tmp", index=False)
    os.replace(folder / "manifest.tmp", folder / "manifest.parquet")
