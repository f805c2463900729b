"""`loupe use`: which data and which scale `dvc repro` runs on."""

from __future__ import annotations

import re
from pathlib import Path

import typer

from loupe.config import find_root, study_settings
from loupe.errors import LoupeError

GENERATED = "generated"
LIST = "data/imported/study.json"


def use(
    choices: list[str] = typer.Argument(  # noqa: B008
        None,
        help="faces=<set> expression=<set> micro=<set> clips=<set> scale=<scale>; "
        "a set is a name of `loupe data list`, a folder, or `generated`.",
    ),
) -> None:
    """Point the study at imported sets: `dvc repro` (or `make study`) then runs on them. Roles that are not named stay as they are."""
    from loupe.data.imported import ROLES, write_sets

    root = find_root()
    settings, wanted = study_settings(root), _parse(choices or [], (*ROLES, "scale"))
    scale = wanted.pop("scale", settings["scale"])
    known = sorted(path.stem for path in (root / "conf" / "scale").glob("*.yaml"))
    if scale not in known:
        raise LoupeError(f"There is no scale {scale!r}: choose {', '.join(known)}.")
    sets = _folders(root, settings, wanted)
    described = describe(sets, _image_size(root, scale))
    if any(vars(sets).values()):
        write_sets(root / LIST, sets)
        changes = {"scale": scale, "data": "imported", "raw": LIST}
    elif settings["data"] == "imported" or wanted:
        changes = {"scale": scale, "data": GENERATED, "raw": "conf/data/generated.yaml"}
    else:
        changes = {**settings, "scale": scale}
    _write_settings(root / "conf" / "study.yaml", changes)
    print(f"scale {scale}, data {changes['data']}" + "".join(f"\n  {line}" for line in described))


def _parse(choices: list[str], known: tuple[str, ...]) -> dict[str, str]:
    wanted = {}
    for choice in choices:
        key, equals, value = choice.partition("=")
        if not equals or not value or key not in known:
            raise LoupeError(f"`loupe use` takes {', '.join(f'{name}=…' for name in known)}, not {choice!r}.")
        if key in wanted:
            raise LoupeError(f"`loupe use` was given {key} twice: name it once.")
        wanted[key] = value
    return wanted


def _folders(root: Path, settings: dict[str, str], wanted: dict[str, str]):
    """The sets that are in use, changed by what is wanted."""
    from loupe.data.imported import ROLES, ImportedSets, read_sets

    # A list that names a set of every role anew need not be readable.
    stale = settings["data"] != "imported" or set(ROLES) <= set(wanted)
    current = ImportedSets() if stale else read_sets(root / settings["raw"])
    chosen = dict(vars(current))
    for role, name in wanted.items():
        folder = root / "data" / "imported" / name
        chosen[role] = None if name == GENERATED else folder if folder.is_dir() else Path(name)
        if chosen[role] is not None and not (chosen[role] / "import.json").is_file():
            raise LoupeError(f"{role}={name}: {folder} is no finished import: run `loupe data import {name} FOLDER --size …` first.")
    return ImportedSets(**chosen)


def describe(sets, size: int) -> list[str]:
    """A line a role: what it will give the study. Raises LoupeError where a set does not fit its role or the scale."""
    from loupe.data.checking import read_report
    from loupe.data.imported import clip_rows, labelled_rows, micro_rows, pretraining_rows
    from loupe.data.manifest import read_manifest

    lines, tables = [], {role: read_manifest(folder / "manifest.parquet") for role, folder in vars(sets).items() if folder}
    for role, folder in vars(sets).items():
        if not folder:
            lines.append(f"{role:<10}  generated")
            continue
        report = read_report(folder)
        if report.size is None or report.size < size:
            raise LoupeError(f"{folder} holds {'no stored pictures' if report.size is None else f'pictures of {report.size} px'}, but the "
                             f"scale needs {size}: run `loupe data import {report.name} {report.root} --size {size}` again.")  # fmt: skip
        if not report.ok:
            raise LoupeError(
                f"{folder} differs from the official counts: see `loupe data check {folder}`; import it with --partial if you hold a part."
            )
        table, name = tables[role], str(folder)
        if role == "expression":
            rows, split = labelled_rows(table, 0, name)
            note = ", ".join(f"{part} {int((split == part).sum()):,}" for part in ("train", "val", "test"))
        elif role == "micro":
            rows = micro_rows(table, name)
            note = f"{table['clip'].iloc[rows].nunique():,} clips"
        elif role == "clips":
            people = set(tables["micro"]["subject"]) if sets.micro else set()
            rows = clip_rows(table, people, name)
            note = f"{table['clip'].iloc[rows].nunique():,} clips"
        else:
            scored = tables["expression"][tables["expression"]["split"].isin(["val", "test"])] if sets.expression else table.iloc[:0]
            rows = pretraining_rows(table, scored, set(), name)
            note = f"{len(table) - len(rows):,} left out: labelled elsewhere for validation or test" if len(rows) < len(table) else "all"
        people = table["subject"].iloc[rows].nunique()
        lines.append(f"{role:<10}  {report.name}: {len(rows):,} pictures of {people:,} subjects ({note})")
    return lines


def _image_size(root: Path, scale: str) -> int:
    import yaml

    return int(yaml.safe_load((root / "conf" / "scale" / f"{scale}.yaml").read_text(encoding="utf-8"))["image"]["size"])


def _write_settings(path: Path, settings: dict[str, str]) -> None:
    """Change the values in place: the file's comments stay."""
    text = path.read_text(encoding="utf-8")
    for key, value in settings.items():
        text = re.sub(rf"^{key}:.*$", lambda _, line=f"{key}: {value}": line, text, flags=re.MULTILINE)
    path.write_text(text, encoding="utf-8")
