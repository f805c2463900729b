# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 02 · Can it rebuild faces of which three quarters are hidden?
#
# ![Three quarters of the patches are hidden, the encoder sees the rest, a small decoder rebuilds the face](pictures/02-mae-face.svg)
#
# A masked autoencoder (He et al., arXiv 2111.06377; on faces: MAE-Face, arXiv 2210.15878, the first stage of
# Emotic MAE) learns without a single label: cut a face into patches, hide 75 % of them, show the encoder the
# rest, and let a small decoder predict the hidden pixels.
#
# With patches $x_i \in \mathbb{R}^{P^2 \cdot 3}$, hidden set $M$, target $t_i = (x_i - \bar x_i) / \sigma_i$
# (each patch normalised by its own pixels) and prediction $\hat t_i$:
#
# $$\mathcal{L} = \frac{1}{|M|} \sum_{i \in M} \lVert \hat t_i - t_i \rVert^2 / (3 P^2)$$
#
# In code: `MaskedAutoencoder.forward` in `src/loupe/models/mae.py` (`encode` sees the kept tokens only; `mse` is
# the line above).
#
# Two checks say whether it learnt anything, both on **validation people**, whom neither pre-training nor the
# probe has seen: the error on hidden patches against predicting every hidden patch by the mean of the visible
# ones, and a linear probe against the same probe on an untrained encoder. Test people stay locked away.
#
# **The formula, line by line**
#
# * $t_i$ is `target = self.normalise(target)[0]` (`src/loupe/models/mae.py`)
# * only $i \in M$ is ever predicted: `gather_patches(patches, split.hidden)` are the patches to hit
#   (`src/loupe/models/mae.py`)
# * $\lVert \hat t_i - t_i \rVert^2 / (3 P^2)$ and the mean over $M$ are `F.mse_loss(pred.float(), target)`
#   (`src/loupe/models/mae.py`)

# %% tags=["parameters"]
overrides = []

# %%
import numpy as np
import pandas as pd
import torch

from loupe.evaluation.metrics import accuracy, macro_f1
from loupe.evaluation.protocols import Split
from loupe.session import start
from loupe.training.build_mae import build_encoder, build_mae
from loupe.training.checkpoint import load_weights
from loupe.training.mae_face import linear_probe, pooled_features, pretraining_step, reconstruction_error

session = start("mae-face", overrides, inputs=["data/prepared/stills"])
cfg, stills = session.config, session.store("stills")
Split.from_manifest(stills.manifest)
unlabelled, train, val = (stills.split(name) for name in ("pretrain", "train", "val"))
print(f"{len(unlabelled.images)} unlabelled faces of {len(set(unlabelled.subjects))} people")
print(f"probe: {len(train.images)} -> {len(val.images)} faces")

# %% [markdown]
# ## Pre-train

# %%
pretraining = session.make(pretraining_step(session.prepared("stills"), cfg))
model = build_mae(cfg)
load_weights(pretraining / "mae.safetensors", model)
model.to(session.device).eval()
log = pd.read_parquet(pretraining / "history.parquet")
parameters = sum(p.numel() for p in model.encoder.parameters())
print(f"encoder {cfg.scale.encoder.width} wide, {cfg.scale.encoder.depth} deep, {parameters:,} parameters")
print(f"loss {log['value'].iloc[0]:.3f} -> {log['value'].iloc[-1]:.3f}")
session.draw("training-curve")

# %% [markdown]
# ## Look: faces of people it never saw

# %%
session.draw("reconstructions")

# %% [markdown]
# ## Measure

# %%
error = reconstruction_error(model, np.asarray(val.images), seed=0)
rivals = {"mean of the visible patches": error["mean_patch"], "MAE-Face": error["mae"]}
errors = pd.DataFrame({"predictor": list(rivals), "error": list(rivals.values())})
errors["factor"] = error["mean_patch"] / errors["error"]
print(f"{error['factor']:.2f} times better than the mean patch")
caption = "Mean squared error on hidden patches of validation people, in per-patch normalised pixels."
session.table(errors, "reconstruction", caption)

# %%
torch.manual_seed(cfg.scale.seeds[0])
untrained, scores, classes = build_encoder(cfg), [], len(stills.class_names)
for name, encoder in (("untrained encoder", untrained), ("MAE-Face", model.encoder)):
    features = [pooled_features(encoder, part.images) for part in (train, val)]
    said = linear_probe(features[0], train.labels, features[1])
    scores.append((name, macro_f1(val.labels, said, classes), accuracy(val.labels, said, classes)))
probe = pd.DataFrame(scores, columns=["features", "macro_f1", "accuracy"])
probe = probe.assign(n_train=len(train.images), n_val=len(val.images), n_val_subjects=len(set(val.subjects)))
caption = f"Logistic regression on frozen features, validation people, {classes} classes (chance {1 / classes:.3f})."
display(session.table(probe, "linear-probe", caption))  # noqa: F821
session.finish()

# %% [markdown]
# ## What we learnt
#
# * Faces are predictable: from a quarter of the patches the rest can be guessed better than by any constant.
# * Whether that helps to *read* a face is another question. The probe is a first answer, notebooks 03 and 07 give
#   the real one.
# * Too short a pre-training shows no benefit at all. If the loss has not fallen clearly below .8, lengthen it
#   before you conclude anything.
#
# ## Try it
#
# Paste this into a new cell after Run All, change the first lines, run it again.
#
# ```python
# from loupe.data.augment import to_float, to_uint8
# from loupe.reporting.faces import face_rows
#
# faces = np.ascontiguousarray(val.images[:8])
# noise = torch.rand(len(faces), model.encoder.patches)
# device, side = session.device, model.encoder.grid[0]
# aim = torch.zeros(side, side)
# aim[side // 4 : side // 2] = 1  # rows of patches to hide first (the eyes): try others
# pixels, masked = to_float(torch.from_numpy(faces)).to(device), (noise + aim.flatten()).to(device)
# with torch.inference_mode():
#     guess = to_uint8(model.reconstruct(pixels, masked).cpu(), torch.from_numpy(faces)).numpy()
# face_rows({"as they are": faces, "rebuilt": guess}, caption="Eyes hidden first.", alt="Faces and what the network makes of them.")
# ```
#
# ## Exercises
#
# 1. `overrides = ["mae_face.mask_ratio=0.5"]`: the loss falls lower. Is the encoder better? (Probe it.)
# 2. `overrides = ["mae_face.norm_pix=false"]`: look at the pictures and at the probe.
# 3. Why is the mean of the visible patches, and not zero, the rival? When would the two be equal?
# 4. The pictures get the true mean and contrast of each hidden patch back. Show one without (`norm_pix`): what is
#    lost?
#
# <details><summary>Solutions</summary>
#
# 1. Half-hidden faces are an easier puzzle: a lower loss does not mean better features; compare probes, never
#    losses of different tasks.
# 2. Raw pixels reward getting the brightness right; the pictures look smoother, the features are usually worse.
# 3. Normalised patches have mean 0 each, but their mean *pattern* (light from above, say) is not flat. Equal if
#    that pattern were zero.
# 4. Brightness. With normalised targets the network never learns it, so the raw prediction looks flat grey; the
#    shape in it is all that was learnt.
#
# </details>
