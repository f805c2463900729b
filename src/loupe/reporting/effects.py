"""Effects with their intervals: the claims of the papers, and the parts taken out in the ablations."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import pandas as pd
from matplotlib.lines import Line2D

from loupe.errors import LoupeError
from loupe.reporting.drawing import Drawing, blank
from loupe.reporting.selection import require
from loupe.reporting.style import BLACK, GREY, PAGE, VERDICTS, arm_label, styled

_WRAP = 40  # letters of a row's name on one line


@styled
def effect_plot(claims: pd.DataFrame, name: str = "sentence", xlabel: str = "effect (difference in score)", caption: str = "") -> Drawing:
    """A row for each claim: effect, 95 % interval, and its smallest effect of interest as a tick; the verdict as marker, colour and word.

    Args:
        claims: columns `name`, effect, low, high, verdict (supported, not supported, inconclusive, not run at this scale); sesoi where there is one.
            Rows without an effect (not run) keep their place and say so.

    Raises LoupeError for a missing column, an unknown verdict or an effect outside its own interval's order (low above high).
    """
    require(claims, (name, "effect", "low", "high", "verdict"), "claims")
    unknown = sorted(set(claims["verdict"]) - set(VERDICTS))
    if unknown:
        raise LoupeError(f"The claims hold the verdict {unknown[0]!r}; known are {', '.join(VERDICTS)}.")
    figure, axis = _rows(claims, name, xlabel)
    for place, row in enumerate(claims.itertuples(index=False)):
        colour, marker = VERDICTS[row.verdict]
        if pd.isna(row.effect):
            axis.annotate(row.verdict, (0.01, place), xycoords=("axes fraction", "data"), va="center", fontsize=8, color=GREY)
            continue
        _whisker(axis, place, row, colour, marker)
        if "sesoi" in claims and pd.notna(row.sesoi):
            axis.plot([row.sesoi] * 2, [place - 0.32, place + 0.32], color=BLACK, linewidth=1, linestyle=(0, (2, 1)), gid=f"sesoi-{place}")
    used = [verdict for verdict in VERDICTS if (claims["verdict"] == verdict).any()]
    handles = [Line2D([], [], color=VERDICTS[v][0], marker=VERDICTS[v][1], linewidth=1.6, label=v) for v in used]
    if "sesoi" in claims and claims["sesoi"].notna().any():
        handles.append(Line2D([], [], color=BLACK, linewidth=1, linestyle=(0, (2, 1)), label="smallest effect of interest"))
    figure.legend(handles=handles, loc="outside upper left", ncols=4, columnspacing=1.2, handletextpad=0.5)
    caption = caption or (
        "Effect of each claim with its 95 % interval over people. Supported: the interval lies above 0, the corrected p is below .05 and the "
        "effect reaches the smallest effect of interest. Not supported: the interval ends below that. Else inconclusive."
    )
    return Drawing(figure, caption, "Effects of the claims: " + "; ".join(_said(claims, name, verdict=True)) + ".")


@styled
def ablation_effects(
    effects: pd.DataFrame, reference: str, xlabel: str = "change when the part is taken out", caption: str = ""
) -> Drawing:
    """A row for each arm: its difference to the `reference` arm with a 95 % interval. Left of 0, the part that was taken out had helped.

    Args:
        effects: columns arm, effect (arm - reference), low, high.
        reference: the whole method.
    """
    require(effects, ("arm", "effect", "low", "high"), "effects")
    table = effects.assign(part=[arm_label(arm) for arm in effects["arm"]])
    figure, axis = _rows(table, "part", xlabel)
    for place, row in enumerate(table.itertuples(index=False)):
        colour = VERDICTS["supported" if row.high < 0 else "not supported" if row.low > 0 else "inconclusive"][0]
        marker = "o" if row.high < 0 or row.low > 0 else "D"
        _whisker(axis, place, row, colour, marker)
    whole = arm_label(reference)
    caption = (
        caption or f"Difference to the whole method ({whole}) with 95 % intervals over people; left of 0, the part taken out had helped."
    )
    return Drawing(figure, caption, f"Differences to {whole}: " + "; ".join(_said(table, "part")) + ".")


def _rows(table: pd.DataFrame, name: str, xlabel: str):
    crossed = table[table["low"] > table["high"]]
    if len(crossed):
        raise LoupeError(f"The interval of {crossed[name].iloc[0]!r} ends before it begins: low and high are exchanged in the table.")
    names = [textwrap.fill(str(value), _WRAP) for value in table[name]]
    lines = sum(max(1.35, 1 + value.count("\n")) for value in names)
    figure = blank(PAGE, 1.25 + 0.2 * lines)
    axis = figure.subplots()
    axis.axvline(0, color="#333333", linewidth=0.9)
    axis.set_yticks(range(len(table)), names)
    axis.tick_params(axis="y", length=0)
    axis.set_ylim(len(table) - 0.5, -0.5)
    axis.grid(visible=False, axis="y")
    axis.spines["left"].set_visible(False)
    axis.set_xlabel(xlabel)
    return figure, axis


def _whisker(axis, place: int, row, colour: str, marker: str) -> None:
    axis.plot([row.low, row.high], [place, place], color=colour, linewidth=1.8, solid_capstyle="butt", gid=f"interval-{place}")
    axis.plot(
        row.effect, place, marker=marker, color=colour, markersize=7, markeredgecolor="white", markeredgewidth=0.8, gid=f"effect-{place}"
    )
    axis.annotate(
        f"{row.effect:+.3f}".replace("-", "−"), (1.01, place), xycoords=("axes fraction", "data"), va="center", fontsize=8, color="#1a1a1a"
    )


def _said(table: pd.DataFrame, name: str, verdict: bool = False) -> Sequence[str]:
    said = []
    for row in table.to_dict("records"):
        end = f" ({row['verdict']})" if verdict else ""
        if pd.isna(row["effect"]):
            said.append(f"{row[name]}: no effect measured{end}")
        else:
            said.append(f"{row[name]}: {row['effect']:+.3f}, interval {row['low']:+.3f} to {row['high']:+.3f}{end}")
    return said
