"""Annotation tables: Excel sheets and CSV files whose header may stand anywhere and whose columns may have been renamed."""

from __future__ import annotations

import codecs
import csv
import itertools
import math
import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import TextIO

import pandas as pd

from loupe.errors import LoupeError

Cells = list[list[object]]
_WHOLE = re.compile(r"([+-]?\d{1,9})(?:[.,]0{1,2})?", re.ASCII)  # three zeros may be thousands


def excel_sheets(path: Path) -> dict[str, Cells]:
    """All sheets of an .xlsx file as rows of cells. Raises LoupeError for an absent or damaged file and where openpyxl is not installed."""
    if path.suffix.lower() == ".xls":
        raise LoupeError(f"{path} has the old .xls format: open it in a spreadsheet program and save it as .xlsx beside it.")
    try:
        frames = pd.read_excel(path, sheet_name=None, header=None, dtype=object, engine="openpyxl", keep_default_na=False)
    except ImportError as error:
        raise LoupeError(f"{path} is an Excel file, which needs openpyxl: run `pip install openpyxl`.") from error
    except Exception as error:  # openpyxl raises KeyError, BadZipFile, ParseError, TypeError ... on damaged files
        raise LoupeError(f"{path} cannot be read as an Excel file ({type(error).__name__}): download it again.") from error
    sheets = {str(title): frame.to_numpy(dtype=object).tolist() for title, frame in frames.items()}
    return sheets


def find_table(sheets: dict[str, Cells], columns: dict[str, tuple[str, ...]], optional: tuple[str, ...], name: str) -> pd.DataFrame:
    """The rows below the first header that has every required column, in any sheet and after any number of other rows.

    columns: our name -> accepted headers (case, spaces and underscores do not matter). Returns text cells ("" where empty) under our names
    and `row`, the 0-based number below the header (the number that published corrections use). Fully empty rows are left out.
    Raises LoupeError naming the file and the column that is missing from the sheet that comes closest.
    """
    wanted = {_plain(header): ours for ours, headers in columns.items() for header in headers}
    required = set(columns) - set(optional)
    best: tuple[int, str, set[str]] = (0, "", required)
    for title, cells in sheets.items():
        for number, row in enumerate(cells):
            place = {}
            for index, value in enumerate(row):
                ours = wanted.get(_plain(text(value)))
                if ours and ours not in place:
                    place[ours] = index
            absent = required - set(place)
            if not absent:
                return _below(cells[number + 1 :], place)
            if len(required) - len(absent) > best[0]:
                best = (len(required) - len(absent), title, absent)
    if not best[0]:
        raise LoupeError(
            f"{name} has no sheet with the columns {', '.join(columns[c][0] for c in sorted(required))}: is it the right file?"
        )
    absent_header = columns[sorted(best[2])[0]][0]
    raise LoupeError(f"{name}, sheet {best[1]!r}, lacks the column {absent_header!r}: use the official file or rename the column back.")


def _below(cells: Cells, place: dict[str, int]) -> pd.DataFrame:
    rows = []
    for number, row in enumerate(cells):
        values = {ours: text(row[index]) if index < len(row) else "" for ours, index in place.items()}
        if any(values.values()):
            rows.append({"row": number, **values})
    return pd.DataFrame(rows, columns=["row", *place])


def csv_table(path: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    """A CSV with a header as text columns, without spaces around the cells, as spreadsheets write it: with commas, semicolons, tabs or
    bars, a first line `sep=;`, in UTF-8 or UTF-16. Index: the number of its line in the file, less 2; empty lines are left out.

    Raises LoupeError naming the file for a missing one, another encoding, a line of more cells than the header, and a missing column.
    """
    table: list[list[str]] = []
    places: list[int] = []
    try:
        with _opened(path) as file:
            ahead, head, mark = _header(file)
            reader = csv.reader(itertools.chain([head], file), delimiter=mark or separator(head), skipinitialspace=True, strict=True)
            header = [cell.strip() for cell in next(reader, [])]
            for row in reader:
                cells = [cell.strip() for cell in row]
                if any(cells[len(header) :]):
                    raise csv.Error(f"line {reader.line_num + ahead} has more cells than the header: names with a separator need quotes")
                if any(cells):
                    table.append(cells[: len(header)] + [""] * (len(header) - len(cells)))
                    places.append(reader.line_num + ahead - 2)
    except (csv.Error, OSError) as error:
        raise LoupeError(f"{path} is not a readable CSV ({error}); save it as UTF-8 with commas and a header line.") from error
    except UnicodeError as error:
        raise encoding_error(path) from error
    for column in columns:
        if column not in header:
            raise LoupeError(f"{path} lacks the column {column!r}: use the official file or rename the column back.")
    frame = pd.DataFrame(table, columns=header, index=places, dtype=object)
    return frame.loc[:, ~frame.columns.duplicated()]


def separator(header: str) -> str:
    """What stands between the cells of a header: the comma, semicolon, tab or bar that makes most cells of it."""
    return max(",;\t|", key=lambda mark: len(next(csv.reader([header], delimiter=mark), [])))


def _header(file: Iterable[str]) -> tuple[int, str, str]:
    """How many lines stand before the header, the header, and the separator that a line `sep=` announces, or ""."""
    mark = ""
    for ahead, line in enumerate(file):
        if line.lower().startswith("sep="):
            mark = line.rstrip("\r\n")[4:5]
        elif "\0" in line:  # UTF-16 without its mark
            raise UnicodeError
        elif line.strip():
            return ahead, line, mark
    raise csv.Error("it is empty")


def lines(path: Path) -> list[str]:
    """Lines of a text file in UTF-8 or UTF-16 without their ends; raises LoupeError naming the file when it is absent or not such text."""
    try:
        with _opened(path) as file:
            return file.read().splitlines()
    except UnicodeError as error:
        raise encoding_error(path) from error
    except OSError as error:
        raise LoupeError(f"{path} is not a readable text file ({error}): download it again.") from error


def _opened(path: Path) -> TextIO:
    if not path.is_file():
        raise LoupeError(f"{path} is missing: put the file there.")
    with path.open("rb") as file:
        wide = file.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    return path.open(encoding="utf-16" if wide else "utf-8-sig", newline="")


def encoding_error(path: Path) -> LoupeError:
    return LoupeError(
        f"{path} is not UTF-8, and what its letters are in another encoding cannot be known: save it as UTF-8 (in Excel: CSV UTF-8)."
    )


def text(value: object) -> str:
    """A cell as text: whole floats without their point, empty and NaN cells as ""."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()


def name(value: str) -> str:
    """The name of a person or a class as names are compared: in Unicode's composed form (NFC), without spaces around and with single ones
    inside."""
    return " ".join(unicodedata.normalize("NFC", value).split())


def whole(value: str) -> int | None:
    """A whole number of at most 9 digits ("46", "46.0", "46,0", " -1 "), or None for anything else ("", "/", "4.5", "nan")."""
    match = _WHOLE.fullmatch(value.strip())
    return int(match.group(1)) if match else None


def _plain(header: str) -> str:
    return "".join(character for character in header.lower() if character.isalnum())
