"""The same small search of the learning rate for every way to train a still classifier, on validation people alone.

`python scripts/search_rates.py [--fraction 1.0] [--rates 3e-4 1e-3 3e-3] [--seeds 0]`: needs the finished stages data and mae-face of this checkout.
Every arm of `conf/experiment/low_label.yaml` is trained with each rate and scored on the validation people; test people are not read. Prints a
table, which belongs in docs/log.md with the rates that were taken over into conf/scale.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from loupe.bench import Bench
from loupe.config import find_root, load
from loupe.data.store import read_store
from loupe.evaluation.metrics import accuracy, macro_f1
from loupe.evaluation.protocols import Split, label_subset
from loupe.training.jobs import run_jobs
from loupe.training.stills import cell_jobs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", default="laptop")
    parser.add_argument("--fraction", type=float, default=1.0, help="share of the training labels")
    parser.add_argument("--rates", type=float, nargs="+", default=[3e-4, 1e-3, 3e-3])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    options = parser.parse_args()
    root = find_root()
    config = load([f"scale={options.scale}"], root)
    labelled, encoder = root / "data" / "prepared" / "labelled", root / "data" / "runs" / "mae-face" / "encoder.safetensors"
    store = read_store(labelled)
    split = Split.from_manifest(store.manifest)
    train, val = (split.rows(store.manifest, name) for name in ("train", "val"))
    rows = train[label_subset(store.labels[train], store.subjects[train], options.fraction, np.random.default_rng(config.data.seed))]
    tables = []
    with tempfile.TemporaryDirectory() as folder:
        for rate in options.rates:
            finetune = replace(config.scale.finetune, lr_mae=rate, lr_scratch=rate)
            tried = replace(config, scale=replace(config.scale, finetune=finetune, seeds=options.seeds))
            bench = Bench(Path(folder) / f"{rate:g}")
            jobs = cell_jobs(bench, tried, config.experiments.low_label.arms, options.fraction, rows, val, labelled, encoder)
            run_jobs(jobs, f"rate {rate:g}", workers=config.scale.workers, in_process=False)
            tables.append(bench.cells().assign(rate=rate))
    found = pd.concat(tables, ignore_index=True)
    assert set(found["split"]) == {"val"}
    classes = len(store.class_names)
    scores = [
        {"arm": arm, "rate": rate, "seed": seed, "macro_f1": macro_f1(part["label"], part["pred"], classes), "accuracy": accuracy(part["label"], part["pred"])}
        for (arm, rate, seed), part in found.groupby(["arm", "rate", "seed"])
    ]
    print(f"{len(rows)} labels, {len(val)} validation faces of {len(split.val)} people")
    print(pd.DataFrame(scores).to_string(index=False, float_format=lambda value: f"{value:.3g}"))


if __name__ == "__main__":
    main()
