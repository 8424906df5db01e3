"""Moving pixels: crops, flips, rotations, resizing; the mask moves as the image does."""

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from softeq_jax.data import (
    CenterCrop,
    RandomCrop,
    RandomFlip,
    RandomRotation,
    RandomScaleCrop,
    Resize,
)


def _image(height=9, width=7, dtype=np.uint8, channels=3):
    values = np.random.default_rng(0).integers(1, 255, (height, width, channels))
    return values.astype(dtype)


def _seen_alike(transform, height, width, draws=30):
    """The mask equals the image's first channel, after the same transform of both."""
    image = _image(height, width)
    example = {"image": image, "mask": image[..., 0].astype(np.int32), "id": "kept"}
    for seed in range(draws):
        out = transform(example, np.random.default_rng(seed))
        assert out["id"] == "kept"
        assert out["mask"].dtype == np.int32
        np.testing.assert_array_equal(out["mask"], out["image"][..., 0])


@pytest.mark.parametrize(
    "transform",
    [
        RandomCrop(3, fill=0, mask_fill=0),
        RandomFlip(),
        RandomScaleCrop((8, 10), fill=0, mask_fill=0, resample="nearest"),
        Resize((5, 11), "nearest"),
        CenterCrop((4, 5)),
    ],
    ids=lambda t: type(t).__name__,
)
def test_mask_moves_as_the_image(transform):
    _seen_alike(transform, 9, 7)


def test_crop_is_a_window_of_the_padded_image():
    image = _image()
    padded = np.pad(image, ((2, 2), (2, 2), (0, 0)), constant_values=7)
    windows = {padded[i : i + 9, j : j + 7].tobytes(): (i, j) for i in range(5) for j in range(5)}
    rng, drawn = np.random.default_rng(1), []
    for _ in range(400):
        drawn.append(windows[RandomCrop(2, fill=7)({"image": image}, rng)["image"].tobytes()])
    assert len(set(drawn)) == 25
    assert np.abs(np.mean(drawn, axis=0) - 2).max() < 0.25


def test_crop_by_more_than_the_image_and_per_channel_fill():
    image = _image(2, 2)
    rng, empty = np.random.default_rng(0), 0
    for _ in range(40):
        out = RandomCrop(30, fill=(1, 2, 3))({"image": image}, rng)["image"]
        assert out.shape == image.shape
        empty += np.array_equal(out, np.broadcast_to((1, 2, 3), out.shape))
    assert empty > 30
    assert RandomCrop(0)({"image": image}, rng)["image"].tobytes() == image.tobytes()


def test_flip_mirrors_with_its_probability():
    image, rng = _image(), np.random.default_rng(0)
    always = RandomFlip(1)({"image": image}, rng)["image"]
    np.testing.assert_array_equal(always, image[:, ::-1])
    np.testing.assert_array_equal(RandomFlip(0)({"image": image}, rng)["image"], image)
    outs = [RandomFlip(0.3)({"image": image}, rng)["image"] for _ in range(500)]
    flipped = [np.array_equal(out, image[:, ::-1]) for out in outs]
    assert 0.2 < np.mean(flipped) < 0.4


def test_rotation_draws_its_angle_uniformly():
    image = np.zeros((101, 101, 1), np.float32)
    image[50, 90] = 1
    rng, angles = np.random.default_rng(0), []
    for _ in range(60):
        out = RandomRotation(40)({"image": image}, rng)["image"][..., 0]
        row, col = ndimage.center_of_mass(out)
        angles.append(np.degrees(np.arctan2(50 - row, col - 50)))
    assert -40.5 < min(angles) < -28
    assert 28 < max(angles) < 40.5
    assert abs(np.mean(angles)) < 10


def test_resize_sizes_and_values():
    image, rng = _image(20, 31), np.random.default_rng(0)
    for size, want in ((10, (10, 16)), (40, (40, 62)), ((5, 8), (5, 8))):
        for name, code in (("bilinear", 2), ("bicubic", 3), ("nearest", 0)):
            out = Resize(size, name)({"image": image, "mask": image[..., 1]}, rng)
            pil = np.asarray(Image.fromarray(image).resize(want[::-1], code))
            np.testing.assert_array_equal(out["image"], pil)
            pil = np.asarray(Image.fromarray(image[..., 1]).resize(want[::-1], 0))
            np.testing.assert_array_equal(out["mask"], pil)
    tall = Resize(10)({"image": _image(31, 20)}, rng)["image"]
    assert tall.shape == (16, 10, 3)


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_resize_of_floats_and_any_channels(channels):
    image, rng = _image(20, 31, channels=channels), np.random.default_rng(0)
    as_bytes = Resize((9, 14))({"image": image}, rng)["image"]
    as_float = Resize((9, 14))({"image": image.astype(np.float32)}, rng)["image"]
    assert as_bytes.shape == as_float.shape == (9, 14, channels)
    assert as_float.dtype == np.float32
    assert np.abs(as_bytes - as_float).max() <= 1


