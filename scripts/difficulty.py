"""How hard is the generated set? Classical baselines alone, on people nobody else sees: `python scripts/difficulty.py`.

The bounds were set before any model of the study saw a face: HOG + logistic regression on 1,600 stills .30-.60 accuracy (8 classes, other
people), optical flow
+ linear SVM .60-.80 UF1 on 240 micro-expression clips (leave one subject out) and the frame difference below it. The seeds used here are
kept for this purpose; the study's own seed is refused, so that difficulty can never be tuned on a test set. Prints one Markdown table a
task. The AU-vector oracle is the ceiling: it reads the true action units. `--cnn-steps 1500` adds a small convolutional network on the
stills (some minutes a seed).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import accuracy_score, f1_score

from loupe.config import Config, find_root, load
from loupe.data.clips import onset_and_apex
from loupe.data.store import Store, read_store
from loupe.errors import LoupeError
from loupe.experiments import Arm
from loupe.faces.generate import prepare
from loupe.faces.motion import DIALS
from loupe.faces.plan import StudySetPlan, generator_version
from loupe.models.baselines.au_oracle import features_au
from loupe.models.baselines.frame_difference import features_frame_difference
from loupe.models.baselines.hog import features_hog
from loupe.models.baselines.linear import choose_setting, make_linear_svm, make_logistic_regression
from loupe.models.baselines.optical_flow import features_flow
from loupe.progress import track
from loupe.training.stills import Labelled, StillCell, StillData, finetune, predict

FIRST_SEED = 9100  # calibration seeds count from here
CNN_RATE = 1e-3
GRID = (0.001, 0.01, 0.1, 1.0)  # of C: strongest regularisation first


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[FIRST_SEED + 1, FIRST_SEED + 2], help="generator seeds, never the study's")
    parser.add_argument("--nuisance", type=int, nargs="+", default=list(range(len(DIALS))), help="positions of the dial for the clips")
    parser.add_argument("--size", type=int, default=64, help="px")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--skip-stills", action="store_true")
    parser.add_argument("--skip-clips", action="store_true")
    parser.add_argument("--cnn-steps", type=int, default=0, help="batches of 32 stills for a small CNN; 0 leaves it out")
    options = parser.parse_args()
    study = load([]).data.seed
    if study in options.seeds:
        raise LoupeError(f"Seed {study} draws the study's own people: difficulty is measured on others; take seeds from {FIRST_SEED}.")
    print(f"Generator {generator_version()}, {options.size} px\n")
    with tempfile.TemporaryDirectory() as folder:
        if not options.skip_stills:
            plan = {"train_subjects": 50, "test_subjects": 40, "stills_per_subject": 32}
            rows = []
            for seed in options.seeds:
                rows.append({"seed": seed, **stills(rendered(plan, seed, 1, "stills", options, Path(folder)), options)})
                print(rows[-1], file=sys.stderr, flush=True)  # minutes a seed: what is measured is said at once
            report("Stills: 1,600 of 50 people to train, 1,280 of 40 others to test, accuracy", rows)
        rows = []
        for nuisance in [] if options.skip_clips else options.nuisance:
            for seed in options.seeds:
                plan = {"micro_subjects": 20, "micro_clips": 240}
                rows.append({"nuisance": nuisance, "seed": seed, **micro(rendered(plan, seed, nuisance, "micro", options, Path(folder)))})
                print(rows[-1], file=sys.stderr, flush=True)
        if rows:
            report("Micro-expressions: 240 clips of 20 people, onset and apex, leave one subject out, UF1", rows)


def calibration(options, overrides: Sequence[str]) -> tuple[Path, Config]:
    """The project's root and the settings; people of `options.seed` are drawn at their size. Raises LoupeError for the study's own seed."""
    root = find_root()
    config = load(list(overrides), root)
    options.size = config.scale.image.size
    if options.seed == config.data.seed:
        raise LoupeError(f"Seed {options.seed} draws the study's own people, its test people among them: take another.")
    return root, config


def rendered(counts: dict, seed: int, nuisance: int, name: str, options, folder: Path) -> tuple[Store, Path]:
    """Draw one set into the folder; returns its store and where it lies."""
    plan = StudySetPlan(seed=seed, size=options.size, nuisance=nuisance, **counts)
    out = folder / f"{name}-{seed}-{nuisance}"
    prepare(plan, out, folder / "people", options.workers, find_root() / "data" / "scratch" / "assets")
    return read_store(out / name), out / name


def stills(prepared: tuple[Store, Path], options) -> dict[str, float]:
    """Accuracy of HOG + logistic regression and of the AU oracle, C by inner people, and of a small CNN whose steps were fixed
    beforehand."""
    store, _ = prepared
    train, test = (store.rows((store.manifest["split"] == name).to_numpy()) for name in ("train", "test"))  # nobody of the study
    scores = {}
    for name, describe in (
        ("HOG", lambda part: features_hog(np.asarray(part.images))),
        ("AU oracle", lambda part: features_au(part.manifest["au"])),
    ):
        x = describe(train)
        c = choose_setting(make_logistic_regression, x, train.labels, train.subjects, grid=GRID)
        predicted = make_logistic_regression(c).fit(x, train.labels).predict(describe(test))
        scores[name] = accuracy_score(test.labels, predicted)
    if options.cnn_steps:
        scores["small CNN"] = accuracy_score(test.labels, small_cnn(store, options))
    return scores


def small_cnn(store: Store, options) -> np.ndarray:
    """Classes that a small VGG, trained from scratch on the training people, gives to the test people."""
    config = load(["scale=laptop"])
    recipe = replace(config.scale.finetune, min_steps=options.cnn_steps, max_steps=options.cnn_steps, scratch_times=1, lr_scratch=CNN_RATE)
    config = replace(config, scale=replace(config.scale, finetune=recipe, image=replace(config.scale.image, size=options.size)))
    arm = Arm(name="small-cnn", variant="small-cnn", init="scratch")
    train, test = (np.flatnonzero(store.manifest["split"] == name) for name in ("train", "test"))
    data = Labelled(Store(np.asarray(store.images), store.manifest), None)
    with tempfile.TemporaryDirectory() as checkpoints:
        model, _ = finetune(config, StillCell(arm, 1.0, 0, StillData(Path(), train, test, Path())), data, train, Path(checkpoints))
    return predict(model, arm, data, test).argmax(1)


def micro(prepared: tuple[Store, Path]) -> dict[str, float]:
    """UF1 of flow, frame difference and AU oracle, and how much stronger |apex - onset| is where the expression moves the face."""
    store, folder = prepared
    pairs = onset_and_apex(store, labelled_only=True)
    apex = store.manifest[store.manifest["role"] == "apex"].set_index("clip")
    features = {
        "flow": features_flow(pairs.onset, pairs.apex, 16),
        "frame difference": features_frame_difference(pairs.onset, pairs.apex, 16),
        "AU oracle": features_au(apex.loc[list(pairs.clips), "au"]),
    }
    scores = {name: leave_one_out(x, pairs.labels, pairs.subjects, name) for name, x in features.items()}
    motion = np.load(folder / "motion.npy")[pairs.clip_index]
    energy = ((pairs.apex.astype(float) - pairs.onset) ** 2).mean(-1)
    region = motion > 0.1 * motion.max((1, 2), keepdims=True)
    inside, outside = (np.array([e[m].mean() for e, m in zip(energy, mask, strict=True)]) for mask in (region, ~region))
    return scores | {"energy inside / outside": float(np.median(inside / np.maximum(outside, 1e-9)))}


def leave_one_out(x: np.ndarray, y: np.ndarray, people: np.ndarray, name: str) -> float:
    predicted = np.empty_like(y)
    for person in track(np.unique(people), name):
        rest = people != person
        c = choose_setting(make_linear_svm, x[rest], y[rest], people[rest], grid=GRID)
        predicted[~rest] = make_linear_svm(c).fit(x[rest], y[rest]).predict(x[~rest])
    return f1_score(y, predicted, average="macro")


def report(title: str, rows: list[dict]) -> None:
    table = pd.DataFrame(rows)
    lines = ["| " + " | ".join(table.columns) + " |", "|" + "---|" * len(table.columns)]
    lines += [
        "| " + " | ".join(f"{v:.3f}" if isinstance(v, float) else str(v) for v in row) + " |" for row in table.itertuples(index=False)
    ]
    print(f"{title}\n\n" + "\n".join(lines) + "\n", flush=True)


if __name__ == "__main__":
    try:
        main()
    except LoupeError as error:
        sys.exit(str(error))
