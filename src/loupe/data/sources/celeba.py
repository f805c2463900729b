"""CelebA (Liu et al., ICCV 2015), aligned faces: for pre-training, with 40 attributes and identities.

Layout: `img_align_celeba/000001.jpg` and, beside it or in `Anno/` and `Eval/`, `list_attr_celeba.txt` (line 1 a count, line 2 names, then
-1 or 1), `identity_CelebA.txt`, `list_eval_partition.txt` (0 train, 1 val, 2 test). All rows get the split `pretrain`; the official one
stands in `partition`. The boxes of `list_bbox_celeba.txt` belong to the uncropped photos, so they are not read.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from loupe.data.sources.listing import Count, Dropped, Listing, finish
from loupe.data.sources.pictures import check_root, find_file, find_folder, picture_names
from loupe.data.sources.sheets import lines, whole
from loupe.errors import LoupeError

TITLE = "CelebA"
PARTITIONS = {0: "train", 1: "val", 2: "test"}
OFFICIAL = {"pictures": 202599, "identities": 10177, "train": 162770, "val": 19867, "test": 19962}


def read(root: Path) -> Listing:
    """Read the download; raises LoupeError where a list or the folder of pictures is absent, or a list is damaged."""
    check_root(root, TITLE)
    folder = find_folder(root, ["img_align_celeba"])
    if folder is None:
        raise LoupeError(f"{root} holds no folder img_align_celeba: unpack img_align_celeba.zip there.")
    lists = {
        name: find_file(root, name.replace(".", r"\."), name)
        for name in ("list_attr_celeba.txt", "identity_CelebA.txt", "list_eval_partition.txt")
    }
    attributes = parse_attributes(lines(lists["list_attr_celeba.txt"]), "list_attr_celeba.txt")
    people = parse_pairs(lines(lists["identity_CelebA.txt"]), "identity_CelebA.txt")
    partitions = parse_pairs(lines(lists["list_eval_partition.txt"]), "list_eval_partition.txt")
    present, dropped, rows = set(picture_names(folder)), Dropped(), []
    base = folder.relative_to(root).as_posix()
    for name, (male, names) in attributes.items():
        if name not in present:
            dropped.add(name, "picture is missing")
        elif name not in people or partitions.get(name) not in PARTITIONS:
            dropped.add(name, "no identity or partition")
        else:
            rows.append((f"{base}/{name}", f"celeba-{people[name]}", male, names, PARTITIONS[partitions[name]]))
    unlisted = sorted(present - set(attributes))
    for name in unlisted:
        dropped.add(name, "picture is not in list_attr_celeba.txt")
    table = pd.DataFrame(rows, columns=["path", "subject", "sex", "attributes", "partition"]).assign(split="pretrain")
    if table.empty:
        raise LoupeError(f"No listed picture lies in {folder}: unpack img_align_celeba.zip there.")
    sizes = table["partition"].value_counts()
    counts = [Count("pictures", len(table), (OFFICIAL["pictures"],), source="CelebA's site")]
    counts.append(Count("identities", table["subject"].nunique(), (OFFICIAL["identities"],), source="CelebA's site"))
    counts += [Count(f"partition {n}", int(sizes.get(n, 0)), (OFFICIAL[n],), source="list_eval_partition.txt") for n in PARTITIONS.values()]
    found = len(attributes) + len(unlisted)
    return Listing(finish(table, "celeba", base), dropped.table(), found, len(table), "image", base, counts)


def parse_attributes(rows: list[str], name: str) -> dict[str, tuple[float, str]]:
    """Picture -> (1.0 male or 0.0, names of its attributes with `;`). Raises LoupeError for a wrong count, header or value."""
    total = whole(rows[0]) if rows else None
    header = rows[1].split() if len(rows) > 1 else []
    if total is None or "Male" not in header:
        raise LoupeError(f"{name} does not begin with a count and a line of attribute names: use the official file.")
    male, table = header.index("Male"), {}
    for number, row in enumerate(rows[2:], start=3):
        if not row.strip():
            continue
        picture, *values = row.split()
        if len(values) != len(header) or not set(values) <= {"1", "-1"} or picture in table:
            raise LoupeError(f"{name}, line {number}, is not a new picture and {len(header)} values of -1 or 1: download the file again.")
        present = ";".join(attribute for attribute, value in zip(header, values, strict=True) if value == "1")
        table[picture] = (float(values[male] == "1"), present)
    if len(table) != total:
        raise LoupeError(f"{name} announces {total} pictures but lists {len(table)}: the file is cut short; download it again.")
    return table


def parse_pairs(rows: list[str], name: str) -> dict[str, int]:
    """Picture -> whole number, one pair a line; raises LoupeError naming a damaged line."""
    table = {}
    for number, row in enumerate(rows, start=1):
        fields = row.split()
        value = whole(fields[1]) if len(fields) == 2 else None
        if fields and (value is None or fields[0] in table):
            raise LoupeError(f"{name}, line {number}, is not a new picture and a number: download the file again.")
        if fields:
            table[fields[0]] = value
    return table
