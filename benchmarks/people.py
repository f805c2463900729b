"""Generated people for row f, whom no study has seen or will see."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from loupe.config import Config
from loupe.data.store import Store, read_store
from loupe.errors import LoupeError
from loupe.faces.generate import generator_version, prepare
from loupe.faces.plan import StudySetPlan

# A person is a function of (seed, role, number), so another seed means other people. Studies use conf/data's seed, 0 unless somebody sets
# it.
SEED = 900_001


def plan_of(config: Config) -> StudySetPlan:
    """As many unlabelled and training stills as the scale has; validation people as many as its test people, for a steadier score.

    Raises LoupeError where the study's own seed is that of these people.
    """
    if config.data.seed == SEED:
        raise LoupeError(f"data.seed is {SEED}, which row f keeps for people that no study uses: choose another.")
    faces = config.scale.faces
    return StudySetPlan(
        seed=SEED,
        size=config.scale.image.size,
        pretrain_subjects=faces.pretrain_subjects,
        train_subjects=faces.train_subjects,
        val_subjects=faces.test_subjects,
        stills_per_subject=faces.stills_per_subject,
    )


def unseen_people(config: Config, root: Path) -> tuple[np.ndarray, Store]:
    """(faces to pre-train on uint8 (N, H, W, 3), labelled faces in the splits train and val); drawn once, kept in `data/scratch`."""
    plan = plan_of(config)
    name = hashlib.sha256(f"{plan}{generator_version()}".encode()).hexdigest()[:12]
    folder = root / "data" / "scratch" / f"bench-{name}"
    prepare(plan, folder, folder / "people", config.scale.workers, cache_dir=root / "data" / "scratch" / "assets")
    stills = read_store(folder / "stills")
    return np.array(stills.split("pretrain").images), stills.rows(stills.manifest["split"].isin(["train", "val"]).to_numpy())
