# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 07 · How far do few labels go?
#
# ![Nested shares of labels, and the curve that the paper hopes for](pictures/07-low-label.svg)
#
# The promise of Emotic MAE is a good reader of faces from under a tenth of the labels. Here the share of labels shrinks from all to a few in each class, and
# four ways to use them compete:
#
# * **from scratch**: the same network, random start;
# * **HOG + logistic regression**: no network at all, regularisation chosen on inner validation people;
# * **MAE**: the single view, started from notebook 02;
# * **MAE + fusion**: the dual view of notebook 03.
#
# Shares are nested (2 % lies inside 10 %) and stratified by class, at least one a class. The number of steps follows from the label budget. A network from
# scratch starts further away and gets more of them (`scratch_times` in `conf/scale`): at equal steps it is a straw man, not a rival. The cells at the share of
# notebook 03 were trained there and are read, not trained twice.
#
# With the labelled rows of class $c$ in one fixed random order $\pi_c$, the share $f$ takes its head, so that smaller shares lie inside larger ones:
# $T_f = \bigcup_c \{\pi_c(1), \dots, \pi_c(\max(1, \lceil f n_c \rfloor))\}$.
#
# **The formula, line by line**
#
# * $\pi_c$ is `rows = rng.permutation(np.flatnonzero(values == label))`, people taking turns (`src/loupe/evaluation/protocols.py`)
# * the head is `kept.append(rows[: _share(fraction, rows.size)])` (`src/loupe/evaluation/protocols.py`)

# %% tags=["parameters"]
overrides = []

# %%
import numpy as np
import pandas as pd

from loupe.evaluation.metrics import macro_f1
from loupe.evaluation.predictions import Label, joined, labelled
from loupe.evaluation.protocols import Split, every_kth_frame, label_subset, subject_subset
from loupe.evaluation.smoothing import smooth_arms
from loupe.reporting import tables
from loupe.session import start
from loupe.training.probes import Probe, encoder_step, feature_step
from loupe.training.stills import StillData, cells_of, view_of
from loupe.training.video_frames import stored_every, why_not

inputs = ["data/prepared/labelled", "data/prepared/macro", "data/runs/mae-face/pretraining/encoder.safetensors", "data/runs/dual-view/predictions.parquet"]
session = start("low-label", overrides, inputs=inputs)
cfg, experiment = session.config, session.config.experiments.low_label
encoder = session.run("mae-face", "pretraining/encoder.safetensors")
folder, store = session.prepared("labelled"), session.store("labelled")
classes, split = len(store.class_names), Split.from_manifest(store.manifest)
train = split.rows(store.manifest, "train")
scored = np.concatenate([split.rows(store.manifest, "val"), session.vault.open(split, store.manifest, "low-label curves")])


def subset(draw, share):
    """The training rows that `draw` keeps: a share of the labels, or of the people."""
    return train[draw(store.labels[train], store.subjects[train], share, np.random.default_rng(cfg.data.seed))]


subsets = {share: subset(label_subset, share) for share in experiment.fractions}
print({f"{share:.0%}": len(rows) for share, rows in subsets.items()}, "labels")

# %% [markdown]
# ## Networks

# %%
twin = {"mae": "single", "mae-fusion": "concat"}  # trained in notebook 03 at its share
shared = cfg.experiments.dual_view.fraction
cells = []
for share, rows in subsets.items():
    arms = [arm for arm in experiment.arms if not (share == shared and arm.name in twin)]
    cells += cells_of(cfg, arms, share, StillData(folder, rows, scored, encoder))
for share in experiment.people:  # the other regime: all labels of a share of the people
    rows = subset(subject_subset, share)
    print(f"{share:.0%} of the people: {len(rows)} labels of {len(set(store.subjects[rows]))} people")
    arms = [arm for arm in experiment.arms if arm.name in ("scratch", "mae-fusion")]
    cells += cells_of(cfg, arms, share, StillData(folder, rows, scored, encoder), regime="people")
made = session.make_all([cell.step(cfg, session.scratch) for cell in cells], "low-label cells")
finished = session.predictions("dual-view")
finished = finished[(finished["condition"] == "") & (finished["split"] != "train")]
reused = [finished[finished["arm"] == old].assign(arm=new) for new, old in twin.items() if shared in subsets and any(arm.name == new for arm in experiment.arms)]
networks = joined([*(cell.predictions(said) for cell, said in zip(cells, made, strict=True)), *reused])

