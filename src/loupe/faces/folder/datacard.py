"""The data card of generated faces, computed from their manifest: what they are, how made, how balanced, and what they must not be used to claim.

Follows the questions of Datasheets for Datasets (Gebru et al., arXiv 1803.09010) as far as faces of nobody can answer them.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from loupe.faces.assets import VERSION, WHEEL
from loupe.faces.expression import AU_NAMES
from loupe.faces.plan import MICRO_SHARES

_TEXT = """# Data card: generated faces

{contents}

Generator version `{version}`, seed {seed}{settings}. Same seed, same bytes, whatever the number of processes: every image is a function of
(seed, person, still or clip, frame).

## What it is, and how it was made

Faces of **nobody**: adults drawn by a program. Head shape, face units and MakeHuman's targets come from the data files of `{wheel}` {wheel_version} (CC0; NOTICE
of the project names their authors). Skin, eyes, hair, light, background and camera are procedural; a numba rasteriser draws them. No photograph
and no person's data went in, so there is no consent to ask for and nobody to recognise.

An expression is a vector of FACS action units (Ekman, Friesen & Hager 2002), drawn from several prototypes a class and scaled by an intensity; a
linear map turns it into weights of face units and wrinkles. The label is what was drawn, not what anybody saw or felt.

## What stands in the manifest

| column | what |
|---|---|
| `au` | strength 0..1 of {n_au} units: {au_names} |
| `label`, `label_name`, `prototype`, `intensity` | class, the combination of units it was drawn from, strength 0..1 |
| `landmarks` | 68 iBUG points as x, y in px, projected from mesh vertices; points behind the head are given all the same |
| `yaw`, `pitch`, `roll` | head pose in radians; `light`, `background`, `occlusion`: what was drawn |
| `age`, `sex`, `tone`, `hair`, `beard` | 0 young adult..1 old, 0 female..1 male, 0 lightest..7 darkest, hair style, 0..0.9: settings of the generator, not groups of people |
| `onset`, `apex`, `offset`, `role`, `fps` | clips: frame numbers as a coder would give them (late or early by a few frames at nuisance 1 and 2) |

Clips also have, a clip, in the order of their sorted names: `motion.npy` (px, of the expression alone, onset to apex), `expression_flow.npy` and
`head_flow.npy` (u right, v down, px: what the expression moves, what the head moves), `parts.npy` (0 background, 1 skin, 2 eyes, 3 brows, 4 nose, 5 mouth).

## Balance
{balance}
## What it is for

To compare training methods where every label, unit, landmark and moving pixel is known, to test code, and to teach. A verdict reached on it reads
"on generated faces".

## What it must not be used to claim

* **Nothing about real people**: not how well a method reads them, nor whether it is fair to a group. `tone`, `age` and `sex` are dials of a program; an equal
  score along them says nothing about skin, years or sex in the world.
* **Nothing about real light, cameras or crowds.** The camera model is simple; hair, teeth and skin are of game quality.
* **Nothing about felt emotions.** An expression is not an emotion, and here nobody felt anything.
* **Not for covert inference of emotions**, of employees, pupils or anybody: the EU AI Act (Regulation 2024/1689, Art. 5) forbids it at work and at school.
  Ask people before a model is pointed at them.
* Not as a share of training data in a product without a test on people who agreed to it.

## Known limits

Adults only. Eight expression classes as in Aff-Wild2, micro-expressions in the three classes of MEGC2019; both prototypical: real people mix and mask more.
Five frames of a clip are stored (onset, rise, apex, fall, offset). Head hair is a raised scalp and a curtain, beards are paint. Landmarks are exact for the
mesh, which is not the same as where an annotator would click, above all along the jaw.

