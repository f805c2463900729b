"""Damaged picture, video, npy and MATLAB files: refused in one sentence, or read as what they are; never drawn otherwise."""

import shutil
import struct
import zlib
from io import BytesIO

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from lookalikes import drawing, encoded, stills
from lookalikes.damage import DRAWN, FAST, HARM, harmed
from PIL import Image

from loupe.data.decoding import decode
from loupe.data.sources import affectnet, imdb_wiki
from loupe.data.sources.listing import Dropped
from loupe.data.sources.pictures import load_picture
from loupe.data.video import FrameReader, probe
from loupe.errors import LoupeError


@pytest.mark.parametrize("form", ["jpg", "png", "bmp", "tif", "webp"])
@given(harm=HARM)
@FAST
def test_picture_bytes(form, harm, tmp_path):
    path = tmp_path / f"face.{form}"
    drawing.face(3, 24).save(path)
    path.write_bytes(harmed(path.read_bytes(), harm))
    try:
        _, pixels = load_picture(tmp_path, path.name)
    except LoupeError as error:
        assert path.name in str(error) and "\n" not in str(error)
        return
    assert pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3


def as_decoded(data: bytes, clean: np.ndarray, turns: set[int]) -> bool:
    """Whether the picture is refused in one sentence, or is the clean one, turned in one of these ways."""
    try:
        pixels = decode(data, "face")
    except LoupeError as error:
        assert str(error).startswith("face ") and "\n" not in str(error) and " at 0x" not in str(error)
        return True
    return any(np.array_equal(pixels, encoded.TURNS[turn](clean)) for turn in turns)


STORED = np.asarray(drawing.face(3, 24))[:, :18]
# Anything that a TIFF directory may hold: numbers, types and counts that exist and that do not. 274 says how the picture is turned.
TAG = st.tuples(
    st.one_of(st.integers(0, 65535), st.sampled_from([256, 282, 283, 305, 306, 315, 34665, 34853, 37386, 37500, 37510, 40965, 41492])),
    st.integers(0, 20),
    st.sampled_from([0, 1, 1, 1, 2, 9, 65535, 2**32 - 1]),
    st.binary(max_size=24),
)
OTHER_TAGS = st.lists(TAG.filter(lambda tag: tag[0] != 274), max_size=6)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
@given(turn=st.sampled_from([*encoded.TURNS]), others=OTHER_TAGS, harm=st.none() | HARM)
@FAST
def test_exif(form, turn, others, harm):
    """Whatever else the EXIF says, a picture is turned as it says; where its bytes are damaged, it is turned somehow, never drawn
    otherwise."""
    block = encoded.exif([encoded.orientation(turn), *others])
    if harm:
        block = block[:6] + harmed(block[6:], harm)
    buffer, clean = BytesIO(), BytesIO()
    Image.fromarray(STORED).save(buffer, form, exif=block)
    Image.fromarray(STORED).save(clean, form)
    assert as_decoded(buffer.getvalue(), decode(clean.getvalue(), "clean"), {*encoded.TURNS} if harm else {turn})


CHUNK = st.tuples(
    st.sampled_from([b"gAMA", b"cHRM", b"sRGB", b"iCCP", b"sBIT", b"bKGD", b"hIST", b"tRNS", b"pHYs", b"tIME", b"tEXt", b"zTXt", b"iTXt"]
                    + [b"acTL", b"fcTL", b"fdAT", b"eXIf", b"PLTE", b"caBX", b"abCd", b"ABCD"]),
    st.binary(max_size=40)
    | st.sampled_from([b"XML:com.adobe.xmp\0\0\0\0\0<tiff:Orientation>1</tiff:Orientation>",
                       b"Raw profile type exif\0\0" + zlib.compress(b"x")]),
    st.sampled_from([None, None, None, 0]),
)  # fmt: skip


@pytest.mark.parametrize("bits", [8, 16])
@given(chunks=st.lists(st.tuples(st.integers(0, 3), CHUNK), min_size=1, max_size=4), turn=st.sampled_from([*encoded.TURNS]))
@FAST
def test_png_chunks(bits, chunks, turn):
    """Chunks that are not the picture, right or wrong, anywhere between those that are, change no pixel of it."""
    clean = encoded.png_chunks(STORED.astype(np.uint16) * 257 if bits == 16 else STORED)
    parts = [clean[0], encoded.chunk(b"eXIf", encoded.exif([encoded.orientation(turn)])[6:]), *clean[1:]]
    for place, (kind, content, check) in chunks:
        parts.insert(place, encoded.chunk(kind, content, check))
    turns = {*encoded.TURNS} if any(kind in (b"eXIf", b"iTXt", b"zTXt", b"tEXt") for _, (kind, _, _) in chunks) else {turn}
    assert as_decoded(b"\x89PNG\r\n\x1a\n" + b"".join(parts), STORED, turns)


