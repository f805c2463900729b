# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 04 · What do DMA and PoI see in two frames?
#
# ![Patches of two frames are swapped, the diagonal of the attention and the patch of interest weigh them, a decoder restores the frame](pictures/04-micron-bert.svg)
#
# Micron-BERT (arXiv 2304.03195) learns without labels from two frames a fraction of a second apart. Some patches
# of frame $I_t$ are **swapped** with those of $I_{t+d}$; the network must restore the unswapped frame, and to do
# so it must notice what changed. Two modules do the noticing:
#
# * **Diagonal Micro-Attention** (Eq. 8, 9): $A = \mathrm{softmax}(Q(P_r) K(P_s)^\top / \sqrt D)$, of which only
#   the diagonal counts: $a = L \cdot \mathrm{diag}\, A$. A patch that fits itself in the other frame has a high
#   $a$; one that changed looks elsewhere.
# * **Patch of Interest**:
#   $s = L \cdot \mathrm{softmax}_L \langle \mathrm{LN}\, ct_r, \mathrm{LN}\, P_{r,i} \rangle / \sqrt D$, the fit
#   of each patch to the contextual token.
#
# Then $W = a \odot s$ and $P_{dma} = W \odot V(P_s)$ goes to the decoder. Loss: reconstruction of $I_t$ (Eq. 14)
# $+\ \beta\,\cdot$ agreement of the contextual tokens of $I_{t+d}$ and of a crop of it (Eq. 15). As printed,
# without the factors $L$ and $\sqrt D$, $W$ is about $1/L^2$ and the decoder sees next to nothing; where paper,
# released code and ours differ is a table in `src/loupe/models/micron_bert.py`.
#
# Generated clips have what real ones lack: the **true motion** due to the expression alone, and masks of the
# face's **parts**. So "DMA finds micro-movements" and "PoI finds the parts of interest" become numbers.
#
# **The formulas, line by line**
#
# * $a$ is `a = (own - logits.logsumexp(dim=-1)).exp()`, then `patches * a`
#   (`src/loupe/models/micro_attention.py`)
# * $s$ is `product.shape[1] * (product / self.width**0.5).softmax(dim=-1)`
#   (`src/loupe/models/micro_attention.py`)
# * $W \odot V(P_s)$ is `mixed = a.to(values.dtype)[..., None] * values`, then `mixed = s[..., None] * mixed`
#   (`src/loupe/models/micro_attention.py`)
# * the loss is `reconstruction + self.beta * out["agreement"]` (`src/loupe/models/micron_bert.py`)

# %% tags=["parameters"]
overrides = []

# %%
import pandas as pd

from loupe.data.clips import with_true_motion
from loupe.data.store import read_store
from loupe.evaluation.guards import check_pretraining_overlap
from loupe.session import start
from loupe.training import map_scores, micro
from loupe.training.build_micron import build_micron_bert
from loupe.training.checkpoint import load_weights

sets = ("clips", "micro", "micro_calm", "micro_wild")
session = start("micron-bert", overrides, inputs=[f"data/prepared/{name}" for name in sets])
cfg, clips = session.config, session.store("clips")

# %% [markdown]
# ## Pre-train on pairs of frames


# %%
people, others = set(clips.subjects), set(session.store("micro").subjects)
check_pretraining_overlap(people, others, what="Micron-BERT pre-training")
print(f"{len(clips.images)} unlabelled frames of {len(people)} people,")
print(f"none of them among the {len(others)} of the micro clips")
seed = cfg.scale.seeds[0]
pretraining = session.make(micro.pretraining_step("pretraining", session.prepared("clips"), cfg))
model = build_micron_bert(cfg, seed)
load_weights(pretraining / "micron_bert.safetensors", model)
model.to(session.device).eval()
log = pd.read_parquet(pretraining / "history.parquet")
canary = log[log["name"] == "ct_std"]["value"]
print(f"contextual token: standard deviation {canary.iloc[-1]:.4f} at the end, {canary.iloc[0]:.4f} at the start")
session.draw("training-curves")

