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
# An ablation that removes parameters also removes capacity; where that matters, notebook 03 has the matched control.
#
# With $m$ the metric on pooled predictions and $w$ the number of times each *person* is drawn, the effect of taking a part out is
# $\Delta = m(\text{without}) - m(\text{whole})$, its replicates are $\Delta(w)$ for resampled $w$, and the interval is read off their quantiles.
#
# **The formulas, line by line**
#
# * drawing people: `replicates = effect.resampled(subject_weights(n, resamples, rng))` (`src/loupe/evaluation/statistics.py`)
# * the interval: `np.quantile(replicates, norm.cdf(quantiles) if corrected is None else corrected)` (`src/loupe/evaluation/statistics.py`)

# %% tags=["parameters"]
overrides = []

# %%
import numpy as np
import pandas as pd

from loupe.data.clips import onset_and_apex
from loupe.data.store import read_store
from loupe.evaluation.claims import Cell, cell_predictions, read_predictions
from loupe.evaluation.effects import effect_of
from loupe.evaluation.guards import Vault
from loupe.evaluation.protocols import Split, label_subset, loso_folds
from loupe.evaluation.statistics import bootstrap_interval
from loupe.reporting import tables
from loupe.reporting.drawing import save
from loupe.reporting.effects import ablation_effects
from loupe.reporting.spotting import spotting_scores
from loupe.session import start
from loupe.training.build import build_micron_bert
from loupe.training.checkpoint import load_weights
from loupe.training.clip_tasks import clip_tasks, head_predictions
from loupe.training.device import resolve_device, workers_on
from loupe.training.jobs import Job, run_jobs
from loupe.training.micro import onset_apex_features, pretrain_variant
from loupe.training.stills import cell_jobs

session = start(
    "ablations", overrides,
    inputs=["data/prepared/labelled", "data/prepared/clips", "data/prepared/micro", "data/runs/mae-face/encoder.safetensors", "data/runs/dual-view/predictions.parquet", "data/runs/micro-expressions/predictions.parquet"],
)  # fmt: skip
cfg, bench = session.config, session.bench
experiment = cfg.experiments.ablations
device = resolve_device(cfg.scale.device)
vault = Vault("ablations", session.root / "data" / "logs" / "vault.jsonl")
options = dict(workers=workers_on(device, cfg.scale.workers))

# %% [markdown]
# ## Stills: fusion and pre-training

# %%
store = read_store(session.prepared("labelled"))
split = Split.from_manifest(store.manifest)
train = split.rows(store.manifest, "train")
rows = train[label_subset(store.labels[train], store.subjects[train], experiment.fraction, np.random.default_rng(cfg.data.seed))]
scored = np.concatenate([split.rows(store.manifest, "val"), vault.open(split, store.manifest, "ablations of the dual view")])
jobs = cell_jobs(bench, cfg, experiment.arms, experiment.fraction, rows, scored, session.prepared("labelled"), session.output_of("mae-face") / "encoder.safetensors")
run_jobs(jobs, "ablations, stills", **options)
stills = bench.cells()

# %% [markdown]
# ## Clips: DMA, PoI, pre-training
#
# Each variant is pre-trained anew with the same seed, data and steps as the whole method; one pre-training a variant, which the claims table prints.

# %%
clips, micro = session.prepared("clips"), read_store(session.prepared("micro"))
pairs = onset_and_apex(micro, labelled_only=False)
folds = loso_folds(pairs.subjects, pretrain=set(read_store(clips).subjects))
vault.open(folds[0], micro.manifest, f"ablations of Micron-BERT, leave one subject out, all {len(folds)} folds")
seed = cfg.scale.seeds[0]
weights = {arm.name: bench.folder / "weights" / f"{arm.name}.safetensors" for arm in experiment.micro if arm.pretrained}
run_jobs(
    [Job(weights[arm.name], pretrain_variant, (weights[arm.name], cfg, clips, seed, bench.checkpoint(arm.name), arm)) for arm in experiment.micro if arm.pretrained],
    "ablations, Micron-BERT pre-training", **options,
)  # fmt: skip

