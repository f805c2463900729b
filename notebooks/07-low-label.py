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
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd

from loupe.data.store import read_store
from loupe.evaluation.guards import Vault
from loupe.evaluation.metrics import macro_f1
from loupe.evaluation.protocols import Split, every_kth_frame, label_subset, subject_subset
from loupe.evaluation.smoothing import smooth_arms
from loupe.models.baselines.au_oracle import features_au
from loupe.models.baselines.hog import features_hog
from loupe.models.baselines.linear import choose_setting, class_probabilities, make_logistic_regression, make_majority
from loupe.reporting import tables
from loupe.reporting.curves import low_label_curves, low_label_points
from loupe.reporting.drawing import save
from loupe.reporting.timeline import clip_timeline
from loupe.session import start
from loupe.training.build import build_encoder
from loupe.training.checkpoint import load_weights
from loupe.training.device import resolve_device, workers_on
from loupe.training.jobs import run_jobs
from loupe.training.mae_face import pooled_features
from loupe.training.stills import cell_jobs, prediction_table, view_name
from loupe.training.video_frames import probe, stored_every, why_not

session = start("low-label", overrides, inputs=["data/prepared/labelled", "data/prepared/macro", "data/runs/mae-face/encoder.safetensors", "data/runs/dual-view/predictions.parquet"])
cfg, bench = session.config, session.bench
experiment = cfg.experiments.low_label
store = read_store(session.prepared("labelled"))
classes = len(store.class_names)
split = Split.from_manifest(store.manifest)
train = split.rows(store.manifest, "train")
test = Vault("low-label", session.root / "data" / "logs" / "vault.jsonl").open(split, store.manifest, "low-label curves")
scored = np.concatenate([split.rows(store.manifest, "val"), test])
subsets = {fraction: train[label_subset(store.labels[train], store.subjects[train], fraction, np.random.default_rng(cfg.data.seed))] for fraction in experiment.fractions}
print({f"{fraction:.0%}": len(rows) for fraction, rows in subsets.items()}, "labels")
# In a small study several shares are the same few labels: what is trained on them is trained once, for the first of these shares.
first_with = {fraction: next(other for other, same in subsets.items() if np.array_equal(same, rows)) for fraction, rows in subsets.items()}

# %% [markdown]
# ## Networks

# %%
twin = {"mae": "single", "mae-fusion": "concat"}
finished = pd.read_parquet(session.output_of("dual-view") / "predictions.parquet")
shared = cfg.experiments.dual_view.fraction
reused = [finished[finished["arm"] == old].assign(arm=new) for new, old in twin.items() if shared in subsets and any(arm.name == new for arm in experiment.arms)]
jobs = []
for fraction in dict.fromkeys(first_with.values()):
    rows, arms = subsets[fraction], [arm for arm in experiment.arms if not (fraction == shared and arm.name in twin)]
    jobs += cell_jobs(bench, cfg, arms, fraction, rows, scored, session.prepared("labelled"), session.output_of("mae-face") / "encoder.safetensors")
for share in experiment.people:  # the other regime: all labels of a share of the people; its arms have names of their own, so that no curve mixes the two
    rows = train[subject_subset(store.labels[train], store.subjects[train], share, np.random.default_rng(cfg.data.seed))]
    arms = [replace(arm, name=f"{arm.name}-people") for arm in experiment.arms if arm.name in ("scratch", "mae-fusion")]
    print(f"{share:.0%} of the people: {len(rows)} labels of {len(set(store.subjects[rows]))} people")
    jobs += cell_jobs(bench, cfg, arms, share, rows, scored, session.prepared("labelled"), session.output_of("mae-face") / "encoder.safetensors")
run_jobs(jobs, "low-label cells", workers=workers_on(resolve_device(cfg.scale.device), cfg.scale.workers))
cells = bench.cells()
networks = pd.concat([cells[cells["task"] == "stills"], *reused], ignore_index=True)
again = [
    part.assign(fraction=fraction)
    for fraction, first in first_with.items()
    for arm, part in networks[networks["fraction"] == first].groupby("arm")
    if fraction != first and not (arm.endswith("-people") or (fraction == shared and arm in twin))
]
networks = pd.concat([networks, *again], ignore_index=True)

# %% [markdown]
# ## Without a network, and the floor and ceiling
#
# The **AU oracle** gets the true action units: what a perfect reader of the face could make of these labels. The **majority** class is the floor.

# %%
manifest = store.manifest
hog = features_hog(np.asarray(store.images))


