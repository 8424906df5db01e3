"""Consistency of classifiers under crops, circular shifts and one-pixel moves."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from softeq_jax.measures import Image, finite

KEY = jax.random.key(7)


def noise(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def pooled(x):
    """Invariant to circular shifts; its border is seen by crops."""
    return jnp.stack([jnp.max(x, (1, 2, 3)), jnp.mean(x**2, (1, 2, 3)) * 2.4], -1)


def corner(x):
    return jnp.stack([x[:, 0, 0, 0], jnp.zeros(len(x))], -1)


@pytest.mark.slow
def test_circular_and_crop_consistency_part():
    x = noise(40, 8, 8, 1)
    result = finite.consistency(pooled, x, max_shift=3, key=KEY, n=3, batch_size=16)
    assert result.circular.value == 1
    assert result.circular.standard_error == 0
    assert 0.5 < result.crop.value < 1
    assert result.crop.numerators.shape == (3, 40)
    assert len(repr(result).splitlines()) == 2
    alone = finite.consistency(pooled, x, max_shift=3, key=KEY, n=3, boundary="crop")
    assert alone.circular is None
    np.testing.assert_array_equal(alone.crop.numerators, result.crop.numerators)


@pytest.mark.slow
@pytest.mark.parametrize("size", [None, (5, 6)])
def test_consistency_by_plain_definition(size):
    x = noise(11, 10, 12, 1)
    result = finite.consistency(
        corner, x, max_shift=2, key=KEY, n=4, size=size, padding="edge", batch_size=4
    )
    shifts = np.asarray(jax.random.randint(KEY, (4, 2, 11, 2), -2, 3))
    padded = np.pad(x, ((0, 0), (2, 2), (2, 2), (0, 0)), mode="edge")
    for pair, i in itertools.product(range(4), range(11)):
        crops, rolls = [], []
        for dy, dx in shifts[pair, :, i]:
            if size is None:
                crops.append(padded[i, 2 - dy, 2 - dx, 0])
                rolls.append(x[i, -dy % 10, -dx % 12, 0])
            else:
                crops.append(x[i, 2 - dy, 3 - dx, 0])
                rolls.append(x[i, 2 + -dy % 5, 3 + -dx % 6, 0])
        for values, found in ((crops, result.crop), (rolls, result.circular)):
            agree = (values[0] >= 0) == (values[1] >= 0)
            assert found.numerators[pair, i] == agree


@pytest.mark.slow
def test_a_coin_is_consistent_half_of_the_time():
    x = noise(300, 6, 6, 1)
    result = finite.consistency(corner, x, max_shift=2, key=KEY, n=8, boundary="circular")
    same = 1 / 25  # both shifts are the same
    assert abs(result.circular.value - (same + (1 - same) / 2)) < 5 * result.circular.standard_error


@pytest.mark.slow
def test_consistency_of_other_layouts():
    x = noise(20, 8, 8, 1)
    nchw = Image(axes=(2, 3), channel=1)
    options = {"max_shift": 2, "key": KEY}
    one = finite.consistency(corner, x, **options)
    f = lambda x: corner(jnp.moveaxis(x, 1, -1))  # noqa: E731
    two = finite.consistency(f, np.moveaxis(x, -1, 1), input=nchw, **options)
    np.testing.assert_array_equal(one.crop.numerators, two.crop.numerators)
    np.testing.assert_array_equal(one.circular.numerators, two.circular.numerators)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"boundary": "torus"}, "no boundary"),
        ({"max_shift": 0}, "max_shift must be a positive integer"),
        ({"size": (7, 8)}, "do not fit"),
        ({"padding": "wrap"}, "no padding"),
        ({"max_shift": 8}, "cannot reflect"),
        ({"input": "tokens"}, "must be an Image"),
    ],
)
def test_consistency_refuses(options, message):
    with pytest.raises(ValueError, match=message):
        finite.consistency(corner, noise(2, 8, 8, 1), **{"max_shift": 2, "key": KEY, **options})


def test_consistency_refuses_what_is_no_classifier():
    with pytest.raises(ValueError, match="class scores"):
        finite.consistency(lambda x: x, noise(2, 8, 8, 1), max_shift=1, key=KEY)
    with pytest.raises(TypeError, match="floating point"):
        finite.consistency(corner, np.ones((2, 8, 8, 1), int), max_shift=1, key=KEY)
    with pytest.raises(ValueError, match="NaN"):
        finite.consistency(lambda x: corner(x) / 0, noise(2, 8, 8, 1), max_shift=1, key=KEY)


@pytest.mark.slow
def test_one_pixel_changes_nothing_of_an_invariant_classifier():
    x = noise(30, 8, 8, 1)
    result = finite.azulay_weiss(pooled, x, key=KEY, canvas=(11, 12), batch_size=8)
    assert result.changes.value == 0
    assert result.mac.value < 1e-6
    assert len(repr(result).splitlines()) == 2


def recorded(calls):
    def f(x):
        calls.append(np.array(x))
        return np.stack([calls[-1].sum((1, 2, 3)), calls[-1][:, ::2].sum((1, 2, 3))], -1)

    return f


@pytest.mark.slow
@pytest.mark.parametrize("fill", ["zero", "mean", "edge", 0.25])
def test_the_object_moves_by_one_pixel_and_stays_whole(fill):
    x, calls = noise(6, 5, 4, 2), []
    result = finite.azulay_weiss(
        recorded(calls), x, key=KEY, n=5, canvas=(8, 9), fill=fill, jit=False, batch_size=4
    )
    seen, directions = [np.concatenate([a, b])[:6] for a, b in zip(calls[:10], calls[10:])], set()  # noqa: B905
    assert len(calls) == 20
    for one, two in zip(seen[::2], seen[1::2], strict=True):
        for i in range(6):
            places = []
            for canvas in (one[i], two[i]):
                found = [
                    (r, c)
                    for r in range(4)
                    for c in range(6)
                    if np.array_equal(canvas[r : r + 5, c : c + 4], x[i])
                ]
                assert len(found) == 1
                ((r, c),) = found
                places.append(found[0])
                around = canvas.copy()
                around[r : r + 5, c : c + 4] = np.nan
                value = {"zero": 0, "mean": x[i].mean((0, 1)), "edge": None}.get(fill, fill)
                if fill == "edge":
                    pad = ((r, 3 - r), (c, 5 - c), (0, 0))
                    np.testing.assert_array_equal(canvas, np.pad(x[i], pad, mode="edge"))
                else:
                    expected = np.where(np.isnan(around), np.nan, value)
                    np.testing.assert_allclose(around, expected, atol=1e-6)
            step = tuple(np.subtract(places[1], places[0]))
            assert sorted(np.abs(step)) == [0, 1]
            directions.add(step)
    assert len(directions) == 4
    top, change = [], []
    for one, two in zip(seen[::2], seen[1::2], strict=True):
        p, q = (
            np.asarray(jax.nn.softmax(recorded([])(canvas)), np.float64) for canvas in (one, two)
        )
        top.append(p.argmax(1) != q.argmax(1))
        change.append(np.abs(p - q)[np.arange(6), p.argmax(1)])
    np.testing.assert_array_equal(result.changes.numerators, top)
    np.testing.assert_allclose(result.mac.numerators, change, atol=1e-6)


@pytest.mark.slow
def test_a_fixed_input_size_gets_smaller_objects():
    shapes = []

    def f(x):
        shapes.append(x.shape)
        return x.reshape(len(x), -1)[:, :3] + x.mean((1, 2))

    x = noise(4, 16, 16, 1)
    result = finite.azulay_weiss(f, x, key=KEY)
    assert set(shapes) == {(4, 16, 16, 1)}
    assert result.mac.value > 0
    finite.azulay_weiss(f, x, key=KEY, size=(10, 11))
    for wrong in ({"size": (16, 16)}, {"canvas": (4, 4), "size": (5, 2)}):
        with pytest.raises(ValueError, match="no room"):
            finite.azulay_weiss(f, x, key=KEY, **wrong)
    with pytest.raises(ValueError, match="no fill"):
        finite.azulay_weiss(f, x, key=KEY, fill="inpaint")
