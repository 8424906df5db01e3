"""Penalties that draw elements: unbiased, and zero on equivariant functions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from regularizer_cases import params_of, plan_of, projector

import softeq_jax as sq
from softeq_jax import regularizers as rg

G, R = sq.groups, sq.reps


def ends(name):
    i, o = (entry.rep for entry in projector(name).space.entries)
    return i.dual, o


def whitened(n, copies, dtype):
    q = np.linalg.qr(np.random.default_rng(1).standard_normal((n, n)))[0]
    return np.tile(np.sqrt(n) * q, (copies, 1)).astype(dtype)


def layer(w):
    return lambda x: jnp.matmul(x, w, precision="highest")


def exact_mean(name, params):
    """Theorem 2: ``2 ||N W||^2``."""
    return 2.0 * float(rg.projection_penalty(plan_of(name), params))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["c4", "c6", "s4"])
def test_over_all_elements_it_is_twice_the_projection_penalty(name):
    params = params_of(name, 3)
    rep_in, rep_out = ends(name)
    w = params["layer"]["kernel"]
    x = whitened(rep_in.dim, 1, w.dtype)
    found = rg.orbit_penalty(layer(w), x, rep_in, rep_out, samples=None)
    np.testing.assert_allclose(found, exact_mean(name, params), rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "per_example"),
    [
        ("s4", True),
        ("s4", False),
        ("o2", True),
        ("so3", True),
        ("so3", False),
        ("su2", True),
        ("so3xs3", True),
    ],
)
def test_unbiased(name, per_example):
    params = params_of(name, 3)
    rep_in, rep_out = ends(name)
    w = params["layer"]["kernel"]
    x = whitened(rep_in.dim, 8 if per_example else 1, w.dtype)

    @jax.jit
    def draw(key):
        samples = 1 if per_example else 3
        return rg.orbit_penalty(layer(w), x, rep_in, rep_out, key, samples, per_example=per_example)

    values = np.array([draw(key) for key in jax.random.split(jax.random.key(0), 150)])
    error = values.std() / np.sqrt(len(values))
    assert abs(values.mean() - exact_mean(name, params)) < 4 * error
    assert error < 0.1 * values.mean()


@pytest.mark.slow
def test_more_samples_are_less_noisy():
    params = params_of("so3", 3)
    rep_in, rep_out = ends("so3")
    w = params["layer"]["kernel"]
    x = whitened(rep_in.dim, 1, w.dtype)
    keys = jax.random.split(jax.random.key(0), 60)
    spread = []
    for n in (1, 4):
        draw = jax.jit(lambda k, n=n: rg.orbit_penalty(layer(w), x, rep_in, rep_out, k, n))
        spread.append(np.std([draw(key) for key in keys]))
    assert 0.3 < spread[1] / spread[0] < 0.8


@pytest.mark.slow
@pytest.mark.parametrize("name", ["c4", "so2", "so3", "su2"])
def test_zero_on_equivariant_functions(name):
    params = plan_of(name).project(params_of(name, 3))
    rep_in, rep_out = ends(name)
    w = params["layer"]["kernel"]
    x = whitened(rep_in.dim, 2, w.dtype)
    found = rg.orbit_penalty(layer(w), x, rep_in, rep_out, jax.random.key(0), 2)
    assert found < 1e-9


@pytest.mark.slow
def test_nonlinear_invariants_and_what_is_left_alone():
    v = R.vector(G.so(3))
    x = {"points": np.random.default_rng(0).standard_normal((4, 6, 3)).astype(np.float32)}
    x["mass"] = np.arange(24, dtype=np.float32).reshape(4, 6)

    def energy(x):
        lengths = jnp.sum(x["points"] ** 2, axis=-1)
        return jnp.sum(x["mass"] * jnp.tanh(lengths), axis=-1, keepdims=True)

    def height(x):
        return jnp.sum(x["mass"] * x["points"][..., 2], axis=-1, keepdims=True)

    reps = {"points": v, "mass": None}
    for per_example in (True, False):
        options = {"key": jax.random.key(1), "per_example": per_example}
        assert rg.orbit_penalty(energy, x, reps, None, **options) < 1e-6
        assert rg.orbit_penalty(height, x, reps, None, **options) > 1.0


@pytest.mark.slow
def test_images_and_their_classes():
    image = R.image(G.dihedral(4), (6, 6))
    x = np.random.default_rng(0).standard_normal((3, 6, 6, 2)).astype(np.float32)
    mean = lambda x: x.mean((1, 2))  # noqa: E731
    corner = lambda x: x[:, 0, 0]  # noqa: E731
    key = jax.random.key(0)
    assert rg.orbit_penalty(mean, x, image, None, key, 4) < 1e-10
    assert rg.orbit_penalty(corner, x, image, None, key, 4) > 0.1
    blurred = lambda x: x + jnp.roll(x, 1, 1)  # noqa: E731
    assert rg.orbit_penalty(blurred, x, image, image, key, 4, axes_in=(1, 2)) > 0.1
    double = lambda x: 2 * x  # noqa: E731
    found = rg.orbit_penalty(double, x, image, image, key, 4, axes_in=(1, 2), axes_out=(-3, -2))
    assert found < 1e-10


@pytest.mark.slow
def test_gradients_reach_both_sides():
    params = params_of("c4", 3)
    rep_in, rep_out = ends("c4")
    x = whitened(rep_in.dim, 1, np.float32)

    def penalty(params):
        return rg.orbit_penalty(layer(params["layer"]["kernel"]), x, rep_in, rep_out, samples=None)

    slope = jax.grad(penalty)(params)["layer"]["kernel"]
    outside = plan_of("c4").split(params)[1]["layer"]["kernel"]
    np.testing.assert_allclose(slope, 4 * outside, atol=1e-4)


@pytest.mark.slow
def test_relative():
    params = params_of("so3", 3)
    rep_in, rep_out = ends("so3")
    w = params["layer"]["kernel"]
    x = whitened(rep_in.dim, 2, w.dtype)
    key = jax.random.key(0)
    values = [
        rg.orbit_penalty(layer(s * w), x, rep_in, rep_out, key, relative=True) for s in (1, 100)
    ]
    np.testing.assert_allclose(*values, rtol=1e-4)
    plain = rg.orbit_penalty(layer(w), x, rep_in, rep_out, key)
    np.testing.assert_allclose(values[0], plain / np.sum(w**2), rtol=1e-4)


@pytest.mark.slow
def test_latent_copies_of_the_regular_representation():
    group = G.dihedral(4)
    image = R.image(group, (4, 4))
    rng = np.random.default_rng(0)
    templates = rng.standard_normal((2, 4, 4)).astype(np.float32)
    x = rng.standard_normal((3, 4, 4)).astype(np.float32)
    turned = np.stack([[image.apply(g, t) for g in group.elements()] for t in templates])

    def lifted(x):  # <g t, x> for all g: moves as the regular representation does
        return jnp.einsum("tghw,nhw->ntg", turned, x, precision="highest").reshape(len(x), -1)

    def shuffled(x):
        return lifted(x)[:, ::-1]

    key = jax.random.key(0)
    for drawn in ((None, None), (key, 2)):
        assert rg.latent_penalty(lifted, x, image, *drawn) < 1e-9
        assert rg.latent_penalty(shuffled, x, image, *drawn) > 1.0
    with pytest.raises(ValueError, match="7 entries"):
        rg.latent_penalty(lambda x: lifted(x)[:, :7], x, image)
    with pytest.raises(ValueError, match="finite group"):
        rg.latent_penalty(lifted, x, R.image(G.so(2), (4, 4)), key)


def test_remul_with_fixed_weights():
    assert rg.remul(2.0, 3.0) == 5.0
    assert rg.remul(2.0, 3.0, rg.remul_weights(0.5, 10.0)) == 31.0
    slope = jax.grad(lambda w: rg.remul(2.0, 3.0, w), allow_int=True)(rg.remul_weights())
    assert slope.objective == slope.equivariance == 0.0


def adapted(steps, losses, gradients, **options):
    weights = rg.remul_weights(1.0, 3.0)
    adapt = jax.jit(lambda w, a, b: rg.adapt_remul(w, a, b, *gradients, **options))
    for step in range(steps):
        weights = adapt(weights, *losses(step))
    return weights


def test_remul_makes_both_gradients_equally_long():
    gradients = {"w": np.array([3.0, 0.0])}, {"w": np.array([0.0, 1.0])}
    found = adapted(2000, lambda step: (1.0, 1.0), gradients, rate=2e-3, asymmetry=0.0)
    np.testing.assert_allclose(found.objective + found.equivariance, 4.0, rtol=1e-5)
    np.testing.assert_allclose(3.0 * found.objective, found.equivariance, rtol=0.02)
    assert int(found.count) == 2000


def test_remul_favors_what_lags_behind():
    gradients = {"w": np.ones(2)}, {"w": np.ones(2)}

    def lags(step):
        return 1.0 / (1 + step), 5.0

    found = adapted(300, lags, gradients)
    assert found.equivariance > 3.5
    assert found.objective >= 4e-3 * 0.99
    np.testing.assert_allclose(found.first, (1.0, 5.0))
    paced = adapted(300, lambda step: (1.0 / (1 + step), 5.0 / (1 + step)), gradients, rate=0.01)
    np.testing.assert_allclose(paced.objective, paced.equivariance, atol=0.03)


def test_remul_with_a_penalty_that_is_zero_from_the_start():
    gradients = {"w": np.ones(2)}, {"w": np.zeros(2)}
    found = adapted(3, lambda step: (1.0, 0.0), gradients)
    assert all(np.isfinite(value).all() for value in found)
    assert found.objective < 1.0  # whose gradient is longer loses


@pytest.mark.parametrize("losses", [(0.0, 0.0), (1e30, 1e-30), (0.0, 1e30)])
def test_remul_at_the_ends_of_float32(losses):
    gradients = {"w": np.ones(2)}, {"w": np.ones(2)}
    found = adapted(3, lambda step: losses, gradients)
    np.testing.assert_allclose((found.objective, found.equivariance), (1.0, 3.0), atol=0.2)


@pytest.mark.parametrize("losses", [(np.nan, 1.0), (1.0, np.nan)])
def test_remul_hides_no_loss_that_is_not_a_number(losses):
    found = adapted(2, lambda step: losses, ({"w": np.ones(2)}, {"w": np.ones(2)}))
    assert np.isnan([found.objective, found.equivariance]).all()


def test_remul_sees_a_penalty_that_leaves_zero():
    gradients = {"w": np.ones(2)}, {"w": np.ones(2)}
    found = adapted(50, lambda step: (1.0, float(step > 0)), gradients, rate=0.01)
    assert found.equivariance > 3.0  # it lags behind its first value, the objective does not
