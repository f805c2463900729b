"""Videos: every frame with its time, upright, whole or refused."""

import struct
from fractions import Fraction

import numpy as np
import pytest

from loupe.data.video import FrameReader, probe, read_video
from loupe.errors import LoupeError

av = pytest.importorskip("av", reason="PyAV is part of the extra `align`")


def film(
    path,
    count=20,
    times=None,
    height=32,
    width=44,
    options=None,
    codec="libx264",
    b_frames=0,
    aspect=Fraction(1),
    last=None,
    sound=0.0,
    format=None,
):
    """Frames whose red says their number (x 10) and whose upper left corner is green; odd sizes are stored without chroma subsampling.
    aspect: of a pixel; last: s that the last frame stays; sound: s of silence beside.
    """
    times = [number / 25 for number in range(count)] if times is None else times
    with av.open(str(path), "w", options=options or {}, format=format) as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv444p" if codec == "libx264" else "yuv420p"
        stream.options = {"crf": "2", "bf": str(b_frames)} if codec == "libx264" else {"qmin": "1", "qmax": "2"}
        stream.codec_context.sample_aspect_ratio = aspect
        stream.codec_context.time_base = Fraction(1, 1000)
        silence, packets = container.add_stream("aac", rate=48000) if sound else None, []
        for number, time in enumerate(times):
            pixels = np.zeros((height, width, 3), dtype=np.uint8)
            pixels[..., 0] = 10 * number % 256
            pixels[:8, :8] = (0, 200, 0)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = round(1000 * time), Fraction(1, 1000)
            packets += stream.encode(frame)
        packets += stream.encode()
        if last:
            packets[-1].duration = round(last / packets[-1].time_base)
        container.mux(packets)
        for start in range(0, round(48000 * sound), 960):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 960), dtype=np.float32), format="fltp", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = 48000, start, Fraction(1, 48000)
            container.mux(silence.encode(frame))
        container.mux(silence.encode() if silence else [])
    return path


def with_matrix(path, a, b, c, d):
    """The same film with a display matrix in its track header, as phones write it: x right and y down become a x + c y, b x + d y."""
    data = path.read_bytes()
    place = data.index(b"tkhd") + 44
    values = [round(65536 * value) for value in (a, b, 0, c, d, 0, 0, 0)]
    path.write_bytes(data[:place] + struct.pack(">9i", *values, 1 << 30) + data[place + 36 :])
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


UPPER_LEFT, UPPER_RIGHT, LOWER_LEFT, LOWER_RIGHT = (4, 4), (4, -4), (-4, 4), (-4, -4)


@pytest.mark.parametrize(
    "matrix, corner, upright",
    [
        ((0, 1, -1, 0), UPPER_RIGHT, False),  # a quarter turn clockwise
        ((-1, 0, 0, -1), LOWER_RIGHT, True),
        ((0, -1, 1, 0), LOWER_LEFT, False),
        ((-1, 0, 0, 1), UPPER_RIGHT, True),  # a selfie camera's mirror
        ((1, 0, 0, -1), LOWER_LEFT, True),
        ((0, 1, 1, 0), UPPER_LEFT, False),  # turned and mirrored
        ((0, -1, -1, 0), LOWER_RIGHT, False),
        ((0, 0, 0, 0), UPPER_LEFT, True),  # says nothing
    ],
)
def test_films_are_turned_and_mirrored_as_they_are_to_be_shown(tmp_path, matrix, corner, upright):
    path = with_matrix(film(tmp_path / "a.mp4", count=3), *matrix)
    pixels = next(read_video(path)).pixels
    assert pixels.shape[:2] == ((32, 44) if upright else (44, 32))
    green = [place for place in (UPPER_LEFT, UPPER_RIGHT, LOWER_LEFT, LOWER_RIGHT) if pixels[place][1] > 150]
    assert green == [corner]
    facts = probe(path)
    assert (facts.height, facts.width) == pixels.shape[:2]


def test_a_slanted_film_is_refused(tmp_path):
    with pytest.raises(LoupeError, match="a.mp4 is to be shown turned by .* only quarter turns"):
        probe(with_matrix(film(tmp_path / "a.mp4", count=3), 0.7, 0.7, -0.7, 0.7))


