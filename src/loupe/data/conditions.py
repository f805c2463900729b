"""Further conditions for classifiers that are trained already: the same test people in other pictures. Nothing is trained or chosen on
them.

    shifted    lights, backgrounds, hair and action units that no training picture has: the prepared set `shift` (generated faces only)
    covered    the test pictures with a grey rectangle over the eyes or over the mouth (loupe.data.covering)

A condition is a store of its own, whose views are cut as any other store's, from its own pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

SHIFTED, COVERED = "shifted", "covered"
CONDITIONS = (SHIFTED, COVERED)


@dataclass(frozen=True)
class Condition:
    """The rows `rows` of the store in `folder`, all of test people: open them through loupe.evaluation.guards.Vault."""

    name: str  # one of CONDITIONS
    folder: Path
    rows: np.ndarray
