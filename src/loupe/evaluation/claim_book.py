"""The book of claims: `conf/claims.yaml`, read and checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from loupe.errors import LoupeError
from loupe.evaluation.arms import SCORE_METRICS
from loupe.evaluation.metrics import CONFUSION_METRICS

PAPERS = ("emotic-mae", "micron-bert")
LOCALISATION_METRICS = ("pointing_game", "energy_inside", "rank_correlation")
METRICS = (*CONFUSION_METRICS, *SCORE_METRICS, *LOCALISATION_METRICS)
RULES = ("better", "not-worse")
FOLDS = "folds"  # the regime whose folds are not those of leave one subject out
OTHER_SPLITS = ("train", "val")  # a claim about fit or about validation people names one of them


@dataclass(frozen=True)
class Cell:
    """One arm of one stage at one share of the labels, in one state (`loupe.evaluation.predictions`). split: one of OTHER_SPLITS; empty, as
    for almost all: the people on whom arms are scored. dose: of an encoder pre-trained on uneven people."""

    stage: str
    arm: str
    fraction: float = 1.0
    split: str = ""
    condition: str = ""
    regime: str = ""
    dose: float | None = None
    smoothed: bool = False

    def __str__(self) -> str:
        told = [f"{self.split} people" if self.split else "", self.condition]
        told += ["folds of several people" if self.regime == FOLDS else self.regime and f"share of the {self.regime}"]
        told += [
            "" if self.dose is None else f"pre-trained on people of whom {self.dose:.0%} are from one half",
            "smoothed" if self.smoothed else "",
        ]
        state = ", ".join(filter(None, told))
        return f"{self.stage}/{self.arm}@{self.fraction:g}{f' ({state})' if state else ''}"


@dataclass(frozen=True)
class Claim:
    """A claim and the comparison that decides it: metric(a) - metric(b) > 0 (rule `better`), or > -sesoi (rule `not-worse`: a comes close
    to b).

    Several cells in `b` mean the best of them, by their own score on the same test subjects: the choice favours the rival. A claim without
    cells is on record but not yet run. sesoi: smallest effect of interest. scales: where its cells are part of the study.
    """

    id: str
    paper: str
    sentence: str
    source: str
    metric: str
    paper_number: str
    sesoi: float = 0.05
    task: str = ""
    scales: tuple[str, ...] = ()
    a: Cell | None = None
    b: tuple[Cell, ...] = ()
    rule: str = "better"

    @property
    def bound(self) -> float:
        """What the interval is held against: the smallest effect of interest, for `not-worse` the largest loss that does not matter."""
        return self.sesoi if self.rule == "better" else -self.sesoi

    @property
    def cells(self) -> str:
        if self.a is None:
            return ""
        rivals = " | ".join(map(str, self.b))
        return f"{self.a} - {f'best of ({rivals})' if len(self.b) > 1 else rivals}"


@dataclass(frozen=True)
class ClaimBook:
    """All claims, and the number of classes of each task they speak about. answers: of a task that asks several questions of each sample,
    how many of the classes one row can be answered with (two for task `units`: absent or present)."""

    classes: Mapping[str, int]
    claims: tuple[Claim, ...]
    answers: Mapping[str, int] = field(default_factory=dict)


def read_claims(path: Path) -> ClaimBook:
    """Read `conf/claims.yaml`. Raises LoupeError that names the file, the claim and the key."""
    if not path.is_file():
        raise LoupeError(f"{path} is missing; restore it from the repository.")
    try:
        book = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise LoupeError(f"{path} is not valid YAML ({str(error).splitlines()[0]}); mend it.") from error
    if not isinstance(book, dict) or set(book) != {"tasks", "claims"}:
        raise LoupeError(f"{path} must hold the keys tasks and claims, and no others.")
    asked = {task: value for task, value in book["tasks"].items() if isinstance(value, Mapping)}
    for task, value in asked.items():
        if set(value) != {"classes", "answers"} or value["classes"] % value["answers"]:
            raise LoupeError(
                f"{path}: task {task} must hold a number of classes, or classes and answers, of which one divides into the other."
            )
    classes = {task: int(value["classes"] if task in asked else value) for task, value in book["tasks"].items()}
    claims = tuple(_claim(entry, classes, path) for entry in book["claims"])
    ids = [claim.id for claim in claims]
    for identity in ids:
        if ids.count(identity) > 1:
            raise LoupeError(f"{path}: the id {identity} occurs {ids.count(identity)} times; give each claim its own.")
    return ClaimBook(classes, claims, {task: int(value["answers"]) for task, value in asked.items()})


def _claim(entry: Mapping, classes: Mapping[str, int], path: Path) -> Claim:
    where = f"{path}, claim {entry.get('id', '(no id)')}"
    try:
        rivals = entry.get("b") or ()
        rivals = [rivals] if isinstance(rivals, Mapping) else rivals
        cells = {"a": Cell(**entry["a"]) if entry.get("a") else None, "b": tuple(Cell(**rival) for rival in rivals)}
        claim = Claim(**{**entry, **cells, "scales": tuple(entry.get("scales", ()))})
    except TypeError as error:
        raise LoupeError(f"{where}: {str(error).split('() ')[-1]}; see loupe.evaluation.claims.Claim for the keys.") from error
    if claim.paper not in PAPERS:
        raise LoupeError(f"{where}: paper {claim.paper!r} is unknown; use {' or '.join(PAPERS)}.")
    if claim.metric not in METRICS:
        raise LoupeError(f"{where}: metric {claim.metric!r} is unknown; use one of {', '.join(METRICS)}.")
    if claim.rule not in RULES:
        raise LoupeError(f"{where}: rule {claim.rule!r} is unknown; use {' or '.join(RULES)}.")
    if (claim.a is None) != (not claim.b):
        raise LoupeError(f"{where}: give both a and b, or neither (on record, not run).")
    if claim.a is not None and claim.task not in classes:
        raise LoupeError(f"{where}: task {claim.task!r} is not among the tasks of the file; add it with its number of classes.")
    if len({cell.regime == FOLDS for cell in (claim.a, *claim.b) if cell}) > 1:
        raise LoupeError(f"{where}: only some of its cells have regime {FOLDS}; arms must be compared in the same folds.")
    splits = {cell.split for cell in (claim.a, *claim.b) if cell}
    if splits - {"", *OTHER_SPLITS}:
        raise LoupeError(f"{where}: a cell's split is {' or '.join(OTHER_SPLITS)}, or left out for the people on whom arms are scored.")
    if len(splits) > 1:
        raise LoupeError(f"{where}: its cells name different splits; both arms must be compared on the same people.")
    return claim
