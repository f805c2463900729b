"""What a figure or table may be made from: the checks that stand before any drawing."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from loupe.errors import LoupeError

# The state of a run (`loupe.evaluation.predictions`) and the values of it that go without saying; an empty cell does, too. Where an encoder
# comes from (`pretraining`) belongs to the arm.
STATE = {"condition": ("",), "regime": ("labels", "frames"), "dose": (), "smoothed": (False,)}


def unusual(table: pd.DataFrame) -> list[str]:
    """The state columns in which some row says what does not go without saying."""
    return [column for column, usual in STATE.items() if column in table and not (table[column].isna() | table[column].isin(usual)).all()]


def usual(table: pd.DataFrame) -> pd.DataFrame:
    """The rows in the state that goes without saying: pictures as they are, shares of labels, nothing smoothed, the study's own
    pre-training."""
    for column in unusual(table):
        table = table[table[column].isna() | table[column].isin(STATE[column])]
    return table


def require(table: pd.DataFrame, columns: Sequence[str], name: str) -> None:
    """Raise LoupeError where `table` is empty or lacks one of `columns`; `name` says in the message what the table is."""
    for column in columns:
        if column not in table:
            raise LoupeError(f"The {name} lack the column {column!r}; they hold {', '.join(map(str, table.columns))}.")
    if table.empty:
        raise LoupeError(f"The {name} hold no rows: run the stage that writes them, or loosen the selection.")


def one_state(predictions: pd.DataFrame) -> None:
    """Raise LoupeError where rows of several tasks, splits or states stand in one table: their scores must not be pooled."""
    for column in ("task", "split", *STATE):
        if column in predictions and predictions[column].nunique() > 1:
            found = ", ".join(map(repr, sorted(predictions[column].dropna().unique())))
            raise LoupeError(f"The predictions mix several values of {column!r} ({found}): select one before scoring.")


def one_arm(predictions: pd.DataFrame, arm: str | None, fraction: float | None = None) -> pd.DataFrame:
    """The rows of one arm at one share of labels.

    Raises LoupeError where the choice is left open and there are several, or where nothing is left.
    """
    for column, wanted in (("arm", arm), ("fraction", fraction)):
        if wanted is not None:
            predictions = predictions[predictions[column] == wanted]
            if predictions.empty:
                raise LoupeError(f"No prediction has {column} {wanted!r}: run the stage that makes it, or name another.")
        elif column in predictions and predictions[column].nunique() > 1:
            found = ", ".join(map(str, sorted(predictions[column].unique())))
            raise LoupeError(f"The predictions hold several values of {column!r} ({found}): name the one to show.")
    one_state(predictions)
    return predictions
