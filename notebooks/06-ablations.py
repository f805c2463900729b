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
# Take one part out, change nothing else, and see what is lost. Whole methods come from notebooks 03 and 05; this
# notebook trains only the mutilated ones:
#
# | arm | taken out |
# |---|---|
# | `concat-no-attention` | Fusion Attention: the two views meet token by token in the MLP only |
# | `concat-scratch` | MAE pre-training: the same dual-view network from random weights |
# | `micron-bert-full-attention` | the diagonal: ordinary cross attention between the frames instead of DMA |
# | `micron-bert-no-poi` | Patch of Interest ($W = a$) |
# | `micron-bert-untrained` | pre-training: the same network with random weights |
# | `micron-bert-painting` | the decoder that adds to its input: it paints the frame from tokens, as in the paper (scales with `more: true`) |
# | `micron-bert-masking` | swapping: a mask token stands where patches of the other frame stood (scales with `more: true`) |
#
# `micron-bert-no-poi` answers both tasks of notebook 05, which of the classes and whether there is a
# micro-expression at all: PoI is said to cut false alarms.
#
# An ablation that removes parameters also removes capacity; where that matters, notebook 03 has the matched
# control. Two more questions follow, both about pre-training: does it still help where **looks are new**, and
# where its **people are uneven** (scales with `more: true`)?
#
# With $m$ the metric on pooled predictions, mean over seeds, and $w$ the number of times each *person* is drawn,
# the effect of taking a part out is $\Delta = m(\text{without}) - m(\text{whole})$. Its replicates are
# $\Delta(w)$ for resampled $w$, plus what drawing the *seeds* anew changes on everybody; the interval is read off
# their quantiles.
#
# **The formulas, line by line**
#
# * drawing people: `people = effect.resampled(subject_weights(n, resamples, rng))`
#   (`src/loupe/evaluation/statistics.py`)
# * drawing an arm's seeds: `return factor * (moved @ spread.scores)` (`src/loupe/evaluation/statistics.py`)
# * the interval: `np.quantile(replicates, norm.cdf(quantiles) if corrected is None else corrected)`
#   (`src/loupe/evaluation/statistics.py`)
# * people of the upper half at dose $d$: `taken = int(np.floor(dose * count + 0.5))` (`src/loupe/data/skew.py`)

# %% tags=["parameters"]
overrides = []

# %%
import numpy as np
import torch

from loupe.data import clips
from loupe.evaluation import claims, protocols
from loupe.evaluation.predictions import joined
from loupe.reporting import skew, tables
from loupe.reporting.figures.claims import part_effects
from loupe.reporting.spotting import spotting_scores
from loupe.session import start
from loupe.training import clip_steps, clip_tasks, features_micron, micro, new_looks, stills

inputs = [f"data/prepared/{name}" for name in ("labelled", "clips", "micro", "micro_shift")]
inputs += [f"data/runs/{stage}" for stage in ("mae-face", "dual-view", "micron-bert", "micro-expressions")]
session = start("ablations", overrides, inputs=inputs)

# %% [markdown]
# ## Stills: fusion and pre-training


# %%
cfg, experiment, store = session.config, session.config.experiments.ablations, session.store("labelled")
split = protocols.Split.from_manifest(store.manifest)
train, rng = split.rows(store.manifest, "train"), np.random.default_rng(cfg.data.seed)
rows = train[protocols.label_subset(store.labels[train], store.subjects[train], experiment.fraction, rng)]
test = session.vault.open(split, store.manifest, "ablations of the dual view")
scored = np.concatenate([split.rows(store.manifest, "val"), test])
encoder = session.run("mae-face", "pretraining/encoder.safetensors")
data = stills.StillData(session.prepared("labelled"), rows, scored, encoder)
cells = stills.cells_of(cfg, experiment.arms, experiment.fraction, data)

# %% [markdown]
# ## Clips: DMA, PoI, pre-training
#
# Each variant is pre-trained anew with the same seed, data and steps as the whole method; one pre-training a
# variant, which the claims table prints.
#
# ### One variant in plain code
#
# What such a pre-training does, without its bookkeeping: Micron-BERT without PoI on a handful of pairs of frames,
# a few steps of AdamW.

# %%
from loupe.data.augment import to_float
from loupe.models.micron_bert import swap_blocks
from loupe.training.build_micron import build_micron_bert

