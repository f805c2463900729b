"""Results tables as their stages stored them, by name."""

from __future__ import annotations

from pathlib import Path

from loupe.errors import LoupeError

_ENDINGS = {"csv": "csv", "latex": "tex", "markdown": "md"}


def table_names(root: Path) -> list[str]:
    """`stage/name` of every table below `reports/tables`."""
    folder = root / "reports" / "tables"
    return sorted(path.relative_to(folder).with_suffix("").as_posix() for path in folder.glob("*/*.csv"))


def read_table(root: Path, name: str, form: str) -> str:
    """The table `stage/name` (or `name`, where only one stage has it) as csv, latex or markdown.

    Raises LoupeError for an unknown format or name; the message lists what there is.
    """
    if form not in _ENDINGS:
        raise LoupeError(f"There is no table format {form!r}: choose {', '.join(_ENDINGS)}.")
    names = table_names(root)
    fitting = [full for full in names if name in (full, full.split("/")[1])]
    if len(fitting) != 1:
        listed = fitting or names
        raise LoupeError(f"{name!r} is no table of this study: choose one of {', '.join(listed) or 'none yet (run make study)'}.")
    return (root / "reports" / "tables" / f"{fitting[0]}.{_ENDINGS[form]}").read_text(encoding="utf-8")
