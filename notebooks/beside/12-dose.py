# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 12 · How much pre-training does it take?
#
# The laptop study stops pre-training when its hour is spent, not when the network has learnt what it can. So what
# would a larger budget change? Here MAE-Face is pre-trained again with a fraction or a multiple of the study's
# pictures, and each encoder is read in two ways: **fine-tuned** (the single view of notebook 07, all seeds) and
# **frozen** with a linear probe. Networks from scratch, a small CNN and HOG, which need no pre-training, stand beside
# the curve.
#
# This notebook is no stage of the study: `dvc repro` leaves it alone, and `make dose` runs it when stages data,
# mae-face and low-label are done. At laptop scale it takes hours, most of them for the largest dose. Doses run in
# order of size and each is kept when it is whole: interrupted, the same command goes on.
#
# A dose is a schedule of its own, not a longer look at one run: a learning rate that was still high when a run was
# cut off would make less pre-training look worse than it is. With $E$ epochs and $W$ epochs of warm-up in the study,
# dose $k$ has $\max(1, \lceil k E \rfloor)$ and $\lceil k W \rfloor$, and the rate falls to 0 at its own end.
#
# **The formulas, line by line**
#
# * a dose is `longer = replace(mae, epochs=max(1, round(times * mae.epochs)), warmup_epochs=round(times * mae.warmup_epochs))`
#   (`src/loupe/training/dose.py`)
# * the rate is `down = floor + (peak - floor) * 0.5 * (1 + np.cos(np.pi * t))` (`src/loupe/training/schedules.py`)

# %% tags=["parameters"]
overrides = []

# %%
import numpy as np

from loupe.evaluation.predictions import joined
from loupe.evaluation.protocols import Split, label_subset
from loupe.reporting.dose import dose_curves, dose_points
from loupe.reporting.drawing import save
from loupe.reporting.selection import usual
from loupe.session import start
from loupe.training import dose

session = start("dose", overrides)
cfg, stills, store = session.config, session.prepared("stills"), session.store("labelled")
study, rivals = session.run("mae-face", "pretraining/encoder.safetensors"), usual(session.predictions("low-label"))
doses = sorted(cfg.experiments.low_label.doses)
faces = int((session.store("stills").manifest["split"] == "pretrain").sum())
seen = {times: dose.pictures_seen(cfg, times, faces) for times in doses}
print({f"{times:g}": count for times, count in seen.items()}, "pictures seen")

# %% [markdown]
# ## Who learns, and who is asked
#
# The people and rows are those of notebook 07: a tenth of the labels and all of them. Test people come out of the
# vault, which writes down that they were opened here, too. Nothing is chosen on them: all doses are shown.

# %%
split = Split.from_manifest(store.manifest)
train = split.rows(store.manifest, "train")
test = session.vault.open(split, store.manifest, "dose of pre-training")
asked = np.concatenate([split.rows(store.manifest, "val"), test])
subsets = {}
for share in (cfg.experiments.dual_view.fraction, 1.0):
    kept = label_subset(store.labels[train], store.subjects[train], share, np.random.default_rng(cfg.data.seed))
    subsets[share] = train[kept]

# %% [markdown]
# ## Every dose
#
# Dose 1 is the study's own encoder and is read, not trained again. Dose 0 is the same network as it is drawn at
# random, fine-tuned by the same recipe as the others; the line *from scratch* has three times its steps and a rate of
# its own, the better recipe for a network that has seen nothing.

# %%
answers = []
for times in doses:
    encoder = study if times == 1 else session.make(dose.dosed_step(stills, cfg, times)) / "encoder.safetensors"
    answers.append(dose.dose_answers(session, encoder, times, subsets, asked))
    print(f"{times:g} times the pictures: {len(answers[-1])} predictions")
answers = joined(answers)
session.write("answers.parquet", answers)

# %%
rivals = rivals[rivals["arm"].isin(("scratch", "small-cnn", "hog")) & rivals["fraction"].isin(list(subsets))]
tested = (table[(table["split"] == "test") & (table["task"] == "stills")] for table in (answers, rivals))
points = dose_points(*tested, len(store.class_names), cfg.scale.statistics.resamples)
told = points.assign(pictures=points["times"].map(seen).astype("Int64"))
caption = "Macro-F1 on test people over pictures seen in pre-training (times the study's), with 95 % intervals over "
caption += "people and seeds; one pre-training a dose. Without times: arms of stage low-label that need none."
drawing = dose_curves(points)
display(session.table(told, "points", caption), drawing)  # noqa: F821
if session.batch:
    save(drawing, session.figures, "curves")
session.finish()

# %% [markdown]
# ## What we learnt
#
# * Read the curve at its right end: whether it still rises tells what a larger budget would change, and the lines say
#   whether that would be enough to pass a rival without pre-training.
# * One pre-training stands behind each dose. A dip between two neighbours may be that run's luck; a trend over several
#   doses is not.
#
# ## Try it
#
# Paste this into a new cell after Run All, change the first lines, run it again.
#
# ```python
# arm, share = dose.PROBE, 1.0  # or dose.FINE_TUNED, cfg.experiments.dual_view.fraction
# curve = points[(points["arm"] == arm) & (points["fraction"] == share)].set_index("times")["value"]
# for fewer, more in zip(doses[1:], doses[2:]):
#     print(f"{fewer:g} to {more:g}: {curve[more] - curve[fewer]:+.3f} for each doubling")
# ```
#
# ## Exercises
#
# 1. Why is dose 1/2 not simply the study's run, stopped half way?
# 2. The probe may gain from a dose that fine-tuning hardly notices. Why?
# 3. At which dose does the curve pass HOG, and does the interval agree?
# 4. Add 0.0625 to `doses` in `conf/experiment/low_label.yaml` and run again. What is computed?
#
# <details><summary>Solutions</summary>
#
# 1. Half way its learning rate is still high, and weights at a high rate are worse than those at its end. One would
#    measure the schedule, not the dose.
# 2. Fine-tuning can repair an encoder with labels, a probe cannot: it shows what pre-training alone has laid open.
# 3. Read the table: the point must lie above the line, and whether people and seeds leave that standing is a
#    difference with an interval of its own (notebook 11), not two bands that part.
# 4. The new encoder, its features, probes and cells. All other doses are found under their keys.
#
# </details>
