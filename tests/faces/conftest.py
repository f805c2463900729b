"""One baked head and one small studio for all tests of the generator."""

from pathlib import Path

import pytest

from loupe.faces.plan import StudySetPlan
from loupe.faces.subject import Studio


@pytest.fixture(scope="session")
def cache() -> Path:
    return Path(__file__).parents[2] / "data/scratch/assets"


@pytest.fixture(scope="session")
def studio(cache) -> Studio:
    return Studio.open(32, cache)


@pytest.fixture(scope="session")
def small_plan() -> StudySetPlan:
    return StudySetPlan(
        seed=7, size=32, pretrain_subjects=1, train_subjects=1, val_subjects=1, test_subjects=1, stills_per_subject=8, clip_subjects=1,
        frames_per_clip_subject=8, micro_subjects=2, micro_clips=4, none_clips=1, macro_clips=1, macro_stride=30, second_cameras=1,
        shift_stills=8, shift_clips=2, dial_clips=2,
    )  # fmt: skip
