# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 03 · Does a second view help, and which parts does fusion weigh?
#
# ![The examined view and an ipsilateral view of eyes and mouth meet in Fusion Attention after the low blocks](pictures/03-dual-view.svg)
#
# Emotic MAE (arXiv 2403.13039) classifies an **examined** view, the face, with the help of an **ipsilateral** one: a picture of the same face that
# speaks of its expressive parts. Low blocks of the encoder read both views; **Fusion Attention** lets the second guide the first; the high blocks go on.
#
# With $x, y \in \mathbb{R}^{L \times D}$ the patch tokens of both views after block $k$, $u = \mathrm{LN}\,x$, $v = \mathrm{LN}\,y$:
#
# $$S = \mathrm{MHA}(q = u,\ kv = [u; v]) \qquad g = L \cdot \mathrm{softmax}_L\, \mathrm{MLP}([u; v]) \qquad F = x + \gamma\, \mathrm{MLP}([S;\ g \odot \mathrm{Local}])$$
#
# Local is the same attention over the 3 × 3 neighbours in both views; $g$ is the **importance** of a patch, the map shown below; the skip keeps the
# examined view. The paper does not print these formulas; which choices are ours stands in `src/loupe/models/fusion_attention.py`, line by line (F1–F6).
#
# A second view also means more computation and more parameters. So "two views beat one" proves nothing until it also beats
# **the same face twice** (`duplicate`: same FLOPs, same parameters, no new picture) and **one view with an equally deep network** (`single-deep`).
#
# **The formulas, line by line**
#
# * $u, v$ are `u, v = self.norm(x), self.norm(y)` (`src/loupe/models/fusion_attention.py`)
# * $S$ is `branches.append(self.self_attention(u, keys))` with `torch.cat([u, v], dim=1)` as keys (`src/loupe/models/fusion_attention.py`)
# * $g$ is `u.shape[1] * logits.softmax(dim=-1)` (`src/loupe/models/fusion_attention.py`)
# * $F$ is `x + change` with `change = self.gamma * self.mlp(torch.cat(branches, dim=-1))` (`src/loupe/models/fusion_attention.py`)

# %% tags=["parameters"]
overrides = []

# %%
import numpy as np
import torch

from loupe.data.augment import to_float
from loupe.data.conditions import COVERED, SHIFTED, Condition
from loupe.data.covering import write_covered
from loupe.data.store import read_store
from loupe.evaluation.guards import Vault
from loupe.evaluation.protocols import Split, label_subset
from loupe.reporting import tables
from loupe.reporting.conditions import condition_plot, condition_scores
from loupe.reporting.confusion import confusion_matrix
from loupe.reporting.drawing import save
from loupe.reporting.faces import face_rows, maps_over_faces
from loupe.session import start
from loupe.training.build import build_classifier
from loupe.training.checkpoint import load_weights
from loupe.training.cross_validation import fold_gain, fold_jobs, person_folds, take_folds
from loupe.training.device import resolve_device, workers_on
from loupe.training.jobs import run_jobs
from loupe.training.stills import cell_jobs, sees_one_picture, with_views
from loupe.training.targets import knows_units
from loupe.training.transfer import transfer_set

prepared = [f"data/prepared/{name}" for name in ("stills", "labelled", "camera", "shift", "macro")]
session = start("dual-view", overrides, inputs=[*prepared, "data/runs/mae-face/encoder.safetensors"])
cfg, bench = session.config, session.bench
experiment = cfg.experiments.dual_view
encoder_weights = session.output_of("mae-face") / "encoder.safetensors"
labelled = session.prepared("labelled")
store = read_store(labelled)
split = Split.from_manifest(store.manifest)
transfer = transfer_set(session.prepared("macro"), split)
arms = experiment.arms
if transfer is None and any(arm.transfer for arm in arms):
    arms = [arm for arm in arms if not arm.transfer]
    print("There are no labelled clips of training people (set `macro`): the arms that start from them are left out, and their claim stays open.")
if not knows_units(store.manifest["au"]) and any(arm.task == "units" for arm in arms):
    arms = [arm for arm in arms if arm.task != "units"]
    print("Nobody knows the action units of these faces: the arms that detect them are left out, and their claim stays open.")
compared = experiment.cross_validation.arms
seen = set(read_store(session.prepared("stills")).split("pretrain").subjects) if compared else set()
if seen & (split.train | split.test):
    compared = []
    print("Pre-training saw people whom cross-validation would test: it is left out.")
print([arm.name for arm in arms], f"at {experiment.fraction:.0%} of the labels, seeds {cfg.scale.seeds}")

# %% [markdown]
# ## The two views
#
# The view is cut from the stored pixels with a canonical face layout whose boxes jitter as a detector's would: never from the true mesh landmarks,
# which no real set has, and never from a label.

