"""The Reynolds operator: equivariance, idempotence, and the projector of a linear map."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import softeq_jax as sq
from softeq_jax import groups, orbits, reps

C4, D4, S4 = groups.cyclic(4), groups.dihedral(4), groups.symmetric(4)
ICOSAHEDRAL = groups.icosahedral()
SO2, O2, SO3, O3 = groups.so(2), groups.o(2), groups.so(3), groups.o(3)
FINITE = {
    "C4": (reps.image(C4, (3, 3)), reps.vector(C4) + reps.trivial(C4)),
    "D4": (2 * reps.vector(D4) + reps.regular(D4), reps.irrep(D4, 1)),
    "S4": (reps.vector(S4) * reps.vector(S4), reps.vector(S4)),
    "icosahedral": (2 * reps.vector(ICOSAHEDRAL), reps.tensor(ICOSAHEDRAL, 2)),
    "C4 x S3": None,
}
both = groups.product(C4, groups.symmetric(3))
FINITE["C4 x S3"] = (
    reps.factor(both, 0, reps.vector(C4)) * reps.factor(both, 1, reps.vector(both.factors[1])),
    reps.factor(both, 0, reps.vector(C4)) + reps.factor(both, 1, reps.vector(both.factors[1])),
)


def evaluated(f, xs):
    """The values of f on a batch of inputs, in float64."""
    with jax.enable_x64(True):
        return np.asarray(jax.jit(jax.vmap(f))(xs))


def network(rep_in, rep_out, seed=0, width=7):
    """A random nonlinear function with a kink."""
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(rep_in.dim, width)), rng.normal(size=width)
    c = rng.normal(size=(width, rep_out.dim)) / np.sqrt(width)

    def f(x):
        lead = x.shape[: x.ndim - len(rep_in.shape)]
        hidden = jax.nn.relu(x.reshape(*lead, rep_in.dim) @ a + b)
        return (jnp.sin(hidden) @ c).reshape(*lead, *rep_out.shape)

    return f


def inputs(rep, lead=(), seed=1):
    return np.random.default_rng(seed).normal(size=(*lead, *rep.shape))


def defect(f, rep_in, rep_out, elements=None):
    """Largest ``|f(g x) - g f(x)|`` for one random x."""
    x = inputs(rep_in)
    values = evaluated(f, np.concatenate([x[None], orbits.orbit(rep_in, x, elements=elements)]))
    return np.abs(values[1:] - orbits.orbit(rep_out, values[0], elements=elements)).max()


@pytest.mark.slow
@pytest.mark.parametrize("name", FINITE)
def test_the_mean_over_a_finite_group_is_equivariant_and_idempotent(name):
    rep_in, rep_out = FINITE[name]
    f = network(rep_in, rep_out)
    mean = orbits.average(f, rep_in, rep_out)
    assert defect(f, rep_in, rep_out) > 1e-2
    assert defect(mean, rep_in, rep_out) < 1e-13
    again = orbits.average(mean, rep_in, rep_out)
    x = inputs(rep_in)
    once, twice = evaluated(lambda y: jnp.stack([mean(y), again(y)]), x[None])[0]
    np.testing.assert_allclose(twice, once, atol=1e-13)
    values = evaluated(f, orbits.orbit(rep_in, x))
    pairs = zip(rep_out.group.elements(), values, strict=True)
    literal = [np.linalg.inv(rep_out.matrix(g)) @ value for g, value in pairs]
    np.testing.assert_allclose(once, np.mean(literal, axis=0), atol=1e-13)


LINEAR = {
    "SO2 vectors": (reps.vector(SO2), reps.vector(SO2)),
    "SO2": (reps.irrep(SO2, 3) + reps.vector(SO2), 2 * reps.irrep(SO2, 3)),
    "O2": (2 * reps.irrep(O2, 2) + reps.trivial(O2), reps.tensor(O2, 2)),
    "SO3 vectors": (reps.vector(SO3), reps.vector(SO3)),
    "SO3": (reps.irrep(SO3, 2) + reps.vector(SO3), 2 * reps.irrep(SO3, 2)),
    "O3": (2 * reps.vector(O3), reps.tensor(O3, 3)),
}


def linear_error(rep_in, rep_out, degree=None):
    """Largest difference between the mean of ``x -> x w`` and the projected w, in float64."""
    names = " ".join("hw"[: len(rep_in.shape)])
    strict = sq.projector(f"{names} o", {names: rep_in.dual, "o": rep_out})
    w = np.random.default_rng(3).normal(size=(rep_in.dim, rep_out.dim))
    mean = orbits.average(lambda x: x.reshape(rep_in.dim) @ w, rep_in, rep_out, degree=degree)
    found = evaluated(mean, np.eye(rep_in.dim).reshape(-1, *rep_in.shape))
    return np.abs(found - strict(w.reshape(*rep_in.shape, -1)).reshape(w.shape)).max()


@pytest.mark.parametrize("name", FINITE)
def test_the_mean_of_a_linear_map_is_the_projected_weight(name):
    assert linear_error(*FINITE[name]) < 1e-12


@pytest.mark.slow
@pytest.mark.parametrize("name", LINEAR)
def test_a_linear_map_needs_exactly_the_degree_of_its_integrand(name):
    rep_in, rep_out = LINEAR[name]
    degree = orbits.polynomial_degree(rep_in, rep_out)
    assert linear_error(rep_in, rep_out, degree) < 1e-12
    # the inversion integrates odd degrees without any nodes
    assert linear_error(rep_in, rep_out, degree - (2 if name == "O3" else 1)) > 1e-3


def test_by_default_polynomials_of_degree_four_are_exact():
    rep = reps.vector(groups.so(2))
    turns = [groups.so(2).element(t) for t in (0.3, 2.0)]

    def polynomial(x):
        return jnp.stack([x[0] ** 4 + x[0] * x[1] ** 2, x[1] ** 3 * x[0] - x[0]])

    with jax.enable_x64(True):
        assert defect(orbits.average(polynomial, rep, rep), rep, rep, turns) < 1e-13
        steeper = orbits.average(lambda x: x * x[0] ** 6, rep, rep)
        assert defect(steeper, rep, rep, turns) > 1e-3


def test_a_polynomial_needs_a_higher_degree():
    rep = reps.vector(SO3)
    a = np.random.default_rng(0).normal(size=(3, 3, 3, 3))
    turns = np.stack([SO3.exp([0.3, -1.0, 0.4]), SO3.exp([2.0, 1.0, 0.1])])

    def cubic(y):
        return jnp.einsum("ijkl,j,k,l->i", a, y, y, y)

    degree = orbits.polynomial_degree(rep, rep, 3)
    assert degree == 4
    assert defect(orbits.average(cubic, rep, rep, degree=degree), rep, rep, turns) < 1e-13
    assert defect(orbits.average(cubic, rep, rep, degree=degree - 1), rep, rep, turns) > 1e-3


def test_equispaced_angles_make_every_function_equivariant_under_their_own_group():
    rep_in, rep_out = reps.vector(SO2), reps.irrep(SO2, 2)
    mean = orbits.average(network(rep_in, rep_out), rep_in, rep_out, degree=6)
    assert defect(mean, rep_in, rep_out, groups.cyclic(7).elements()) < 1e-13
    assert defect(mean, rep_in, rep_out, groups.cyclic(9).elements()) > 1e-5


def test_representations_that_are_not_orthogonal_are_inverted_not_transposed():
    s3 = groups.symmetric(3)
    change = np.random.default_rng(0).normal(size=(3, 3)) + 2 * np.eye(3)
    matrices = np.linalg.inv(change) @ s3.discrete_generators @ change
    skewed = reps.from_generators(s3, discrete=matrices)
    assert not skewed.is_orthogonal
    mean = orbits.average(network(skewed, skewed), skewed, skewed)
    assert defect(mean, skewed, skewed) < 1e-12


@pytest.mark.slow
def test_batches_change_neither_values_nor_gradients():
    rep_in, rep_out = FINITE["D4"]
    f, x = network(rep_in, rep_out), inputs(rep_in)

    def results(batch_size):
        mean = orbits.average(f, rep_in, rep_out, batch_size=batch_size)
        return jax.jit(jax.value_and_grad(lambda y: jnp.sum(mean(y) ** 2)))(x)

    whole = results(None)
    for batch_size in (1, 3, 8):  # of 8 elements: single, with a rest, all
        for found, expected in zip(results(batch_size), whole, strict=True):
            assert np.all(np.isfinite(found))
            np.testing.assert_allclose(found, expected, atol=1e-5)


def test_batch_axes_vmap_and_parameters():
    rep_in, rep_out = FINITE["C4"]
    f = network(rep_in, rep_out)
    mean = orbits.average(
        lambda y, scale, shift=0.0: scale * f(y) + shift, rep_in, rep_out, axes_in=(-2, -1)
    )

    @jax.jit
    def both_ways(x, scale):
        each = jax.vmap(jax.vmap(lambda y: mean(y, scale, shift=1.0)))(x)
        return mean(x, scale, shift=1.0), each

    x = inputs(rep_in, (5, 2))
    found, each = both_ways(x, 2.0)
    assert found.shape == (5, 2, 3)
    np.testing.assert_allclose(found, each, atol=1e-5)
    slope = jax.jit(jax.grad(lambda scale: jnp.sum(both_ways(x, scale)[0])))(2.0)
    expected = jnp.sum(found) - jnp.sum(both_ways(x, 1.0)[0])
    np.testing.assert_allclose(slope, expected, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32])
def test_the_dtype_of_the_function_is_kept(dtype):
    rep = reps.image(D4, (4, 4))
    mean = orbits.average(lambda x: x.astype(dtype) * jnp.arange(4, dtype=dtype), rep, rep)
    found = mean(jnp.ones((4, 4)))
    assert found.dtype == dtype
    np.testing.assert_array_equal(found.astype(jnp.float32), np.full((4, 4), 1.5))


def test_functions_of_several_inputs_and_outputs():
    vector, image = reps.vector(D4), reps.image(D4, (3, 3))
    rng = np.random.default_rng(0)
    a, c = rng.normal(size=(9, 2)), rng.normal(size=(2, 9))

    def f(inputs):
        x, p, t = inputs["image"], inputs["velocity"], inputs["time"]
        turned = jnp.tanh(x.reshape(9) @ a + t * p)
        return {"force": turned}, jnp.tanh(p @ c).reshape(3, 3) * x, jnp.sum(turned * x[0, :2])

    rep_in = {"image": image, "velocity": vector, "time": None}
    rep_out = ({"force": vector}, image, None)
    mean = jax.jit(orbits.average(f, rep_in, rep_out))
    inputs = {
        "image": rng.normal(size=(3, 3)),
        "velocity": np.array([0.3, -1.0]),
        "time": np.array(0.7),
    }
    force, moved, energy = mean(inputs)
    turned = orbits.orbit_tree(rep_in, inputs)
    for i, g in enumerate(D4.elements()):
        pick = {k: v if k == "time" else v[i] for k, v in turned.items()}
        force_g, moved_g, energy_g = jax.tree.map(np.asarray, mean(pick))
        force_i, moved_i = np.asarray(force["force"]), np.asarray(moved)
        np.testing.assert_allclose(force_g["force"], vector.apply(g, force_i), atol=1e-6)
        np.testing.assert_allclose(moved_g, image.apply(g, moved_i), atol=1e-6)
        np.testing.assert_allclose(energy_g, energy, atol=1e-6)


@pytest.mark.slow
def test_samples_estimate_the_mean_of_any_compact_group():
    so4 = groups.so(4)
    v = reps.vector(so4)
    w = np.random.default_rng(0).normal(size=(4, 4)).astype(np.float32)
    exact = np.trace(w) / 4 * np.eye(4)
    mean = orbits.average(lambda x: x @ w, v, v, samples=4000, key=jax.random.key(0))
    mean = jax.jit(mean)
    found = mean(np.eye(4))
    assert np.abs(found - exact).max() < 0.1
    np.testing.assert_array_equal(found, mean(np.eye(4)))  # drawn once
    some = reps.vector(S4)
    mean = orbits.average(lambda x: x[:1] - x, some, some, samples=5, key=jax.random.key(0))
    assert mean(np.arange(4.0)).shape == (4,)


V, LORENTZ = reps.vector(SO3), groups.lorentz()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: orbits.average(abs, reps.vector(C4), reps.vector(D4)), ValueError, "C4 and .*D4"),
        (
            lambda: orbits.average(abs, reps.vector(LORENTZ), reps.vector(LORENTZ), degree=2),
            ValueError,
            r"O\(1,3\) is not compact, so there is no Haar mean",
        ),
        (
            lambda: orbits.average(
                abs, reps.vector(LORENTZ), None, samples=2, key=jax.random.key(0)
            ),
            ValueError,
            "no Haar mean over it, exact or sampled",
        ),
        (lambda: orbits.average(abs, V, V, degree=1, samples=2), ValueError, "degree= or samples="),
        (lambda: orbits.average(abs, V, V, samples=2), ValueError, "samples= needs key="),
        (
            lambda: orbits.average(abs, V, V, degree=2, key=jax.random.key(0)),
            ValueError,
            "key= is for samples=",
        ),
        (lambda: orbits.average(abs, V, V, degree=-1), ValueError, "at least 0, got -1"),
        (
            lambda: orbits.average(abs, V, V, samples=0, key=jax.random.key(0)),
            ValueError,
            "number of samples|samples must be",
        ),
        (lambda: orbits.average(abs, V, V, degree=1, batch_size=0), ValueError, "batch_size must"),
        (
            lambda: orbits.average(abs, reps.vector(groups.so(4)), None, degree=2),
            ValueError,
            "no quadrature is available",
        ),
        (
            lambda: jax.jit(lambda k: orbits.average(abs, V, V, samples=2, key=k)(jnp.ones(3)))(
                jax.random.key(0)
            ),
            TypeError,
            "key= is being traced",
        ),
        (lambda: orbits.average(3, V, V, degree=2), TypeError, "needs a function, got 3"),
        (
            lambda: orbits.average(jnp.argmax, reps.vector(C4), None)(jnp.ones(2)),
            TypeError,
            "floating-point values, but the function returns int32",
        ),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()
