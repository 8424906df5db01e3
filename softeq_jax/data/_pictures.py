"""Pictures of any mode in 8 bits a channel: scaled where their mode tells the range, or refused."""

import struct
import zlib

import numpy as np
from PIL import Image

# What Pillow and the decoders that it calls raise over damaged files.
PIL_ERRORS = (
    *(OSError, ValueError, SyntaxError, EOFError, RuntimeError, LookupError, TypeError),
    *(ArithmeticError, AttributeError, MemoryError, struct.error, zlib.error),
    Image.DecompressionBombError,
)
_GRAY = ("1", "L", "LA", "La")
_COLOR = ("P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV")
_SIXTEEN_BITS = ("I;16", "I;16L", "I;16B", "I;16N")
_WRITE_16_BITS_AS_I = ("PNG", "PPM")
_BITS_PER_SAMPLE, _PHOTOMETRIC, _WHITE_IS_ZERO = 258, 262, 0


def eight_bits(picture: Image.Image) -> Image.Image:
    """A picture of Pillow's in mode ``"L"`` if it is gray, else ``"RGB"``.

    Gray of 16 bits is scaled to 8, ``round(v / 257)``; Pillow's own conversion cuts it off at 255,
    which makes it white. Alpha is left out.

    Raises:
      ValueError: its mode does not tell what is black and what is white (32-bit integers, floats,
        12 bits in a TIFF); the message has the mode.
    """
    mode = picture.mode
    if mode in _GRAY or mode in _COLOR:
        wanted = "L" if mode in _GRAY else "RGB"
        return picture if mode == wanted else picture.convert(wanted)
    tags = getattr(picture, "tag_v2", {})
    odd = set(tags.get(_BITS_PER_SAMPLE, (16,))) != {16} or tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO
    sixteen = mode in _SIXTEEN_BITS or (mode == "I" and picture.format in _WRITE_16_BITS_AS_I)
    if sixteen and not odd:
        values = np.asarray(picture)
        if values.min(initial=0) >= 0 and values.max(initial=0) <= 65535:
            return Image.fromarray(((values.astype(np.uint32) + 128) // 257).astype(np.uint8))
    raise ValueError(
        f"a picture of mode {mode}, whose values have no known black and white; expected 8 bits a "
        "channel, or gray of 16 bits from 0 to 65535"
    )
