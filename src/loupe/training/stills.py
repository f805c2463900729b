"""Fine-tuning on labelled stills: one cell of a grid is one arm, one set of labelled rows, one seed -> predictions on validation and test
people."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from loupe.config import Arm, Config
from loupe.data.augment import flip_and_shift, strengthen, to_float
from loupe.data.conditions import Condition
from loupe.data.store import Store, read_store
from loupe.data.views import FROM_OTHER_PICTURES, Faces, detected_landmarks, make_view
from loupe.errors import LoupeError
from loupe.evaluation.predictions import Label, answers, joined, labelled
from loupe.experiments import ActionUnits
from loupe.models.baselines.small_cnn import SmallVGG
from loupe.models.dual_view import DualViewClassifier
from loupe.part import part_of
from loupe.settings import View
from loupe.steps import CHECKPOINTS, Step
from loupe.training.build_classifier import build_classifier
from loupe.training.checkpoint import save_weights
from loupe.training.device import resolve_device
from loupe.training.loop import Recipe, fit
from loupe.training.schedules import warmup_cosine
from loupe.training.targets import present_units, probabilities, question_of
from loupe.training.transfer import LabelledSet, carry_over

# On CPU a batch of 256 took 1.6 times as long a face as one of 64: its activations are given back to the system and faulted in again each
# time.
PREDICTED_AT_ONCE = 64
_READ = ("scale.device", "scale.precision", "scale.image", "scale.encoder", "scale.finetune", "dual_view", "data.seed")


@dataclass(frozen=True)
class StillData:
    """What the cells of one comparison share.

    labelled: a store; rows: of it, to learn from; asked: of it, to be predicted. encoder: weights of the pre-trained encoder. conditions:
    further pictures of the test people, for arms that pass `sees_one_picture`. transfer: what arms with `transfer` learn from first. fit:
    predict `rows`, too (split `train`).
    """

    labelled: Path
    rows: np.ndarray
    asked: np.ndarray
    encoder: Path
    conditions: tuple[Condition, ...] = ()
    transfer: LabelledSet | None = None
    fit: bool = False


@dataclass(frozen=True)
class StillCell:
    """One cell of a grid: `arm` learns from `data.rows` with `seed` and says what it sees in the rows asked. The other fields are what its
    predictions are called (`loupe.evaluation.predictions`) and decide nothing. keep_weights: the network stays, as
    `network.safetensors`."""

    arm: Arm
    fraction: float
    seed: int
    data: StillData
    task: str = "stills"
    regime: str = "labels"
    fold: str = ""
    keep_weights: bool = False

    @property
    def name(self) -> str:
        told = [
            self.arm.name,
            f"{self.fraction:g}",
            self.task if self.task != "stills" else "",
            self.regime if self.regime != "labels" else "",
        ]
        return "-".join([*filter(None, told), *([f"fold{self.fold}"] if self.fold else []), str(self.seed)])

    def step(self, config: Config, scratch: Path) -> Step:
        """Learning and predicting as a step. scratch: where views are kept while they are needed. Names are no part of it: an arm that is
        renamed is not trained again."""
        arm, data = self.arm, self.data
        view = view_of(arm, config) if arm.two_views else None
        data = replace(data, encoder=data.encoder if arm.pretrained else None, transfer=data.transfer if arm.transfer else None)
        read = (*_READ, "experiments.dual_view.action_units") if arm.task == "units" else _READ
        nameless = replace(
            self, arm=replace(arm, name="", view=view.name if view else ""), data=data, fraction=0.0, task="", regime="", fold=""
        )
        arguments = {"cell": nameless, "view": view, "config": part_of(config, *read)}
        size = float(np.prod(batch_and_steps(config, arm, len(data.rows))) * (1 + arm.two_views))
        return Step(self.name, run_cell, arguments, {"scratch": scratch}, size)

    def predictions(self, folder: Path) -> pd.DataFrame:
        """What the cell's finished step in `folder` says, in the study's schema."""
        task, pretraining = self.arm.task if self.arm.task != "stills" else self.task, "mae-face" if self.arm.pretrained else "none"
        label = Label(task, self.arm.name, self.fraction, self.seed, self.fold, regime=self.regime, pretraining=pretraining)
        return labelled(pd.read_parquet(folder / "predictions.parquet"), label)


def run_cell(folder: Path, cell: StillCell, view: View | None, config: Config, scratch: Path) -> None:
    """Step: fine-tune on `data.rows`, predict `data.asked`, the rows of each further condition with the same network (column `condition`),
    and with `data.fit` the training rows."""
    data, arm, name = cell.data, cell.arm, folder.name.removesuffix(".partial")
    pictures, before = with_view(data.labelled, view, config.data.seed, scratch), None
    if arm.transfer:
        if data.transfer is None:
            raise LoupeError(f"{name} starts from another labelled set, but none was given: pass `transfer`.")
        other = with_view(data.transfer.folder, view, config.data.seed, scratch)
        before, _ = finetune(config, cell, other, data.transfer.rows, folder / CHECKPOINTS / f"{name}-transfer")
    model, _ = finetune(config, cell, pictures, data.rows, folder / CHECKPOINTS / name, before)

    def said(condition: str, shown: Labelled, rows: np.ndarray) -> pd.DataFrame:
        found, about = predict(model, arm, shown, rows), shown.store.manifest.iloc[rows]
        units = unit_answers(config.experiments.dual_view.action_units, about, found) if arm.task == "units" else answers(about, found)
        return units.assign(condition=condition)

    tables = [said("", pictures, data.asked)]
    if data.fit:
        tables.append(said("", pictures, data.rows))
    for condition in data.conditions:
        tables.append(said(condition.name, with_view(condition.folder, view, config.data.seed, scratch), condition.rows))
    if cell.keep_weights:
        save_weights(folder / "network.safetensors", model)
    joined(tables).to_parquet(folder / "predictions.parquet", index=False)


@dataclass(frozen=True)
class Labelled:
    """Labelled stills and, row by row, the ipsilateral view made of them; None for an arm of one view."""

    store: Store
    view: np.ndarray | None


def with_view(folder: Path, view: View | None, seed: int, scratch: Path) -> Labelled:
    """Read the store in `folder` and its `view`, made with the study's `seed` (a detector's jitter does not depend on the run's seed).
    Raises LoupeError where a view needs what is not there.

    scratch: folder in which views are kept (a warp costs about 10 ms a face), under a name that changes with all that they are made of.

    Landmarks are those that a detector found. The second camera's pictures are the neighbouring store `camera`.
    """
    store = read_store(folder)
    store = Store(np.ascontiguousarray(store.images), store.manifest)
    if view is None:
        return Labelled(store, None)
    landmarks = detected_landmarks(folder)
    second = _second_camera(folder.parent / "camera", store) if view.name == "camera" else None
    digest = hashlib.sha256(repr((view, seed)).encode())
    for array in (store.images, landmarks, second):
        digest.update(b"" if array is None else np.ascontiguousarray(array).data)
    digest.update(store.manifest[["subject", "clip", "frame"]].to_csv().encode())
    path = scratch / f"{view.name}-{digest.hexdigest()[:16]}.npy"
    if not path.exists():
        columns = {name: store.manifest[name].to_numpy() for name in ("clip", "frame")}
        faces = Faces(store.images, store.subjects, clips=columns["clip"], frames=columns["frame"], landmarks=landmarks, second=second)
        _keep(path, make_view(view.name, faces, jitter=view.jitter, nose=view.nose, generator=np.random.default_rng([seed, 77])))
    return Labelled(store, np.load(path, allow_pickle=False))


def _keep(path: Path, view: np.ndarray) -> None:
    """Write atomically: processes that make the same view write the same bytes, and none reads half of them. In C order: the order in
    memory decides the order of sums, and so the bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f".{os.getpid()}.npy")
    np.save(temporary, np.ascontiguousarray(view))
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