# %%
data = with_views(labelled, cfg, arms, bench.folder / "views")
train = split.rows(store.manifest, "train")
shown = train[np.linspace(0, len(train) - 1, 8).round().astype(int)]
rows = {"examined": data.store.images[shown]} | {name: view[shown] for name, view in data.views.items()}
views = face_rows(rows, caption=f"The examined view and the ipsilateral views of this study ({cfg.view.name} is the default).", alt="Rows of faces and, below, their auxiliary views.")
save(views, session.figures, "views")
views

# %% [markdown]
# ## Fine-tune every arm from the same encoder
#
# Same labels, same steps, same schedule, same augmentation; the number of steps is fixed by the label budget before anything is trained, and no epoch
# is chosen. Test rows come out of the vault, and each opening is written down (`data/logs/vault.jsonl`).
#
# The two arms that claims compare are scored on the test people three times: on their pictures as they are, on the same pictures with a grey rectangle over the eyes or over the
# mouth (`covered`), and on other pictures of them (`shifted`): lights, backgrounds, hair and patterns of action units that no training picture has,
# all at once. The second view is cut from the covered or shifted picture, never from the clean one. Only generated faces have shifted pictures.
# They are also scored on the very faces they were trained on, in a record of its own (`training.parquet`): that is fit, not generalisation.
#
# Where the scale says `more: true`, three pairs of a single and a dual view ask whether the gain combines with other means:
#
# | arms | what is different, for both alike |
# |---|---|
# | `…-augmented` | stronger augmentation: random crops, erased rectangles, blended pairs of faces (`src/loupe/data/augment.py`) |
# | `…-transfer` | fine-tuned first on another labelled set: frames of clips of the *training* people, other cameras and light, a class a frame |
# | `…-units` | another question: which single action units are there? A yes or no each, trained on the same 10 % of the faces; a unit counts as present from a strength of .25 on the stronger side |

# %%
rows = train[label_subset(store.labels[train], store.subjects[train], experiment.fraction, np.random.default_rng(cfg.data.seed))]
vault = Vault("dual-view", session.root / "data" / "logs" / "vault.jsonl")
test = vault.open(split, store.manifest, "arms of the dual-view comparison")
scored = np.concatenate([split.rows(store.manifest, "val"), test])
write_covered(labelled, vault.open(split, store.manifest, "the same arms, a part of the face covered"), bench.folder / "covered", cfg.data.seed)
conditions = [Condition(COVERED, bench.folder / "covered", np.arange(len(test)))]
shift = read_store(session.prepared("shift")).manifest
if len(shift):
    conditions.append(Condition(SHIFTED, session.prepared("shift"), vault.open(split, shift, "the same arms, looks that training never showed")))
else:
    print("These faces have no set `shift`: the condition `shifted` is left out, and its claim stays open.")
chosen = [arm for arm in arms if arm.name in experiment.further_conditions and sees_one_picture(arm, cfg)]
print({condition.name: len(condition.rows) for condition in conditions}, "faces, for", [arm.name for arm in chosen])
mapped = next((arm for arm in arms if arm.name == "concat"), arms[0])  # whose maps are shown below
jobs, kept = [], {}
for arm in arms:
    own = cell_jobs(
        bench, cfg, [arm], experiment.fraction, rows, scored, labelled, encoder_weights, conditions if arm in chosen else (),
        transfer=transfer, training_people=arm.name in experiment.training_people, keep_weights=arm is mapped,
    )  # fmt: skip
    kept[arm.name] = own[0].path.with_suffix(".safetensors")
    jobs += own
if compared:
    folds = person_folds(store.manifest, seen, experiment.cross_validation.folds, cfg.data.seed)
    jobs += fold_jobs(bench, cfg, [arm for arm in arms if arm.name in compared], folds, vault, labelled, encoder_weights)
run_jobs(jobs, "dual-view cells", workers=workers_on(resolve_device(cfg.scale.device), cfg.scale.workers))
cells, crossed = take_folds(bench.cells())
fitted = cells["split"] == "train"
clean = cells["arm"].isin([arm.name for arm in arms]) & ~fitted
predictions, further = cells[clean], cells[~clean & ~fitted]
bench.write("predictions.parquet", predictions)
bench.write("conditions.parquet", further)
if fitted.any():
    bench.write("training.parquet", cells[fitted])
if compared:
    bench.write("folds.parquet", crossed)
print(f"{len(jobs)} cells, {len(rows)} labels each, {len(test)} test faces of {len(split.test)} people")

# %%
classes = len(store.class_names)
results = tables.results(predictions, {"stills": classes, "units": 2 * len(experiment.action_units.units)})
tables.write(results, session.tables, "arms", f"Dual view at {experiment.fraction:.0%} of the labels: mean ± sd over seeds, people unseen in training.")
tables.readable(results)

# %%
matrix = confusion_matrix(predictions[predictions["split"] == "test"], store.class_names, arm=mapped.name)
save(matrix, session.figures, "confusion")
matrix

