"""Made-up predictions whose scores can be worked out by hand."""

import numpy as np
import pandas as pd
import pytest


def _run(arm, fraction, seed, rights, task="stills", split="test", classes=2):
    """One run: `rights[s]` are the right answers of subject s out of four samples, two of each class."""
    rows = []
    for subject, right in enumerate(rights):
        for place in range(4):
            label = place % classes
            pred = label if place < right else (label + 1) % classes
            rows.append((task, arm, fraction, seed, "", split, 4 * subject + place, f"g{subject:04d}", "", label, pred))
    columns = ["task", "arm", "fraction", "seed", "fold", "split", "sample", "subject", "clip", "label", "pred"]
    return pd.DataFrame(rows, columns=columns)


@pytest.fixture
def run_of():
    """Builds one run: (arm, fraction, seed, right answers of each subject)."""
    return _run


@pytest.fixture
def predictions():
    """Two arms, two shares, two seeds, four people."""
    runs = []
    for arm, level in (("mae", 3), ("scratch", 1)):
        for fraction, more in ((0.1, 0), (1.0, 1)):
            for seed in range(2):
                rights = [level + more, level + more, level, min(4, level + seed)]
                runs.append(_run(arm, fraction, seed, rights))
    return pd.concat(runs, ignore_index=True)


@pytest.fixture
def claims():
    """Four claims with every verdict, in the columns of reports/claims.csv."""
    rows = [
        ("mae", "emotic-mae", "Pre-training helps.", 0.15, 0.11, 0.19, 0.0002, "supported"),
        ("view", "emotic-mae", "A second view helps.", -0.03, -0.08, 0.02, 0.31, "not supported"),
        ("poi", "micron-bert", "PoI adds <something> & more.", 0.04, -0.02, 0.1, 0.2, "inconclusive"),
        ("more", "micron-bert", "More data help.", np.nan, np.nan, np.nan, np.nan, "not run at this scale"),
    ]
    table = pd.DataFrame(rows, columns=["id", "paper", "sentence", "effect", "low", "high", "p_holm", "verdict"])
    return table.assign(
        source="abstract", task="stills", metric="macro_f1", value_a=0.6, value_b=0.5, sesoi=0.05, detectable=0.061, n_subjects=40,
        n_seeds=5, n_pretrainings=1, guess=0.125, floor=[False, False, False, None], cells="low-label/mae@0.1 - low-label/scratch@0.1",
        paper_number="none", licensed="not run", scales="gpu",
    )  # fmt: skip
