"""Claims as data, and their verdicts: reads `conf/claims.yaml` and the predictions, never a printed number (design, Protocol 4, 5, 9)."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import t

from loupe.evaluation.claim_book import Cell, Claim, ClaimBook, read_claims
from loupe.evaluation.effects import effect_of
from loupe.evaluation.metrics import guessing_score
from loupe.evaluation.statistics import ALPHA, RESAMPLES, Interval, bootstrap_interval, detectable_effect, holm, permutation_p, verdict

NOT_RUN = "not run at this scale"
NOTE = "on generated faces"
SCORED_SPLITS = ("test", "loso")
__all__ = ["Cell", "Claim", "ClaimBook", "cell_predictions", "claims_table", "decide", "read_claims", "read_predictions"]
RECORDS = ("predictions.parquet", "localisation.parquet")


def read_predictions(runs: Path) -> dict[str, pd.DataFrame]:
    """Records of every finished stage, by stage: `runs/<stage>/predictions.parquet` and, with one score a clip, `localisation.parquet`."""
    stages: dict[str, list[pd.DataFrame]] = {}
    for record in RECORDS:
        for path in sorted(runs.glob(f"*/{record}")):
            stages.setdefault(path.parent.name, []).append(pd.read_parquet(path))
    return {stage: pd.concat(frames, ignore_index=True) for stage, frames in stages.items()}


def cell_predictions(cell: Cell, task: str, predictions: Mapping[str, pd.DataFrame]) -> pd.DataFrame | None:
    """Rows of a cell, all folds and seeds pooled: the scored ones (test or LOSO) unless it names another split. None where it was not run.

    A cell that names no regime means the usual one of its task: a share of the labels, of video a share of the frames."""
    frame = predictions.get(cell.stage)
    if frame is None:
        return None
    splits = (cell.split,) if cell.split else SCORED_SPLITS
    chosen = (
        (frame["task"] == task) & (frame["arm"] == cell.arm) & np.isclose(frame["fraction"], cell.fraction) & frame["split"].isin(splits)
    )
    for name in ("condition", "smoothed"):
        chosen &= frame[name] == getattr(cell, name)
    chosen &= frame["dose"].isna() if cell.dose is None else np.isclose(frame["dose"], cell.dose)
    chosen &= frame["regime"] == (cell.regime or ("frames" if task == "frames" else "labels"))
    return frame[chosen] if chosen.any() else None


def decide(
    claim: Claim,
    predictions: Mapping[str, pd.DataFrame],
    classes: int,
    rng: np.random.Generator,
    *,
    resamples: int = RESAMPLES,
    answers: int | None = None,
) -> dict:
    """One claim against the record, as if it were the only one tested (`p_holm` = p); `claims_table` adjusts within a paper.

    answers: see ClaimBook; None: all classes.
    """
    row = _blank(claim)
    frames = [cell_predictions(cell, claim.task, predictions) for cell in ((claim.a, *claim.b) if claim.a else ())]
    if not frames or any(frame is None for frame in frames):
        return row
    everyone = np.ones((1, frames[0]["subject"].nunique()))
    rivals = [effect_of(frame, None, claim.metric, classes, names=(str(cell), "")) for frame, cell in zip(frames[1:], claim.b, strict=True)]
    scores = [float(rival.resampled(np.ones((1, len(rival.subjects))))[0]) for rival in rivals]
    best = int(np.argmax(scores))
    rival_cell, rival_frame = claim.b[best], frames[1 + best]
    effect = effect_of(frames[0], rival_frame, claim.metric, classes, names=(str(claim.a), str(rival_cell)))
    interval = bootstrap_interval(effect, rng, resamples=resamples)
    p = permutation_p(effect, rng, resamples=resamples) if claim.rule == "better" else margin_p(interval, claim.sesoi)
    seeds = [int(frame["seed"].nunique()) for frame in (frames[0], rival_frame)]
    row |= {
        "value_a": float(effect_of(frames[0], None, claim.metric, classes, names=(str(claim.a), "")).resampled(everyone)[0]),
        "value_b": scores[best],
        "guess": guessing_score(claim.metric, frames[0]["label"].to_numpy(), classes, answers),
        "effect": interval.value,
        "low": interval.low,
        "high": interval.high,
        "interval": interval.method,
        "over": "people and seeds" if max(seeds) > 1 else "people",
        "p": p,
        "p_holm": p,
        "n_subjects": len(effect.subjects),
        "n_samples": int(frames[0]["sample"].nunique()),
        "n_seeds": max(seeds),
        "n_seeds_a": seeds[0],
        "n_seeds_b": seeds[1],
        "n_pretrainings": pretrainings_behind(frames[0], rival_frame),
        "detectable": detectable_effect(interval.error),
        "verdict": verdict_of(claim, interval.value, interval.low, interval.high, p),
        "cells": f"{claim.a} - {rival_cell}" if len(claim.b) == 1 else f"{claim.a} - {rival_cell} (best of {len(claim.b)})",
    }
    return row


def margin_p(interval: Interval, margin: float) -> float:
    """p of "a is worse than b by `margin` or more", by t on the error over people and seeds; doubled, so that .05 is about where a 95 %
    interval ends.

    Exchanging the arms, as `permutation_p` does, is a test of no difference and says nothing about a margin.
    """
    distance = interval.value + margin
    if interval.error == 0:
        return 0.0 if distance > 0 else 1.0
    return float(min(1.0, 2 * t.sf(distance / interval.error, interval.freedom)))


def verdict_of(claim: Claim, effect: float, low: float, high: float, p_adjusted: float) -> str:
    """Protocol 4 for `better`. `not-worse` is the test of non-inferiority with sesoi as margin: "supported" where the interval lies above
    -sesoi and the adjusted p of that margin is below .05, "not supported" where it lies below -sesoi, else "inconclusive".
    """
    if claim.rule == "better":
        return verdict(effect, low, high, p_adjusted, claim.sesoi)
    if low > claim.bound and p_adjusted < ALPHA:
        return "supported"
    return "not supported" if high < claim.bound else "inconclusive"


def _blank(claim: Claim) -> dict:
    numbers = dict.fromkeys(("value_a", "value_b", "guess", "effect", "low", "high"), np.nan)
    counts = dict.fromkeys(("n_subjects", "n_samples", "n_seeds", "n_seeds_a", "n_seeds_b", "n_pretrainings"), pd.NA)
    facts = {
        "id": claim.id,
        "paper": claim.paper,
        "sentence": claim.sentence,
        "source": claim.source,
        "task": claim.task,
        "metric": claim.metric,
    }
    note = NOTE if claim.rule == "better" else f"{NOTE}; not worse: held against a loss of {claim.sesoi:g}"
    marks = {"detectable": np.nan, "sesoi": claim.bound, "verdict": NOT_RUN, "floor": False, "note": note, "cells": claim.cells}
    licensed = {"paper_number": claim.paper_number, "licensed": "not run", "scales": " ".join(claim.scales)}
    return facts | numbers | {"interval": "", "over": "", "p": np.nan, "p_holm": np.nan} | counts | marks | licensed


def pretrainings_behind(*arms: pd.DataFrame) -> int:
    """Fewest separately pre-trained encoders behind an arm that has any: the weakest link of a comparison. 0 where no arm is
    pre-trained."""
    counts = [len(arm.loc[arm["pretraining"] != "none", ["pretraining", "dose"]].drop_duplicates()) for arm in arms]
    return min((count for count in counts if count), default=0)


def claims_table(
    book: ClaimBook,
    predictions: Mapping[str, pd.DataFrame],
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> pd.DataFrame:
    """Every claim of the book, one row, in its order; Holm's family is the claims of one paper that were run.

    Column `sesoi` is what the interval is held against: the claim's smallest effect of interest, negative under rule `not-worse`.
    Where neither arm exceeds guessing (column `guess`) by the smallest effect of interest, the verdict is "inconclusive" and the note says
    why.

    Each claim draws from its own generator, seeded by `seed` and its id: adding a claim moves no other's interval. Numbers are rounded to
    six digits, so that equal studies write equal files.
    """
    rows = []
    for claim in book.claims:
        rng = np.random.default_rng([seed, zlib.crc32(claim.id.encode())])
        classes = book.classes.get(claim.task, 0)
        rows.append(decide(claim, predictions, classes, rng, resamples=resamples, answers=book.answers.get(claim.task)))
    table = pd.DataFrame(rows)
    for _, family in table[table["p"].notna()].groupby("paper"):
        table.loc[family.index, "p_holm"] = holm(family["p"])
    for index in table.index[table["p"].notna()]:
        row, claim = table.loc[index], book.claims[index]
        table.loc[index, "verdict"] = verdict_of(claim, row["effect"], row["low"], row["high"], row["p_holm"])
        if max(row["value_a"], row["value_b"]) < row["guess"] + claim.sesoi:
            # Two arms that have learnt next to nothing differ by next to nothing: a small interval around 0 then speaks of the floor, not
            # of the methods.
            table.loc[index, ["verdict", "floor", "note"]] = (
                "inconclusive",
                True,
                f"{row['note']}; both arms within {claim.sesoi:g} of guessing ({row['guess']:.3f}), a floor that decides nothing",
            )
    counts = [column for column in table.columns if column.startswith("n_")]
    numbers = table.select_dtypes("float").columns.difference(counts)
    return table.assign(**{column: table[column].round(6) for column in numbers}).astype(dict.fromkeys(counts, "Int64"))