def view_of(arm: Arm, config: Config) -> View:
    """The settings of the arm's ipsilateral view: the study's own (`conf/config.yaml`), or those of the view that the arm names."""
    if arm.view in ("default", config.view.name):
        return config.view
    return config.views.get(arm.view) or View(arm.view, jitter=0.0, nose=False)  # the controls have no settings, and no file


def sees_one_picture(arm: Arm, config: Config) -> bool:
    """Whether all that the arm sees of a face is cut from the one examined picture. Under a further condition nothing else may be shown:
    another frame or camera would show what is covered, and has not been drawn with the looks that are new."""
    return not (arm.two_views and view_of(arm, config).name in FROM_OTHER_PICTURES)


def cells_of(config: Config, arms: Sequence[Arm], fraction: float, data: StillData, **called: str) -> list[StillCell]:
    """A cell for each arm and each of the scale's seeds. called: task, regime, fold."""
    return [StillCell(arm, fraction, seed, data, **called) for arm in arms for seed in config.scale.seeds]


def batch_and_steps(config: Config, arm: Arm, n: int) -> tuple[int, int]:
    """Faces a step and number of steps for `n` labelled faces; fixed beforehand by the label budget, nothing is selected."""
    schedule = config.scale.finetune
    batch = min(schedule.batch, n)
    steps = int(np.clip(schedule.epochs * n // batch, schedule.min_steps, schedule.max_steps))
    return batch, steps * (1 if arm.pretrained else schedule.scratch_times)


def finetune(
    config: Config, cell: StillCell, data: Labelled, rows: np.ndarray, checkpoints: Path, trained: DualViewClassifier | None = None
) -> tuple[DualViewClassifier | SmallVGG, list[dict[str, float]]]:
    """Train one classifier on the training rows `rows`, for as many steps as `batch_and_steps` says.

    trained: the same arm, fine-tuned on another labelled set: its weights are the start, but for a head drawn afresh.
    """
    arm, settings, schedule = cell.arm, config.dual_view, config.scale.finetune
    device = resolve_device(config.scale.device)
    question = question_of(config, arm, data.store)
    model = build_classifier(config, arm, question.outputs, cell.seed, cell.data.encoder)
    if trained is not None:
        carry_over(trained, model)
    tensors = [torch.from_numpy(data.store.images[rows]).to(device)]
    if arm.two_views:
        tensors.append(torch.from_numpy(data.view[rows]).to(device))
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
    layer_decay = settings.layer_decay if arm.pretrained else 1.0
    recipe = Recipe.of(config, settings, schedule, lr=lr, batch=batch, seed=cell.seed, layer_decay=layer_decay)
    history = fit(model, inputs_of, loss_of, len(rows), recipe, checkpoints)
    return model.eval(), history


@torch.inference_mode()
def predict(model: DualViewClassifier | SmallVGG, arm: Arm, data: Labelled, rows: np.ndarray) -> np.ndarray:
    """Probabilities of the classes, or of the units of an arm that detects them: (len(rows), C) float32."""
    device = next(model.parameters()).device
    parts = []
    for start in range(0, len(rows), PREDICTED_AT_ONCE):
        chosen = rows[start : start + PREDICTED_AT_ONCE]
        views = [data.store.images[chosen]]
        if arm.two_views:
            views.append(data.view[chosen])
        tensors = [to_float(torch.from_numpy(view).to(device)) for view in views]
        parts.append(probabilities(arm.task, model(*tensors).float()).cpu().numpy())
    return np.concatenate(parts)


def unit_answers(settings: ActionUnits, rows: pd.DataFrame, found: np.ndarray) -> pd.DataFrame:
    """Predictions of task `units`, a row a still and unit: unit k of K is class 2 k (absent) or 2 k + 1 (present), sample is K times the
    still's number plus k, p1 the probability that the unit is present. `found`: (len(rows), K).

    No row of one unit can be taken for another, so the macro-F1 over all 2 K classes is the mean over units of the two-class macro-F1.
    """
    units = len(settings.units)
    number = np.tile(np.arange(units), len(rows))
    asked = rows.iloc[np.repeat(np.arange(len(rows)), units)]
    asked = asked.assign(sample=asked["sample"] * units + number, label=present_units(rows["au"], settings).ravel().astype(np.int64))
    table = answers(asked, np.stack([1 - found.ravel(), found.ravel()], axis=1))
    return table.assign(label=table["label"] + 2 * number, pred=table["pred"] + 2 * number)


def cell_predictions(cells: Sequence[StillCell], folders: Sequence[Path]) -> pd.DataFrame:
    """What the finished steps of `cells` in `folders` say, one after the other."""
    return joined([cell.predictions(folder) for cell, folder in zip(cells, folders, strict=True)])
