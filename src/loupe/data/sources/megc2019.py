"""The MEGC2019 composite: SMIC-HS, CASME II and SAMM by the organisers' list of 442 clips and 68 subjects.

Layout: `combined_3class_gt.csv` (no header: `casme2,sub01,EP02_01f,1`) beside the three downloads in folders of their own. Its labels
stand; frames, onset, apex and offset come from the sets. The list `combined_3class_gt-2.csv` has a damaged row and is refused.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from loupe.data.sources import casme2, samm, smic
from loupe.data.sources.listing import Count, Dropped, Listing, finish
from loupe.data.sources.micro import CLASSES
from loupe.data.sources.pictures import BESIDE, check_root, find_folder
from loupe.data.sources.sheets import lines, separator, whole
from loupe.errors import LoupeError

TITLE = "MEGC2019"
LIST = "combined_3class_gt.csv"
OFFICIAL = {  # set: clips a class, subjects
    "smic": ((70, 51, 43), 16),
    "casme2": ((88, 32, 25), 24),
    "samm": ((92, 26, 15), 28),
}
_FOLDERS = {"casme2": ("CASME2", "CASMEII", "CASME II"), "samm": ("SAMM",), "smic": ("SMIC", "SMIC_all_cropped")}
_READERS = {"casme2": casme2.read, "samm": samm.read, "smic": smic.read_hs}


@dataclass(frozen=True)
class Entry:
    line: int
    set: str
    subject: str
    clip: str
    label: int


def read(root: Path) -> Listing:
    """Read list and sets; raises LoupeError where one is absent or a line of the list is damaged."""
    check_root(root, TITLE)
    path = root / LIST
    if not path.is_file() and (root / "combined_3class_gt-2.csv").is_file():
        raise LoupeError(f"{root} holds combined_3class_gt-2.csv, which has a damaged row: use {LIST} of the organisers.")
    entries = parse(lines(path), str(path))
    dropped, parts = Dropped(), []
    frames = pd.concat([_clips_of(root, name, dropped) for name in OFFICIAL], ignore_index=True)
    places = frames.groupby("clip", sort=False).indices
    for entry in entries:
        if entry.clip in places:
            part = frames.iloc[places[entry.clip]]
            parts.append(part.assign(label=entry.label, label_name=CLASSES[entry.label]))
        else:
            dropped.add(f"{LIST} line {entry.line}", "no such clip in the download", entry.clip)
    if not parts:
        raise LoupeError(f"None of the {len(entries)} clips of {path} was found: are {', '.join(OFFICIAL)} beside it?")
    table = pd.concat(parts, ignore_index=True)
    counts = [Count("clips", len(parts), (442,), source=LIST), Count("subjects", table["subject"].nunique(), (68,), source=LIST)]
    per_class = Counter((entry.set, entry.label) for entry in entries if entry.clip in places)
    for name, (numbers, people) in OFFICIAL.items():
        counts.append(Count(f"{name} subjects", len({e.subject for e in entries if e.set == name}), (people,), source=LIST))
        counts += [Count(f"{name} {CLASSES[k]}", per_class[name, k], (n,), source=LIST) for k, n in enumerate(numbers)]
    release = f"{LIST}; " + "; ".join(f"{name}: {release}" for name, release in frames.groupby("set")["release"].first().items())
    listed = finish(table.drop(columns="release"), "megc2019", release)
    return Listing(listed, dropped.table(), len(entries), len(parts), "clip", release, counts)


def parse(rows: list[str], name: str) -> list[Entry]:
    """Entries of the list, names as the single sets have them; blank lines are skipped. Raises LoupeError naming a damaged or double
    line."""
    entries: dict[str, Entry] = {}
    for number, row in enumerate(rows, start=1):
        if not row.strip():
            continue
        fields = [field.strip() for field in row.split(separator(row))]
        label = whole(fields[3]) if len(fields) == 4 else None
        if len(fields) != 4 or fields[0].lower() not in OFFICIAL or label not in (0, 1, 2):
            raise LoupeError(f"{name}, line {number}, is not set,subject,clip,0|1|2: use {LIST} of the organisers, unchanged.")
        source = fields[0].lower()
        subject, clip = _names(source, fields[1], fields[2])
        if not subject or not clip:
            raise LoupeError(f"{name}, line {number}, names no clip of {source} ({fields[1]}, {fields[2]}): use {LIST} of the organisers.")
        if clip in entries:
            raise LoupeError(f"{name}, line {number}, repeats the clip of line {entries[clip].line}: use {LIST} of the organisers.")
        entries[clip] = Entry(number, source, subject, clip, label)
    if not entries:
        raise LoupeError(f"{name} is empty: use {LIST} of the organisers.")
    return list(entries.values())


def _names(source: str, subject: str, clip: str) -> tuple[str, str]:
    """Subject and clip as the single set's reader names them, "" where they follow no scheme."""
    if source == "smic":
        person, name = smic.canonical_subject(subject), smic.canonical_clip(clip)
        return (f"smic-{person}", f"smic-hs-{name}") if person and name else ("", "")
    number = whole(subject.lower().removeprefix("sub"))
    if number is None or number < 1 or not clip:
        return "", ""
    if source == "casme2":
        return f"casme2-sub{number:02d}", f"casme2-sub{number:02d}-{clip}"
    return f"samm-{number:03d}", f"samm-{clip}"


def _clips_of(root: Path, name: str, dropped: Dropped) -> pd.DataFrame:
    """Frame rows of one set, paths below `root`; files beside its frames go to `dropped`."""
    folder = find_folder(root, _FOLDERS[name], depth=1)
    if folder is None:
        raise LoupeError(f"{root} holds no folder {_FOLDERS[name][0]}: the composite needs CASME II, SAMM and SMIC beside {LIST}.")
    listing, place = _READERS[name](folder), folder.relative_to(root).as_posix()
    for row in listing.dropped[listing.dropped["reason"].str.startswith(BESIDE)].itertuples():
        dropped.add(f"{place}/{row.item}", row.reason)
    return listing.table.assign(path=place + "/" + listing.table["path"])
