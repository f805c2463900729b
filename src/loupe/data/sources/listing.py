"""What a reader of an official download hands over: rows to use, entries left out and why, and counts against the official ones."""

from __future__ import annotations

from dataclasses import dataclass, field

import pandas as pd

from loupe.data.manifest import COLUMNS, complete
from loupe.data.sources import sheets

EXTRA_COLUMNS = ("path", "release", "time", "emotion", "apex_from", "units", "valence", "arousal", "box", "partition", "attributes")


@dataclass(frozen=True)
class Count:
    """One figure of a download beside the official one.

    official: the accepted values (several where releases differ; none where no figure is published); tolerance: accepted share of
    difference;
    source: where the official figure stands.
    """

    name: str
    found: int
    official: tuple[int, ...] = ()
    tolerance: float = 0.0
    source: str = ""

    @property
    def agrees(self) -> bool:
        return not self.official or any(abs(self.found - value) <= self.tolerance * value for value in self.official)


@dataclass
class Dropped:
    """Collects entries left out: which (path, or file and line), why, and a detail for the reader."""

    rows: list[tuple[str, str, str]] = field(default_factory=list)

    def add(self, item: str, reason: str, detail: str = "") -> None:
        self.rows.append((item, reason, detail))

    def table(self) -> pd.DataFrame:
        return pd.DataFrame(self.rows, columns=["item", "reason", "detail"], dtype=str)


@dataclass(frozen=True)
class Listing:
    """The annotations of one download.

    table: the manifest schema plus `path` (below the root, POSIX; `file#offset` for a picture inside a file) and any of EXTRA_COLUMNS;
    dropped: item, reason, detail; found: annotated entries read; used: entries in `table`, so found = used + len(dropped), less the rows of
    files that are no entries (their reason begins with loupe.data.sources.pictures.BESIDE);
    entry: what an entry is ("clip", "image", "frame"); mended: sentences about rows corrected by a published correction.
    """

    table: pd.DataFrame
    dropped: pd.DataFrame
    found: int
    used: int
    entry: str
    release: str
    counts: list[Count]
    mended: tuple[str, ...] = ()


def finish(table: pd.DataFrame, name: str, release: str) -> pd.DataFrame:
    """Rows in the manifest's order and types, numbered, followed by the extra columns that the set has. One person or class has one
    spelling."""
    for column in ("subject", "label_name"):
        if column in table:
            table = table.assign(**{column: table[column].astype(str).map(sheets.name)})
    table = table.reset_index(drop=True).assign(release=release)
    table = table.assign(sample=range(len(table)), set=name, source=table["path"])
    extra = [column for column in EXTRA_COLUMNS if column in table]
    whole = complete(table[[c for c in table if c in COLUMNS]])
    return pd.concat([whole, table[extra]], axis=1)
