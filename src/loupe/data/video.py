"""Video in: frames as they are to be shown, one after the other, and their times. PyAV decodes (FFmpeg inside its wheel); part of the extra
`align`.

Times are the container's own, so a variable frame rate stays what it was. Turned, mirrored and squeezed films (display matrix, pixels that
are not square) come out as a player shows them, odd sizes are kept, and a file that ends before it says so is an error, not a shorter
video.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import numpy as np

from loupe.errors import LoupeError

SUFFIXES = (".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv", ".mts", ".m2ts", ".3gp", ".3g2", ".flv", ".ogv")
_WIDEST = 4  # widths of a pixel in its heights, or the other way round, beyond which a header is not believed


@dataclass(frozen=True)
class Frame:
    """number: from 0, in the order of display; pixels: uint8 (H, W, 3), as it is to be shown."""

    number: int
    pixels: np.ndarray


@dataclass(frozen=True)
class VideoFacts:
    """times: (N,) s from the first frame, rising; fps: frames a second on average; width, height: as shown, px."""

    times: np.ndarray
    fps: float
    width: int
    height: int

    @property
    def variable(self) -> bool:
        """Whether gaps between frames differ by more than a fifth of their median (container clocks round)."""
        gaps = np.diff(self.times)
        return len(gaps) > 1 and bool(np.abs(gaps - np.median(gaps)).max() > 0.2 * np.median(gaps))


def read_video(path: Path) -> Iterator[Frame]:
    """Decode from the first frame to the last; memory holds one frame.

    Raises LoupeError naming the file: missing, empty, no video, damaged, cut short, or shown in a way that is not possible here.
    """
    for number, (frame, display) in enumerate(_decode(path, _Clock())):
        yield Frame(number, _shown(frame, display, path))


def probe(path: Path) -> VideoFacts:
    """Times and size of every frame, by decoding it all: what a header says is not to be trusted. Raises LoupeError as `read_video` does,
    and where frames have no times.
    """
    clock, shape = _Clock(), None
    for frame, display in _decode(path, clock):
        shape = shape or _shown(frame, display, path).shape
    times = clock.times(path)
    return VideoFacts(times, (len(times) - 1) / times[-1] if times[-1] > 0 else float("nan"), shape[1], shape[0])


class FrameReader:
    """Single frames of videos, cheap where they are asked for in rising order: each thread keeps the video it reads open."""

    def __init__(self) -> None:
        self._local = threading.local()

    def __call__(self, path: Path, number: int) -> np.ndarray:
        """Pixels of frame `number`; raises LoupeError where the video has fewer frames."""
        state = self._local.__dict__
        if state.get("path") != path or state["next"] > number:
            state.update(path=path, next=0, frames=_decode(path, _Clock()))
        for frame, display in state["frames"]:
            state["next"] += 1
            if state["next"] == number + 1:
                return _shown(frame, display, path)
        state.pop("path")
        raise LoupeError(f"{path} has no frame {number}: import the video again.")


@dataclass
class _Clock:
    """What one pass over a film sees of its times, s. shown: of frames, where they have one; decoded: of its packets (AVI knows no more);
    end: of the last packet of any stream; film_end: of the film's last one.
    """

    shown: list[float | None] = field(default_factory=list)
    decoded: list[float | None] = field(default_factory=list)
    end: float = 0.0
    film_end: float = 0.0
    avi: bool = False

    def times(self, path: Path) -> np.ndarray:
        """(N,) s from the first frame, rising. A decoder gives frames in the order of display; where the times that it gives them are not,
        as with B-frames in AVI, those of decoding. Frames that a container's clock cannot tell apart share the time to the next one.
        """
        times = np.array(self.shown, dtype=float)
        if self.avi or not (np.diff(times) >= 0).all():
            times = np.array(self.decoded[: len(times)], dtype=float)
        if len(times) < len(self.shown) or not np.isfinite(times).all() or not (np.diff(times) >= 0).all():
            raise LoupeError(
                f"{path} does not say in which order and when its frames are shown: save the video again, for instance as MP4."
            )
        times, first = np.unique(times, return_index=True)
        if len(times) == 1 < len(self.shown):
            raise LoupeError(f"{path} shows all its frames at the same time: save the video again, for instance as MP4.")
        last = times[-1] + (np.median(np.diff(times)) if len(times) > 1 else 0.0)
        return np.interp(np.arange(len(self.shown)), [*first, len(self.shown)], [*times, last]) - times[0]


@dataclass(frozen=True)
class _Display:
    """aspect: width of a pixel in its heights; matrix: a, b, c, d, which bring (x, y) to (a x + c y, b x + d y): quarter turns and mirrors
    are a transposition and two flips; rotation: the same in degrees, for people.
    """

    aspect: Fraction
    matrix: tuple[int, int, int, int]
    rotation: int

    @classmethod
    def of(cls, stream, frame) -> _Display:
        data = frame.side_data.get("DISPLAYMATRIX")
        a, b, _, c, d = struct.unpack("=5i", bytes(data)[:20]) if data else (0, 0, 0, 0, 0)
        matrix = (a, b, c, d) if any((a, b, c, d)) else (1, 0, 0, 1)  # an empty one says nothing
        return cls(stream.sample_aspect_ratio or Fraction(1), matrix, frame.rotation)


def load_decoder():
    """The package av; raises LoupeError where it is not installed."""
    try:
        import av
    except ImportError as error:
        raise LoupeError(f"Reading videos needs the package av ({error}): install it with `pip install av==18.1.0`.") from error
    return av


def _decode(path: Path, clock: _Clock) -> Iterator[tuple[object, _Display]]:
    """The decoder's frames, and how they are to be shown; `clock` sees their times, and is complete at the end."""
    av = load_decoder()
    if not path.is_file():
        raise LoupeError(f"{path} is missing: put the video there.")
    if path.stat().st_size == 0:
        raise LoupeError(f"{path} is empty (0 bytes): copy the video again.")
    try:
        with av.open(str(path)) as container:
            stream = _film_stream(container, path)
            stream.thread_type = "AUTO"
            display, length = None, 0.0
            clock.avi = container.format.name == "avi"
            for packet in container.demux():
                if packet.size and not packet.is_discard:
                    _note(packet, packet.stream == stream, clock)
                for frame in packet.decode() if packet.stream == stream else ():
                    gap = frame.time - clock.shown[-1] if clock.shown and None not in (frame.time, clock.shown[-1]) else 0.0
                    length = max(gap, float((frame.duration or 0) * frame.time_base))
                    clock.shown.append(frame.time)
                    # Once a film: a frame whose side data was looked at holds itself in memory.
                    display = display or _Display.of(stream, frame)
                    yield frame, display
            if not clock.shown:
                raise LoupeError(f"{path} holds no frame that can be decoded: copy the video again.")
            shown = [time for time in clock.shown if time is not None]
            _check_whole(path, container, stream, clock, max(shown) + length if shown else clock.film_end)
    except LoupeError:
        raise
    except Exception as error:  # whatever a decoder makes of a damaged file
        reason = getattr(error, "strerror", None) or str(error)
        raise LoupeError(f"{path} is no video, or cut short or damaged ({reason}): copy it again, or save it as MP4.") from error


