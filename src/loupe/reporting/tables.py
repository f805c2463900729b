"""Results as tables: computed from predictions, written as CSV, Markdown and LaTeX."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from loupe.errors import LoupeError
from loupe.evaluation.metrics import CONFUSION_METRICS, confusion
from loupe.reporting.selection import require
from loupe.reporting.style import arm_label, arm_order, metric_name


def results(predictions: pd.DataFrame, classes: int | Mapping[str, int], metrics: Sequence[str] = ("macro_f1", "accuracy")) -> pd.DataFrame:
    """One row for each task, split, arm and share of labels: `<metric>_mean` and `<metric>_sd` over seeds, n_seeds, n_subjects, n_samples.

    Each seed's predictions are pooled over folds and scored over all classes; the mean and spread (ddof 1; NaN for one seed) are over seeds.

    Args:
        classes: number of classes, or one number a task.
        metrics: of macro_f1, uf1, uar, accuracy.

    Raises LoupeError for an unknown metric, a task without a number of classes and a missing column.
    """
    require(predictions, ("task", "arm", "fraction", "seed", "split", "sample", "subject", "label", "pred"), "predictions")
    for metric in metrics:
        if metric not in CONFUSION_METRICS:
            raise LoupeError(f"There is no metric {metric!r}: choose from {', '.join(CONFUSION_METRICS)}.")
    rows = []
    for (task, split), part in predictions.groupby(["task", "split"], sort=True):
        if not isinstance(classes, int) and task not in classes:
            raise LoupeError(f"The number of classes of task {task!r} is missing: add it to `classes`.")
        count = classes if isinstance(classes, int) else classes[task]
        for arm in arm_order(part["arm"]):
            for fraction, cell in part[part["arm"] == arm].groupby("fraction", sort=True):
                matrices = [confusion(run["label"].to_numpy(), run["pred"].to_numpy(), count) for _, run in cell.groupby("seed")]
                scores = {metric: pd.Series([float(CONFUSION_METRICS[metric](matrix)) for matrix in matrices]) for metric in metrics}
                row = {"task": task, "split": split, "arm": arm, "fraction": fraction}
                for metric, values in scores.items():
                    row |= {f"{metric}_mean": values.mean(), f"{metric}_sd": values.std(ddof=1)}
                rows.append(
                    row | {"n_seeds": len(matrices), "n_subjects": cell["subject"].nunique(), "n_samples": cell["sample"].nunique()}
                )
    return pd.DataFrame(rows)


def readable(table: pd.DataFrame, digits: int = 3) -> pd.DataFrame:
    """The table as people read it: `x_mean` and `x_sd` merged to `mean ± sd`, arms by name, shares in per cent, floats rounded; all strings."""
    shown: dict[str, list[str]] = {}
    for column in table.columns:
        values = table[column]
        base = str(column).removesuffix("_mean")
        if str(column).endswith("_sd") and f"{str(column).removesuffix('_sd')}_mean" in table:
            continue
        if base != column and f"{base}_sd" in table:
            spreads = table[f"{base}_sd"]
            shown[metric_name(base)] = [
                _number(mean, digits) + ("" if pd.isna(sd) else f" ± {_number(sd, digits)}")
                for mean, sd in zip(values, spreads, strict=True)
            ]
        elif column == "arm":
            shown["arm"] = [arm_label(str(value)) for value in values]
        elif column == "fraction":
            shown["labels"] = [f"{100 * float(value):g} %" for value in values]
        else:
            shown[metric_name(str(column).removeprefix("n_"))] = [_number(value, digits) for value in values]
    return pd.DataFrame(shown)


def write(
    table: pd.DataFrame, folder: Path, name: str, caption: str, *, stage: str | None = None, command: str | None = None
) -> list[Path]:
    """Write `<name>.csv` (six decimals), `.md`, `.tex` (booktabs) and `.json` (caption, stage, command); returns the first three paths.

    The page shows the CSV with this caption. `stage` is the folder's name unless given, `command` is `dvc repro <stage>`.
    """
    if not caption.strip():
        raise LoupeError(f"Table {name} has no caption: give one, the page shows it.")
    stage = stage or folder.name
    command = command or f"dvc repro {stage}"
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.{kind}" for kind in ("csv", "md", "tex")]
    table.to_csv(paths[0], index=False, float_format="%.6f", lineterminator="\n")
    paths[1].write_text(markdown(readable(table)) + "\n", encoding="utf-8")
    paths[2].write_text(latex(readable(table), caption, f"tab:{name}"), encoding="utf-8")
    about = {"caption": caption, "stage": stage, "command": command}
    (folder / f"{name}.json").write_text(json.dumps(about, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return paths


def markdown(table: pd.DataFrame) -> str:
    """A pipe table of strings, numbers to the right."""
    cells = table.astype(str).map(lambda text: text.replace("|", "\\|").replace("\n", " "))
    lines = ["| " + " | ".join(map(str, cells.columns)) + " |"]
    lines.append("|" + "|".join("---:" if is_numeric(cells[column]) else "---" for column in cells.columns) + "|")
    lines += ["| " + " | ".join(row) + " |" for row in cells.itertuples(index=False, name=None)]
    return "\n".join(lines)


def latex(table: pd.DataFrame, caption: str, label: str) -> str:
    """A `table` environment with booktabs rules; every special character escaped."""
    align = "".join("r" if is_numeric(table[column]) else "l" for column in table.columns)
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{_tex(caption)}}}",
        rf"\label{{{label}}}",
        rf"\begin{{tabular}}{{{align}}}",
        r"\toprule",
    ]
    lines.append(" & ".join(_tex(str(column)) for column in table.columns) + r" \\")
    lines.append(r"\midrule")
    lines += [" & ".join(_tex(str(cell)) for cell in row) + r" \\" for row in table.itertuples(index=False, name=None)]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}", ""])


def readme_table(table: pd.DataFrame, stage: str, command: str | None = None) -> str:
    """`readable(table)` as Markdown with the stage and the command of each row, for the README."""
    return markdown(readable(table).assign(stage=stage, command=f"`{command or f'dvc repro {stage}'}`"))


def _number(value: object, digits: int) -> str:
    if isinstance(value, float):
        if pd.isna(value):
            return "–"
        return f"{value:.0f}" if value.is_integer() and abs(value) >= 10 else f"{value:.{digits}f}"
    return "–" if value is None or value is pd.NA else str(value)


def is_numeric(values: pd.Series) -> bool:
    """Whether every cell of a readable column is a number, a range, a share or a dash (such columns are set to the right)."""
    return bool(len(values)) and all(text in ("–", "") or text.lstrip("+-−.0123456789 ±%,") == "" for text in values.astype(str))


_TEX = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", "–": "--"}


def _tex(text: str) -> str:
    return "".join(_TEX.get(letter, f"\\{letter}" if letter in "&%$#_{}" else letter) for letter in text)
