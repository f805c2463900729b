"""Finished work, remembered by what it depends on (design: train once, tell often).

A step is one expensive call: draw a set, pre-train, fine-tune a cell. It is computed once and kept in a folder beside `key.json`, which
says what it came from: the code that it runs (`loupe.code`), its arguments, and the bytes of the files among them. A stage's steps lie in
its output folder, which DVC carries from machine to machine and does not clear (`persist`); steps of an experiment in JupyterLab, and those
that a stage no longer asks for, lie in `data/scratch/steps` under their name and key. Whoever asks for the same step again, in a batch run,
a notebook or a second checkout, gets what is there. A kill loses at most what was in the making; a function that writes checkpoints into
`folder / CHECKPOINTS` goes on from them.
"""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from loupe.code import Code
from loupe.errors import LoupeError
from loupe.lock import alone
from loupe.part import Absent

CHECKPOINTS = "checkpoints"  # inside a folder in the making; gone when the step is whole
KEY = "key.json"


@dataclass(frozen=True)
class Step:
    """`function(folder, **arguments, **places)` writes what it makes into `folder`; it is a function of a module, and so are functions
    among its arguments.

    name: what its folder is called, once a stage. arguments: all that decides the result; a `Path` among them stands for the bytes of the
    file or folder.
    places: what only says where helpers lie or how many processes work. size: about how long it takes, in any unit that steps made together
    share.
    shared: whether it travels with the stage's output; what is made again in seconds need not.
    """

    name: str
    function: Callable[..., None]
    arguments: Mapping[str, Any]
    places: Mapping[str, Any] = field(default_factory=dict)
    size: float = 0.0
    shared: bool = True


@dataclass(frozen=True)
class Making:
    """A step that is missing. folder: where it is made; home: where a batch run will put it; ingredients: what it depends on
    (`Shelf.ingredients`)."""

    step: Step
    folder: Path
    home: Path
    ingredients: Mapping[str, Any]


class Shelf:
    """Where a stage's finished steps stand. home: its output folder. publish: whether new steps go there (a batch run), or stay in
    `spare`."""

    def __init__(self, home: Path, spare: Path, publish: bool):
        self.home, self.spare, self.publish = home, spare, publish
        self.asked: set[str] = set()  # names in `home` that this run asked for
        self.made = 0  # steps that were not there yet
        self._code = Code()
        self._files: dict[tuple, str] = {}

    def make(self, step: Step) -> Path:
        """The folder of the finished step; computed in this process where nobody has made it yet."""
        return self.make_all([step], _one_by_one)[0]

    def make_all(self, steps: Sequence[Step], run: Callable[[list[Making]], None]) -> list[Path]:
        """The folders of finished steps, in the order given. `run` computes those that are missing into the folders named (see
        `make_folder`); of steps with one key, one is computed. Steps that were whole when an error or a kill came stay so. Raises
        LoupeError where different steps of one stage bear one name."""
        made_of = [self.ingredients(step) for step in steps]
        unique = {entry["key"]: (step, entry) for step, entry in reversed(list(zip(steps, made_of, strict=True)))}
        missing = [
            Making(step, self._named(step, key), self.home / step.name, entry)
            for key, (step, entry) in reversed(unique.items())
            if self._find(step, key) is None
        ]
        self.made += len(missing)
        if missing:
            run(missing)
        folders = {key: self._find(step, key) for key, (step, _) in unique.items()}
        return [folders[entry["key"]] for entry in made_of]

    def ingredients(self, step: Step) -> dict[str, Any]:
        """What `step` depends on, as `key.json` holds it: function, code (module -> hash), arguments, and the key, a hash of all these."""
        made_of = {
            "function": _name(step.function),
            "code": self._code.of(step.function),
            "arguments": {name: self._plain(value) for name, value in step.arguments.items()},
        }
        return made_of | {"key": hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()[:16]}

    def tidy(self) -> None:
        """Move steps in `home` that this run did not ask for to `spare`: a setting that is changed back finds them there."""
        for path in sorted(self.home.glob(f"*/{KEY}")):
            if path.parent.name not in self.asked:
                self._set_aside(path.parent)

    def _named(self, step: Step, key: str) -> Path:
        return self.spare / f"{step.name}-{key}"

    def _find(self, step: Step, key: str) -> Path | None:
        """The finished folder: in `home`, or in `spare`, from where a batch run fetches it; a step that bore another name is the same
        step."""
        own = self.home / step.name
        found = next((place for place in (own, self._named(step, key)) if read_key(place) == key), None) or self._under_another_name(key)
        if found is None:
            return None
        if step.shared and self.publish and found != own and not (found.parent == self.home and found.name in self.asked):
            if step.name in self.asked:
                raise LoupeError(f"Two different steps of {self.home.name} are called {step.name}: give each a name of its own.")
            if own.exists():
                self._set_aside(own)
            own.parent.mkdir(parents=True, exist_ok=True)
            _move(found, own)
            found = own
        if found.parent == self.home:
            self.asked.add(found.name)
        return found

    def _under_another_name(self, key: str) -> Path | None:
        kept = (path.parent for path in (*self.home.glob(f"*/{KEY}"), *self.spare.glob(f"*-{key}/{KEY}")))
        return next((folder for folder in kept if read_key(folder) == key), None)

    def _set_aside(self, folder: Path) -> None:
        key = read_key(folder)
        target = self.spare / f"{folder.name}-{key}"
        if key is None or target.exists():
            shutil.rmtree(folder)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            _move(folder, target)

    def _plain(self, value: Any) -> Any:
        """An argument as JSON: equal arguments, and no others, are equal in it. Arrays and files are their hashes."""
        if value is None or isinstance(value, bool | int | float | str):
            return value
        if isinstance(value, np.generic):
            return self._plain(value.item())
        if isinstance(value, Path):
            return {"bytes": self._bytes(value)}
        if isinstance(value, frozenset):
            return sorted(self._plain(item) for item in value)
        if hasattr(value, "to_csv"):  # a pandas table
            return {"table": hashlib.sha256(value.to_csv(index=False).encode()).hexdigest()[:16]}
        if isinstance(value, np.ndarray):
            data = "\0".join(map(str, value.ravel())).encode() if value.dtype == object else np.ascontiguousarray(value).tobytes()
            return {"array": [str(value.dtype), list(value.shape), hashlib.sha256(data).hexdigest()[:16]]}
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            parts = {spec.name: getattr(value, spec.name) for spec in dataclasses.fields(value)}
            return {name: self._plain(part) for name, part in parts.items() if not isinstance(part, Absent)}
        if isinstance(value, Mapping):
            return {str(name): self._plain(item) for name, item in value.items()}
        if isinstance(value, list | tuple):
            return [self._plain(item) for item in value]
        if callable(value) and hasattr(value, "__qualname__"):
            return {"function": _name(value), "code": self._code.of(value)}
        raise TypeError(f"a step cannot depend on a {type(value).__name__}")

    def _bytes(self, path: Path) -> str:
        """Hash of a file, or of all files below a folder and their names in it; `key.json` says how they came about and is left out."""
        files = sorted(file for file in path.rglob("*") if file.is_file() and file.name != KEY) if path.is_dir() else [path]
        digest = hashlib.sha256()
        for file in files:
            stat = file.stat()
            seen = (file, stat.st_size, stat.st_mtime_ns)
            if seen not in self._files:
                with file.open("rb") as stream:
                    self._files[seen] = hashlib.file_digest(stream, "sha256").hexdigest()
            digest.update(f"{file.relative_to(path).as_posix()} {self._files[seen]}\n".encode())
        return digest.hexdigest()[:16]


