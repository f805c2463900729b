"""From settings to prepared stores: generated faces, imported sets, and the labelled faces that the classifiers are fine-tuned on."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from loupe.config import Config
from loupe.data.imported import ImportedSets, generated_part, read_sets, write_imported
from loupe.data.sources.folder import FolderSource, read_folder
from loupe.data.sources.listing import Dropped
from loupe.data.store import read_store, write_store
from loupe.faces.generate import prepare
from loupe.faces.plan import StudySetPlan
from loupe.part import part_of
from loupe.steps import Step


def study_plan(config: Config) -> StudySetPlan:
    """The generator's plan of the active scale. Imported faces have no second camera and no shift, so neither is drawn beside them."""
    counts = dict(vars(config.scale.faces))
    if config.data.source == "folder":
        counts |= {"second_cameras": 0, "shift_stills": 0}
    return StudySetPlan(seed=config.data.seed, size=config.scale.image.size, nuisance=config.data.nuisance, **counts)


def preparing_step(config: Config, root: Path) -> Step:
    """Drawing or importing all sets as a step, whose folder is `data/prepared`; see `prepare_study`. What it depends on: the plan, the code
    that draws, and the bytes of one's own faces, or the list of imported sets, which holds their fingerprints."""
    own = {"folder": config.data.folder and config.data.folder.root, "imported": config.data.imported}.get(config.data.source)
    arguments = {"config": part_of(config, "data", "scale.image", "scale.faces"), "own": root / own if own else None}
    places = {"root": root, "workers": max(config.scale.workers, config.scale.threads)}  # each process draws with one thread
    return Step("prepared", write_prepared, arguments, places)


def write_prepared(folder: Path, config: Config, own: Path | None, root: Path, workers: int) -> None:
    prepare_study(config, folder, root, workers)


def prepare_study(config: Config, out: Path, root: Path, workers: int) -> None:
    """Write the sets `stills`, `clips`, `micro`, `macro`, `labelled`, `camera`, `shift`, `micro_shift`, `micro_calm` and `micro_wild` into
    `out`; people drawn before a kill are taken from `data/scratch`.

    `labelled` is the train, val and test part of the generated stills, or the folder that the settings name (relative to `root`). Five sets
    are empty where the scale asks for none, so that a stage can depend on them: `camera`, whose image i shows labelled still i from the
    side, `shift` (held-out looks of the test people), `micro_shift` (micro clips with held-out looks), `micro_calm` and `micro_wild` (micro
    clips at the other positions of the nuisance dial). Imported sets take the place of generated ones (loupe.data.imported).
    """
    imported = read_sets(root / config.data.imported) if config.data.source == "imported" else ImportedSets()
    plan = generated_part(study_plan(config), imported)
    scratch = root / "data" / "scratch"
    prepare(plan, out, scratch / "faces", workers, cache_dir=scratch / "assets")
    write_imported(imported, out, config.scale.image.size, config.data.seed)
    if imported.expression:
        return
    dropped = Dropped()
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
            classes=folder.classes,
        )
        images, manifest = read_folder(source, config.scale.image.size, dropped)
    else:
        stills = read_store(out / "stills")
        chosen = stills.rows(stills.manifest["split"].isin(["train", "val", "test"]).to_numpy())
        images, manifest = chosen.images, chosen.manifest
    write_store(out / "labelled", np.asarray(images), manifest)
    if dropped.rows:
        dropped.table().to_csv(out / "labelled" / "dropped.csv", index=False)
        print(f"{len(dropped.rows)} entries of {source.root} are left out: {out / 'labelled' / 'dropped.csv'} says which and why.")
