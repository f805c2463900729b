"""Encoded pictures become upright RGB pixels of 8 bits, whatever their format, their depth and the camera's orientation."""

from __future__ import annotations

import re
import struct
from io import BytesIO

import numpy as np
from PIL import Image, UnidentifiedImageError

from loupe.errors import LoupeError

LARGEST = 178_956_970  # px, where Pillow, too, sees an attack: in memory such a picture takes a gigabyte and a half
Image.MAX_IMAGE_PIXELS = None  # `decode` looks itself, names the picture and a way out, and warns of none that it reads
_ORIENTATION, _BITS, _PHOTOMETRIC, _LARGEST_VALUE, _FORMAT, _LARGEST_ANY = 274, 258, 262, 281, 339, 341  # tags of EXIF and TIFF
_TURNS = {  # EXIF 2.32, 4.6.4 A: where row 0 and column 0 of the stored picture lie
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIXTEEN = re.compile(r"(RGB\w?|LA);16[BLN]")  # several channels of 16 bits, of which Pillow keeps the upper 8


def decode(data: bytes, name: str) -> np.ndarray:
    """Pixels, uint8 (H, W, 3), upright, of one encoded picture; grey ones get three channels.

    More than 8 bits are scaled by the range that the file declares (TIFF: BitsPerSample, MaxSampleValue), else by that of the type:
    0..65535, floats 0..1.
    Raises LoupeError, beginning with `name`: empty, damaged, no picture, several pictures, too large, or values of which nothing says what
    white is.
    """
    if not data:
        raise LoupeError(f"{name} is empty (0 bytes): copy it again from the download.")
    try:
        with Image.open(BytesIO(data)) as picture:
            return _pixels(picture, name)
    except LoupeError:
        raise
    except UnidentifiedImageError as error:
        raise LoupeError(f"{name} cannot be read as a picture (no format that is known here): copy it again from the download.") from error
    except Exception as error:  # decoders raise what they like: OSError, SyntaxError, struct.error, TypeError, AttributeError ...
        reason = re.sub(r" at 0x[0-9a-f]+", "", " ".join(str(error).split()), flags=re.IGNORECASE)[:200] or type(error).__name__
        raise LoupeError(f"{name} cannot be read as a picture ({reason}): copy it again from the download.") from error


def _pixels(picture: Image.Image, name: str) -> np.ndarray:
    width, height = picture.size
    if width * height > LARGEST:
        raise LoupeError(
            f"{name} has {width} x {height} px, more than the {LARGEST:,} that are read: save it smaller, half as wide for instance."
        )
    if getattr(picture, "is_animated", False) and picture.format != "MPO":  # a phone's MPO: the picture, then a preview of it
        raise LoupeError(f"{name} holds several pictures: save each of them as a file of its own.")
    sixteen = bool(_SIXTEEN.search(str(picture.tile[:1])))
    picture.load()
    flat = Image.fromarray(_scaled(picture, name)) if picture.mode.startswith(("I", "F")) else picture
    turn = _TURNS.get(_orientation(picture))
    pixels = np.asarray((flat if turn is None else flat.transpose(turn)).convert("RGB"))
    if sixteen and 0 < pixels.max() < 64:
        raise _unclear(name, "channels of 16 bits of which less than a quarter is used")
    return pixels


def _orientation(picture: Image.Image) -> object:
    """The one tag, whatever the others hold: Pillow stops at a tag that is cut short, and ImageOps.exif_transpose writes all of them
    again."""
    block = picture.info.get("exif", b"").removeprefix(b"Exif\0\0")
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(block[:4])
    if order is None:
        return picture.getexif().get(_ORIENTATION)  # of TIFF, whose tags are the file's, of XMP, or none
    (start,) = struct.unpack_from(f"{order}I", block, 4)
    (count,) = struct.unpack_from(f"{order}H", block, start)
    for place in range(start + 2, min(start + 2 + 12 * count, len(block) - 11), 12):
        tag, kind = struct.unpack_from(f"{order}HH", block, place)
        if tag == _ORIENTATION and kind in (3, 4):
            return struct.unpack_from(order + ("H" if kind == 3 else "I"), block, place + 8)[0]
    return picture.getexif().get(_ORIENTATION)


def _scaled(picture: Image.Image, name: str) -> np.ndarray:
    """Grey values, uint8 (H, W), of a picture with one channel of more than 8 bits.

    Where nothing declares the range, a picture within its lowest quarter is refused: 12 bits in 16 would become all but black.
    """
    tags = getattr(picture, "tag_v2", {})
    bits = int(np.max(tags.get(_BITS, 16)))
    most = 1.0 if picture.mode == "F" else 2.0 ** (bits - (tags.get(_FORMAT) == (2,))) - 1
    declared = tags.get(_LARGEST_ANY) or tags.get(_LARGEST_VALUE)
    if declared:  # the largest value of this very picture, in some files: the range is that of its bits
        most = 2.0 ** np.ceil(np.log2(float(np.max(declared)) + 1)) - 1
    values = np.asarray(picture, dtype=np.float32)
    grey = np.rint(values * np.float32(255 / most))
    low, high = values.min(), values.max()
    known = declared or bits < 16 or high > most / 4 or low == high == 0
    if not (known and grey.min() >= 0 and grey.max() <= 255):  # NaN is neither
        raise _unclear(name, f"values from {low:g} to {high:g} in more than 8 bits")
    grey = grey.astype(np.uint8)
    return 255 - grey if tags.get(_PHOTOMETRIC) == 0 else grey


def _unclear(name: str, what: str) -> LoupeError:
    return LoupeError(f"{name} holds {what}, and nothing says which value is white: save it with 8 bits a channel.")
