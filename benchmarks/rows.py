"""The rows of `python benchmarks/run.py`: what is compared, and the figure that a claim may quote."""

from __future__ import annotations

import dataclasses
import math
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from flops import measured_matmul_rate, step_flops
from folds import problem, sequential_heads
from inputs import Batches, as_jpegs, as_store, customary, mapped, pictures, resident
from loupe.config import Config
from loupe.errors import LoupeError
from loupe.models.vit import SIZES
from loupe.training.loso import HeadRecipe, loso_heads
from mae_models import Shape, build_all, training_step
from quality import curve, paper_recipe
from timing import Timing, interleaved

Line = dict[str, Any]
COMPILED = "compiled"


@dataclass(frozen=True)
class Setting:
    """What a benchmark runs on. `rounds`: how often each variant is timed; `big`: also ViT-B at 224 px (minutes a row on a CPU);
    `compiled`: also each model under torch.compile (minutes of compiling)."""

    config: Config
    root: Path
    device: torch.device
    precision: str
    rounds: int
    big: bool
    seeds: int
    compiled: bool = False


def shapes(setting: Setting) -> dict[str, Shape]:
    """The sizes compared: the active scale's, and ViT-B/16 at 224 px with MAE's decoder."""
    image, size, mae = setting.config.scale.image, setting.config.scale.encoder, setting.config.scale.mae
    found = {
        f"{setting.config.scale.name} {image.size} px": Shape(
            image.size, image.patch, size.width, size.depth, size.heads, mae.decoder_width, mae.decoder_depth, mae.decoder_heads, mae.batch
        )
    }
    if setting.big:
        base, batch = SIZES["base"], 256 if setting.device.type == "cuda" else 4
        found["ViT-B 224 px"] = Shape(
            224, 16, base.width, base.depth, base.heads, base.decoder_width, base.decoder_depth, base.decoder_heads, batch
        )
    return found


def step_row(setting: Setting) -> list[Line]:
    """(a) A pre-training step of ours, transformers' and lightly's: equal size, batch, precision, optimiser; images are already there."""
    lines = []
    for name, shape in shapes(setting).items():
        models, missing = build_all(shape, setting.device)
        images = torch.randn(shape.batch, 3, shape.image, shape.image, device=setting.device)
        runs = {key: partial(training_step(model, setting.device, setting.precision), images) for key, model in models.items()}
        if setting.compiled:
            for key, model in models.items():
                run = partial(training_step(model, setting.device, setting.precision, compiled=True), images)
                try:
                    run()
                    runs[f"{key} {COMPILED}"] = run
                except Exception as error:  # whatever stops a compiler from compiling a peer is a line of the table, not the end of it
                    missing[f"{key} {COMPILED}"] = f"does not compile ({type(error).__name__})"
        timings = interleaved(runs, setting.rounds, setting.device)
        lines += compared("a", f"MAE step, {name}, batch {shape.batch}", timings, missing, shape.batch)
    return lines


def pipeline_row(setting: Setting) -> list[Line]:
    """(b) The same with each one's customary input pipeline: JPEG files through a DataLoader for the peers, the resident store for us."""
    lines = []
    for name, shape in shapes(setting).items():
        models, missing = build_all(shape, setting.device)
        images = pictures(max(2 * shape.batch, 64), shape.image)
        jpegs = as_jpegs(images)
        runs = {}
        for key, model in models.items():
            workers = min(2, torch.get_num_threads())
            make = (
                resident(images, shape.batch, setting.device)
                if key == "loupe"
                else customary(jpegs, shape.image, shape.batch, setting.device, workers)
            )
            runs[key] = _fed(training_step(model, setting.device, setting.precision), make)
        timings = interleaved(runs, setting.rounds, setting.device)
        lines += compared("b", f"MAE step with its input pipeline, {name}, batch {shape.batch}", timings, missing, shape.batch)
    return lines


