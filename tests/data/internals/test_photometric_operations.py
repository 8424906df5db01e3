"""Operations on gray levels and colors, against PIL."""

import numpy as np
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from softeq_jax.data import _photometric as photometric

_PIXELS = hnp.arrays(
    np.uint8,
    st.tuples(st.integers(1, 20), st.integers(1, 20), st.just(3)),
    elements=st.integers(0, 255),
    fill=st.integers(0, 255),
)


@st.composite
def _images(draw):
    """Few levels, many levels, and all within a narrow range."""
    if draw(st.booleans()):
        return draw(_PIXELS)
    size = draw(st.tuples(st.integers(1, 40), st.integers(1, 40), st.just(3)))
    low = draw(st.integers(0, 254))
    high = draw(st.integers(low + 1, 255))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return rng.integers(low, high + 1, size, np.uint8)


def _close_to_pil(ours, pil):
    assert ours.dtype == np.uint8
    assert np.abs(ours.astype(int) - np.asarray(pil)).max() <= 1


@examples(fast=60)
@given(image=_images())
def test_autocontrast_and_equalize_as_pil_does(image):
    before, pil = image.copy(), Image.fromarray(image)
    _close_to_pil(photometric.autocontrast(image), ImageOps.autocontrast(pil))
    np.testing.assert_array_equal(photometric.equalize(image), ImageOps.equalize(pil))
    np.testing.assert_array_equal(image, before)


@examples(fast=60)
@given(image=_images(), bits=st.integers(1, 8), threshold=st.integers(0, 256))
def test_posterize_and_solarize_as_pil_does(image, bits, threshold):
    pil = Image.fromarray(image)
    np.testing.assert_array_equal(photometric.posterize(image, bits), ImageOps.posterize(pil, bits))
    np.testing.assert_array_equal(
        photometric.solarize(image, threshold), ImageOps.solarize(pil, threshold)
    )


@pytest.mark.parametrize("name", ["Color", "Contrast", "Brightness", "Sharpness"])
@examples(fast=40)
@given(image=_images(), factor=st.floats(0, 2))
def test_enhancements_as_pil_does(name, image, factor):
    if name == "Sharpness" and min(image.shape[:2]) < 3:
        return
    operation = getattr(photometric, name.lower())
    enhance = getattr(ImageEnhance, name)(Image.fromarray(image))
    before = image.copy()
    _close_to_pil(operation(image, factor), enhance.enhance(factor))
    np.testing.assert_array_equal(operation(image, 1), image)
    np.testing.assert_array_equal(image, before)


@examples(fast=40)
@given(image=_images())
def test_gray_and_smoothed_images_are_pils_to_the_level(image):
    pil = Image.fromarray(image)
    np.testing.assert_array_equal(photometric.luma(image)[..., 0], pil.convert("L"))
    np.testing.assert_array_equal(photometric.color(image, 0), ImageEnhance.Color(pil).enhance(0))
    if min(image.shape[:2]) >= 3:
        smooth = pil.filter(ImageFilter.SMOOTH)
        np.testing.assert_array_equal(photometric.sharpness(image, 0), smooth)


@pytest.mark.parametrize("name", ["contrast", "brightness", "sharpness"])
def test_gray_images(name):
    image = np.random.default_rng(0).integers(0, 256, (12, 9, 1), np.uint8)
    enhance = getattr(ImageEnhance, name.capitalize())(Image.fromarray(image[..., 0]))
    _close_to_pil(getattr(photometric, name)(image, 1.6)[..., 0], enhance.enhance(1.6))
    for operation in (photometric.autocontrast, photometric.equalize):
        pil = getattr(ImageOps, operation.__name__)(Image.fromarray(image[..., 0]))
        _close_to_pil(operation(image)[..., 0], pil)
    np.testing.assert_array_equal(photometric.color(image, 0.1), image)


def test_color_of_two_channels_is_refused():
    with pytest.raises(ValueError, match=r"1 or 3 channels.*\(4, 4, 2\)"):
        photometric.contrast(np.zeros((4, 4, 2), np.uint8), 1.5)
