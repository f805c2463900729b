# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 11 · Every claim of the two papers: supported, not supported, inconclusive?
#
# ![An interval above zero and large enough supports a claim, one that ends below what matters does not, anything else is inconclusive](pictures/11-claims.svg)
#
# A claim is data (`conf/claims.yaml`): a sentence, two cells whose difference decides it, a metric, and the
# smallest effect that would matter (.05 macro-F1 or UF1). The rule was fixed before anything was trained:
#
# * the effect is the difference of the metric on **pooled** predictions, averaged over seeds;
# * its interval comes from 10,000 resamples of **people and**, crossed with them, **seeds** (BCa, expanded by t
#   quantiles for few people and few seeds; percentile where BCa is undefined). The p-value comes from exchanging the
#   two arms within people, all seeds together, and is corrected by Holm within each paper. It does not know that
#   another seed could have come out otherwise: of the two, the interval guards against a lucky seed;
# * **supported**: interval above 0, corrected p < .05 *and* effect at least the smallest effect of interest;
#   **not supported**: the interval's upper end lies below it; everything else is **inconclusive**, with the
#   smallest effect this study could have found;
# * a claim that one thing *comes close to* another is held against the largest loss that does not matter,
#   $-\delta$, instead (rule `not-worse`): supported if the interval and the corrected p of that margin exclude
#   it, not supported if the interval lies below it;
# * where neither arm beats *guessing* by the smallest effect of interest (column `guess`), the verdict is
#   **inconclusive**, too: two arms that have learnt next to nothing differ by next to nothing, which says nothing
#   about the methods.
#
# Every verdict reads "on generated faces". Column `real` says what the same rule said of the same sentence on real
# photographs (`make real`, beside the study; "not run" where it asked another question). Nobody has run the
# licensed data yet, and column `licensed` says so. The
# papers' own numbers stand beside ours for orientation only: other data, not comparable.
#
# With effect $\Delta$, its interval $[l, h]$, Holm's $p$ and the smallest effect of interest $\delta$: supported
# if $l > 0 \wedge p < .05 \wedge \Delta \ge \delta$, not supported if $h < \delta$.
#
# **The rule, line by line**
#
# * supported is `if low > 0 and p_adjusted < alpha and effect >= sesoi:` (`src/loupe/evaluation/statistics.py`)
# * not supported is `"not supported" if high < sesoi else "inconclusive"` (`src/loupe/evaluation/statistics.py`)
# * $p$ of Holm is `np.maximum.accumulate(values[order] * np.arange(values.size, 0, -1))`
#   (`src/loupe/evaluation/statistics.py`)

# %% tags=["parameters"]
overrides = []

# %%
import json
from dataclasses import replace

import pandas as pd

from loupe.evaluation.claims import Cell, cell_predictions, claims_table, read_claims, read_predictions
from loupe.evaluation.controls import Comparison, control_step
from loupe.session import start

stages = ("mae-face", "dual-view", "micron-bert", "micro-expressions", "ablations", "low-label")
session = start("claims", overrides, inputs=["data/prepared/labelled", *(f"data/runs/{stage}" for stage in stages)])
cfg = session.config
book = read_claims(session.root / "conf" / "claims.yaml")
units = cfg.experiments.dual_view.action_units.units
classes = {"stills": len(session.store("labelled").class_names), "units": 2 * len(units)}
book = replace(book, classes={**book.classes, **classes})
predictions = read_predictions(session.root / "data" / "runs")
print(f"{len(book.claims)} claims; predictions of {', '.join(sorted(predictions))}")

# %% [markdown]
# ## Decide
#
# How many pre-trainings stand behind an arm is printed with every verdict: with one, the interval speaks of
# people and fine-tuning seeds, not of another pre-training run. An arm of one seed has none to draw.

# %%
claims = claims_table(book, predictions, seed=cfg.data.seed, resamples=cfg.scale.statistics.resamples)
# What is not generated: your folder or an imported set of expressions is what stills are scored on,
# an imported set of micro-expressions their clips.
roles = json.loads((session.root / cfg.data.imported).read_bytes()) if cfg.data.source == "imported" else {}
own = {"stills"} if cfg.data.source == "folder" or "expression" in roles else set()
own |= {"micro", "spotting"} if "micro" in roles else set()
named = f"on {cfg.data.source} data (conf/study.yaml)"
mine = claims["task"].isin(own)
claims.loc[mine, "note"] = claims.loc[mine, "note"].str.replace("on generated faces", named, regex=False)
where = f"{named}: {', '.join(sorted(own))}; all else on generated faces" if own else "on generated faces"
real = pd.read_csv(session.root / "reports" / "tables" / "real-faces" / "verdicts.csv").set_index("sentence")["verdict"]
claims["real"] = claims["sentence"].map(real).fillna("not run")
session.write_claims(claims)
claims["verdict"].value_counts().rename("claims").to_frame()

