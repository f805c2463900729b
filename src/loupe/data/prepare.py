"""From settings to prepared stores: generated faces, and the labelled faces that the classifiers are fine-tuned on."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from loupe.config import Config
from loupe.data.sources.folder import FolderSource, read_folder
from loupe.data.store import read_store, write_store
from loupe.faces.generate import prepare
from loupe.faces.plan import StudySetPlan


def study_plan(config: Config) -> StudySetPlan:
    """The generator's plan of the active scale."""
    return StudySetPlan(seed=config.data.seed, size=config.scale.image.size, nuisance=config.data.nuisance, **vars(config.scale.faces))


def prepare_study(config: Config, out: Path, scratch: Path, root: Path) -> None:
    """Write the sets `stills`, `clips`, `micro`, `macro` and `labelled` into `out`; people drawn before a kill are taken from `scratch`.

    `labelled` is the train, val and test part of the generated stills, or the folder that the settings name (relative to `root`).
    """
    prepare(study_plan(config), out, scratch, config.scale.workers, cache_dir=root / "data" / "scratch" / "assets")
    if config.data.source == "folder":
        folder = config.data.folder
        source = FolderSource(
            root=root / folder.root,
            csv=folder.csv,
            subject_pattern=folder.subject_pattern,
            crop=tuple(folder.crop),
            val_share=folder.val_share,
            test_share=folder.test_share,
            seed=config.data.seed,
        )
        images, manifest = read_folder(source, config.scale.image.size)
    else:
        stills = read_store(out / "stills")
        chosen = stills.rows(stills.manifest["split"].isin(["train", "val", "test"]).to_numpy())
        images, manifest = chosen.images, chosen.manifest
    write_store(out / "labelled", np.asarray(images), manifest)
