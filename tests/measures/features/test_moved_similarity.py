"""Similarity of features of moved and unmoved images: known answers, controls, errors."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from feature_networks import lifting, stack, white_noise
from flax import linen

from softeq_jax.measures import feature_similarity, finite, linear_cka, linen_features, rsa
from softeq_jax.nn import blur_pool

TURN = finite.quarter_turn(1)
ALL = ("linear_cka", "svcca", "rsa", "distance_correlation")


@pytest.mark.slow(8)
def test_a_hidden_field_type_is_1_and_a_broken_symmetry_is_the_control():
    """The lifted channels cycle, in a basis that nobody tells, and all measures see it."""
    hidden = lifting()
    mixing = np.linalg.qr(np.random.default_rng(0).standard_normal((8, 8)))[0].astype(np.float32)

    def features(x):
        lifted = hidden(x)["lifted"] @ mixing
        return {
            "pooled": lifted.mean(axis=(1, 2)),
            "pixel": lifted[:, 1, 2],
            "aliased": lifted[:, ::2, ::2].mean(axis=(1, 2)),
            "blurred": blur_pool(lifted, 4).mean(axis=(1, 2)),
            "dead": jnp.ones((len(x), 8)),
        }

    images = white_noise(40, 8)
    found = feature_similarity(features, images, [TURN, finite.quarter_turn(2)], batch_size=16)
    assert (found.measures, found.n, len(found.transforms)) == (ALL, 40, 2)
    for name in ALL:
        pooled, pixel = found["pooled"], found["pixel"]
        assert pooled.values[name] == pytest.approx([1, 1], abs=1e-4)
        assert max(pooled.errors[name]) < 1e-3
        assert max(pooled.control[name]) < 0.8
        assert found["blurred"].values[name] == pytest.approx([1, 1], abs=1e-4)
        assert max(found["aliased"].values[name]) < 0.95
        for value, error, control in zip(
            pixel.values[name], pixel.errors[name], pixel.control[name], strict=True
        ):
            assert abs(value - control) < 5 * error + 0.05
        assert np.isnan(found["dead"].values[name]).all()
    assert "(" in found.table()
    assert "-" in repr(found)
    rows = found.rows()
    assert len(rows) == 5 * 2 * 4
    assert rows[0]["value"] == found["pooled"].values["linear_cka"][0]


@pytest.mark.slow(3)
def test_values_are_those_of_the_measures_and_errors_those_of_a_jackknife():
    features, images = (lambda x: {"late": jnp.tanh(x[:, :3])}), white_noise(9, 6)
    measures = {"cosine": functools.partial(rsa, distance="cosine")}
    found = feature_similarity(features, images, finite.shift(1, 0), measures=measures, blocks=3)
    still, moved = (np.tanh(x[:, :3]).reshape(9, -1) for x in (images, np.roll(images, 1, 1)))

    def measure(a, b):
        return float(rsa(a, b, "cosine"))

    layer = found["late"]
    assert layer.values["cosine"][0] == pytest.approx(measure(still, moved), abs=1e-5)
    other = np.roll(still, -4, axis=0)
    assert layer.control["cosine"][0] == pytest.approx(measure(other, moved), abs=1e-5)
    keep = [np.setdiff1d(np.arange(9), np.arange(block, 9, 3)) for block in range(3)]
    left = np.array([measure(still[k], moved[k]) for k in keep])
    error = np.sqrt(2 / 3 * ((left - left.mean()) ** 2).sum())
    assert layer.errors["cosine"][0] == pytest.approx(error, abs=1e-5)


class _Net(linen.Module):
    @linen.compact
    def __call__(self, x):
        return linen.Dense(3, name="head")(linen.relu(linen.Conv(4, (3, 3), name="conv")(x)))


def test_networks_and_plain_functions():
    net, images = _Net(), white_noise(4, 6)
    variables = net.init(jax.random.key(0), images)
    cka = {"measures": {"cka": linear_cka}}
    found = feature_similarity(linen_features(net, variables), images, TURN, **cka)
    assert [layer.name for layer in found.layers] == ["conv", "head", "output"]
    assert found["conv"].shape == (6, 6, 4)
    assert np.isnan(found["conv"].errors["cka"]).all()
    whole = jax.tree_util.Partial(net.apply, variables)
    for f in (whole, lambda x: net.apply(variables, x)):
        output = feature_similarity(f, images, TURN, **cka)["output"].values["cka"]
        assert output == pytest.approx(found["output"].values["cka"], abs=1e-6)


def test_errors():
    f, images = stack("circular"), white_noise(6, 8)
    with pytest.raises(TypeError, match="crop"):
        feature_similarity(f, images, TURN, crop=1)
    with pytest.raises(ValueError, match="three images"):
        feature_similarity(f, images[:2], TURN)
    with pytest.raises(ValueError, match="from 2 to n // 3 = 2"):
        feature_similarity(f, images, TURN, blocks=3)
    with pytest.raises(ValueError, match="'output' has NaN"):
        feature_similarity(lambda x: jnp.log(x - 9), images, TURN)
    with pytest.raises(TypeError, match="function"):
        feature_similarity(3, images, TURN)
    with pytest.raises(TypeError, match="list"):
        feature_similarity(f, images.tolist(), TURN)
    with pytest.raises(KeyError, match="late"):
        feature_similarity(lambda x: x, images, TURN)["late"]
