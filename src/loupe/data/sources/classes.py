"""Class numbers for the names that somebody gave: a name stays what it is, or is mapped by name where all of them are known names of
expressions."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from loupe.data.manifest import STILL_CLASSES
from loupe.data.sources.sheets import name, whole
from loupe.errors import LoupeError

ORDER = (*STILL_CLASSES, "Contempt")  # of AffectNet and CK+, not of Aff-Wild2
_SYNONYMS = {  # of AffectNet, FER2013, RAF-DB, CK+ and their copies as pictures
    "angry": "Anger",
    "disgusted": "Disgust",
    "fearful": "Fear",
    "happy": "Happiness",
    "sad": "Sadness",
    "surprised": "Surprise",
}


def class_numbers(names: Iterable[str], where: str, chosen: str | None = None) -> dict[str, tuple[int, str]]:
    """Number and name of the class that each name means; -1 where it has none ("", "-1", or not among the chosen ones).

    chosen (`--classes`): `angry=Anger,wink`, the names to use in the order of their numbers, each with its new name where it gets one.
    Without it, whole numbers stand for themselves; names of which all are known get Aff-Wild2's names and numbers; others count from 0 in
    alphabetical order.
    Raises LoupeError, naming `where`, for numbers with gaps and for a chosen name that is not there.
    """
    numbers = {given: whole(given) for given in names}
    none = {given: (-1, "") for given, number in numbers.items() if not given or number == -1}
    rest = sorted(set(numbers) - set(none))
    if chosen:
        return none | _chosen(rest, where, chosen)
    if rest and all(numbers[given] is not None for given in rest):
        counted = sorted({numbers[given] for given in rest})
        if counted != list(range(len(counted))):
            wrong = next(number for place, number in enumerate(counted) if number != place)
            raise LoupeError(
                f"{where}: the labels {', '.join(map(str, counted[:9]))} must count from 0 without gaps (-1 or empty: no class): "
                f"label {wrong} is outside the class list 0..{len(counted) - 1}; name the classes with --classes."
            )
        return none | {given: (numbers[given], str(numbers[given])) for given in rest}
    known = {given: _SYNONYMS.get(given.lower(), given.capitalize()) for given in rest}
    if set(known.values()) <= set(ORDER):
        return none | {given: (ORDER.index(meant), meant) for given, meant in known.items()}
    return none | {given: (number, given) for number, given in enumerate(rest)}


def _chosen(rest: list[str], where: str, chosen: str) -> dict[str, tuple[int, str]]:
    meaning: dict[str, tuple[int, str]] = {given: (-1, given) for given in rest}
    places: dict[str, int] = {}
    for entry in chosen.split(","):
        old, _, new = (name(part) for part in entry.partition("="))
        meant = [given for given in rest if given == old or (whole(old) is not None and whole(given) == whole(old))]
        if not meant:
            raise LoupeError(f"{where} has no class {old!r} to choose: it has {', '.join(rest)}.")
        meaning |= dict.fromkeys(meant, (places.setdefault(new or old, len(places)), new or old))
    return meaning


def told(table: pd.DataFrame) -> tuple[str, ...]:
    """A sentence on the classes of a table whose column `emotion` holds the names as they were given; none where it has no such column."""
    if "emotion" not in table:
        return ()
    pairs = table[["emotion", "label", "label_name"]].drop_duplicates().sort_values(["label", "emotion"])
    named = (
        f"{row.emotion} = {f'{row.label} {row.label_name}' if row.label >= 0 else 'no class'}" for row in pairs.itertuples() if row.emotion
    )
    return ("classes by name: " + ", ".join(named),)
