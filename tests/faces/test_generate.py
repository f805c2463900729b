"""Preparing a study set: same bytes whatever the workers, resumable, disjoint, balanced, and clear about bad plans."""

import errno
from collections import Counter
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from loupe.errors import LoupeError
from loupe.faces import generate
from loupe.faces.expression import AU_NAMES, STILL_CLASSES
from loupe.faces.generate import prepare
from loupe.faces.plan import ROLES, StudySetPlan, generator_version, jobs, quotas
from loupe.faces.subject import CLASS_OF_EMOTION


def content(out):
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory, small_plan, cache):
    folder = tmp_path_factory.mktemp("study")
    counts = prepare(small_plan, folder / "out", folder / "scratch", 1, cache)
    return folder, counts


def test_bytes_do_not_depend_on_the_workers(prepared, small_plan, cache, tmp_path):
    folder, counts = prepared
    assert prepare(small_plan, tmp_path / "out", tmp_path / "scratch", 2, cache) == counts
    assert content(folder / "out") == content(tmp_path / "out")


def test_an_interrupted_run_continues_to_the_same_bytes(prepared, small_plan, cache, tmp_path, monkeypatch):
    folder, _ = prepared
    drawn, render = [], generate.render_job

    def stops_after_three(studio, job, *rest):
        if len(drawn) == 3:
            raise KeyboardInterrupt
        drawn.append(job)
        return render(studio, job, *rest)

    monkeypatch.setattr(generate, "render_job", stops_after_three)
    with pytest.raises(KeyboardInterrupt):
        prepare(small_plan, tmp_path / "out", tmp_path / "scratch", 1, cache)
    assert not content(tmp_path / "out")  # nothing half-written is taken for whole
    broken = sorted((tmp_path / "scratch").rglob("*.npz"))[0]
    broken.write_bytes(broken.read_bytes()[:100])  # a file cut off by the machine
    monkeypatch.setattr(generate, "render_job", lambda *args: drawn.append(args[1]) or render(*args))
    prepare(small_plan, tmp_path / "out", tmp_path / "scratch", 1, cache)
    assert content(folder / "out") == content(tmp_path / "out")
    assert len(drawn) == len(jobs(small_plan)) + 1  # the three finished ones were kept, but for the broken one


def test_a_kept_person_with_any_damaged_byte_is_drawn_again(prepared, tmp_path):
    whole = sorted((prepared[0] / "scratch").rglob("*.npz"))[0].read_bytes()
    kept, rng = tmp_path / "person.npz", np.random.default_rng(0)
    kept.write_bytes(whole)
    intact = generate._read(kept)
    for place in [*rng.integers(0, 400, 75), *rng.integers(0, len(whole), 75)]:  # the first 400 bytes hold numpy's header of the pictures
        damaged = bytearray(whole)
        damaged[place] ^= 1 << rng.integers(8)
        kept.write_bytes(damaged)
        read = generate._read(kept)
        if read is None:
            assert not kept.exists()
        else:  # a byte that says nothing of the content: a date, a comment, padding
            np.testing.assert_array_equal(read.images, intact.images)
            assert read.rows == intact.rows and read.clips == intact.clips and read.side_rows == intact.side_rows
            assert all(np.array_equal(read.truths[name], intact.truths[name]) for name in intact.truths)


def test_manifest_describes_every_image(prepared):
    folder, counts = prepared
    assert (
        counts
        == {
            "stills": 32,
            "camera": 24,
            "shift": 8,
            "clips": 8,
            "micro": 25,
            "micro_shift": 10,
            "micro_calm": 10,
            "micro_wild": 10,
            "macro": counts["macro"],
        }
        and counts["macro"] >= 3
    )
    for name, count in counts.items():
        manifest = pd.read_parquet(folder / "out" / name / "manifest.parquet")
        images = np.load(folder / "out" / name / "images.npy", mmap_mode="r")
        assert images.shape == (count, 32, 32, 3) and images.dtype == np.uint8 and len(manifest) == count
        assert (
            list(manifest.columns) == list(generate.COLUMNS)
            and manifest["sample"].tolist() == list(range(count))
            and (manifest["set"] == name).all()
        )
        assert all(len(au) == len(AU_NAMES) for au in manifest["au"]) and all(len(points) == 136 for points in manifest["landmarks"])
        assert images[:].std() > 20  # no blank pictures


