"""A long pre-training on several processes: `torchrun --standalone --nproc-per-node 4 -m loupe.pretrain mae-face weights/mae scale=gpu`.

Trains with the functions that the notebooks call, on data/prepared; the loop shares every batch among the processes. Process 0 writes
`model.safetensors` and `history.json` into the folder, and the checkpoints from which the same command continues.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch.distributed as dist
from torch import nn

import loupe.models  # noqa: F401  (makes timm importable)
from loupe.config import Config, find_root, load
from loupe.data.store import Store, read_store
from loupe.errors import LoupeError
from loupe.evaluation.guards import check_pretraining_overlap
from loupe.evaluation.protocols import Split
from loupe.recording.record import Place, record_in
from loupe.training import mae_face, micro
from loupe.training.checkpoint import save_weights
from loupe.training.device import prepare_torch
from loupe.training.loop import History


def pretrain_mae_face(config: Config, prepared: Path, checkpoints: Path) -> tuple[nn.Module, History]:
    """MAE-Face on the unlabelled stills, as in notebook 02."""
    stills = _sized(read_store(prepared / "stills"), config)
    Split.from_manifest(stills.manifest)
    rows = np.flatnonzero(stills.manifest["split"] == "pretrain")
    return mae_face.pretrain(config, stills.images, config.scale.seeds[0], checkpoints, rows)


def pretrain_micron_bert(config: Config, prepared: Path, checkpoints: Path) -> tuple[nn.Module, History]:
    """Micron-BERT on the unlabelled clip frames, as in notebook 04."""
    clips, labelled = _sized(read_store(prepared / "clips"), config), read_store(prepared / "micro")
    check_pretraining_overlap(set(clips.subjects), set(labelled.subjects), what="Micron-BERT pre-training")
    return micro.pretrain(config, clips, config.scale.seeds[0], checkpoints)


TRAININGS = {"mae-face": pretrain_mae_face, "micron-bert": pretrain_micron_bert}


def run(stage: str, folder: Path, overrides: list[str]) -> None:
    """Train `stage` in this process of a launched group (RANK, WORLD_SIZE; alone without them).

    Raises LoupeError for bad settings, data of another size, and a folder in which other settings were trained.
    """
    root, first = find_root(), os.environ.get("RANK", "0") == "0"
    config = load(overrides, root)
    if first:
        _claim(folder, {"stage": stage, **asdict(config), "overrides": None})
        record_in(Place(root, stage, config))
    else:
        os.environ["LOUPE_QUIET"] = "1"
    prepare_torch(config.scale.threads)
    model, history = TRAININGS[stage](config, root / "data" / "prepared", folder / "checkpoints")
    if first:
        save_weights(folder / "model.safetensors", model)
        (folder / "history.json").write_text(json.dumps(history), encoding="utf-8")
    if dist.is_available() and dist.is_initialized():
        dist.barrier()
        dist.destroy_process_group()


def _sized(store: Store, config: Config) -> Store:
    if store.images.shape[1] != config.scale.image.size:
        raise LoupeError(
            f"data/prepared holds faces of {store.images.shape[1]} px, and scale {config.scale.name} has {config.scale.image.size} px: "
            f"prepare them with `make study SCALE={config.scale.name} STAGES=data` and run this in the scratch copy that it makes."
        )
    return store


def _claim(folder: Path, settings: dict) -> None:
    """Write down in `folder` what is trained there, so that no run continues another's checkpoints."""
    folder.mkdir(parents=True, exist_ok=True)
    path, text = folder / "settings.json", json.dumps(settings, indent=1)
    if path.exists() and path.read_text(encoding="utf-8") != text:
        raise LoupeError(f"{path} has other settings than these: name another folder, or delete this one.")
    path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="loupe.pretrain", description=__doc__.splitlines()[0])
    parser.add_argument("stage", choices=TRAININGS)
    parser.add_argument("folder", type=Path, help="where weights, history and checkpoints go; all processes must see it")
    parser.add_argument("overrides", nargs="*", help="settings, e.g. scale=gpu")
    options = parser.parse_args()
    try:
        run(options.stage, options.folder, options.overrides)
    except LoupeError as error:
        sys.exit(f"loupe: {error}")
