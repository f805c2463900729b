"""Does pre-training on generated faces help on photographs? `make real RAW=/your/faces` (docs: data/README.md, "Real faces").

Reads a folder of labelled photographs (class sub-folders, or faces.csv), brings them into the study's frame, and compares networks and
baselines in folds by person. Writes reports/tables/real-faces and a figure of curves; never a picture of a person. Finished steps are kept:
the same command continues.
"""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from loupe.config import find_root, load
from loupe.data.store import read_store
from loupe.errors import LoupeError
from loupe.evaluation.claims import read_claims
from loupe.evaluation.metrics import macro_f1
from loupe.evaluation.predictions import joined
from loupe.recording.record import Place, record_in
from loupe.reporting import tables
from loupe.reporting.curves import low_label_curves, low_label_points
from loupe.reporting.drawing import save
from loupe.session import Session
from loupe.training import real_faces, stills
from loupe.training.device import prepare_torch
from loupe.training.features_encoder import encoder_step
from loupe.training.probes import Probe, feature_step

COMMAND = "make real RAW=/your/faces"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="labelled photographs: class sub-folders, or faces.csv with path, label and subject")
    parser.add_argument("--no-align", action="store_true", help="the faces lie in the study's frame already: find and align nothing")
    parser.add_argument("-o", dest="overrides", action="append", default=[], metavar="KEY=VALUE", help="Hydra override, repeatable")
    options = parser.parse_args(arguments)
    os.environ["LOUPE_BATCH"] = "1"
    if not options.folder.is_dir():
        raise LoupeError(f"{options.folder} is not a folder: name the one that holds your labelled photographs.")
    root = find_root()
    config = real_faces.shorter(load(options.overrides, root))
    session = Session(real_faces.STAGE, config, root)
    encoder, unlabelled = session.run("mae-face", "pretraining/encoder.safetensors"), session.store("stills").manifest
    pretrained_on = set(unlabelled.loc[unlabelled["split"] == "pretrain", "subject"])
    prepare_torch(config.scale.threads)
    record_in(Place(root, real_faces.STAGE, config))
    folder = session.make(real_faces.faces_step(options.folder.resolve(), config.scale.image.size, not options.no_align))
    tasks = real_faces.tasks_of(read_store(folder), pretrained_on, config.data.seed, session.vault)
    report(session, folder, predict(session, folder, encoder, tasks), tasks)


def predict(session: Session, folder: Path, encoder: Path, tasks: list[real_faces.Task]):
    """Every arm's predictions of everybody, at each budget."""
    cells = real_faces.network_cells(session.config, folder, encoder, tasks)
    made = session.make_all([cell.step(session.config, session.scratch) for cell in cells], "networks on photographs")
    found = [stills.cell_predictions(cells, made)]
    for arm, step in {"hog": feature_step("hog", folder), "mae-probe": encoder_step(folder, encoder, session.config)}.items():
        features = session.make(step) / "features.npy"
        probes = [real_faces.probe_of(session.config, folder, features, task) for task in tasks]
        made = session.make_all([probe.step(f"{arm}-{task}") for probe, task in zip(probes, tasks, strict=True)], f"{arm} on photographs")
        found += [real_faces.probe_predictions(arm, task, Probe.answers(place)) for task, place in zip(tasks, made, strict=True)]
    session.write("answers.parquet", joined(found))  # not among the records of stages, which stage claims reads
    session.shelf.tidy()
    return joined(found)


def report(session: Session, folder: Path, predictions, tasks: list[real_faces.Task]) -> None:
    """Tables of scores and verdicts, and the curves."""
    faces, config = read_store(folder), session.config
    classes, resamples = len(faces.class_names), config.scale.statistics.resamples
    points = low_label_points(predictions, classes, np.random.default_rng(config.data.seed), resamples)
    budgets = {task.fraction: task.labels or round(np.mean([len(one.rows) for one in tasks if one.labels is None])) for task in tasks}
    scores = points.assign(fraction=points["fraction"].map(budgets)).rename(columns={"fraction": "n_labels"})
    who = f"{len(faces.labels)} photographs of {len(set(faces.subjects))} people ({', '.join(faces.class_names)})"
    how = f"{who}, {real_faces.FOLDS} folds by person, {config.scale.name} scale, encoder pre-trained on {config.data.source} faces"
    book = read_claims(session.root / "conf" / "claims.yaml")
    (sentence,) = [claim.sentence for claim in book.claims if claim.id == "mae-at-100"]
    decided = real_faces.verdicts(predictions, sentence, classes, config.data.seed, resamples)
    for name, table, words in (
        ("scores", scores, "Macro-F1 with 95 % intervals over people and seeds"),
        ("verdicts", decided, "The study's rule"),
    ):
        tables.write(table, session.tables, name, f"{words}: {how}.", command=COMMAND)
    floor = macro_f1(faces.labels, np.full(len(faces.labels), np.bincount(faces.labels).argmax()), classes)
    curves = low_label_curves(points, floor)
    save(replace(curves, caption=f"{curves.caption} Real faces: {how}."), session.figures, "curves", command=COMMAND)
    print(decided[["sentence", "effect", "low", "high", "verdict"]].round(3).to_string(index=False))


if __name__ == "__main__":
    try:
        main()
    except LoupeError as error:
        sys.exit(str(error))
