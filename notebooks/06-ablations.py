# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 06 · Which part earns its place?
#
# ![One part is taken out, all else stays, and the change of the score is measured with its interval](pictures/06-ablations.svg)
#
# Take one part out, change nothing else, and see what is lost. Whole methods come from notebooks 03 and 05; this notebook trains only the mutilated ones:
#
# | arm | taken out |
# |---|---|
# | `concat-no-attention` | Fusion Attention: the two views meet token by token in the MLP only |
# | `concat-scratch` | MAE pre-training: the same dual-view network from random weights |
# | `micron-bert-full-attention` | the diagonal: ordinary cross attention between the frames instead of DMA |
# | `micron-bert-no-poi` | Patch of Interest ($W = a$) |
# | `micron-bert-untrained` | pre-training: the same network with random weights |
# | `micron-bert-masking` | swapping: a mask token stands where patches of the other frame stood (scales with `more: true`) |
#
# `micron-bert-no-poi` answers both tasks of notebook 05, which of the classes and whether there is a micro-expression at all: PoI is said to cut false alarms.
#
# An ablation that removes parameters also removes capacity; where that matters, notebook 03 has the matched control. Two more questions follow, both about
# pre-training: does it still help where **looks are new**, and where its **people are uneven** (scales with `more: true`)?
#
# With $m$ the metric on pooled predictions and $w$ the number of times each *person* is drawn, the effect of taking a part out is
# $\Delta = m(\text{without}) - m(\text{whole})$, its replicates are $\Delta(w)$ for resampled $w$, and the interval is read off their quantiles.
#
# **The formulas, line by line**
#
# * drawing people: `replicates = effect.resampled(subject_weights(n, resamples, rng))` (`src/loupe/evaluation/statistics.py`)
# * the interval: `np.quantile(replicates, norm.cdf(quantiles) if corrected is None else corrected)` (`src/loupe/evaluation/statistics.py`)
# * people of the upper half at dose $d$: `taken = int(np.floor(dose * count + 0.5))` (`src/loupe/data/skew.py`)

# %% tags=["parameters"]
overrides = []

# %%
import numpy as np
import pandas as pd

from loupe.data.clips import onset_and_apex
from loupe.data.conditions import SHIFTED
from loupe.data.skew import people_by_attribute, skewed_people, upper_half
from loupe.evaluation.claims import Cell, cell_predictions, read_predictions
from loupe.evaluation.effects import effect_of
from loupe.evaluation.predictions import joined
from loupe.evaluation.protocols import Split, label_subset, loso_folds
from loupe.evaluation.statistics import bootstrap_interval
from loupe.reporting import tables
from loupe.reporting.skew import skew_points
from loupe.reporting.spotting import spotting_scores
from loupe.session import start
from loupe.training.classifiers import classifier_step
from loupe.training.clip_steps import clip_predictions, head_step
from loupe.training.clip_tasks import clip_tasks
from loupe.training.features_classical import classical_step
from loupe.training.features_micron import micron_step
from loupe.training.micro import pretraining_step
from loupe.training.stills import StillData, cells_of

inputs = [f"data/prepared/{name}" for name in ("labelled", "clips", "micro", "micro_shift")]
inputs += ["data/runs/mae-face/pretraining/encoder.safetensors", "data/runs/micron-bert/pretraining/micron_bert.safetensors"]
session = start("ablations", overrides, inputs=[*inputs, *(f"data/runs/{stage}/predictions.parquet" for stage in ("dual-view", "micro-expressions"))])
cfg, experiment = session.config, session.config.experiments.ablations

# %% [markdown]
# ## Stills: fusion and pre-training

