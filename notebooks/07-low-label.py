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
# The promise of Emotic MAE is a good reader of faces from under a tenth of the labels. Here the share of labels
# shrinks from all to a few in each class, and these ways to use them compete (the last two where the scale says
# `more: true`: what of them fits into a laptop's hour would be rivals trained too briefly):
#
# * **from scratch**: the same network, random start;
# * **HOG + logistic regression**: no network at all, regularisation chosen on inner validation people;
# * **MAE**: the single view, started from notebook 02;
# * **MAE + fusion**: the dual view of notebook 03;
# * **small CNN**: a convolutional network from scratch, on the labels alone;
# * **FixMatch** (arXiv 2001.07685): the same CNN, which also learns from the unlabelled faces of notebook 02. Without
#   it only MAE would have seen them, and a gain over the others could be one of more faces.
#
# With $B$ labelled faces $x$ and $\mu B$ unlabelled ones $u$ a step, $q = p(\text{weak } u)$ and
# $\hat y = \arg\max q$, FixMatch learns from its own guesses where they are sure:
#
# $$H(y, p(\text{weak } x)) + \frac{\lambda}{\mu B} \sum_u 1[\max q \ge \tau]\; H(\hat y, p(\text{strong } u))$$
#
# Shares are nested (2 % lies inside 10 %) and stratified by class, at least one a class. The number of steps
# follows from the label budget. A network from scratch starts further away and gets more of them (`scratch_times`
# in `conf/scale`): at equal steps it is a straw man, not a rival. The cells at the share of notebook 03 were
# trained there and are read, not trained twice.
#
# With the labelled rows of class $c$ in one fixed random order $\pi_c$, the share $f$ takes its head, so that
# smaller shares lie inside larger ones:
# $T_f = \bigcup_c \{\pi_c(1), \dots, \pi_c(\max(1, \lceil f n_c \rfloor))\}$.
#
# **The formula, line by line**
#
# * $\pi_c$ is `rows = rng.permutation(np.flatnonzero(values == label))`, people taking turns
#   (`src/loupe/evaluation/protocols.py`)
# * its head is `kept.append(rows[: _share(fraction, rows.size)])` (`src/loupe/evaluation/protocols.py`)
# * each term of the sum over $u$ is `functional.cross_entropy(theirs, guess, reduction="none") * counts`, with
#   `counts` from `sure >= threshold` (`src/loupe/training/fixmatch.py`)

# %% tags=["parameters"]
overrides = []

# %%
import numpy as np
import torch

from loupe.evaluation import predictions as schema
from loupe.evaluation.protocols import Split, label_subset, subject_subset
from loupe.reporting import tables
from loupe.reporting.selection import usual
from loupe.session import start
from loupe.training import fixmatch, probes, stills, video_frames

inputs = [f"data/prepared/{name}" for name in ("stills", "labelled", "macro")]
session = start("low-label", overrides, inputs=[*inputs, "data/runs/mae-face/pretraining", "data/runs/dual-view"])
cfg, experiment = session.config, session.config.experiments.low_label
folder, store = session.prepared("labelled"), session.store("labelled")

# %%
classes, split = len(store.class_names), Split.from_manifest(store.manifest)
train = split.rows(store.manifest, "train")
test = session.vault.open(split, store.manifest, "low-label curves")
scored = np.concatenate([split.rows(store.manifest, "val"), test])


def subset(draw, share):
    """The training rows that `draw` keeps: a share of the labels, or of the people."""
    rng = np.random.default_rng(cfg.data.seed)
    return train[draw(store.labels[train], store.subjects[train], share, rng)]


subsets = {share: subset(label_subset, share) for share in experiment.fractions}
print({f"{share:.0%}": len(rows) for share, rows in subsets.items()}, "labels")

# %% [markdown]
# ## One arm in plain code
#
# What a cell of the table below does, without its bookkeeping: the pre-trained encoder, a new linear head, and a
# few dozen steps of AdamW on a handful of faces. The head sees the mean of the patch tokens here; in the study it
# sees the means of 4 × 4 cells (notebook 03). That the loss falls to almost nothing says that sixteen faces can be
# learnt by heart, and nothing about other people.

# %%
from loupe.data.augment import to_float
from loupe.training.build_mae import build_encoder
from loupe.training.checkpoint import load_weights

