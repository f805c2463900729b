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
from loupe.data.store import read_store
from loupe.evaluation.guards import Vault
from loupe.evaluation.protocols import Split, label_subset
from loupe.reporting import tables
from loupe.reporting.confusion import confusion_matrix
from loupe.reporting.drawing import save
from loupe.reporting.faces import face_rows, maps_over_faces
from loupe.session import start
from loupe.training.device import resolve_device
from loupe.training.jobs import run_jobs
from loupe.training.stills import cell_jobs, finetune, with_views

session = start("dual-view", overrides, inputs=["data/prepared/labelled", "data/runs/mae-face/encoder.safetensors"])
cfg, bench = session.config, session.bench
experiment = cfg.experiments.dual_view
encoder_weights = session.output_of("mae-face") / "encoder.safetensors"
labelled = session.prepared("labelled")
store = read_store(labelled)
split = Split.from_manifest(store.manifest)
print([arm.name for arm in experiment.arms], f"at {experiment.fraction:.0%} of the labels, seeds {cfg.scale.seeds}")

# %% [markdown]
# ## The two views
#
# The view is cut from the stored pixels with a canonical face layout whose boxes jitter as a detector's would: never from the true mesh landmarks,
# which no real set has, and never from a label.

# %%
data = with_views(labelled, cfg, experiment.arms, bench.folder / "views")
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
# is chosen. The test rows come out of the vault once, and the opening is written down (`data/logs/vault.jsonl`).

# %%
rows = train[label_subset(store.labels[train], store.subjects[train], experiment.fraction, np.random.default_rng(cfg.data.seed))]
test = Vault("dual-view", session.root / "data" / "logs" / "vault.jsonl").open(split, store.manifest, "arms of the dual-view comparison")
scored = np.concatenate([split.rows(store.manifest, "val"), test])
jobs = cell_jobs(bench, cfg, experiment.arms, experiment.fraction, rows, scored, labelled, encoder_weights)
run_jobs(jobs, "dual-view cells", workers=cfg.scale.workers, in_process=resolve_device(cfg.scale.device).type == "mps")
predictions = bench.cells()
bench.write("predictions.parquet", predictions)
print(f"{len(jobs)} cells, {len(rows)} labels each, {len(test)} test faces of {len(split.test)} people")

# %%
classes = len(store.class_names)
results = tables.results(predictions, classes)
tables.write(results, session.tables, "arms", f"Dual view at {experiment.fraction:.0%} of the labels: mean ± sd over seeds, people unseen in training.")
tables.readable(results)

# %%
best = "concat" if "concat" in set(predictions["arm"]) else predictions["arm"].iloc[0]
matrix = confusion_matrix(predictions[predictions["split"] == "test"], store.class_names, arm=best)
save(matrix, session.figures, "confusion")
matrix

# %% [markdown]
# ## Where does fusion look?
#
# $g$ is trained with everything else and has mean 1: above 1 a patch's local evidence counts more than average. Validation people; each map is the
# model of the first seed.

# %%
arm = next((arm for arm in experiment.arms if arm.name == best), experiment.arms[0])
model, _ = finetune(cfg, arm, data, rows, cfg.scale.seeds[0], encoder_weights, bench.checkpoint("maps"))
val = split.rows(store.manifest, "val")
shown = val[np.linspace(0, len(val) - 1, 8).round().astype(int)]
device = next(model.parameters()).device
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
