"""A decoded picture is what the camera saw: upright, and as bright in 8 bits as in 16. Where that cannot be known it is refused by name."""

import struct
from io import BytesIO

import numpy as np
import pytest
from lookalikes import encoded
from lookalikes.drawing import face
from PIL import Image

from loupe.data import decoding
from loupe.data.decoding import decode
from loupe.errors import LoupeError

GREY = np.linspace(0, 255, 30 * 20).astype(np.uint8).reshape(20, 30)
BITS = lambda bits, *more: [(258, 3, 1, struct.pack("<H", bits)), *more]
SHORT = lambda number, value: (number, 3, 1, struct.pack("<H", value))
DOUBLE = lambda number, value: (number, 12, 1, struct.pack("<d", value))


def tiff(values, *tags):
    bits = 8 * values.dtype.itemsize
    kind = {"u": 1, "i": 2, "f": 3}[values.dtype.kind]
    return encoded.tiff(values.astype(values.dtype.newbyteorder("<")).tobytes(), 30, 20, BITS(bits, SHORT(339, kind), *tags))


def twelve_bits():
    """Two values in three bytes."""
    pairs = (GREY.astype(int) * 4095 // 255).reshape(20, 15, 2)
    packed = np.stack([pairs[..., 0] >> 4, (pairs[..., 0] & 15) << 4 | pairs[..., 1] >> 8, pairs[..., 1] & 255], -1)
    return encoded.tiff(packed.astype(np.uint8).tobytes(), 30, 20, BITS(12))


def of_16(top=65535):
    return (GREY.astype(np.int64) * top // 255).astype(np.uint16)


@pytest.mark.parametrize(
    "data",
    [
        encoded.png(of_16()),
        encoded.png(np.repeat(of_16()[..., None], 3, axis=2)),
        tiff(of_16()),
        tiff(65535 - of_16(), SHORT(262, 0)),  # white is 0
        tiff(of_16(4095), SHORT(281, 4095)),
        tiff(of_16(4095), SHORT(281, 4000)),  # the largest value of this picture, not of the camera
        tiff(of_16(32767).astype(np.int16)),
        tiff((GREY.astype(np.int64) * (2**31 - 1) // 255).astype(np.int32)),
        tiff((GREY / 255).astype(np.float32)),
        tiff(GREY.astype(np.float32), DOUBLE(341, 255.0)),
        twelve_bits(),
        b"P5 30 20 65535\n" + of_16().astype(">u2").tobytes(),
        b"P5 30 20 4095\n" + of_16(4095).astype(">u2").tobytes(),
    ],
    ids=["png", "png-rgb", "tiff", "white-is-0", "declared", "largest-used", "signed", "32", "float", "float-255", "12", "pgm", "pgm-12"],
)
def test_more_than_8_bits_are_the_same_picture_in_8(data):
    pixels = decode(data, "p")
    assert pixels.shape == (20, 30, 3) and pixels.dtype == np.uint8
    np.testing.assert_allclose(pixels.astype(int), np.repeat(GREY[..., None], 3, axis=2), atol=1)


@pytest.mark.parametrize(
    "data, message",
    [
        (encoded.png(of_16(4095)), "values from 0 to 4095 in more than 8 bits, and nothing says which value is white"),
        (encoded.png(np.repeat(of_16(4095)[..., None], 3, axis=2)), "channels of 16 bits of which less than a quarter is used"),
        (tiff(of_16(1023)), "values from 0 to 1023"),
        (tiff(GREY.astype(np.float32)), "values from 0 to 255"),
        (tiff(GREY.astype(np.float32) / 255 - 0.5), "values from -0.5"),
        (tiff(np.full((20, 30), np.nan, np.float32)), "values from nan"),
        (tiff(of_16(65535), SHORT(281, 4095)), "values from 0 to 65535"),
        (tiff(GREY.astype(np.int32)), "values from 0 to 255"),
    ],
)
def test_values_whose_range_nothing_tells_are_refused(data, message):
    with pytest.raises(LoupeError, match=message) as caught:
        decode(data, "a/camera.tif")
    assert str(caught.value).startswith("a/camera.tif holds ") and "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [0, 1])
def test_a_black_picture_of_16_bits_is_black(value):
    pixels = decode(encoded.png(np.full((20, 30), value * 65535, np.uint16)), "p")
    assert (pixels == 255 * value).all()


@pytest.mark.parametrize("turn", encoded.TURNS)
@pytest.mark.parametrize(
    "odd", [[], [encoded.ODD], [(256, 12, 9, b"short")]], ids=["plain", "odd", "cut-short"]
)  # nine doubles in five bytes
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_pictures_stand_upright_whatever_else_their_exif_says(form, odd, turn):
    tags = [encoded.orientation(turn), *([] if form == "TIFF" and odd != [encoded.ODD] else odd)]
    stored = np.asarray(face(1, 24))[:, :18]
    if form == "TIFF":
        rgb = [SHORT(262, 2), SHORT(277, 3), (258, 3, 3, struct.pack("<HHH", 8, 8, 8))]
        data, plain = (encoded.tiff(stored.tobytes(), 18, 24, [*rgb, *more]) for more in (tags, []))
    else:
        buffer, clean = BytesIO(), BytesIO()
        Image.fromarray(stored).save(buffer, form, exif=encoded.exif(tags))
        Image.fromarray(stored).save(clean, form)
        data, plain = buffer.getvalue(), clean.getvalue()
    np.testing.assert_array_equal(decode(data, "p"), encoded.TURNS[turn](decode(plain, "p")))


def test_a_turned_picture_of_16_bits():
    data = tiff(of_16(), encoded.orientation(6))
    np.testing.assert_allclose(decode(data, "p")[..., 0], encoded.TURNS[6](GREY), atol=1)


def animation(form):
    buffer = BytesIO()
    face(1).save(buffer, form, save_all=True, append_images=[face(2), face(3)])
    return buffer.getvalue()


@pytest.mark.parametrize(
    "data, message",
    [
        (b"", r"is empty \(0 bytes\)"),
        (b"GIF87 or what?", "no format that is known here"),
        (encoded.png(GREY)[:-30], "cannot be read as a picture"),
        (encoded.png(GREY).replace(b"IDAT", b"IDAX"), "cannot be read as a picture"),  # Pillow raises SyntaxError
        (
            encoded.png(GREY, (encoded.chunk(b"IHDR", struct.pack(">IIBBBBB", 16320, 12240, 8, 2, 0, 0, 0)),)),
            "has 16320 x 12240 px.*save it smaller",
        ),
        (animation("GIF"), "holds several pictures"),
        (animation("TIFF"), "holds several pictures"),
    ],
)
def test_what_is_no_single_whole_picture_is_refused_in_the_same_words_each_time(data, message):
    said = set()
    for _ in range(3):
        with pytest.raises(LoupeError, match=message) as caught:
            decode(bytes(bytearray(data)), "faces/p.png")
        said.add(str(caught.value))
    assert len(said) == 1 and said.pop().startswith("faces/p.png ") and " at 0x" not in str(caught.value)


@pytest.mark.parametrize(
    "error", [OSError, SyntaxError, struct.error, TypeError, AttributeError, IndexError, OverflowError, RecursionError]
)
def test_any_failure_of_a_decoder_is_a_damaged_picture(error, monkeypatch):
    def fail(*args):
        raise error(f"{object()}\nand more")

    monkeypatch.setattr(decoding, "_orientation", fail)
    with pytest.raises(LoupeError, match="p.png cannot be read as a picture .<object object> and more.: copy it again"):
        decode(encoded.png(GREY), "p.png")


def test_pictures_of_a_hundred_megapixels_give_no_warning(recwarn, monkeypatch):
    monkeypatch.setattr(decoding, "LARGEST", 600)
    assert decode(encoded.png(GREY), "p").shape == (20, 30, 3) and not recwarn.list
    assert Image.MAX_IMAGE_PIXELS is None  # Pillow's own limit warns of an attack from 89 megapixels on