@pytest.mark.parametrize("aspect, matrix, shape", [((2, 1), None, (32, 88)), ((8, 9), None, (36, 44)), ((2, 1), (0, 1, -1, 0), (88, 32))])
def test_pixels_that_are_not_square_are_made_square(tmp_path, aspect, matrix, shape):
    path = film(tmp_path / "a.mp4", count=3, aspect=Fraction(*aspect))
    pixels = next(read_video(with_matrix(path, *matrix) if matrix else path)).pixels
    facts = probe(path)
    assert pixels.shape[:2] == (facts.height, facts.width) == shape
    green = np.argwhere(pixels[..., 1] > 100)  # 8 x 8 stored pixels, as large as the picture says
    grown = np.array(shape) / ((44, 32) if matrix else (32, 44))
    np.testing.assert_allclose(np.ptp(green, axis=0) + 1, 8 * grown, atol=1)
    with pytest.raises(LoupeError, match="a.mp4 says that its pixels are 16 times as wide as high"):
        probe(film(tmp_path / "a.mp4", count=3, aspect=Fraction(16)))


@pytest.mark.parametrize(
    "name, made, times",
    [
        ("a.avi", {"b_frames": 3}, np.arange(20) / 25),  # AVI keeps the order of decoding only
        (
            "a.mkv",
            {"times": [0, 0, 1e-3, 2e-3, 2e-3, 2e-3, 3e-3, 4e-3]},
            [0, 5e-4, 1e-3, 2e-3, 2e-3 + 1e-3 / 3, 2e-3 + 2e-3 / 3, 3e-3, 4e-3],
        ),
        ("a.mkv", {"times": 100 + np.arange(20) / 25}, np.arange(20) / 25),
        ("a.mp4", {"times": 100 + np.arange(20) / 25}, np.arange(20) / 25),
        ("a.mkv", {"sound": 3.0}, np.arange(20) / 25),
        ("a.mp4", {"sound": 3.0}, np.arange(20) / 25),
        ("a.mkv", {"last": 4.0}, np.arange(20) / 25),
        ("a.mp4", {"last": 4.0}, np.arange(20) / 25),
        ("a.avi", {"last": 4.0}, np.arange(20) / 25),
    ],
)
def test_whole_films_are_read_whole(tmp_path, name, made, times):
    path = film(tmp_path / name, **made)
    np.testing.assert_allclose(probe(path).times, times, atol=1e-9 if "times" in made else 1e-3)
    np.testing.assert_allclose([frame.pixels[20, 20, 0] for frame in read_video(path)], 10 * np.arange(len(times)), atol=3)


def test_frames_that_all_have_one_time_are_refused(tmp_path):
    with pytest.raises(LoupeError, match="a.mkv shows all its frames at the same time"):
        probe(film(tmp_path / "a.mkv", times=[0.0] * 5))


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_cover_is_not_the_film(tmp_path, order):
    whole = film(tmp_path / "whole.mp4")
    with av.open(str(whole)) as source, av.open(str(tmp_path / "a.mp4"), "w") as container:
        makers = [lambda: container.add_stream("mjpeg", rate=25), lambda: container.add_stream_from_template(source.streams.video[0])]
        made = {which: makers[which]() for which in order}
        cover = made[0]
        cover.width, cover.height, cover.pix_fmt = 44, 32, "yuvj420p"
        for packet in [*cover.encode(av.VideoFrame(44, 32, "yuvj420p")), *cover.encode()]:
            container.mux(packet)
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = made[1]
                container.mux(packet)
    np.testing.assert_allclose(probe(tmp_path / "a.mp4").times, probe(whole).times)


@pytest.mark.parametrize("share", [0.5, 0.9])
@pytest.mark.parametrize("options", [{}, {"movflags": "faststart"}])
def test_a_video_cut_short_is_one_sentence(tmp_path, options, share):
    path = film(tmp_path / "a.mp4", count=100, options=options)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(LoupeError, match=r"a.mp4 (is cut short: .* copy|is no video, or cut short or damaged)") as caught:
        list(read_video(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name, codec, format", [("a.mkv", "libx264", None), ("a.avi", "libx264", None), ("a.wmv", "wmv2", "asf")])
@pytest.mark.parametrize("filled", [False, True])
def test_half_a_film_is_refused_whatever_holds_it(tmp_path, name, codec, format, filled):
    path = film(tmp_path / name, count=200, height=64, width=64, codec=codec, format=format, sound=0.0 if format else 8.0)
    assert len(probe(path).times) == 200
    data = path.read_bytes()
    path.write_bytes(
        data[: len(data) // 2] + bytes(len(data) - len(data) // 2 if filled else 0)
    )  # a download that made room for all of it first
    with pytest.raises(LoupeError, match=f"{name} is cut short: "):
        probe(path)


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
