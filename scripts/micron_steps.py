"""Is Micron-BERT merely trained too briefly? `python scripts/micron_steps.py [--times 5]`, on calibration people who are in no split of the
study.

Needs the finished stages data and micron-bert of this checkout. The untrained network, the study's own weights and pre-trainings with so
many times the epochs (the same schedule, stretched) are read on 240 clips of 20 people of a calibration seed: UF1 of linear heads, leave
one subject out, beside optical flow + linear SVM; rank correlation of DMA with the true motion; and what remains of the picture after the
network against what swapping changes in it. Prints a line each, for docs/log.md.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from difficulty import GRID, calibration, rendered

from loupe.data.clips import onset_and_apex
from loupe.data.store import read_store
from loupe.errors import LoupeError
from loupe.evaluation.explain import localisation_scores
from loupe.evaluation.metrics import uf1
from loupe.evaluation.protocols import loso_folds
from loupe.models.baselines.linear import make_linear_svm
from loupe.models.baselines.optical_flow import features_flow
from loupe.training.build_micron import build_micron_bert
from loupe.training.checkpoint import load_weights
from loupe.training.clip_steps import head_recipe
from loupe.training.clip_tasks import clip_tasks
from loupe.training.device import prepare_torch
from loupe.training.features_micron import onset_apex_features
from loupe.training.loso import loso_heads, loso_probabilities
from loupe.training.micro import patch_maps, pretrain, swap_signal


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scale", default="laptop")
    parser.add_argument("--times", type=int, nargs="+", default=[5], help="multiples of the scale's epochs")
    parser.add_argument(
        "--seed", type=int, default=9301, help="generator seed of the people whom the features are read on, never the study's"
    )
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    root, config = calibration(options, [f"scale={options.scale}"])
    prepare_torch(config.scale.threads)
    clips, seed = read_store(root / "data" / "prepared" / "clips"), config.scale.seeds[0]
    with tempfile.TemporaryDirectory() as folder:
        counts = {"micro_subjects": 20, "micro_clips": 240}
        others, place = rendered(counts, options.seed, config.data.nuisance, "micro", options, Path(folder))
        pairs = onset_and_apex(others, labelled_only=True)
        motion, task = np.load(place / "motion.npy")[pairs.clip_index], clip_tasks(pairs, loso_folds(pairs.subjects))["micro"]
        flow = features_flow(pairs.onset, pairs.apex, config.experiments.micro_expressions.flow_grid)
        said = loso_probabilities(task, flow, [make_linear_svm], GRID, label="optical flow", workers=options.workers)[0].argmax(1)
        print(
            f"{len(pairs.clips)} clips of {len(set(pairs.subjects))} people of seed {options.seed}; "
            f"optical flow + SVM: UF1 {uf1(task.labels, said, 3):.3f}",
            flush=True,
        )

        def read(name: str, model, loss: str = "") -> None:
            heads = loso_heads(
                task, onset_apex_features(model, pairs.onset, pairs.apex, config.experiments.micro_expressions.readout), head_recipe(config)
            )
            scores = [uf1(task.labels, found.argmax(1), 3) for found in heads]
            found = localisation_scores(patch_maps(model, pairs.onset, pairs.apex)["dma"], motion, config.scale.image.patch)[
                "rank_correlation"
            ].mean()
            signal = {part: f"{value:.4f}" for part, value in swap_signal(model, config, clips, seed).items()}
            print(
                f"{name}: UF1 {np.mean(scores):.3f} ± {np.std(scores, ddof=1):.3f} over {len(scores)} head seeds, "
                f"DMA {found:+.3f}, {signal}{loss}",
                flush=True,
            )

        read("untrained", build_micron_bert(config, seed).eval())
        model = build_micron_bert(config, seed)
        load_weights(root / "data" / "runs" / "micron-bert" / "pretraining" / "micron_bert.safetensors", model)
        read(f"{config.scale.micron.epochs} epochs (the study's)", model.eval())
        for times in options.times:
            longer = replace(
                config.scale.micron, epochs=times * config.scale.micron.epochs, warmup_epochs=times * config.scale.micron.warmup_epochs
            )
            model, history = pretrain(replace(config, scale=replace(config.scale, micron=longer)), clips, seed, Path(folder) / f"{times}")
            read(
                f"{longer.epochs} epochs",
                model,
                f", loss {history[0]['loss']:.3f} to {history[-1]['loss']:.3f} in {history[-1]['step'] + 1} steps",
            )


if __name__ == "__main__":
    try:
        main()
    except LoupeError as error:
        sys.exit(str(error))
