"""Annotation tables: Excel sheets and CSV files whose header may stand anywhere and whose columns may have been renamed."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import pandas as pd

from loupe.errors import LoupeError

Cells = list[list[object]]


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
    """A CSV with a header as text columns; raises LoupeError naming the file for a missing file, an unreadable one and a missing column."""
    if not path.is_file():
        raise LoupeError(f"{path} is missing: put the official file there.")
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig", on_bad_lines="error", skipinitialspace=True)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError, csv.Error, ValueError) as error:
        raise LoupeError(f"{path} is not a readable CSV ({type(error).__name__}): download it again.") from error
    table.columns = [str(column).strip() for column in table.columns]
    for column in columns:
        if column not in table:
            raise LoupeError(f"{path} lacks the column {column!r}: use the official file or rename the column back.")
    return table.reset_index(drop=True).fillna("")


def lines(path: Path) -> list[str]:
    """Lines of a text file without their ends; raises LoupeError naming the file when it is absent or not text."""
    if not path.is_file():
        raise LoupeError(f"{path} is missing: put the official file there.")
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except (UnicodeDecodeError, OSError) as error:
        raise LoupeError(f"{path} is not a readable text file ({type(error).__name__}): download it again.") from error


def text(value: object) -> str:
    """A cell as text: whole floats without their point, empty and NaN cells as ""."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()


def whole(value: str) -> int | None:
    """A whole number of at most 9 digits ("46", "46.0", " -1 "), or None for anything else ("", "/", "4.5", "nan")."""
    value = value.strip()
    if value.endswith(".0"):
        value = value[:-2]
    digits = value[1:] if value[:1] in "+-" else value
    return int(value) if digits.isascii() and digits.isdigit() and len(digits) <= 9 else None


def _plain(header: str) -> str:
    return "".join(character for character in header.lower() if character.isalnum())
