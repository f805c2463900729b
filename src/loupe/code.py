"""The code that a function really runs: the modules of this package that its own module imports, directly or through others."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

# What tells, watches or checks, and never decides a number. Settings are no code: their values are arguments of whoever reads them.
TELLING = tuple(
    f"loupe.{name}"
    for name in (
        "checkout cli code commands config errors experiments lock machine part progress recording reporting session settings steps study"
    ).split()
)


class Code:
    """Modules and their hashes as they are on disk, read once in the life of this object."""

    def __init__(self) -> None:
        self._module = cache(self._read)

    def of(self, function: Callable) -> dict[str, str]:
        """Module -> hash of what it says, for the module of `function` and all that it imports, sorted by name; without what only tells
        (`TELLING`).

        A hash is that of the syntax tree without docstrings: comments and layout change no result. Data files beside a module count as they
        are.
        """
        found: dict[str, str] = {}
        waiting = [function.__module__]
        while waiting:
            name = waiting.pop()
            if name in found or any(name == telling or name.startswith(f"{telling}.") for telling in TELLING):
                continue
            found[name], imports = self._module(name)
            waiting += imports
        return dict(sorted(found.items()))

    def _read(self, name: str) -> tuple[str, tuple[str, ...]]:
        path = Path(importlib.util.find_spec(name).origin)
        tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
        digest = hashlib.sha256(repr(_plain(tree)).encode())
        if path.name != "__init__.py":
            for file in sorted(file for file in path.parent.glob(f"{path.stem}.*") if file.suffix not in (".py", ".pyc")):
                digest.update(file.read_bytes())
        parents = [name.rsplit(".", count)[0] for count in range(1, name.count(".") + 1)]
        return digest.hexdigest()[:16], tuple(dict.fromkeys([*filter(_is_module, parents), *_imports(tree)]))


def _imports(tree: ast.AST) -> Iterator[str]:
    """Modules of this package in the import statements below `tree`, except those that only a type checker reads."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        yield from (name for name in names if name.split(".")[0] == "loupe" and _is_module(name))
        yield from _imports(node)


@cache
def _is_module(name: str) -> bool:
    try:
        spec = importlib.util.find_spec(name)
        return spec is not None and spec.origin is not None  # a folder without __init__.py says nothing
    except ModuleNotFoundError:  # a class or function of a module
        return False


def _plain(node: object) -> object:
    """A syntax tree as nested tuples, the same in all versions of Python: empty fields and docstrings are left out."""
    if isinstance(node, list):
        return tuple(_plain(item) for item in node)
    if not isinstance(node, ast.AST):
        return node
    fields = {
        name: value for name, value in ast.iter_fields(node) if value not in (None, []) and name not in ("ctx", "kind", "type_comment")
    }
    if (
        isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and ast.get_docstring(node, clean=False) is not None
    ):
        fields["body"] = node.body[1:]
    return (type(node).__name__, *((name, _plain(value)) for name, value in fields.items()))
