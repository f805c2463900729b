"""Frames are pure functions, expressions move what their units say, and the ground truth agrees with the pixels."""

from dataclasses import replace

import numpy as np
import pytest

from loupe.data.align.geometry import alignment
from loupe.data.face_layout import CANONICAL, five_points
from loupe.faces.expression import (
    AU_NAMES,
    PROTOTYPES,
    SHIFT_PROTOTYPES,
    STILL_CLASSES,
    asymmetric,
    au_vector,
    draw_expression,
    unit_matrix,
)
from loupe.faces.frame import CLOSER, EYE_LINE, MOUTH_LINE
from loupe.faces.motion import DIALS, MICRO_CLASSES, MICRO_PROTOTYPES, micro_script
from loupe.faces.plan import jobs
from loupe.faces.render import PARTS, Motion, rotation
from loupe.faces.scene import Occluder, View, draw_light
from loupe.faces.sensor import CLEAN
from loupe.faces.subject import CLASS_OF_EMOTION, _people, clip_scene, person, render_frame, render_job, render_still, still_scene


def micro(studio, number, clip, emotion="happiness", nuisance=1):
    return clip_scene(studio, 7, "micro", number, clip, "micro", emotion, nuisance)


def test_a_frame_alone_equals_that_frame_of_the_full_clip(studio):
    scene = micro(studio, 0, 0)
    together = [render_frame(studio, 7, "micro", 0, 0, frame, scene)[0] for frame in range(0, scene.script.frames, 8)]
    _people.clear()
    render_still(studio, 7, "train", 5, 0, "Fear")  # something else in between
    alone, _ = render_frame(studio, 7, "micro", 0, 0, 16, micro(studio, 0, 0))
    assert np.array_equal(alone, together[2])
    assert not np.array_equal(together[0], together[2])


def test_stills_do_not_depend_on_their_order(studio, small_plan):
    job = next(job for job in jobs(small_plan) if job.split == "train")
    whole = render_job(studio, job, 7, 1, 1)
    image, row = render_still(studio, 7, "train", job.number, 3, job.items[3])
    assert np.array_equal(whole.images[3], image) and row["label_name"] == "Fear"


def test_people_and_seeds_differ(studio):
    looks = [
        render_still(studio, seed, role, number, 0, "Neutral")[0]
        for seed, role, number in ((7, "train", 0), (7, "train", 1), (7, "val", 0), (8, "train", 0))
    ]
    assert len({image.tobytes() for image in looks}) == 4


@pytest.mark.parametrize("emotion", ["happiness", "surprise", "disgust"])
def test_change_lies_where_the_motion_is(studio, emotion):
    """Nuisances and noise off, |apex - onset| is at least five times as strong inside the true motion as outside."""
    ratios = []
    for clip in range(3):
        scene = micro(studio, 1, clip, emotion, nuisance=0)
        scene = replace(scene, camera=CLEAN, script=replace(scene.script, gaze_shift=(0.0, 1.0, 0.0, 0.0)))
        script = scene.script
        onset, apex = (render_frame(studio, 7, "micro", 1, clip, frame, scene)[0].astype(float) for frame in (script.onset, script.apex))
        who, start = person(studio, 7, "micro", 1), script.base + script.expression(script.onset)
        view = View(**{**scene.view.__dict__, "gaze": script.gaze})
        field = studio.renderer.motion_field(who, start, script.base + script.expression(script.apex), view)
        energy, region = ((apex - onset) ** 2).mean(-1), field > 0.1 * field.max()
        assert 0.01 < region.mean() < 0.7
        ratios.append(energy[region].mean() / max(energy[~region].mean(), 1e-9))
    assert np.median(ratios) >= 5


def test_motion_field_is_the_expression_alone(studio):
    who, rest = person(studio, 7, "micro", 0), np.zeros(len(AU_NAMES))
    smile = studio.renderer.motion_field(who, rest, au_vector({"AU12": 0.3}), View())
    brows = studio.renderer.motion_field(who, rest, au_vector({"AU2": 0.3}), View())
    assert not studio.renderer.motion_field(who, rest, rest, View()).any()
    lower, upper = slice(18, 32), slice(0, 14)
    assert smile[lower].sum() > 5 * smile[upper].sum() and brows[upper].sum() > 5 * brows[lower].sum()


def test_head_and_expression_flow_add_up_to_the_motion_seen(studio):
    """To first order, the two flows sum to what the vertices really do between two frames."""
    r, who = studio.renderer, person(studio, 7, "micro", 0)
    rest, smile = np.zeros(len(AU_NAMES)), au_vector({"AU12": 0.2, "AU1": 0.2})
    still, moved = Motion(np.zeros(3), np.zeros(2)), Motion(np.array((0.01, -0.006, 0.004)), np.array((0.004, -0.003)))
    magnitude, expression, head = r.motion_fields(who, rest, smile, View(), still, moved)
    start, end = r.project(who, r.expressive(who, rest), View(), still), r.project(who, r.expressive(who, smile), View(), moved)
    r._draw_small(who, r.project(who, r.expressive(who, rest), View()))
    total = r.small.interpolate(end.screen(32) - start.screen(32), studio.head["triangles"])
    assert np.abs(total).max() > 0.3 and np.abs(total - expression - head).max() < 0.03 * np.abs(total).max()
    assert np.array_equal(magnitude, r.motion_field(who, rest, smile, View()))
    assert not r.motion_fields(who, rest, smile, View(), moved, moved)[2].any()


