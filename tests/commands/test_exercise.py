"""Answers to exercises: right, or a hint; the solution is never printed."""

import csv
from pathlib import Path

import pytest
import typer

from loupe.commands.exercise import CHECKS, exercise, right, tasks
from loupe.errors import LoupeError

ROOT = Path(__file__).resolve().parents[2]
RIGHT = {("02", 1): "32", ("03", 4): "64", ("04", 1): "1/4096", ("11", 4): "0.5"}


@pytest.fixture(autouse=True)
def here(monkeypatch):
    monkeypatch.chdir(ROOT)


def undecided():
    """00, exercise 1, from the file itself."""
    with (ROOT / "reports" / "claims.csv").open() as lines:
        rows = [row for row in csv.DictReader(lines) if row["verdict"] == "inconclusive"]
    return ",".join(row["id"] for row in rows if float(row["low"]) > 0 or float(row["high"]) < 0) or "none"


@pytest.mark.parametrize("place", [*RIGHT, ("00", 1)])
def test_a_right_answer_passes_and_a_wrong_one_gets_the_hint(place, capsys):
    exercise(*place, RIGHT.get(place) or undecided())
    assert capsys.readouterr().out == "Right.\n"
    with pytest.raises(typer.Exit) as stopped:
        exercise(*place, "17" if place in RIGHT else "mae-at-1000")
    assert stopped.value.exit_code == 1 and capsys.readouterr().out == f"Not yet. {CHECKS[place].hint}\n"


def test_claims_flip_without_holm_where_only_the_corrected_p_is_too_large(tmp_path):
    (tmp_path / "conf").symlink_to(ROOT / "conf")
    (tmp_path / "reports").mkdir()
    rows = [
        "id,effect,low,high,p,p_holm,verdict,floor",
        "mae-at-10,.1,.05,.2,.01,.2,inconclusive,False",
        "mae-at-2,.1,.05,.2,.01,.2,inconclusive,True",
    ]
    (tmp_path / "reports" / "claims.csv").write_text("\n".join([*rows, "mae-at-100,.1,.05,.2,.001,.002,supported,False"]))
    assert CHECKS["11", 2].answer(tmp_path) == {"mae-at-10"}


def test_every_check_belongs_to_an_exercise_and_no_solution_is_listed(capsys):
    for notebook, number in CHECKS:
        assert number in tasks(ROOT, notebook)
    exercise("11", None, None)
    listed = capsys.readouterr().out
    assert listed.count("[loupe exercise 11") == 2 and "before the run" not in listed and len(listed.splitlines()) == 4


def test_words_come_in_any_order_and_bad_input_is_a_sentence():
    assert right("b, A", {"a", "b"}) and right("none", set()) and not right("a", {"a", "b"})
    with pytest.raises(LoupeError, match="not a number"):
        right("half", 0.5)
    with pytest.raises(LoupeError, match="no notebook"):
        tasks(ROOT, "99")
    with pytest.raises(LoupeError, match="cannot be checked"):
        exercise("03", 1, "mirror")
