"""Transfer: fine-tuning on another labelled set first, then on the few labelled stills.

The other set is the frames of macro clips (`data/prepared/macro`): training people in motion, filmed by other cameras in other light, a
class a frame. Encoder and fusion carry over; the head is drawn afresh. Another set need not have the same classes, and this one's shares
differ (most frames are Neutral), which a head that is kept would carry over as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from loupe.data.manifest import read_manifest
from loupe.evaluation.guards import check_pretraining_overlap
from loupe.evaluation.protocols import Split


@dataclass(frozen=True)
class LabelledSet:
    """The rows `rows` of the store in `folder`, all labelled and of training people."""

    folder: Path
    rows: np.ndarray


def transfer_set(folder: Path, split: Split) -> LabelledSet | None:
    """The labelled rows of the set's own training people; None where there are none. `split`: that of the stills.

    Raises LoupeError where one of them is a validation or test person of the stills.
    """
    manifest = read_manifest(folder / "manifest.parquet")
    rows = Split.from_manifest(manifest).rows(manifest, "train")
    rows = rows[manifest["label"].to_numpy()[rows] >= 0]
    check_pretraining_overlap(manifest["subject"].iloc[rows], split.val | split.test, what=f"transfer from {folder.name}")
    return LabelledSet(folder, rows) if len(rows) else None


def carry_over(trained: nn.Module, model: nn.Module) -> None:
    """Give `model` the weights of `trained`, all but the head, which stays as it was drawn."""
    state = {name: tensor for name, tensor in trained.state_dict().items() if not name.startswith("head.")}
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if name in state:
                tensor.copy_(state[name])