def test_a_camera_that_orbits_sees_the_head_turned(studio):
    """Landmarks of the second camera: the first one's points in space, turned about the vertical axis through the face, then projected."""
    r, who, rest = studio.renderer, person(studio, 7, "train", 0), np.zeros(len(AU_NAMES))
    view, angle = View(yaw=0.1, pitch=-0.05), 0.5
    points = r.project(who, r.expressive(who, rest), view).camera[r.landmark_vertices].astype(float)
    x, y, z = points.T
    turned = np.stack([x * np.cos(angle) + z * np.sin(angle), y, z * np.cos(angle) - x * np.sin(angle)], 1)
    scale = view.distance * 32 / r._crop(who, view) / (view.distance - turned[:, 2])
    expected = np.stack([16 + turned[:, 0] * scale, 16 - turned[:, 1] * scale], 1)
    seen = r.project(who, r.expressive(who, rest), replace(view, orbit=angle))
    assert np.allclose(r.landmarks(seen).reshape(68, 2), expected, atol=1e-3)


def test_a_second_camera_at_the_first_ones_place_takes_its_picture(studio):
    scene = still_scene(studio, 7, "train", 0, 2, "Fear")
    draw = lambda view, light: studio.renderer.draw(scene.who, scene.au, view, light, scene.background)[0]  # noqa: E731
    once = draw(scene.view, scene.light)
    assert np.array_equal(once, draw(replace(scene.view, orbit=0.0), scene.light))
    turn = rotation(0.6, 0, 0)
    back = scene.light.turned(turn).turned(turn.T)
    assert np.allclose(back.lights, scene.light.lights, atol=1e-6) and np.allclose(back.ambient, scene.light.ambient, atol=1e-6)
    assert np.abs(once - draw(replace(scene.view, orbit=0.6), scene.light)).mean() > 0.02


def test_glasses_turn_with_the_head_and_hide_behind_it(studio):
    """The near arm of a turned head runs back to the ear, the far one is hidden: the change reaches further beyond the near eye."""
    who, rest, r = person(studio, 7, "train", 0), np.zeros(len(AU_NAMES)), studio.renderer
    light, wall = draw_light(np.random.default_rng(0)), np.full((32, 32, 3), 0.5, np.float32)
    glasses = Occluder("glasses", np.full(3, 0.1, np.float32), (0.5, 0.5, 0.5, 0.5))
    lead = {}
    for yaw in (-0.6, 0.0, 0.6):
        view = View(yaw=yaw, zoom=1 / CLOSER)  # with the ears in the picture
        bare, projection = r.draw(who, rest, view, light, wall)
        worn, _ = r.draw(who, rest, view, light, wall, glasses)
        columns = np.flatnonzero((np.abs(worn - bare).mean(-1) > 0.05).any(0))
        corners = r.landmarks(projection).reshape(68, 2)[[36, 45], 0]
        assert np.array_equal(worn[26:], bare[26:])  # nothing below the mouth
        lead[yaw] = (corners[0] - columns.min()) - (columns.max() - corners[1])
    assert lead[0.6] > 2 and lead[-0.6] < -2 and abs(lead[0.0]) < 2


def test_one_sided_units_move_their_side(studio):
    who, rest = person(studio, 7, "micro", 0), np.zeros(len(AU_NAMES))
    left = studio.renderer.motion_field(who, rest, au_vector({"AU12L": 0.5}), View())
    assert left[:, 16:].sum() > 4 * left[:, :16].sum()  # the subject's left is the viewer's right


def test_parts_lie_where_faces_have_them(studio):
    parts = studio.renderer.parts(person(studio, 7, "micro", 0), np.zeros(len(AU_NAMES)), View())
    rows = {name: np.argwhere(parts == i)[:, 0].mean() / 32 for i, name in enumerate(PARTS)}
    assert rows["brows"] < rows["eyes"] < rows["nose"] < rows["mouth"]
    assert abs(rows["eyes"] - EYE_LINE) < 0.05 and abs(rows["mouth"] - MOUTH_LINE) < 0.06
    assert all((parts == i).any() for i in range(len(PARTS)))


def test_generator_and_aligner_share_one_frame(studio):
    """Neutral frontal faces of several people have eyes and mouth where an aligned photograph has them; their aligning transform changes
    little."""
    drawn, rest = studio.renderer, np.zeros(len(AU_NAMES))
    people = [person(studio, 7, role, number) for role in ("train", "micro") for number in range(4)]
    points = [drawn.landmarks(drawn.project(who, drawn.expressive(who, rest), View())).reshape(68, 2) / 32 for who in people]
    eyes_and_mouth = [0, 1, 3, 4]
    off = five_points(np.stack(points))[:, eyes_and_mouth] - five_points(CANONICAL[:, :2])[eyes_and_mouth]
    assert np.abs(off.mean(0)).max() < 0.02 and np.abs(off).max() < 0.07
    assert abs(np.mean([alignment(one).scale for one in points]) - 1) < 0.03