# %%
parts, tasks = [], clip_tasks(pairs)
for arm in experiment.micro:
    model = build_micron_bert(cfg, seed, arm.dma, arm.poi, arm.corruption)
    if arm.pretrained:
        load_weights(weights[arm.name], model)
    features = onset_apex_features(model.to(device), pairs.onset, pairs.apex)
    asked = [task for task in tasks.values() if task.name == "micro" or not arm.poi]  # of false alarms only PoI is claimed to be the cure
    parts += [head_predictions(task, arm.name, features, cfg) for task in asked]
predictions = pd.concat([stills, *parts], ignore_index=True)
bench.write("predictions.parquet", predictions)

# %% [markdown]
# ## What is lost without each part

# %%
runs = read_predictions(session.root / "data" / "runs") | {"ablations": predictions}
whole = {"stills": (Cell("dual-view", "concat", experiment.fraction), "macro_f1", len(store.class_names)), "micro": (Cell("micro-expressions", "micron-bert"), "uf1", 3)}
effects, shown = [], []
for task, (reference, metric, classes) in whole.items():
    full = cell_predictions(reference, task, runs)
    for arm in experiment.arms if task == "stills" else experiment.micro:
        fraction = experiment.fraction if task == "stills" else 1.0
        without = cell_predictions(Cell("ablations", arm.name, fraction), task, runs)
        interval = bootstrap_interval(effect_of(without, full, metric, classes), np.random.default_rng(0), resamples=cfg.scale.statistics.resamples)
        effects.append({"task": task, "arm": arm.name, "metric": metric, "effect": interval.value, "low": interval.low, "high": interval.high})
    shown += [full, *[cell_predictions(Cell("ablations", arm.name, experiment.fraction if task == "stills" else 1.0), task, runs) for arm in (experiment.arms if task == "stills" else experiment.micro)]]
effects = pd.DataFrame(effects)
tables.write(effects, session.tables, "effects", "Change of the score when a part is taken out, with 95 % intervals over people (seeds averaged inside).")
effects.round(3)

# %%
results = tables.results(pd.concat(shown, ignore_index=True), {"stills": len(store.class_names), "micro": 3}, metrics=("macro_f1", "accuracy"))
tables.write(results, session.tables, "arms", "Whole methods and ablations: mean ± sd over seeds. For the micro task macro-F1 is UF1.")
tables.readable(results)

# %% [markdown]
# Does PoI cut false alarms? Clips without a micro-expression hold what may set one off: head drift, blinks, twitches, a gaze that moves, flicker, noise. Their
# background stands still, so this says nothing of false alarms from a moving one.

# %%
if "spotting" in tasks:
    arms = [cell_predictions(Cell(*cell), "spotting", runs) for cell in (("micro-expressions", "micron-bert"), ("ablations", "micron-bert-no-poi"))]
    spotting = spotting_scores(pd.concat(arms, ignore_index=True))
    tables.write(spotting, session.tables, "spotting", "Micro-expression or none, with and without PoI: AUROC (chance .5) and sensitivity at 5 % false alarms (chance .05), pooled over folds, mean ± sd over head seeds.")
    display(spotting.round(3))  # noqa: F821

# %%
for task, (reference, _, _) in whole.items():
    figure = ablation_effects(effects[effects["task"] == task], reference.arm, xlabel=f"change of {'macro-F1' if task == 'stills' else 'UF1'} when the part is taken out")
    save(figure, session.figures, f"effects-{task}")
    display(figure)  # noqa: F821

# %%
session.finish()

# %% [markdown]
# ## What we learnt
#
# * An interval that crosses 0 says: this study could not tell. It does not say the part is useless.
# * Variants of Micron-BERT rest on **one** pre-training each. Another seed might change the order; the claims table prints that n.
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
