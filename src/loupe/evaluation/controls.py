"""Controls of the decision rule itself, on stored predictions (design, Protocol 5).

A rule that says "supported" must say it where a gain was put in, and must not say it where there is none. Three studies in which the truth is
known are made out of a real one: arms exchanged at random, one arm against itself with other seeds, and one arm against itself improved.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations

import numpy as np
import pandas as pd

from loupe.errors import LoupeError
from loupe.evaluation.effects import CountsEffect, Effect, effect_of
from loupe.evaluation.metrics import CONFUSION_METRICS, grouped_confusion
from loupe.evaluation.statistics import bootstrap_interval, detectable_effect, permutation_p, verdict


def supported(effect: Effect, sesoi: float, rng: np.random.Generator, *, resamples: int) -> bool:
    """Whether the rule calls the effect supported, as a single claim."""
    return _supported_at(effect, (sesoi,), rng, resamples)[0]


def _supported_at(effect: Effect, margins: Sequence[float], rng: np.random.Generator, resamples: int) -> list[bool]:
    """The same interval and p under several smallest effects of interest."""
    interval = bootstrap_interval(effect, rng, resamples=resamples)
    p = permutation_p(effect, rng, resamples=resamples)
    return [verdict(interval.value, interval.low, interval.high, p, margin) == "supported" for margin in margins]


def null_rates(studies: Iterable[Effect], margins: Sequence[float], rng: np.random.Generator, *, resamples: int = 1000) -> np.ndarray:
    """Share of "supported" among `studies` for each smallest effect of interest in `margins` (M,). With 0 interval and p stand alone."""
    return np.mean([_supported_at(study, margins, rng, resamples) for study in studies], axis=0)


def exchanged_studies(effect: Effect, rng: np.random.Generator, simulations: int) -> Iterator[Effect]:
    """Studies in which the two arms were exchanged at random within each subject: no difference exists."""
    for _ in range(simulations):
        yield effect.after_exchange(rng.random(len(effect.subjects)) < 0.5)


def permuted_studies(
    a: pd.DataFrame, b: pd.DataFrame, metric: str, classes: int, rng: np.random.Generator, simulations: int
) -> Iterator[Effect]:
    """Studies in which the labels were permuted among the samples: nobody can read them.

    Not quite "no difference" for a macro average: an arm that names few classes scores lower on random labels than one that names all. So the
    rule as used must stay below its limit here, while interval and p alone may find that small difference more often.
    """
    facts = a.drop_duplicates("sample").set_index("sample")["label"]
    for _ in range(simulations):
        label = pd.Series(rng.permutation(facts.to_numpy()), index=facts.index)
        yield effect_of(*(arm.assign(label=arm["sample"].map(label).to_numpy()) for arm in (a, b)), metric, classes)


def fresh_seed_studies(arm: pd.DataFrame, metric: str, classes: int) -> list[Effect]:
    """An arm against itself: every choice of half its seeds against an equal number of the others, on the real subjects.

    Unlike `exchanged_studies` this keeps what is common to a seed (a lucky initialisation helps all subjects at once), which resampling subjects
    cannot see. Few seeds give few, dependent studies: five give 30. Subjects are not resampled for more of them: the halves of a stored arm do
    differ a little on its subjects, so a resampled population would hold a true difference and the study would be no null.
    Raises LoupeError below two seeds, and for a metric that is not a function of confusion matrices.
    """
    effect = _confusion_effect(arm, metric, classes)
    seeds = range(len(effect.a))
    half = len(seeds) // 2
    if half == 0:
        raise LoupeError("an arm against itself needs at least two seeds; run another.")
    pairs = [(one, other) for one in combinations(seeds, half) for other in combinations(set(seeds) - set(one), half)]
    return [CountsEffect(effect.subjects, effect.a[list(one)], effect.a[list(other)], effect.score) for one, other in pairs]


def inject_gain(arm: pd.DataFrame, metric: str, classes: int, gain: float, rng: np.random.Generator) -> pd.DataFrame:
    """The arm with wrong predictions, drawn at random, put right until its score (mean over seeds) has risen by at least `gain`: a positive control.

    Raises LoupeError where the arm is too good to rise so far.
    """
    score = CONFUSION_METRICS[metric]
    seeds = arm["seed"].astype("category").cat.codes.to_numpy()
    label, start = arm["label"].to_numpy(), arm["pred"].to_numpy()
    wrong = rng.permutation(np.flatnonzero(start != label))

    def after(count: int) -> tuple[float, np.ndarray]:
        pred = start.copy()
        pred[wrong[:count]] = label[wrong[:count]]
        return float(score(grouped_confusion(seeds, label, pred, classes, int(seeds.max()) + 1)).mean()), pred

    target = after(0)[0] + gain
    if after(wrong.size)[0] < target:
        raise LoupeError(f"a gain of {gain:.3f} in {metric} is above what this arm can reach; inject a smaller one.")
    low, high = 0, wrong.size
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if after(middle)[0] >= target else (middle + 1, high)
    return arm.assign(pred=after(low)[1])


def control_table(
    a: pd.DataFrame,
    b: pd.DataFrame,
    metric: str,
    classes: int,
    rng: np.random.Generator,
    *,
    sesoi: float,
    simulations: int,
    resamples: int = 1000,
) -> pd.DataFrame:
    """How often the rule says "supported" in studies of known truth, made of the stored predictions of two arms.

    Columns: control, truth (`no difference` or `a gain`), supported (share, the rule as used), limit (largest share allowed, or smallest where a
    gain is true), without_margin (share with smallest effect of interest 0: interval and p alone, harder on the rule than its use), studies.
    """
    effect = effect_of(a, b, metric, classes)
    nulls = {
        "arms exchanged at random within subjects": exchanged_studies(effect, rng, simulations),
        "labels permuted": permuted_studies(a, b, metric, classes, rng, simulations),
    }
    if a["seed"].nunique() > 1:
        nulls["the same arm with other seeds"] = fresh_seed_studies(a, metric, classes)
    table = []
    for name, studies in nulls.items():
        rule, bare = null_rates(studies, (sesoi, 0.0), rng, resamples=resamples)
        number = len(studies) if isinstance(studies, list) else simulations
        table.append(
            {"control": name, "truth": "no difference", "supported": rule, "limit": 0.05, "without_margin": bare, "studies": number}
        )
    gain = max(2 * detectable_effect(bootstrap_interval(effect, rng, resamples=resamples).error), sesoi)
    draws = max(1, simulations // 25)
    improved = (effect_of(inject_gain(b, metric, classes, gain, rng), b, metric, classes) for _ in range(draws))
    rule, bare = null_rates(improved, (sesoi, 0.0), rng, resamples=resamples)
    table.append(
        {
            "control": f"a gain of {gain:.3f} put in",
            "truth": "a gain",
            "supported": rule,
            "limit": 0.95,
            "without_margin": bare,
            "studies": draws,
        }
    )
    return pd.DataFrame(table)


def _confusion_effect(arm: pd.DataFrame, metric: str, classes: int) -> CountsEffect:
    if metric not in CONFUSION_METRICS:
        raise LoupeError(f"this control works on {', '.join(CONFUSION_METRICS)}, not on {metric}.")
    return effect_of(arm, None, metric, classes)
