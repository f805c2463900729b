"""Keep the code dependencies of every stage in dvc.yaml exact: `python scripts/stage_deps.py` rewrites them, `--check` only compares.

A stage depends on its notebook and on each module of the package that the notebook imports, directly or through other modules. Whole folders
would be simpler to write and would retrain for an hour because a caption changed.
"""

from __future__ import annotations

import argparse
import ast
import sys
from collections.abc import Iterator
from pathlib import Path

from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(description="Bring the code dependencies in dvc.yaml up to date.")
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 and say which stages are out of date")
    options = parser.parse_args()
    yaml = YAML()
    yaml.width = 140
    yaml.indent(mapping=2, sequence=4, offset=2)
    pipeline = yaml.load(ROOT / "dvc.yaml")
    stale = []
    for name, stage in pipeline["stages"].items():
        notebook = notebook_of(stage["cmd"])
        if not (ROOT / notebook).is_file():
            sys.exit(f"Stage {name} runs {notebook}, which does not exist: mend dvc.yaml or add the notebook.")
        data = [dep for dep in stage["deps"] if not dep.startswith(("src/loupe", "notebooks/"))]
        exact = [notebook, *code_of(ROOT, notebook), *data]
        if list(stage["deps"]) != exact:
            stale.append(name)
            stage["deps"][:] = exact
    if stale and options.check:
        sys.exit(f"dvc.yaml does not name the code of {', '.join(stale)} exactly: run `python scripts/stage_deps.py`.")
    if stale:
        yaml.dump(pipeline, ROOT / "dvc.yaml")
        print(f"dvc.yaml: code of {', '.join(stale)} brought up to date.")


def notebook_of(command: str) -> str:
    return next(word for word in command.split() if word.startswith("notebooks/"))


def code_of(root: Path, script: str) -> list[str]:
    """Package files that `script` imports, through any number of modules, as sorted paths below `root`.

    Includes data files that lie beside an imported module. An `__init__.py` counts only when it does something: a docstring or version there
    cannot change a result.
    """
    source = root / "src"
    waiting, seen, files = list(imported(root / script, source)), set(), set()
    while waiting:
        path = waiting.pop()
        if path in seen:
            continue
        seen.add(path)
        waiting.extend(imported(path, source))
        waiting.extend(parent / "__init__.py" for parent in path.parents if source in parent.parents and (parent / "__init__.py").is_file())
        if path.name != "__init__.py" or does_something(path):
            files.add(path)
        files.update(file for file in path.parent.iterdir() if file.is_file() and file.suffix not in (".py", ".pyc", ".typed"))
    return sorted(file.relative_to(root).as_posix() for file in files)


def imported(script: Path, source: Path) -> Iterator[Path]:
    """Modules of the package named in the import statements of one file, except those that only a type checker reads."""
    tree = ast.parse(script.read_text(encoding="utf-8"), str(script))
    for node in runtime_nodes(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                raise SystemExit(f"{script}: relative imports are not used here; write the module's full name.")
            names = [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        for name in names:
            if name.split(".")[0] != "loupe":
                continue
            path = source.joinpath(*name.split("."))
            if path.with_suffix(".py").is_file():
                yield path.with_suffix(".py")
            elif (path / "__init__.py").is_file():
                yield path / "__init__.py"


def runtime_nodes(tree: ast.AST) -> Iterator[ast.AST]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            for branch in node.orelse:
                yield branch
                yield from runtime_nodes(branch)
            continue
        yield node
        yield from runtime_nodes(node)


def does_something(path: Path) -> bool:
    for statement in ast.parse(path.read_text(encoding="utf-8")).body:
        docstring = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
        dunder = isinstance(statement, ast.Assign) and all(isinstance(t, ast.Name) and t.id.startswith("__") for t in statement.targets)
        if not (docstring or dunder):
            return True
    return False


if __name__ == "__main__":
    main()
