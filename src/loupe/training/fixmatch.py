"""The small CNN from few labels, alone or with FixMatch (arXiv 2001.07685) on the unlabelled faces that MAE-Face was pre-trained on.

With B labelled faces x, mu B unlabelled faces u, q = p(weak u) and pseudo-label y' = argmax q, the loss is

    H(y, p(weak x)) + lambda / (mu B) * sum over u of 1[max q >= tau] H(y', p(strong u))

weak: flip and shift, as all arms of the stills have it. strong: a crop and an erased rectangle on top (the paper: RandAugment and Cutout;
colours are standardised away in `to_float`). Left open by the paper or changed: q comes from the network in evaluation (running means, no
dropout), the paper's moving average of weights is left out, and the schedule is the study's (warm-up, cosine to 0), which ends at rest as
an average does.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from loupe.config import Arm, Config
from loupe.data.augment import flip_and_shift, strengthen, to_float
from loupe.data.store import Store, read_store
from loupe.evaluation.guards import check_pretraining_overlap
from loupe.evaluation.predictions import answers
from loupe.evaluation.protocols import Split
from loupe.models.baselines.small_cnn import SmallVGG
from loupe.part import part_of
from loupe.steps import CHECKPOINTS, Step
from loupe.training.device import resolve_device
from loupe.training.loop import Recipe, fit
from loupe.training.mae_face import read_faces
from loupe.training.schedules import warmup_cosine
from loupe.training.stills import Labelled, StillCell, StillData, batch_and_steps, predict

_READ = "scale.device scale.precision scale.image scale.finetune scale.small_cnn experiments.low_label.fixmatch".split()
_RECIPE = [f"dual_view.{name}" for name in "betas weight_decay clip shift warmup_share strong".split()]


@dataclass(frozen=True)
class Unlabelled:
    """The rows `rows` of the store in `folder`; of its manifest nothing else is read."""

    folder: Path
    rows: np.ndarray


def unlabelled_faces(folder: Path, split: Split) -> Unlabelled | None:
    """The pre-training faces of the store in `folder`; None where there are none. `split`: that of the labelled stills.

    Raises LoupeError where one of them shows a validation or test person.
    """
    manifest = read_store(folder).manifest
    rows = np.flatnonzero(manifest["split"] == "pretrain")
    check_pretraining_overlap(manifest["subject"].iloc[rows], split.val | split.test, what="FixMatch")
    return Unlabelled(folder, rows) if len(rows) else None


def cnn_cells(config: Config, fraction: float, data: StillData, unlabelled: Unlabelled | None) -> list[CnnCell]:
    """Cells of `small-cnn`, and of `fixmatch` where the experiment asks for it at this share and there are unlabelled faces; none without
    `scale.more`."""
    if not config.scale.more:
        return []
    arms: dict[str, Unlabelled | None] = {"small-cnn": None}
    if unlabelled is not None and fraction in config.experiments.low_label.fixmatch.fractions:
        arms["fixmatch"] = unlabelled
    seeds, arm = config.scale.seeds, Arm("", "small-cnn", init="scratch")
    return [CnnCell(replace(arm, name=name), fraction, seed, data, unlabelled=faces) for name, faces in arms.items() for seed in seeds]


@dataclass(frozen=True)
class CnnCell(StillCell):
    """One cell of the small CNN: supervised, or with `unlabelled` faces by FixMatch."""

    unlabelled: Unlabelled | None = None

    def step(self, config: Config, scratch: Path) -> Step:
        """As `StillCell.step`; `scratch` is not needed, since there is one view."""
        nameless = replace(self, arm=replace(self.arm, name=""), data=replace(self.data, encoder=None), fraction=0.0, task="", regime="")
        faces = batch_and_steps(own_schedule(config), self.arm, len(self.data.rows))
        size = float(np.prod(faces)) * (1 if self.unlabelled is None else 1 + config.scale.small_cnn.unlabelled)
        return Step(self.name, run_cnn, {"cell": nameless, "config": part_of(config, *_READ, *_RECIPE)}, {}, size)


def run_cnn(folder: Path, cell: CnnCell, config: Config) -> None:
    """Step: train on `data.rows`, predict `data.asked`."""
    store = read_store(cell.data.labelled)
    model = train(config, cell, store, folder / CHECKPOINTS / folder.name.removesuffix(".partial"))
    said = predict(model, cell.arm, Labelled(store, None), cell.data.asked)
    answers(store.manifest.iloc[cell.data.asked], said).to_parquet(folder / "predictions.parquet", index=False)


def own_schedule(config: Config) -> Config:
    """The settings with the small CNN's own number of steps."""
    return replace(config, scale=replace(config.scale, finetune=replace(config.scale.finetune, scratch_times=config.scale.small_cnn.times)))


