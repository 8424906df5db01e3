"""Mirrors and half turns map rectangles to themselves: C1, C2, D1 and D2 act on every grid."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from softeq_jax import groups, reps

SHAPES = [(1, 7), (7, 1), (2, 1), (2, 5), (5, 2), (4, 6), (3, 5), (14, 28)]
MOVES = {  # the elements of each group, by their definitions
    "1": [lambda x: x],
    "d1": [lambda x: x, np.fliplr],
    "c2": [lambda x: x, lambda x: np.rot90(x, 2)],
    "d2": [lambda x: x, lambda x: np.rot90(x, 2), np.fliplr, np.flipud],
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", MOVES)
def test_elements_are_numpys(name, shape):
    group = groups.from_name(name)
    image, row = reps.image(group, shape), reps.tokens(group, shape, prefix=2)
    assert (image.shape, row.shape) == (shape, (2 + shape[0] * shape[1],))
    assert repr(image) == f"Image[{shape[0]}x{shape[1]}]({group!r})"
    x = np.random.default_rng(0).normal(size=shape)
    tokens = np.concatenate([[8.0, 9.0], x.reshape(-1)])
    assert len(group.elements()) == len(MOVES[name])
    for g, move in zip(group.elements(), MOVES[name], strict=True):
        np.testing.assert_array_equal(image.apply(g, x), move(x))
        np.testing.assert_array_equal(
            jax.jit(lambda x, g=g: image.apply(g, x))(x), move(jnp.array(x))
        )
        np.testing.assert_array_equal(row.apply(g, tokens), [8.0, 9.0, *move(x).reshape(-1)])
        if image.dim < 100:
            np.testing.assert_array_equal(image.matrix(g) @ x.reshape(-1), move(x).reshape(-1))


@pytest.mark.parametrize("shape", SHAPES[:-1])
@pytest.mark.parametrize("name", MOVES)
def test_columns_are_orthonormal_and_turn_as_their_frequencies_say(name, shape):
    group = groups.from_name(name)
    image = reps.image(group, shape)
    f = image.frequencies()
    np.testing.assert_allclose(f.basis.T @ f.basis, np.eye(image.dim), atol=1e-15)
    columns = f.basis.reshape(*shape, -1)
    np.testing.assert_allclose(columns[:, ::-1], columns * np.where(f.odd, -1, 1), atol=1e-15)
    half = np.where(f.frequency % 2, -1, 1)
    np.testing.assert_allclose(columns[::-1, ::-1], columns * half, atol=1e-15)
    assert not f.unmatched.any()
    still = all(
        np.array_equal(m(a), a) for m in MOVES[name] for a in [np.arange(image.dim).reshape(shape)]
    )
    assert image.is_trivial == still


def test_subgroups_and_the_mirror_up_down():
    d2 = reps.image(groups.dihedral(2), (3, 4))
    x = np.random.default_rng(0).normal(size=(3, 4))
    for name in ("1", "c2", "d1"):
        restricted = reps.restrict(d2, groups.from_name(name))
        assert restricted == reps.image(groups.from_name(name), (3, 4))
    up_down = reps.restrict(d2, groups.dihedral(1), lambda g: np.diag([1.0, g[0, 0]]))
    np.testing.assert_array_equal(up_down.apply(groups.dihedral(1).element(flip=True), x), x[::-1])


@pytest.mark.parametrize("name", ["c3", "c4", "c6", "d3", "d4", "so2", "o2"])
def test_groups_with_other_rotations_are_refused_by_what_they_cannot_do(name):
    group = groups.from_name(name)
    for make, shape in itertools.product((reps.image, reps.tokens), SHAPES):
        with pytest.raises(ValueError, match=r"rotations by .* do not map a .* grid.*C2, D1, D2"):
            make(group, shape)
        assert reps.grid_obstacle(group, shape)
    assert reps.grid_obstacle(group, (3, 3)) is None
    with pytest.raises(ValueError, match="group of the plane"):
        reps.grid_obstacle(groups.so(3), (3, 3))
