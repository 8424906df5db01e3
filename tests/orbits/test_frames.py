"""Canonicalization: invariance, equivariance, ties and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from softeq_jax import groups, orbits, reps

C4, D4, S4 = groups.cyclic(4), groups.dihedral(4), groups.symmetric(4)
ICOSAHEDRAL, SO2 = groups.icosahedral(), groups.so(2)
REPS = [
    reps.image(C4, (4, 4)),
    reps.image(D4, (3, 3)),
    reps.vector(S4) * reps.vector(S4),
    2 * reps.vector(ICOSAHEDRAL),
]
SYMMETRIC = [
    (reps.image(C4, (4, 4)), np.ones((4, 4))),
    (reps.image(D4, (3, 3)), np.array([[1.0, 2, 1], [2, 0, 2], [1, 2, 1]])),
    (reps.image(D4, (3, 3)), np.array([[1.0, 2, 1], [5, 0, 5], [1, 2, 1]])),
    (reps.image(D4, (3, 3)), np.array([[1.0, 2, 3], [2, 4, 5], [3, 5, 6]])),  # a transpose
    (reps.vector(S4), np.array([1.0, 1.0, 2.0, 2.0])),
    (2 * reps.vector(ICOSAHEDRAL), np.zeros(6)),
]


def generic(rep, seed=1):
    return np.random.default_rng(seed).normal(size=rep.shape).astype(np.float32)


def network(rep_in, rep_out, seed=0):
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(rep_in.dim, 6)), rng.normal(size=(6, rep_out.dim))
    return lambda x: jnp.tanh(jnp.tanh(x.reshape(-1) @ a + 0.3) @ b).reshape(rep_out.shape)


def first_pixel(x):
    return x.reshape(-1)[0]


def bent(x):
    return jnp.sum(jnp.tanh(x.reshape(-1)) * jnp.sqrt(1.0 + jnp.arange(x.size)))


@pytest.mark.slow
@pytest.mark.parametrize("rep", REPS, ids=repr)
@pytest.mark.parametrize("score", [None, bent], ids=["linear", "bent"])
def test_the_canonical_element_is_the_same_for_the_whole_orbit(rep, score):
    x = generic(rep)
    canonical = jax.jit(jax.vmap(lambda y: orbits.canonicalize(rep, y, score=score)))
    moved, indices = canonical(orbits.orbit(rep, x))
    assert indices.dtype == jnp.int32
    best = rep.apply(rep.group.elements()[indices[0]], x)
    np.testing.assert_allclose(moved, np.broadcast_to(best, moved.shape), atol=2e-6)
    assert len(set(indices.tolist())) == rep.group.order


@pytest.mark.slow
@pytest.mark.parametrize(("rep", "x"), SYMMETRIC, ids=lambda v: repr(v)[:20])
def test_symmetric_inputs_have_a_canonical_element_too(rep, x):
    canonical = jax.jit(jax.vmap(lambda y: orbits.canonicalize(rep, y)[0]))
    moved = canonical(orbits.orbit(rep, np.asarray(x, np.float32)))
    np.testing.assert_allclose(moved, np.broadcast_to(moved[0], moved.shape), atol=2e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rep", "x"), [(rep, generic(rep)) for rep in REPS[1:]] + SYMMETRIC, ids=lambda v: repr(v)[:20]
)
def test_canonicalized_functions_are_equivariant_at_symmetric_inputs_too(rep, x):
    x = np.asarray(x, np.float32)
    f = network(rep, rep)
    for options in ({}, {"straight_through": True, "every_maximizer": True}):
        found = orbits.frame_average(f, rep, rep, **options)
        values = jax.jit(jax.vmap(found))(orbits.orbit(rep, x))
        np.testing.assert_allclose(values, orbits.orbit(rep, np.asarray(values[0])), atol=5e-6)
    slope = jax.jit(jax.grad(lambda y: jnp.sum(found(y) ** 2)))(x)  # straight through
    assert np.all(np.isfinite(slope))


@pytest.mark.slow
def test_without_ties_it_is_one_evaluation_at_the_canonical_element():
    rep, out = reps.image(D4, (3, 3)), reps.vector(D4)
    f, x = network(rep, out), generic(rep)
    best, index = jax.jit(lambda y: orbits.canonicalize(rep, y))(x)
    back = D4.elements()[index].T
    for every in (False, True):
        found = jax.jit(orbits.frame_average(f, rep, out, every_maximizer=every))(x)
        np.testing.assert_allclose(found, out.apply(back, np.asarray(f(best))), atol=1e-6)


def test_scores_that_tie_without_symmetry():
    """Both ways are equivariant, and every_maximizer leaves an equivariant function alone."""
    rep = reps.image(C4, (3, 3))
    x = np.array([[5.0, 1, 2], [0, 3, 0], [1, 0, 5]], np.float32)  # two equal corners, no symmetry

    def cube(y):
        return y**3

    ways = [
        orbits.frame_average(cube, rep, rep, score=first_pixel, every_maximizer=every)
        for every in (False, True)
    ]
    moved = []
    for way in ways:
        moved.append(np.asarray(jax.jit(jax.vmap(way))(orbits.orbit(rep, x))))
        np.testing.assert_allclose(moved[-1], orbits.orbit(rep, moved[-1][0]), atol=1e-4)
    np.testing.assert_allclose(moved[1][0], x**3, rtol=1e-6)
    assert np.abs(moved[0][0] - x**3).max() > 1.0


def test_a_frame_from_quadrature_nodes_is_equivariant_under_their_group():
    rep = reps.irrep(SO2, 1) + reps.irrep(SO2, 2)
    nodes = orbits.quadrature(SO2, 11).elements
    found = orbits.frame_average(network(rep, rep), rep, rep, elements=nodes)
    x = generic(rep)
    within = np.asarray(jax.jit(jax.vmap(found))(orbits.orbit(rep, x, elements=nodes)))
    # the first node is the identity
    np.testing.assert_allclose(within, orbits.orbit(rep, within[0], elements=nodes), atol=5e-6)
    best, index = jax.jit(lambda y: orbits.canonicalize(rep, y, elements=nodes))(x)
    np.testing.assert_allclose(rep.apply(nodes[index], x), best, atol=1e-6)
    with pytest.raises(ValueError, match=r"infinitely many elements.*quadrature"):
        orbits.canonicalize(rep, x)


@pytest.mark.slow
def test_straight_through_changes_gradients_only():
    rep = reps.image(C4, (4, 4))
    x = generic(rep)
    kernel = generic(rep, 5)
    target = np.arange(16.0).reshape(4, 4) / 8

    def loss(kernel, x, straight_through, every, temperature=1.0):
        found = orbits.frame_average(
            jnp.tanh, rep, rep, score=lambda y: jnp.vdot(kernel, y), every_maximizer=every,
            straight_through=straight_through, temperature=temperature,
        )  # fmt: skip
        return jnp.sum((found(x) * target) ** 2)

    for every in (False, True):
        both = jax.jit(jax.value_and_grad(loss, (0, 1)), static_argnums=(2, 3))
        (value, hard), (same, soft) = (both(kernel, x, st, every) for st in (False, True))
        np.testing.assert_allclose(value, same, rtol=1e-6)
        assert np.all(hard[0] == 0)
        for slope in (hard[1], *soft):
            assert np.all(np.isfinite(slope))
            assert np.any(slope != 0)
    # the backward pass is that of softmax weights: sum_g dw_g <dL/dw_g>
    chosen, soft = (
        jax.jit(jax.grad(
            lambda k, st=st: jnp.sum(
                target * orbits.canonicalize(
                    rep, x, score=lambda y: jnp.vdot(k, y), straight_through=st, temperature=2.0
                )[0]
            )
        ))(kernel)
        for st in (False, True)
    )  # fmt: skip
    assert np.all(chosen == 0)

    def blended(k):
        orbit = orbits.orbit(rep, x)
        weights = jax.nn.softmax(jnp.tensordot(orbit, k, 2) / 2.0)
        return jnp.sum(target * jnp.tensordot(weights, orbit, 1))

    np.testing.assert_allclose(soft, jax.jit(jax.grad(blended))(kernel), atol=1e-5)


@pytest.mark.slow
def test_pytrees_integers_and_half_precision():
    image, vector = reps.image(D4, (3, 3)), reps.vector(D4)
    rep = {"image": image, "force": vector, "time": None}
    x = {"image": generic(image), "force": generic(vector), "time": np.float32(1.0)}
    canonical = jax.jit(lambda y: orbits.canonicalize(rep, y))
    found, index = canonical(x)
    turned = orbits.orbit_tree(rep, x)
    for i in range(8):
        pick = {k: v if k == "time" else v[i] for k, v in turned.items()}
        again, j = canonical(pick)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), again, found)
        assert (i == 0) == (int(index) == int(j))
    whole = jnp.arange(9).reshape(3, 3)
    for y in (whole, whole.astype(jnp.bfloat16)):
        best, index = orbits.canonicalize(image, y)
        assert best.dtype == y.dtype
        np.testing.assert_array_equal(best, image.apply(D4.elements()[index], whole))
    complex_x = generic(vector) + 1j * generic(vector, 2)
    best, _ = orbits.canonicalize(vector, complex_x)
    other, _ = orbits.canonicalize(vector, vector.apply(D4.elements()[5], complex_x))
    np.testing.assert_allclose(best, other, atol=1e-6)


def test_invariant_outputs():
    rep = reps.image(D4, (3, 3))
    found = orbits.frame_average(lambda y: jnp.sin(y[0, 0]) + y[0, 1], rep, None)
    values = jax.jit(jax.vmap(found))(orbits.orbit(rep, generic(rep)))
    np.testing.assert_allclose(values, np.full(8, values[0]), atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"score": 3}, TypeError, "score must be a function"),
        ({"score": lambda y: y}, ValueError, r"real scalar, got shape \(2,\)"),
        ({"score": lambda y: 1j * y[0]}, ValueError, r"real scalar, got shape \(\), complex64"),
        ({"temperature": 0.0}, ValueError, "temperature must be positive, got 0.0"),
        ({"score": lambda y: y[0], "seed": 1}, ValueError, "seed: of the default score"),
        ({"tolerance": -1.0}, ValueError, r"tolerance must be in \[0, 1\), got -1.0"),
    ],
)
def test_bad_input(options, error, message):
    with pytest.raises(error, match=message):
        orbits.canonicalize(reps.vector(C4), jnp.ones(2), **options)


def test_bad_frames():
    v = reps.vector(C4)
    with pytest.raises(ValueError, match="C4 and .* represents D4"):
        orbits.frame_average(jnp.tanh, v, reps.vector(D4))
    with pytest.raises(ValueError, match="at least one representation"):
        orbits.frame_average(jnp.tanh, None, v)
    with pytest.raises(TypeError, match="needs a function, got 3"):
        orbits.frame_average(3, v, v)
