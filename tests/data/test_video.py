"""Videos: every frame with its time, upright, whole or refused."""

import struct
from fractions import Fraction

import numpy as np
import pytest

from loupe.data.video import FrameReader, probe, read_video
from loupe.errors import LoupeError

av = pytest.importorskip("av", reason="PyAV is part of the extra `align`")


def film(path, count=20, times=None, height=32, width=44, options=None):
    """Frames whose red says their number (x 10) and whose upper left corner is green; odd sizes are stored without chroma subsampling."""
    times = [number / 25 for number in range(count)] if times is None else times
    with av.open(str(path), "w", options=options or {}) as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt, stream.options = width, height, "yuv444p", {"crf": "2"}
        stream.codec_context.time_base = Fraction(1, 1000)
        for number, time in enumerate(times):
            pixels = np.zeros((height, width, 3), dtype=np.uint8)
            pixels[..., 0] = 10 * number % 256
            pixels[:8, :8] = (0, 200, 0)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = round(1000 * time), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def turned(path, degrees):
    """The same film with a display matrix in its track header, as phones write it."""
    data = path.read_bytes()
    place = data.index(b"tkhd") + 44
    matrix = {90: (0, 1, 0, -1, 0, 0), 180: (-1, 0, 0, 0, -1, 0), 270: (0, -1, 0, 1, 0, 0)}[degrees]
    values = [65536 * value for value in matrix]
    path.write_bytes(data[:place] + struct.pack(">9i", *values, 0, 0, 1 << 30) + data[place + 36 :])
    return path


def test_frames_come_in_order_with_their_pixels(tmp_path):
    frames = list(read_video(film(tmp_path / "a.mp4")))
    assert [frame.number for frame in frames] == list(range(20))
    np.testing.assert_allclose([frame.pixels[20, 20, 0] for frame in frames], 10 * np.arange(20), atol=3)
    np.testing.assert_allclose(probe(tmp_path / "a.mp4").times, np.arange(20) / 25, atol=1e-3)


def test_a_variable_frame_rate_stays_variable(tmp_path):
    times = np.cumsum([0.0, *[0.03, 0.09] * 10])[:20]
    facts = probe(film(tmp_path / "a.mp4", times=times))
    np.testing.assert_allclose(facts.times, times, atol=1e-3)
    assert facts.variable and facts.fps == pytest.approx(19 / times[-1], rel=1e-3)
    assert not probe(film(tmp_path / "b.mp4")).variable


def test_odd_sizes_are_kept(tmp_path):
    facts = probe(film(tmp_path / "a.mp4", height=31, width=45))
    assert (facts.width, facts.height) == (45, 31)


@pytest.mark.parametrize("degrees, corner, shape", [(90, (4, -4), (44, 32)), (180, (-4, -4), (32, 44)), (270, (-4, 4), (44, 32))])
def test_phones_turn_their_videos_by_a_flag(tmp_path, degrees, corner, shape):
    path = turned(film(tmp_path / "a.mp4", count=3), degrees)
    frame = next(read_video(path)).pixels
    assert (
        frame.shape[:2] == shape and frame[corner][1] > 150
    )  # clockwise: the green corner moves to the right, then down, then to the left
    facts = probe(path)
    assert (facts.height, facts.width) == shape


@pytest.mark.parametrize("share", [0.5, 0.9])
@pytest.mark.parametrize("options", [{}, {"movflags": "faststart"}])
def test_a_video_cut_short_is_one_sentence(tmp_path, options, share):
    path = film(tmp_path / "a.mp4", count=100, options=options)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(LoupeError, match=r"a.mp4 (is cut short: .* copy|is no video, or cut short or damaged)") as caught:
        list(read_video(path))
    assert "\n" not in str(caught.value)


def test_what_is_no_video_is_one_sentence(tmp_path):
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("no video")
    for name, message in [("none.mp4", "is missing"), ("empty.mp4", "is empty"), ("text.mp4", "is no video")]:
        with pytest.raises(LoupeError, match=f"{name} {message}"):
            list(read_video(tmp_path / name))


def test_single_frames_are_those_of_the_film_in_any_order(tmp_path):
    path, other = film(tmp_path / "a.mp4"), film(tmp_path / "b.mp4", height=16, width=16)
    frames, reader = [frame.pixels for frame in read_video(path)], FrameReader()
    for number in (0, 1, 5, 4, 19, 0):
        np.testing.assert_array_equal(reader(path, number), frames[number])
        assert reader(other, number).shape == (16, 16, 3)
    with pytest.raises(LoupeError, match="no frame 20"):
        reader(path, 20)
    np.testing.assert_array_equal(reader(path, 3), frames[3])