# %%
store = session.store("labelled")
split = Split.from_manifest(store.manifest)
train = split.rows(store.manifest, "train")
rows = train[label_subset(store.labels[train], store.subjects[train], experiment.fraction, np.random.default_rng(cfg.data.seed))]
scored = np.concatenate([split.rows(store.manifest, "val"), session.vault.open(split, store.manifest, "ablations of the dual view")])
data = StillData(session.prepared("labelled"), rows, scored, session.run("mae-face", "pretraining/encoder.safetensors"))
cells = cells_of(cfg, experiment.arms, experiment.fraction, data)

# %% [markdown]
# ## Clips: DMA, PoI, pre-training
#
# Each variant is pre-trained anew with the same seed, data and steps as the whole method; one pre-training a variant, which the claims table prints.

# %%
clips, micro = session.prepared("clips"), session.prepared("micro")
people = set(session.store("clips").subjects)
pairs = onset_and_apex(session.store("micro"), labelled_only=False)
folds = loso_folds(pairs.subjects, pretrain=people)
session.vault.open_folds(folds, session.store("micro").manifest, "ablations of Micron-BERT, leave one subject out")
tasks = clip_tasks(pairs, folds)
variants = [pretraining_step(f"pretraining-{arm.name}", clips, cfg, arm) for arm in experiment.micro if arm.pretrained]
made = session.make_all([*(cell.step(cfg, session.scratch) for cell in cells), *variants], "ablations")
stills = joined([cell.predictions(folder) for cell, folder in zip(cells, made, strict=False)])
pretrained = iter(made[len(cells) :])
weights = {arm.name: next(pretrained) / "micron_bert.safetensors" for arm in experiment.micro if arm.pretrained}

# %%
parts = []
for arm in experiment.micro:
    features = session.make(micron_step(arm.name, micro, weights.get(arm.name), cfg, arm)) / "features.npy"
    asked = [task for task in tasks.values() if task.name == "micro" or not arm.poi]  # of false alarms only PoI is claimed to be the cure
    origin = "micron-bert" if arm.pretrained else "none"
    parts += [clip_predictions(session.make(head_step(arm.name, task, features, cfg)), task, arm.name, pretraining=origin) for task in asked]
predictions = joined([stills, *parts])

# %% [markdown]
# ## What is lost without each part

# %%
runs = read_predictions(session.root / "data" / "runs") | {"ablations": predictions}
stills_whole, micro_whole = Cell("dual-view", "concat", experiment.fraction), Cell("micro-expressions", "micron-bert")
whole = {"stills": (stills_whole, "macro_f1", len(store.class_names)), "micro": (micro_whole, "uf1", 3)}
effects, compared = [], []
for task, (reference, metric, classes) in whole.items():
    full = cell_predictions(reference, task, runs)
    compared.append(full)
    for arm in experiment.arms if task == "stills" else experiment.micro:
        without = cell_predictions(Cell("ablations", arm.name, reference.fraction), task, runs)
        interval = bootstrap_interval(effect_of(without, full, metric, classes), np.random.default_rng(0), resamples=cfg.scale.statistics.resamples)
        effects.append({"task": task, "arm": arm.name, "metric": metric, "effect": interval.value, "low": interval.low, "high": interval.high})
        compared.append(without)
session.table(pd.DataFrame(effects), "effects", "Change of the score when a part is taken out, with 95 % intervals over people (seeds averaged inside).")

# %%
results = tables.results(joined(compared), {"stills": len(store.class_names), "micro": 3}, metrics=("macro_f1", "accuracy"))
session.table(results, "arms", "Whole methods and ablations: mean ± sd over seeds. For the micro task macro-F1 is UF1.")

# %% [markdown]
# Does PoI cut false alarms? Clips without a micro-expression hold what may set one off: head drift, blinks, twitches, a gaze that moves, flicker, noise. Their
# background stands still, so this says nothing of false alarms from a moving one.

