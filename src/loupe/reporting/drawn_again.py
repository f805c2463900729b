"""Each figure of the study, drawn from what its stage left behind: predictions, records, maps, weights. Nothing is trained.

Functions that load a network import it themselves: most figures need none.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from loupe.data.clips import onset_and_apex, with_true_motion
from loupe.data.store import Store, read_store
from loupe.errors import LoupeError
from loupe.evaluation.claims import Cell, cell_predictions, read_predictions
from loupe.evaluation.effects import effect_of
from loupe.evaluation.metrics import macro_f1
from loupe.evaluation.protocols import Split
from loupe.evaluation.statistics import bootstrap_interval
from loupe.faces.motion import MICRO_CLASSES
from loupe.reporting.conditions import condition_plot, condition_scores
from loupe.reporting.confusion import confusion_matrix
from loupe.reporting.curves import low_label_curves, low_label_points, training_curves
from loupe.reporting.drawing import Drawing
from loupe.reporting.effects import ablation_effects, effect_plot
from loupe.reporting.faces import contact_sheet, face_rows, hide_patches, maps_over_faces, reconstruction_strip
from loupe.reporting.finished import Finished
from loupe.reporting.loso import loso_subjects
from loupe.reporting.samples import clip_strip, other_looks
from loupe.reporting.skew import skew_curve, skew_points
from loupe.reporting.timeline import clip_timeline

FIGURES: dict[str, Callable[[Finished], Drawing]] = {}


def figure(name: str) -> Callable[[Callable[[Finished], Drawing]], Callable[[Finished], Drawing]]:
    def register(function: Callable[[Finished], Drawing]) -> Callable[[Finished], Drawing]:
        FIGURES[name] = function
        return function

    return register


@figure("start-here/classes")
def _classes(results: Finished) -> Drawing:
    store = results.store("labelled")
    train = store.split("train")
    number = len(store.class_names)
    chosen = np.concatenate(
        [np.flatnonzero(train.labels == label)[:: max(1, (train.labels == label).sum() // 2)][:2] for label in range(number)]
    )
    order = np.concatenate([chosen[0::2], chosen[1::2]])
    return contact_sheet(np.asarray(train.images[order]), columns=number, names=store.class_names, caption=results.caption)


@figure("data/people-and-classes")
def _people_and_classes(results: Finished) -> Drawing:
    store = results.store("labelled")
    names, train = store.class_names, store.split("train")
    people = sorted(set(train.subjects))[:6]
    blank = np.full_like(train.images[0], 255)
    faces = []
    for person in people:
        for label in range(len(names)):
            found = train.manifest.index[(train.subjects == person) & (train.labels == label)]
            faces.append(train.images[found[0]] if len(found) else blank)
    return contact_sheet(np.stack(faces), columns=len(names), names=names, row_names=people, caption=results.caption)


@figure("data/pretraining-faces")
def _pretraining_faces(results: Finished) -> Drawing:
    images = results.store("stills").split("pretrain").images
    chosen = np.random.default_rng(0).choice(len(images), min(48, len(images)), replace=False)
    return contact_sheet(images[np.sort(chosen)], columns=12, caption=results.caption)


@figure("data/other-looks")
def _other_looks(results: Finished) -> Drawing:
    drawing = other_looks(*(results.store(name) for name in ("labelled", "camera", "shift")), caption=results.caption)
    if drawing is None:
        raise LoupeError("data/other-looks is not drawn: these faces have neither a second camera nor held-out looks.")
    return drawing


@figure("data/macro-clip")
def _macro_clip(results: Finished) -> Drawing:
    drawing = clip_strip(results.store("macro"), caption=results.caption)
    if drawing is None:
        raise LoupeError("data/macro-clip is not drawn: these faces come without ordinary clips.")
    return drawing


def _clips(results: Finished) -> tuple[Store, np.ndarray]:
    """Generated micro-expression clips and the true motion of each, in the order of their names."""
    known = with_true_motion(results.needed(Path("data/prepared/micro")))
    return read_store(known), np.load(known / "motion.npy")


def _moving(micro: Store) -> pd.DataFrame:
    return micro.manifest[(micro.manifest["role"] == "apex") & (micro.manifest["label"] >= 0)]


@figure("data/micro-clip")
def _micro_clip(results: Finished) -> Drawing:
    micro, _ = _clips(results)
    moving = _moving(micro)
    frames = micro.manifest[micro.manifest["clip"] == moving.iloc[len(moving) // 2]["clip"]].sort_values("frame")
    images = np.asarray(micro.images[frames["sample"].to_numpy()])
    difference = np.clip(128 + 10 * (images.astype(int) - images[:1].astype(int)), 0, 255).astype(np.uint8)
    names = [f"{role} ({frame})" for role, frame in zip(frames["role"], frames["frame"], strict=True)]
    return face_rows({"frame": images, "10 × (frame − onset)": difference}, names=names, caption=results.caption, alt=results.alt)


@figure("data/micro-motion")
def _micro_motion(results: Finished) -> Drawing:
    micro, motion = _clips(results)
    clips, moving = sorted(set(micro.manifest["clip"])), _moving(micro)
    some = moving.iloc[np.linspace(0, len(moving) - 1, 6).round().astype(int)]
    onsets = micro.manifest[micro.manifest["role"] == "onset"].set_index("clip")["sample"]
    faces = np.asarray(micro.images[onsets.loc[some["clip"]].to_numpy()])
    gap = np.abs(np.asarray(micro.images[some["sample"].to_numpy()]).astype(float) - faces).mean(-1)
    true_motion = motion[[clips.index(name) for name in some["clip"]]]
    names = list(some["label_name"])
    return maps_over_faces(faces, {"|apex − onset|": gap}, motion=true_motion, names=names, unit="grey levels", caption=results.caption)


@figure("mae-face/training-curve")
def _mae_curve(results: Finished) -> Drawing:
    return training_curves(pd.read_parquet(results.run("mae-face", "history.parquet")), caption=results.caption)


@figure("mae-face/reconstructions")
def _reconstructions(results: Finished) -> Drawing:
    import torch

    from loupe.data.augment import to_float, to_uint8
    from loupe.training.build import build_mae
    from loupe.training.checkpoint import load_weights

    model = build_mae(results.config)
    load_weights(results.run("mae-face", "mae.safetensors"), model)
    model.eval()
    images = results.store("stills").split("val").images
    count = min(8, len(images))
    chosen = np.random.default_rng(1).choice(len(images), count, replace=False)
    faces = np.ascontiguousarray(images[np.sort(chosen)])
    noise = torch.rand(count, model.encoder.patches, generator=torch.Generator().manual_seed(0))
    pixels = to_float(torch.from_numpy(faces))
    with torch.inference_mode():
        hidden = model(pixels, noise)["masked"].numpy()
        rebuilt = to_uint8(model.reconstruct(pixels, noise), torch.from_numpy(faces)).numpy()
    return reconstruction_strip(faces, hide_patches(faces, hidden, results.config.scale.image.patch), rebuilt, caption=results.caption)


@figure("dual-view/views")
def _views(results: Finished) -> Drawing:
    from loupe.training.stills import with_views

    config = results.config
    data = with_views(results.needed(Path("data/prepared/labelled")), config, config.experiments.dual_view.arms)
    train = Split.from_manifest(data.store.manifest).rows(data.store.manifest, "train")
    shown = train[np.linspace(0, len(train) - 1, 8).round().astype(int)]
    rows = {"examined": data.store.images[shown]} | {name: view[shown] for name, view in data.views.items()}
    return face_rows(rows, caption=results.caption, alt=results.alt)


@figure("dual-view/confusion")
def _stills_confusion(results: Finished) -> Drawing:
    predictions = results.predictions("dual-view")
    arms = [arm.name for arm in results.config.experiments.dual_view.arms]
    best = "concat" if "concat" in arms else arms[0]
    return confusion_matrix(predictions[predictions["split"] == "test"], results.store("labelled").class_names, arm=best)


@figure("dual-view/conditions")
def _conditions(results: Finished) -> Drawing:
    further = pd.read_parquet(results.run("dual-view", "conditions.parquet"))
    classes = len(results.store("labelled").class_names)
    return condition_plot(condition_scores(results.predictions("dual-view"), further, classes), caption=results.caption)


@figure("dual-view/importance")
def _importance(results: Finished) -> Drawing:
    store = results.store("labelled")
    val = Split.from_manifest(store.manifest).rows(store.manifest, "val")
    shown = val[np.linspace(0, len(val) - 1, 8).round().astype(int)]
    importance, share = np.load(results.run("dual-view", "maps.npy"))
    names = [store.class_names[i] for i in store.labels[shown]]
    maps = {"importance g": importance, "local share of view 2": share}
    return maps_over_faces(np.asarray(store.images[shown]), maps, names=names, unit="", caption=results.caption)


@figure("micron-bert/training-curves")
def _micron_curves(results: Finished) -> Drawing:
    return training_curves(pd.read_parquet(results.run("micron-bert", "history.parquet")), caption=results.caption)


@figure("micron-bert/maps")
def _micron_maps(results: Finished) -> Drawing:
    from loupe.training.build import build_micron_bert
    from loupe.training.checkpoint import load_weights
    from loupe.training.micro import patch_maps

    model = build_micron_bert(results.config, results.config.scale.seeds[0])
    load_weights(results.run("micron-bert", "micron_bert.safetensors"), model)
    micro, motion = _clips(results)
    pairs = onset_and_apex(micro, labelled_only=True)
    motion = motion[pairs.clip_index]
    maps = patch_maps(model, pairs.onset, pairs.apex)
    strongest = np.argsort(-motion.max(axis=(1, 2)), kind="stable")[:6]
    side = model.encoder.grid[0]
    shown = {
        label: maps[key].reshape(-1, side, side)[strongest] for label, key in (("DMA", "dma"), ("PoI", "poi"), ("DMA × PoI", "weight"))
    }
    names = [pairs.label_names[i] for i in strongest]
    return maps_over_faces(pairs.onset[strongest], shown, motion=motion[strongest], names=names, caption=results.caption)


@figure("micro-expressions/confusion")
def _micro_confusion(results: Finished) -> Drawing:
    predictions = results.predictions("micro-expressions")
    return confusion_matrix(predictions[predictions["task"] == "micro"], list(MICRO_CLASSES), arm="micron-bert")


@figure("micro-expressions/people")
def _micro_people(results: Finished) -> Drawing:
    predictions = results.predictions("micro-expressions")
    methods = [method for method in results.config.experiments.micro_expressions.methods if method != "majority"]
    return loso_subjects(predictions[predictions["task"] == "micro"], arms=methods)


def _part_effects(results: Finished, task: str) -> Drawing:
    experiment = results.config.experiments.ablations
    stills = task == "stills"
    share = experiment.fraction if stills else 1.0
    reference = Cell("dual-view", "concat", share) if stills else Cell("micro-expressions", "micron-bert")
    metric, word = ("macro_f1", "macro-F1") if stills else ("uf1", "UF1")
    classes = len(results.store("labelled").class_names) if stills else len(MICRO_CLASSES)
    runs = read_predictions(results.run("ablations", "predictions.parquet").parents[1])
    full = cell_predictions(reference, task, runs)
    rows = []
    for arm in experiment.arms if stills else experiment.micro:
        without = cell_predictions(Cell("ablations", arm.name, share), task, runs)
        effect = effect_of(without, full, metric, classes)
        interval = bootstrap_interval(effect, np.random.default_rng(0), resamples=results.config.scale.statistics.resamples)
        rows.append({"arm": arm.name, "effect": interval.value, "low": interval.low, "high": interval.high})
    return ablation_effects(pd.DataFrame(rows), reference.arm, xlabel=f"change of {word} when the part is taken out")


@figure("ablations/effects-stills")
def _stills_effects(results: Finished) -> Drawing:
    return _part_effects(results, "stills")


@figure("ablations/effects-micro")
def _micro_effects(results: Finished) -> Drawing:
    return _part_effects(results, "micro")


@figure("ablations/skew")
def _skew(results: Finished) -> Drawing:
    predictions = results.predictions("ablations")
    doses, resamples = results.config.experiments.ablations.skew, results.config.scale.statistics.resamples
    return skew_curve(skew_points(predictions[predictions["task"] == "micro"], doses, len(MICRO_CLASSES), resamples))


@figure("low-label/curves")
def _low_label(results: Finished) -> Drawing:
    predictions = results.predictions("low-label")
    tested = predictions[(predictions["split"] == "test") & (predictions["task"] == "stills")]
    classes = len(results.store("labelled").class_names)
    levels = ("au-oracle", "majority")
    resamples = results.config.scale.statistics.resamples
    curves = tested[~tested["arm"].isin(levels) & ~tested["arm"].str.endswith("-people")]
    points = low_label_points(curves, classes, np.random.default_rng(0), resamples=resamples)
    level = {name: macro_f1(part["label"], part["pred"], classes) for name, part in tested.groupby("arm") if name in levels}
    return low_label_curves(points, floor=level["majority"], ceiling=level.get("au-oracle"), caption=results.caption)


@figure("low-label/frames")
def _frames(results: Finished) -> Drawing:
    names = results.store("labelled").class_names
    return clip_timeline(results.predictions("low-label"), results.store("macro").manifest, names, caption=results.caption)


def _claims(results: Finished, paper: str) -> Drawing:
    claims = pd.read_csv(results.needed(Path("reports/claims.csv")))
    shown = claims[claims["effect"].notna() & (claims["paper"] == paper)]
    return effect_plot(shown, name="sentence", caption=results.caption)


@figure("claims/effects-emotic-mae")
def _emotic_mae(results: Finished) -> Drawing:
    return _claims(results, "emotic-mae")


@figure("claims/effects-micron-bert")
def _micron_bert(results: Finished) -> Drawing:
    return _claims(results, "micron-bert")