def utilisation_row(setting: Setting) -> list[Line]:
    """(c) Share of the rate of matrix products of the same precision, measured in the same run, that our step reaches."""
    lines = []
    for name, shape in shapes(setting).items():
        models, _ = build_all(shape, setting.device)
        images = torch.randn(shape.batch, 3, shape.image, shape.image, device=setting.device)
        flops = step_flops(models["loupe"], lambda model, x: {"loss": model(x)}, (images,))
        rates: list[float] = []
        runs: dict[str, Callable[[], object]] = {"product": partial(_note_rate, rates, setting.device, setting.precision)}
        for key in ("loupe", f"loupe {COMPILED}") if setting.compiled else ("loupe",):
            runs[key] = partial(training_step(models["loupe"], setting.device, setting.precision, compiled=key.endswith(COMPILED)), images)
        timings = interleaved(runs, setting.rounds, setting.device)
        del timings["product"]
        peak = max(rates)
        for key, timing in timings.items():
            lines.append({"row": "c", "what": f"model FLOP utilisation, {name}, batch {shape.batch}", "variant": key,
                          "value": flops / timing.median / peak, "best": flops / timing.best / peak, "unit": "of the product rate",
                          "flops_per_step": flops, "product_flops_per_second": peak, "seconds": list(timing.seconds)})  # fmt: skip
    return lines


def folds_row(setting: Setting) -> list[Line]:
    """(d) Leave-one-subject-out heads, 20 folds x 5 seeds: together against one after another, after a check that both give the same."""
    task, features = problem()
    head = setting.config.scale.micro_head
    recipe = HeadRecipe(list(range(5)), head.steps, head.lr, [0.01])
    found: dict[str, np.ndarray] = {}

    def together() -> None:
        found["together"] = loso_heads(task, features, recipe)

    def one_by_one() -> None:
        found["one by one"] = sequential_heads(task, features, recipe)

    timings = interleaved({"loupe": together, "one by one": one_by_one}, setting.rounds, torch.device("cpu"), warm_up=1)
    worst = float(np.abs(found["together"] - found["one by one"]).max())
    if worst > 1e-4:
        raise LoupeError(f"Batched and sequential heads differ by {worst:.2g}: the comparison would mean nothing.")
    return compared("d", f"LOSO heads, 20 folds x 5 seeds, {head.steps} steps", timings, {}, 100, unit="heads/s")


def inputs_row(setting: Setting) -> list[Line]:
    """(e) Images a second of each input path alone."""
    lines = []
    for size in (64, 224):
        images, batch = pictures(256, size), 64
        with tempfile.TemporaryDirectory() as folder:
            path = as_store(images, Path(folder))
            paths: dict[str, Batches] = {
                "resident": resident(images, batch, setting.device),
                "memory map": mapped(path, batch, setting.device),
                "JPEG, DataLoader": customary(as_jpegs(images), size, batch, setting.device, 0),
            }
            runs = {name: _fed(lambda images: None, make) for name, make in paths.items()}
            timings = interleaved(runs, setting.rounds, setting.device)
        lines += compared("e", f"input path, {size} px, batch {batch}", timings, {}, batch)
    return lines