# %% [markdown]
# Is there anything to learn about *motion* in this task? Swapping changes a patch only by what moved between the
# two frames. A decoder that paints the frame from tokens alone, as in the paper, errs on every patch by several
# times as much, and its loss hardly feels the swap. Here it **adds** to the swapped input (`residual`), so that
# the error starts at what swapping changed. The gate: below it, the network has learnt to undo some of the swap.


# %%
signal = micro.swap_signal(model, cfg, clips, seed)
rows = pd.DataFrame({"mean square of": list(signal), "value": list(signal.values())})
rows["times unchanged"] = rows["value"] / signal["unchanged"]
caption = "What swapping changes, what remains if nothing is restored, what remains after the network "
caption += "(256 pairs of unlabelled frames)."
share = signal["reconstruction"] / signal["unchanged"]
verdict = "below it, so part of the swap is undone" if share < 1 else "not below it: no sign that the swap is undone"
print(f"Gate: the error is {share:.2f} times that of copying what came in, {verdict}.")
session.table(rows, "swap-signal", caption)

# %% [markdown]
# ## Look: maps over the true motion
#
# Inference uses no swap: $t$ = onset, $t + d$ = apex. Row $i$ of Eq. 8 asks with $P_r(i)$ for $K(P_s(i))$: equal
# content answers itself, so *low where something moved* is what the algebra says where $Q$ and $K$ agree, and the
# authors' released code draws $1 - \mathrm{diag}\,A / \max$. Training may turn it round, so both signs are scored:
# `DMA` is $a$ itself, `DMA, inverted` is $\max a - a$.
#
# ## Measure: do the maps point at the motion?
#
# Three scores a clip (pointing game, energy inside the true region, rank correlation with the true motion), and
# three rivals that need no learning: the mean true-motion map of *other* people, the plain frame difference, and
# optical flow with the head's affine motion removed.


# %%
folder = with_true_motion(session.prepared("micro"))  # the generated clips, also where `micro` is imported
known, patch = map_scores.KnownClips.read(folder), model.encoder.patch_size
localisation = map_scores.motion_records(map_scores.motion_maps(model, known), known, patch, seed)
caption = f"Maps against the true motion, mean over clips, nuisance dial {cfg.data.nuisance}. One pre-training."
scores = map_scores.mean_scores(localisation)
display(session.draw("maps"), session.table(scores, "localisation", caption))  # noqa: F821

# %% [markdown]
# ## Measure: how much of it do nuisances take away?
#
# Some of the clips are drawn again at the other positions of the nuisance dial: 0, where nothing moves but the
# expression, and 2, where head, background, light and noise do more than usual. The draws are the same, so these
# are the same expressions of the same people, and the rows below are the same clips three times. At position 0 a
# frame difference *is* the expression: that a rival wins there says little. What counts is who is left at 1 and
# 2.


# %%
calm, wild = (session.prepared(name) for name in ("micro_calm", "micro_wild"))
again, dials = set(read_store(calm).manifest["clip"]), []
for dial, place in ((0, calm), (1, folder), (2, wild)) if again else ():
    same = map_scores.KnownClips.read(place, again)
    scored = map_scores.motion_records(map_scores.motion_maps(model, same), same, patch, seed)
    dials.append(map_scores.mean_scores(scored).assign(dial=dial))
if dials:
    columns = ["arm", "dial", "pointing_game", "energy_inside", "rank_correlation", "n_clips", "n_subjects"]
    caption = "The same clips at each position of the nuisance dial: maps against the true motion, mean over clips. "
    caption += "One pre-training."
    display(session.table(pd.concat(dials)[columns], "dials", caption))  # noqa: F821
else:
    print("No clips were drawn at other positions of the nuisance dial (scale.faces.dial_clips).")