torch.manual_seed(0)
handful = subsets[max(subsets)][:16]
faces, labels = to_float(torch.from_numpy(np.array(store.images[handful]))), torch.tensor(store.labels[handful])
network, head = build_encoder(cfg), torch.nn.Linear(cfg.scale.encoder.width, classes)
load_weights(session.run("mae-face", "pretraining/encoder.safetensors"), network)
optimizer = torch.optim.AdamW([*network.parameters(), *head.parameters()], lr=1e-3)
for step in range(41):
    loss = torch.nn.functional.cross_entropy(head(network.pooled(faces)), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    print(f"step {step}: loss {loss.item():.2f}") if step % 10 == 0 else None

# %% [markdown]
# ## All networks
#
# A cell is one arm, one share and one seed. A finished cell is kept by what it depends on (`src/loupe/steps.py`):
# running this again reads it. Arms that notebook 03 has trained at its share are read from there.

# %%
encoder, shared = session.run("mae-face", "pretraining/encoder.safetensors"), cfg.experiments.dual_view.fraction
twin = {"mae": "single", "mae-fusion": "concat"}
others = fixmatch.unlabelled_faces(session.prepared("stills"), split)
if others is None:
    print("There are no unlabelled faces (set `stills`): FixMatch is left out, and its claims stay open.")
cells = []
for share, rows in subsets.items():
    arms = [arm for arm in experiment.arms if not (share == shared and arm.name in twin)]
    data = stills.StillData(folder, rows, scored, encoder)
    cells += stills.cells_of(cfg, arms, share, data) + fixmatch.cnn_cells(cfg, share, data, others)
for share in experiment.people:  # the other regime: all labels of a share of the people
    data = stills.StillData(folder, subset(subject_subset, share), scored, encoder)
    arms = [arm for arm in experiment.arms if arm.name in ("scratch", "mae-fusion")]
    cells += stills.cells_of(cfg, arms, share, data, regime="people")
folders = session.make_all([cell.step(cfg, session.scratch) for cell in cells], "low-label cells")
finished = usual(session.predictions("dual-view"))
finished = finished[finished["split"] != "train"]
reused = [finished[finished["arm"] == old].assign(arm=new) for new, old in twin.items() if shared in subsets]
networks = schema.joined([stills.cell_predictions(cells, folders), *reused])

# %% [markdown]
# ## Without a network, and the floor and ceiling
#
# The **AU oracle** gets the true action units: what a perfect reader of the face could make of these labels. The
# **majority** class is the floor. With one label a class nothing can be held out to choose C on; the middle of
# the grid then stands in.

# %%
def classical(kind, share):
    """HOG, true action units or nothing, and logistic regression or the most frequent class."""
    rows, features = subsets[share], session.make(probes.feature_step(kind, folder)) / "features.npy"
    fewest = int(np.bincount(store.labels[rows], minlength=classes).min())
    grid = () if kind == "majority" else tuple(experiment.hog_c)
    probe = probes.Probe(folder, features, rows, scored, grid, folds=min(4, fewest))
    said = probe.answers(session.make(probe.step(f"{kind}-{share:g}")))
    return schema.labelled(said, schema.Label("stills", kind, share))


levels = ["au-oracle", "majority"] if cfg.data.source == "generated" else ["majority"]
baselines = [classical("hog", share) for share in subsets] + [classical(kind, max(subsets)) for kind in levels]
predictions = schema.joined([networks, *baselines])
session.write("predictions.parquet", predictions)

# %%
results = tables.results(predictions, classes)
display(session.table(results, "arms", "Few labels: mean ± sd over seeds, people unseen in training."))  # noqa: F821
session.draw("curves")

# %% [markdown]
# ## Frames of video: another regime
#
# "Under a tenth of the labels" of Aff-Wild2 means every $k$-th *frame*. Neighbouring frames show one face in
# almost one state, so most of what the other nine could teach is in the tenth already; on stills of one person
# each is a new picture. Two questions, two claims:
#
# * does every tenth stored frame come close to all of them? With the training frames of all clips laid end to
#   end, $F_k = (1, 1 + k, 1 + 2k, \dots)$. Close means: it loses less than the smallest effect of interest.
# * do scores gain where each frame's probabilities become their mean over a window of $w$ stored frames of the
#   clip, $\bar p_t = \frac{1}{|W_t|} \sum_{s \in W_t} p_s$ with $W_t = \{s : |s - t| \le (w - 1) / 2\}$ cut off
#   at the ends of the clip? $w$ is chosen on validation people, for each arm and share, and applied to test
#   people once.
#
# The study's video is stored thinned out already (the line printed below says how much), so that a tenth of the
# stored frames is far less than a tenth of the video's, and neighbours differ more than in film: both questions
# are asked of *stored* frames. At every scale a **probe** answers: logistic regression on the frozen features of
# MAE-Face, its C chosen on inner people. Where the scale says `more: true`, the dual view of notebook 03 is
# fine-tuned on the same frames, too.
#
# **The formulas, line by line**
#
# * $F_k$ is `np.sort(order[::k])` (`src/loupe/evaluation/protocols.py`)
# * $\bar p_t$ is `result[order] = total / count[:, None]` (`src/loupe/evaluation/smoothing.py`)


# %%
video, regime = session.store("macro"), experiment.frames
reason, frames = video_frames.why_not(video.manifest, store.class_names), predictions[:0]
if reason:
    print(f"Frames of video are left out, and their claims stay open: {reason}.")
else:
    budgets, asked = video_frames.budgets(video.manifest, regime.every, session.vault)
    frames, windows = video_frames.frame_predictions(session, budgets, asked, encoder)
session.write("predictions.parquet", schema.joined([predictions, frames]))

# %%
if len(frames):
    scores = tables.results(frames, classes).merge(windows, how="left", on=["arm", "fraction", "smoothed"])
    scores = scores.fillna({"window": 1}).astype({"window": int})
    caption = "Frames of video: mean ± sd over seeds, people unseen in training; labels: share of the stored training "
    caption += f"frames (1 in {video_frames.stored_every(video.manifest)} of the video's); "
    caption += "window: stored frames, chosen on the validation people."
    display(session.table(scores, "frames", caption), session.draw("frames"))  # noqa: F821
session.finish()

# %% [markdown]
# ## What we learnt
#
# * Compare the curves at equal labels, and the left end of one with the right end of another: the claim is about
#   the latter.
# * A baseline tuned on inner validation people is harder to beat than a weak one, and worth more when beaten.
# * "10 % of the labels" is one thing for stills and another for frames of video, whose neighbours look alike: the
#   two regimes are two claims, and an answer to one is none to the other.
# * Two arms that both lie near guessing come "close" to each other for free. Read the table against the floor
#   before the claim; notebook 11 does.
# * Smoothing sees only what lies inside one clip, and its window is a choice like any other: made on validation
#   people. A window of 1 is an answer, too.
#
# ## Try it
#
# Paste this into a new cell after Run All, change the first lines, run it again.
#
# ```python
# from loupe.evaluation.metrics import macro_f1
# from loupe.models.baselines.linear import make_logistic_regression
#
# share = 0.1  # of the labels or of the people: try 0.02, 0.5
# hog = np.load(session.make(probes.feature_step("hog", folder)) / "features.npy")
# val = split.rows(store.manifest, "val")
# for name, draw in (("labels", label_subset), ("people", subject_subset)):
#     rows = subset(draw, share)
#     reader = make_logistic_regression(0.01).fit(hog[rows], store.labels[rows])
#     score = macro_f1(store.labels[val], reader.predict(hog[val]), classes)
#     print(f"{share:.0%} of the {name}: {len(rows)} faces, macro-F1 {score:.3f} on validation people")
# ```
#
# ## Exercises
#
# 1. Add 0.05 to `fractions` in `conf/experiment/low_label.yaml`. Which cells run again?
# 2. Draw 10 % of the *people* with all their labels (`subject_subset`) instead of 10 % of the labels. Which is
#    worth more?
# 3. Why are steps given by the label budget fairer than the same number of epochs for every share?
# 4. Which curve would you expect to gain most from twice as many people with the same number of labels?
# 5. Choose the smoothing window on the test people instead (look, do not keep it). Why is the gain that you see
#    not the gain that a new person would see?
#
# <details><summary>Solutions</summary>
#
# 1. The stage runs again, for DVC sees a changed input; of its cells only those at the new share, since a finished
#    cell is kept by what it depends on.
# 2. Usually many people with few labels each: faces vary more between people than within one.
# 3. With few labels an epoch is a handful of steps; equal epochs would compare untrained networks.
# 4. The one that overfits people: the network from scratch. Pre-training has already seen many faces without
#    labels.
# 5. The best of several windows is partly the luckiest on these people; the luck stays behind. `choose_window`
#    refuses such rows, so you must rename their split first.
#
# </details>
