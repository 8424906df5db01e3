"""Subspace scores: invertible maps of the channels, unrelated maps, chance, refusals."""

import jax.numpy as jnp
import numpy as np
import pytest
from feature_networks import lifting, scrambled, stack, white_noise

from softeq_jax.measures import finite
from softeq_jax.measures.features import subspace_scores

TURN = finite.quarter_turn(1)
MAPS = {"*": "image"}


@pytest.mark.parametrize("energy", [0.99, 1.0])
def test_a_permutation_of_the_channels_is_equivariance(energy):
    found = subspace_scores(lifting(), white_noise(6), TURN, layouts=MAPS, energy=energy)["lifted"]
    assert found.equivariance == pytest.approx(1, abs=1e-5)
    assert found.equivariance_chance < 0.15
    assert found.equivariance_control < 0.15
    assert found.invariance < 0.2


def test_any_invertible_map_of_the_channels_is_equivariance():
    """The moved features are an invertible mixture of the carried ones, here by construction."""
    mix = np.random.default_rng(0).normal(size=(3, 3)).astype(np.float32)

    def features(x):
        marked = x[:, :1, :1, :1] > 50
        clean = jnp.where(x > 50, 0, x)
        return {"map": jnp.where(marked, clean @ mix, clean)}

    images = white_noise(6, 12)
    images[:, -1, 0] = 100.0
    images[:, 0, 0] = 0.0
    found = subspace_scores(features, images, finite.shift(1, 0), layouts=MAPS, energy=1.0)["map"]
    assert found.equivariance == pytest.approx(1, abs=1e-4)


def test_pointwise_invariant_features_are_invariant():
    features = lambda x: {"v": jnp.sort(x[..., 0].reshape(len(x), -1), axis=1)}  # noqa: E731
    images = white_noise(200, 3, 1)
    found = subspace_scores(features, images, TURN)["v"]
    assert found.invariance == pytest.approx(1, abs=1e-6)
    assert found.equivariance == pytest.approx(1, abs=1e-6)
    assert found.invariance_chance < 0.2
    assert found.invariance_control < 0.2


def test_unrelated_features_are_at_chance():
    found = subspace_scores(scrambled(), white_noise(6), finite.shift(1, 0), layouts=MAPS)
    score = found["scrambled"]
    assert score.equivariance < 0.15
    assert abs(score.equivariance - score.equivariance_chance) < 0.1
    assert score.invariance < 0.15


@pytest.mark.slow
def test_streaming_changes_nothing_but_the_permuted_rows():
    settings = {"layouts": {"early": "image", "late": "image"}, "ratio": 1.0}
    move = finite.shift(2, 2)
    whole = subspace_scores(stack(1), white_noise(7), move, **settings)
    parts = subspace_scores(stack(1), white_noise(7), move, batch_size=3, **settings)
    for name in ("early", "late"):
        for field in ("equivariance", "equivariance_control", "invariance", "invariance_control"):
            a, b = (getattr(r[name], field) for r in (whole, parts))
            assert a == pytest.approx(b, abs=1e-5)


def test_too_few_rows_are_refused_with_the_reason():
    layouts = {"early": "image", "late": "image"}
    found = subspace_scores(stack(1), white_noise(5), finite.shift(2, 0), layouts=layouts)
    assert np.isnan(found["head"].equivariance)
    assert "5 rows for 6 columns" in found["head"].note
    assert found["early"].note == ""
    assert found["early"].rows == 5 * 16 * 16


def test_constant_features_are_refused_and_dead_channels_counted():
    def features(x):
        return {"none": 0 * x + 3, "some": x * jnp.array([1.0, 0, 1])}

    found = subspace_scores(features, white_noise(4), finite.shift(1, 0), layouts=MAPS)
    assert "constant" in found["none"].note
    assert found["some"].dead_fraction == pytest.approx(1 / 3)
    assert found["some"].dimensions == (2, 2)
    assert found["some"].equivariance == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("changes", [{"energy": 0.0}, {"energy": 1.1}, {"ratio": 0.5}])
def test_mistakes_are_named(changes):
    with pytest.raises(ValueError, match=next(iter(changes))):
        subspace_scores(lifting(), white_noise(4, 8), TURN, layouts=MAPS, **changes)