# %% [markdown]
# ## Measure: does PoI lie on the expressive parts?
#
# PoI sees **one** frame, so it is shown the onset frame and scored against that frame's true mask: the share of
# the map on eyes, brows and mouth, the parts that the ipsilateral view of notebook 03 shows, too. Rivals that
# need no learning: an even map (whose score is the share of the picture that these parts take), a Gaussian in the
# middle of the picture, the contrast in each patch, and the mean mask of *other* people, which knows where faces
# have their parts and nothing of this face.


# %%
on_parts = map_scores.part_records(map_scores.part_maps(model, known), known, patch, seed)
session.write("localisation.parquet", pd.concat([localisation, on_parts], ignore_index=True))
shares = on_parts.groupby("arm", sort=False)["energy_inside"].mean()
rival = shares.drop(["poi", "poi-inverted"]).idxmax()
print(f"Eyes, brows and mouth take {shares['uniform']:.1%} of the picture.")
print(f"PoI puts {shares['poi']:.1%} of its map there, inverted {shares['poi-inverted']:.1%};")
print(f"the best rival, {rival}, {shares[rival]:.1%}.")
caption = "Share of each map on the true eyes, brows and mouth of the onset frame, mean over clips, "
caption += f"nuisance dial {cfg.data.nuisance}. One pre-training."
display(session.table(map_scores.mean_scores(on_parts), "face-parts", caption))  # noqa: F821
session.finish()

# %% [markdown]
# ## What we learnt
#
# * Read the localisation table before the picture: six hand-picked clips can look convincing whatever the mean
#   is.
# * A map that does not beat the mean map of other people has found anatomy (mouths move), not this clip's motion.
# * If `DMA, inverted` scores above `DMA`, changed patches are *low* on the diagonal: they look elsewhere, as Eq. 8
#   has it.
# * Without `residual` more steps are no cure at this size: with five times as many, the network erred 2.6 times as
#   much as swapping changes instead of 7 times, and its features and maps of other people got no better
#   (`scripts/micron_steps.py`, `docs/log.md`).
# * A PoI map above the even one has found something of the face; above the mean mask of other people, something
#   of *this* face: all else a mean mask has for free.
#
# ## Try it
#
# Paste this into a new cell after Run All, change the first lines, run it again.
#
# ```python
# import numpy as np
#
# first = known.pairs.onset[:6]
# second = first  # the same frame twice, nothing moves: try known.pairs.apex[:6],
# # or np.roll(first, 1, axis=2), a head that drifts by 1 px
# there = micro.patch_maps(model, first, second)
# print({name: f"largest over smallest patch {np.mean(m.max(1) / m.min(1)):.2f}" for name, m in there.items()})
# ```
#
# ## Exercises
#
# 1. `overrides = ["micron_bert.scale=literal", "micron_bert.residual=false"]`: what happens to the reconstruction,
#    and why? What does `residual` hide of it?
# 2. Set `nuisance: 0` in `conf/data/generated.yaml` and run `dvc repro micron-bert` (an override in this notebook
#    would not do: the clips it reads are already made). Does frame difference now win? Why would that be no
#    surprise?
# 3. Why must pre-training not see the people of the micro clips, although it uses no labels?
# 4. Drift the head by one pixel (Try it): which map reacts, and is that what a reader of micro-expressions wants?
#
# <details><summary>Solutions</summary>
#
# 1. $W \approx 1/L^2$ starves the decoder; it has to work from positions alone and paints a mean face. With
#    `residual` it has nothing to add and hands on what came in: an error of 1.0 at the gate.
# 2. Without drift, blinks and flicker every difference between two frames *is* the expression.
# 3. The network could learn their faces at rest; "unseen subject" would then mean something weaker than on new
#    people.
# 4. A map of *change* reacts to drift as it does to a smile. Only one that compares with the motion of the whole
#    face, as stabilised flow does, can tell them apart.
#
# </details>