# %% [markdown]
# ## Without a network, and the floor and ceiling
#
# The **AU oracle** gets the true action units: what a perfect reader of the face could make of these labels. The **majority** class is the floor.

# %%
has_units = cfg.data.source == "generated"
kinds = ["hog", *(["au-oracle"] if has_units else []), "majority"]
features = {kind: session.make(feature_step(kind, folder)) / "features.npy" for kind in kinds}


def classical(kind, share):
    """With one label a class nothing can be held out to choose C on; the middle of the grid then stands in."""
    rows = subsets[share]
    fewest = int(np.bincount(store.labels[rows], minlength=classes).min())
    grid = () if kind == "majority" else tuple(experiment.hog_c)
    probe = Probe(folder, features[kind], rows, scored, grid, folds=min(4, fewest))
    said = session.make(probe.step(f"{kind}-{share:g}"))
    return labelled(pd.read_parquet(said / "predictions.parquet"), Label("stills", kind, share))


baselines = [classical("hog", share) for share in subsets] + [classical(kind, max(subsets)) for kind in kinds[1:]]
predictions = joined([networks, *baselines])

# %%
results = tables.results(predictions, classes)
session.table(results, "arms", "Few labels: mean ± sd over seeds, people unseen in training.")

# %%
session.write("predictions.parquet", predictions)
session.draw("curves")

# %% [markdown]
# ## Frames of video: another regime
#
# "Under a tenth of the labels" of Aff-Wild2 means every $k$-th *frame*. Neighbouring frames show one face in almost one state, so most of what the other
# nine could teach is in the tenth already; on stills of one person each is a new picture. Two questions, two claims:
#
# * does every tenth stored frame come close to all of them? With the training frames of all clips laid end to end, $F_k = (1, 1 + k, 1 + 2k, \dots)$. Close
#   means: it loses less than the smallest effect of interest.
# * do scores gain where each frame's probabilities become their mean over a window of $w$ stored frames of the clip,
#   $\bar p_t = \frac{1}{|W_t|} \sum_{s \in W_t} p_s$ with $W_t = \{s : |s - t| \le (w - 1) / 2\}$ cut off at the ends of the clip? $w$ is chosen on validation people, for each
#   arm and share, and applied to test people once.
#
# The study's video is stored thinned out already (the line printed below says how much), so that a tenth of the stored frames is far less than a tenth of the video's, and
# neighbours differ more than in film: both questions are asked of *stored* frames. At every scale a **probe** answers: logistic regression on the frozen features of MAE-Face,
# its C chosen on inner people. Where the scale says `more: true`, the dual view of notebook 03 is fine-tuned on the same frames, too.
#
# **The formulas, line by line**
#
# * $F_k$ is `np.sort(order[::k])` (`src/loupe/evaluation/protocols.py`)
# * $\bar p_t$ is `result[order] = total / count[:, None]` (`src/loupe/evaluation/smoothing.py`)

# %%
video, experiment = session.store("macro"), cfg.experiments.low_label.frames
shown, reason = video.manifest, why_not(video.manifest, store.class_names)
frames = predictions[:0]
if reason:
    print(f"Frames of video are left out, and their claims stay open: {reason}.")
