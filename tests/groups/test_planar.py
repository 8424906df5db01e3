"""The planar groups: elements, generators, membership, names, samples."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

from softeq_jax import groups

FINITE = ["trivial", "c1", "c2", "c3", "c4", "c8", "c12", "d1", "d2", "d3", "d4", "d8"]
ALL = [*FINITE, "so2", "o2"]
FLIP = np.diag([-1.0, 1.0])


def _rotation(t):
    return np.array([[math.cos(t), -math.sin(t)], [math.sin(t), math.cos(t)]])


@pytest.mark.parametrize("name", FINITE)
def test_elements_form_a_group_of_the_right_order(name):
    group = groups.from_name(name)
    elements = group.elements()
    assert elements.shape == (group.order, 2, 2)
    assert elements.dtype == np.float64
    assert group.is_finite
    distance = np.abs(elements[:, None] - elements[None]).max(axis=(2, 3))
    assert np.all(distance + np.eye(group.order) > 1e-3)  # all different
    products = np.einsum("aij,bjk->abik", elements, elements).reshape(-1, 2, 2)
    for product in products:
        assert np.abs(elements - product).max(axis=(1, 2)).min() < 1e-14
        assert group.contains(product)


@pytest.mark.parametrize("name", FINITE)
def test_discrete_generators_generate_the_group(name):
    group = groups.from_name(name)
    found = [np.eye(2)]
    for g in found:  # grows while it is walked through
        for h in group.discrete_generators:
            if min(np.abs(h @ g - f).max() for f in found) > 1e-9:
                found.append(h @ g)
    assert len(found) == group.order
    assert group.lie_generators.shape == (0, 2, 2)


@pytest.mark.parametrize(
    ("name", "text", "order", "connected", "generators"),
    [
        ("trivial", "1", 1, True, 0),
        ("C1", "C1", 1, True, 0),
        ("c4", "C4", 4, False, 1),
        ("C12", "C12", 12, False, 1),
        ("d1", "D1", 2, False, 1),
        ("D4", "D4", 8, False, 2),
        ("so2", "SO(2)", None, True, 0),
        ("SO(2)", "SO(2)", None, True, 0),
        ("o2", "O(2)", None, False, 1),
        (" O(2) ", "O(2)", None, False, 1),
    ],
)
def test_names_and_properties(name, text, order, connected, generators):
    group = groups.from_name(name)
    assert repr(group) == str(group) == group.name == text
    assert group.order == order
    assert group.is_finite == (order is not None)
    assert group.is_connected == connected
    assert group.discrete_generators.shape == (generators, 2, 2)
    assert group.d == 2
    assert isinstance(group, groups.Group)


def test_lie_generator_turns_counter_clockwise():
    for group in (groups.so(2), groups.o(2)):
        np.testing.assert_array_equal(group.lie_generators, [[[0, -1], [1, 0]]])


def test_quarter_turns_and_flips_are_exact():
    group = groups.o(2)
    np.testing.assert_array_equal(group.element(math.pi / 2), [[0, -1], [1, 0]])
    np.testing.assert_array_equal(group.element(math.pi), -np.eye(2))
    np.testing.assert_array_equal(group.element(-math.pi / 2), [[0, 1], [-1, 0]])
    np.testing.assert_array_equal(group.element(flip=True), FLIP)
    np.testing.assert_array_equal(groups.dihedral(4).elements() % 1, 0)
    np.testing.assert_array_equal(groups.cyclic(8).elements()[::2] % 1, 0)
    assert not np.signbit(groups.dihedral(4).elements()[groups.dihedral(4).elements() == 0]).any()


@given(angle=st.floats(-20, 20), flip=st.booleans())
@examples(fast=100)
def test_element_and_parameters_are_inverse(angle, flip):
    group = groups.o(2)
    g = group.element(angle, flip)
    np.testing.assert_allclose(g, _rotation(angle) @ (FLIP if flip else np.eye(2)), atol=1e-14)
    found, flipped = group.parameters(g)
    assert 0 <= found < 2 * math.pi
    assert flipped is flip
    np.testing.assert_allclose(group.element(found, flipped), g, atol=1e-14)


@given(n=st.integers(1, 60), j=st.integers(-200, 200), flip=st.booleans())
@examples(fast=100)
def test_finite_groups_snap_their_angles(n, j, flip):
    group = groups.dihedral(n)
    g = group.element(2 * math.pi * j / n + 3e-10, flip)
    index = np.flatnonzero(np.abs(group.elements() - g).max(axis=(1, 2)) == 0)
    np.testing.assert_array_equal(index, [j % n + (n if flip else 0)])
    for copy in (g, g.astype(np.float32), jnp.asarray(g)):
        assert group.parameters(copy) == (2 * math.pi * (j % n) / n, flip)


@given(s=st.floats(0, 7), t=st.floats(0, 7))
@examples(fast=100)
def test_flip_relation(s, t):
    group = groups.o(2)
    product = group.element(s, True) @ group.element(t, True)
    np.testing.assert_allclose(product, group.element(s - t), atol=1e-14)


def test_an_angle_just_below_zero_is_zero():
    angle, _ = groups.so(2).parameters([[1.0, 1e-17], [-1e-17, 1.0]])
    assert angle == 0.0


@pytest.mark.slow
@pytest.mark.parametrize("name", ALL)
def test_samples_are_members_and_cover_the_group(name):
    group = groups.from_name(name)
    sample = jax.jit(group.sample, static_argnums=1)(jax.random.key(0), 400)
    assert sample.shape == (400, 2, 2)
    assert sample.dtype == jnp.float32
    found = [group.parameters(g) for g in np.asarray(sample)]
    assert len({flip for _, flip in found}) == (2 if group.has_flip else 1)
    if group.is_finite:
        counts = [found.count(pair) for pair in set(found)]
        assert len(counts) == group.order
        assert max(counts) < 400 / group.order + 6 * math.sqrt(400 / group.order)
    else:
        # Haar: all characters but the trivial one have mean 0 (deviation 1 / sqrt(400))
        for m in (1, 2, 3):
            assert abs(np.mean([np.exp(1j * m * angle) for angle, _ in found])) < 0.2


def test_groups_are_values():
    assert groups.cyclic(4) == groups.from_name("C4")
    assert hash(groups.so(2)) == hash(groups.from_name("so2"))
    distinct = {groups.from_name(name) for name in (*ALL, *ALL)}
    assert len(distinct) == len(ALL)
    assert groups.cyclic(np.int64(4)) == groups.cyclic(4)
    with pytest.raises(AttributeError):
        groups.so(2).name = "SO(3)"
    for array in (groups.so(2).lie_generators, groups.dihedral(4).elements()):
        assert not array.flags.writeable


@pytest.mark.parametrize("n", [0, -1, 2.5, 4.0, True, "4", None])
@pytest.mark.parametrize("build", [groups.cyclic, groups.dihedral, groups.so, groups.o])
def test_sizes_that_are_no_positive_integers(build, n):
    with pytest.raises(ValueError, match="positive integer"):
        build(n)


@pytest.mark.parametrize("name", ["", "c", "4", "c-4", "c4.0", "q4", "so", "SO(2", "c٤", 4, None])
def test_unknown_names_list_the_known_ones(name):
    with pytest.raises(ValueError, match=r"accepted names are 'trivial'.*'so2'"):
        groups.from_name(name)
    with pytest.raises(ValueError, match="positive integer"):
        groups.from_name("c0")


def test_elements_that_do_not_exist():
    with pytest.raises(ValueError, match=r"45 degrees\): its angles are the multiples of 90 deg"):
        groups.cyclic(4).element(math.pi / 4)
    with pytest.raises(ValueError, match="multiples of 90 degrees"):
        groups.cyclic(4).element(math.pi / 2 + 1e-5)
    with pytest.raises(ValueError, match=r"SO\(2\) has no flips"):
        groups.so(2).element(0.0, flip=True)
    with pytest.raises(ValueError, match="finite"):
        groups.so(2).element(math.nan)
    with pytest.raises(ValueError, match="infinitely many"):
        groups.o(2).elements()
    with pytest.raises(ValueError, match="C60000 has 60000 elements"):
        groups.cyclic(60_000).elements()
    with pytest.raises(ValueError, match="number of samples"):
        groups.o(2).sample(jax.random.key(0), 0)


@pytest.mark.parametrize(
    ("name", "g", "message"),
    [
        ("c4", _rotation(math.pi / 4), "multiples of 90 degrees"),
        ("c4", _rotation(2e-6), "multiples of 90 degrees"),
        ("c4", FLIP, "no flips"),
        ("so2", FLIP, "no flips"),
        ("o2", 1.001 * np.eye(2), "not orthogonal"),
        ("o2", np.zeros((2, 2)), "not orthogonal"),
        ("o2", np.full((2, 2), np.nan), "finite entries"),
        ("so2", np.eye(3), "shape"),
        ("so2", 0.5, "shape"),
        ("so2", np.eye(2) + 0j, "real"),
    ],
)
def test_matrices_that_are_no_members(name, g, message):
    group = groups.from_name(name)
    assert not group.contains(g)
    with pytest.raises(ValueError, match=message):
        group.parameters(g)


def test_traced_elements_are_refused():
    with pytest.raises(TypeError, match="outside jit"):
        jax.jit(lambda g: groups.so(2).parameters(g)[0])(jnp.eye(2))


@pytest.mark.slow
@examples(fast=30)
@given(text=st.text(max_size=6))
def test_from_name_never_fails_otherwise(text):
    try:
        group = groups.from_name(text)
    except ValueError:
        return
    assert groups.from_name(repr(group)) == group
