# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 00 · Start here
#
# ![How the notebooks feed each other: data, two pre-trainings, experiments, ablations, claims](pictures/00-start-here.svg)
#
# **What is this?** Two published systems that read faces with few labels, rebuilt in the open, run end to end,
# and every claim put to the test:
#
# * **Emotic MAE** (arXiv 2403.13039): a masked autoencoder pre-trained on faces, then a classifier that looks at
#   a face *and* at a picture of its expressive parts. Notebooks 02, 03, 07.
# * **Micron-BERT** (arXiv 2304.03195): finds movements of a pixel or less between two video frames, learnt
#   without labels. Notebooks 04, 05.
#
# Neither paper's training code was ever released. Everything here runs on a laptop, on generated faces, and gives
# the same bytes every time.
#
# **How do I run it?** `make study` runs everything, `make study SCALE=smoke` a small version in minutes.
# `make lab` opens these notebooks on the whole study, `make lab SCALE=smoke` on the small one. Inside a notebook,
# change `overrides` in the parameter cell: `["mae_face.mask_ratio=0.5"]`, `["view=mirror"]`. What is finished is
# read, not trained again; what you change is computed into `data/scratch` and never touches the study's results.
#
# Each notebook opens with its question, shows which line of code does which formula, and ends with a small
# experiment to change and exercises whose solutions are folded away. They may be read in any order; a notebook
# whose inputs are missing says which command makes them.
#
# ## Words
#
# | word | what it means here |
# |---|---|
# | **stage** | one notebook, run by DVC; `dvc repro dual-view` runs one and what it needs |
# | **step** | one expensive call inside a stage (draw faces, pre-train, a cell), kept once it is done |
# | **arm** | one way to do a task that is compared with others: a network and how it is trained, or a classical method |
# | **cell** | one arm, one share of the labels, one seed |
# | **share** | of the labels (or people, or frames) that an arm learns from |
# | **seed** | the number that all that is random in a run is drawn from |
# | **fold** | who is left out for testing while the others train |
# | **condition** | what the pictures are like: as usual, partly covered, or in looks that are new |
# | **view** | a picture of the face: the *examined* one, and an *ipsilateral* one that shows its expressive parts |
# | **floor** | what guessing scores; two arms that both lie there say nothing about either |
# | **dial** | how strong the nuisances of generated clips are: 0, 1 or 2 |
# | **scale** | how large everything is: smoke, laptop, gpu, paper (`conf/scale`) |
# | **vault** | where test rows are kept; each opening is written down |

# %% tags=["parameters"]
overrides = []

# %%
import pandas as pd

from loupe.session import start

session = start("start-here", overrides, inputs=["data/prepared/labelled", "reports/claims.csv"])

# %% [markdown]
# ## The faces

# %%
session.draw("classes")

# %% [markdown]
# ## What it found
#
# By the rule of notebook 11; the last column says on which faces. "Inconclusive" means that this number of people
# could not tell.

# %%
claims = pd.read_csv(session.root / "reports" / "claims.csv")
decided = claims[claims["effect"].notna()]
verdicts = decided.groupby("verdict").size().rename("claims").reset_index()
session.table(verdicts, "verdicts", "How many claims of the two papers came out how; `claims.csv` says on which faces.")
with pd.option_context("display.max_colwidth", None):
    display(decided[["sentence", "effect", "low", "high", "verdict", "note"]].round(3))  # noqa: F821
session.finish()

# %% [markdown]
# ## Where to go
#
# | notebook | question |
# |---|---|
# | 01-data | which faces, which labels, who is in which split |
# | 02-mae-face | can it rebuild 75 % hidden faces |
# | 03-dual-view | does a second view help, which parts does fusion weigh |
# | 04-micron-bert | what do DMA and PoI see in two frames |
# | 05-micro-expressions | leave one subject out: UF1, UAR, against baselines |
# | 06-ablations | which part earns its place |
# | 07-low-label | how far do few labels go |
# | 11-claims | every claim: supported, not supported, inconclusive |
#
# **What Loupe must not be used for**: inferring people's emotions covertly, at work, at school or anywhere (the
# EU AI Act forbids it there). An expression is not a felt emotion, and nothing here was measured on real people.
#
# ## What we learnt
#
# * Read the verdicts with their intervals, and remember on what faces they were measured.
#
# ## Try it
#
# Paste this into a new cell after Run All, change the first lines, run it again.
#
# ```python
# paper = "micron-bert"  # or "emotic-mae"
# shown = decided[decided["paper"] == paper].sort_values("effect")
# shown[["id", "metric", "value_a", "value_b", "effect", "verdict"]].round(3)
# ```
#
# ## Exercises
#
# 1. Which claims have an effect whose interval excludes 0 but is still "inconclusive"? Why?
# 2. Find the cells behind one verdict (column `cells` of `reports/claims.csv`) and the notebook that trained
#    them.
# 3. Run notebook 02 with a mask ratio of .5 and compare the probe.
# 4. Two of the figures in the page look alike in SVG and PNG. Redraw one with `loupe figure` and find the lines
#    of code that draw it.
#
# <details><summary>Solutions</summary>
#
# 1. The effect is smaller than the smallest effect of interest, or Holm's correction lifts p above .05.
# 2. `stage/arm@share`: the stage is the notebook's name without its number.
# 3. See the first exercise of notebook 02.
# 4. `loupe figure` lists the names; `loupe figure claims/effects-emotic-mae` draws one from `reports/claims.csv`.
#    The code is in `src/loupe/reporting/`.
#
# </details>
