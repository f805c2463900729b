"""The claims table on simulated studies whose truth is known, and the committed claims file."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from scipy.stats import ttest_1samp

from loupe.config import load
from loupe.data.conditions import CONDITIONS, SHIFTED
from loupe.errors import LoupeError
from loupe.evaluation.claims import (
    NOT_RUN,
    Cell,
    Claim,
    ClaimBook,
    cell_predictions,
    claims_table,
    decide,
    margin_p,
    pretrainings_behind,
    read_claims,
    read_predictions,
)
from loupe.evaluation.explain import centre_prior, part_energy
from loupe.evaluation.metrics import uf1
from loupe.evaluation.statistics import Interval, holm

COMMITTED = Path(__file__).parents[2] / "conf" / "claims.yaml"
VERDICTS = {"supported", "not supported", "inconclusive", NOT_RUN}


def claim(identity: str, a: str, *b: str, paper: str = "micron-bert", **changes) -> Claim:
    facts = {"sentence": "s", "source": "s", "metric": "uf1", "paper_number": "n", "task": "micro", **changes}
    return Claim(id=identity, paper=paper, a=Cell("study", a), b=tuple(Cell("study", arm) for arm in b), **facts)


@pytest.fixture
def study(simulated_pair):
    """Arms good and bad (clearly apart), good-again (no better than good), with validation rows that must be ignored."""
    rng = np.random.default_rng(0)
    good, bad = simulated_pair(rng, 0.8, 0.4, subjects=20, seeds=5, pretraining="micron-bert")
    again = good.assign(arm="again")
    flip = rng.random(len(again)) < 0.01
    again["pred"] = np.where(flip, (again["pred"] + 1) % 3, again["pred"])
    single = bad[bad["seed"] == 0].assign(arm="svm", pretraining="none")
    val = good.assign(split="val", pred=0, sample=lambda f: f["sample"] + 10_000)
    frame = pd.concat([good.assign(arm="good"), bad.assign(arm="bad"), again, single, val.assign(arm="good")])
    return {"study": frame}


def test_verdicts_on_a_study_with_known_truth(study):
    book = ClaimBook(
        {"micro": 3},
        (
            claim("better", "good", "bad"),
            claim("worse", "bad", "good"),
            claim("same", "good", "again"),
            claim("best", "good", "bad", "again"),
            claim("svm", "good", "svm"),
            claim("absent", "good", "missing"),
            claim("half", "good", "bad", "missing"),
            claim("elsewhere", "good", "bad", task="stills"),
            Claim(id="record", paper="emotic-mae", sentence="s", source="s", metric="macro_f1", paper_number="n"),
        ),
    )
    table = claims_table(book, study, resamples=2000).set_index("id")
    assert table["verdict"].to_dict() == {
        "better": "supported", "worse": "not supported", "same": "not supported", "best": "not supported", "svm": "supported",
        "absent": NOT_RUN, "half": NOT_RUN, "elsewhere": NOT_RUN, "record": NOT_RUN,
    }  # fmt: skip
    better, frame = table.loc["better"], study["study"]
    scored = frame[(frame["arm"] == "good") & (frame["split"] == "loso")]
    assert better["value_a"] == pytest.approx(np.mean([uf1(f["label"], f["pred"], 3) for _, f in scored.groupby("seed")]), abs=1e-6)
    assert better["effect"] == pytest.approx(better["value_a"] - better["value_b"], abs=2e-6)
    assert better["low"] < better["effect"] < better["high"] and 0 < better["detectable"] < better["effect"]
    assert (better["n_subjects"], better["n_samples"], better["n_seeds"], better["n_pretrainings"]) == (20, 240, 5, 1)
    assert table.loc["svm", ["n_seeds", "n_seeds_a", "n_seeds_b", "n_pretrainings"]].tolist() == [5, 5, 1, 1]
    assert table.loc["best", "cells"] == "study/good@1 - study/again@1 (best of 2)"
    assert table.loc["half", "cells"] == "study/good@1 - best of (study/bad@1 | study/missing@1)"
    assert set(table["note"]) == {"on generated faces"} and set(table["licensed"]) == {"not run"}
    assert table.loc["absent", ["effect", "p", "n_subjects"]].isna().all()


def test_not_worse_is_held_against_the_margin_and_not_against_zero(simulated_pair):
    """A loss within the margin, a loss beyond it, and too few people to tell; the rule `better` on the same predictions shows the
    difference."""
    rng = np.random.default_rng(5)
    equal, far, few = (
        simulated_pair(rng, *skills, subjects=n, per_subject=40) for skills, n in (((0.6, 0.6), 60), ((0.45, 0.7), 60), ((0.6, 0.6), 4))
    )
    frame = {
        "study": pd.concat(
            [f.assign(arm=f"{name}-{side}") for name, pair in (("equal", equal), ("far", far)) for side, f in zip("ab", pair, strict=True)]
        )
    }
    entries = [
        claim(f"{name}-{rule}", f"{name}-a", f"{name}-b", rule=rule, sesoi=0.1)
        for name in ("equal", "far")
        for rule in ("better", "not-worse")
    ]
    table = claims_table(ClaimBook({"micro": 3}, tuple(entries)), frame, resamples=2000).set_index("id")
    assert table["verdict"].to_dict() == {
        "equal-better": "not supported", "equal-not-worse": "supported", "far-better": "not supported", "far-not-worse": "not supported",
    }  # fmt: skip
    assert table["sesoi"].to_dict() == {"equal-better": 0.1, "equal-not-worse": -0.1, "far-better": 0.1, "far-not-worse": -0.1}
    assert table.loc["equal-not-worse", "note"] == "on generated faces; not worse: held against a loss of 0.1"
    study = {"study": pd.concat([f.assign(arm=f"few-{side}") for side, f in zip("ab", few, strict=True)])}
    assert decide(claim("few", "few-a", "few-b", rule="not-worse", sesoi=0.001), study, 3, rng, resamples=2000)["verdict"] == "inconclusive"


def test_the_margin_is_rejected_in_a_fortieth_of_studies_in_which_a_is_worse_by_just_that():
    """The p of not-worse is doubled: at .05 it errs as often as a 95 % interval that ends there. Against a t test on simulated means."""
    rng = np.random.default_rng(0)
    values = rng.normal(-0.05, 0.1, (4000, 30))
    errors, means = values.std(1, ddof=1) / 30**0.5, values.mean(1)
    p = [margin_p(Interval(mean, 0, 0, error, "bca", 29), 0.05) for mean, error in zip(means, errors, strict=True)]
    assert np.mean(np.array(p) < 0.05) == pytest.approx(0.025, abs=0.008)
    one_sided = ttest_1samp(values[0], -0.05, alternative="greater").pvalue
    assert p[0] == pytest.approx(min(1, 2 * one_sided), rel=1e-6)
    assert [margin_p(Interval(value, 0, 0, 0.0, "percentile", 29), 0.05) for value in (0.0, -0.05)] == [0, 1]


def test_holm_runs_within_a_paper_over_the_claims_that_ran(study):
    claims = [claim(f"m{i}", "good", "bad") for i in range(3)] + [
        claim("e", "good", "again", paper="emotic-mae"),
        claim("none", "good", "missing"),
    ]
    table = claims_table(ClaimBook({"micro": 3}, tuple(claims)), study, resamples=500).set_index("id")
    micro = ["m0", "m1", "m2"]
    np.testing.assert_allclose(table.loc[micro, "p_holm"].astype(float), holm(table.loc[micro, "p"]), atol=2e-6)
    assert table.loc["m0", "p_holm"] > table.loc["m0", "p"]
    assert table.loc["e", "p_holm"] == table.loc["e", "p"]


def test_holm_can_take_a_verdict_away(simulated_pair):
    a, b = simulated_pair(np.random.default_rng(1), 0.62, 0.5, subjects=14, seeds=1)
    frame = {"study": pd.concat([a.assign(arm="x"), b.assign(arm="y")])}
    alone = ClaimBook({"micro": 3}, (claim("c", "x", "y", sesoi=0.0),))
    table = claims_table(alone, frame, resamples=2000)
    assert table["verdict"][0] == "supported" and 0.001 < table["p"][0] < 0.05
    crowd = ClaimBook({"micro": 3}, (*alone.claims, *(claim(f"n{i}", "y", "x", sesoi=0.0) for i in range(25))))
    assert claims_table(crowd, frame, resamples=2000)["verdict"][0] == "inconclusive"


def test_a_claim_is_decided_alone_and_the_same_each_time(study):
    one, other = claim("better", "good", "bad"), claim("zzz", "good", "again")
    full = claims_table(ClaimBook({"micro": 3}, (other, one)), study, resamples=500, seed=4).set_index("id").loc["better"]
    lone = claims_table(ClaimBook({"micro": 3}, (one,)), study, resamples=500, seed=4).set_index("id").loc["better"]
    assert (full[["effect", "low", "high", "p"]] == lone[["effect", "low", "high", "p"]]).all()
    shuffled = {"study": study["study"].sample(frac=1, random_state=0)}
    pd.testing.assert_frame_equal(
        claims_table(ClaimBook({"micro": 3}, (one,)), shuffled, resamples=500, seed=4).astype(str),
        lone.to_frame().T.reset_index(names="id")[claims_table(ClaimBook({"micro": 3}, (one,)), study, resamples=50).columns].astype(str),
    )
    row = decide(one, study, 3, np.random.default_rng(0), resamples=500)
    assert row["p_holm"] == row["p"] and row["verdict"] == "supported"


def test_score_and_localisation_claims(simulated_pair):
    rng = np.random.default_rng(2)
    a, b = simulated_pair(rng, 0.9, 0.2, classes=2, seeds=2, seeds_b=1, task="spotting")
    maps = [f.assign(task="localisation", rank_correlation=rng.normal(m, 0.2, len(f)), p1=np.nan) for f, m in ((a, 0.6), (b, 0.2))]
    frame = {"study": pd.concat([a, b, *maps])}
    book = ClaimBook(
        {"spotting": 2, "localisation": 1},
        (
            claim("area", "a", "b", task="spotting", metric="auroc"),
            claim("sensitivity", "a", "b", task="spotting", metric="sensitivity_at_fpr05"),
            claim("maps", "a", "b", task="localisation", metric="rank_correlation"),
        ),
    )
    table = claims_table(book, frame, resamples=1000)
    assert table["verdict"].tolist() == ["supported"] * 3
    assert table["value_a"][2] == pytest.approx(0.6, abs=0.03) and table["effect"][2] == pytest.approx(0.4, abs=0.05)


def test_records_of_stages_are_read(tmp_path, study):
    for stage, name in (("one", "predictions"), ("two", "predictions"), ("two", "localisation"), ("two", "other")):
        (tmp_path / stage).mkdir(exist_ok=True)
        study["study"].assign(task=name).to_parquet(tmp_path / stage / f"{name}.parquet")
    records = read_predictions(tmp_path)
    assert set(records) == {"one", "two"}
    assert set(records["two"]["task"]) == {"predictions", "localisation"} and len(records["two"]) == 2 * len(records["one"])
    assert read_predictions(tmp_path / "nothing") == {}


def test_a_cell_reads_the_people_it_names_and_no_others(tmp_path, simulated_pair):
    """On the records of a stage: rows of training and of validation people, on which the arms differ, are planted beside scored rows, on
    which they do not. Each claim sees its own; the one without a split none of the planted."""
    rng = np.random.default_rng(8)
    folder = tmp_path / "study"
    folder.mkdir()
    skills = {"test": (0.5, 0.5), "train": (0.95, 0.4), "val": (0.4, 0.95)}
    parts = {}
    for number, (split, pair) in enumerate(skills.items()):
        frames = [
            frame.assign(arm=arm, split=split, sample=lambda f, n=number: f["sample"] + 1000 * n)
            for arm, frame in zip("ab", simulated_pair(rng, *pair, per_subject=20), strict=True)
        ]
        parts[split] = pd.concat(frames)
    pd.concat(parts.values()).to_parquet(folder / "predictions.parquet")
    claims = [
        Claim(
            split,
            "micron-bert",
            "s",
            "s",
            "uf1",
            "n",
            task="micro",
            a=Cell("study", "a", split=split),
            b=(Cell("study", "b", split=split),),
        )
        for split in ("", "train", "val")
    ]
    table = claims_table(ClaimBook({"micro": 3}, tuple(claims)), read_predictions(tmp_path), resamples=500).set_index("id")
    assert table.loc[["train", "val"], "verdict"].tolist() == ["supported", "not supported"] and table.loc["", "p"] > 0.05
    for split, name in (("test", ""), ("train", "train"), ("val", "val")):
        means = [np.mean([uf1(run["label"], run["pred"], 3) for _, run in part.groupby("seed")]) for _, part in parts[split].groupby("arm")]
        assert table.loc[name, ["value_a", "value_b"]].tolist() == pytest.approx(means, abs=1e-6)
        assert table.loc[name, "n_samples"] == 400
    assert table["cells"].to_dict() == {
        "": "study/a@1 - study/b@1",
        "train": "study/a@1 (train people) - study/b@1 (train people)",
        "val": "study/a@1 (val people) - study/b@1 (val people)",
    }
    only = {"study": parts["train"]}
    assert decide(claims[0], only, 3, rng)["verdict"] == NOT_RUN and decide(claims[2], only, 3, rng)["verdict"] == NOT_RUN


def test_the_committed_claims():
    book = read_claims(COMMITTED)
    assert {claim.paper for claim in book.claims} == {"emotic-mae", "micron-bert"}
    assert sum(claim.a is not None for claim in book.claims) >= 15
    assert all(claim.sentence.endswith(".") and claim.source and claim.paper_number and claim.scales for claim in book.claims)
    assert book.classes == {
        "stills": 8,
        "frames": 8,
        "units": 32,
        "micro": 3,
        "spotting": 2,
        "localisation": 1,
        "parts": 1,
    } and book.answers == {"units": 2}
    table = claims_table(book, {}, resamples=10)
    assert set(table["verdict"]) == {NOT_RUN} and table["id"].is_unique and len(table) == len(book.claims)
    columns = (
        "id paper sentence metric value_a value_b effect low high p p_holm n_subjects n_seeds n_pretrainings detectable verdict note cells "
        "paper_number licensed"
    )
    assert set(columns.split()) <= set(table.columns)


@pytest.mark.parametrize(("sharp", "verdict"), [(True, "supported"), (False, "not supported")])
def test_the_committed_claim_about_face_parts_tells_a_map_that_finds_them_from_one_that_knows_where_faces_are(tmp_path, sharp, verdict):
    """Through the file that notebook 04 writes: rows scored against motion stand beside rows scored against parts, each with the other's
    scores missing."""
    rng = np.random.default_rng(0)
    parts = np.ones((36, 32, 32), dtype=np.uint8)
    for face in parts:  # a mouth anywhere in the lower half
        column = 4 * rng.integers(0, 6)
        face[16:24, column : column + 12] = 5
    clips = {
        "sample": np.arange(36),
        "subject": np.repeat([f"p{i:02d}" for i in range(12)], 3),
        "clip": [f"c{i}" for i in range(36)],
        "label": 0,
        "pred": 0,
    }
    about = {"fraction": 1.0, "seed": 0, "fold": "", "split": "loso", "condition": "", "regime": "labels", "pretraining": "none", **clips}
    about |= {"dose": np.nan, "smoothed": False}
    where, blurred = (parts == 5).astype(float), (parts == 5).mean(axis=0, keepdims=True).repeat(36, axis=0)
    maps = {"poi": where if sharp else blurred, "mean-mask": blurred, "centre": np.broadcast_to(centre_prior((32, 32)), parts.shape)}
    maps |= {"uniform": np.ones((36, 16)), "contrast": rng.random((36, 16))}
    rows = [
        pd.DataFrame({**about, "task": "parts", "arm": name, "energy_inside": part_energy(values, parts, 8)})
        for name, values in maps.items()
    ]
    moving = pd.DataFrame({**about, "task": "localisation", "arm": "poi", "energy_inside": 0.01, "rank_correlation": 0.2})
    (tmp_path / "micron-bert").mkdir()
    pd.concat([moving, *rows]).to_parquet(tmp_path / "micron-bert" / "localisation.parquet")
    book = read_claims(COMMITTED)
    (row,) = claims_table(book, read_predictions(tmp_path), resamples=1000).query("id == 'poi-finds-face-parts'").to_dict("records")
    assert row["verdict"] == verdict and (row["n_subjects"], row["n_samples"]) == (12, 36)
    assert row["cells"] == "micron-bert/poi@1 - micron-bert/mean-mask@1 (best of 4)"
    assert row["value_a"] == pytest.approx(part_energy(maps["poi"], parts, 8).mean(), abs=1e-6)


def cells_asked(scale, stage, **of):
    """What claims ask of a stage at a scale."""
    claims = [claim for claim in read_claims(COMMITTED).claims if scale in claim.scales and claim.a]
    cells = [cell for claim in claims if all(getattr(claim, name) == value for name, value in of.items()) for cell in (claim.a, *claim.b)]
    return {cell for cell in cells if cell.stage == stage}


@pytest.mark.parametrize("scale", ["smoke", "laptop", "gpu"])
def test_stages_train_what_claims_ask_for_at_each_scale(scale):
    """By arm and state; a claim on a cell that no scale trains would read "not run" for ever."""
    config = load([f"scale={scale}"], COMMITTED.parents[1])
    pairs, parts, frames = config.experiments.dual_view, config.experiments.ablations, config.experiments.low_label.frames
    asked = {(cell.arm, cell.condition) for cell in cells_asked(scale, "dual-view")}
    further = {(arm, condition) for arm in pairs.further_conditions for condition in CONDITIONS}
    assert asked <= {(arm.name, "") for arm in pairs.arms} | further
    assert {(arm, condition) for arm in ("concat", "single") for condition in CONDITIONS} <= asked
    asked = {(cell.arm, cell.condition, cell.dose) for cell in cells_asked(scale, "ablations")}
    trained = {(arm.name, "", None) for arm in [*parts.arms, *parts.micro]} | {("micron-bert", "", dose) for dose in parts.skew}
    if config.scale.faces.shift_clips:
        trained |= {(arm, SHIFTED, None) for arm in ("micron-bert", "micron-bert-untrained", "flow-svm")}
    assert asked <= trained and ({("micron-bert", SHIFTED, None), ("micron-bert", "", 1.0)} <= asked) == config.scale.more
    tuning = config.experiments.micro_expressions.fine_tuning
    asked = {cell.arm for cell in cells_asked(scale, "micro-expressions") if cell.regime == "folds"}
    assert {arm.name for arm in tuning.arms[:4]} | {*tuning.rivals} == asked
    asked = {(cell.arm, cell.fraction) for cell in cells_asked(scale, "low-label", task="frames")}
    arms = {"probe", *(arm.name for arm in frames.arms)}
    assert asked <= {(arm, share) for arm in arms for share in (1 / frames.every, 1.0)} and {arm for arm, _ in asked} == arms


def test_a_cell_reads_its_state_and_no_other(simulated):
    """Rows of every other state are planted beside those that are meant."""
    usual = {"condition": "", "regime": "labels", "dose": np.nan, "smoothed": False}
    states = [{}, {"condition": "covered"}, {"regime": "people"}, {"regime": "folds"}, {"dose": 0.5}, {"dose": 1.0}, {"smoothed": True}]
    frame = pd.concat(simulated(np.random.default_rng(0), seeds=1, **(usual | state)).assign(mark=i) for i, state in enumerate(states))
    for number, state in enumerate(states):
        assert set(cell_predictions(Cell("study", "a", **state), "micro", {"study": frame})["mark"]) == {number}
    assert cell_predictions(Cell("study", "a", condition="shifted"), "micro", {"study": frame}) is None
    assert str(Cell("study", "a", 0.1, condition="covered", smoothed=True)) == "study/a@0.1 (covered, smoothed)"
    frames = {"study": frame.assign(task="frames", regime="frames")}  # of video a share is one of the frames
    assert set(cell_predictions(Cell("study", "a"), "frames", frames)["mark"]) == {0, 2, 3}


def test_pretrainings_are_counted_by_where_the_encoder_comes_from():
    def arm(*encoders):
        return pd.DataFrame(encoders, columns=["pretraining", "dose"])

    none, one, two = arm(("none", np.nan)), arm(("mae-face", np.nan)), arm(("micron-bert", 0.5), ("micron-bert", 1.0), ("micron-bert", 1.0))
    assert [pretrainings_behind(*arms) for arms in ((none, none), (one, none), (two, none), (two, one))] == [0, 1, 2, 1]


def test_every_committed_claim_with_cells_can_be_decided(simulated):
    """Runs the whole committed file on simulated cells: no claim names a metric, task or class count that its records cannot serve."""
    book = read_claims(COMMITTED)
    rng = np.random.default_rng(3)
    labels = {task: np.arange(48) % max(classes, 2) for task, classes in book.classes.items()}
    rows: dict[str, dict[tuple, pd.DataFrame]] = {}
    for entry in book.claims:
        for cell in (entry.a, *entry.b) if entry.a else ():
            frame = simulated(
                rng, subjects=6, per_subject=8, classes=max(book.classes[entry.task], 2), seeds=2, labels=labels[entry.task],
                arm=cell.arm, task=entry.task, fraction=cell.fraction,
            ).assign(rank_correlation=0.5, energy_inside=0.5, split=cell.split or "loso")  # fmt: skip
            regime = cell.regime or ("frames" if entry.task == "frames" else "labels")
            frame = frame.assign(condition=cell.condition, smoothed=cell.smoothed, dose=cell.dose, regime=regime).astype({"dose": float})
            rows.setdefault(cell.stage, {})[(entry.task, cell)] = frame
    table = claims_table(book, {stage: pd.concat(cells.values()) for stage, cells in rows.items()}, resamples=64).set_index("id")
    ran = [entry.id for entry in book.claims if entry.a]
    assert table.loc[ran, "p_holm"].between(0, 1).all() and (table.loc[ran, "verdict"] != NOT_RUN).all()
    assert set(table["verdict"]) <= VERDICTS and (table.drop(index=ran)["verdict"] == NOT_RUN).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"metric": "f2"}, "claim x: metric 'f2' is unknown"),
        ({"rule": "equal"}, "claim x: rule 'equal' is unknown"),
        ({"paper": "mae"}, "claim x: paper 'mae' is unknown"),
        ({"sesio": 0.1}, "claim x: .*sesio"),
        ({"b": None}, "both a and b"),
        ({"task": "other"}, "task 'other'"),
        ({"a": {"stage": "s", "arms": "a"}}, "claim x: .*arms"),
        ({"a": {"stage": "s", "arm": "a", "split": "test"}}, "claim x: a cell's split is train or val"),
        ({"b": {"stage": "s", "arm": "b", "split": "trian"}}, "claim x: a cell's split is train or val"),
        ({"a": {"stage": "s", "arm": "a", "split": "val"}}, "claim x: its cells name different splits"),
        ({"a": {"stage": "s", "arm": "a", "regime": "folds"}}, "claim x: only some of its cells have regime folds"),
    ],
)
def test_a_bad_claims_file_is_refused(tmp_path, change, message):
    entry = {
        "id": "x", "paper": "micron-bert", "sentence": "s.", "source": "s", "metric": "uf1", "paper_number": "n", "task": "micro",
        "a": {"stage": "s", "arm": "a"}, "b": {"stage": "s", "arm": "b"},
    }  # fmt: skip
    path = tmp_path / "claims.yaml"
    path.write_text(yaml.safe_dump({"tasks": {"micro": 3}, "claims": [entry]}))
    assert read_claims(path).claims[0].b == (Cell("s", "b", 1.0),)
    path.write_text(yaml.safe_dump({"tasks": {"micro": 3}, "claims": [entry | change]}))
    with pytest.raises(LoupeError, match=message):
        read_claims(path)


def test_other_bad_files_are_refused(tmp_path):
    path = tmp_path / "claims.yaml"
    with pytest.raises(LoupeError, match="missing"):
        read_claims(path)
    path.write_text("claims: [\n")
    with pytest.raises(LoupeError, match="not valid YAML"):
        read_claims(path)
    path.write_text("claims: []\n")
    with pytest.raises(LoupeError, match="keys tasks and claims"):
        read_claims(path)
    for units in ("{classes: 5, answers: 2}", "{classes: 4}"):
        path.write_text(f"tasks: {{units: {units}}}\nclaims: []\n")
        with pytest.raises(LoupeError, match="task units must hold a number of classes, or classes and answers"):
            read_claims(path)
    entry = "{id: x, paper: micron-bert, sentence: s, source: s, metric: uf1, paper_number: n}"
    path.write_text(f"tasks: {{micro: 3}}\nclaims: [{entry}, {entry}]\n")
    with pytest.raises(LoupeError, match="id x occurs 2 times"):
        read_claims(path)
