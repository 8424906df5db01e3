"""Images and token sequences as representations: matrices, groups, arrays, errors."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

from softeq_jax import groups, reps

NAMES = ["1", "c1", "c2", "c3", "c4", "c8", "c12", "d1", "d2", "d3", "d4", "d8", "so2", "o2"]


def _image(name, k):
    return reps.image(groups.from_name(name), (k, k))


def _elements(group, n=5):
    return np.asarray(group.sample(jax.random.key(1), n))


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("k", [1, 2, 5, 6])
def test_matrices_are_an_orthogonal_homomorphism_that_apply_follows(name, k):
    group = groups.from_name(name)
    for rep in (_image(name, k), reps.tokens(group, (k, k), prefix=2)):
        x = np.random.default_rng(0).normal(size=(3, rep.dim))
        for g in _elements(group):
            h = group.element(*group.parameters(g))
            rho = rep.matrix(g)
            assert rho.shape == (rep.dim, rep.dim)
            assert rho.dtype == np.float64
            np.testing.assert_allclose(rho @ rho.T, np.eye(rep.dim), atol=1e-12)
            # twice: float32 elements are read up to 1e-7, their squares in float64 exactly
            rho = rep.matrix(h)
            np.testing.assert_allclose(rho @ rho, rep.matrix(h @ h), atol=1e-11)
            np.testing.assert_allclose(rep.apply(h, x), x @ rho.T, atol=1e-12)
            shaped = rep.apply(h, x.reshape(3, *rep.shape))
            np.testing.assert_array_equal(shaped.reshape(3, -1), rep.apply(h, x))


@given(
    s=st.floats(-6, 6), t=st.floats(-6, 6), f=st.booleans(), g=st.booleans(), k=st.integers(2, 9)
)
@examples(fast=40)
def test_homomorphism_for_any_two_elements(s, t, f, g, k):
    rep = _image("o2", k)
    first, second = rep.group.element(s, f), rep.group.element(t, g)
    product = rep.matrix(first) @ rep.matrix(second)
    np.testing.assert_allclose(rep.matrix(first @ second), product, atol=1e-11)


@pytest.mark.parametrize("name", ["1", "c1", "c2", "c4", "d1", "d2", "d4"])
@pytest.mark.parametrize("k", [3, 4])
def test_permutations_are_numpys(name, k):
    rep = _image(name, k)
    assert rep.is_permutation
    x = np.arange(2 * k * k).reshape(2, k, k)
    for g in rep.group.elements():
        angle, flip = rep.group.parameters(g)
        expected = np.rot90(x[..., ::-1] if flip else x, round(angle / (math.pi / 2)), axes=(1, 2))
        np.testing.assert_array_equal(rep.apply(g, x), expected)
        assert rep.apply(g, x).dtype == x.dtype
        np.testing.assert_array_equal(rep.matrix(g) @ x[0].ravel(), expected[0].ravel())
        assert set(np.unique(rep.matrix(g))) == {0.0, 1.0}


@pytest.mark.parametrize("k", [4, 5, 6, 8])
def test_interpolated_groups_restrict_to_each_other(k):
    o2 = _image("o2", k)
    for name in ("so2", "c3", "c8", "c12", "c20", "d3", "d8", "d12"):
        rep = _image(name, k)
        assert not rep.is_permutation
        for g in _elements(rep.group, 3):
            h = rep.group.element(*rep.group.parameters(g))
            np.testing.assert_allclose(rep.matrix(h), o2.matrix(h), atol=1e-12)
        np.testing.assert_array_equal(rep.unmatched, o2.unmatched)
    c8 = _image("c8", k).discrete_matrices()[0]
    np.testing.assert_allclose(np.linalg.matrix_power(c8, 8), np.eye(k * k), atol=1e-12)


def test_flips_are_exact_permutations():
    for name, k in (("o2", 6), ("d8", 7)):
        rep = _image(name, k)
        x = np.random.default_rng(0).normal(size=(k, k))
        np.testing.assert_array_equal(rep.apply(rep.group.element(flip=True), x), x[:, ::-1])
        np.testing.assert_array_equal(rep.apply(np.eye(2), x), x)


def test_quarter_turn_differs_only_by_the_unmatched():
    rep = _image("so2", 8)
    g = rep.group.element(math.pi / 2)
    u = rep.unmatched
    expected = _image("c4", 8).matrix(g) + 2 * u @ u.T
    np.testing.assert_allclose(rep.matrix(g), expected, atol=1e-12)


@pytest.mark.parametrize("k", [3, 4, 7, 8])
def test_golden_permutations(golden_dir, k):
    with np.load(golden_dir / "softeq" / "image_actions.npz") as golden:
        turn, flip = golden[f"R_k{k}_n4"], golden[f"F_k{k}"]
    found = _image("d4", k).discrete_matrices()
    np.testing.assert_allclose(found, [turn, flip], atol=1e-5)
    np.testing.assert_allclose(_image("c4", k).discrete_matrices()[0], turn, atol=1e-5)


def test_generators():
    rep = _image("o2", 5)
    assert rep.lie_matrices().shape == (1, 25, 25)
    np.testing.assert_array_equal(
        rep.discrete_matrices()[0], _image("d1", 5).discrete_matrices()[0]
    )
    assert _image("c8", 5).lie_matrices().shape == (0, 25, 25)
    assert _image("so2", 5).discrete_matrices().shape == (0, 25, 25)
    assert _image("d8", 5).discrete_matrices().shape == (2, 25, 25)


def test_axes():
    rep = _image("so2", 5)
    g = rep.group.element(0.4)
    x = np.random.default_rng(0).normal(size=(2, 5, 5, 3))
    nhwc = rep.apply(g, x)
    nchw = rep.apply(g, np.moveaxis(x, -1, 1))
    np.testing.assert_allclose(np.moveaxis(nhwc, -1, 1), nchw, atol=1e-14)
    np.testing.assert_array_equal(rep.apply(g, x, axes=(1, 2)), nhwc)
    np.testing.assert_array_equal(rep.apply(g, x, axes=(-3, -2)), nhwc)
    kernel = np.moveaxis(x, 0, 2)  # HWIO
    np.testing.assert_array_equal(rep.apply(g, kernel, axes=(0, 1)), np.moveaxis(nhwc, 0, 2))
    # the order of the axes is that of (rows, columns)
    swapped = np.swapaxes(x, 1, 2)
    np.testing.assert_allclose(
        rep.apply(g, swapped, axes=(2, 1)), np.swapaxes(nhwc, 1, 2), atol=1e-14
    )
    flat = np.moveaxis(x, -1, 1).reshape(2, 3, 25)
    np.testing.assert_array_equal(rep.apply(g, flat), nchw.reshape(2, 3, 25))
    tokens = reps.tokens(rep.group, (5, 5), prefix=1)
    sequence = np.concatenate([np.ones((2, 1, 3)), x.reshape(2, 25, 3)], axis=1)
    moved = tokens.apply(g, sequence, axes=(1,))
    np.testing.assert_allclose(moved[:, 0], 1.0, atol=1e-14)
    np.testing.assert_allclose(moved[:, 1:].reshape(x.shape), nhwc, atol=1e-13)


@pytest.mark.parametrize(
    ("shape", "axes", "message"),
    [
        ((2, 4, 5), None, r"Image\[5x5\]\(SO\(2\)\) acts on .* got shape \(2, 4, 5\)"),
        ((), None, "got shape"),
        ((5, 5, 5), None, r"2 ways.*axes=\(0, 1\) or axes=\(1, 2\)"),
        ((2, 5, 5, 5), None, "2 ways"),
        ((5, 5, 5, 2), None, r"2 ways.*axes=\(1, 2\) or axes=\(0, 1\)"),
        ((5, 5), (0,), "2 different axes"),
        ((5, 5), (1, 1), "2 different axes"),
        ((5, 5), (0, 2), "2 different axes"),
        ((5, 5), (0, -2), "2 different axes"),
        ((5, 5), (0.0, 1), "2 different axes"),
        ((4, 5, 5), (0, 1), r"lengths \(5, 5\), but axes \(0, 1\) .* have lengths \(4, 5\)"),
    ],
)
def test_arrays_that_do_not_fit(shape, axes, message):
    with pytest.raises(ValueError, match=message):
        _image("so2", 5).apply(np.eye(2), np.zeros(shape), axes)


def test_elements_outside_the_group():
    with pytest.raises(ValueError, match="multiples of 90 degrees"):
        _image("c4", 3).matrix(groups.so(2).element(0.3))
    with pytest.raises(ValueError, match="no flips"):
        _image("so2", 3).apply(np.diag([-1.0, 1.0]), np.zeros((3, 3)))
    with pytest.raises(TypeError, match="outside jit"):
        jax.jit(_image("so2", 3).apply)(jnp.eye(2), jnp.zeros((3, 3)))


def test_integers_cannot_be_interpolated():
    rep = _image("so2", 3)
    x = np.arange(9).reshape(3, 3)
    with pytest.raises(TypeError, match="must be floating"):
        rep.apply(rep.group.element(0.3), x)
    np.testing.assert_array_equal(_image("c4", 3).apply(groups.so(2).element(0.0), x), x)


@pytest.mark.parametrize(
    "shape", [(3, 4), (0, 0), (-1, -1), (3,), (3, 3, 3), 3, None, "33", (3.0, 3.0), (True, True)]
)
def test_shapes_that_are_no_square_grids(shape):
    for call in (reps.image, reps.tokens):
        with pytest.raises(ValueError, match=r"square grid|needs a shape|positive integer"):
            call(groups.so(2), shape)


@pytest.mark.parametrize("prefix", [-1, 1.0, True, None])
def test_bad_prefixes(prefix):
    with pytest.raises(ValueError, match="prefix must be an integer of at least 0"):
        reps.tokens(groups.so(2), (3, 3), prefix)


@pytest.mark.parametrize("group", ["c4", None, 4, groups.so])
def test_things_that_are_no_groups(group):
    for call in (lambda: reps.image(group, (3, 3)), lambda: reps.tokens(group, (3, 3))):
        with pytest.raises(TypeError, match="needs a group"):
            call()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["c4", "d8", "so2", "o2"])
def test_apply_under_transformations(name):
    rep = _image(name, 6)
    g = rep.group.element(math.pi / 2 if name == "c4" else math.pi / 4, flip=rep.group.has_flip)
    x = jax.random.normal(jax.random.key(0), (4, 6, 6, 3))
    expected = rep.apply(g, np.asarray(x, np.float64))

    def act(x):
        return rep.apply(g, x)

    plain = act(x)
    assert isinstance(plain, jax.Array)
    assert plain.dtype == jnp.float32
    np.testing.assert_allclose(plain, expected, atol=2e-6)
    np.testing.assert_allclose(jax.jit(act)(x), expected, atol=2e-6)
    np.testing.assert_allclose(jax.vmap(act)(x), expected, atol=2e-6)
    y = jax.random.normal(jax.random.key(1), x.shape)
    gradient = jax.jit(jax.grad(lambda x: jnp.vdot(act(x), y)))(x)
    np.testing.assert_allclose(
        gradient, rep.apply(g.T if not rep.group.has_flip else g, y), atol=5e-6
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", ["c4", "so2"])
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_short_floats_are_computed_in_float32(name, dtype):
    rep = _image(name, 7)
    g = rep.group.element(math.pi / 2)
    x = jax.random.normal(jax.random.key(0), (16, 7, 7)).astype(dtype)
    moved = rep.apply(g, x)
    assert moved.dtype == dtype
    expected = rep.apply(g, x.astype(jnp.float32)).astype(dtype)
    np.testing.assert_array_equal(moved.astype(jnp.float32), expected.astype(jnp.float32))
    on_host = rep.apply(g, np.asarray(x))
    assert isinstance(on_host, np.ndarray)
    assert on_host.dtype == x.dtype


def test_complex_arrays():
    rep = _image("so2", 4)
    g = rep.group.element(0.3)
    x = np.random.default_rng(0).normal(size=(2, 4, 4))
    z = rep.apply(g, x[0] + 1j * x[1])
    np.testing.assert_allclose([z.real, z.imag], rep.apply(g, x), atol=1e-14)
    assert rep.apply(g, jnp.asarray(x[0] + 1j * x[1])).dtype == jnp.complex64


def test_representations_are_values():
    so2 = groups.so(2)
    assert repr(reps.image(so2, (7, 7))) == "Image[7x7](SO(2))"
    assert repr(reps.tokens(groups.cyclic(4), (14, 14), prefix=1)) == "Tokens[1+14x14](C4)"
    assert repr(reps.tokens(groups.cyclic(4), (14, 14))) == "Tokens[14x14](C4)"
    assert reps.image(so2, (7, 7)) == reps.image(groups.from_name("so2"), [7, 7])
    assert hash(reps.image(so2, (7, 7))) == hash(reps.image(so2, (np.int64(7), 7)))
    different = {
        reps.image(so2, (7, 7)),
        reps.image(so2, (6, 6)),
        reps.image(groups.o(2), (7, 7)),
        reps.tokens(so2, (7, 7)),
        reps.tokens(so2, (7, 7), prefix=1),
    }
    assert len(different) == 5
    rep = reps.image(so2, (7, 7))
    assert rep.dual == rep
    assert rep.is_orthogonal
    assert (rep.shape, rep.dim) == ((7, 7), 49)
    assert reps.tokens(so2, (7, 7), 2).shape == (51,)
    assert rep.frequencies() is reps.image(groups.o(2), (7, 7)).frequencies()
    assert not rep.frequencies().basis.flags.writeable
    with pytest.raises(AttributeError):
        rep.side = 3
