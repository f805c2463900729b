"""Video in: upright RGB frames with their times, one after the other. PyAV decodes (FFmpeg inside its wheel); part of the extra `align`.

Times are the container's own, so a variable frame rate stays what it was. Rotation flags of phones are applied, odd sizes are kept, and a file that
ends before its header says so is an error, not a shorter video.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from loupe.errors import LoupeError

SUFFIXES = (".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv")
_SLACK = 0.25  # s, or a fiftieth of the whole: what may lack at the end (headers round, and edit lists cut frames)


@dataclass(frozen=True)
class Frame:
    """number: from 0, in the order of display; time: s from the first frame; pixels: uint8 (H, W, 3), upright."""

    number: int
    time: float
    pixels: np.ndarray


@dataclass(frozen=True)
class VideoFacts:
    """times: (N,) s from the first frame, rising; fps: frames a second on average; width, height: upright, px."""

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

    Raises LoupeError naming the file: missing, empty, no video, frames without times, damaged, or cut short.
    """
    for number, time, frame in _decode(path):
        yield Frame(number, time, _upright(frame, path))


def probe(path: Path) -> VideoFacts:
    """Times and size of every frame, by decoding it all: what a header says is not to be trusted. Raises LoupeError as `read_video` does."""
    times, turned, size = [], 0, (0, 0)
    for _, time, frame in _decode(path):
        if not times:
            turned, size = frame.rotation, (frame.width, frame.height)
        times.append(time)
    width, height = size[::-1] if turned % 180 else size
    span = times[-1] - times[0]
    return VideoFacts(np.array(times), (len(times) - 1) / span if span > 0 else float("nan"), width, height)


class FrameReader:
    """Single frames of videos, cheap where they are asked for in rising order: each thread keeps the video it reads open."""

    def __init__(self) -> None:
        self._local = threading.local()

    def __call__(self, path: Path, number: int) -> np.ndarray:
        """Pixels of frame `number`; raises LoupeError where the video has fewer frames."""
        state = self._local.__dict__
        if state.get("path") != path or state["next"] > number:
            state.update(path=path, next=0, frames=_decode(path))
        for found, _, frame in state["frames"]:
            state["next"] = found + 1
            if found == number:
                return _upright(frame, path)
        state.pop("path")
        raise LoupeError(f"{path} has no frame {number}: import the video again.")


def _decode(path: Path) -> Iterator[tuple[int, float, object]]:
    """Number, time in s from the first frame, and the decoder's frame."""
    try:
        import av
    except ImportError as error:
        raise LoupeError(f"Reading videos needs the package av ({error}): install it with `pip install av==18.1.0`.") from error
    if not path.is_file():
        raise LoupeError(f"{path} is missing: put the video there.")
    if path.stat().st_size == 0:
        raise LoupeError(f"{path} is empty (0 bytes): copy the video again.")
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise LoupeError(f"{path} holds no video stream: name a video file.")
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            promised = float(stream.duration * stream.time_base) if stream.duration else (container.duration or 0) / 1e6
            first, last, gap = None, 0.0, 0.0
            for number, frame in enumerate(container.decode(stream)):
                if frame.time is None:
                    raise LoupeError(f"{path} does not say when frame {number} is shown: save the video again, for instance as MP4.")
                if first is None:
                    first = frame.time
                time = frame.time - first
                if number and time <= last:
                    raise LoupeError(f"{path} shows frame {number} before the one before it: save the video again, for instance as MP4.")
                gap, last = time - last, time
                yield number, time, frame
            if first is None:
                raise LoupeError(f"{path} holds no frame that can be decoded: copy the video again.")
            if last + gap < promised - max(_SLACK, promised / 50):
                raise LoupeError(f"{path} is cut short: {last + gap:.2f} s of {promised:.2f} s are there; copy the video again.")
    except (av.error.FFmpegError, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise LoupeError(f"{path} is no video, or cut short or damaged ({reason}): copy it again, or save it as MP4.") from error


def _upright(frame, path: Path) -> np.ndarray:
    """RGB pixels, turned as the display matrix says."""
    angle = round(frame.rotation)
    if angle % 90:
        raise LoupeError(
            f"{path} is to be shown turned by {angle} degrees, and only quarter turns are possible: save the video again upright."
        )
    pixels = frame.to_ndarray(format="rgb24")
    return np.ascontiguousarray(np.rot90(pixels, angle // 90)) if angle else pixels