def test_micro_clips_store_five_frames_and_their_ground_truth(prepared):
    folder, _ = prepared
    manifest = pd.read_parquet(folder / "out/micro/manifest.parquet")
    motion, parts = np.load(folder / "out/micro/motion.npy"), np.load(folder / "out/micro/parts.npy")
    clips = sorted(manifest["clip"].unique())
    assert motion.shape == parts.shape == (len(clips), 32, 32) and motion.dtype == np.float32 and parts.dtype == np.uint8
    assert set(np.unique(parts)) <= set(range(6))
    for i, clip in enumerate(clips):
        rows = manifest[manifest["clip"] == clip].set_index("role")
        assert list(rows.index) == ["onset", "rise", "apex", "fall", "offset"]
        assert all((rows[role] == rows.loc[role, "frame"]).all() for role in ("onset", "apex", "offset"))
        assert (rows["label_name"] == "none").all() == (not motion[i].any())
        assert ((rows["label"] == -1) == (rows["label_name"] == "none")).all()


def test_flow_of_expression_and_head_are_stored_apart(prepared):
    folder, _ = prepared
    manifest = pd.read_parquet(folder / "out/micro/manifest.parquet")
    motion, expression, head = (np.load(folder / f"out/micro/{name}.npy") for name in ("motion", "expression_flow", "head_flow"))
    assert expression.shape == head.shape == (*motion.shape, 2) and expression.dtype == head.dtype == np.float32
    size = np.linalg.norm(expression, axis=-1)
    assert (
        np.abs(size - motion).max() < 0.05 * max(1, motion.max()) and (size <= motion + 1e-4).all()
    )  # the mean of lengths is no less than the length of the mean
    names = manifest.drop_duplicates("clip").set_index("clip").sort_index()["label_name"]
    for name, face, moved in zip(names, expression, head, strict=True):
        assert moved.any() and (name == "none") == (not face.any())


def test_shifted_clips_show_known_people_in_unknown_looks(prepared):
    folder, _ = prepared
    shift = pd.read_parquet(folder / "out/micro_shift/manifest.parquet")
    others = pd.concat([pd.read_parquet(folder / f"out/{name}/manifest.parquet") for name in ("stills", "clips", "micro", "macro")])
    for column in ("light", "background", "hair"):
        assert not set(shift[column]) & set(others[column]), column
    micro = others[others["set"] == "micro"]
    assert set(shift["subject"]) <= set(micro["subject"]) and not set(shift["clip"]) & set(micro["clip"])
    assert shift.groupby("clip")["role"].apply(list).map(lambda roles: roles == ["onset", "rise", "apex", "fall", "offset"]).all()
    motion = np.load(folder / "out/micro_shift/motion.npy")
    assert len(motion) == shift["clip"].nunique() == 2 and (motion.max((1, 2)) > 0).all()


def test_the_same_clips_at_other_positions_of_the_dial(prepared):
    folder, _ = prepared
    usual, calm, wild = (pd.read_parquet(folder / f"out/{name}/manifest.parquet") for name in ("micro", "micro_calm", "micro_wild"))
    assert list(calm["clip"]) == list(wild["clip"]) and set(calm["clip"]) < set(usual["clip"])
    assert calm["clip"].nunique() == 2 == calm["subject"].nunique()
    for clip in set(calm["clip"]):
        known = [table[table["clip"] == clip].set_index("role") for table in (usual, calm, wild)]
        assert len({table["label"].iloc[0] for table in known}) == 1
        # The same expression of the same person; at position 0 the head does not move.
        assert known[0].loc["apex", "tone"] == known[1].loc["apex", "tone"] == known[2].loc["apex", "tone"]
        assert known[1]["yaw"].nunique() == 1 < known[2]["yaw"].nunique()
    moved = {name: np.abs(np.load(folder / f"out/{name}/head_flow.npy")).max() for name in ("micro_calm", "micro_wild")}
    assert moved["micro_calm"] == 0 < moved["micro_wild"]


def test_the_second_camera_sees_the_same_instant(prepared):
    folder, _ = prepared
    stills, side = (pd.read_parquet(folder / f"out/{name}/manifest.parquet") for name in ("stills", "camera"))
    first = stills[stills["split"] != "pretrain"].reset_index(drop=True)
    same = ["split", "subject", "label", "prototype", "intensity", "pitch", "roll", "light", "age", "sex", "tone", "hair"]
    pd.testing.assert_frame_equal(first[same], side[same])
    assert (np.stack(first["au"]) == np.stack(side["au"])).all()
    turn = np.degrees(np.abs(side["yaw"] - first["yaw"]))
    assert turn.between(20, 40).all() and np.degrees(side["yaw"].abs()).max() <= 60 and turn.nunique() == len(turn)
    worn = first["occlusion"].where(first["occlusion"].isin(["glasses", "sunglasses", "mask"]), "none")
    assert (side["occlusion"] == worn).all()


