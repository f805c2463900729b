"""Results as tables: computed from predictions, written as CSV, Markdown and LaTeX, found again by name."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from loupe.errors import LoupeError
from loupe.evaluation.metrics import CONFUSION_METRICS, confusion
from loupe.reporting.selection import require, unusual
from loupe.reporting.style import arm_label, arm_order, metric_name, percent

FORMATS = {"csv": "csv", "latex": "tex", "markdown": "md"}
_TEX = str.maketrans({letter: f"\\{letter}" for letter in "&%$#_{}"} | {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", "–": "--",
})  # fmt: skip


def results(predictions: pd.DataFrame, classes: int | Mapping[str, int], metrics: Sequence[str] = ("macro_f1", "accuracy")) -> pd.DataFrame:
    """One row for each task, split, arm, state and share of labels: `<metric>_mean` and `<metric>_sd` over seeds, n_seeds, n_subjects,
    n_samples.

    Each seed's predictions are pooled over folds and scored over all classes; the mean and spread (ddof 1; NaN for one seed) are over
    seeds. A column of the state (`loupe.reporting.selection.STATE`) is shown only where some row says what does not go without saying.

    Args:
        classes: number of classes, or one number a task.
        metrics: of macro_f1, uf1, uar, accuracy.

    Raises LoupeError for an unknown metric, a task without a number of classes and a missing column.
    """
    require(predictions, ("task", "arm", "fraction", "seed", "split", "sample", "subject", "label", "pred"), "predictions")
    for metric in metrics:
        if metric not in CONFUSION_METRICS:
            raise LoupeError(f"There is no metric {metric!r}: choose from {', '.join(CONFUSION_METRICS)}.")
    order = arm_order(predictions["arm"])
    keys = ["task", "split", "arm", *unusual(predictions), "fraction"]
    rows = []
    for names, cell in predictions.groupby(keys, dropna=False):
        row = dict(zip(keys, names, strict=True))
        if not isinstance(classes, int) and row["task"] not in classes:
            raise LoupeError(f"The number of classes of task {row['task']!r} is missing: add it to `classes`.")
        count = classes if isinstance(classes, int) else classes[row["task"]]
        matrices = [confusion(run["label"].to_numpy(), run["pred"].to_numpy(), count) for _, run in cell.groupby("seed")]
        for metric in metrics:
            values = pd.Series([float(CONFUSION_METRICS[metric](matrix)) for matrix in matrices])
            row |= {f"{metric}_mean": values.mean(), f"{metric}_sd": values.std(ddof=1)}
        rows.append(row | {"n_seeds": len(matrices), "n_subjects": cell["subject"].nunique(), "n_samples": cell["sample"].nunique()})
    table = pd.DataFrame(rows)
    return table.sort_values(
        keys, key=lambda values: values.map(order.index) if values.name == "arm" else values, na_position="first", ignore_index=True
    )


def readable(table: pd.DataFrame, digits: int = 3) -> pd.DataFrame:
    """The table as people read it: `x_mean` and `x_sd` merged to `mean ± sd`, arms by name, shares in per cent, floats rounded; all
    strings."""
    shown: dict[str, pd.Series] = {}
    for column, values in table.items():
        base = str(column).removesuffix("_mean")
        cells = values.map(lambda value: _cell(value, digits))
        if str(column).endswith("_sd") and f"{str(column).removesuffix('_sd')}_mean" in table:
            continue
        if base != column and f"{base}_sd" in table:
            spread = table[f"{base}_sd"]
            shown[metric_name(base)] = cells + spread.map(lambda sd: "" if pd.isna(sd) else f" ± {_cell(sd, digits)}")
        elif column == "arm":
            shown["arm"] = values.astype(str).map(arm_label)
        elif column == "fraction":
            shown["labels"] = values.map(percent)
        else:
            shown[metric_name(str(column).removeprefix("n_"))] = cells
    return pd.DataFrame(shown, dtype=str)


def write(table: pd.DataFrame, folder: Path, name: str, caption: str, command: str | None = None) -> list[Path]:
    """Write `<name>.csv` (six decimals), `.md`, `.tex` (booktabs) and `.json` (caption, stage, command); returns the first three paths.

    The page shows the CSV with this caption. The folder's name is the stage, `dvc repro <stage>` the command unless given.
    """
    if not caption.strip():
        raise LoupeError(f"Table {name} has no caption: give one, the page shows it.")
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.{kind}" for kind in ("csv", "md", "tex")]
    table.to_csv(paths[0], index=False, float_format="%.6f", lineterminator="\n")
    paths[1].write_text(markdown(readable(table)) + "\n", encoding="utf-8")
    paths[2].write_text(latex(readable(table), caption, f"tab:{name}"), encoding="utf-8")
    about = {"caption": caption, "stage": folder.name, "command": command or f"dvc repro {folder.name}"}
    (folder / f"{name}.json").write_text(json.dumps(about, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return paths


def table_names(root: Path) -> list[str]:
    """`stage/name` of every table below `reports/tables`."""
    folder = root / "reports" / "tables"
    return sorted(path.relative_to(folder).with_suffix("").as_posix() for path in folder.glob("*/*.csv"))


def read_table(root: Path, name: str, form: str) -> str:
    """The stored table `stage/name` (or `name`, where only one stage has it) as csv, latex or markdown.

    Raises LoupeError for an unknown format or name; the message lists what there is.
    """
    if form not in FORMATS:
        raise LoupeError(f"There is no table format {form!r}: choose {', '.join(FORMATS)}.")
    names = table_names(root)
    fitting = [full for full in names if name in (full, full.split("/")[1])]
    if len(fitting) != 1:
        listed = ", ".join(fitting or names) or "none yet (run make study)"
        raise LoupeError(f"{name!r} is no table of this study: choose one of {listed}.")
    return (root / "reports" / "tables" / f"{fitting[0]}.{FORMATS[form]}").read_text(encoding="utf-8")


def markdown(table: pd.DataFrame) -> str:
    """A pipe table of strings, numbers to the right."""
    cells = table.astype(str).map(lambda text: text.replace("|", "\\|").replace("\n", " "))
    marks = ["---:" if is_numeric(cells[column]) else "---" for column in cells.columns]
    lines = [" | ".join(row) for row in (map(str, cells.columns), *cells.itertuples(index=False, name=None))]
    return "\n".join([f"| {lines[0]} |", f"|{'|'.join(marks)}|", *(f"| {line} |" for line in lines[1:])])


def latex(table: pd.DataFrame, caption: str, label: str) -> str:
    """A `table` environment with booktabs rules; every special character escaped."""
    align = "".join("r" if is_numeric(table[column]) else "l" for column in table.columns)
    escaped = table.astype(str).map(lambda text: text.translate(_TEX)).rename(columns=lambda name: str(name).translate(_TEX))
    about = {"caption": caption.translate(_TEX), "label": label, "position_float": "centering"}
    return escaped.style.hide(axis="index").to_latex(column_format=align, hrules=True, **about)


def _cell(value: object, digits: int) -> str:
    if pd.isna(value) or value == "":
        return "–"
    if isinstance(value, float):
        return f"{value:.0f}" if value.is_integer() and abs(value) >= 10 else f"{value:.{digits}f}"
    return str(value)


def is_numeric(values: pd.Series) -> bool:
    """Whether every cell of a readable column is a number, a range, a share or a dash (such columns are set to the right)."""
    return bool(len(values)) and all(text in ("–", "") or text.lstrip("+-−.0123456789 ±%,") == "" for text in values.astype(str))
