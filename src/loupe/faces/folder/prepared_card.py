"""The data card of a prepared study set (`data/prepared`)."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from loupe.errors import LoupeError
from loupe.faces.folder.datacard import datacard
from loupe.faces.generate import SETS
from loupe.faces.plan import generator_version


def prepared_card(prepared: Path) -> str:
    """Card of the generated sets in `prepared`; imported sets are left out. Raises LoupeError where there is none, or not of one seed."""
    paths = [path for name in SETS if (path := Path(prepared) / name / "manifest.parquet").is_file()]
    if not paths:
        raise LoupeError(f"{prepared} holds no prepared set: run `dvc repro data`, or name the folder.")
    manifest = pd.concat([pd.read_parquet(path) for path in paths])
    manifest = manifest[manifest["source"].str.startswith("loupe.faces seed ")]
    seeds = manifest["source"].unique()
    if len(seeds) != 1:
        told = "no generated faces" if len(seeds) == 0 else f"faces of {len(seeds)} seeds"
        raise LoupeError(f"{prepared} holds {told}, but a card describes the generated faces of one seed: run `dvc repro data`.")
    size = f"{len(manifest)} images"
    return datacard(manifest, generator_version(), int(seeds[0].split()[-1]), {"study set of": size})
