"""Finite transforms of arrays with a layout: actions, masks, placements, refusals."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

from softeq_jax import groups, reps
from softeq_jax.measures import Fiber, Image, Invariant, Tokens, finite, rotate_bilinear

IMAGE = Image()
FRAME = (8, 8)


def noise(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@given(st.integers(-9, 9), st.integers(-9, 9))
@examples(fast=25)
def test_circular_shift_is_a_roll(dy, dx):
    x = noise(2, 8, 8, 3)
    out = finite.shift(dy, dx)(x, IMAGE, FRAME)
    np.testing.assert_array_equal(out, np.roll(x, (dy, dx), (1, 2)))


@pytest.mark.parametrize("boundary", ["zero", "edge", "reflect"])
@pytest.mark.parametrize(("dy", "dx"), [(2, -3), (0, 1), (-7, 0)])
def test_shift_reads_the_boundary(boundary, dy, dx):
    x = noise(1, 8, 8, 1)
    mode = {"zero": "constant", "edge": "edge", "reflect": "reflect"}[boundary]
    padded = np.pad(x, ((0, 0), (7, 7), (7, 7), (0, 0)), mode=mode)
    expected = padded[:, 7 - dy : 15 - dy, 7 - dx : 15 - dx]
    transform = finite.shift(dy, dx, boundary)
    np.testing.assert_array_equal(transform(x, IMAGE, FRAME), expected)
    mask = transform.mask(x.shape, IMAGE, FRAME)
    inside = finite.shift(dy, dx, "zero")(np.ones_like(x), IMAGE, FRAME)
    np.testing.assert_array_equal(mask, inside)


@pytest.mark.slow
def test_shift_on_a_feature_map_is_divided_by_the_pitch():
    y = noise(2, 4, 4, 3)
    np.testing.assert_array_equal(finite.shift(2, -4)(y, IMAGE, FRAME), np.roll(y, (1, -2), (1, 2)))
    assert not finite.shift(1, 0).is_exact(y.shape, IMAGE, FRAME)
    with pytest.raises(ValueError, match="interpolation='lanczos'"):
        finite.shift(1, 0)(y, IMAGE, FRAME)
    half = finite.shift(1, 0, interpolation="bilinear")(y, IMAGE, FRAME)
    np.testing.assert_allclose(half, (y + np.roll(y, 1, 1)) / 2, atol=1e-6)


@pytest.mark.slow
def test_other_axes_are_followed():
    x = noise(2, 8, 8, 3)
    nchw = Image(axes=(2, 3), channel=1)
    for transform in (finite.shift(1, -2), finite.quarter_turn(), finite.rotation(0.4)):
        out = transform(np.moveaxis(x, -1, 1), nchw, FRAME)
        expected = transform(x, IMAGE, FRAME)
        np.testing.assert_allclose(np.moveaxis(out, 1, -1), expected, atol=1e-6)
        mask = transform.mask((2, 3, 8, 8), nchw, FRAME)
        np.testing.assert_array_equal(
            mask[:, 0], transform.mask(x.shape, IMAGE, FRAME)[..., 0] * np.ones_like(mask[:, 0])
        )
    swapped = Image(axes=(2, 1))
    out = finite.shift(1, -2)(x, swapped, FRAME)
    np.testing.assert_array_equal(out, np.roll(x, (-2, 1), (1, 2)))


@pytest.mark.slow
def test_tokens_move_as_their_grid_and_the_prefix_stays():
    tokens = noise(2, 2 + 16, 5)
    layout = Tokens(prefix=2)
    grid = tokens[:, 2:].reshape(2, 4, 4, 5)
    cases = {
        finite.shift(2, -4): np.roll(grid, (1, -2), (1, 2)),
        finite.quarter_turn(1): np.rot90(grid, 1, (1, 2)),
        finite.flip("up-down"): grid[:, ::-1],
        finite.element(groups.dihedral(4), groups.dihedral(4).element(flip=True)): grid[:, :, ::-1],
    }
    for transform, expected in cases.items():
        out = np.asarray(transform(tokens, layout, FRAME))
        np.testing.assert_array_equal(out[:, :2], tokens[:, :2])
        np.testing.assert_array_equal(out[:, 2:].reshape(grid.shape), expected)
    mask = finite.shift(2, 0, "zero").mask(tokens.shape, layout, FRAME)
    assert mask.shape == (1, 18, 1)
    np.testing.assert_array_equal(mask[0, :, 0], [1, 1] + [0] * 4 + [1] * 12)


@pytest.mark.parametrize("k", [-1, 0, 1, 2, 3, 6])
def test_quarter_turns_and_flips_are_those_of_numpy(k):
    x = noise(2, 8, 8, 3)
    np.testing.assert_array_equal(finite.quarter_turn(k)(x, IMAGE, FRAME), np.rot90(x, k, (1, 2)))
    np.testing.assert_array_equal(finite.flip("left-right")(x, IMAGE, FRAME), x[:, :, ::-1])
    np.testing.assert_array_equal(finite.flip("up-down")(x, IMAGE, FRAME), x[:, ::-1])


LAYOUTS = {
    "image": (IMAGE, (2, 6, 6, 3)),
    "vectors": (Image(fiber=reps.vector(groups.dihedral(4))), (2, 6, 6, 4)),
    "regular": (Image(fiber=reps.regular(groups.dihedral(4))), (2, 6, 6, 16)),
    "tokens": (Tokens(prefix=1), (2, 37, 2)),
    "fiber": (Fiber(reps.vector(groups.dihedral(4))), (2, 3, 2)),
    "copies": (Fiber(reps.vector(groups.dihedral(4))), (2, 6)),
    "grid": (Fiber(reps.image(groups.dihedral(4), (6, 6)), (1, 2)), (2, 6, 6, 3)),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", LAYOUTS)
def test_elements_of_d4_act_as_a_group(case):
    layout, shape = LAYOUTS[case]
    x, group = noise(*shape), groups.dihedral(4)
    for g, h in itertools.product(group.elements(), repeat=2):
        first, second = finite.element(group, h), finite.element(group, g)
        assert second.is_exact(shape, layout, (6, 6))
        twice = second(first(x, layout, (6, 6)), layout, (6, 6))
        once = finite.element(group, g @ h)(x, layout, (6, 6))
        np.testing.assert_allclose(twice, once, atol=1e-6)
    back = second.inverse(second(x, layout, (6, 6)), layout, (6, 6))
    np.testing.assert_allclose(back, x, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("case", LAYOUTS)
def test_turns_agree_with_elements(case):
    layout, shape = LAYOUTS[case]
    x, group = noise(*shape), groups.dihedral(4)
    pairs = [(finite.quarter_turn(k), (k * math.pi / 2, False)) for k in range(4)]
    pairs += [(finite.flip("left-right"), (0.0, True)), (finite.flip("up-down"), (math.pi, True))]
    for turn, (angle, flipped) in pairs:
        expected = finite.element(group, group.element(angle, flipped))(x, layout, (6, 6))
        np.testing.assert_allclose(turn(x, layout, (6, 6)), expected, atol=1e-6)
        back = turn.inverse(turn(x, layout, (6, 6)), layout, (6, 6))
        np.testing.assert_allclose(back, x, atol=1e-6)


def test_vector_field_turns_its_vectors_and_its_pixels():
    field = noise(1, 5, 5, 2)
    out = np.asarray(
        finite.quarter_turn()(field, Image(fiber=reps.vector(groups.cyclic(4))), (5, 5))
    )
    for i, j in itertools.product(range(5), repeat=2):
        x, y = field[0, j, 4 - i]  # where pixel (i, j) comes from
        np.testing.assert_allclose(out[0, i, j], [-y, x], atol=1e-6)


@pytest.mark.slow
@given(st.floats(-6, 6))
@examples(fast=20)
def test_rotation_is_rotate_bilinear(angle):
    x = noise(1, 7, 7, 2)
    out = finite.rotation(angle)(x, IMAGE, (7, 7))
    np.testing.assert_allclose(out, rotate_bilinear(x, angle), atol=2e-5)


@pytest.mark.slow
@pytest.mark.parametrize("k", [1, 2, 3])
def test_rotation_continues_quarter_turns(k):
    so2 = groups.so(2)
    layout = Image(fiber=reps.vector(so2) + reps.irrep(so2, 2))
    x = noise(2, 6, 6, 8)
    turned = finite.quarter_turn(k)(x, layout, (6, 6))
    np.testing.assert_allclose(finite.rotation(k * np.pi / 2)(x, layout, (6, 6)), turned, atol=1e-5)
    fiber = Fiber(layout.fiber)
    np.testing.assert_allclose(
        finite.rotation(k * np.pi / 2)(x, fiber, (6, 6)),
        finite.quarter_turn(k)(x, fiber, (6, 6)),
        atol=1e-5,
    )


@given(st.floats(-3, 3))
@examples(fast=15)
def test_rotation_turns_a_fiber_as_the_group_does(angle):
    o2 = groups.o(2)
    rep = reps.vector(o2) * reps.vector(o2) + reps.irrep(o2, 3)
    y = noise(4, 2 * rep.dim)
    out = jax.jit(lambda t: finite.rotation(t)(y, Fiber(rep), FRAME))(angle)
    matrix = (2 * rep).matrix(o2.element(angle))
    np.testing.assert_allclose(out, y @ matrix.T, atol=2e-5)


@pytest.mark.slow
def test_rotation_about_the_center_of_the_input_not_of_the_map():
    layout = Image(pitch=2.0, origin=(-3.5, -3.5))
    transform = finite.rotation(np.pi / 2)
    y = np.arange(16, dtype=np.float32).reshape(1, 4, 4, 1)
    out, mask = transform(y, layout, FRAME), transform.mask(y.shape, layout, FRAME)
    # rows at -3.5, -1.5, .5, 2.5 read columns at x = -y, halfway between entries
    where = {-3.5: None, -1.5: 2.5, 0.5: 1.5, 2.5: 0.5}
    for i, p in enumerate(where):
        for j, q in enumerate(where):
            row, col = (q + 3.5) / 2, (-p + 3.5) / 2  # source (y, x) = (q, -p)
            assert mask[0, i, j, 0] == (col <= 3)
            if col <= 3:
                low = int(col)
                expected = (1 - col + low) * y[0, int(row), low, 0]
                expected += (col - low) * y[0, int(row), min(low + 1, 3), 0]
                np.testing.assert_allclose(out[0, i, j, 0], expected, atol=1e-4)
    assert not finite.quarter_turn().is_exact(y.shape, layout, FRAME)
    with pytest.raises(ValueError, match=r"off it.*rotation\(1 \* pi / 2\)"):
        finite.quarter_turn()(y, layout, FRAME)


def test_masks_are_where_all_ones_stay_one():
    ones = np.ones((1, 9, 9, 1), np.float32)
    for transform in (finite.rotation(0.5), finite.scaling(0.7), finite.scaling(1.4)):
        moved = np.asarray(transform(ones, IMAGE, (9, 9)))
        mask = np.asarray(transform.mask(ones.shape, IMAGE, (9, 9)))
        np.testing.assert_allclose(moved[mask == 1], 1, atol=1e-5)
        assert np.all(moved[mask == 0] < 1 - 1e-4)


def test_scaling_reads_at_the_divided_position():
    x = np.broadcast_to(np.arange(9.0, dtype=np.float32)[None, None, :, None], (1, 9, 9, 1))
    out = np.asarray(finite.scaling(2.0)(x, IMAGE, (9, 9)))
    np.testing.assert_allclose(out[0, 4, :, 0], 4 + (np.arange(9) - 4) / 2, atol=1e-6)
    small = finite.scaling(2.0).inverse(out, IMAGE, (9, 9))
    np.testing.assert_allclose(small[0, 4, 2:7, 0], np.arange(2.0, 7), atol=1e-5)


def test_nothing_moves_on_invariants_and_shifts_leave_fibers():
    y, vector = noise(4, 3), Fiber(reps.vector(groups.so(3)))
    for transform in (finite.shift(1, 2), finite.quarter_turn(), finite.rotation(0.3)):
        np.testing.assert_array_equal(transform(y, Invariant(), FRAME), y)
        assert transform.mask(y.shape, Invariant(), FRAME).shape == (1, 1)
    np.testing.assert_array_equal(finite.shift(1, 2)(y, vector, FRAME), y)


@pytest.mark.slow
def test_elements_of_any_group_act_on_fibers():
    group = groups.so(3)
    (transform,) = finite.haar_transforms(group, jax.random.key(0), 1)
    rep = reps.vector(group)
    y = noise(5, 3)
    np.testing.assert_allclose(transform(y, Fiber(rep), FRAME), y @ transform.matrix.T, atol=1e-6)
    with pytest.raises(ValueError, match=r"measures\.Fiber\(rep\)"):
        transform(noise(1, 8, 8, 3), IMAGE, FRAME)
    with pytest.raises(ValueError, match="does not contain it"):
        transform(y, Fiber(reps.vector(groups.symmetric(3))), FRAME)
    with pytest.raises(ValueError, match="does not contain it"):
        transform(noise(5, 2), Fiber(reps.vector(groups.so(2))), FRAME)


@pytest.mark.slow
def test_another_number_of_the_same_kind_compiles_nothing_new():
    x = noise(1, 8, 8, 1)
    run = jax.jit(lambda t, x: t(x, IMAGE, FRAME))
    kinds = [
        [finite.shift(1, 2), finite.shift(-3, 0)],
        [finite.shift(a, 0.0, "zero", "lanczos") for a in (0.5, 1.7)],
        [finite.rotation(a) for a in (0.1, 2.0)],
        [finite.rotation(a, "bandlimited") for a in (0.1, 2.0)],
        [finite.scaling(a) for a in (0.5, 2.0)],
    ]
    for count, (first, second) in enumerate(kinds, 1):
        for transform in (first, second):
            np.testing.assert_allclose(run(transform, x), transform(x, IMAGE, FRAME), atol=1e-5)
        assert run._cache_size() == count


@pytest.mark.slow
def test_refusals_say_what_to_do():
    wide = noise(1, 4, 8, 1)
    with pytest.raises(ValueError, match="square grid, got 4 x 8: crop or pad"):
        finite.quarter_turn()(wide, IMAGE, (4, 8))
    with pytest.raises(ValueError, match="rectangular=True"):
        finite.rotation(0.3)(wide, IMAGE, (4, 8))
    assert finite.rotation(0.3)(wide, Image(rectangular=True), (4, 8)).shape == wide.shape
    np.testing.assert_array_equal(
        finite.quarter_turn(2)(wide, IMAGE, (4, 8)), np.rot90(wide, 2, (1, 2))
    )
    with pytest.raises(ValueError, match="same pitch"):
        finite.quarter_turn()(noise(1, 4, 4, 1), IMAGE, (4, 8))
    with pytest.raises(TypeError, match="floating point"):
        finite.rotation(0.3)(np.ones((1, 8, 8, 1), int), IMAGE, FRAME)
    with pytest.raises(ValueError, match="no rotation by"):
        finite.quarter_turn()(noise(2, 2), Fiber(reps.vector(groups.cyclic(3))), FRAME)
    with pytest.raises(ValueError, match="quarter_turn or element"):
        finite.rotation(0.2)(noise(2, 2), Fiber(reps.vector(groups.cyclic(4))), FRAME)
    with pytest.raises(ValueError, match="finite.element"):
        finite.rotation(0.2)(noise(2, 3), Fiber(reps.vector(groups.so(3))), FRAME)
    for wrong in (
        lambda: finite.shift(1, 0, boundary="mirror"),
        lambda: finite.shift(1, 0, interpolation="cubic"),
        lambda: finite.flip("diagonal"),
        lambda: finite.quarter_turn(0.5),
        lambda: finite.rotation(math.nan),
        lambda: finite.rotation(0.1, "nearest"),
        lambda: finite.scaling(-1.0),
        lambda: finite.cyclic_rotations(0),
        lambda: finite.circular_shifts(-1, 2, jax.random.key(0)),
        lambda: finite.group_transforms(groups.so(2)),
    ):
        with pytest.raises(ValueError, match=".{20}"):
            wrong()


@pytest.mark.slow
def test_families_are_deterministic_and_cover_their_range():
    key = jax.random.key(3)
    shifts = finite.circular_shifts(2, 200, key)
    assert {(t.dy, t.dx) for t in shifts} == set(itertools.product(range(-2, 3), repeat=2))
    assert shifts == finite.circular_shifts(2, 200, key)
    angles = np.array([t.angle for t in finite.uniform_rotations(400, key)])
    assert angles.min() < -3
    assert angles.max() > 3
    assert abs(angles.mean()) < 0.3
    kinds = [type(t).__name__ for t in finite.cyclic_rotations(8)]
    assert kinds == ["QuarterTurn", "Rotation"] * 4
    x = noise(1, 8, 8, 1)
    for j, transform in enumerate(finite.cyclic_rotations(8)):
        expected = rotate_bilinear(x, 2 * np.pi * j / 8)
        np.testing.assert_allclose(transform(x, IMAGE, FRAME), expected, atol=2e-5)
    assert len(finite.group_transforms(groups.dihedral(4))) == 8


@pytest.mark.slow
def test_eighth_turns_of_c8_are_bilinear_rotations():
    group, x = groups.cyclic(8), noise(1, 8, 8, 2)
    transform = finite.element(group, group.element(np.pi / 4))
    layout = Image(fiber=reps.vector(group))
    assert not transform.is_exact(x.shape, layout, FRAME)
    matrix = group.element(np.pi / 4)
    expected = np.asarray(rotate_bilinear(x, np.pi / 4)) @ matrix.T
    np.testing.assert_allclose(transform(x, layout, FRAME), expected, atol=1e-5)
    assert 0 < float(jnp.mean(transform.mask(x.shape, layout, FRAME))) < 1
