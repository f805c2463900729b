"""Effects with their intervals: the claims of the papers, and the parts taken out in the ablations."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from loupe.errors import LoupeError
from loupe.reporting.drawing import Drawing, blank, named_rows
from loupe.reporting.selection import require
from loupe.reporting.style import BLACK, GREY, PAGE, VERDICTS, arm_label, styled

_WRAP = 40  # letters of a row's name on one line
_RULE = (
    "Effect of each claim with its 95 % interval over people and seeds. Supported: the interval lies above 0, the corrected p is below "
    ".05 and the effect reaches the smallest effect of interest. Not supported: the interval ends below that. Else inconclusive."
)


@styled
def effect_plot(claims: pd.DataFrame, caption: str = _RULE) -> Drawing:
    """A row for each claim: effect, 95 % interval, and its smallest effect of interest as a tick; the verdict as marker, colour and word.

    claims: columns sentence, effect, low, high, sesoi, floor, verdict (supported, not supported, inconclusive, not run at this scale). Rows
    without an effect (not run) keep their place and say so. A comparison on the floor (neither arm far from guessing) has an empty mark.

    Raises LoupeError for a missing column, an unknown verdict or an effect outside its own interval's order (low above high).
    """
    require(claims, ("sentence", "effect", "low", "high", "sesoi", "floor", "verdict"), "claims")
    unknown = sorted(set(claims["verdict"]) - set(VERDICTS))
    if unknown:
        raise LoupeError(f"The claims hold the verdict {unknown[0]!r}; known are {', '.join(VERDICTS)}.")
    figure, axis = _rows(claims, "sentence", "effect (difference in score)")
    tick = {"color": BLACK, "linewidth": 1, "linestyle": (0, (2, 1))}
    on_floor = claims["floor"].eq(True).tolist()  # empty for a claim that was not run
    for place, row in enumerate(claims.itertuples(index=False)):
        colour, marker = VERDICTS[row.verdict]
        if pd.isna(row.effect):
            axis.annotate(row.verdict, (0.01, place), xycoords=("axes fraction", "data"), va="center", fontsize=8, color=GREY)
            continue
        _whisker(axis, place, row, colour, marker, hollow=on_floor[place])
        if pd.notna(row.sesoi):
            axis.plot([row.sesoi] * 2, [place - 0.32, place + 0.32], **tick, gid=f"sesoi-{place}")
    used = [verdict for verdict in VERDICTS if (claims["verdict"] == verdict).any()]
    handles = [Line2D([], [], color=VERDICTS[v][0], marker=VERDICTS[v][1], linewidth=1.6, label=v) for v in used]
    handles += [Line2D([], [], **_mark(GREY, "D", True), linestyle="", label="neither arm far from guessing")] if any(on_floor) else []
    handles += [Line2D([], [], **tick, label="smallest effect of interest")] if claims["sesoi"].notna().any() else []
    figure.legend(handles=handles, loc="outside upper left", ncols=3, columnspacing=1.2, handletextpad=0.5)
    return Drawing(figure, caption, "Effects of the claims: " + "; ".join(_told(claims, "sentence")) + ".")


@styled
def ablation_effects(effects: pd.DataFrame, reference: str, xlabel: str) -> Drawing:
    """A row for each arm: its difference to the `reference` arm with a 95 % interval. Left of 0, the part that was taken out had helped.

    Args:
        effects: columns arm, effect (arm - reference), low, high.
        reference: the whole method.
    """
    require(effects, ("arm", "effect", "low", "high"), "effects")
    table = effects.assign(part=[arm_label(arm) for arm in effects["arm"]])
    figure, axis = _rows(table, "part", xlabel)
    for place, row in enumerate(table.itertuples(index=False)):
        verdict = "supported" if row.high < 0 else "not supported" if row.low > 0 else "inconclusive"
        _whisker(axis, place, row, VERDICTS[verdict][0], "D" if verdict == "inconclusive" else "o")
    whole = arm_label(reference)
    caption = (
        f"Difference to the whole method ({whole}) with 95 % intervals over people and seeds; left of 0, the part taken out had helped."
    )
    return Drawing(figure, caption, f"Differences to {whole}: " + "; ".join(_told(table, "part")) + ".")


def _rows(table: pd.DataFrame, name: str, xlabel: str) -> tuple[Figure, Axes]:
    crossed = table[table["low"] > table["high"]]
    if len(crossed):
        raise LoupeError(f"The interval of {crossed[name].iloc[0]!r} ends before it begins: low and high are exchanged in the table.")
    names = [textwrap.fill(str(value), _WRAP) for value in table[name]]
    figure = blank(PAGE, 1.25 + 0.2 * sum(max(1.35, 1 + value.count("\n")) for value in names))
    axis = named_rows(figure, names, xlabel)
    axis.axvline(0, color="#333333", linewidth=0.9)
    axis.spines["left"].set_visible(False)
    return figure, axis


def _whisker(axis: Axes, place: int, row, colour: str, marker: str, hollow: bool = False) -> None:
    axis.plot([row.low, row.high], [place, place], color=colour, linewidth=1.8, solid_capstyle="butt", gid=f"interval-{place}")
    axis.plot(row.effect, place, **_mark(colour, marker, hollow), gid=f"effect-{place}")
    value = f"{row.effect:+.3f}".replace("-", "−")
    axis.annotate(value, (1.01, place), xycoords=("axes fraction", "data"), va="center", fontsize=8, color="#1a1a1a")


def _mark(colour: str, marker: str, hollow: bool) -> dict[str, object]:
    face, edge = ("white", colour) if hollow else (colour, "white")
    return {
        "marker": marker,
        "color": colour,
        "markersize": 7,
        "markerfacecolor": face,
        "markeredgecolor": edge,
        "markeredgewidth": 0.8 + 0.4 * hollow,
    }


def _told(table: pd.DataFrame, name: str) -> Sequence[str]:
    told = []
    for row in table.to_dict("records"):
        end = f" ({row['verdict']}{', neither arm far from guessing' if row['floor'] is True else ''})" if "verdict" in row else ""
        effect = f"{row['effect']:+.3f}, interval {row['low']:+.3f} to {row['high']:+.3f}"
        told.append(f"{row[name]}: {'no effect measured' if pd.isna(row['effect']) else effect}{end}")
    return told
