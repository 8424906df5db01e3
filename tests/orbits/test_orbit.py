"""Orbits: agreement with ``Rep.apply``, transformations, dtypes, pytrees, bad input."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from softeq_jax import groups, orbits, reps

C3, C4, D4, D8 = (groups.from_name(name) for name in ("c3", "c4", "d4", "d8"))
S4, ICOSAHEDRAL = groups.symmetric(4), groups.icosahedral()
SO3, SU2, O2 = groups.so(3), groups.su(2), groups.o(2)
PRODUCT = groups.product(groups.so(2), C4)
FINITE = [
    reps.vector(C4),
    reps.image(D4, (5, 5)),
    reps.tokens(C4, (4, 4), prefix=1),
    3 * reps.vector(D4) + reps.regular(D4),
    reps.vector(S4) * reps.vector(S4),
    reps.regular(ICOSAHEDRAL),
    reps.tensor(ICOSAHEDRAL, 2),
    reps.image(C3, (4, 4)),
    reps.circle(D8, 700),  # large: in the basis of frequencies
    reps.image(D8, (16, 16)) + reps.trivial(D8, 2),
    2 * reps.irrep(D8, 3) * reps.regular(D8),
    reps.restrict(reps.irrep(SO3, 2), ICOSAHEDRAL),
]
OTHER = [
    (reps.image(O2, (24, 24)), orbits.quadrature(O2, 9).elements),
    (reps.irrep(SO3, 3) + 2 * reps.vector(SO3), orbits.quadrature(SO3, 2).elements),
    (reps.vector(SU2) + reps.vector(SU2).dual, np.stack([SU2.exp([t, 1.0, -t]) for t in (0, 2)])),
    (reps.vector(SU2).real, np.stack([SU2.exp([t, 1.0, -t]) for t in (0, 2)])),
    (
        reps.vector(groups.lorentz()).dual,
        np.stack([groups.lorentz().exp(np.full(6, t)) for t in (0.1, 0.3)]),
    ),
    (
        reps.factor(PRODUCT, 0, reps.irrep(groups.so(2), 2))
        * reps.factor(PRODUCT, 1, reps.regular(C4)),
        orbits.quadrature(PRODUCT, 3).elements,
    ),
]
CASES = [(rep, None) for rep in FINITE] + OTHER


def random(rep, lead=(), seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(*lead, *rep.shape))
    return x + 1j * rng.normal(size=x.shape) if rep.is_complex else x


@pytest.mark.slow
@pytest.mark.parametrize(("rep", "elements"), CASES, ids=lambda c: repr(c)[:30])
def test_orbits_are_what_apply_does_element_by_element(rep, elements):
    x = random(rep, (2,))
    axes = tuple(range(1, x.ndim))
    listed = rep.group.elements() if elements is None else elements
    expected = np.stack([rep.apply(g, x, axes) for g in listed])
    found = orbits.orbit(rep, x, axes, elements)
    assert isinstance(found, np.ndarray)
    assert found.dtype == x.dtype
    np.testing.assert_allclose(found, expected, atol=1e-12)
    moved = jax.jit(lambda y: orbits.orbit(rep, y, axes, elements))(x)
    assert isinstance(moved, jax.Array)
    np.testing.assert_allclose(moved, expected, atol=3e-5)


@pytest.mark.slow
def test_gathers_are_exact_in_every_dtype():
    rep = reps.image(D4, (4, 4))
    x = np.arange(2 * 16 * 3).reshape(2, 4, 4, 3)
    expected = np.stack([rep.apply(g, x) for g in D4.elements()])
    for dtype in (jnp.int32, jnp.uint8, jnp.bfloat16, jnp.float16, jnp.float32, jnp.complex64):
        found = orbits.orbit(rep, jnp.asarray(x, dtype))
        assert found.dtype == dtype
        np.testing.assert_array_equal(found.astype(jnp.complex64), expected)


def test_signs_and_mixing_need_fitting_dtypes():
    signed, mixing = reps.vector(C4), reps.vector(C3)
    x = jnp.array([1, 2])
    np.testing.assert_array_equal(orbits.orbit(signed, x), [[1, 2], [-2, 1], [-1, -2], [2, -1]])
    with pytest.raises(TypeError, match="changes signs, which uint8"):
        orbits.orbit(signed, x.astype(jnp.uint8))
    with pytest.raises(TypeError, match="mixes entries: the array must be floating, got int32"):
        orbits.orbit(mixing, x)
    with pytest.raises(TypeError, match="needs complex arrays"):
        orbits.orbit(reps.vector(SU2), jnp.ones(2), elements=SU2.exp([1, 0, 0])[None])
    half = orbits.orbit(mixing, jnp.array([1.0, 2.0], jnp.bfloat16))
    assert half.dtype == jnp.bfloat16
    np.testing.assert_allclose(
        half.astype(jnp.float32), orbits.orbit(mixing, np.array([1.0, 2.0])), rtol=4e-3
    )


@pytest.mark.slow
def test_transformations_commute_with_the_orbit():
    rep = reps.image(D4, (3, 3))
    x = jnp.asarray(random(rep, (5,)), jnp.float32)
    by_vmap = jax.vmap(lambda one: orbits.orbit(rep, one))(x)
    np.testing.assert_array_equal(jnp.swapaxes(by_vmap, 0, 1), orbits.orbit(rep, x, axes=(1, 2)))
    c = jnp.asarray(np.random.default_rng(1).normal(size=(8, 3, 3)), jnp.float32)
    slope = jax.jit(jax.grad(lambda y: jnp.sum(c * orbits.orbit(rep, y))))(x[0])
    pulled = [rep.apply(g.T, ci) for g, ci in zip(D4.elements(), c, strict=True)]
    np.testing.assert_allclose(slope, np.sum(pulled, axis=0), atol=1e-5)


def test_the_orbit_of_an_orbit_is_a_reordering():
    rep = reps.regular(S4)
    x = random(rep)
    once = orbits.orbit(rep, x)
    for row in once[::5]:
        again = orbits.orbit(rep, row)
        np.testing.assert_array_equal(again[np.lexsort(again.T)], once[np.lexsort(once.T)])


def test_pytrees_are_moved_leaf_by_leaf():
    image, vector = reps.image(C4, (3, 3)), reps.vector(C4)
    tree = {
        "image": [jnp.ones((2, 3, 3, 4)), jnp.zeros((3, 3, 1))],
        "force": jnp.array([1.0, 0.0]),
        "charge": jnp.array(2.0),
    }
    prefix = {"image": image, "force": vector, "charge": None}
    found = jax.jit(lambda t: orbits.orbit_tree(prefix, t))(tree)
    assert [leaf.shape for leaf in found["image"]] == [(4, 2, 3, 3, 4), (4, 3, 3, 1)]
    np.testing.assert_allclose(found["force"], C4.elements()[:, :, 0], atol=1e-7)
    assert found["charge"].shape == ()
    repeated = orbits.orbit_tree(reps.trivial(C4, 2), tree["force"])
    np.testing.assert_array_equal(repeated, np.tile([1.0, 0.0], (4, 1)))
    axes = {"image": (0, 1), "force": None, "charge": None}
    square = dict(tree, image=jnp.arange(27.0).reshape(3, 3, 3))
    found = orbits.orbit_tree(prefix, square, axes=axes)["image"]
    np.testing.assert_array_equal(found[1], np.rot90(square["image"]))


def test_the_order_is_that_of_the_elements():
    some = D4.elements()[[5, 0]]
    rep = reps.vector(D4)
    x = np.array([1.0, 3.0])
    np.testing.assert_array_equal(orbits.orbit(rep, x, elements=some), orbits.orbit(rep, x)[[5, 0]])
    single = some.astype(np.float32)
    np.testing.assert_array_equal(orbits.orbit(rep, x, elements=single), some @ x)


@pytest.mark.slow
def test_what_cannot_be_listed_is_refused():
    with pytest.raises(ValueError, match=r"SO\(3\) has infinitely many.*quadrature.*elements="):
        orbits.orbit(reps.vector(SO3), jnp.ones(3))
    with pytest.raises(ValueError, match=r"O\(1,3\) has infinitely many") as refused:
        orbits.orbit(reps.vector(groups.lorentz()), jnp.ones(4))
    assert "quadrature" not in str(refused.value)
    rubik = groups.rubiks_cube()
    with pytest.raises(ValueError, match="more than the 50000"):
        orbits.orbit(reps.vector(rubik), jnp.ones(48))
    some = orbits.orbit(reps.vector(rubik), jnp.arange(48), elements=rubik.discrete_generators)
    assert some.shape == (6, 48)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: orbits.orbit("C4", jnp.ones(2)), TypeError, "needs a representation, got 'C4'"),
        (lambda: orbits.orbit(reps.vector(C4), jnp.ones(3)), ValueError, "got shape \\(3,\\)"),
        (
            lambda: orbits.orbit(reps.vector(C4), jnp.ones(2), elements=np.eye(3)[None]),
            ValueError,
            r"\[n, 2, 2\] array, got shape \(1, 3, 3\)",
        ),
        (
            lambda: orbits.orbit(reps.vector(C4), jnp.ones(2), elements=np.zeros((0, 2, 2))),
            ValueError,
            "at least one element of C4, got none",
        ),
        (
            lambda: orbits.orbit(reps.vector(C4), jnp.ones(2), elements=C3.elements()),
            ValueError,
            r"elements\[1\] is not in C4",
        ),
        (
            lambda: jax.jit(lambda g: orbits.orbit(reps.vector(C4), jnp.ones(2), elements=g))(
                C4.elements()
            ),
            TypeError,
            "being traced",
        ),
        (
            lambda: orbits.orbit_tree([reps.vector(C4), reps.vector(D4)], [1, 2]),
            ValueError,
            "represents C4 and .* represents D4",
        ),
        (lambda: orbits.orbit_tree([None, None], [1, 2]), ValueError, "at least one repr"),
        (lambda: orbits.orbit_tree([3], [1]), TypeError, "representation or None, got 3"),
        (
            lambda: orbits.orbit_tree([reps.vector(C4)], (jnp.ones(2),)),
            ValueError,
            "no prefix of the pytree",
        ),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()
