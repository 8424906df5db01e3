"""Measured geometry of feature maps against counting."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from feature_networks import conv, kernel

from softeq_jax.measures import Image
from softeq_jax.measures.features import footprints, infer_layouts

STACKS = [
    [(3, 2, 1)],
    [(3, 1, 0)],
    [(7, 2, 3), (3, 2, 1), (3, 1, 1)],
    [(4, 4, 0), (1, 1, 0)],
    [(2, 2, 0), (3, 1, 1), (2, 2, 0)],
    [(1, 3, 0), (3, 1, 1)],
    [(5, 1, 2), (3, 2, 0)],
    [(3, 3, 1), (5, 1, 2)],
]


def _counted(layers, n):
    """Pixels that every entry reads along one axis if there were no edge."""

    def reads(depth, i):
        if depth == 0:
            return {i}
        width, stride, pad = layers[depth - 1]
        return set().union(*(reads(depth - 1, i * stride - pad + t) for t in range(width)))

    size = n
    for width, stride, pad in layers:
        size = (size + 2 * pad - width) // stride + 1
    return [reads(len(layers), i) for i in range(size)]


def _network(layers):
    def features(x):
        for depth, (width, stride, pad) in enumerate(layers):
            x = jax.nn.relu(conv(x, kernel(width, x.shape[-1], 6, depth), stride, pad))
        return {"map": x}

    return features


@pytest.mark.slow
@pytest.mark.parametrize("layers", STACKS)
@pytest.mark.parametrize("side", [32, 35])
def test_stacks_of_convolutions_against_counting(layers, side):
    found = footprints(_network(layers), (side, side, 3))["map"]
    reads = _counted(layers, side)
    ends = np.array([(min(r), max(r)) for r in reads])
    centers = ends.mean(axis=1) - (side - 1) / 2
    assert found.layout.origin == pytest.approx((centers[0],) * 2)
    assert found.layout.pitch == pytest.approx((centers[1] - centers[0],) * 2)
    assert found.radius == pytest.approx(((ends[0, 1] - ends[0, 0]) / 2,) * 2)
    before, after = int((ends[:, 0] < 0).sum()), int((ends[:, 1] >= side).sum())
    assert found.border == (before, after, before, after)


def test_the_known_offset_of_a_strided_convolution():
    found = infer_layouts(_network([(3, 2, 1)]), (32, 32, 3))
    assert found == {"map": Image(origin=(-15.5, -15.5), pitch=(2.0, 2.0))}


def test_rows_and_columns_are_told_apart():
    def features(x):
        return {"map": conv(x, kernel(3, 2, 4), padding=1)[:, ::2, 1::3]}

    found = footprints(features, (24, 31, 2))["map"]
    assert found.layout.pitch == (2.0, 3.0)
    assert found.layout.origin == (-11.5, -14.0)
    assert found.border == (1, 0, 0, 0)


@pytest.mark.parametrize(("times", "method"), [(2, "nearest"), (2, "bilinear"), (4, "nearest")])
def test_upsampling_has_a_fractional_step(times, method):
    def features(x):
        y = x[:, ::2, ::2] + x[:, 1::2, 1::2]
        side = y.shape[1] * times
        return {"map": jax.image.resize(y, (len(x), side, side, 3), method)}

    found = footprints(features, (32, 32, 3))["map"]
    assert found.layout.pitch == pytest.approx((2 / times,) * 2)
    centered = -(16 * times - 1) / 2 * 2 / times
    assert found.layout.origin == pytest.approx((centered, centered))


def test_max_pooling_and_dead_units_do_not_hide_the_ends():
    def features(x):
        y = jax.nn.relu(conv(x, kernel(3, 3, 4), padding=1) - 0.5)
        window = (1, 3, 3, 1)
        return {
            "map": jax.lax.reduce_window(y, -jnp.inf, jax.lax.max, window, (1, 2, 2, 1), "VALID")
        }

    found = footprints(features, (33, 33, 3))["map"]
    assert found.layout.origin == (-15.0, -15.0)
    assert found.radius == (2.0, 2.0)
    assert found.border == (1, 1, 1, 1)


def test_dilated_windows_have_holes():
    def features(x):
        k = jnp.asarray(kernel(3, 3, 6))
        numbers = ("NHWC", "HWIO", "NHWC")
        pads = [(2, 2), (2, 2)]
        return {
            "map": jax.lax.conv_general_dilated(
                x, k, (1, 1), pads, rhs_dilation=(2, 2), dimension_numbers=numbers
            )
        }

    found = footprints(features, (20, 20, 3))["map"]
    assert found.layout.pitch == (1.0, 1.0)
    assert found.layout.origin == (-9.5, -9.5)
    assert found.radius == (2.0, 2.0)
    assert found.border == (2, 2, 2, 2)


def test_periodic_padding_has_the_geometry_of_zero_padding():
    k = kernel(5, 3, 4)
    found = footprints(
        lambda x: {"wrap": conv(x, k, padding="circular"), "zero": conv(x, k, padding=2)},
        (20, 20, 3),
    )
    assert found["wrap"] == found["zero"]


def test_global_and_uneven_maps_say_so():
    def features(x):
        y = conv(x, kernel(3, 3, 4), padding=1)
        uneven = y[:, np.array([0, 3, 4, 9, 10, 12, 17, 18, 19])]
        return {"map": y, "global": y * y.mean((1, 2), keepdims=True), "uneven": uneven}

    found = footprints(features, (20, 20, 3))
    assert found["map"].layout is not None
    assert found["global"].layout is None
    assert "whole image" in found["global"].reason
    assert "evenly" in found["uneven"].reason
    with pytest.raises(ValueError, match=r"'global'.*whole image"):
        infer_layouts(features, (20, 20, 3))
    assert list(footprints(features, (20, 20, 3), names=["map"])) == ["map"]


def test_vectors_are_not_maps():
    assert footprints(lambda x: {"v": x.mean((1, 2))}, (8, 8, 3)) == {}


def test_mistakes():
    features = _network([(3, 1, 1)])
    with pytest.raises(ValueError, match="draws"):
        footprints(features, (8, 8, 3), draws=0)
    with pytest.raises(ValueError, match="image_shape"):
        footprints(features, (8, 8))
    with pytest.raises(ValueError, match="no features"):
        footprints(features, (8, 8, 3), names=["other"])
    with pytest.raises(ValueError, match="NaN"):
        footprints(lambda x: {"map": jnp.sqrt(x)}, (8, 8, 3))