def test_landmarks_are_in_ibug_order(studio):
    _, row = render_still(studio, 7, "train", 0, 0, "Neutral")
    neutral = studio.renderer
    who, rest = person(studio, 7, "train", 0), np.zeros(len(AU_NAMES))
    points = neutral.landmarks(neutral.project(who, neutral.expressive(who, rest), View())).reshape(68, 2) / 32
    assert len(row["landmarks"]) == 136 and len(set(neutral.landmark_vertices[:60])) == 60
    x, y = points.T
    assert np.all(np.diff(x[:17]) > -0.01) and y[8] == y[:17].max()  # jaw runs from the viewer's left to right, chin lowest
    assert np.all(np.diff(x[17:27]) > 0) and np.all(y[17:27] < y[36:48].min() + 0.02)
    assert np.all(np.diff(y[27:31]) > 0)
    assert x[36] < x[39] < x[42] < x[45] and x[48] < x[51] < x[54]
    for ring in ([36, 37, 38, 39], [36, 41, 40, 39], [42, 43, 44, 45], [42, 47, 46, 45]):  # upper and lower lid from corner to corner
        assert np.all(np.diff(x[ring]) > 0)
    assert y[37] < y[41] and y[43] < y[47] and y[51] < y[62] <= y[66] + 1e-3 < y[57]


def test_every_prototype_is_made_of_known_units(studio):
    matrix = unit_matrix(studio.renderer.names)
    assert (np.abs(matrix).sum(1) > 0).all()
    for label, variants in PROTOTYPES.items():
        assert (
            all(au_vector({unit: high for unit, (_, high) in variant.items()}).any() for variant in variants if variant)
            or label == "Neutral"
        )
    for label, variants in SHIFT_PROTOTYPES.items():
        shown = {frozenset(variant) for variant in PROTOTYPES.get(label, ())}
        for variant in variants:
            assert au_vector({unit: high for unit, (_, high) in variant.items()}).any() and frozenset(variant) not in shown
    for variants in MICRO_PROTOTYPES.values():
        assert all(au_vector({unit.replace("S", "L"): value for unit, value in variant.items()}).any() for variant in variants)
    assert set(CLASS_OF_EMOTION) == set(MICRO_PROTOTYPES) and set(CLASS_OF_EMOTION.values()) == set(MICRO_CLASSES)


def test_asymmetry_moves_strength_from_one_side_to_the_other():
    au = asymmetric(au_vector({"AU12": 1, "AU17": 1, "AU43": 1}), 0.2)
    value = dict(zip(AU_NAMES, au, strict=True))
    assert np.isclose(value["AU12L"], 1.2) and np.isclose(value["AU12R"], 0.8)
    assert value["AU17"] == value["AU43L"] == value["AU43R"] == 1


@pytest.mark.parametrize("label", STILL_CLASSES)
def test_intensity_scales_the_units(label):
    weak, strong = (draw_expression(label, g, np.random.default_rng(3))[0] for g in (0.4, 0.8))
    assert (np.allclose(weak, strong) if label == "Neutral" else np.allclose(2 * weak, strong)) and strong.max() <= 1.5


def test_micro_scripts_have_the_timing_of_micro_expressions():
    habit = np.zeros(8)
    for k in range(40):
        script = micro_script(np.random.default_rng(k), "disgust", habit, 200.0, 0)
        (event,) = script.expressions
        assert 0.25 <= event.end - event.start <= 0.5001 and 0.03 <= event.intensity <= 0.28
        assert 0 <= script.onset < script.apex < script.offset < script.frames
        assert abs(script.apex / 200 - event.peak - event.hold / 2) < 0.006  # dial 0: the coder is right
        levels = [event.level(frame / 200) for frame in range(script.frames)]
        assert levels[0] == 0 and max(levels) > 0.97 and levels[-1] < 1e-6


def test_the_dial_scales_nuisances_and_leaves_the_expression_alone():
    habit = np.zeros(8)
    still, usual, wild = (micro_script(np.random.default_rng(5), "anger", habit, 200.0, dial) for dial in range(3))
    assert len(DIALS) == 3 and still.expressions[0].label == usual.expressions[0].label == wild.expressions[0].label
    assert np.allclose(still.expression(30), wild.expression(30))
    moved = [np.abs(np.r_[script.head(40).rotation, script.head(40).translation]).sum() for script in (still, usual, wild)]
    assert moved[0] == 0 < moved[1] < moved[2] and not still.distractors and still.gain(10) == 1


def test_a_clip_without_expression_has_none():
    script = micro_script(np.random.default_rng(1), None, np.zeros(8), 200.0, 1)
    assert not any(script.expression(frame).any() for frame in range(script.frames)) and script.amplitude == 0
