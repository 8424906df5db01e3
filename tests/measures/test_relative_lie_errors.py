"""Lie derivatives relative to their controls, on functions whose ratio is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.fft
from hypothesis import given
from hypothesis import strategies as st

import softeq_jax as sq
from softeq_jax.measures import low_pass, mean_and_error, relative_lie_errors
from tests.examples import examples

FLOWS = ["translation_x", "translation_y"]
PERIODIC = {"stencil": "spectral"}


def _noise(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def _inner(w, x):
    return jnp.einsum("nhwc,khwc->nk", x, w, precision="highest")


def _scores(w):
    """Linear functions; those of one shape share what is compiled."""
    return jax.tree_util.Partial(_inner, w)


@pytest.mark.slow(3)
def test_the_control_of_a_linear_function_is_the_product_of_spectra():
    x, w = _noise(50, 6, 6, 1), _noise(4, 6, 6, 1, seed=1)
    found = relative_lie_errors(_scores(w), x, FLOWS, draws=40, batch_size=32, **PERIODIC)
    frequency = 2j * np.pi * np.fft.fftfreq(6) * (np.fft.fftfreq(6) != -0.5)  # no Nyquist
    spectra = [np.abs(np.fft.fft2(v[..., 0])) ** 2 for v in (x, w)]
    for name, slope in zip(FLOWS, (frequency[None, :], frequency[:, None]), strict=True):
        moved = np.abs(slope) ** 2 * spectra[0]
        expected = np.einsum("nhw,khw->n", moved, spectra[1]) / 36**2 / 4
        control = found[name].control
        np.testing.assert_allclose(control.value, expected.mean(), rtol=0.05)
        mean, error = mean_and_error(control.per_image - expected)
        assert abs(mean) < 4 * error
        lie = sq.measures.lie_errors(_scores(w), x, [name], **PERIODIC)[name].mean_sq
        np.testing.assert_allclose(found[name].lie.per_image, lie, rtol=1e-5)
        assert found[name].ratio.value == pytest.approx(lie.mean() / control.value, rel=1e-5)
        assert found[name].ratio.standard_error > 0
    again = relative_lie_errors(_scores(w), x, FLOWS, draws=40, **PERIODIC)
    assert again[FLOWS[0]].ratio.value == pytest.approx(found[FLOWS[0]].ratio.value, rel=1e-5)
    assert "+-" in repr(again[FLOWS[0]])


def test_scale_and_bandwidth_cancel():
    """Linear functions that do not care about motion: LEE spans orders, the ratio does not."""
    x, w = _noise(60, 8, 8, 1), _noise(30, 8, 8, 1, seed=1)
    smooth = np.asarray(low_pass(w, 0.3))
    found = [
        relative_lie_errors(_scores(v), x, ["translation_x"], **PERIODIC)["translation_x"]
        for v in (w, 100 * w, smooth)
    ]
    assert found[1].lie.value > 9000 * found[0].lie.value
    assert found[2].lie.value < found[0].lie.value / 25
    assert found[1].ratio.value == pytest.approx(found[0].ratio.value, rel=1e-4)
    for each in found:
        assert each.ratio.value == pytest.approx(1, abs=0.15)


def test_it_is_0_for_equivariant_functions_and_their_maps():
    x, k = _noise(6, 8, 8, 2), np.fft.fft2(_noise(8, 8, 2, seed=1), axes=(0, 1))

    def convolved(x):
        return jnp.fft.ifft2(jnp.fft.fft2(x, axes=(1, 2)) * k, axes=(1, 2)).real

    signs = np.sign(_noise(8, 8, 2, seed=3))
    for f, ratio in ((convolved, 0), (lambda x: x * signs, None)):
        found = relative_lie_errors(f, x, FLOWS, output="image", **PERIODIC)
        for name in FLOWS:
            if ratio == 0:
                assert found[name].ratio.value < 1e-10
            else:
                assert 0.7 < found[name].ratio.value < 1.3
            assert found[name].control.value > 0.1
    still = relative_lie_errors(lambda x: (x**2).mean(axis=(1, 2)), x, FLOWS, **PERIODIC)
    assert max(each.ratio.value for each in still.values()) < 1e-9


def test_an_aliased_layer_has_the_error_of_what_it_folds():
    """``L(A) h [k] = sum_(q = k mod M) 2 pi i (q - k) h_q`` for every second sample (measures.md
    A.9); nothing, and so a ratio of 0, where nothing is folded."""
    x = np.asarray(low_pass(_noise(4, 4, 18, 1), 0.95))
    settings = {"output": "image", **PERIODIC}
    rough = relative_lie_errors(lambda x: x[:, :, ::2], x, FLOWS[:1], **settings)[FLOWS[0]]
    waves = np.fft.fft(x[..., 0], axis=2) / 18
    q = np.round(np.fft.fftfreq(18) * 18)
    k = (q + 4) % 9 - 4
    folded = 2j * np.pi / 18 * (q - k) * waves
    lie = np.stack([folded[..., k == one].sum(axis=-1) for one in range(-4, 5)], axis=-1)
    expected = (np.abs(lie) ** 2).sum(axis=-1).mean(axis=1)
    np.testing.assert_allclose(rough.lie.per_image, expected, rtol=1e-4)
    assert 0.5 < rough.ratio.value < 2  # above 1: what is folded moves the wrong way
    smooth = low_pass(x, 0.45)
    fine = relative_lie_errors(lambda x: x[:, :, ::2], smooth, FLOWS[:1], **settings)[FLOWS[0]]
    assert fine.ratio.value < 1e-9


def test_tokens_are_the_image_they_unroll():
    x, w = _noise(3, 4, 4, 2), _noise(5, 4, 4, 2, seed=1)
    tokens = jnp.concatenate([7 * jnp.ones((3, 1, 2)), x.reshape(3, 16, 2)], axis=1)
    f = _scores(w)
    layout = sq.measures.Tokens(prefix=1, pitch=1.0)
    unrolled = relative_lie_errors(
        lambda t: f(t[:, 1:].reshape(-1, 4, 4, 2)) + t[:, 0].sum(), tokens, FLOWS, input=layout
    )
    image = relative_lie_errors(f, x, FLOWS)
    for name in FLOWS:
        for part in ("lie", "control"):
            ours, theirs = (getattr(each[name], part).value for each in (unrolled, image))
            assert ours == pytest.approx(theirs, rel=1e-4)
    smooth = low_pass(tokens, 0.5, layout)
    np.testing.assert_array_equal(smooth[:, 0], tokens[:, 0])
    np.testing.assert_allclose(smooth[:, 1:].reshape(x.shape), low_pass(x, 0.5), atol=1e-6)


@pytest.mark.slow(3)
def test_other_networks_and_low_passed_images():
    x, f = _noise(5, 8, 8, 1), _scores(_noise(3, 8, 8, 1, seed=1))
    twice = relative_lie_errors(f, x, FLOWS, control=_scores(2 * f.args[0]))
    for each in twice.values():
        assert each.ratio.value == pytest.approx(0.25, rel=1e-5)
        assert each.ratio.standard_error < 1e-6
    smooth = low_pass(x, 0.5)
    same = relative_lie_errors(f, smooth, FLOWS, control=0.5, **PERIODIC)
    rough = relative_lie_errors(f, x, FLOWS, control=0.5, **PERIODIC)
    for name in FLOWS:
        assert same[name].ratio.value == pytest.approx(1, rel=1e-4)
        assert rough[name].ratio.value > 2
        assert rough[name].control.value == pytest.approx(same[name].lie.value, rel=1e-4)
    mirrored = relative_lie_errors(f, x, FLOWS, control=0.5)["translation_x"].control.value
    direct = sq.measures.lie_errors(f, low_pass(x, 0.5, boundary="symmetric"), FLOWS)
    assert mirrored == pytest.approx(direct["translation_x"].mean_sq.mean(), rel=1e-5)


@given(
    sides=st.tuples(st.integers(2, 9), st.integers(2, 9)),
    share=st.sampled_from([0.25, 0.5, 0.7, 1.0]),
    boundary=st.sampled_from(["circular", "symmetric"]),
)
@examples(fast=6, sweep=200)
@pytest.mark.slow(3)
def test_low_passed_images_have_the_waves_below_and_no_others(sides, share, boundary):
    x = _noise(2, *sides, 3, seed=sum(sides))
    found = np.asarray(low_pass(x, share, boundary=boundary))
    if boundary == "circular":
        spectrum, kept = (np.fft.fft2(v, axes=(1, 2)) for v in (x, found))
        y, x_axis = (np.fft.fftfreq(n) for n in sides)
    else:
        spectrum, kept = (scipy.fft.dctn(v, axes=(1, 2), norm="ortho") for v in (x, found))
        y, x_axis = (np.arange(n) / (2 * n) for n in sides)
    below = (np.hypot(y[:, None], x_axis) <= share / 2 + 1e-9)[None, :, :, None]
    np.testing.assert_allclose(kept, np.where(below, spectrum, 0), atol=1e-4)
    other = low_pass(np.moveaxis(x, 3, 1), share, sq.measures.Image((2, 3), 1), boundary)
    np.testing.assert_allclose(np.moveaxis(np.asarray(other), 1, 3), found, atol=1e-5)


def test_errors():
    x = _noise(2, 4, 4, 1)
    f = _scores(_noise(2, 4, 4, 1))
    for options, error, message in (
        ({"control": "untrained"}, ValueError, "no control"),
        ({"control": 1.5}, ValueError, "share"),
        ({"control": [f]}, TypeError, "control"),
        ({"control": True}, TypeError, "control"),
        ({"draws": 0}, ValueError, "draws"),
        ({"jit": True}, TypeError, "jit"),
    ):
        with pytest.raises(error, match=message):
            relative_lie_errors(f, x, FLOWS, **options)
    with pytest.raises(ValueError, match="NaN"):
        relative_lie_errors(lambda x: jnp.sqrt(x * 0).sum(axis=(1, 2)), x, FLOWS)
    V = sq.reps.vector(sq.groups.so(2))
    with pytest.raises(ValueError, match="on a grid"):
        relative_lie_errors(lambda v: v, _noise(2, 2), input=V, output=V)
    for bad, error, message in (
        ((x, 0), ValueError, "share"),
        ((x, 0.5, "invariant"), ValueError, "grid"),
        ((x, 0.5, "image", "reflect"), ValueError, "boundary"),
        ((x.astype(int), 0.5), TypeError, "floating"),
    ):
        with pytest.raises(error, match=message):
            low_pass(*bad)
    assert low_pass(jnp.asarray(x, jnp.bfloat16), 0.5).dtype == jnp.bfloat16


def test_seeds_draw_other_fields():
    x, f = _noise(3, 6, 6, 1), _scores(_noise(2, 6, 6, 1, seed=1))
    values = [
        relative_lie_errors(f, x, FLOWS, key=key)["translation_x"].control.value
        for key in (None, 0, jax.random.key(0), 1)
    ]
    assert values[0] == values[1] == values[2] != values[3]