def make_folder(making: Making) -> None:
    """Compute a step into its folder, which appears whole or not at all. Another process that is making it is waited for; what it made is
    then taken. Of what a killed run left, checkpoints stay.

    Raises LoupeError where the disk is full or not writable, or the other process takes longer than ten minutes.
    """
    step, folder = making.step, making.folder
    with full_disk_told(folder.parent):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with alone(folder):
            if making.ingredients["key"] in (read_key(folder), read_key(making.home)):
                return
            partial = folder.with_name(f"{folder.name}.partial")
            partial.mkdir(exist_ok=True)
            for path in (*partial.iterdir(), folder):  # `folder` stands there only where its key cannot be read
                if path.name != CHECKPOINTS:
                    shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
            (partial / KEY).write_text(json.dumps(making.ingredients, indent=1) + "\n", encoding="utf-8")
            step.function(partial, **step.arguments, **step.places)
            shutil.rmtree(partial / CHECKPOINTS, ignore_errors=True)
            os.replace(partial, folder)


def read_key(folder: Path) -> str | None:
    """The key of a finished step's folder; None where there is none, or none that can be read."""
    try:
        return json.loads((folder / KEY).read_text(encoding="utf-8"))["key"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


@contextmanager
def full_disk_told(folder: Path) -> Iterator[None]:
    """Turn a full disk or a folder that is not writable into one sentence."""
    try:
        yield
    except Exception as error:
        if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(
            error
        ):  # safetensors has an error of its own
            raise LoupeError(
                f"No space left on the disk while writing to {folder}: free some space and run the same command again; "
                "what is finished is kept."
            ) from error
        if isinstance(error, PermissionError):
            raise LoupeError(
                f"{error.filename or folder} is not writable: change its permissions and run the same command again."
            ) from error
        raise


def _one_by_one(missing: list[Making]) -> None:
    for making in missing:
        make_folder(making)


def _move(source: Path, target: Path) -> None:
    """Rename; where the two lie on different disks (`data/scratch` may be a link), copy beside the target first."""
    try:
        os.replace(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        copied = target.with_name(f".{target.name}.copied")
        shutil.rmtree(copied, ignore_errors=True)
        shutil.copytree(source, copied)
        os.replace(copied, target)
        shutil.rmtree(source)


def _name(function: Callable) -> str:
    if function.__module__ == "__main__" or "<" in function.__qualname__:
        raise LoupeError(
            f"{function.__qualname__} stands in a notebook or inside another function, "
            "and a step must be a function of a module: move it into src/loupe."
        )
    return f"{function.__module__}.{function.__qualname__}"