frames, generator = session.store("clips"), torch.Generator().manual_seed(0)
variant = build_micron_bert(cfg, seed=0, poi=False)
first, second = micro.frame_pairs(frames.manifest).draw(torch.arange(8), generator)
frame_t, frame_td = (to_float(torch.from_numpy(np.array(frames.images[rows.numpy()]))) for rows in (first, second))
swapped = swap_blocks((8, *variant.encoder.grid), cfg.micron_bert.swap_ratio, cfg.micron_bert.swap_block, generator)
optimizer = torch.optim.AdamW(variant.parameters(), lr=1e-3)
for step in range(21):
    out = variant(frame_t, frame_td, frame_td, swapped)  # the last frame stands in for a crop of itself
    optimizer.zero_grad()
    out["loss"].backward()
    optimizer.step()
    print(f"step {step}: reconstruction {out['reconstruction'].item():.2f}") if step % 10 == 0 else None

# %%
pairs = clips.onset_and_apex(session.store("micro"), labelled_only=False)
folds = protocols.loso_folds(pairs.subjects, pretrain=set(frames.subjects))
session.vault.open_folds(folds, session.store("micro").manifest, "ablations of Micron-BERT, leave one subject out")
tasks, trained = clip_tasks.clip_tasks(pairs, folds), [arm for arm in experiment.micro if arm.pretrained]
variants = [micro.pretraining_step(f"pretraining-{arm.name}", session.prepared("clips"), cfg, arm) for arm in trained]
folders = session.make_all([*(cell.step(cfg, session.scratch) for cell in cells), *variants], "ablations")
networks = zip(trained, folders[len(cells) :], strict=True)
weights = {arm.name: folder / "micron_bert.safetensors" for arm, folder in networks}
said = [stills.cell_predictions(cells, folders[: len(cells)])]
for arm in experiment.micro:
    step = features_micron.micron_step(arm.name, session.prepared("micro"), weights.get(arm.name), cfg, arm)
    features, origin = session.make(step) / "features.npy", "micron-bert" if arm.pretrained else "none"
    for task in [task for task in tasks.values() if task.name == "micro" or not arm.poi]:  # spotting tests PoI alone
        made = session.make(clip_steps.head_step(arm.name, task, features, cfg))
        said.append(clip_steps.clip_predictions(made, task, arm.name, pretraining=origin))

# %% [markdown]
# ## Does pre-training still help where looks are new?
#
# So far the unlabelled clips look like the labelled ones. The clips of `micro_shift` show the same people in
# lights, before backgrounds, with hair and with patterns of action units that no generated training picture has
# (what imported unlabelled clips show, nobody knows). With $q$ for those looks, the claim is about
#
# $$\Delta_q = \mathrm{UF1}_q(\text{pre-trained}) - \mathrm{UF1}_q(\text{untrained}).$$
#
# Encoders stay as they are, pre-trained without $q$; each fold's head is trained on the other people's *shifted*
# clips and nothing else. Optical flow, which nobody pre-trains, stands beside them. Compare within a look:
# shifted clips are other clips, easier or harder by themselves.
#
# ## Does it still help when its people are uneven?
#
# The people of the unlabelled clips are ranked by skin tone and cut into two halves. At dose $d$, pre-training
# sees $k = \lfloor n/2 \rfloor$ of the $n$ people, $\lfloor d k + \tfrac12 \rfloor$ from the one half and the
# others from the other; people, frames and steps are as many at every dose. 50 % is even, at 100 % half of the
# tones is missing.
#
# Why skin tone: most pixels of a face take their colour from it, so it decides what the network sees. It is a
# number that our generator drew, and which half is the larger is arbitrary: this measures uneven data, and
# nothing about real groups of people. The doses compare with each other and with the untrained copy;
# `micron-bert` itself saw twice as many people.

# %%
whole = session.run("micron-bert", "pretraining/micron_bert.safetensors")
unseen, uneven = new_looks.shifted_predictions(session, whole), new_looks.skewed_predictions(session, tasks["micro"])
predictions = joined([*said, *unseen, *uneven])
session.write("predictions.parquet", predictions)
runs = claims.read_predictions(session.root / "data" / "runs") | {"ablations": predictions}
micron, flow = (claims.Cell("micro-expressions", name) for name in ("micron-bert", "flow-svm"))
bare = claims.Cell("ablations", "micron-bert-untrained")
if unseen:
    usual = [claims.cell_predictions(cell, "micro", runs) for cell in (micron, bare, flow)]
    scores = tables.results(joined([*usual, *unseen]), 3, metrics=("uf1", "uar"))
    caption = "Usual and unseen looks, heads trained on clips that look alike: mean ± sd over head seeds, "
    caption += "leave one subject out."
    display(session.table(scores, "shift", caption))  # noqa: F821

# %% [markdown]
# ## What is lost without each part
#
# Does PoI cut false alarms? Clips without a micro-expression hold what may set one off: head drift, blinks,
# twitches, a gaze that moves, flicker, noise. Their background stands still, so this says nothing of false alarms
# from a moving one.