def test_center_crop():
    image, rng = _image(9, 8), np.random.default_rng(0)
    out = CenterCrop(4)({"image": image}, rng)["image"]
    np.testing.assert_array_equal(out, image[2:6, 2:6])
    out = CenterCrop((9, 3))({"image": image}, rng)["image"]
    np.testing.assert_array_equal(out, image[:, 2:5])
    with pytest.raises(ValueError, match=r"\(9, 8\) is smaller than.*\(10, 4\)"):
        CenterCrop((10, 4))({"image": image}, rng)


def test_scale_crop_scales_pads_and_crops():
    image, mask = _image(6, 5), np.arange(30).reshape(6, 5)
    places = set()
    for seed in range(60):
        rng = np.random.default_rng(seed)
        crop = RandomScaleCrop((8, 4), scale=(1, 1), fill=0)
        out = crop({"image": image, "mask": mask}, rng)
        assert out["image"].shape == (8, 4, 3)
        real = out["mask"] != 255
        rows, cols = np.divmod(out["mask"][real], 5)
        np.testing.assert_array_equal(out["image"][real], image[rows, cols])
        assert not out["image"][~real].any()
        assert real.sum() == 6 * 4
        places.add((int(real.any(axis=1).argmax()), int(cols.min())))
    assert places == {(row, col) for row in (0, 1, 2) for col in (0, 1)}
    tripled = RandomScaleCrop((18, 15), scale=(3, 3), resample="nearest")
    out = tripled({"image": image, "mask": mask}, np.random.default_rng(0))
    np.testing.assert_array_equal(out["mask"], np.kron(mask, np.ones((3, 3), int)))


@pytest.mark.parametrize(
    ("build", "field"),
    [
        (lambda: RandomCrop(-1), "pad"),
        (lambda: RandomCrop(1.5), "pad"),
        (lambda: RandomCrop(fill=np.nan), "fill"),
        (lambda: RandomCrop(mask_fill=0.5), "mask_fill"),
        (lambda: RandomFlip(1.1), "probability"),
        (lambda: RandomRotation(-3), "degrees"),
        (lambda: RandomRotation(np.inf), "degrees"),
        (lambda: Resize(0), "size"),
        (lambda: Resize((4, 5, 6)), "size"),
        (lambda: Resize(4, "cubic"), "resample.*bicubic.*'cubic'"),
        (lambda: CenterCrop((4, -1)), "size"),
        (lambda: RandomScaleCrop(4, scale=(2, 1)), "scale"),
        (lambda: RandomScaleCrop(4, scale=(0, 1)), "scale"),
    ],
)
def test_fields_out_of_range_are_named(build, field):
    with pytest.raises(ValueError, match=field):
        build()


@pytest.mark.parametrize(
    ("example", "message"),
    [
        ({"label": 1}, "no 'image'.*label"),
        ({"image": b"1234"}, "4 encoded bytes.*Decode"),
        ({"image": np.zeros((3, 3), np.uint8)}, r"\[h, w, c\].*\(3, 3\)"),
        ({"image": np.zeros((3, 3, 1))}, "float32.*float64"),
        ({"image": _image(4, 4), "mask": np.zeros((4, 5), int)}, r"\(4, 4\).*\(4, 5\)"),
        ({"image": _image(4, 4), "mask": np.zeros((4, 4))}, "mask must be integers.*float64"),
    ],
)
def test_examples_that_do_not_fit_are_refused(example, message):
    with pytest.raises(ValueError, match=message):
        RandomCrop()(example, np.random.default_rng(0))


def test_fill_must_fit_the_image():
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="fill must be whole numbers that uint8 holds, got 256"):
        RandomCrop(fill=256)({"image": _image()}, rng)
    with pytest.raises(ValueError, match="fill must be whole numbers that uint8 holds, got 0.5"):
        RandomRotation(3, fill=0.5)({"image": _image()}, rng)
    with pytest.raises(ValueError, match="one per channel"):
        RandomCrop(fill=(1, 2))({"image": _image()}, rng)
    half = RandomCrop(fill=0.5)({"image": np.zeros((4, 4, 1), np.float32)}, rng)["image"]
    assert set(np.unique(half)) <= {0, 0.5}
