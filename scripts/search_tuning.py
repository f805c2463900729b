"""How should Micron-BERT be fine-tuned? Tried on calibration people who are in no split of the study: `python scripts/search_tuning.py`.

Needs the finished stages data and mae-face of this checkout. 240 clips of 20 people of a calibration seed, the scale's folds by subject. A
try is `start:readout:steps:batch`, start one of none and mae-face; the learning rates and the rest are the study's. Prints UF1 a try and
seed, beside optical flow + linear SVM in the same folds, for docs/log.md; what was taken over stands in conf/scale and
conf/experiment/micro_expressions.yaml.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from difficulty import GRID, calibration, rendered

from loupe.data.clips import onset_and_apex
from loupe.errors import LoupeError
from loupe.evaluation.metrics import uf1
from loupe.evaluation.predictions import joined
from loupe.evaluation.protocols import stratified_folds
from loupe.experiments import TunedArm
from loupe.models.baselines.linear import make_linear_svm
from loupe.models.baselines.optical_flow import features_flow
from loupe.steps import Shelf
from loupe.training.clip_finetune import TuningCell
from loupe.training.clip_tasks import clip_tasks
from loupe.training.jobs import Workers
from loupe.training.loso import loso_probabilities

TRIES = ["mae-face:dma:80:24", "mae-face:token:80:24", "mae-face:dma:60:16", "mae-face:dma:120:32"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tries", nargs="*", default=TRIES, help="start:readout:steps:batch")
    parser.add_argument("--scale", default="laptop")
    parser.add_argument("--seed", type=int, default=9401, help="generator seed of the people, never the study's")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="of the fine-tuning")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    root, config = calibration(options, [f"scale={options.scale}"])
    weights = {"none": None, "mae-face": root / "data" / "runs" / "mae-face" / "pretraining" / "encoder.safetensors"}
    with tempfile.TemporaryDirectory() as folder:
        counts = {"micro_subjects": 20, "micro_clips": 240}
        store, place = rendered(counts, options.seed, config.data.nuisance, "micro", options, Path(folder))
        pairs = onset_and_apex(store, labelled_only=False)
        task = clip_tasks(pairs, stratified_folds(pairs.subjects, pairs.labels, config.scale.micro_finetune.folds))["micro"]
        flow = features_flow(pairs.onset, pairs.apex, config.experiments.micro_expressions.flow_grid)[task.part]
        said = loso_probabilities(task, flow, [make_linear_svm], GRID, label="optical flow", workers=options.workers)[0].argmax(1)
        print(f"{len(task.labels)} clips, {len(task.folds)} folds; optical flow + SVM: UF1 {uf1(task.labels, said, 3):.3f}", flush=True)
        shelf = Shelf(Path(folder) / "runs", Path(folder) / "steps", publish=False)
        for tried in options.tries:
            start, readout, steps, batch = tried.split(":")
            schedule = replace(config.scale.micro_finetune, steps=int(steps), batch=int(batch))
            settings = replace(config, scale=replace(config.scale, micro_finetune=schedule))
            arm = TunedArm(tried.replace(":", "-"), start, readout)
            cells = [TuningCell(arm, seed, fold, weights[start]) for seed in options.seeds for fold in range(len(task.folds))]
            made = shelf.make_all([cell.step(task, place, settings) for cell in cells], Workers(options.workers, tried))
            found = joined([cell.predictions(at, task) for cell, at in zip(cells, made, strict=True)])
            scores = [f"{uf1(part['label'], part['pred'], 3):.3f}" for _, part in found.groupby("seed")]
            print(f"{tried}: UF1 {' '.join(scores)}", flush=True)


if __name__ == "__main__":
    try:
        main()
    except LoupeError as error:
        sys.exit(str(error))