Licence of code and card: MIT. Head data: CC0.
"""


def datacard(manifest: pd.DataFrame, version: str, seed: int, settings: dict | None = None) -> str:
    """Markdown card of the images that `manifest` describes (columns of the study's manifest). Holds nothing that differs between equal runs."""
    told = "".join(f", {name} {value}" for name, value in (settings or {}).items() if name not in ("seed", "form"))
    return _TEXT.format(
        contents=_contents(manifest),
        version=version,
        seed=seed,
        settings=told,
        wheel=WHEEL,
        wheel_version=VERSION,
        n_au=len(AU_NAMES),
        au_names=", ".join(AU_NAMES),
        balance=_balance(manifest),
    )


def _contents(manifest: pd.DataFrame) -> str:
    rows = []
    for (name, split), part in manifest.groupby(["set", "split"], sort=False):
        clips = part.loc[part["clip"] != "", "clip"].nunique()
        rows.append({"set": name, "split": split, "images": len(part), "people": part["subject"].nunique(), "clips": clips})
    return _table(pd.DataFrame(rows))


def _balance(manifest: pd.DataFrame) -> str:
    parts = []
    for name, part in manifest.groupby("set", sort=False):
        part = part[part["role"] == "apex"] if name == "micro" else part
        labelled = part[part["label_name"] != ""]
        if len(labelled):
            parts.append(f"\n### Classes of `{name}`{' (clips)' if name == 'micro' else ''}\n\n{_table(class_balance(labelled, name))}")
    people = manifest.drop_duplicates("subject")
    parts.append(f"\n### People ({len(people)})\n\n{_table(attribute_balance(people))}")
    stills = manifest[manifest["occlusion"] != ""]
    for column in ("light", "background", "occlusion"):
        counted = stills[column].value_counts().sort_index()
        parts.append(f"\n### {column.capitalize()} (images)\n\n{_table(_shares(counted, column))}")
    degrees = np.degrees(manifest[["yaw", "pitch", "roll"]]).quantile([0.05, 0.5, 0.95]).round(1)
    parts.append(f"\n### Pose (degrees)\n\n{_table(degrees.rename_axis('quantile').reset_index())}")
    return "\n".join(parts) + "\n"


def class_balance(labelled: pd.DataFrame, name: str) -> pd.DataFrame:
    """Count, share and planned share of each class. Plan: micro clips as in MEGC2019, stills equal, none for frames of macro clips."""
    counted = labelled.groupby(["label", "label_name"]).size().reset_index(name="n")
    expressive = counted["label"] >= 0
    counted["share"] = (counted["n"] / counted["n"].where(expressive).sum()).where(expressive).round(3)
    if name == "micro":
        counted["plan"] = [MICRO_SHARES[label] if label >= 0 else float("nan") for label in counted["label"]]
    elif name != "macro":
        counted["plan"] = round(1 / len(counted), 3)
    return counted.drop(columns="label").rename(columns={"label_name": "class"})


def attribute_balance(people: pd.DataFrame) -> pd.DataFrame:
    """Counts and shares of people by age third, sex, skin-tone pair, hair and beard."""
    named = pd.DataFrame(
        {
            "age": pd.cut(people["age"], [-0.01, 1 / 3, 2 / 3, 1.01], labels=["young adult", "middle", "old"]).astype(str),
            "sex": np.where(people["sex"] > 0.5, "male", "female"),
            "tone": pd.cut(people["tone"], [-0.01, 1.75, 3.5, 5.25, 7.01], labels=["0-1 light", "2-3", "4-5", "6-7 dark"]).astype(str),
            "hair": people["hair"].to_numpy(),
            "beard": np.where(people["beard"] > 0.3, "beard", np.where(people["beard"] > 0.1, "stubble", "none")),
        }
    )
    tables = [_shares(named[column].value_counts().sort_index(), "value").assign(attribute=column) for column in named]
    return pd.concat(tables)[["attribute", "value", "n", "share"]]


def _shares(counted: pd.Series, name: str) -> pd.DataFrame:
    return pd.DataFrame({name: counted.index, "n": counted.to_numpy(), "share": (counted / counted.sum()).round(3).to_numpy()})


def _table(frame: pd.DataFrame) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(map(str, frame.columns)) + " |", "|" + "---|" * len(frame.columns)]
    for row in frame.itertuples(index=False):
        lines.append("| " + " | ".join("" if isinstance(v, float) and np.isnan(v) else str(v) for v in row) + " |")
    return "\n".join(lines)
