"""Simulated predictions with a known truth, shared by the tests of effects, statistics, controls and claims."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest


def simulate(
    rng: np.random.Generator,
    *,
    subjects: int = 20,
    per_subject: int = 12,
    classes: int = 3,
    seeds: int = 3,
    skill: float = 0.6,
    spread: float = 0.15,
    luck: float = 0.0,
    arm: str = "a",
    people: np.ndarray | None = None,
    labels: np.ndarray | None = None,
    **columns: object,
) -> pd.DataFrame:
    """Predictions of one arm: right with a probability that varies between subjects (`people`) and seeds (sd `luck`), else any class at
    random."""
    people = rng.normal(0, spread, subjects) if people is None else people
    n = subjects * per_subject
    owner = np.repeat(np.arange(subjects), per_subject)
    labels = rng.integers(classes, size=n) if labels is None else labels
    frames = []
    for seed in range(seeds):
        lucky = rng.normal(0, luck) if luck else 0.0
        right = rng.random(n) < np.clip(skill + lucky + people[owner], 0, 1)
        pred = np.where(right, labels, rng.integers(classes, size=n))
        score = rng.normal(labels * (skill * 2) + people[owner], 1.0)
        frames.append(
            pd.DataFrame(
                {
                    "task": "micro", "arm": arm, "fraction": 1.0, "seed": seed, "fold": "", "split": "loso", "sample": np.arange(n),
                    "subject": [f"s{i:03d}" for i in owner], "clip": [f"c{i:04d}" for i in range(n)], "label": labels, "pred": pred,
                    "p1": score.astype(np.float32),
                }
            )
        )  # fmt: skip
    state = {"condition": "", "regime": "labels", "pretraining": "none", "dose": np.nan, "smoothed": False}
    return pd.concat(frames, ignore_index=True).assign(**(state | columns))


@pytest.fixture
def simulated() -> Callable[..., pd.DataFrame]:
    return simulate


@pytest.fixture
def simulated_pair() -> Callable[..., tuple[pd.DataFrame, pd.DataFrame]]:
    """Two arms on the same samples and people: make(rng, skill_a, skill_b, **simulate's options)."""

    def make(
        rng: np.random.Generator, skill_a: float, skill_b: float, *, seeds_b: int | None = None, **options
    ) -> tuple[pd.DataFrame, pd.DataFrame]:
        size = {
            "subjects": options.pop("subjects", 20),
            "per_subject": options.pop("per_subject", 12),
            "classes": options.pop("classes", 3),
        }
        people = rng.normal(0, 0.15, size["subjects"])
        labels = rng.integers(size["classes"], size=size["subjects"] * size["per_subject"])
        seeds = options.pop("seeds", 3)
        a = simulate(rng, skill=skill_a, people=people, labels=labels, arm="a", seeds=seeds, **size, **options)
        b = simulate(rng, skill=skill_b, people=people, labels=labels, arm="b", seeds=seeds_b or seeds, **size, **options)
        return a, b

    return make
