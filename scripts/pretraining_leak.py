"""A lesson (design, Protocol 2): what does pre-training on the test people, without a label of theirs, fake? `python
scripts/pretraining_leak.py`.

Needs the finished stage data of this checkout. Each pre-training is done twice from one seed: on the people meant for it, and with some of
them exchanged for the test people, as many pictures each. Nothing else differs. MAE-Face is read by the linear probe of notebook 02, fitted
on the training people and scored on the test people, and on the validation people, whom neither pre-training saw; Micron-BERT by the heads
of notebook 05, leave one subject out. The guard that refuses such a pre-training is asked first. Every opening of test people is written to
the vault's log. Prints the points that the leak adds, with 95 % intervals over people and, of several pairs, over pre-trainings; they go to
docs/log.md and nowhere else.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from loupe.config import Config, find_root, load
from loupe.data.clips import onset_and_apex
from loupe.data.store import Store, read_store, write_store
from loupe.errors import LoupeError
from loupe.evaluation.effects import effect_of
from loupe.evaluation.guards import Vault, check_pretraining_overlap
from loupe.evaluation.predictions import Label, answers, joined, labelled
from loupe.evaluation.protocols import Split, loso_folds
from loupe.evaluation.statistics import bootstrap_interval
from loupe.steps import Shelf
from loupe.training import mae_face, micro
from loupe.training.build_encoder import build_encoder
from loupe.training.build_micron import build_micron_bert
from loupe.training.checkpoint import load_weights
from loupe.training.clip_steps import head_recipe
from loupe.training.clip_tasks import clip_tasks
from loupe.training.device import resolve_device, workers_on
from loupe.training.features_micron import onset_apex_features
from loupe.training.jobs import Workers
from loupe.training.loso import loso_heads

HONEST, LEAKING = "honest", "leaking"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--what", choices=("mae", "micron"), nargs="+", default=["mae", "micron"])
    parser.add_argument("--scale", default="laptop")
    parser.add_argument("--mae-epochs", type=int, help="epochs of both MAE pre-trainings; default: the scale's")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="a pair of pre-trainings each")
    options = parser.parse_args()
    root = find_root()
    config = load([f"scale={options.scale}"], root)
    if options.mae_epochs:
        shorter = replace(config.scale.mae, epochs=options.mae_epochs)
        config = replace(config, scale=replace(config.scale, mae=shorter))
    vault = Vault("pretraining-leak", root / "data" / "logs" / "vault.jsonl")
    for what in options.what:
        pool, test = pretraining_and_test(what, root / "data" / "prepared", vault)
        refused(pool, test)
        with tempfile.TemporaryDirectory() as folder:
            runs = {(arm, seed): with_seed(config, seed) for seed in options.seeds for arm in (HONEST, LEAKING)}
            for arm, seen in ((HONEST, pool), (LEAKING, leaking(pool, test, config.data.seed))):
                write_store(Path(folder) / arm, seen.images, seen.manifest)
            step_of = mae_face.pretraining_step if what == "mae" else partial(micro.pretraining_step, "pretraining")
            steps = [step_of(Path(folder) / arm, own) for (arm, _), own in runs.items()]
            workers = Workers(workers_on(resolve_device(config.scale.device), config.scale.workers), f"{what}, pre-training")
            made = Shelf(Path(folder) / "runs", Path(folder) / "steps", publish=False).make_all(steps, workers)
            read = partial(probed, vault=vault) if what == "mae" else left_out
            found = joined([read(own, root, arm, seed, made_of) for ((arm, seed), own), made_of in zip(runs.items(), made, strict=True)])
        report(what, found, len(options.seeds))


def with_seed(config: Config, seed: int) -> Config:
    return replace(config, scale=replace(config.scale, seeds=[seed]))


def pretraining_and_test(what: str, prepared: Path, vault: Vault) -> tuple[Store, Store]:
    """The pictures meant for pre-training, and those of the test people."""
    reason = f"lesson: what {what} pre-training on test people fakes"
    if what == "mae":
        stills = read_store(prepared / "stills")
        return stills.split("pretrain"), stills.rows(vault.open(Split.from_manifest(stills.manifest), stills.manifest, reason))
    clips, expressions = read_store(prepared / "clips"), read_store(prepared / "micro")
    vault.open_folds(
        loso_folds(expressions.subjects, pretrain=set(clips.subjects)), expressions.manifest, f"{reason}, leave one subject out"
    )
    return clips.rows(np.arange(len(clips.images))), expressions.rows(
        np.lexsort((expressions.manifest["frame"], expressions.manifest["clip"]))
    )


def leaking(pool: Store, test: Store, seed: int) -> Store:
    """`pool` with as many of its people as `test` has exchanged for those of `test`, each with as many pictures as the others."""
    rng, people = np.random.default_rng([seed, 79]), np.unique(test.subjects)
    each = pool.manifest["subject"].value_counts()
    if each.nunique() > 1 or len(people) > len(each) or test.manifest["subject"].value_counts().min() < each.min():
        raise LoupeError("An exchange needs as many pictures of everybody, and no more test people than people of pre-training.")
    leaves = rng.choice(np.unique(pool.subjects), len(people), replace=False)
    kept = pool.rows(~pool.manifest["subject"].isin(leaves).to_numpy())
    come = test.rows((test.manifest.groupby("subject").cumcount() < each.min()).to_numpy())
    table = pd.concat([kept.manifest, come.manifest], ignore_index=True).assign(split=pool.manifest["split"].iloc[0])
    return Store(np.concatenate([kept.images, come.images]), table)


def refused(pool: Store, test: Store) -> None:
    """Say what the guard says of the leak, and stop if it says nothing."""
    try:
        check_pretraining_overlap({*pool.subjects, *test.subjects}, test.subjects)
    except LoupeError as error:
        print(f"The guard: {error}", flush=True)
        return
    raise LoupeError("The guard let a pre-training on test people pass.")


def probed(config: Config, root: Path, arm: str, seed: int, made: Path, vault: Vault) -> pd.DataFrame:
    """Predictions of the linear probe on test and validation people."""
    stills = read_store(root / "data" / "prepared" / "stills")
    split, train = Split.from_manifest(stills.manifest), stills.split("train")
    encoder = build_encoder(config)
    load_weights(made / "encoder.safetensors", encoder)
    x, parts = mae_face.pooled_features(encoder, train.images), []
    for rows in (vault.open(split, stills.manifest, f"lesson: linear probe, {arm}"), split.rows(stills.manifest, "val")):
        scored = stills.rows(rows)
        said = mae_face.linear_probe(x, train.labels, mae_face.pooled_features(encoder, scored.images))
        parts.append(labelled(answers(scored.manifest, np.eye(len(stills.class_names))[said]), Label("probe", arm, seed=seed)))
    return joined(parts)


def left_out(config: Config, root: Path, arm: str, seed: int, made: Path) -> pd.DataFrame:
    """Predictions of the heads of notebook 05, one head seed a pre-training."""
    pairs = onset_and_apex(read_store(root / "data" / "prepared" / "micro"), labelled_only=True)
    task = clip_tasks(pairs, loso_folds(pairs.subjects))["micro"]
    model = build_micron_bert(config, seed)
    load_weights(made / "micron_bert.safetensors", model)
    (said,) = loso_heads(
        task, onset_apex_features(model, pairs.onset, pairs.apex, config.experiments.micro_expressions.readout), head_recipe(config)
    )
    return labelled(answers(task.rows, said).assign(fold=task.subjects), Label(task.name, arm, seed=seed))


def report(what: str, found: pd.DataFrame, pairs: int) -> None:
    metric, classes = ("macro_f1", 8) if what == "mae" else ("uf1", 3)
    for split, part in found.groupby("split", sort=False):
        arms = {arm: part[part["arm"] == arm] for arm in (HONEST, LEAKING)}
        alone = {
            arm: float(effect_of(table, None, metric, classes, names=(arm, "")).resampled(np.ones((1, table["subject"].nunique())))[0])
            for arm, table in arms.items()
        }
        gain = bootstrap_interval(
            effect_of(arms[LEAKING], arms[HONEST], metric, classes, names=(LEAKING, HONEST)), np.random.default_rng(0)
        )
        people = f"{part['subject'].nunique()} {split} people" if what == "mae" else f"{part['subject'].nunique()} people left out in turn"
        print(
            f"{what}, {people}, {pairs} pair(s) of pre-trainings: {metric} honest {alone[HONEST]:.3f}, leaking {alone[LEAKING]:.3f}, "
            f"the leak adds {100 * gain.value:+.1f} [{100 * gain.low:+.1f}, {100 * gain.high:+.1f}] points",
            flush=True,
        )


if __name__ == "__main__":
    try:
        main()
    except LoupeError as error:
        sys.exit(str(error))