# %%
if "spotting" in tasks:
    arms = [cell_predictions(Cell(*cell), "spotting", runs) for cell in (("micro-expressions", "micron-bert"), ("ablations", "micron-bert-no-poi"))]
    spotting = spotting_scores(joined(arms))
    display(session.table(spotting, "spotting", "Micro-expression or none, with and without PoI: AUROC (chance .5) and sensitivity at 5 % false alarms (chance .05), pooled over folds, mean ± sd over head seeds."))  # noqa: F821

# %%
session.write("predictions.parquet", predictions)
display(session.draw("effects-stills"), session.draw("effects-micro"))  # noqa: F821

# %% [markdown]
# ## Does pre-training still help where looks are new?
#
# So far the unlabelled clips look like the labelled ones. The clips of `micro_shift` show the same people in lights, before backgrounds, with hair and with patterns
# of action units that no generated training picture has (what imported unlabelled clips show, nobody knows). With $q$ for those looks, the claim is about
#
# $$\Delta_q = \mathrm{UF1}_q(\text{pre-trained}) - \mathrm{UF1}_q(\text{untrained}).$$
#
# Encoders stay as they are, pre-trained without $q$; each fold's head is trained on the other people's *shifted* clips and nothing else. Optical flow, which
# nobody pre-trains, stands beside them. Compare within a look: shifted clips are other clips, easier or harder by themselves.

# %%
shifted, unseen = session.store("micro_shift"), []
if len(shifted.manifest):
    looks = onset_and_apex(shifted, labelled_only=True)
    new_folds = loso_folds(looks.subjects, pretrain=people)
    session.vault.open_folds(new_folds, shifted.manifest, "pre-trained and untrained, looks that pre-training never showed, leave one subject out")
    new, settings = clip_tasks(looks, new_folds)["micro"], cfg.experiments.micro_expressions
    for name, file in (("micron-bert", session.run("micron-bert", "pretraining/micron_bert.safetensors")), ("micron-bert-untrained", None)):
        features = session.make(micron_step(f"{name}-{SHIFTED}", session.prepared("micro_shift"), file, cfg, labelled_only=True)) / "features.npy"
        folder = session.make(head_step(f"{name}-{SHIFTED}", new, features, cfg))
        unseen.append(clip_predictions(folder, new, name, condition=SHIFTED, pretraining="micron-bert" if file else "none"))
    flow = session.make(classical_step("flow-svm", session.prepared("micro_shift"), settings.flow_grid, labelled_only=True)) / "features.npy"
    unseen.append(clip_predictions(session.make(classifier_step("flow-svm", new, flow, cfg)), new, "flow-svm", condition=SHIFTED))
    usual = [cell_predictions(Cell(*cell), "micro", runs) for cell in (("micro-expressions", "micron-bert"), ("ablations", "micron-bert-untrained"), ("micro-expressions", "flow-svm"))]
    scores = tables.results(joined([*usual, *unseen]), 3, metrics=("uf1", "uar"))
    display(session.table(scores, "shift", "Usual and unseen looks, heads trained on clips that look alike: mean ± sd over head seeds, leave one subject out."))  # noqa: F821
else:
    print("The set micro_shift is empty here (scale.faces.shift_clips, or imported micro-expressions): its claim stays open.")

# %% [markdown]
# ## Does it still help when its people are uneven?
#
# The people of the unlabelled clips are ranked by skin tone and cut into two halves. At dose $d$, pre-training sees $k = \lfloor n/2 \rfloor$ of the $n$ people,
# $\lfloor d k + \tfrac12 \rfloor$ from the one half and the others from the other; people, frames and steps are as many at every dose. 50 % is even, at 100 % half of the tones is missing.
#
# Why skin tone: most pixels of a face take their colour from it, so it decides what the network sees. It is a number that our generator drew, and which half is the larger is
# arbitrary: this measures uneven data, and nothing about real groups of people. The doses compare with each other and with the untrained copy; `micron-bert` itself saw twice as many people.

# %%
tone, uneven = people_by_attribute(session.store("clips").manifest), []
if not experiment.skew:
    print("This scale pre-trains on no skewed people (more: false): the claim stays open.")