def _film_stream(container, path: Path):
    """The moving picture among the video streams: a cover, or a track of one frame, only where there is nothing else."""
    if not container.streams.video:
        raise LoupeError(f"{path} holds no video stream: name a video file.")
    best, cover = container.streams.best("video"), type(container.streams.video[0].disposition).attached_pic
    return max(container.streams.video, key=lambda one: (not one.disposition & cover, one.frames != 1, one == best))


def _note(packet, of_film: bool, clock: _Clock) -> None:
    shown = packet.pts if packet.pts is not None else packet.dts
    end = 0.0 if shown is None else float((shown + (packet.duration or 0)) * packet.time_base)
    clock.end = max(clock.end, end)
    if of_film:
        clock.film_end = max(clock.film_end, end)
        clock.decoded.append(None if packet.dts is None else float(packet.dts * packet.time_base))


def _check_whole(path: Path, container, stream, clock: _Clock, decoded: float) -> None:
    """Raise LoupeError where the file says that there is more than its packets, or its packets that there is more than was decoded.

    MP4 and MOV know the length of each track; MKV, WebM, FLV that of all tracks together, where sound may be longer; AVI and WMV their
    bytes. MPEG streams (.mpg, .mts) say nothing: one that is cut short is a shorter video.
    """
    start, length = (container.start_time or 0) / 1e6, (container.duration or 0) / 1e6
    promised, there = (length if length > start else start + length), clock.end
    if "mp4" in container.format.name and stream.duration:
        promised, there = float(((stream.start_time or 0) + stream.duration) * stream.time_base), clock.film_end
    lacks = f"{there - start:.2f} s of {promised - start:.2f} s" if there < promised - _slack(promised - start) and not clock.avi else ""
    size, written = _size_said(path), _written(path)
    if lacks or written < 0.98 * size:
        raise LoupeError(f"{path} is cut short: {lacks or f'{written:,} of {size:,} bytes'} are there; copy the video again.")
    if decoded < clock.film_end - _slack(clock.film_end - start):
        raise LoupeError(f"{path} is damaged: its last {clock.film_end - decoded:.2f} s cannot be decoded; copy the video again.")


