"""Measures of equivariance under finite transforms: theorems, and plain definitions."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from softeq_jax import groups, reps
from softeq_jax.measures import Image, finite, kl_divergence

C4 = groups.cyclic(4)
KEY = jax.random.key(0)


def noise(*shape, seed=0, dtype=np.float32):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def circular_net(weights, symmetric):
    """Circular 3x3 convolutions with tanh between; C4-symmetric kernels if asked for."""
    if symmetric:
        weights = [sum(np.rot90(w, k) for k in range(4)) / 4 for w in weights]

    def f(x):
        for w in weights:
            padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="wrap")
            x = jnp.tanh(
                jax.lax.conv_general_dilated(
                    padded,
                    jnp.asarray(w, x.dtype),
                    (1, 1),
                    "VALID",
                    dimension_numbers=("NHWC", "HWIO", "NHWC"),
                )
            )
        return x

    return f


def net(symmetric=True, dtype=np.float32, channels=4):
    sizes = (3, 6, channels)
    pairs = itertools.pairwise(sizes)
    weights = [noise(3, 3, a, b, seed=a, dtype=dtype) / 3 for a, b in pairs]
    return circular_net(weights, symmetric)


def all_measures(f, x, output):
    elements = finite.group_transforms(C4)
    options = {"output": output}
    return {
        "RE": finite.relative_error(f, x, elements, **options).value,
        "NE": np.sqrt(finite.null_normalized_error(f, x, elements, **options).value),
        "EED": finite.equivariance_deviation(f, x, C4, **options).value,
        "sup": finite.worst_case_error(f, x, C4, **options).value,
        "residual": np.sqrt(finite.group_average_residual(f, x, C4, **options).value),
        "dB": 10 ** (-finite.psnr(f, x, elements, **options).value / 20),
    }


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 5e-6), (np.float64, 1e-13)])
def test_equivariant_map_scores_zero_everywhere(dtype, tolerance):
    with jax.enable_x64(dtype == np.float64):
        x = noise(4, 8, 8, 3, dtype=dtype)
        for name, value in all_measures(net(True, dtype), x, "image").items():
            assert value < tolerance * 10, name
        # not zero: an asymmetric kernel, or vectors that do not turn with the pixels
        for name, value in all_measures(net(False, dtype), x, "image").items():
            assert value > 0.02, name
        vectors = Image(fiber=reps.vector(C4))
        for name, value in all_measures(net(True, dtype), x, vectors).items():
            assert value > 0.02, name


@pytest.mark.slow
def test_permuting_channels_of_a_regular_fiber_breaks_equivariance():
    layout = Image(fiber=reps.regular(C4))
    lift = lambda x: jnp.stack(  # noqa: E731
        [jnp.rot90(jnp.cumsum(jnp.rot90(x[..., 0], -k, (1, 2)), 2), k, (1, 2)) for k in range(4)],
        -1,
    )
    x, elements = noise(3, 6, 6, 1), finite.group_transforms(C4)
    # the elements of C4 permute its regular representation as they do the four directions
    order = [int(np.argmax(reps.regular(C4).matrix(g)[:, 0])) for g in C4.elements()]
    f = lambda x: lift(x)[..., np.argsort(order)]  # noqa: E731
    assert finite.relative_error(f, x, elements, output=layout).value < 1e-6
    g = lambda x: f(x)[..., jnp.array([1, 0, 2, 3])]  # noqa: E731
    assert finite.relative_error(g, x, elements, output=layout).value > 0.2


@pytest.mark.slow
def test_circular_nets_are_exact_under_circular_shifts():
    x = noise(3, 8, 8, 3)
    f, strided = net(False), lambda x: net(False)(x)[:, ::2, ::2]
    shifts = finite.circular_shifts(4, 6, KEY)
    assert finite.relative_error(f, x, shifts, output="image").value < 1e-6
    even = [finite.shift(2 * dy, 2 * dx) for dy, dx in ((1, 0), (-1, 2), (0, 3))]
    assert finite.relative_error(strided, x, even, output="image").value < 1e-6
    with pytest.raises(ValueError, match="no whole number"):
        finite.relative_error(strided, x, [finite.shift(1, 0)], output="image")
    odd = [finite.shift(1, 0, interpolation="lanczos")]
    assert finite.relative_error(strided, x, odd, output="image").value > 0.1


@pytest.mark.slow
def test_errors_by_plain_definition():
    x, f = noise(5, 6, 6, 2), lambda x: jnp.sin(3 * x[:, :3]).reshape(len(x), -1)
    shifts = [(1, 0), (0, -2)]
    transforms = [finite.shift(dy, dx) for dy, dx in shifts]
    own = {name: [] for name in ("moved", "upright", "other")}
    for dy, dx in shifts:
        for i in range(5):
            own["moved"].append(np.asarray(f(np.roll(x[i], (dy, dx), (0, 1))[None])[0]))
            own["upright"].append(np.asarray(f(x[i : i + 1])[0]))
            own["other"].append(np.asarray(f(x[i - 1][None])[0]))
    e = [np.linalg.norm(a - b) for a, b in zip(own["moved"], own["upright"], strict=True)]
    o = [np.linalg.norm(a - b) for a, b in zip(own["moved"], own["other"], strict=True)]
    size = [np.linalg.norm(b) for b in own["upright"]]
    value = finite.relative_error(f, x, transforms, batch_size=2).value
    np.testing.assert_allclose(value, np.sum(e) / np.sum(size), rtol=1e-5)
    value = finite.null_normalized_error(f, x, transforms, batch_size=2).value
    np.testing.assert_allclose(value, np.sum(np.square(e)) / np.sum(np.square(o)), rtol=1e-5)
    deviation = finite.equivariance_deviation(f, x, transforms, batch_size=3)
    np.testing.assert_allclose(deviation.value, np.mean(e), rtol=1e-5)
    squares = finite.equivariance_deviation(f, x, transforms, discrepancy="sq")
    np.testing.assert_allclose(squares.value, np.mean(np.square(e)), rtol=1e-5)
    worst = finite.worst_case_error(f, x, transforms, batch_size=2)
    np.testing.assert_allclose(worst.value, np.max(e), rtol=1e-5)
    assert (worst.where, worst.image) == (transforms[np.argmax(e) // 5].name, np.argmax(e) % 5)


@pytest.mark.slow
def test_classifier_discrepancies_by_plain_definition():
    x, w = noise(6, 5, 5, 1), noise(25, 4, seed=1)
    f = lambda x: x.reshape(len(x), -1) @ w  # noqa: E731
    kl, changed = [], []
    for g in range(4):
        turned = np.rot90(x, g, (1, 2))
        kl.append(np.asarray(kl_divergence(f(x), f(turned))))
        changed.append(np.argmax(f(x), 1) != np.argmax(f(turned), 1))
    found = finite.equivariance_deviation(f, x, C4, discrepancy="kl", batch_size=4)
    np.testing.assert_allclose(found.numerators, kl, rtol=1e-4, atol=1e-6)
    found = finite.equivariance_deviation(f, x, C4, discrepancy="argmax")
    np.testing.assert_array_equal(found.numerators, changed)
    own = finite.equivariance_deviation(
        f, x, C4, discrepancy=lambda o: jnp.abs(o.moved - o.expected).max(axis=1)
    )
    assert own.value > 0
    with pytest.raises(ValueError, match="class scores"):
        finite.equivariance_deviation(lambda x: x, x, C4, discrepancy="kl", output="invariant")
    with pytest.raises(ValueError, match="no discrepancy"):
        finite.equivariance_deviation(f, x, C4, discrepancy="cosine")


@pytest.mark.slow
def test_haar_samples_of_an_infinite_group():
    group = groups.so(3)
    rep, x = reps.vector(group), noise(40, 3)
    with pytest.raises(ValueError, match="need key="):
        finite.equivariance_deviation(lambda x: x, x, group, input=rep)
    with pytest.raises(ValueError, match="own length"):
        finite.equivariance_deviation(lambda x: x, x, finite.group_transforms(C4), n=3)
    # E |(g x)_0 - x_0|^2 = |x|^2 / 3 + x_0^2
    found = finite.equivariance_deviation(
        lambda x: x[:, :1], x, group, discrepancy="sq", n=60, key=KEY, input=rep
    )
    exact = np.mean(np.sum(x**2, 1) / 3 + x[:, 0] ** 2)
    assert abs(found.value - exact) < 0.15 * exact
    assert found.numerators.shape == (60, 40)


@pytest.mark.slow
def test_relative_errors_do_not_see_the_scale_of_f():
    x, f = noise(4, 6, 6, 3), net(False)
    elements = finite.group_transforms(C4)
    for measure in (
        finite.relative_error,
        finite.null_normalized_error,
        finite.group_average_residual,
    ):
        one = measure(f, x, elements, output="image").value
        many = measure(lambda x: -50 * f(x), x, elements, output="image").value
        np.testing.assert_allclose(many, one, rtol=1e-5)


def test_an_unrelated_map_is_no_better_than_another_image():
    w = noise(64, 200, seed=5)
    f = lambda x: jnp.sin(20 * x.reshape(len(x), -1) @ w)  # noqa: E731
    result = finite.null_normalized_error(f, noise(60, 8, 8, 1), [finite.shift(3, 4)])
    assert abs(result.value - 1) < 4 * result.standard_error + 0.03
    assert result.standard_error < 0.02


@pytest.mark.slow
def test_the_residual_is_the_distance_to_the_nearest_equivariant_map():
    x, rng = noise(3, 5, 5, 1), np.random.default_rng(0)
    x = np.concatenate([np.rot90(x, k, (1, 2)) for k in range(4)])  # C4 keeps the distribution
    f = net(False, channels=2)
    f = lambda x, f=f: f(jnp.repeat(x, 3, -1))  # noqa: E731
    residual = finite.group_average_residual(f, x, C4, output="image", batch_size=5)

    def project(g):
        return lambda x: (
            sum(jnp.rot90(g(jnp.rot90(x, k, (1, 2))), -k, (1, 2)) for k in range(4)) / 4
        )

    def distance(h):
        return float(jax.jit(lambda x: jnp.sum((f(x) - h(x)) ** 2) / jnp.sum(f(x) ** 2))(x))

    nearest = project(f)
    np.testing.assert_allclose(residual.value, distance(nearest), rtol=1e-5)
    other = project(circular_net([rng.standard_normal((3, 3, 1, 2))], False))
    for step in (-0.1, 0.1):
        assert distance(lambda x, t=step: nearest(x) + t * other(x)) > residual.value
    assert finite.group_average_residual(nearest, x, C4, output="image").value < 1e-12
    orthogonal = lambda x: f(x) - nearest(x)  # noqa: E731
    np.testing.assert_allclose(
        finite.group_average_residual(orthogonal, x, C4, output="image").value, 1, rtol=1e-5
    )


def test_averages_refuse_what_is_no_group():
    x = noise(2, 8, 8, 1)
    with pytest.raises(ValueError, match="finite subgroup"):
        finite.group_average_residual(lambda x: x, x, groups.so(2), output="image")
    with pytest.raises(ValueError, match="interpolates"):
        finite.group_average_residual(lambda x: x, x, groups.cyclic(8), output="image")


@pytest.mark.slow
def test_psnr_by_plain_definition():
    x = np.tanh(noise(3, 16, 16, 1))
    f = lambda x: jnp.clip(x + 0.01 * jnp.arange(16)[:, None], -1, 1)  # noqa: E731
    result = finite.eq_t(f, x, key=KEY, n=5, boundary="zero", output="image", batch_size=2)
    total, count = 0.0, 0.0
    for transform in (finite.shift(*eval(name[6:]), "zero") for name in result.transforms):
        dy, dx = int(transform.dy), int(transform.dx)
        assert max(abs(dy), abs(dx)) <= 2
        rows = slice(max(dy, 0), 16 + min(dy, 0)), slice(max(dx, 0), 16 + min(dx, 0))
        back = slice(max(-dy, 0), 16 + min(-dy, 0)), slice(max(-dx, 0), 16 + min(-dx, 0))
        for image in x.astype(np.float64):
            moved = np.zeros_like(image)
            moved[rows] = image[back]
            difference = np.asarray(f(moved))[rows] - np.asarray(f(image))[back]
            total, count = total + np.sum(difference**2), count + difference.size
    np.testing.assert_allclose(result.value, 20 * np.log10(2) - 10 * np.log10(total / count), 1e-5)


@pytest.mark.slow
def test_decibels_of_equivariant_and_aliasing_maps():
    x = np.tanh(noise(3, 32, 32, 3))
    f = net(False, channels=1)
    exact = finite.eq_t(f, x, key=KEY, n=4, output="image")
    assert exact.value > 120
    shrunk = lambda x: f(x)[:, ::2, ::2]  # noqa: E731
    assert finite.eq_t(shrunk, x, key=KEY, n=4, multiple=2, output="image").value > 120
    linear = lambda x: 0.1 * x  # noqa: E731
    assert finite.eq_t(linear, x, key=KEY, n=4, output="image").value == np.inf
    assert finite.eq_t_frac(linear, x, key=KEY, n=4, output="image").value > 120
    assert finite.eq_t_frac(shrunk, x, key=KEY, n=4, output="image").value < 40
    mean = lambda x: x.mean(axis=(1, 2))  # noqa: E731
    assert finite.eq_t(mean, x, key=KEY, n=4).value > 120
    for wrong in ({"n": 0}, {"limit": 0.0}):
        with pytest.raises(ValueError, match="positive limit"):
            finite.eq_t(f, x, key=KEY, **wrong)
    with pytest.raises(ValueError, match="span"):
        finite.eq_t(f, x, key=KEY, span=0)


@pytest.mark.slow
def test_eq_r_tells_an_isotropic_filter_from_an_oriented_one():
    n = 32
    x = np.tanh(noise(2, n, n, 1))

    def blur(x):
        x = (jnp.roll(x, 1, 1) + 2 * x + jnp.roll(x, -1, 1)) / 4
        return (jnp.roll(x, 1, 2) + 2 * x + jnp.roll(x, -1, 2)) / 4

    slope = lambda x: (blur(x) - jnp.roll(blur(x), 2, 2)) / 2  # noqa: E731
    results = {
        name: finite.eq_r(f, x, key=KEY, n=4, output="image").value
        for name, f in (("identity", lambda x: x), ("blur", blur), ("slope", slope))
    }
    assert results["blur"] > results["slope"] + 15
    assert results["identity"] > 30  # white noise has all it can have at the edge of the band
    smooth = np.asarray(blur(blur(blur(x))))
    assert finite.eq_r(lambda x: x, smooth, key=KEY, n=4, output="image").value > 60
    with pytest.raises(ValueError, match="nothing .* inside its mask"):
        finite.eq_r(lambda x: x, x[:, :8, :8], key=KEY, output="image")


@pytest.mark.slow
def test_kl_consistency_and_its_floor():
    x, w = noise(4, 9, 9, 1), noise(81, 5, seed=1) / 3
    f = lambda x: x.reshape(len(x), -1) @ w  # noqa: E731
    transforms = [finite.rotation(0.3), finite.shift(1, 2)]
    result = finite.kl_consistency(f, x, transforms, batch_size=3)
    for row, transform in enumerate(transforms):
        turned = transform(x, Image(), (9, 9))
        back = transform.inverse(turned, Image(), (9, 9))
        np.testing.assert_allclose(
            result.kl.numerators[row], kl_divergence(f(x), f(turned)), rtol=1e-3, atol=1e-6
        )
        np.testing.assert_allclose(
            result.floor.numerators[row], kl_divergence(f(x), f(back)), rtol=1e-3, atol=1e-6
        )
    assert np.all(np.abs(result.floor.numerators[1]) < 1e-6)
    assert np.all(result.floor.numerators[0] > 1e-3)
    assert len(repr(result).splitlines()) == 3  # with the share of unchanged classes
    with pytest.raises(ValueError, match="no layout: pass output"):
        finite.kl_consistency(lambda x: x, x, transforms)


@pytest.mark.slow
def test_groups_keys_and_undeclared_maps():
    x, w = noise(4, 8, 8, 1), noise(64, 3, seed=1)
    f = lambda x: x.reshape(len(x), -1) @ w  # noqa: E731
    whole = finite.relative_error(f, x, C4)
    assert whole.value == finite.relative_error(f, x, finite.group_transforms(C4)).value
    seeds = [finite.eq_t(f, x, key=key).value for key in (None, 0, jax.random.key(0), 1)]
    assert seeds[0] == seeds[1] == seeds[2] != seeds[3]
    same = finite.consistency(f, x)
    assert same.crop.value == finite.consistency(f, x, max_shift=1, key=0).crop.value
    with pytest.raises(ValueError, match="no layout: pass output='image'"):
        finite.relative_error(lambda x: x, x, [finite.shift(0, 1)])
    with pytest.raises(TypeError, match="one array .*got tuple"):
        finite.relative_error(lambda x: (f(x), f(x)), x, [finite.shift(0, 1)])


def test_what_a_function_closes_over_may_change():
    x, state = noise(3, 6, 6, 1), {"scale": 1.0}
    f = lambda x: jnp.abs(x[:, 2, 3]) ** state["scale"]  # noqa: E731
    moves = [finite.shift(0, 1)]
    before = finite.relative_error(f, x, moves).value
    state["scale"] = 2.0
    fresh = finite.relative_error(lambda x: jnp.abs(x[:, 2, 3]) ** 2.0, x, moves).value
    assert finite.relative_error(f, x, moves).value == pytest.approx(fresh)
    assert abs(before - fresh) > 1e-3
