"""RelaxedGroupConv: equal weights turn with the image, unequal ones do not, what folding leaves."""

import jax
import numpy as np
import pytest
from flax import linen

import softeq_jax as sq
from softeq_jax import nn

NORMAL = jax.nn.initializers.normal(1.0)


def layer(group, lifting, **options):
    """(layer, representations of its channels)."""
    functions = sq.reps.regular(group)
    enter = sq.reps.trivial(group, 1) + sq.reps.vector(group) if lifting else 2 * functions
    leave = 3 * functions
    acts = {"h w": sq.reps.image(group, (3, 3)), "i": enter, "o": leave}
    made = nn.RelaxedGroupConv(
        leave.dim,
        sq.projector("h w i o", acts),
        sq.projector("o", {"o": leave}),
        bias_init=NORMAL,
        **options,
    )
    return made, enter, leave


def turned(group, x, rep):
    g = group.discrete_generators[0]
    grid = sq.reps.image(group, x.shape[1:3]).apply(g, x, axes=(1, 2))
    return rep.apply(g, grid, axes=(3,))


@pytest.mark.slow(4)
@pytest.mark.parametrize("lifting", [True, False])
@pytest.mark.parametrize("group", [sq.groups.cyclic(4), sq.groups.dihedral(4)])
def test_equal_weights_turn_with_the_image_and_unequal_ones_do_not(group, lifting):
    made, enter, leave = layer(group, lifting)
    x = np.random.default_rng(0).standard_normal((2, 6, 6, enter.dim)).astype(np.float32)
    params = made.init(jax.random.key(0), x)["params"]
    assert params["kernels"].shape == (2, 3, 3, enter.dim, leave.dim)
    assert params["group_weights"].shape == (2, group.order)
    run = jax.jit(lambda params, x: made.apply({"params": params}, x))
    y = run(params, x)
    assert np.std(y) > 0.1
    moved = run(params, turned(group, x, enter))
    np.testing.assert_allclose(moved, turned(group, np.asarray(y), leave), atol=1e-5)
    weights = np.random.default_rng(1).uniform(0.3, 2.0, (2, group.order)).astype(np.float32)
    params = {**params, "group_weights": weights}
    apart = run(params, turned(group, x, enter)) - turned(group, np.asarray(run(params, x)), leave)
    assert np.abs(apart).max() > 0.1
    shifted = run(params, np.roll(x, 2, axis=1))[:, 3:-1]
    np.testing.assert_allclose(shifted, np.roll(run(params, x), 2, axis=1)[:, 3:-1], atol=1e-5)
    folded = made.fold(params)
    plain = linen.Conv(leave.dim, (3, 3))
    strict = jax.jit(lambda x: plain.apply({"params": folded}, x))
    moved = strict(turned(group, x, enter))
    np.testing.assert_allclose(moved, turned(group, np.asarray(strict(x)), leave), atol=1e-5)


def test_a_single_bank_of_equal_weights_folds_to_itself():
    made, enter, _ = layer(sq.groups.cyclic(4), True, banks=1, kernel_size=(3, 3))
    x = np.random.default_rng(0).standard_normal((1, 5, 5, enter.dim)).astype(np.float32)
    params = made.init(jax.random.key(0), x)["params"]
    folded = made.fold(params)
    plain = linen.Conv(made.features, (3, 3)).apply({"params": folded}, x)
    np.testing.assert_allclose(made.apply({"params": params}, x), plain, atol=1e-5)
    np.testing.assert_allclose(folded["kernel"], made.projector(params["kernels"][0]), atol=1e-6)


def test_what_the_layer_refuses():
    group = sq.groups.cyclic(4)
    v = sq.reps.vector(group)
    x = np.zeros((1, 5, 5, 2), np.float32)
    vectors = sq.projector("h w i o", {"h w": sq.reps.image(group, (3, 3)), "i": v, "o": v})
    made = nn.RelaxedGroupConv(2, vectors, use_bias=False)
    with pytest.raises(ValueError, match="relaxed group convolutions need copies of the regular"):
        made.init(jax.random.key(0), x)
    for options, words in (
        ({"banks": 0}, "banks must be a positive integer, got 0"),
        ({"kernel_size": 0}, "kernel_size must be one or two positive integers"),
    ):
        made = layer(group, True, **options)[0]
        with pytest.raises(ValueError, match=words):
            made.init(jax.random.key(0), np.zeros((1, 5, 5, 3), np.float32))
    with pytest.raises(ValueError, match="needs? a bias_projector|give a bias_projector"):
        nn.RelaxedGroupConv(4, layer(group, True)[0].projector).init(
            jax.random.key(0), np.zeros((1, 5, 5, 3), np.float32)
        )
    with pytest.raises(ValueError, match=r"expected the parameters.*got \['kernel'\]"):
        layer(group, True)[0].fold({"kernel": x})
