"""A lesson (design, Protocol 2): what does pre-training on the test people, without a label of theirs, fake? `python scripts/pretraining_leak.py`.

Needs the finished stage data of this checkout. Each pre-training is done twice from one seed: on the people meant for it, and with some of them exchanged for
the test people, as many pictures each. Nothing else differs. MAE-Face is read by the linear probe of notebook 02, fitted on the training people and scored on
the test people, and on the validation people, whom neither pre-training saw; Micron-BERT by the heads of notebook 05, leave one subject out. The guard that
refuses such a pre-training is asked first. Every opening of test people is written to the vault's log. Prints the points that the leak adds, with 95 %
intervals over people; they go to docs/log.md and nowhere else.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from loupe.config import Config, find_root, load
from loupe.data.clips import onset_and_apex
from loupe.data.store import Store, read_store
from loupe.errors import LoupeError
from loupe.evaluation.effects import effect_of
from loupe.evaluation.guards import Vault, check_pretraining_overlap
from loupe.evaluation.protocols import Split, loso_folds
from loupe.evaluation.statistics import bootstrap_interval
from loupe.training import mae_face, micro
from loupe.training.build_mae import build_encoder
from loupe.training.build_micron import build_micron_bert
from loupe.training.checkpoint import load_weights, save_weights
from loupe.training.clip_tasks import clip_tasks, head_predictions
from loupe.training.device import resolve_device, workers_on
from loupe.training.jobs import Job, run_jobs
from loupe.training.stills import prediction_table

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
            files = {(arm, seed): Path(folder) / f"{arm}-{seed}.safetensors" for seed in options.seeds for arm in (HONEST, LEAKING)}
            seen = {HONEST: pool, LEAKING: leaking(pool, test, config.data.seed)}
            jobs = [
                Job(file, pretrained, (file, what, config, seen[arm], seed, file.with_suffix(""))) for (arm, seed), file in files.items()
            ]
            run_jobs(jobs, f"{what}, pre-training", workers=workers_on(resolve_device(config.scale.device), config.scale.workers))
            read = probed if what == "mae" else left_out
            found = pd.concat([read(config, root, arm, seed, file) for (arm, seed), file in files.items()], ignore_index=True)
        report(what, found, len(options.seeds))


def pretraining_and_test(what: str, prepared: Path, vault: Vault) -> tuple[Store, Store]:
    """The pictures meant for pre-training, and those of the test people."""
    reason = f"lesson: what {what} pre-training on test people fakes"
    if what == "mae":
        stills = read_store(prepared / "stills")
        return stills.split("pretrain"), stills.rows(vault.open(Split.from_manifest(stills.manifest), stills.manifest, reason))
    clips, expressions = read_store(prepared / "clips"), read_store(prepared / "micro")
    fold = loso_folds(expressions.subjects, pretrain=set(clips.subjects))[0]
    vault.open(fold, expressions.manifest, f"{reason}, leave one subject out, all folds")
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
    table = pd.concat([kept.manifest, come.manifest], ignore_index=True)
    return Store(np.concatenate([kept.images, come.images]), table.assign(sample=np.arange(len(table))))


def refused(pool: Store, test: Store) -> None:
    """Say what the guard says of the leak, and stop if it says nothing."""
    try:
        check_pretraining_overlap({*pool.subjects, *test.subjects}, test.subjects)
    except LoupeError as error:
        print(f"The guard: {error}", flush=True)
        return
    raise LoupeError("The guard let a pre-training on test people pass.")


def pretrained(path: Path, what: str, config: Config, seen: Store, seed: int, checkpoints: Path) -> None:
    if what == "mae":
        model, _ = mae_face.pretrain(config, np.ascontiguousarray(seen.images), seed, checkpoints)
        model = model.encoder
    else:
        model, _ = micro.pretrain(config, seen, seed, checkpoints)
    save_weights(path, model)


def probed(config: Config, root: Path, arm: str, seed: int, file: Path) -> pd.DataFrame:
    """Predictions of the linear probe on test and validation people."""
    stills = read_store(root / "data" / "prepared" / "stills")
    encoder = build_encoder(config)
    load_weights(file, encoder)
    train, parts = stills.split("train"), []
    x = mae_face.pooled_features(encoder, train.images)
    for split in ("test", "val"):
        scored = stills.split(split)
        said = mae_face.linear_probe(x, train.labels, mae_face.pooled_features(encoder, scored.images))
        parts.append(prediction_table("probe", arm, 1.0, seed, scored.manifest, np.eye(len(stills.class_names))[said]))
    return pd.concat(parts, ignore_index=True)


def left_out(config: Config, root: Path, arm: str, seed: int, file: Path) -> pd.DataFrame:
    """Predictions of the heads of notebook 05, one head seed a pre-training."""
    pairs = onset_and_apex(read_store(root / "data" / "prepared" / "micro"), labelled_only=True)
    model = build_micron_bert(config, seed)
    load_weights(file, model)
    once = replace(config, scale=replace(config.scale, seeds=[seed]))
    return head_predictions(clip_tasks(pairs)["micro"], arm, micro.onset_apex_features(model, pairs.onset, pairs.apex), once)


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
