"""Does the pre-trained encoder carry expression? A linear probe on people whom nobody else sees: `python scripts/probe_people.py`.

Needs the finished stages data and mae-face of this checkout. Logistic regression on frozen features is fitted on the study's 1,600 training
stills and scored on 1,280 stills of 40 people of a calibration seed, for the pre-trained encoder and for untrained ones. Notebook 02 shows
the same probe on the study's ten validation people, too few to tell the two apart. Prints both scores, their difference and its 95 %
interval over people and encoders.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch
from difficulty import calibration, rendered

from loupe.data.store import read_store
from loupe.evaluation.effects import effect_of
from loupe.evaluation.metrics import macro_f1
from loupe.evaluation.predictions import Label, answers, joined, labelled
from loupe.evaluation.statistics import bootstrap_interval
from loupe.training.build_encoder import build_encoder
from loupe.training.checkpoint import load_weights
from loupe.training.mae_face import linear_probe, pooled_features


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=9201, help="generator seed of the scored people, never the study's")
    parser.add_argument("--inits", type=int, default=5, help="how many untrained encoders")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    root, config = calibration(options, [])
    stills = read_store(root / "data" / "prepared" / "stills")
    train, classes = stills.split("train"), len(stills.class_names)
    with tempfile.TemporaryDirectory() as folder:
        counts = {"test_subjects": 40, "stills_per_subject": 32}
        others, _ = rendered(counts, options.seed, config.data.nuisance, "stills", options, Path(folder))
        trained = build_encoder(config)
        load_weights(root / "data" / "runs" / "mae-face" / "pretraining" / "encoder.safetensors", trained)
        encoders = [("MAE-Face", 0, trained)]
        for seed in range(options.inits):
            torch.manual_seed(seed)
            encoders.append(("untrained", seed, build_encoder(config)))
        tables = []
        for name, seed, encoder in encoders:
            predicted = linear_probe(
                pooled_features(encoder, train.images), train.labels, pooled_features(encoder, np.asarray(others.images))
            )
            tables.append(labelled(answers(others.manifest, np.eye(classes)[predicted]), Label("probe", name, seed=seed)))
            print(f"{name}, seed {seed}: macro-F1 {macro_f1(others.labels, predicted, classes):.3f}")
    found = joined(tables)
    effect = effect_of(
        found[found["arm"] == "MAE-Face"], found[found["arm"] == "untrained"], "macro_f1", classes, names=("MAE-Face", "untrained")
    )
    interval = bootstrap_interval(effect, np.random.default_rng(0))
    print(
        f"difference {interval.value:+.3f} [{interval.low:+.3f}, {interval.high:+.3f}] macro-F1, "
        f"{len(set(others.subjects))} people, one pre-training"
    )


if __name__ == "__main__":
    main()
