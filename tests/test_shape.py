"""How large a file, a function and a list of parameters may be (CONTRIBUTING). `loupe.faces` is left out: its text is the study set's
version and stays as it is. How long a line may be, and what a formatter and a linter say, is asked of ruff (pyproject.toml)."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = [path for path in sorted((ROOT / "src").rglob("*.py")) if "faces" not in path.relative_to(ROOT / "src").parts[:2]]


def functions():
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield f"{path.relative_to(ROOT)}: {node.name}", node


def test_no_file_has_more_than_300_lines():
    lines = {str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines()) for path in FILES}
    assert not {path: count for path, count in lines.items() if count > 300}


def test_no_function_has_more_than_60_lines():
    lines = {name: node.end_lineno - node.lineno + 1 for name, node in functions()}
    assert not {name: count for name, count in lines.items() if count > 60}


def test_no_function_has_more_than_7_parameters():
    """Commands are left out: their parameters are the options that `--help` lists."""
    taken = {name: node.args.posonlyargs + node.args.args + node.args.kwonlyargs for name, node in functions() if "/commands/" not in name}
    counts = {name: sum(given.arg not in ("self", "cls") for given in arguments) for name, arguments in taken.items()}
    assert not {name: count for name, count in counts.items() if count > 7}


@pytest.mark.parametrize("words", ["check src scripts tests benchmarks notebooks", "format --check src scripts tests benchmarks"])
def test_ruff_finds_nothing(words):
    done = subprocess.run([sys.executable, "-m", "ruff", *words.split()], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