SHORT = lambda number, *values: (number, 3, len(values), struct.pack(f"<{len(values)}H", *values))


@given(
    top=st.sampled_from([255, 1023, 4095, 16383, 65535]),
    said=st.sampled_from([None, 255, 1000, 4095, 65535]),
    inverted=st.booleans(),
    turn=st.sampled_from([*encoded.TURNS]),
    others=st.lists(
        TAG.filter(lambda tag: tag[0] not in (*range(254, 285), 290, 291, 317, 320, 322, 323, 324, 325, 330, 338, 339, 340, 341, 347)),
        max_size=4,
    ),
)
@FAST
def test_tiff_tags_of_16_bits(top, said, inverted, turn, others):
    """Grey values of 16 bits against the definition: a share of the range that is said, else of the type's, of which a quarter at least is
    used."""
    values = np.random.default_rng(top).integers(0, top + 1, (5, 7))
    values[0, 0] = top
    tags = [SHORT(258, 16), SHORT(262, 0 if inverted else 1), encoded.orientation(turn), *([SHORT(281, said)] if said else []), *others]
    white = 65535 if said is None else 2 ** int(said).bit_length() - 1
    try:
        pixels = decode(encoded.tiff(values.astype("<u2").tobytes(), 7, 5, tags), "face")
    except LoupeError as error:
        assert str(error).startswith("face ") and "\n" not in str(error)
        assert others or top > white or (said is None and top < 16384)
        return
    assert top <= white and (said or top >= 16384)
    expected = [[round(value / white * 255) for value in row] for row in values.tolist()]
    grey = encoded.TURNS[turn](np.array(expected))
    assert (np.abs(pixels.astype(int) - (255 - grey if inverted else grey)[..., None]) <= 1).all()


@given(tags=OTHER_TAGS, harm=st.none() | HARM)
@FAST
def test_tiff_tags_of_8_bits(tags, harm):
    """Any tags in the directory of the picture itself: the decoder's own reading of it, or none."""
    plain = [SHORT(258, 8, 8, 8), SHORT(262, 2), SHORT(277, 3)]
    data = encoded.tiff(STORED.tobytes(), 18, 24, [*plain, *tags])
    data = harmed(data, harm) if harm else data
    try:
        with Image.open(BytesIO(data)) as picture:
            clean = np.asarray(picture.convert("RGB"))
            deep = picture.mode[0] in "IF" or any(bits > 8 for bits in np.ravel(picture.tag_v2.get(258, 8)))
    except Exception:
        deep, clean = False, STORED
    assert deep or as_decoded(data, clean, {1})


@given(harm=HARM, number=st.sampled_from(["3", 0.25, -2.0]))
@example(harm=("bytes", [(42, 123)]), number="3")  # numpy reads the header as Python, and its tokenizer raises an error of its own
@FAST
def test_number_in_an_npy_file(harm, number, tmp_path):
    path = tmp_path / "0_exp.npy"
    np.save(path, np.array(number))
    path.write_bytes(harmed(path.read_bytes(), harm))
    value = affectnet.number_in(path)
    assert value is None or np.isfinite(value)


@given(harm=HARM)
@example(harm=("hole", (377, 8)))  # SciPy 1.17's reader does not raise here: it dies
@settings(FAST, max_examples=DRAWN or 3)  # each is read by a process of its own
def test_matlab_bytes(harm, tmp_path):
    path = tmp_path / "imdb_crop" / "imdb.mat"
    if not (tmp_path / "clean.mat").exists():
        stills.imdb_wiki(tmp_path)
        shutil.copy(path, tmp_path / "clean.mat")
    path.write_bytes(harmed((tmp_path / "clean.mat").read_bytes(), harm))
    dropped = Dropped()
    try:
        columns = imdb_wiki.load(path, "imdb")
        table = imdb_wiki.parse(columns, "imdb", "imdb_crop", {"00/imdb0_1980-01-01_2010.jpg"}, dropped)
    except LoupeError as error:
        assert "imdb.mat" in str(error) and "\n" not in str(error)
        return
    assert len(table) + len(dropped.rows) == len(columns["full_path"])


@pytest.mark.parametrize("part", ["all", "container"])
@given(harm=HARM)
@FAST
def test_video_bytes(part, harm, tmp_path):
    path, clean = tmp_path / "film.mp4", tmp_path / "clean.mp4"
    if not clean.exists():
        drawing.film(clean)
    data = clean.read_bytes()
    start = data.index(b"moov") if part == "container" else 0  # its times, sizes, matrix and names lie behind the frames
    path.write_bytes(data[:start] + harmed(data[start:], harm))
    try:
        facts = probe(path)
        last = FrameReader()(path, len(facts.times) - 1)
    except LoupeError as error:
        assert "film.mp4" in str(error) and "\n" not in str(error)
        return
    assert facts.times[0] == 0 and (np.diff(facts.times) > 0).all() and last.ndim == 3