elif tone.isna().any():
    print("Nobody knows the skin tone of the people in these unlabelled clips (only generated ones have one): the claim stays open.")
else:
    skews = [pretraining_step(f"pretraining-dose-{dose:g}", clips, cfg, dose=dose) for dose in experiment.skew]
    for dose, folder in zip(experiment.skew, session.make_all(skews, "pre-training on skewed people"), strict=True):
        name = f"dose-{dose:g}"
        features = session.make(micron_step(name, micro, folder / "micron_bert.safetensors", cfg)) / "features.npy"
        said = session.make(head_step(name, tasks["micro"], features, cfg))
        uneven.append(clip_predictions(said, tasks["micro"], "micron-bert", pretraining="micron-bert", dose=dose))
    untrained = cell_predictions(Cell("ablations", "micron-bert-untrained"), "micro", runs)
    points = skew_points(joined([*uneven, untrained]), experiment.skew, 3, cfg.scale.statistics.resamples)
    chosen = {dose: set(skewed_people(tone, dose, cfg.data.seed)) for dose in experiment.skew}
    counts = pd.DataFrame([{"dose": dose, "n_upper": len(people & upper_half(tone)), "n_lower": len(people - upper_half(tone))} for dose, people in chosen.items()])
    seen = points.merge(counts.astype({"n_upper": "Int64", "n_lower": "Int64"}), how="left", on="dose")
    session.table(seen, "skew", "Pre-training people from the upper and the lower half of the tones, and UF1 with its 95 % interval over people left out; one pre-training a dose.")
session.write("predictions.parquet", joined([predictions, *unseen, *uneven]))

# %%
if uneven:
    display(seen.round(3), session.draw("skew"))  # noqa: F821
session.finish()

# %% [markdown]
# ## What we learnt
#
# * An interval that crosses 0 says: this study could not tell. It does not say the part is useless.
# * Variants of Micron-BERT rest on **one** pre-training each. Another seed might change the order; the claims table prints that n.
# * New looks and uneven people ask whether pre-training *still helps*, each against the untrained copy on the same clips. Whether it helps *less* than before is
#   another comparison, and a smaller effect: more people would have to be left out to see it.
#
# ## Try it
#
# Paste this into a new cell after Run All, change the first lines, run it again.
#
# ```python
# unit = "sample"  # the wrong unit: every clip counts as a person of its own; "subject" is the right one
# arms = [table.assign(subject=table[unit].astype(str)) for table in (without, full)]
# other = bootstrap_interval(effect_of(*arms, metric, classes), np.random.default_rng(0), resamples=cfg.scale.statistics.resamples)
# print(f"people: {interval.high - interval.low:.3f} wide; {unit}: {other.high - other.low:.3f} wide")
# ```
#
# ## Exercises
#
# 1. Add an arm `{name: concat-local-only, variant: concat, self_attention: false}` to `conf/experiment/ablations.yaml` and run `dvc repro ablations`. What is
#    its effect, and how much larger would it have to be for these people and seeds to show it?
# 2. Why is "untrained" the right rival for pre-training, and not the majority class?
# 3. Sort the parts by effect on *validation* people. Is the order that of the test people?
# 4. Three parts are removed one at a time. Why can their effects not be added up?
#
# <details><summary>Solutions</summary>
#
# 1. Read the width of its interval, not only its middle: an effect below about half that width cannot be told from none here. (The switch is a field of
#    `Arm` in `src/loupe/settings.py`; `build_classifier` lets it override `conf/model/dual_view.yaml` for this arm alone.)
# 2. It shares the architecture: a random network plus a linear head already reads differences of brightness.
# 3. With this few people, often not; that is why nothing may be chosen on test people.
# 4. They interact: attention may matter only with pre-training. One-at-a-time effects say what each is worth *in the presence of the others*.
#
# </details>
