"""Fine-tuning on labelled stills: one arm, one label budget, one seed -> predictions on validation and test people."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from loupe.bench import Bench, write_parquet
from loupe.config import Arm, Config
from loupe.data.augment import flip_and_shift, strengthen, to_float
from loupe.data.conditions import Condition
from loupe.data.store import Store, read_store
from loupe.data.views import FROM_OTHER_PICTURES, Faces, detected_landmarks, make_view
from loupe.errors import LoupeError
from loupe.models.baselines.small_cnn import SmallVGG
from loupe.models.dual_view import DualViewClassifier
from loupe.settings import ActionUnits
from loupe.training.build import build_classifier
from loupe.training.checkpoint import save_weights
from loupe.training.device import resolve_device
from loupe.training.jobs import Job
from loupe.training.loop import Recipe, fit
from loupe.training.schedules import warmup_cosine
from loupe.training.targets import present_units, probabilities, question_of
from loupe.training.transfer import LabelledSet, carry_over

# On CPU a batch of 256 took 1.6 times as long a face as one of 64: its activations are given back to the system and faulted in again each time.
PREDICTED_AT_ONCE = 64


@dataclass(frozen=True)
class Labelled:
    """Labelled stills and the ipsilateral views made of them, row by row."""

    store: Store
    views: dict[str, np.ndarray]


def with_views(folder: Path, config: Config, arms: list[Arm], made: Path | None = None) -> Labelled:
    """Read the store in `folder` and make each view that `arms` need, once, with the study's seed (a detector's jitter does not depend on the
    run's seed). Raises LoupeError where a view needs what is not there.

    made: folder in which views are kept for the next call (a warp costs about 10 ms a face). It must belong to one store and one set of settings.

    Landmarks are those that a detector found. The second camera's pictures are the neighbouring store `camera`.
    """
    store = read_store(folder)
    images = np.ascontiguousarray(store.images)
    names = {view_name(arm, config) for arm in arms if arm.two_views}
    faces = Faces(
        images,
        store.subjects,
        clips=store.manifest["clip"].to_numpy(),
        frames=store.manifest["frame"].to_numpy(),
        landmarks=detected_landmarks(folder),
        second=_second_camera(folder.parent / "camera", store) if "camera" in names else None,
    )
    views = {}
    for name in sorted(names):
        kept = None if made is None else made / f"{name}.npy"
        if kept is not None and kept.exists():
            views[name] = np.load(kept, allow_pickle=False)
            continue
        generator = np.random.default_rng([config.data.seed, 77])
        # In C order, as it is read back: the order in memory decides the order of sums, and so the bytes.
        views[name] = np.ascontiguousarray(make_view(name, faces, jitter=config.view.jitter, nose=config.view.nose, generator=generator))
        if kept is not None:
            _keep(kept, views[name])
    return Labelled(Store(images, store.manifest), views)


def _keep(path: Path, view: np.ndarray) -> None:
    """Write atomically: processes that make the same view write the same bytes, and none reads half of them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f".{os.getpid()}.npy")
    np.save(temporary, view)
    os.replace(temporary, path)


def _second_camera(folder: Path, store: Store) -> np.ndarray | None:
    """The second pictures, row by row; None where there are none. Raises LoupeError where they show other people."""
    if not folder.exists():  # faces from elsewhere, which no generator drew
        return None
    second = read_store(folder)
    if not len(second.manifest):
        return None
    if list(second.subjects) != list(store.subjects):
        raise LoupeError(f"{folder} holds other people than the labelled faces, row by row: run `dvc repro data`, or choose view=warp.")
    return np.asarray(second.images)


def view_name(arm: Arm, config: Config) -> str:
    return config.view.name if arm.view == "default" else arm.view


def sees_one_picture(arm: Arm, config: Config) -> bool:
    """Whether all that the arm sees of a face is cut from the one examined picture. Under a further condition nothing else may be shown: another
    frame or camera would show what is covered, and has not been drawn with the looks that are new."""
    return not (arm.two_views and view_name(arm, config) in FROM_OTHER_PICTURES)


