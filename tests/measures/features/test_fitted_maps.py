"""Maps fitted between features: what they recover, what they reject."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from feature_networks import lifting, scrambled, stack, white_noise

from softeq_jax.measures import finite
from softeq_jax.measures.features import fitted_map_score

TURN = finite.quarter_turn(1)


def _cycled(k):
    """The channel from which the lifted channel comes under k quarter turns; two per filter."""
    return np.roll(np.arange(8), 2 * k)


@pytest.mark.slow
@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_known_permutation_of_the_channels_is_found(turns):
    found = fitted_map_score(
        lifting(), white_noise(6, 8), finite.quarter_turn(turns), layouts={"*": "image"}
    )["lifted"]
    np.testing.assert_allclose(found.matrix, np.eye(8)[:, found.order], atol=1e-4)
    assert sorted(found.order) == list(range(8))
    assert found.order.tolist() == _cycled(turns).tolist()
    assert found.r2()[0] == pytest.approx(1, abs=1e-6)
    assert found.r2("permutation")[0] == pytest.approx(1, abs=1e-6)
    assert found.r2_train == pytest.approx(1, abs=1e-6)
    assert found.r2("identity")[0] < 0.2
    assert abs(found.r2("control")[0]) < 0.1


def test_an_unrelated_map_is_rejected():
    found = fitted_map_score(
        scrambled(8), white_noise(12, 8), finite.shift(1, 0), layouts={"*": "image"}
    )["scrambled"]
    assert found.r2()[0] < 0.1
    assert found.r2("identity")[0] < 0
    r2, error = found.r2()
    assert 0 < error < 0.1
    assert r2 <= found.r2_train + 0.05


def test_without_transport_positions_are_compared_with_themselves():
    settings = {"layouts": {"*": "image"}, "transport": False}
    found = fitted_map_score(lifting(), white_noise(6, 8), TURN, **settings)["lifted"]
    assert found.r2()[0] < 0.2


@pytest.mark.slow
def test_a_dense_map_finds_the_transport_too():
    features = lambda x: {"map": jnp.tanh(x)}  # noqa: E731
    settings = {"layouts": {"*": "image"}, "transport": False, "split": 0.8}
    images = white_noise(60, 4, 1)
    dense = fitted_map_score(features, images, finite.shift(1, 0), kind="dense", **settings)["map"]
    assert dense.r2()[0] == pytest.approx(1, abs=1e-6)
    assert dense.matrix.shape == (16, 16)
    assert dense.samples == 48
    local = fitted_map_score(features, images, finite.shift(1, 0), **settings)["map"]
    assert local.r2()[0] < 0.1


@pytest.mark.slow
def test_affine_relations_are_found_with_gain_and_bias():
    def features(x):
        marked = (x[:, 0, 0, :1] > 50).astype(x.dtype)
        y = x.reshape(len(x), -1)[:, 3:6]
        y = x.sum((1, 2))[:, :2] * 0 + y[:, :2]
        return {"v": y * (1 + 2 * marked) + 4 * marked}

    images = white_noise(20, 3)
    images[:, 1, 0] = 100.0  # a quarter turn or shift brings it to the corner
    move = finite.shift(-1, 0)

    def moved_vector(x):
        rolled = np.roll(x, -1, 1)
        return np.asarray(features(jnp.asarray(rolled))["v"]), np.asarray(features(x)["v"])

    y, x = moved_vector(images)
    found = fitted_map_score(features, images, move, split=(np.arange(12), np.arange(12, 20)))["v"]
    design = np.c_[x, np.ones(20)][:12]
    expected = np.linalg.lstsq(design.astype(float), y[:12].astype(float), rcond=None)[0]
    np.testing.assert_allclose(np.r_[found.matrix, found.bias[None]], expected, atol=1e-5)


@pytest.mark.slow
def test_streaming_and_shuffling():
    settings = {"layouts": {"*": "image"}, "key": jax.random.key(1)}
    whole = fitted_map_score(lifting(), white_noise(7, 8), TURN, **settings)["lifted"]
    parts = fitted_map_score(lifting(), white_noise(7, 8), TURN, batch_size=2, **settings)["lifted"]
    np.testing.assert_allclose(whole.matrix, parts.matrix, atol=1e-6)
    np.testing.assert_allclose(whole.control.numerators, parts.control.numerators, rtol=1e-5)
    assert whole.fitted.numerators.shape[1] + whole.samples // 64 == 7


def test_dead_channels_do_not_break_the_fit():
    features = lambda x: {"map": jnp.tanh(x) * jnp.array([1.0, 0, 1])}  # noqa: E731
    found = fitted_map_score(
        features, white_noise(4, 8), finite.shift(1, 1), layouts={"*": "image"}
    )["map"]
    assert found.r2()[0] == pytest.approx(1, abs=1e-6)
    assert np.isfinite(found.matrix).all()


def test_a_ridge_shrinks_and_admits_few_rows():
    maps = {"early": "image", "late": "image"}
    images = white_noise(8)
    found = fitted_map_score(stack("circular"), images, finite.shift(2, 0), layouts=maps, ridge=0.1)
    assert 0.8 < found["early"].r2()[0] < 1
    assert np.trace(found["early"].matrix) < 8
    with pytest.raises(ValueError, match=r"'head': 4 training rows .* 7 unknowns"):
        fitted_map_score(stack("circular"), images, finite.shift(2, 0), layouts=maps)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "sparse"}, "no kind of map"),
        ({"ridge": -1}, "ridge"),
        ({"split": 1.0}, "between 0 and 1"),
        ({"split": 0.01}, "two images"),
        ({"split": ([0, 1], [1, 2])}, "distinct"),
        ({"split": ([0, 1], [2, 60])}, "distinct"),
        ({"crop": 4}, "no position"),
    ],
)
def test_mistakes_are_named(changes, message):
    settings = {"layouts": {"*": "image"}, **changes}
    with pytest.raises(ValueError, match=message):
        fitted_map_score(lifting(), white_noise(6, 8), TURN, **settings)


def test_unknown_map():
    found = fitted_map_score(lifting(), white_noise(6, 8), TURN, layouts={"*": "image"})
    with pytest.raises(ValueError, match="no map"):
        found["lifted"].r2("other")
