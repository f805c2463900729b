"""`loupe exercise`: an answer to an exercise of a notebook, checked against the settings and results of this checkout: right, or a hint."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import typer

from loupe.config import find_root
from loupe.errors import LoupeError

Answer = float | set[str]


@dataclass(frozen=True)
class Check:
    """`form`: what is asked for, and how it is written. The right answer is worked out each time, so that it stays right after a rerun."""

    form: str
    answer: Callable[[Path], Answer]
    hint: str


def exercise(
    notebook: str = typer.Argument(help="The notebook's number, e.g. 03."),
    number: int = typer.Argument(None, help="The exercise's number; without it all are listed."),
    answer: str = typer.Argument(None, help='Your answer: a number (0.5, 1/8), or words with commas between; "none" where there is none.'),
) -> None:
    """Check an answer to a notebook's exercise: right, or a hint. Without an answer it says what is asked for."""
    root = find_root()
    found = tasks(root, notebook)
    if number is None:
        for task, text in found.items():
            print(f"{task}. {text}{f' [loupe exercise {notebook} {task} ANSWER]' if (notebook, task) in CHECKS else ''}")
        return
    if number not in found or (notebook, number) not in CHECKS:
        can = ", ".join(" ".join(map(str, place)) for place in CHECKS)
        raise LoupeError(
            f"Exercise {number} of notebook {notebook} cannot be checked here: its solution is folded below it. Those that can be: {can}."
        )
    check = CHECKS[notebook, number]
    if answer is None:
        print(f"{found[number]}\nAnswer with {check.form}.")
        return
    if right(answer, check.answer(root)):
        print("Right.")
        return
    print(f"Not yet. {check.hint}")
    raise typer.Exit(1)


def tasks(root: Path, notebook: str) -> dict[int, str]:
    """The exercises of a notebook by number, without their solutions. Raises LoupeError where there is no such notebook."""
    paths = sorted((root / "notebooks").glob("[0-9][0-9]-*.py"))
    chosen = [path for path in paths if path.stem.startswith(f"{notebook}-")]
    if not chosen:
        raise LoupeError(f"There is no notebook {notebook!r}: choose one of {', '.join(path.stem[:2] for path in paths)}.")
    text = re.sub(r"^# ?", "", chosen[0].read_text(encoding="utf-8"), flags=re.MULTILINE)
    section = text.partition("## Exercises")[2].partition("<details>")[0]
    return {
        int(task): " ".join(words.split()) for task, words in re.findall(r"^(\d)\. (.*?)(?=^\d\. |\Z)", section, re.MULTILINE | re.DOTALL)
    }


def right(given: str, wanted: Answer) -> bool:
    """Words in any order; numbers to 1 %. Raises LoupeError for words where a number is asked for."""
    if isinstance(wanted, set):
        return {word for word in re.split(r"[,\s]+", given.strip().lower()) if word not in ("", "none")} == wanted
    try:
        return abs(float(Fraction(given.strip())) - wanted) <= 0.01 * abs(wanted)
    except (ValueError, ZeroDivisionError) as error:
        raise LoupeError(f"{given!r} is not a number: write it as 0.5 or 1/8.") from error


def _claims(root: Path):
    import pandas as pd

    path = root / "reports" / "claims.csv"
    if not path.is_file():
        raise LoupeError(f"{path} is missing: run `dvc repro claims` first.")
    table = pd.read_csv(path)
    return table[table["effect"].notna()]


def _undecided_though_away_from_zero(root: Path) -> set[str]:
    table = _claims(root)
    return set(table.loc[(table["verdict"] == "inconclusive") & ((table["low"] > 0) | (table["high"] < 0)), "id"])


def _flipped_without_holm(root: Path) -> set[str]:
    from loupe.evaluation.claim_book import read_claims
    from loupe.evaluation.claims import verdict_of

    claims = {claim.id: claim for claim in read_claims(root / "conf" / "claims.yaml").claims}
    rows = [row for row in _claims(root).itertuples() if row.id in claims and str(row.floor) != "True"]
    return {row.id for row in rows if verdict_of(claims[row.id], row.effect, row.low, row.high, row.p) != row.verdict}


def _patches(root: Path) -> int:
    import yaml

    scale = yaml.safe_load((root / "conf" / "study.yaml").read_text(encoding="utf-8"))["scale"]
    image = yaml.safe_load((root / "conf" / "scale" / f"{scale}.yaml").read_text(encoding="utf-8"))["image"]
    return (image["size"] // image["patch"]) ** 2


_IDS = "the ids of the claims (column `id` of reports/claims.csv), commas between"
CHECKS = {
    ("00", 1): Check(
        _IDS, _undecided_though_away_from_zero, "Both ends of such an interval have the same sign; look at `low`, `high` and `verdict`."
    ),
    ("02", 1): Check(
        "the number of patches of one face that the encoder sees with this override",
        lambda root: _patches(root) * 0.5,
        "`image` in conf/scale says how many patches a face has; the mask ratio says which share is hidden.",
    ),
    ("03", 4): Check(
        "what the map's values over all patches of one face add up to",
        lambda root: float(_patches(root)),
        "A softmax adds up to 1. What is it multiplied by, and how large is that at this scale?",
    ),
    ("04", 1): Check(
        "about how large one weight W then is",
        lambda root: 1 / _patches(root) ** 2,
        "Diagonal and interest are each about as large as an even share of all patches. W is their product.",
    ),
    ("11", 2): Check(
        _IDS, _flipped_without_holm, "Put `p` where the rule has `p_holm`. What lies on the floor stays inconclusive whatever its p."
    ),
    ("11", 4): Check(
        "the expected number of claims", lambda root: 10 * 0.05, "Expectations add up, whether or not the claims depend on each other."
    ),
}