def test_the_shift_set_holds_what_no_other_set_holds(prepared):
    folder, _ = prepared
    shift = pd.read_parquet(folder / "out/shift/manifest.parquet")
    others = pd.concat(
        [pd.read_parquet(folder / "out" / name / "manifest.parquet") for name in ("stills", "camera", "clips", "micro", "macro")]
    )
    for column in ("light", "background", "hair"):
        assert not set(shift[column]) & set(others[column]), column
    posed = shift[shift["label_name"] != "Neutral"]
    assert not set(posed["prototype"]) & set(others["prototype"])
    test = others[(others["set"] == "stills") & (others["split"] == "test")]
    assert set(shift["subject"]) == set(test["subject"]) and (shift["split"] == "test").all()
    assert set(shift["age"]) == set(test["age"])  # the same people with another haircut


def test_nobody_is_in_two_roles():
    plan = StudySetPlan(3, 64, 40, 10, 4, 8, 32, 12, 24, 20, 240, 40, 60, 10)
    people = {}
    for job in jobs(plan):
        people.setdefault(job.subject, set()).add(job.role)
    assert all(len(roles) == 1 for roles in people.values()) and len(people) == 40 + 10 + 4 + 8 + 12 + 20
    for number in (0, 99_999):
        assert len({generate.Job("stills", "", role, number, ()).subject for role in ROLES}) == len(ROLES)


def test_classes_follow_their_plan():
    plan = StudySetPlan(3, 64, 2, 10, 4, 8, 32, 12, 24, 20, 240, 40, 60, 10)
    listed = jobs(plan)
    for job in listed:
        if job.set == "stills":
            assert Counter(job.items) == dict.fromkeys(STILL_CLASSES, 4)
    micro = [job for job in listed if job.set == "micro"]
    counted = Counter(class_of(item) for job in micro for item in job.items)
    assert counted == {"negative": 134, "positive": 60, "surprise": 46, "none": 40}
    assert all(len({class_of(item) for item in job.items} - {"none"}) == 3 for job in micro)
    shown = Counter(label for job in listed if job.set == "macro" for labels in job.items for label in labels)
    assert max(shown.values()) - min(shown.values()) <= 3 and "Neutral" not in shown
    assert sum(len(job.items) for job in listed if job.set == "macro") == 60


def class_of(emotion):
    return CLASS_OF_EMOTION.get(emotion, "none")


def test_quotas_add_up():
    assert quotas((0.56, 0.25, 0.19), 24) == [13, 6, 5] and sum(quotas((1, 1, 1), 100)) == 100 and quotas((1, 2), 0) == [0, 0]


@pytest.mark.parametrize(
    "change, key",
    [
        ({"train_subjects": -1}, "train_subjects"), ({"size": 8}, "size"), ({"size": 4096}, "size"),
        ({"stills_per_subject": 10**9}, "stills_per_subject"), ({"nuisance": 3}, "nuisance"), ({"macro_stride": 0}, "macro_stride"),
        ({"micro_subjects": 0}, "micro_subjects"), ({"micro_clips": 2.5}, "micro_clips"), ({"second_cameras": 2}, "second_cameras"),
        ({"shift_stills": -1}, "shift_stills"),
        ({"train_subjects": 0, "val_subjects": 0, "test_subjects": 0}, "macro_clips"), ({"pretrain_subjects": 10**7}, "stills_per_subject"),
    ],
)  # fmt: skip
def test_a_senseless_plan_is_told_by_its_key(small_plan, cache, tmp_path, change, key):
    with pytest.raises(LoupeError, match=key):
        prepare(replace(small_plan, **change), tmp_path, tmp_path, 1, cache)


def test_a_full_disk_and_an_unwritable_folder_are_told(small_plan, cache, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    plan = replace(
        small_plan,
        pretrain_subjects=0,
        val_subjects=0,
        test_subjects=0,
        clip_subjects=0,
        micro_clips=0,
        none_clips=0,
        macro_clips=0,
        shift_stills=0,
        dial_clips=0,
        train_subjects=1,
    )
    with monkeypatch.context() as patch:
        patch.setattr(generate, "_write", full)
        with pytest.raises(LoupeError, match="No space is left.*stills"):
            prepare(plan, tmp_path / "out", tmp_path / "scratch", 1, cache)
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(LoupeError, match="file"):
        prepare(plan, tmp_path / "file", tmp_path / "scratch", 1, cache)


def test_the_version_is_short_and_steady():
    assert generator_version() == generator_version() and len(generator_version()) == 12