def batch_and_steps(config: Config, arm: Arm, n: int) -> tuple[int, int]:
    """Faces a step and number of steps for `n` labelled faces; fixed beforehand by the label budget, nothing is selected."""
    schedule = config.scale.finetune
    batch = min(schedule.batch, n)
    steps = int(np.clip(schedule.epochs * n // batch, schedule.min_steps, schedule.max_steps))
    return batch, steps * (1 if arm.pretrained else schedule.scratch_times)


def finetune(
    config: Config,
    arm: Arm,
    data: Labelled,
    rows: np.ndarray,
    seed: int,
    encoder_weights: Path,
    checkpoints: Path,
    trained: DualViewClassifier | None = None,
) -> tuple[DualViewClassifier | SmallVGG, list[dict[str, float]]]:
    """Train one classifier on the training rows `rows`, for as many steps as `batch_and_steps` says.

    trained: the same arm, fine-tuned on another labelled set: its weights are the start, but for a head drawn afresh.
    """
    settings, schedule = config.dual_view, config.scale.finetune
    device = resolve_device(config.scale.device)
    question = question_of(config, arm, data.store)
    model = build_classifier(config, arm, question.outputs, seed, encoder_weights)
    if trained is not None:
        carry_over(trained, model)
    tensors = [torch.from_numpy(data.store.images[rows]).to(device)]
    if arm.two_views:
        tensors.append(torch.from_numpy(data.views[view_name(arm, config)][rows]).to(device))
    labels = question.truth[rows].to(device)
    shift = round(settings.shift * config.scale.image.size / 64)

    def inputs_of(batch, generator):
        batch = batch.to(device)
        views = flip_and_shift([tensor[batch] for tensor in tensors], shift, generator)
        floats = [to_float(view) for view in views]
        if arm.augmentation == "strong":
            floats, truth = strengthen(floats, question.spread(labels[batch]), **vars(settings.strong), generator=generator)
            return truth, *floats
        return labels[batch], *floats

    def loss_of(module, truth, *views):
        return {"loss": question.loss(module(*views), truth, settings.label_smoothing)}

    batch, steps = batch_and_steps(config, arm, len(rows))
    lr = warmup_cosine(steps, max(1, round(settings.warmup_share * steps)), schedule.lr_mae if arm.pretrained else schedule.lr_scratch)
    recipe = Recipe.of(
        config, settings, schedule, lr=lr, batch=batch, seed=seed, layer_decay=settings.layer_decay if arm.pretrained else 1.0
    )
    history = fit(model, inputs_of, loss_of, len(rows), recipe, checkpoints, f"{arm.name}, {len(rows)} labels, seed {seed}")
    return model.eval(), history


@torch.inference_mode()
def predict(model: DualViewClassifier | SmallVGG, config: Config, arm: Arm, data: Labelled, rows: np.ndarray) -> np.ndarray:
    """Probabilities of the classes, or of the units of an arm that detects them: (len(rows), C) float32."""
    device = next(model.parameters()).device
    parts = []
    for start in range(0, len(rows), PREDICTED_AT_ONCE):
        chosen = rows[start : start + PREDICTED_AT_ONCE]
        views = [data.store.images[chosen]]
        if arm.two_views:
            views.append(data.views[view_name(arm, config)][chosen])
        tensors = [to_float(torch.from_numpy(view).to(device)) for view in views]
        parts.append(probabilities(arm.task, model(*tensors).float()).cpu().numpy())
    return np.concatenate(parts)


def prediction_table(
    task: str, arm: str, fraction: float, seed: int, rows: pd.DataFrame, found: np.ndarray, fold: str = ""
) -> pd.DataFrame:
    """Predictions in the study's one schema. `rows`: manifest rows; `found`: probabilities (len(rows), C)."""
    table = pd.DataFrame(
        {
            "task": task,
            "arm": arm,
            "fraction": float(fraction),
            "seed": int(seed),
            "fold": fold,
            "split": rows["split"].to_numpy(),
            "sample": rows["sample"].to_numpy(),
            "subject": rows["subject"].to_numpy(),
            "clip": rows["clip"].to_numpy(),
            "label": rows["label"].to_numpy(),
            "pred": found.argmax(1),
        }
    )
    for column in range(found.shape[1]):
        table[f"p{column}"] = found[:, column].astype(np.float32)
    return table


def unit_table(settings: ActionUnits, arm: str, fraction: float, seed: int, rows: pd.DataFrame, found: np.ndarray) -> pd.DataFrame:
    """Predictions of task `units`, a row a still and unit: unit k of K is class 2 k (absent) or 2 k + 1 (present), sample is K times the still's
    number plus k, p1 the probability that the unit is present. `found`: (len(rows), K).

    No row of one unit can be taken for another, so the macro-F1 over all 2 K classes is the mean over units of the two-class macro-F1.
    """
    units = len(settings.units)
    number = np.tile(np.arange(units), len(rows))
    asked = rows.iloc[np.repeat(np.arange(len(rows)), units)]
    asked = asked.assign(sample=asked["sample"] * units + number, label=present_units(rows["au"], settings).ravel().astype(np.int64))
    table = prediction_table("units", arm, fraction, seed, asked, np.stack([1 - found.ravel(), found.ravel()], axis=1))
    return table.assign(label=table["label"] + 2 * number, pred=table["pred"] + 2 * number)


def cell_jobs(
    bench: Bench,
    config: Config,
    arms: list[Arm],
    fraction: float,
    rows: np.ndarray,
    scored: np.ndarray,
    labelled: Path,
    encoder_weights: Path,
    conditions: Sequence[Condition] = (),
    *,
    task: str = "stills",
    transfer: LabelledSet | None = None,
    training_people: bool = False,
    keep_weights: bool = False,
) -> list[Job]:
    """One job an arm and seed: fine-tune on the training rows `rows` of the store `labelled`, predict the rows `scored` and those of each further
    condition, in the same file. Only arms that pass `sees_one_picture` may have conditions.

    task: what predictions of classes are called; a task has one store, and its views are kept by task. transfer: what arms with `transfer` are
    fine-tuned on first. training_people: predict `rows`, too (split `train`): fit, not generalisation. keep_weights: the network of the first seed
    stays beside its predictions, as .safetensors.
    """
    jobs = []
    made = bench.folder / "views" if task == "stills" else bench.folder / "views" / task
    for arm in arms:  # arm by arm: a process keeps the views of one
        size = np.prod(batch_and_steps(config, arm, len(rows))) * (1 + arm.two_views)
        for seed in config.scale.seeds:
            name = f"{arm.name}-{fraction}-{seed}"
            path = bench.cell_path(name)
            checkpoints = bench.checkpoint(name)
            weights = path.with_suffix(".safetensors") if keep_weights and seed == config.scale.seeds[0] else None
            given = (path, config, arm, fraction, seed, labelled, rows, scored, encoder_weights, checkpoints, made, tuple(conditions))
            jobs.append(Job(path, run_cell, (*given, task, transfer, training_people, weights), size))
    return jobs


def run_cell(
    path: Path,
    config: Config,
    arm: Arm,
    fraction: float,
    seed: int,
    labelled: Path,
    rows: np.ndarray,
    scored: np.ndarray,
    encoder_weights: Path,
    checkpoints: Path,
    made: Path,
    conditions: Sequence[Condition] = (),
    task: str = "stills",
    transfer: LabelledSet | None = None,
    training_people: bool = False,
    weights: Path | None = None,
) -> None:
    """One cell of a grid: fine-tune on `rows`, predict `scored` (validation and test people) and then the same network's rows of each further
    condition, under names of their own (`Condition.arm`), and write all predictions to `path` at once. The last four: see `cell_jobs`."""
    data = _labelled(labelled, config, arm, made)
    before, source = None, checkpoints.with_name(f"{checkpoints.name}-transfer")
    if arm.transfer:
        if transfer is None:
            raise LoupeError(f"arm {arm.name} starts from another labelled set, but none was given: pass `transfer`.")
        other = _labelled(transfer.folder, config, arm, made / "transfer")
        before, _ = finetune(config, arm, other, transfer.rows, seed, encoder_weights, source)
    model, _ = finetune(config, arm, data, rows, seed, encoder_weights, checkpoints, before)

    def predicted(name: str, shown: Labelled, these: np.ndarray) -> pd.DataFrame:
        found, about = predict(model, config, arm, shown, these), shown.store.manifest.iloc[these]
        if arm.task == "units":
            return unit_table(config.experiments.dual_view.action_units, name, fraction, seed, about, found)
        return prediction_table(task, name, fraction, seed, about, found)

    tables = [predicted(arm.name, data, scored)]
    if training_people:
        tables.append(predicted(arm.name, data, rows))
    for condition in conditions:
        other = _labelled(condition.folder, config, arm, made / condition.name)
        tables.append(predicted(condition.arm(arm.name), other, condition.rows))
    if weights is not None:
        save_weights(weights, model)
    write_parquet(pd.concat(tables, ignore_index=True), path)
    for folder in (checkpoints, source):
        shutil.rmtree(folder, ignore_errors=True)


def _labelled(folder: Path, config: Config, arm: Arm, made: Path) -> Labelled:
    """The store with this arm's view, kept in memory between the cells of one worker process, beside its further conditions."""
    key = (folder, view_name(arm, config) if arm.two_views else "")
    if key not in _loaded:
        for other in [other for other in _loaded if other[1] != key[1]]:
            del _loaded[other]
        _loaded[key] = with_views(folder, config, [arm], made)
    return _loaded[key]


_loaded: dict[tuple[Path, str], Labelled] = {}
