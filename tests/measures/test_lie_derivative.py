"""The Lie derivative: what it must vanish on, the aliasing identity, finite steps, bad input."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

from softeq_jax import groups, measures, reps

SIDE = 32


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


def band_limited(n, limit, seed=0, channels=1):
    """Periodic images with frequencies below ``limit`` of both axes."""
    rng = np.random.default_rng(seed)
    spectrum = np.fft.fft2(rng.standard_normal((n, SIDE, SIDE, channels)), axes=(1, 2))
    keep = np.abs(np.fft.fftfreq(SIDE) * SIDE) < limit
    spectrum *= keep[:, None, None] & keep[None, :, None]
    return jnp.asarray(np.fft.ifft2(spectrum, axes=(1, 2)).real)


def circular_convolution(x, kernel):
    x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="wrap")
    return jax.lax.conv_general_dilated(
        x, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def share(f, x, generator, stencil, **settings):
    """``||L f||^2 / ||J D x||^2``, over all images."""
    errors = measures.lie_errors(
        f, x, [generator], stencil=stencil, output=settings.pop("output", "image"), **settings
    )
    (error,) = errors.values()
    return error.mean_sq.sum() / error.response_sq.sum()


def pool(x):
    return x.reshape(len(x), SIDE // 2, 2, SIDE // 2, 2, x.shape[-1]).mean((2, 4))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["central", "lanczos", "forward", "spectral"])
@pytest.mark.parametrize("generator", ["translation_x", "translation_y"])
def test_a_linear_layer_on_the_torus_is_equivariant(name, generator):
    kernel = np.random.default_rng(0).standard_normal((3, 3, 2, 4))
    x = np.random.default_rng(1).standard_normal((2, SIDE, SIDE, 2))
    stencil = measures.Stencil(name, "wrap")
    assert share(lambda x: circular_convolution(x, kernel), x, generator, stencil) < 1e-28


@pytest.mark.slow
@pytest.mark.parametrize(
    ("f", "alias_free"),
    [(lambda x: x**2, True), (pool, True), (jnp.tanh, False), (jax.nn.relu, False)],
    ids=["square", "average pool", "tanh", "relu"],
)
def test_only_the_spectral_stencil_tells_interpolation_from_aliasing(f, alias_free):
    """Frequencies below a quarter of the samples: squares and 2x2 means stay below Nyquist."""
    x = band_limited(4, SIDE // 4)
    found = {name: share(f, x, "translation_x", name) for name in ("forward", "spectral")}
    central = share(f, x, "translation_x", measures.Stencil("central", "wrap"))
    if alias_free:
        assert found["spectral"] < 1e-26
        assert min(found["forward"], central) > 1e-3
    else:
        assert 1e-3 < found["spectral"] < central < found["forward"]


@examples(fast=12)
@given(seed=st.integers(0, 99), factor=st.sampled_from([2, 4]))
def test_the_aliasing_identity(seed, factor):
    """Subsampling: ``L h [k] = sum over q = k mod M of 2 pi i (q - k) h_q``, per period."""
    n, m = SIDE, SIDE // factor
    x = np.random.default_rng(seed).standard_normal((1, 1, n, 1))
    x -= (np.fft.fft(x, axis=2)[:, :, n // 2] / n).real[:, :, None] * (-1.0) ** np.arange(n)[
        :, None
    ]
    layout = measures.Image(origin=(0.0, -(n - 1) / 2), pitch=(1.0, float(factor)))
    lie = measures.lie_derivative(
        lambda x: x[:, :, ::factor], x, "translation_x", stencil="spectral", output=layout
    )
    got = np.fft.fft(np.asarray(lie)[0, 0, :, 0]) / m * n  # per period instead of per pixel
    h, wanted = np.fft.fft(x[0, 0, :, 0]) / n, np.zeros(m, complex)
    for q in range(-n // 2 + 1, n // 2):
        k = (q + m // 2) % m - m // 2
        folded = q if k == -m // 2 else q - k  # the Nyquist bin has no slope of its own
        wanted[q % m] += 2j * np.pi * folded * h[q]
    np.testing.assert_allclose(got, wanted, atol=1e-10)


@pytest.mark.parametrize("name", ["central", "spectral", "forward"])
def test_a_homogeneous_network_commutes_with_contrast(name):
    """A ReLU network without biases is of degree one, so that ``J_f x = f``."""
    rng = np.random.default_rng(0)
    kernels = [rng.standard_normal((3, 3, 2, 4)), rng.standard_normal((3, 3, 4, 3))]

    def f(x):
        return circular_convolution(jax.nn.relu(circular_convolution(x, kernels[0])), kernels[1])

    x = rng.standard_normal((2, 8, 8, 2))
    assert share(f, x, "contrast", name) < 1e-28


@pytest.mark.slow
def test_radial_images_do_not_rotate():
    y, x = np.meshgrid(*2 * [np.arange(SIDE) - (SIDE - 1) / 2], indexing="ij")
    image = np.exp(-(x**2 + y**2) / 16)[None, ..., None]
    slope, turned = measures.lie_derivative(
        lambda x: x, image, ["scale", "rotation"], stencil="spectral", output="invariant"
    ).values()
    assert np.abs(turned).max() < 1e-5 * np.abs(slope).max()
    coarse = measures.lie_derivative(lambda x: x, image, "rotation", output="invariant")
    assert 1e-3 < np.abs(coarse).max() / np.abs(slope).max() < 0.1


@pytest.mark.slow
def test_small_finite_shifts_approach_it():
    """``||f(T_t x) - f(x)|| / t -> ||L f||`` for exact (trigonometric) shifts of smooth images."""
    x = band_limited(2, 6)
    rng = np.random.default_rng(3)
    kernel, head = rng.standard_normal((3, 3, 1, 4)), rng.standard_normal((4, 5))

    def f(x):
        return jnp.tanh(circular_convolution(x, kernel)).mean((1, 2)) ** 3 @ head + x[:, 3, 5]

    def shifted(t):
        wave = np.exp(2j * np.pi * np.fft.fftfreq(SIDE) * t)[:, None]
        return jnp.asarray(np.fft.ifft(np.fft.fft(x, axis=2) * wave, axis=2).real)

    lie = measures.lie_derivative(f, x, "translation_x", stencil="spectral")
    for t in (1e-2, 1e-4):
        finite = (f(shifted(t)) - f(x)) / t
        assert np.linalg.norm(finite - lie) < 5 * t * np.linalg.norm(lie)


@pytest.mark.slow
@examples(fast=6)
@given(a=st.floats(-2, 2), b=st.floats(-2, 2))
def test_it_is_linear_in_the_generator(a, b):
    x = band_limited(1, 9, seed=4)

    def f(x):
        return jnp.tanh(x).sum((1, 2)) * x[:, 2, 3]

    parts = measures.lie_derivative(f, x, ["translation_x", "shear_y"])
    both = measures.Flow("both", ((0.0, 0.0), (b, 0.0)), (a, 0.0))
    wanted = a * parts["translation_x"] + b * parts["shear_y"]
    np.testing.assert_allclose(measures.lie_derivative(f, x, both), wanted, atol=1e-12)


@pytest.mark.slow
def test_the_chain_rule_needs_one_operator_at_the_interface():
    """``L(g f) = J_g(f x) L f(x) + L g(f x)``, whatever the stencil."""
    x = np.random.default_rng(5).standard_normal((2, 8, 8, 2))

    def g(y):
        return jnp.sin(y).sum((1, 2))

    for stencil in ("central", "forward", "lanczos", "spectral"):
        how = {"stencil": stencil}
        whole = measures.lie_derivative(lambda x: g(jnp.tanh(x)), x, "rotation", **how)
        inner = measures.lie_derivative(jnp.tanh, x, "rotation", output="image", **how)
        outer = measures.lie_derivative(g, np.tanh(x), "rotation", **how)
        through = jax.jvp(g, (jnp.tanh(x),), (inner,))[1]
        np.testing.assert_allclose(whole, through + outer, atol=1e-12)


@pytest.mark.slow
def test_a_group_acts_by_its_representations():
    group = groups.so(3)
    v = reps.vector(group)
    x = np.random.default_rng(6).standard_normal((7, 6))

    def cross(x):
        return jnp.cross(x[:, :3], x[:, 3:]) * jnp.sum(x[:, :3] * x[:, 3:], -1, keepdims=True)

    def broken(x):
        return cross(x) * jnp.array([1.0, 1.0, 1.1])

    exact = measures.local_equivariance_error(cross, x, input=2 * v, output=v)
    assert list(exact) == ["SO(3)[0]", "SO(3)[1]", "SO(3)[2]"]
    assert max(value.max() for value in exact.values()) < 1e-28
    wrong = measures.local_equivariance_error(broken, x, input=2 * v, output=v)
    # Scaling one axis still commutes with the rotations about it.
    assert [value.mean() > 1e-4 for value in wrong.values()] == [False, True, True]
    one = measures.lie_derivative(broken, x, 1, input=2 * v, output=v)
    np.testing.assert_allclose((np.asarray(one) ** 2).mean(1), wrong["SO(3)[1]"])


@pytest.mark.slow
def test_the_exact_grid_action_agrees_with_the_flow_on_smooth_images():
    image = reps.image(groups.so(2), (SIDE, SIDE))
    y, x = np.meshgrid(*2 * [np.arange(SIDE) - (SIDE - 1) / 2], indexing="ij")
    a = np.exp(-((x - 2) ** 2 + (y + 3) ** 2) / 18)[None, ..., None]

    def f(x):
        return jnp.tanh(x).cumsum(1)[:, ::4, ::4].reshape(1, -1)

    exact = measures.lie_derivative(f, a, 0, input=image)
    flow = measures.lie_derivative(f, a, "rotation", stencil="spectral")
    assert np.linalg.norm(exact + flow) < 0.03 * np.linalg.norm(flow)


def test_the_border_is_set_apart():
    kernel = np.random.default_rng(7).standard_normal((3, 3, 1, 2))

    def f(x):
        return jax.lax.conv_general_dilated(
            x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    x = np.random.default_rng(8).standard_normal((2, 12, 12, 1))
    how = {"output": "image", "stencil": measures.Stencil("central", "wrap")}
    whole = measures.lie_errors(f, x, ["translation_x"], **how)["translation_x"]
    parts = measures.lie_errors(f, x, ["translation_x"], border=2, **how)["translation_x"]
    assert parts.mean_sq.max() < 1e-28
    assert parts.entries == 8 * 8 * 2
    share = 8 * 8 / 12**2
    both = share * parts.mean_sq + (1 - share) * parts.border_mean_sq
    np.testing.assert_allclose(both, whole.mean_sq)


@pytest.mark.slow
def test_batches_and_pytree_callables_change_nothing():
    x = np.random.default_rng(9).standard_normal((5, 8, 8, 3))
    weights = np.random.default_rng(10).standard_normal((3, 4))

    def apply(w, x):
        return jnp.tanh(x).mean((1, 2)) @ w

    how = {"head": "probabilities"}
    wanted = measures.lie_errors(lambda x: apply(weights, x), x, **how)
    got = measures.lie_errors(jax.tree_util.Partial(apply, weights), x, batch_size=2, **how)
    assert len(wanted) == 13
    for name, errors in wanted.items():
        for field in ("mean_sq", "mean_abs", "response_sq", "input_sq", "null_sq", "fisher"):
            np.testing.assert_allclose(getattr(got[name], field), getattr(errors, field))


def test_it_can_be_traced():
    x = jnp.asarray(np.random.default_rng(12).standard_normal((2, 8, 8, 1)))

    def loss(w):
        return (measures.lie_derivative(lambda x: x[:, 2, 3] * w, x, "rotation") ** 2).sum()

    slope = jax.jit(jax.grad(loss))(2.0)
    assert slope == pytest.approx(float(loss(2.0)))  # d w^2 / dw at 2, over w^2


@pytest.mark.slow
def test_heads_and_metrics():
    x = np.random.default_rng(13).standard_normal((3, 8, 8, 3))
    w = np.random.default_rng(14).standard_normal((3, 4))

    def f(x):
        return jnp.tanh(x).mean((1, 2)) @ w

    p = jax.nn.softmax(f(x))
    lie = {
        head: measures.lie_derivative(f, x, "rotation", head=head)
        for head in ("logits", "probabilities", "log_probabilities")
    }
    np.testing.assert_allclose(lie["probabilities"], p * lie["log_probabilities"], atol=1e-14)
    wanted = (lie["probabilities"] ** 2 / p).sum(1)
    for head, values in lie.items():
        errors = measures.lie_errors(f, x, ["rotation"], head=head)["rotation"]
        np.testing.assert_allclose(errors.fisher, wanted)
        np.testing.assert_allclose(errors.mean_sq, (values**2).mean(1))
        np.testing.assert_allclose(errors.mean_abs, abs(values).mean(1))
        np.testing.assert_allclose(errors.relative, 1)  # an invariant output explains nothing
        moved = measures.lie_derivative(lambda x: x, x, "rotation", output="invariant")
        norm = np.sqrt((moved**2).sum((1, 2, 3)))
        np.testing.assert_allclose(errors.lipschitz, np.sqrt((values**2).sum(1)) / norm)
    assert measures.local_equivariance_error(f, x, ["scale"], metric="fisher")["scale"].shape == (
        3,
    )


def test_another_image_is_no_better():
    x = np.random.default_rng(15).standard_normal((64, 16, 16, 1))
    how = {"output": "image", "metric": "null_normalized"}

    def permuted(x):
        return x.reshape(len(x), -1)[:, np.random.default_rng(0).permutation(256)].reshape(x.shape)

    for f, low, high in ((jnp.tanh, 0.01, 0.5), (permuted, 0.9, 1.1)):
        value = measures.local_equivariance_error(f, x, ["rotation"], **how)["rotation"]
        assert low < value.mean() < high
    with pytest.raises(ValueError, match="at least two images"):
        measures.local_equivariance_error(jnp.tanh, x[:1], ["rotation"], **how)


GOOD = np.ones((2, 8, 8, 3))


def pooled(x):
    return x.mean((1, 2))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "message", "call"),
    [
        (
            TypeError,
            "must be floating point to be differentiated, got uint8",
            lambda: measures.lie_derivative(pooled, np.ones((2, 8, 8, 3), np.uint8), "rotation"),
        ),
        (TypeError, "must be an array", lambda: measures.lie_derivative(pooled, [[1.0]], "scale")),
        (TypeError, "function of the images", lambda: measures.lie_derivative(3, GOOD, "scale")),
        (
            ValueError,
            "images hold NaN",
            lambda: measures.lie_derivative(pooled, GOOD * np.nan, "rotation"),
        ),
        (
            ValueError,
            "output has 6 NaN",
            lambda: measures.lie_derivative(lambda x: jnp.log(-pooled(x)), GOOD, "rotation"),
        ),
        (
            ValueError,
            "finite but not its derivative",
            lambda: measures.lie_derivative(lambda x: jnp.sqrt(pooled(x - x)), GOOD, "rotation"),
        ),
        (
            ValueError,
            "output has 1 NaN.*example 1",
            lambda: measures.lie_errors(
                lambda x: jnp.where(jnp.arange(2) == 1, jnp.nan, pooled(x)[:, 0]), GOOD
            ),
        ),
        (
            ValueError,
            "rotation needs a square grid, got 8x6",
            lambda: measures.lie_derivative(pooled, GOOD[:, :, :6], "rotation"),
        ),
        (
            ValueError,
            "as an image it needs axes",
            lambda: measures.lie_derivative(pooled, GOOD, "rotation", output="image"),
        ),
        (
            ValueError,
            "one array .n, ....",
            lambda: measures.lie_derivative(lambda x: x.mean(), GOOD, "rotation"),
        ),
        (
            TypeError,
            "one array .n, ....*got tuple: choose one",
            lambda: measures.lie_derivative(lambda x: (x, x), GOOD, "rotation"),
        ),
        (
            ValueError,
            "no layout: pass output='image'",
            lambda: measures.lie_derivative(jnp.tanh, GOOD, "rotation"),
        ),
        (TypeError, "name a generator", lambda: measures.lie_derivative(pooled, GOOD, None)),
        (
            ValueError,
            "int32, which has no derivative",
            lambda: measures.lie_derivative(
                lambda x: jnp.argmax(pooled(x), -1).astype("int32"), GOOD, "scale"
            ),
        ),
        (
            ValueError,
            "each once",
            lambda: measures.lie_errors(pooled, GOOD, ["scale", "scale"]),
        ),
        (ValueError, "each once", lambda: measures.lie_errors(pooled, GOOD, [])),
        (
            ValueError,
            "leaves no interior",
            lambda: measures.lie_errors(lambda x: x, GOOD, ["scale"], output="image", border=4),
        ),
        (
            ValueError,
            "needs an image as output",
            lambda: measures.lie_errors(pooled, GOOD, ["scale"], border=1),
        ),
        (
            ValueError,
            "no metric is called 'max'",
            lambda: measures.local_equivariance_error(pooled, GOOD, metric="max"),
        ),
        (
            ValueError,
            "fisher needs class scores",
            lambda: measures.local_equivariance_error(
                jnp.tanh, GOOD, ["scale"], metric="fisher", output="image"
            ),
        ),
        (
            ValueError,
            "no head is called 'softmax'",
            lambda: measures.lie_derivative(pooled, GOOD, "scale", head="softmax"),
        ),
        (
            ValueError,
            "batch_size must be a positive integer",
            lambda: measures.lie_errors(pooled, GOOD, batch_size=0),
        ),
        (
            ValueError,
            "nothing acts on an invariant input",
            lambda: measures.lie_errors(pooled, GOOD, input="invariant"),
        ),
    ],
)
def test_bad_input(kind, message, call):
    with pytest.raises(kind, match=message):
        call()


@pytest.mark.slow
def test_defaults_leave_out_what_does_not_act():
    rectangle = np.random.default_rng(0).standard_normal((2, 8, 6, 1))
    found = measures.local_equivariance_error(pooled, rectangle)
    assert "rotation" not in found
    assert "hue" not in found
    assert {"translation_x", "stretch_y", "brightness", "contrast"} <= set(found)
    wide = measures.Image(rectangular=True)
    assert "rotation" in measures.local_equivariance_error(pooled, rectangle, input=wide)


def test_one_generator_needs_no_list():
    alone = measures.local_equivariance_error(pooled, GOOD, "scale")
    assert list(alone) == ["scale"]


@pytest.mark.slow
def test_what_a_function_closes_over_may_change():
    """A plain function is traced at every call; it may not be what it was."""
    x = np.random.default_rng(16).standard_normal((2, 8, 8, 1))
    state = {"scale": 1.0}

    def f(x):
        return x[:, 2, 3] * state["scale"]

    def head(y):
        return y * state["scale"]

    def total(**settings):
        found = measures.lie_errors(f, x, ["rotation"], **settings)["rotation"]
        return np.array([np.abs(measures.lie_derivative(f, x, "rotation")).max(), *found.mean_sq])

    before, headed = total(), total(head=head)
    state["scale"] = 3.0
    np.testing.assert_allclose(total() / before, [3, 9, 9])
    np.testing.assert_allclose((total(head=head) / headed)[1:], [81, 81])


@pytest.mark.slow
def test_nothing_of_a_plain_function_is_kept():
    import gc
    import weakref

    x = np.ones((1, 4, 4, 1))
    kept = []
    for _ in range(3):
        weights = jnp.ones(16)
        kept.append(weakref.ref(weights))
        measures.lie_derivative(lambda x, w=weights: x.reshape(1, 16) * w, x, "scale")
        del weights
    gc.collect()
    assert sum(ref() is not None for ref in kept) == 0


def test_static_leaves_are_told_apart():
    x = np.ones((1, 4, 4, 1)) * np.arange(4.0)[:, None]

    def apply(options, x):
        return x.mean((1, 2)) * (2.0 if options["s"] is True else 1.0)

    one, true = (
        measures.lie_derivative(jax.tree_util.Partial(apply, {"s": s}), x, "scale")
        for s in (1, True)
    )
    np.testing.assert_allclose(true, 2 * one)


def test_rules_for_reverse_mode_only_are_explained():
    @jax.custom_vjp
    def square(x):
        return x**2

    square.defvjp(lambda x: (x**2, x), lambda x, g: (2 * x * g,))
    with pytest.raises(TypeError, match=r"give it a jax.custom_jvp"):
        measures.lie_derivative(lambda x: square(pooled(x)), GOOD, "scale")
