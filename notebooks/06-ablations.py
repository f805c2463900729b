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
from loupe.data.skew import people_by_attribute, skewed_arm, skewed_people, upper_half
from loupe.data.store import read_store
from loupe.evaluation.claims import Cell, cell_predictions, read_predictions
from loupe.evaluation.effects import effect_of
from loupe.evaluation.guards import Vault
from loupe.evaluation.protocols import Split, label_subset, loso_folds
from loupe.evaluation.statistics import bootstrap_interval
from loupe.models.baselines.linear import make_linear_svm
from loupe.models.baselines.optical_flow import features_flow
from loupe.reporting import tables
from loupe.reporting.drawing import save
from loupe.reporting.effects import ablation_effects
from loupe.reporting.skew import skew_curve, skew_points
from loupe.reporting.spotting import spotting_scores
from loupe.session import start
from loupe.training.build import build_micron_bert
from loupe.training.checkpoint import load_weights
from loupe.training.clip_tasks import clip_tasks, head_predictions, loso_table
from loupe.training.device import resolve_device, workers_on
from loupe.training.jobs import Job, run_jobs
from loupe.training.loso import loso_probabilities
from loupe.training.micro import onset_apex_features, pretrain_variant
from loupe.training.skew import pretrain_skewed
from loupe.training.stills import cell_jobs

session = start(
    "ablations", overrides,
    inputs=["data/prepared/labelled", "data/prepared/clips", "data/prepared/micro", "data/prepared/micro_shift", "data/runs/mae-face/encoder.safetensors", "data/runs/dual-view/predictions.parquet", "data/runs/micron-bert/micron_bert.safetensors", "data/runs/micro-expressions/predictions.parquet"],
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
still_jobs = cell_jobs(bench, cfg, experiment.arms, experiment.fraction, rows, scored, session.prepared("labelled"), session.output_of("mae-face") / "encoder.safetensors")

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
size = cfg.scale.micron.epochs * len(read_store(clips).manifest) * 3  # pictures that a pre-training sees: two frames and a crop a time
variants = [Job(weights[arm.name], pretrain_variant, (weights[arm.name], cfg, clips, seed, bench.checkpoint(arm.name), arm), size) for arm in experiment.micro if arm.pretrained]
run_jobs([*still_jobs, *variants], "ablations", **options)
stills = bench.cells()

# %%
def frozen_features(seen, file=None, **part):
    """Features of the clips `seen` from the weights in `file`, untrained without one."""
    model = build_micron_bert(cfg, seed, **part)
    if file:
        load_weights(file, model)
    return onset_apex_features(model.to(device), seen.onset, seen.apex)


parts, tasks = [], clip_tasks(pairs)
for arm in experiment.micro:
    features = frozen_features(pairs, weights.get(arm.name), dma=arm.dma, poi=arm.poi, corruption=arm.corruption)
    asked = [task for task in tasks.values() if task.name == "micro" or not arm.poi]  # of false alarms only PoI is claimed to be the cure
    parts += [head_predictions(task, arm.name, features, cfg) for task in asked]
predictions = pd.concat([stills, *parts], ignore_index=True)

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
shifted, unseen = read_store(session.prepared("micro_shift")), []
if len(shifted.manifest):
    looks = onset_and_apex(shifted, labelled_only=True)
    vault.open(loso_folds(looks.subjects, pretrain=set(read_store(clips).subjects))[0], shifted.manifest, "pre-trained and untrained, looks that pre-training never showed, leave one subject out, all folds")
    new, svm = clip_tasks(looks)["micro"], cfg.experiments.micro_expressions
    for name, file in (("micron-bert", session.output_of("micron-bert") / "micron_bert.safetensors"), ("micron-bert-untrained", None)):
        unseen.append(head_predictions(new, f"{name}-{SHIFTED}", frozen_features(looks, file), cfg))
    flow = features_flow(looks.onset, looks.apex, svm.flow_grid)
    each = loso_probabilities([make_linear_svm], flow, new.labels, new.subjects, new.classes, "optical flow, shifted", sorted(svm.svm_c), workers=cfg.scale.workers)
    unseen.append(loso_table(new, f"flow-svm-{SHIFTED}", [0], each))
    usual = [cell_predictions(Cell(*cell), "micro", runs) for cell in (("micro-expressions", "micron-bert"), ("ablations", "micron-bert-untrained"), ("micro-expressions", "flow-svm"))]
    scores = tables.results(pd.concat([*usual, *unseen], ignore_index=True), 3, metrics=("uf1", "uar"))
    tables.write(scores, session.tables, "shift", "Usual and unseen looks, heads trained on clips that look alike: mean ± sd over head seeds, leave one subject out.")
    display(tables.readable(scores))  # noqa: F821
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
tone, uneven = people_by_attribute(read_store(clips).manifest), []
if not experiment.skew:
    print("This scale pre-trains on no skewed people (more: false): the claim stays open.")
elif tone.isna().any():
    print("Nobody knows the skin tone of the people in these unlabelled clips (only generated ones have one): the claim stays open.")
else:
    skews = {dose: bench.folder / "weights" / f"{skewed_arm(dose)}.safetensors" for dose in experiment.skew}
    jobs = [Job(file, pretrain_skewed, (file, cfg, clips, seed, bench.checkpoint(skewed_arm(dose)), dose)) for dose, file in skews.items()]
    run_jobs(jobs, "pre-training on skewed people", **options)
    uneven = [head_predictions(tasks["micro"], skewed_arm(dose), frozen_features(pairs, file), cfg) for dose, file in skews.items()]
    untrained = cell_predictions(Cell("ablations", "micron-bert-untrained"), "micro", runs)
    points = skew_points(pd.concat([*uneven, untrained], ignore_index=True), experiment.skew, 3, cfg.scale.statistics.resamples)
    chosen = {dose: set(skewed_people(tone, dose, cfg.data.seed)) for dose in experiment.skew}
    counts = pd.DataFrame([{"dose": dose, "n_upper": len(people & upper_half(tone)), "n_lower": len(people - upper_half(tone))} for dose, people in chosen.items()])
    seen = points.merge(counts.astype({"n_upper": "Int64", "n_lower": "Int64"}), how="left", on="dose")
    tables.write(seen, session.tables, "skew", "Pre-training people from the upper and the lower half of the tones, and UF1 with its 95 % interval over people left out; one pre-training a dose.")
    figure = skew_curve(points)
    save(figure, session.figures, "skew")
    display(seen.round(3), figure)  # noqa: F821

# %%
bench.write("predictions.parquet", pd.concat([predictions, *unseen, *uneven], ignore_index=True))
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