else:
    people = Split.from_manifest(shown)
    train_frames = people.rows(shown, "train")
    opened = session.vault.open(people, shown, "every k-th frame of video against all frames, and smoothing over time")
    asked = np.concatenate([people.rows(shown, "val"), opened])
    some = train_frames[every_kth_frame(*(shown[column].to_numpy()[train_frames] for column in ("clip", "frame")), experiment.every)]
    thinned = stored_every(shown)
    print(f"{len(some)} of {len(train_frames)} stored training frames; 1 in {thinned} frames of the video is stored, so these are 1 in {thinned * experiment.every} of the video's")
    told, cells = [], []
    features = session.make(encoder_step(session.prepared("macro"), encoder, cfg)) / "features.npy"
    for share, rows in {1 / experiment.every: some, 1.0: train_frames}.items():
        folds = min(4, np.bincount(video.labels[rows]).max(), len(set(video.subjects[rows])))
        probe = Probe(session.prepared("macro"), features, rows, asked, tuple(experiment.probe_c), int(folds))
        said = pd.read_parquet(session.make(probe.step(f"probe-{share:g}")) / "predictions.parquet")
        told.append(labelled(said, Label("frames", "probe", share, regime="frames", pretraining="mae-face")))
        arms = [arm for arm in experiment.arms if view_of(arm, cfg).name != "camera"]  # no second camera took the clips
        cells += cells_of(cfg, arms, share, StillData(session.prepared("macro"), rows, asked, encoder), task="frames", regime="frames")
    made = session.make_all([cell.step(cfg, session.scratch) for cell in cells], "cells on frames of video")
    raw = joined([*(cell.predictions(said) for cell, said in zip(cells, made, strict=True)), *told])
    smooth, windows = smooth_arms(raw, shown.set_index("sample")["frame"], experiment.windows, classes)
    frames = joined([raw, smooth])
session.write("predictions.parquet", joined([predictions, frames]))

# %%
if len(frames):
    scores = tables.results(frames, classes).merge(windows, how="left", on=["arm", "fraction", "smoothed"]).fillna({"window": 1}).astype({"window": int})
    caption = f"Frames of video: mean ± sd over seeds, people unseen in training; labels: share of the stored training frames (1 in {thinned} of the video's); window: stored frames, chosen on the validation people."
    display(session.table(scores, "frames", caption))  # noqa: F821

# %%
if len(frames):
    display(session.draw("frames"))  # noqa: F821

# %%
session.finish()

# %% [markdown]
# ## What we learnt
#
# * Compare the curves at equal labels, and the left end of one with the right end of another: the claim is about the latter.
# * A baseline tuned on inner validation people is harder to beat than a weak one, and worth more when beaten.
# * "10 % of the labels" is one thing for stills and another for frames of video, whose neighbours look alike: the two regimes are two claims, and an answer to one
#   is none to the other.
# * Two arms that both lie near guessing come "close" to each other for free. Read the table against the floor before the claim; notebook 11 does.
# * Smoothing sees only what lies inside one clip, and its window is a choice like any other: made on validation people. A window of 1 is an answer, too.
#
# ## Try it
#
# Paste this into a new cell after Run All, change the first lines, run it again.
#
# ```python
# from loupe.evaluation.protocols import subject_subset
#
# share = 0.1  # of the labels or of the people: try 0.02, 0.5
# val = split.rows(store.manifest, "val")
# for name, draw in (("labels", label_subset), ("people", subject_subset)):
#     rows = train[draw(store.labels[train], store.subjects[train], share, np.random.default_rng(0))]
#     reader = make_logistic_regression(0.01).fit(hog[rows], store.labels[rows])
#     score = macro_f1(store.labels[val], reader.predict(hog[val]), classes)
#     print(f"{share:.0%} of the {name}: {len(rows)} faces of {len(set(store.subjects[rows]))} people, macro-F1 {score:.3f} on validation people")
# ```
#
# ## Exercises
#
# 1. Add 0.05 to `fractions` in `conf/experiment/low_label.yaml`. Which cells run again?
# 2. Draw 10 % of the *people* with all their labels (`subject_subset`) instead of 10 % of the labels. Which is worth more?
# 3. Why are steps given by the label budget fairer than the same number of epochs for every share?
# 4. Which curve would you expect to gain most from twice as many people with the same number of labels?
# 5. Choose the smoothing window on the test people instead (look, do not keep it). Why is the gain that you see not the gain that a new person would see?
#
# <details><summary>Solutions</summary>
#
# 1. All cells of this stage: DVC sees a changed input. A killed run continues with finished cells, a changed one starts anew, so that nothing is mixed.
# 2. Usually many people with few labels each: faces vary more between people than within one.
# 3. With few labels an epoch is a handful of steps; equal epochs would compare untrained networks.
# 4. The one that overfits people: the network from scratch. Pre-training has already seen many faces without labels.
# 5. The best of several windows is partly the luckiest on these people; the luck stays behind. `choose_window` refuses such rows, so you must rename their split first.
#
# </details>