def classical(name: str, features: np.ndarray, fraction: float) -> pd.DataFrame:
    rows = subsets[fraction]
    x, y, people = features[rows], store.labels[rows], store.subjects[rows]
    fewest = np.bincount(y, minlength=classes).min()
    # With one label a class nothing can be held out to choose on; the middle of the grid then stands in.
    c = choose_setting(make_logistic_regression, x, y, people, grid=sorted(experiment.hog_c), folds=min(4, fewest)) if fewest > 1 else experiment.hog_c[len(experiment.hog_c) // 2]
    scores = class_probabilities(make_logistic_regression(c).fit(x, y), features[scored], classes)
    return prediction_table("stills", name, fraction, 0, manifest.iloc[scored], scores)


fitted = {fraction: classical("hog", hog, fraction) for fraction in dict.fromkeys(first_with.values())}
baselines = [fitted[first].assign(fraction=fraction) for fraction, first in first_with.items()]
has_units = cfg.data.source == "generated"
if has_units:
    units = features_au(list(manifest["au"]))
    baselines += [classical("au-oracle", units, max(subsets))]
everything = subsets[max(subsets)]
floor = class_probabilities(make_majority().fit(hog[everything], store.labels[everything]), hog[scored], classes)
baselines += [prediction_table("stills", "majority", max(subsets), 0, manifest.iloc[scored], floor)]
predictions = pd.concat([networks, *baselines], ignore_index=True)

# %%
results = tables.results(predictions, classes)
tables.write(results, session.tables, "arms", "Few labels: mean ± sd over seeds, people unseen in training.")
tables.readable(results[results["split"] == "test"])

# %%
tested = predictions[predictions["split"] == "test"]
curve_arms = tested[~tested["arm"].isin(["au-oracle", "majority"]) & ~tested["arm"].str.endswith("-people")]
points = low_label_points(curve_arms, classes, np.random.default_rng(0), resamples=cfg.scale.statistics.resamples)
level = {name: macro_f1(part["label"], part["pred"], classes) for name, part in tested.groupby("arm") if name in ("au-oracle", "majority")}
figure = low_label_curves(
    points, floor=level["majority"], ceiling=level.get("au-oracle"),
    caption=f"Macro-F1 on {len(split.test)} unseen people over the share of labels; bands: 95 % over people, seeds averaged inside. "
    + ("Dotted: AU oracle with all labels (ceiling) and majority class (floor)." if has_units else "Dotted: majority class (floor)."),
)  # fmt: skip
save(figure, session.figures, "curves")
figure

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
video, frames = read_store(session.prepared("macro")), predictions[:0]
shown, regime, reason = video.manifest, experiment.frames, why_not(video.manifest, store.class_names)
if reason:
    print(f"Frames of video are left out, and their claims stay open: {reason}.")
else:
    people = Split.from_manifest(shown)
    train_frames = people.rows(shown, "train")
    opened = Vault("low-label", session.root / "data" / "logs" / "vault.jsonl").open(people, shown, "every k-th frame of video against all frames, and smoothing over time")
    asked = np.concatenate([people.rows(shown, "val"), opened])
    some = train_frames[every_kth_frame(*(shown[column].to_numpy()[train_frames] for column in ("clip", "frame")), regime.every)]
    budgets, thinned = {1 / regime.every: some, 1.0: train_frames}, stored_every(shown)
    print(f"{len(some)} of {len(train_frames)} stored training frames; 1 in {thinned} frames of the video is stored, so these are 1 in {thinned * regime.every} of the video's")
    encoder = build_encoder(cfg)
    load_weights(session.output_of("mae-face") / "encoder.safetensors", encoder)
    features = pooled_features(encoder.to(resolve_device(cfg.scale.device)), np.array(video.images))
    for share, rows in budgets.items():
        bench.cell(f"probe-frames-{share}-0", partial(probe, "probe-frames", share, features, shown, rows, asked, regime.probe_c, classes))
    arms = [arm for arm in regime.arms if view_name(arm, cfg) != "camera"]  # no second camera took the clips
    jobs = []
    for share, rows in budgets.items():
        jobs += cell_jobs(bench, cfg, arms, share, rows, asked, session.prepared("macro"), session.output_of("mae-face") / "encoder.safetensors", task="frames")
    run_jobs(jobs, "cells on frames of video", workers=workers_on(resolve_device(cfg.scale.device), cfg.scale.workers))
    cells = bench.cells()
    raw = cells[cells["task"] == "frames"]
    smooth, windows = smooth_arms(raw, shown.set_index("sample")["frame"], regime.windows, classes)
    frames = pd.concat([raw, smooth], ignore_index=True)
bench.write("predictions.parquet", pd.concat([predictions, frames], ignore_index=True))

# %%
if len(frames):
    scores = tables.results(frames, classes).merge(windows, how="left", on=["arm", "fraction"]).fillna({"window": 1}).astype({"window": int})
    tables.write(scores, session.tables, "frames", f"Frames of video: mean ± sd over seeds, people unseen in training; labels: share of the stored training frames (1 in {thinned} of the video's); window: stored frames, chosen on the validation people.")
    display(tables.readable(scores[scores["split"] == "test"]))  # noqa: F821

# %%
if len(frames):
    chosen = windows[windows["arm"] == "probe-frames-smoothed"]
    figure = clip_timeline(
        frames, shown, store.class_names,
        caption="A clip of a person unseen in training, the one that shows the most classes: above, the true class and those predicted by the probe, below, the probability of the true class. "
        + f"Windows that validation people chose, in stored frames: {', '.join(f'{row.window} (trained on {row.fraction:.0%})' for row in chosen.itertuples())}.",
    )  # fmt: skip
    save(figure, session.figures, "frames")
    display(figure)  # noqa: F821

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