def quality_row(setting: Setting) -> list[Line]:
    """(f) Seconds of pre-training to the probe score that the paper's recipe has at its end: its own, and our recipe's, over seeds.

    What counts is the first of two probes in a row that are as good. Pre-training, probe and validation use three groups of generated
    people, none of them a study's.
    """
    from people import unseen_people  # brings the generator and numba, which no other row needs

    images, faces = unseen_people(setting.config, setting.root)
    paper_config, probes = paper_recipe(setting.config), 20
    with tempfile.TemporaryDirectory() as folder:  # what a process does once (kernels, allocator) is charged to neither
        for name, config in (("paper", paper_config), ("fast", setting.config)):
            mae = dataclasses.replace(config.scale.mae, epochs=1)
            few = dataclasses.replace(config, scale=dataclasses.replace(config.scale, mae=mae))
            curve(few, images[: 2 * mae.batch], faces, 0, Path(folder) / name, 1)
    lines, ratios = [], []
    for seed in range(setting.seeds):
        with tempfile.TemporaryDirectory() as folder:
            paper = curve(paper_config, images, faces, seed, Path(folder) / "paper", probes)
            fast = curve(setting.config, images, faces, seed, Path(folder) / "fast", probes)
        goal = paper.scores[-1]
        if goal <= max(paper.scores[0], fast.scores[0]):
            why = f"no better than untrained ({paper.scores[0]:.3f}, {fast.scores[0]:.3f}): nothing to compare"
            about = {"row": "f", "what": f"probe macro-F1 {goal:.3f}, seed {seed}", "variant": "paper recipe"}
            lines.append({**about, "value": None, "unit": why})
            continue
        reached = {"paper recipe": paper.reaches(goal), "fast recipe": fast.reaches(goal)}
        for (name, seconds), run in zip(reached.items(), (paper, fast), strict=True):
            lines.append({"row": "f", "what": f"seconds to probe macro-F1 {goal:.3f}, seed {seed}", "variant": name,
                          "value": math.inf if seconds is None else seconds,
                          "unit": f"s (ends at {run.scores[-1]:.3f} after {run.seconds[-1]:.1f} s)",
                          "curve_seconds": list(run.seconds), "curve_scores": list(run.scores)})  # fmt: skip
        ratios.append(math.inf if reached["fast recipe"] is None else reached["fast recipe"] / reached["paper recipe"])
    lines.append({"row": "f", "what": f"fast / paper, median of {len(ratios)} seeds", "variant": "loupe",
                  "value": float(np.median(ratios)) if ratios else None, "unit": "x", "all": ratios})  # fmt: skip
    return lines


ROWS: dict[str, Callable[[Setting], list[Line]]] = {
    "a": step_row,
    "b": pipeline_row,
    "c": utilisation_row,
    "d": folds_row,
    "e": inputs_row,
    "f": quality_row,
}


def compared(row: str, what: str, timings: dict[str, Timing], missing: dict[str, str], items: int, unit: str = "images/s") -> list[Line]:
    """Lines of one comparison, and, where there is a rival, how much faster ours is than the fastest of them, by medians and by bests.
    Compiled models are compared with the peers as they are and compiled."""
    lines: list[Line] = [
        {"row": row, "what": what, "variant": name, "value": items / timing.median, "best": items / timing.best, "unit": unit,
         "median_seconds": timing.median, "min_seconds": timing.best, "seconds": list(timing.seconds)}
        for name, timing in timings.items()
    ]  # fmt: skip
    lines += [{"row": row, "what": what, "variant": name, "value": None, "unit": reason} for name, reason in missing.items()]
    for ours, theirs in (("loupe", ""), (f"loupe {COMPILED}", ""), (f"loupe {COMPILED}", COMPILED)):
        rivals = [timing for name, timing in timings.items() if not name.startswith("loupe") and name.endswith(COMPILED) == bool(theirs)]
        if ours in timings and rivals:
            mine = timings[ours]
            lines.append({"row": row, "what": what, "variant": f"{ours} / fastest other {theirs}".rstrip(),
                          "value": min(t.median for t in rivals) / mine.median,
                          "best": min(t.best for t in rivals) / mine.best, "unit": "x"})  # fmt: skip
    return lines


def _note_rate(rates: list[float], device: torch.device, precision: str) -> None:
    size, repeats = (8192, 10) if device.type == "cuda" else (2048, 2)
    rates.append(measured_matmul_rate(device, precision, size=size, repeats=repeats))


def _fed(step: Callable[[torch.Tensor], None], batches: Batches) -> Callable[[], None]:
    number = 0

    def run() -> None:
        nonlocal number
        step(batches(number))
        number += 1

    return run
