"""Small labelled stores, and cells that are run in this process."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from loupe.config import load
from loupe.data.store import write_store
from loupe.evaluation.predictions import joined
from loupe.settings import Config
from loupe.steps import Shelf
from loupe.training.stills import StillCell

SPLIT_OF = {"t": "train", "v": "val", "e": "test"}


@pytest.fixture(scope="session")
def small() -> Config:
    """The smoke scale, with six steps of a shallow network a cell."""
    return load(["scale=smoke", "scale.finetune.max_steps=6", "scale.encoder.depth=1"], Path(__file__).resolve().parents[2])


@pytest.fixture
def store_of(tmp_path, small) -> Callable[..., Path]:
    """Writes noise as pictures of `people` (t0, v1, e2: the letter names the split) with `labels`, and says where."""

    def write(name: str, people: Sequence[str], labels: Sequence[int], seed: int = 0, **columns: object) -> Path:
        size = small.scale.image.size
        images = np.random.default_rng(seed).integers(0, 256, (len(people), size, size, 3), dtype=np.uint8)
        names = [f"class{label}" if label >= 0 else "" for label in labels]
        table = {"subject": people, "split": [SPLIT_OF[person[0]] for person in people], "label": labels, "label_name": names}
        write_store(tmp_path / name, images, pd.DataFrame(table | columns))
        return tmp_path / name

    return write


@pytest.fixture
def shelf_of(tmp_path) -> Callable[[str], Shelf]:
    return lambda name: Shelf(tmp_path / name / "stage", tmp_path / name / "spare", publish=True)


@pytest.fixture
def run_cells(tmp_path, small, shelf_of) -> Callable[..., pd.DataFrame]:
    """The predictions of cells, each made one after the other on the shelf `name`."""

    def run(name: str, *cells: StillCell, config: Config = small) -> pd.DataFrame:
        shelf = shelf_of(name)
        return joined([cell.predictions(shelf.make(cell.step(config, tmp_path / "views"))) for cell in cells])

    return run
