"""Unlabelled people chosen unevenly by how they look: as many people and frames for every dose, only who they are differs.

People are ranked by the skin tone that the generator drew for them (manifest column `tone`), because the colour of most pixels of a face
hangs on
it: pre-training on one half of the tones never sees how the other half of the faces looks. These are drawn faces on a scale of a random
number, and nothing is said of groups of real people.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from loupe.data.store import Store
from loupe.errors import LoupeError

ATTRIBUTE = "tone"


def people_by_attribute(manifest: pd.DataFrame) -> pd.Series:
    """The attribute of each person, indexed by name; NaN where a set does not say (all imported ones)."""
    return manifest.groupby("subject")[ATTRIBUTE].first()


def upper_half(values: pd.Series) -> set[str]:
    """Names of the half of the people (rounded down) with the largest values; of equals the later name."""
    return set(_ranked(values)[len(values) - len(values) // 2 :])


def skewed_people(values: pd.Series, dose: float, seed: int) -> list[str]:
    """Half of the people (rounded down, whatever the dose), the share `dose` of them from the upper half by `values`, the others from the
    lower: sorted names. The number from the upper half is rounded half up; of an odd number of people the middle one belongs to neither
    half.

    values: one number a person, indexed by name. Doses of one seed nest: a larger one keeps all people of the upper half that a smaller one
    had and takes none of the lower half that it had not. Raises LoupeError for a dose outside 0..1, fewer than two people and a person
    whose value is unknown.
    """
    if not 0 <= dose <= 1:
        raise LoupeError(f"A skew of {dose:g} is no share: conf key experiments.ablations.skew must hold numbers in 0..1.")
    if len(values) < 2:
        raise LoupeError(f"{len(values)} unlabelled people have no two halves: raise scale.faces.clip_subjects.")
    if values.isna().any():
        raise LoupeError(f"Nobody knows the {ATTRIBUTE} of {values.index[values.isna()][0]}: only generated clips can be skewed by it.")
    ranked, count, rng = _ranked(values), len(values) // 2, np.random.default_rng([seed, 73])
    upper, lower = rng.permutation(ranked[-count:]), rng.permutation(ranked[:count])
    taken = int(np.floor(dose * count + 0.5))
    return sorted([*upper[:taken], *lower[: count - taken]])


def skewed(store: Store, dose: float, seed: int) -> Store:
    """The frames of `skewed_people` as a store of its own, its rows counted anew; everybody gives as many frames as the person with the
    fewest has."""
    table = store.manifest
    people = skewed_people(people_by_attribute(table), dose, seed)
    fewest = table["subject"].value_counts().min()
    part = store.rows((table["subject"].isin(people) & (table.groupby("subject").cumcount() < fewest)).to_numpy())
    return Store(part.images, part.manifest.assign(sample=np.arange(len(part.manifest))))


def _ranked(values: pd.Series) -> np.ndarray:
    """Names by rising value, of equals by name."""
    return values.sort_index().sort_values(kind="stable").index.to_numpy()