# %% [markdown]
# ## Does the second view help where faces look otherwise?
#
# Two claims ask it: `concat` against `single` on shifted, and on covered pictures (notebook 11). They ask which arm is *better there*, not which one *loses
# less*: an arm that is ahead on clean pictures may fall further and still be ahead. Read a row from the black mark to the others for the loss, and a
# colour from top to bottom for the claim. An arm whose second view is another picture (`camera`, `neighbour`, `shuffled`) cannot have such rows: it
# would see what is covered.

# %%
scores = condition_scores(predictions, further, classes)
tables.write(scores, session.tables, "conditions", "The same trained arms in each condition: mean ± sd over seeds, people unseen in training; guess: naming every class equally often.")
tables.readable(scores)

# %%
figure = condition_plot(scores)
save(figure, session.figures, "conditions")
figure

# %% [markdown]
# ## Does it hold for everybody?
#
# The test people are one draw, and a small one. Where the scale says `more: true`, training and test people are dealt into five folds, and each fold is tested by networks trained
# on the other four: every person is tested once, by a network that never saw that person. Predictions are pooled over the folds, then scored. Validation people stay
# out, since settings were chosen on them. One caution: the folds share most of their training people, so this is not five studies.

# %%
if compared:
    gain = fold_gain(crossed, *compared, classes, cfg.scale.statistics.resamples)
    tables.write(gain, session.tables, "folds", "Cross-validation by subject: gain in macro-F1 of the first arm over the second with its 95 % interval over people.")
    display(tables.readable(tables.results(crossed, classes)), tables.readable(gain))  # noqa: F821
else:
    print("This scale has no cross-validation (more: false), or it is left out.")

# %% [markdown]
# ## Where does fusion look?
#
# $g$ is trained with everything else and has mean 1: above 1 a patch's local evidence counts more than average. Validation people; the network is the
# one that was trained above with the first seed, read back from its cell.

# %%
device = resolve_device(cfg.scale.device)
model = build_classifier(cfg, mapped, classes, cfg.scale.seeds[0], encoder_weights).to(device).eval()
load_weights(kept[mapped.name], model)
val = split.rows(store.manifest, "val")
shown = val[np.linspace(0, len(val) - 1, 8).round().astype(int)]
inputs = [to_float(torch.from_numpy(images[shown])).to(device) for images in (data.store.images, data.views[cfg.view.name])]
with torch.inference_mode():
    _, maps = model.forward_maps(*inputs)
side = cfg.scale.image.size // cfg.scale.image.patch
importance = maps["importance"].float().cpu().numpy().reshape(-1, side, side)
local = maps["local"].float().mean(1) if maps["local"].ndim == 4 else maps["local"].float()
share = local[..., local.shape[-1] // 2 :].sum(-1).cpu().numpy().reshape(-1, side, side)
np.save(bench.out / "maps.npy", np.stack([importance, share]))
figure = maps_over_faces(
    data.store.images[shown], {"importance g": importance, "local share of view 2": share}, names=[store.class_names[i] for i in store.labels[shown]], unit="",
    caption="Importance of each patch (mean 1) and the share of local attention that goes to the ipsilateral view. Validation people, first seed.",
)  # fmt: skip
save(figure, session.figures, "importance")
figure

# %%
session.finish()

# %% [markdown]
# ## What we learnt
#
# * The table above is the answer for these faces and this budget; whether a difference is more than chance is decided in notebook 11, over people and
#   seeds together, never by looking at two means.
# * A gain over `single` that vanishes against `duplicate` or `single-deep` is a gain of computation, not of a second view.
# * Shifted pictures differ in light, background, hair and action units together: a loss there says that looks matter, not which of them.
# * An importance map shows what the network weighs. It is not an explanation of a face.
#
# ## Try it
#
# Paste this into a new cell after Run All, change the first lines, run it again.
#
# ```python
# second = np.roll(np.arange(len(shown)), 1)  # whose second view: the neighbour's; np.arange(len(shown)) is everybody's own
# with torch.inference_mode():
#     own, other = model(*inputs).softmax(-1), model(inputs[0], inputs[1][second]).softmax(-1)
# print(f"another person's eyes and mouth move a class's probability by {(own - other).abs().mean().item():.3f} on average")
# ```
#
# ## Exercises
#
# 1. `overrides = ["view=mirror"]` or `["view=highlight"]`: which view is better, and is the difference larger than the spread over seeds?
# 2. `overrides = ["dual_view.importance=false"]`: does the map matter for the score?
# 3. Add an arm `{name: shuffled, variant: concat, view: shuffled}` to `conf/experiment/dual_view.yaml`. What should it do, and what does it?
# 4. Why does the importance map have mean 1, and what would a constant map of 1 mean?
#
# <details><summary>Solutions</summary>
#
# 1. Compare `macro_f1_mean` differences with `macro_f1_sd`; with few seeds most view effects are smaller.
# 2. Usually little: attention can already down-weigh a patch. That is why the claim is tested and not assumed.
# 3. Another person's parts carry no information about this face, so it should not beat `single-deep`.
# 4. The softmax sums to 1 over $L$ patches and is multiplied by $L$. All ones: local evidence counts the same everywhere, as if there were no map.
#
# </details>
