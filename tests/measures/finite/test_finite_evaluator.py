"""The shared evaluator: what it yields, compiles and refuses; and the estimates made of it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from softeq_jax import groups, reps
from softeq_jax.measures import Image, Tokens, finite


def noise(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def plain(x):
    return np.tanh(
        x[:, ::2, ::2] * 2 + np.arange(x[0, ::2, ::2].size).reshape(x[0, ::2, ::2].shape)
    )


def traced(x):
    y = x[:, ::2, ::2]
    return jnp.tanh(y * 2 + jnp.arange(y[0].size).reshape(y[0].shape))


def collect(names):
    """A metric that keeps the real entries of fields, by image and transform."""

    def update(state, outcome, slot):
        fields = {name: np.asarray(getattr(outcome, name))[: slot.real] for name in names}
        return (*state, (slot, fields))

    needs = frozenset(names) & {"other", "back"}
    return finite.Metric(lambda transforms, images: (), update, lambda state: state, needs)


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [None, 5, 2, 1, 3])
def test_yields_what_the_definitions_say(batch_size):
    x = noise(5, 8, 8, 2)
    transforms = [finite.shift(2, 4), finite.quarter_turn(1), finite.shift(0, -2)]
    moves = [
        lambda a, s: np.roll(a, (2 // s, 4 // s), (1, 2)),
        lambda a, s: np.rot90(a, 1, (1, 2)),
        lambda a, s: np.roll(a, -2 // s, 2),
    ]
    backs = [lambda a: a] * 3
    names = ("moved", "expected", "upright", "inputs", "moved_inputs", "other", "back")

    # a map whose entries lie where the input's own center turns about
    out = Image(pitch=2.0, origin=(-3.0, -3.0))
    (state,) = finite.evaluate(
        traced, x, transforms, [collect(names)], output=out, batch_size=batch_size
    )
    assert len(state) == 3 * -(-5 // (batch_size or 5))
    seen = np.zeros((3, 5), int)
    for slot, found in state:
        kept, move = slice(slot.start, slot.start + slot.real), moves[slot.transform]
        seen[slot.transform, kept] += 1
        expected = {
            "moved": plain(move(x, 1)),
            "expected": move(plain(x), 2),
            "upright": plain(x),
            "inputs": x,
            "moved_inputs": move(x, 1),
            "other": move(plain(np.roll(x, 1, axis=0)), 2),
            "back": plain(backs[slot.transform](x)),
        }
        for name in names:
            np.testing.assert_allclose(found[name], expected[name][kept], atol=1e-6, err_msg=name)
    np.testing.assert_array_equal(seen, 1)


@pytest.mark.slow
def test_f_is_traced_once_for_all_batches_transforms_and_parameters():
    count = []

    def apply(weight, x):
        count.append(x.shape)
        return jnp.tanh(x * weight)

    x = noise(5, 6, 6, 1)
    transforms = finite.circular_shifts(3, 4, jax.random.key(0)) + finite.cyclic_rotations(4)
    for weight in (1.0, 2.0):
        f = jax.tree_util.Partial(apply, jnp.asarray(weight))
        result = finite.relative_error(f, x, transforms, output="image", batch_size=2)
        assert result.value < 1e-6
        result = finite.null_normalized_error(f, x, transforms, output="image", batch_size=2)
        assert result.value < 1e-12
    assert count == [(2, 6, 6, 1)]


def test_a_function_that_jax_cannot_trace_is_called_as_it_is():
    x = noise(3, 6, 6, 1)
    transforms = [finite.shift(0, 1)]
    f = lambda x: np.asarray(x).max(axis=(1, 2, 3))[:, None]  # noqa: E731
    with pytest.raises(jax.errors.TracerArrayConversionError):
        finite.relative_error(f, x, transforms)
    assert finite.relative_error(f, x, transforms, jit=False).value == 0


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [None, 4, 3, 1])
def test_every_image_counts_once(batch_size):
    x = noise(7, 6, 6, 1)
    transforms = [finite.shift(0, 1), finite.shift(2, 0)]
    f = lambda x: x[:, :2, 0, 0]  # noqa: E731
    result = finite.relative_error(f, x, transforms, batch_size=batch_size)
    errors, sizes = [], []
    for dy, dx in ((0, 1), (2, 0)):
        moved = np.roll(x, (dy, dx), (1, 2))[:, :2, 0, 0]
        errors.append(np.linalg.norm(moved - x[:, :2, 0, 0], axis=1))
        sizes.append(np.linalg.norm(x[:, :2, 0, 0], axis=1))
    np.testing.assert_allclose(result.numerators, errors, rtol=1e-5)
    np.testing.assert_allclose(result.value, np.sum(errors) / np.sum(sizes), rtol=1e-6)
    np.testing.assert_allclose(
        result.per_transform, np.sum(errors, 1) / np.sum(sizes, 1), rtol=1e-5
    )
    np.testing.assert_allclose(result.per_image, np.sum(errors, 0) / np.sum(sizes, 0), rtol=1e-5)
    assert result.transforms == ("shift (0, 1)", "shift (2, 0)")
    assert "7 images, 2 transforms" in repr(result)


@pytest.mark.slow
def test_tokens_and_fibers_are_inputs_and_outputs():
    tokens = noise(4, 1 + 16, 3)
    f = lambda x: x**2  # noqa: E731
    layout, transforms = Tokens(prefix=1), [finite.quarter_turn(1), finite.shift(1, 0)]
    result = finite.relative_error(f, tokens, transforms, input=layout, output=layout)
    assert result.value == 0
    g = lambda x: jnp.cumsum(x, axis=1)  # noqa: E731
    assert finite.relative_error(g, tokens, transforms, input=layout, output=layout).value > 0.1
    group = groups.so(3)
    vectors, elements = noise(4, 3), finite.haar_transforms(group, jax.random.key(0), 5)
    rep = reps.vector(group)
    h = lambda x: x * jnp.sum(x**2, -1, keepdims=True)  # noqa: E731
    assert finite.relative_error(h, vectors, elements, input=rep, output=rep).value < 1e-6
    assert finite.relative_error(f, vectors, elements, input=rep, output=rep).value > 0.1


def identity(x):
    return x


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"images": np.ones((2, 6, 6, 1), int)}, TypeError, "floating point"),
        ({"images": np.full((2, 6, 6, 1), np.nan)}, ValueError, "NaN or infinite"),
        ({"images": np.ones((2, 36))}, ValueError, "as an image"),
        ({"images": np.ones((1, 6, 6, 1)), "null": True}, ValueError, "only one"),
        ({"images": np.ones((2, 4, 6, 1))}, ValueError, "crop or pad"),
        ({"f": lambda x: x / 0}, ValueError, r"f\(x\) has .*NaN"),
        ({"f": lambda x: jnp.where(x[:, :1] > 0, x, jnp.nan)}, ValueError, "quarter turn 1.*NaN"),
        ({"f": lambda x: jnp.sum(x)}, ValueError, "one entry per example"),
        ({"f": lambda x: x[:1]}, ValueError, "one entry per example"),
        ({"f": 3}, TypeError, "must be a function"),
        ({"transforms": []}, ValueError, "empty"),
        ({"transforms": groups.cyclic(4).elements()}, TypeError, "group_transforms"),
        ({"output": "picture"}, ValueError, "no layout"),
        ({"output": reps.vector(groups.cyclic(3))}, ValueError, "acts on"),
        ({"head": "softmax"}, ValueError, "no head"),
        ({"batch_size": 0}, ValueError, "batch_size"),
        ({"transforms": [finite.shift(7, 0, "zero")]}, ValueError, "nothing .* inside its mask"),
    ],
)
def test_refusals(change, error, message):
    ones = np.ones((2, 6, 6, 1), np.float32)
    ones[:, :, -1] = -1  # a quarter turn makes the last column the first row
    ones[:, 0] = 1
    options = {
        "f": identity,
        "images": ones,
        "transforms": [finite.quarter_turn(1)],
        "output": "image",
    } | change
    measure = finite.relative_error
    if options.pop("null", False):
        measure = finite.null_normalized_error
    f, images, transforms = (options.pop(name) for name in ("f", "images", "transforms"))
    with pytest.raises(error, match=message):
        measure(f, images, transforms, **options)


def test_a_metric_of_ones_own():
    """A pair of sums in float64, as small a state as there is."""

    def update(state, outcome, slot):
        difference = np.asarray(outcome.moved - outcome.upright, np.float64)[: slot.real]
        return state[0] + np.sum(difference**2), state[1] + difference.size

    metric = finite.Metric(lambda t, n: (0.0, 0), update, lambda state: state[0] / state[1])
    x = noise(5, 6, 6, 1)
    result = finite.evaluate(
        lambda x: x[:, 0, 0], x, [finite.shift(0, 1)], [metric, metric], batch_size=2
    )
    expected = np.mean((x[:, 0, -1] - x[:, 0, 0]).astype(float) ** 2)
    np.testing.assert_allclose(result, [expected, expected], rtol=1e-6)


def estimate(n=200, seed=0, **options):
    rng = np.random.default_rng(seed)
    b = rng.gamma(3, size=(2, n))
    return finite.Estimate("e", b * rng.gamma(2, size=(2, n)), b, ("t", "u"), **options)


@pytest.mark.slow
def test_standard_error_and_interval_agree_with_fresh_samples():
    values = [estimate(seed=seed).value for seed in range(300)]
    errors = [estimate(seed=seed).standard_error for seed in range(50)]
    np.testing.assert_allclose(np.mean(errors), np.std(values), rtol=0.15)
    covered = 0
    for seed in range(40):
        low, high = estimate(seed=seed).interval(jax.random.key(seed), 200)
        covered += low <= 2.0 <= high
    assert 33 <= covered <= 40
    one = estimate()
    assert one.interval(jax.random.key(0), 50) == one.interval(jax.random.key(0), 50)
    assert one.interval(jax.random.key(0), 50) != one.interval(jax.random.key(1), 50)


@pytest.mark.slow
def test_decibels():
    one = estimate(span=2.0)
    plain_value = estimate().value
    np.testing.assert_allclose(one.value, 20 * np.log10(2) - 10 * np.log10(plain_value))
    values = [estimate(seed=seed, span=2.0).value for seed in range(300)]
    np.testing.assert_allclose(one.standard_error, np.std(values), rtol=0.25)
    perfect = finite.Estimate("e", np.zeros((1, 4)), np.ones((1, 4)), ("t",), 2.0)
    assert perfect.value == np.inf
    assert perfect.standard_error == 0
    assert perfect.interval(jax.random.key(0), 20) == (np.inf, np.inf)
    assert "inf" in perfect.table()


@pytest.mark.parametrize(("n", "samples"), [(1, 3), (6, 40)])
def test_bootstrap_draws_with_replacement(n, samples):
    drawn = []
    result = finite.bootstrap(
        lambda i: drawn.append(i) or float(i.sum()), n, jax.random.key(n), samples
    )
    assert len(result) == samples
    assert np.all(np.diff(result) >= 0)
    assert all(i.shape == (n,) for i in drawn)
    np.testing.assert_array_equal(np.unique(drawn), np.arange(n))
    assert len({tuple(i) for i in drawn}) == (1 if n == 1 else samples)
    np.testing.assert_array_equal(result, np.sort([i.sum() for i in drawn]))


def test_statistics_refuse():
    with pytest.raises(ValueError, match="needs images and draws"):
        finite.bootstrap(np.sum, 0, jax.random.key(0))
    with pytest.raises(ValueError, match="level"):
        estimate().interval(jax.random.key(0), level=95)