# %%
decided = claims[claims["effect"].notna()]
columns = "id metric value_a value_b guess effect low high p_holm detectable".split()
columns += "n_subjects n_seeds n_pretrainings floor verdict".split()
caption = f"Claims that this study ran, {where}, {cfg.scale.name} scale."
display(session.table(decided[columns], "decided", caption))  # noqa: F821

floor = decided[decided["floor"]]
print(f"{len(floor)} of {len(decided)} comparisons lie on the floor: {', '.join(floor['id']) or 'none'}")

# %%
for paper in decided["paper"].unique():
    display(session.draw(f"effects-{paper}"))  # noqa: F821

# %% [markdown]
# ## Does the rule itself hold?
#
# Studies whose truth is known, made of the stored predictions (column `studies`: how many; of seeds there are
# only so many halves): where there is no difference, "supported" may come out in at most one study of twenty;
# where a gain of twice the detectable effect was put in, it must in nineteen (column `holds`). The column
# `without_margin` asks interval and p alone, without the smallest effect of interest. For an arm against itself
# with other seeds they must keep to the limit, too (`limit_without_margin`): an interval over people alone would not.
# Elsewhere the share may lie higher, because a macro average of *random* labels favours whoever names all classes.

# %%
share = cfg.experiments.dual_view.fraction
pairs = {
    "stills": ("macro_f1", Cell("dual-view", "concat", share), Cell("dual-view", "single", share)),
    "micro": ("uf1", Cell("micro-expressions", "micron-bert"), Cell("ablations", "micron-bert-untrained")),
}
controls = []
for task, (metric, *cells) in pairs.items():
    arms = [cell_predictions(cell, task, predictions) for cell in cells]
    folder = session.make(control_step(task, Comparison(*arms, metric, book.classes[task]), cfg))
    found = pd.read_parquet(folder / "table.parquet")
    controls.append(found.assign(task=task, n_subjects=arms[0]["subject"].nunique()))
caption = "How often the rule says supported in studies of known truth, made of stored predictions: "
caption += f"{cfg.scale.statistics.controls} studies a control, of seeds as many as can be halved."
session.table(pd.concat(controls, ignore_index=True), "controls", caption)

# %% [markdown]
# ## What was not run
#
# Honest studies say what they left out. These claims are on record and wait for a larger scale or for licensed
# data.

# %%
open_claims = claims[claims["effect"].isna()][["id", "paper", "sentence", "verdict"]]
with pd.option_context("display.max_colwidth", None):
    display(open_claims)  # noqa: F821
session.finish()

# %% [markdown]
# ## What we learnt
#
# * "Inconclusive" is a result: it names the effect that this number of people could have shown.
# * A small p with a tiny effect is not support, and a large effect with a wide interval is not either.
#
# ## Try it
#
# Paste this into a new cell after Run All, change the first lines, run it again.
#
# ```python
# from loupe.evaluation.statistics import verdict
#
# smallest = 0.02  # the effect that you would care about: try 0, 0.1
# again = [verdict(row.effect, row.low, row.high, row.p_holm, smallest) for row in decided.itertuples()]
# decided.assign(again=again)[["id", "effect", "low", "high", "verdict", "again"]].round(3)
# ```
#
# ## Exercises
#
# 1. Move the smallest effect of interest of one claim to 0. Does its verdict change? Should you be allowed to do
#    that now?
# 2. Which claims would flip if Holm's correction were dropped?
# 3. Double the people in your head: which "inconclusive" would you expect to be decided? Use the column
#    `detectable`.
# 4. Ten claims are tested at .05 and none is true. How many would you expect to come out "significant" without
#    Holm?
#
# <details><summary>Solutions</summary>
#
# 1. It may; and no, not after having seen the effect. That is why the file was committed before the run.
# 2. Those whose raw `p` lies below .05 and whose `p_holm` does not.
# 3. The detectable effect shrinks by about $\sqrt 2$; those whose effect lies between the old and the new value.
# 4. Half a claim on average, and at least one in about 40 % of such studies ($1 - .95^{10}$, were they
#    independent).
#
# </details>
