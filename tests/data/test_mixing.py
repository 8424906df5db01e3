"""Mixup and CutMix: labels are the shares of the pixels."""

import numpy as np
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

from softeq_jax.data import Cutmix, Mixup, MixupOrCutmix, soft_label

_SHAPE = (12, 10, 3)


def _pair(dtype=np.uint8, one=40, two=200):
    return (
        {"image": np.full(_SHAPE, one, dtype), "label": np.int32(1), "id": "first"},
        {"image": np.full(_SHAPE, two, dtype), "label": np.int32(4), "id": "second"},
    )


@examples(fast=30)
@given(seed=st.integers(0, 2**32 - 1), alpha=st.floats(0.05, 5), smoothing=st.floats(0, 0.5))
def test_mixup_shares(seed, alpha, smoothing):
    first, second = _pair()
    pairing = Mixup(alpha, 6, smoothing)
    one, two = pairing(first, second, np.random.default_rng(seed))
    assert one["image"].dtype == one["label"].dtype == np.float32
    assert (one["id"], two["id"]) == ("first", "second")
    share = float(one["image"][0, 0, 0] - 200) / (40 - 200)
    np.testing.assert_allclose(one["image"], 40 * share + 200 * (1 - share), rtol=1e-5)
    np.testing.assert_allclose(two["image"], 200 * share + 40 * (1 - share), rtol=1e-5)
    even, rest = smoothing / 6, 1 - smoothing
    want = np.full(6, even)
    want[[1, 4]] += rest * np.array([share, 1 - share])
    np.testing.assert_allclose(one["label"], want, atol=1e-5)
    np.testing.assert_allclose(two["label"], want[[0, 4, 2, 3, 1, 5]], atol=1e-5)
    np.testing.assert_allclose([one["label"].sum(), two["label"].sum()], 1, rtol=1e-6)


@examples(fast=30)
@given(
    seed=st.integers(0, 2**32 - 1),
    alpha=st.floats(0.05, 5),
    dtype=st.sampled_from([np.uint8, np.float32]),
)
def test_cutmix_shares(seed, alpha, dtype):
    first, second = _pair(dtype)
    one, two = Cutmix(alpha, 6)(first, second, np.random.default_rng(seed))
    assert one["image"].dtype == dtype
    pasted = one["image"] == 200
    np.testing.assert_array_equal(pasted, two["image"] == 40)
    np.testing.assert_array_equal(~pasted, one["image"] == 40)
    rows, cols = np.nonzero(pasted[..., 0])
    if len(rows):
        assert len(rows) == (np.ptp(rows) + 1) * (np.ptp(cols) + 1)
    np.testing.assert_allclose(one["label"][[1, 4]], [1 - pasted.mean(), pasted.mean()], atol=1e-6)
    np.testing.assert_allclose(two["label"][[4, 1]], [1 - pasted.mean(), pasted.mean()], atol=1e-6)
    assert np.count_nonzero(one["label"]) <= 2


def test_shares_are_beta_distributed():
    first, second = _pair()
    rng = np.random.default_rng(0)
    for alpha in (0.3, 2):
        draws = [Mixup(alpha, 6)(first, second, rng)[0]["label"][1] for _ in range(1500)]
        assert abs(np.mean(draws) - 0.5) < 0.04
        assert np.var(draws) == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.1)


def test_cutmix_pixels_come_from_the_other_image_at_the_same_place():
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, _SHAPE, np.uint8) for _ in range(2)]
    first, second = ({"image": image, "label": k} for k, image in enumerate(images))
    for _ in range(20):
        one, two = Cutmix(1, 2)(first, second, rng)
        both = np.stack([one["image"], two["image"]])
        np.testing.assert_array_equal(np.sort(both, axis=0), np.sort(images, axis=0))


