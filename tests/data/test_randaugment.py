"""RandAugment: its table of strengths, the identity at magnitude 0, and masks."""

import numpy as np
import pytest
from scipy import ndimage

from softeq_jax.data import RandAugment

OPERATIONS = RandAugment().operations
GEOMETRIC = ("rotate", "shear_x", "shear_y", "translate_x", "translate_y")
_PARAMETERLESS = ("identity", "autocontrast", "equalize")


def _image(height=24, width=20, channels=3):
    rng = np.random.default_rng(0)
    smooth = ndimage.gaussian_filter(rng.normal(size=(height, width, channels)), (2, 2, 0))
    smooth -= smooth.min()
    return (20 + 180 * smooth / smooth.max()).astype(np.uint8)


@pytest.mark.parametrize("name", [n for n in OPERATIONS if n not in ("autocontrast", "equalize")])
def test_magnitude_zero_is_the_identity(name):
    image, rng = _image(), np.random.default_rng(0)
    still = RandAugment(num_ops=4, magnitude=0, magnitude_std=0, operations=(name,))
    np.testing.assert_array_equal(still({"image": image}, rng)["image"], image)


@pytest.mark.parametrize("name", [n for n in OPERATIONS if n not in _PARAMETERLESS])
def test_increasing_operations_grow_with_the_magnitude(name):
    image = np.full((24, 20, 3), 255, np.uint8) if name in GEOMETRIC else _image()
    image[::5, ::3] = 255
    changes = []
    for magnitude in (0, 3, 6, 10):
        augment = RandAugment(1, magnitude, 0, operations=(name,))
        outs = [augment({"image": image}, np.random.default_rng(s))["image"] for s in range(8)]
        changes.append(np.mean([np.abs(out.astype(int) - image).mean() for out in outs]))
    assert changes[0] == 0
    assert changes[1] > 0
    assert changes == sorted(changes)


def test_signs_are_drawn_evenly():
    rng = np.random.default_rng(0)
    image = np.zeros((1, 21, 1), np.uint8)
    image[0, 10] = 255
    augment = RandAugment(1, 4, 0, operations=("translate_x",), fill=0)
    places = [int(augment({"image": image}, rng)["image"].argmax()) for _ in range(200)]
    assert set(places) == {10 - 4, 10 + 4}
    assert 70 < places.count(6) < 130


def test_magnitudes_spread_and_stay_in_range():
    rng = np.random.default_rng(0)
    white = np.full((1, 1, 1), 100, np.uint8)
    augment = RandAugment(1, 9, 2, increasing=False, operations=("brightness",))
    values = [int(augment({"image": white}, rng)["image"][0, 0, 0]) for _ in range(300)]
    assert max(values) in (189, 190)  # factor 1.9 at the largest magnitude
    assert values.count(max(values)) > 50
    assert min(values) < 140


def test_mask_follows_geometric_operations_only():
    image = _image()
    mask = (image[..., 0] > 100).astype(np.int32)
    colors = tuple(name for name in OPERATIONS if name not in GEOMETRIC)
    for seed in range(10):
        augment = RandAugment(5, operations=colors)
        out = augment({"image": image, "mask": mask}, np.random.default_rng(seed))
        np.testing.assert_array_equal(out["mask"], mask)
        # Black and white, so that the interpolated image tells the class wherever it is clear.
        example = {"image": np.repeat(mask[..., None] * 255, 3, -1).astype(np.uint8), "mask": mask}
        augment = RandAugment(1, fill=128, operations=GEOMETRIC)
        out = augment(example, np.random.default_rng(seed))
        clear = out["mask"] != 255
        seen = out["image"][..., 0].astype(int)
        sure = clear & ((seen < 20) | (seen > 235))
        assert sure.sum() > 150
        np.testing.assert_array_equal(out["mask"][sure], seen[sure] > 128)
        assert np.all(np.abs(seen - 128)[~clear] <= 64)


def test_draws_all_operations():
    image, rng = _image(), np.random.default_rng(0)
    outs = {RandAugment(1, 9, 0)({"image": image}, rng)["image"].tobytes() for _ in range(500)}
    # Of 14 operations 3 have no parameter and 9 a sign; posterize and solarize are as they are.
    assert len(outs) == 3 + 2 * 9 + 2


def test_gray_images():
    image, rng = _image(channels=1), np.random.default_rng(0)
    for name in OPERATIONS:
        out = RandAugment(1, operations=(name,))({"image": image}, rng)["image"]
        assert out.shape == image.shape
        assert out.dtype == np.uint8


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"num_ops": -1}, "num_ops"),
        ({"num_ops": 1.5}, "num_ops"),
        ({"magnitude": 11}, r"magnitude must be in \[0, 10\], got 11"),
        ({"magnitude_std": -1}, "magnitude_std"),
        ({"operations": ("rotate", "cutout")}, "operations.*cutout"),
        ({"operations": ()}, "operations"),
    ],
)
def test_refuses(fields, message):
    with pytest.raises(ValueError, match=message):
        RandAugment(**fields)


@pytest.mark.parametrize(
    "image", [np.zeros((4, 4, 3), np.float32), np.zeros((4, 4, 2), np.uint8)], ids=["float", "two"]
)
def test_refuses_images(image):
    with pytest.raises(ValueError, match="uint8 with 1 or 3 channels"):
        RandAugment()({"image": image}, np.random.default_rng(0))
