"""Pictures of any mode: scaled by what the mode says, or refused by name, never white."""

import contextlib
import io
import random

import numpy as np
import pytest
from PIL import Image

from softeq_jax.data import Decode, RandomResizedCrop, read_picture

RAMP = np.tile(np.linspace(0, 65535, 64).astype(np.uint16), (48, 1))
EIGHT = np.rint(RAMP / 257).astype(np.uint8)
WHOLE = RandomResizedCrop((48, 64), area=(1.0, 1.0), aspect=(4 / 3, 4 / 3))


def _encoded(picture, form, **settings):
    file = io.BytesIO()
    picture.save(file, form, **settings)
    return file.getvalue()


def _pgm(values, largest):
    data = values.astype(">u2").tobytes()
    return f"P5 {values.shape[1]} {values.shape[0]} {largest}\n".encode() + data


SIXTEEN = {
    "png": _encoded(Image.fromarray(RAMP), "PNG"),
    "tiff": _encoded(Image.fromarray(RAMP), "TIFF"),
    "tiff of the other byte order": _encoded(Image.fromarray(RAMP.astype(">u2")), "TIFF"),
    "jpeg 2000": _encoded(Image.fromarray(RAMP), "JPEG2000"),
    "pgm": _pgm(RAMP, 65535),
    "pgm of 12 bits": _pgm(np.rint(RAMP / 65535 * 4095), 4095),
}


@pytest.mark.parametrize("kind", SIXTEEN)
def test_gray_of_sixteen_bits_is_scaled(kind):
    data = SIXTEEN[kind]
    gray = read_picture(data)
    assert (gray.shape, gray.dtype) == (EIGHT.shape, np.uint8)
    assert np.abs(gray.astype(int) - EIGHT).max() <= 1
    for transform in (Decode(), WHOLE):
        rgb = transform({"image": data}, np.random.default_rng(0))["image"]
        np.testing.assert_array_equal(rgb, np.repeat(gray[..., None], 3, axis=2))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB"])
def test_modes_of_eight_bits_are_what_pillow_makes_of_them(mode):
    picture = Image.fromarray(EIGHT).convert("RGB")
    picture = (picture.convert("L") if mode == "LA" else picture).convert(mode)
    data = _encoded(picture, "TIFF")
    wanted = Image.open(io.BytesIO(data)).convert("RGB")
    found = Decode()({"image": data}, np.random.default_rng(0))["image"]
    np.testing.assert_array_equal(found, wanted)
    assert read_picture(data).ndim == (2 if mode in ("1", "L", "LA") else 3)


ODD = {
    "32-bit integers": (_encoded(Image.fromarray(RAMP.astype(np.int32)), "TIFF"), "mode I,"),
    "floats": (_encoded(Image.fromarray((RAMP / 65535).astype(np.float32)), "TIFF"), "mode F,"),
    "white is zero": (_encoded(Image.fromarray(RAMP), "TIFF", tiffinfo={262: 0}), "mode I;16"),
    "12 bits": (
        _encoded(Image.fromarray(RAMP), "TIFF").replace(
            b"\x02\x01\x03\x00\x01\x00\x00\x00\x10\x00", b"\x02\x01\x03\x00\x01\x00\x00\x00\x0c\x00"
        ),
        "mode I;16|decoded",
    ),
}


@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize("transform", [Decode(), WHOLE], ids=["decode", "crop"])
def test_what_has_no_known_white_is_refused_by_its_mode(kind, transform):
    data, words = ODD[kind]
    with pytest.raises(ValueError, match=f"image: .*{words}"):
        transform({"image": data}, np.random.default_rng(0))
    with pytest.raises(ValueError, match=f"that one: .*{words}"):
        read_picture(data, "that one")


@pytest.mark.parametrize(
    "form", ["PNG", "JPEG", "TIFF", "GIF", "BMP", "WEBP", "AVIF", "TGA", "BLP"]
)
def test_damaged_pictures_are_read_or_refused(form):
    if form not in Image.SAVE:
        pytest.skip(f"this Pillow writes no {form}")
    draw = random.Random(0)
    picture = Image.fromarray(EIGHT).convert("P" if form == "BLP" else "RGB")
    sound = _encoded(picture, form)
    for _ in range(60):
        data = bytearray(sound)
        for _ in range(draw.choice([1, 5, 20])):
            data[draw.randrange(min(len(data), 200))] = draw.randrange(256)
        with contextlib.suppress(ValueError):
            assert read_picture(bytes(data[: draw.choice([len(data), 100])])).dtype == np.uint8