def train(config: Config, cell: CnnCell, store: Store, checkpoints: Path) -> SmallVGG:
    """The small CNN, trained on the labelled rows of `store` and on the cell's unlabelled faces."""
    settings, method, own, rows = config.dual_view, config.experiments.low_label.fixmatch, config.scale.small_cnn, cell.data.rows
    device, shift = resolve_device(config.scale.device), round(settings.shift * config.scale.image.size / 64)
    torch.manual_seed(cell.seed)
    model = SmallVGG(len(store.class_names), channels=tuple(own.channels))
    faces, labels = (torch.tensor(part[rows]).to(device) for part in (store.images, store.labels))
    others = None if cell.unlabelled is None else read_store(cell.unlabelled.folder).images

    def inputs_of(batch, generator):
        batch = batch.to(device)
        inputs = labels[batch], to_float(flip_and_shift([faces[batch]], shift, generator)[0])
        if others is None:
            return inputs
        beside = torch.Generator().manual_seed(
            generator.initial_seed() ^ 1
        )  # so that labelled faces and dropout draw as they do without it
        chosen = torch.randint(len(cell.unlabelled.rows), (len(batch) * own.unlabelled,), generator=beside).numpy()
        seen = read_faces(others, cell.unlabelled.rows[chosen], device)
        weak, again = (to_float(flip_and_shift([seen], shift, beside)[0]) for _ in range(2))
        amount, nobody = (
            {"smallest_side": settings.strong.smallest_side, "erased": 1.0, "mixed": 0.0},
            torch.zeros(len(seen), 1, device=device),
        )
        (strong,), _ = strengthen([again], nobody, **amount, generator=beside)
        return *inputs, *(views.unflatten(0, (len(batch), own.unlabelled)) for views in (weak, strong))  # a row a labelled face

    def loss_of(module, truth, seen, *unlabelled):
        if not unlabelled:
            return {"loss": functional.cross_entropy(module(seen), truth)}
        weak, strong = (views.flatten(0, 1) for views in unlabelled)
        places, guess, counts = pseudo_labels(module, weak, method.threshold, len(seen))
        ours, theirs = module(torch.cat([seen, strong[places]])).tensor_split([len(seen)])
        each = functional.cross_entropy(theirs, guess, reduction="none") * counts
        return {"loss": functional.cross_entropy(ours, truth) + method.weight * each.sum() / len(weak), "learnt": counts.sum() / len(weak)}

    batch, steps = batch_and_steps(own_schedule(config), cell.arm, len(rows))
    lr = warmup_cosine(steps, max(1, round(settings.warmup_share * steps)), own.lr)
    recipe = Recipe.of(config, settings, config.scale.finetune, lr=lr, batch=batch, seed=cell.seed)
    fit(model, inputs_of, loss_of, len(rows), recipe, checkpoints)
    return model.eval()


@torch.no_grad()
def pseudo_labels(module: nn.Module, weak: Tensor, threshold: float, batch: int) -> tuple[Tensor, Tensor, Tensor]:
    """Places (n) among the weak views (U, 3, H, W) of the faces to learn from, surest first, what each is taken for (n), and whether it
    counts (n): its probability reaches `threshold`. n is rounded up to whole batches, because dropout is drawn for `batch` faces at a
    time."""
    module.eval()
    sure, guess = module(weak).float().softmax(-1).max(-1)
    module.train()
    reached = int((sure >= threshold).sum())
    places = sure.argsort(descending=True, stable=True)[: -(-reached // batch) * batch]
    return places, guess[places], (sure[places] >= threshold).float()
