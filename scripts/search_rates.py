"""The same small search of learning rate and head for every way to train a still classifier, on validation people alone.

`python scripts/search_rates.py [--fractions 1.0] [--rates 3e-4 1e-3 3e-3] [--scratch-times 1 3] [--heads mean grid] [--arms scratch]
[--seeds 0]`: needs the finished stages data and mae-face of this checkout. The arms of `conf/experiment/low_label.yaml` are trained with
each rate (`scale`: each arm's own) and head, those from scratch with each multiple of the steps, too, and scored on the validation people;
test people are not read. Prints a table, which belongs in docs/log.md with what was taken over into conf. The head: `--heads mean grid
--rates scale --arms scratch mae --fractions 0.1 1 --seeds 0 1 2`.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from loupe.config import find_root, load
from loupe.data.store import read_store
from loupe.evaluation.metrics import accuracy, macro_f1
from loupe.evaluation.predictions import joined
from loupe.evaluation.protocols import Split, label_subset
from loupe.models.readout import HEADS
from loupe.steps import Shelf
from loupe.training.device import resolve_device, workers_on
from loupe.training.jobs import Workers
from loupe.training.stills import StillData, cells_of


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", default="laptop")
    parser.add_argument("--fractions", type=float, nargs="+", default=[1.0], help="shares of the training labels")
    parser.add_argument("--rates", nargs="+", default=["3e-4", "1e-3", "3e-3"], help="learning rates; `scale`: those of conf/scale")
    parser.add_argument(
        "--scratch-times", type=int, nargs="+", help="how many times the steps networks from scratch get; default: the scale's"
    )
    parser.add_argument("--heads", nargs="+", choices=HEADS, help="default: conf/model/dual_view.yaml's")
    parser.add_argument("--arms", nargs="+", help="names of arms; default: all")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    options = parser.parse_args()
    root = find_root()
    config = load([f"scale={options.scale}"], root)
    schedule = config.scale.finetune
    labelled, encoder = root / "data" / "prepared" / "labelled", root / "data" / "runs" / "mae-face" / "pretraining" / "encoder.safetensors"
    store = read_store(labelled)
    split = Split.from_manifest(store.manifest)
    train, val = (split.rows(store.manifest, name) for name in ("train", "val"))
    arms = [arm for arm in config.experiments.low_label.arms if options.arms is None or arm.name in options.arms]
    if not arms:
        parser.error(f"--arms {' '.join(options.arms)}: choose among {', '.join(arm.name for arm in config.experiments.low_label.arms)}")
    tables = []
    with tempfile.TemporaryDirectory() as folder:
        shelf = Shelf(Path(folder) / "runs", Path(folder) / "steps", publish=False)
        tries = (
            options.fractions,
            options.rates,
            options.scratch_times or [schedule.scratch_times],
            options.heads or [config.dual_view.head],
        )
        for fraction, rate, times, head in product(*tries):
            rates = {} if rate == "scale" else {"lr_mae": float(rate), "lr_scratch": float(rate)}
            scale = replace(config.scale, finetune=replace(schedule, scratch_times=times, **rates), seeds=options.seeds)
            tried = replace(config, scale=scale, dual_view=replace(config.dual_view, head=head))
            rows = train[label_subset(store.labels[train], store.subjects[train], fraction, np.random.default_rng(config.data.seed))]
            cells = cells_of(tried, arms, fraction, StillData(labelled, rows, val, encoder))
            workers = Workers(workers_on(resolve_device(config.scale.device), config.scale.workers), f"rate {rate}, head {head}")
            made = shelf.make_all([cell.step(tried, Path(folder) / "views") for cell in cells], workers)
            said = joined([cell.predictions(place) for cell, place in zip(cells, made, strict=True)])
            tables.append(said.assign(labels=len(rows), rate=rate, scratch_times=times, head=head))
    found = joined(tables)
    assert set(found["split"]) == {"val"}
    classes = len(store.class_names)
    asked = ["labels", "arm", "rate", "scratch_times", "head", "seed"]
    scores = [
        dict(zip(asked, about, strict=True))
        | {"macro_f1": macro_f1(part["label"], part["pred"], classes), "accuracy": accuracy(part["label"], part["pred"])}
        for about, part in found.groupby(asked)
    ]
    print(f"{len(val)} validation faces of {len(split.val)} people")
    print(pd.DataFrame(scores).to_string(index=False, float_format=lambda value: f"{value:.3g}"))


if __name__ == "__main__":
    main()