def _slack(length: float) -> float:
    """s that may lack at the end: headers round, and edit lists cut frames."""
    return max(0.25, length / 50)


def _size_said(path: Path) -> int:
    """Bytes that an AVI (its RIFF chunks) or a WMV (File Properties of ASF) says it has; 0 where it does not say."""
    end = 0
    with path.open("rb") as file:
        properties = file.read(2**16).partition(bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365"))[2]
        file.seek(0)
        while (head := file.read(8))[:4] == b"RIFF" and 0 < (size := int.from_bytes(head[4:], "little")) < 2**32 - 256:
            end += 8 + size
            file.seek(end)
    return end or int.from_bytes(properties[24:32], "little")


def _written(path: Path) -> int:
    """Bytes up to the last that is not 0: what a download has not brought yet is 0."""
    with path.open("rb") as file:
        for start in range((path.stat().st_size - 1) // 2**16 * 2**16, -1, -(2**16)):
            file.seek(start)
            if block := file.read(2**16).rstrip(b"\0"):
                return start + len(block)
    return 0


def _shown(frame, display: _Display, path: Path) -> np.ndarray:
    """RGB pixels, made square by enlarging, turned and mirrored as the display matrix says."""
    aspect = display.aspect
    if not Fraction(1, _WIDEST) <= aspect <= _WIDEST:
        raise LoupeError(
            f"{path} says that its pixels are {float(aspect):g} times as wide as high: save the video again with square pixels."
        )
    width, height = max(frame.width, round(frame.width * aspect)), max(frame.height, round(frame.height / aspect))
    if (width, height) != (frame.width, frame.height):
        frame = frame.reformat(width=width, height=height, format="rgb24", interpolation="BICUBIC")
    pixels = frame.to_ndarray(format="rgb24")
    a, b, c, d = display.matrix
    straight, across = min(abs(a), abs(d)), min(abs(b), abs(c))
    if 100 * max(abs(a), abs(d)) < across:
        pixels, a, d = pixels.transpose(1, 0, 2), c, b
    elif not 100 * max(abs(b), abs(c)) < straight:
        raise LoupeError(
            f"{path} is to be shown turned by {display.rotation} degrees, and only quarter turns are possible: "
            "save the video again upright."
        )
    return np.ascontiguousarray(pixels[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1])