# %%
effects = {task: part_effects(session, task) for task in ("stills", "micro")}
caption = "Change of the score when a part is taken out, with 95 % intervals over people and seeds."
display(session.table(joined(list(effects.values())), "effects", caption))  # noqa: F821
display(session.draw("effects-stills"), session.draw("effects-micro"))  # noqa: F821

# %%
concat = claims.Cell("dual-view", "concat", experiment.fraction)
ablated = (claims.Cell("ablations", arm.name, experiment.fraction) for arm in experiment.arms)
arms = [("stills", cell) for cell in (concat, *ablated)]
arms += [("micro", micron), *(("micro", claims.Cell("ablations", arm.name)) for arm in experiment.micro)]
compared = joined([claims.cell_predictions(cell, task, runs) for task, cell in arms])
results = tables.results(compared, {"stills": len(store.class_names), "micro": 3}, metrics=("macro_f1", "accuracy"))
caption = "Whole methods and ablations: mean ± sd over seeds. For the micro task macro-F1 is UF1."
display(session.table(results, "arms", caption))  # noqa: F821
if "spotting" in tasks:
    no_poi = claims.Cell("ablations", "micron-bert-no-poi")
    both = [claims.cell_predictions(cell, "spotting", runs) for cell in (micron, no_poi)]
    caption = "Micro-expression or none, with and without PoI: AUROC (chance .5) and sensitivity at 5 % false alarms "
    caption += "(chance .05), pooled over folds, mean ± sd over head seeds."
    display(session.table(spotting_scores(joined(both)), "spotting", caption))  # noqa: F821

# %%
if uneven:
    untrained = claims.cell_predictions(bare, "micro", runs)
    points = skew.skew_points(joined([*uneven, untrained]), experiment.skew, 3, cfg.scale.statistics.resamples)
    counts = new_looks.people_of_doses(frames.manifest, experiment.skew, cfg.data.seed)
    caption = "Pre-training people from the upper and the lower half of the tones, and UF1 with its 95 % interval "
    caption += "over people left out and head seeds; one pre-training a dose."
    seen = points.merge(counts, how="left", on="dose")
    display(session.table(seen, "skew", caption), session.draw("skew"))  # noqa: F821
session.finish()

# %% [markdown]
# ## What we learnt
#
# * An interval that crosses 0 says: this study could not tell. It does not say the part is useless.
# * Variants of Micron-BERT rest on **one** pre-training each. Another seed might change the order; the claims
#   table prints that n.
# * New looks and uneven people ask whether pre-training *still helps*, each against the untrained copy on the
#   same clips. Whether it helps *less* than before is another comparison, and a smaller effect: more people would
#   have to be left out to see it.
#
# ## Try it
#
# Paste this into a new cell after Run All, change the first lines, run it again.
#
# ```python
# from loupe.evaluation.effects import effect_of
# from loupe.evaluation.statistics import bootstrap_interval
#
# full, without = (claims.cell_predictions(cell, "micro", runs) for cell in (micron, bare))
# interval = bootstrap_interval(effect_of(without, full, "uf1", 3), np.random.default_rng(0))
# unit = "sample"  # the wrong unit: every clip counts as a person of its own; "subject" is the right one
# arms = [table.assign(subject=table[unit].astype(str)) for table in (without, full)]
# other = bootstrap_interval(effect_of(*arms, "uf1", 3), np.random.default_rng(0))
# print(f"people: {interval.high - interval.low:.3f} wide; {unit}: {other.high - other.low:.3f} wide")
# ```
#
# ## Exercises
#
# 1. Add an arm `{name: concat-local-only, variant: concat, self_attention: false}` to
#    `conf/experiment/ablations.yaml` and run `dvc repro ablations`. What is its effect, and how much larger would
#    it have to be for these people and seeds to show it?
# 2. Why is "untrained" the right rival for pre-training, and not the majority class?
# 3. Sort the parts by effect on *validation* people. Is the order that of the test people?
# 4. Three parts are removed one at a time. Why can their effects not be added up?
#
# <details><summary>Solutions</summary>
#
# 1. Read the width of its interval, not only its middle: an effect below about half that width cannot be told
#    from none here. (The switch is a field of `Arm` in `src/loupe/settings.py`; `build_classifier` lets it
#    override `conf/model/dual_view.yaml` for this arm alone.)
# 2. It shares the architecture: a random network plus a linear head already reads differences of brightness.
# 3. With this few people, often not; that is why nothing may be chosen on test people.
# 4. They interact: attention may matter only with pre-training. One-at-a-time effects say what each is worth *in
#    the presence of the others*.
#
# </details>
