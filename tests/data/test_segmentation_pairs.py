"""Image and mask from the records of a segmentation data set."""

import pickle

import numpy as np
import pytest
import tensorflow_datasets as tfds

from softeq_jax.data import RandomScaleCrop, segmentation_pairs

_RNG = np.random.default_rng(0)


def test_camvid_decoded_and_encoded(data_dir):
    builder = tfds.builder_from_directory(data_dir / "tfds" / "camvid" / "1.0.0")
    skip = tfds.decode.SkipDecoding()
    plain = builder.as_data_source("train")
    raw = builder.as_data_source("train", decoders={"image": skip, "segmentation_mask": skip})
    for index in (0, 200, 366):
        record, encoded = plain[index], raw[index]
        assert isinstance(encoded["image"], bytes)
        assert isinstance(encoded["segmentation_mask"], bytes)
        out, same = segmentation_pairs()(record, _RNG), segmentation_pairs()(encoded, _RNG)
        assert set(out) == {"image", "mask", "id"}
        assert (out["image"].shape, out["mask"].shape) == ((180, 240, 3), (180, 240))
        assert (out["image"].dtype, out["mask"].dtype) == (np.uint8, np.int32)
        np.testing.assert_array_equal(out["mask"], same["mask"])
        np.testing.assert_array_equal(out["image"], same["image"])
        given = record["segmentation_mask"][..., 0]
        np.testing.assert_array_equal(out["mask"] == 255, given == 11)
        np.testing.assert_array_equal(out["mask"][given != 11], given[given != 11])
        assert set(np.unique(out["mask"])) <= {*range(11), 255}
        crop = RandomScaleCrop(160)(out, _RNG)
        assert (crop["image"].shape, crop["mask"].shape) == ((160, 160, 3), (160, 160))


def test_settings():
    mask = np.array([[0, 1], [2, 11]], np.uint8)
    record = {"image": np.zeros((2, 2, 3), np.uint8), "seg": mask}
    pairs = pickle.loads(pickle.dumps(segmentation_pairs("seg", void=2, ignore=-1)))
    out = pairs(record, _RNG)
    np.testing.assert_array_equal(out["mask"], [[0, 1], [-1, 11]])
    assert "seg" not in out
    np.testing.assert_array_equal(record["seg"], [[0, 1], [2, 11]])
    kept = segmentation_pairs("seg", void=None)(record, _RNG)["mask"]
    np.testing.assert_array_equal(kept, mask)
    renamed = segmentation_pairs("seg", void=2)({"image": record["image"], "mask": mask}, _RNG)
    np.testing.assert_array_equal(renamed["mask"], [[0, 1], [255, 11]])


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({}, "no 'segmentation_mask'.*image"),
        ({"segmentation_mask": np.zeros((2, 3), np.uint8)}, r"size \(2, 2\).*shape \(2, 3\)"),
        ({"segmentation_mask": np.zeros((2, 2))}, "must be integers.*float64"),
        ({"segmentation_mask": np.zeros((2, 2, 3), np.uint8)}, r"shape \(2, 2, 3\)"),
        ({"segmentation_mask": b"xyz"}, "segmentation_mask: 3 bytes that cannot be decoded"),
    ],
)
def test_records_that_do_not_fit_are_refused(record, message):
    with pytest.raises(ValueError, match=message):
        segmentation_pairs()({"image": np.zeros((2, 2, 3), np.uint8), **record}, _RNG)


def test_refuses():
    for key in ("", "image"):
        with pytest.raises(ValueError, match="mask_key"):
            segmentation_pairs(key)
