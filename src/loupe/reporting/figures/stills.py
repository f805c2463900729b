"""Figures of the stills: masked pre-training, two views, few labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from loupe.data.store import Store
from loupe.evaluation.metrics import macro_f1
from loupe.evaluation.protocols import Split
from loupe.evaluation.smoothing import choose_window
from loupe.reporting.conditions import condition_plot, condition_scores
from loupe.reporting.confusion import confusion_matrix
from loupe.reporting.curves import low_label_curves, low_label_points, training_curves
from loupe.reporting.drawing import Drawing
from loupe.reporting.faces import face_rows, hide_patches, maps_over_faces, reconstruction_strip
from loupe.reporting.figures.registry import NothingToDraw, figure
from loupe.reporting.selection import usual
from loupe.reporting.timeline import ARM, clip_timeline
from loupe.study import Study


@figure("mae-face/training-curve")
def mae_curve(study: Study) -> Drawing:
    history = pd.read_parquet(study.run("mae-face", "pretraining/history.parquet"))
    steps, batch = history["step"].max() + 1, study.config.scale.mae.batch
    return training_curves(history, f"MAE-Face pre-training: mean squared error on hidden patches over {steps} steps of {batch} faces.")


@figure("mae-face/reconstructions")
def reconstructions(study: Study) -> Drawing:
    import torch

    from loupe.data.augment import to_float, to_uint8
    from loupe.training.build_mae import build_mae
    from loupe.training.checkpoint import load_weights

    model = build_mae(study.config)
    load_weights(study.run("mae-face", "pretraining/mae.safetensors"), model)
    model.eval()
    images = study.store("stills").split("val").images
    count = min(8, len(images))
    rows = np.random.default_rng(1).choice(len(images), count, replace=False)
    faces = np.ascontiguousarray(images[np.sort(rows)])
    noise = torch.rand(count, model.encoder.patches, generator=torch.Generator().manual_seed(0))
    pixels = to_float(torch.from_numpy(faces))
    with torch.inference_mode():
        hidden = model(pixels, noise)["masked"].numpy()
        rebuilt = to_uint8(model.reconstruct(pixels, noise), torch.from_numpy(faces)).numpy()
    caption = (
        "Validation people. Each hidden patch gets its true mean and contrast back (MAE's customary picture), so this flatters brightness; "
        "shape is the model's own."
    )
    return reconstruction_strip(faces, hide_patches(faces, hidden, study.config.scale.image.patch), rebuilt, caption)


def _some(store: Store, part: str) -> np.ndarray:
    """Eight rows of one split at even distances."""
    rows = Split.from_manifest(store.manifest).rows(store.manifest, part)
    return rows[np.linspace(0, len(rows) - 1, 8).round().astype(int)]


@figure("dual-view/views")
def views(study: Study) -> Drawing:
    from loupe.training.stills import view_of, with_view

    store, config = study.store("labelled"), study.config
    some = _some(store, "train")
    rows = {"examined": np.asarray(store.images[some])}
    views = {view.name: view for view in (view_of(arm, config) for arm in config.experiments.dual_view.arms if arm.two_views)}
    for name in sorted(views):
        pictures = with_view(
            study.needed(Path("data/prepared/labelled")), views[name], config.data.seed, study.root / "data" / "scratch" / "views"
        )
        rows[name] = pictures.view[some]
    caption = f"The examined view and the ipsilateral views of this study ({study.config.view.name} is the default)."
    return face_rows(rows, caption=caption, alt="Rows of faces and, below, their auxiliary views.")


def _mapped(study: Study) -> str:
    """The arm of the dual-view stage that is looked at in detail."""
    arms = [arm.name for arm in study.config.experiments.dual_view.arms]
    return "concat" if "concat" in arms else arms[0]


@figure("dual-view/confusion")
def confusion(study: Study) -> Drawing:
    predictions = usual(study.predictions("dual-view"))
    tested = predictions[(predictions["split"] == "test") & (predictions["task"] == "stills")]
    return confusion_matrix(tested, study.store("labelled").class_names, _mapped(study))


@figure("dual-view/conditions")
def conditions(study: Study) -> Drawing:
    predictions = study.predictions("dual-view")
    stills = predictions[predictions["task"] == "stills"]
    return condition_plot(condition_scores(stills, len(study.store("labelled").class_names)))


@figure("dual-view/importance")
def importance(study: Study) -> Drawing:
    store = study.store("labelled")
    some = _some(store, "val")
    importance, share = np.load(study.run("dual-view", "maps.npy"))
    names = [store.class_names[label] for label in store.labels[some]]
    caption = (
        "Importance of each patch (mean 1) and the share of local attention that goes to the ipsilateral view. "
        "Validation people, first seed."
    )
    maps = {"importance g": importance, "local share of view 2": share}
    return maps_over_faces(np.asarray(store.images[some]), maps, caption, names=names, unit="")


@figure("low-label/curves")
def low_label(study: Study) -> Drawing:
    predictions = usual(study.predictions("low-label"))
    tested = predictions[(predictions["split"] == "test") & (predictions["task"] == "stills")]
    classes, resamples = len(study.store("labelled").class_names), study.config.scale.statistics.resamples
    levels = ("au-oracle", "majority")
    points = low_label_points(tested[~tested["arm"].isin(levels)], classes, np.random.default_rng(0), resamples)
    level = {name: macro_f1(part["label"], part["pred"], classes) for name, part in tested.groupby("arm") if name in levels}
    return low_label_curves(points, floor=level["majority"], ceiling=level.get("au-oracle"))


@figure("low-label/frames")
def frames(study: Study) -> Drawing:
    predictions, manifest = study.predictions("low-label"), study.store("macro").manifest
    names = study.store("labelled").class_names
    scored = predictions[(predictions["task"] == "frames") & (predictions["arm"] == ARM)]
    if scored.empty:
        raise NothingToDraw("These faces come without labelled frames of video.")
    times, grid = manifest.set_index("sample")["frame"], study.config.experiments.low_label.frames.windows
    raw = scored[(scored["split"] == "val") & ~scored["smoothed"]]
    windows = {share: choose_window(part, times, grid, len(names)) for share, part in raw.groupby("fraction")}
    told = ", ".join(f"{window} (trained on {share:.0%})" for share, window in windows.items())
    caption = (
        "A clip of a person unseen in training, the one that shows the most classes: above, the true class and those predicted by the "
        f"probe, below, the probability of the true class. Windows that validation people chose, in stored frames: {told}."
    )
    return clip_timeline(scored, manifest, names, caption)
