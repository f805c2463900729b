"""What it fakes to keep the step that is best on the test people (design, Protocol 2): a lesson, never a result.

Leave-one-subject-out code commonly tests after each epoch and keeps, for each left-out person, the predictions of the epoch that was best
on that very person. More looks give more luck: even a classifier that has learnt nothing gains.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from loupe.evaluation.metrics import MEGC_CLASSES, uf1

FIXED, BEST, BEST_EACH = "last step, fixed beforehand", "best step on the test people", "best step on each test person"


def kept_predictions(
    truth: ArrayLike, subjects: ArrayLike, predicted: NDArray[np.int64], classes: int = MEGC_CLASSES
) -> dict[str, NDArray[np.int64]]:
    """The predictions (N,) that each rule keeps of `predicted` (P, N), said after P steps on the way.

    `BEST` takes one step for everybody, that of the highest pooled UF1; `BEST_EACH` one a person, that of the most clips right; of equals
    the first, as code does that saves when a score has improved. The order of `predicted` is that of the steps.
    """
    truth, subjects = np.asarray(truth), np.asarray(subjects)
    best = int(np.argmax([uf1(truth, said, classes) for said in predicted]))
    each = np.empty_like(truth)
    for person in np.unique(subjects):
        own = subjects == person
        each[own] = predicted[int(np.argmax((predicted[:, own] == truth[own]).sum(1)))][own]
    return {FIXED: predicted[-1], BEST: predicted[best], BEST_EACH: each}


def best_epoch_table(
    truth: ArrayLike, subjects: ArrayLike, predicted: Mapping[str, NDArray[np.int64]], classes: int = MEGC_CLASSES
) -> pd.DataFrame:
    """A row an arm and rule: pooled UF1 as mean and sd over seeds, and the points (hundredths of UF1) that the rule adds to the fixed step.

    predicted: (P, S, N) classes of each arm, after P steps and from S seeds.
    """
    rows = []
    for arm, said in predicted.items():
        scores = pd.DataFrame(
            [
                {rule: uf1(truth, kept, classes) for rule, kept in kept_predictions(truth, subjects, said[:, seed], classes).items()}
                for seed in range(said.shape[1])
            ]
        )
        for rule, values in scores.items():
            points = 100 * (values - scores[FIXED]).mean()
            rows.append(
                {
                    "arm": arm,
                    "rule": rule,
                    "uf1_mean": values.mean(),
                    "uf1_sd": values.std(ddof=1),
                    "points": points,
                    "n_seeds": len(values),
                    "n_steps": len(said),
                }
            )
    return pd.DataFrame(rows)
