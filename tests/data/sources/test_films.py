"""A folder of films: a bad one costs itself and nothing else; frames that show somebody else are told apart from frames that show
nobody."""

import pandas as pd
import pytest
from lookalikes.drawing import film

from loupe.data.align import finder
from loupe.data.align.finder import Face
from loupe.data.checking import check_set
from loupe.data.face_layout import CANONICAL
from loupe.data.importing import import_set
from loupe.data.manifest import read_manifest
from loupe.errors import LoupeError

pytest.importorskip("av", reason="PyAV is part of the extra `align`")


@pytest.fixture
def raw(tmp_path):
    (tmp_path / "raw").mkdir()
    film(tmp_path / "raw" / "good.mp4")
    film(tmp_path / "raw" / "bad.mp4")
    (tmp_path / "raw" / "bad.mp4").write_bytes((tmp_path / "raw" / "bad.mp4").read_bytes()[:900])
    return tmp_path / "raw"


def test_one_bad_film_stops_the_import_by_name_and_can_be_skipped(raw):
    out = raw.parent / "out"
    with pytest.raises(LoupeError, match=r"bad.mp4 is no video, .*\(1 such film\(s\), .*--skip-damaged") as caught:
        import_set("video", raw, out, size=16, workers=1)
    assert "\n" not in str(caught.value)
    for _ in range(2):
        dropped = pd.read_csv(out / "dropped.csv")
        assert dropped[["item", "reason"]].values.tolist() == [["bad.mp4", "film is missing or damaged"]]
        assert "bad.mp4 is no video" in dropped["detail"][0]
        report = import_set("video", raw, out, size=16, workers=1, skip_damaged=True)
    assert report.ok and (report.found, report.used, report.rows) == (13, 12, 12)
    assert check_set(out, workers=1) == report
    (raw / "good.mp4").unlink()
    with pytest.raises(LoupeError, match=r"None of the 1 frames listed in .* can be used: film is missing or damaged \(1\)"):
        import_set("video", raw, out, size=16, workers=1, skip_damaged=True)


def test_frames_without_the_followed_face_say_so(raw, monkeypatch):
    def face(x):
        points = CANONICAL[:, :2] * 10 + (x, 5)
        return Face(points[[0]].repeat(2, 0).ravel() + (0, 0, 10, 10), points, points[[36, 45]], 0.9, 50.0)

    shown = iter([[face(2), face(20)]] * 9 + [[face(20)]] * 2 + [[]])
    monkeypatch.setattr(finder, "MediaPipeFinder", lambda: lambda pixels: next(shown))
    (raw / "bad.mp4").unlink()
    report = import_set("video", raw, raw.parent / "out", size=16, workers=1, align=True)
    assert report.reasons == {"the face that was followed is not here": 2, "no face found": 1} and not report.mended
    assert read_manifest(raw.parent / "out" / "manifest.parquet")["faces"].tolist() == [2] * 9
