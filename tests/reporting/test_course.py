"""The notebooks as a course: each opens with a question and a picture, its formulas name real code, its experiments would run."""

from __future__ import annotations

import ast
import builtins
import re
from pathlib import Path

import jupytext
import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = sorted((ROOT / "notebooks").glob("*.py"))
PROVIDED = set(dir(builtins)) | {"display"}

every_notebook = pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)


def cells(script: Path, kind: str) -> list[str]:
    return [cell.source for cell in jupytext.read(script).cells if cell.cell_type == kind]


def folded(text: str) -> str:
    return re.sub(r"\s+", " ", text)


@every_notebook
def test_opens_with_a_question_and_a_picture_that_is_there(script):
    first = cells(script, "markdown")[0]
    title, _, picture = first.splitlines()[:3]
    assert "?" in title or script.stem.startswith("00-") and "**What is this?**" in first
    alt, path = re.fullmatch(r"!\[(.+)\]\((.+)\)", picture).groups()
    assert len(alt) > 20
    assert (script.parent / path).is_file(), path


@every_notebook
def test_a_formula_quotes_lines_that_stand_in_the_file_it_names(script):
    text = re.sub(r"\n +", " ", "\n".join(cells(script, "markdown")))  # an item may run over several lines
    items = re.findall(r"^\* (.*) \(`(src/[^`]+\.py)`\)$", text, re.MULTILINE)
    for said, file in items:
        code = folded((ROOT / file).read_text(encoding="utf-8"))
        quoted = re.findall(r"`([^`]+)`", said)
        assert quoted, said
        for line in quoted:
            assert line in code, f"{file} no longer has {line!r}"
    assert items or script.stem.startswith("00-"), "no formula with its line of code"


@every_notebook
def test_every_exercise_has_a_folded_solution(script):
    last = cells(script, "markdown")[-1]
    assert "## What we learnt" in last
    tasks, solutions = last.split("## Exercises")[1].split("<details><summary>Solutions</summary>")
    assert solutions.rstrip().endswith("</details>")
    numbers = [re.findall(r"^(\d)\. ", part, re.MULTILINE) for part in (tasks, solutions)]
    assert numbers[0] == numbers[1] == [str(i + 1) for i in range(len(numbers[0]))]
    assert 3 <= len(numbers[0]) <= 5


@every_notebook
def test_the_experiment_to_paste_uses_only_what_the_notebook_has_defined(script):
    (experiment,) = re.findall(r"^```python\n(.*?)^```", cells(script, "markdown")[-1], re.MULTILINE | re.DOTALL)
    known = set(PROVIDED)
    for code in [*cells(script, "code"), experiment]:
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                known.add(node.id)
            elif isinstance(node, ast.alias):
                known.add(node.asname or node.name)
            elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                known.add(node.name)
            elif isinstance(node, ast.arg):
                known.add(node.arg)
    used = {node.id for node in ast.walk(ast.parse(experiment)) if isinstance(node, ast.Name)}
    assert used <= known, used - known