def test_switch_and_probability():
    first, second = _pair()
    kinds = {"none": 0, "cut": 0, "mix": 0}
    rng = np.random.default_rng(0)
    pairing = MixupOrCutmix(2, 2, 6, switch=0.25, probability=0.8, smoothing=0.1)
    for _ in range(600):
        one, two = pairing(first, second, rng)
        assert one["image"].dtype == one["label"].dtype == two["image"].dtype == np.float32
        np.testing.assert_allclose(one["label"].sum(), 1, rtol=1e-6)
        values = set(np.unique(one["image"]))
        if values == {40.0}:
            kinds["none"] += 1
            np.testing.assert_allclose(one["label"], soft_label(1, 6, 0.1), rtol=1e-6)
            np.testing.assert_allclose(two["label"], soft_label(4, 6, 0.1), rtol=1e-6)
        else:
            kinds["cut" if values <= {40.0, 200.0} else "mix"] += 1
    # A few of the cuts are empty and count as none.
    assert 100 < kinds["none"] < 180
    assert 85 < kinds["cut"] < 150
    assert 310 < kinds["mix"] < 410


def test_alpha_zero_only_softens_labels():
    first, second = _pair()
    for pairing in (Mixup(0, 5, 0.2), Cutmix(0, 5, 0.2), MixupOrCutmix(0, 0, 5, smoothing=0.2)):
        one, _ = pairing(first, second, np.random.default_rng(0))
        np.testing.assert_array_equal(one["image"], first["image"])
        np.testing.assert_allclose(one["label"], [0.04, 0.84, 0.04, 0.04, 0.04], rtol=1e-6)


def test_soft_labels_go_in_again():
    half = np.array([0.5, 0, 0.5], np.float32)
    np.testing.assert_array_equal(soft_label(half, 3), half)
    np.testing.assert_allclose(soft_label(3, 4, 0.2), [0.05, 0.05, 0.05, 0.85], rtol=1e-6)
    for label in (3, -1, 1.0, np.zeros(4, np.float32), np.array([1])):
        with pytest.raises(ValueError, match=r"label must be an integer 0 <= label < 3 or float"):
            soft_label(label, 3)


@pytest.mark.parametrize("pairing", [Mixup(1, 6), Cutmix(1, 6), MixupOrCutmix(1, 1, 6)])
def test_deterministic_and_inputs_are_kept(pairing):
    first, second = _pair(np.float32)
    copies = first["image"].copy(), second["image"].copy()
    drawn = [pairing(first, second, np.random.default_rng(5)) for _ in range(2)]
    for k in range(2):
        np.testing.assert_array_equal(drawn[0][k]["image"], drawn[1][k]["image"])
        np.testing.assert_array_equal(drawn[0][k]["label"], drawn[1][k]["label"])
    np.testing.assert_array_equal(first["image"], copies[0])
    np.testing.assert_array_equal(second["image"], copies[1])
    assert (first["label"], second["label"]) == (1, 4)


@pytest.mark.parametrize("pairing", [Mixup(1, 6), Cutmix(1, 6), MixupOrCutmix(1, 1, 6)])
def test_pairs_that_do_not_fit_are_refused(pairing):
    first, second = _pair()
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match=r"alike.*\(12, 10, 3\) and \(4, 4, 3\)"):
        pairing(first, {**second, "image": np.zeros((4, 4, 3), np.uint8)}, rng)
    with pytest.raises(ValueError, match="alike.*uint8 and float32"):
        pairing(first, {**second, "image": np.zeros(_SHAPE, np.float32)}, rng)
    with pytest.raises(ValueError, match="0 <= label < 6"):
        pairing(first, {**second, "label": 6}, rng)
    with pytest.raises(ValueError, match="no 'label'.*image"):
        pairing({"image": first["image"]}, second, rng)
    with pytest.raises(ValueError, match="mask"):
        pairing(first, {**second, "mask": np.zeros(_SHAPE[:2], np.int32)}, rng)


@pytest.mark.parametrize(
    ("build", "field"),
    [
        (lambda: Mixup(-1, 3), "alpha"),
        (lambda: Cutmix(np.inf, 3), "alpha"),
        (lambda: Mixup(1, 0), "num_classes"),
        (lambda: Cutmix(1, 3, 1.0), "smoothing"),
        (lambda: MixupOrCutmix(1, -1, 3), "cutmix_alpha"),
        (lambda: MixupOrCutmix(-1, 1, 3), "mixup_alpha"),
        (lambda: MixupOrCutmix(1, 1, 3, switch=2), "switch"),
        (lambda: MixupOrCutmix(1, 1, 3, probability=-1), "probability"),
    ],
)
def test_fields_out_of_range_are_named(build, field):
    with pytest.raises(ValueError, match=field):
        build()
