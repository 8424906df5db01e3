"""The projection that keeps norms: slices as large as before, in the same levels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import softeq_jax as sq
from softeq_jax.projections import keep_norm

SO2, C4 = sq.groups.so(2), sq.groups.cyclic(4)
WINDOW = sq.projector("h w i o", {"h w": sq.reps.image(C4, (3, 3))}, cutoff=0.0)
SOFT = sq.projector("h w i o", {"h w": sq.reps.image(SO2, (5, 5))}, softness=0.4, mask="heat")
V = sq.reps.vector(sq.groups.so(3))
DENSE = sq.projector("i o", {"i": V.dual, "o": V}, cutoff=0.0)


def drawn(projector, seed=0):
    sides = [n for entry in projector.space.entries for n in entry.rep.shape]
    shape = sides if projector is DENSE else (*sides, 3, 4)
    return np.random.default_rng(seed).standard_normal(shape)


@pytest.mark.parametrize("projector", [WINDOW, SOFT, DENSE], ids=["C4", "SO(2)", "SO(3)"])
def test_every_slice_has_the_norm_it_had(projector):
    w, axes = drawn(projector), projector.space.positions
    v = keep_norm(projector, w)
    assert v.shape == w.shape
    assert v.dtype == w.dtype
    norms = [np.sqrt(np.sum(x**2, axis=axes)) for x in (v, w)]
    np.testing.assert_allclose(norms[0], norms[1], rtol=1e-12)
    kept = projector(w)
    ratio = np.sqrt(np.sum(w**2, axis=axes) / np.sum(kept**2, axis=axes))
    np.testing.assert_allclose(v, kept * np.expand_dims(ratio, axes), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("projector", [WINDOW, DENSE], ids=["C4", "SO(3)"])
def test_strict_weights_stay_strict(projector):
    v = keep_norm(projector, drawn(projector))
    np.testing.assert_allclose(projector(v), v, atol=1e-13)
    assert projector.certificate(v).bound < 1e-10


def test_the_certificate_is_that_of_the_restored_weight():
    """It grows with the norm: that of the projection alone is too small, that of v is right."""
    w = drawn(SOFT)
    v = keep_norm(SOFT, w)
    for angle in (0.3, 1.0, 2.5):
        moved = np.linalg.norm(SOFT.act(SO2.element(angle), v) - v)
        assert moved <= SOFT.certificate(v, angle=angle).bound <= moved * (1 + 1e-9)
        assert moved > SOFT.certificate(SOFT(w), angle=angle).bound


def test_what_is_projected_away_stays_away():
    w = drawn(WINDOW)
    w[..., 0, 0] = [[0, 1, 0], [0, 0, 0], [0, -1, 0]]  # odd under the half turn
    w[..., 1, 1] = 0.0
    v = keep_norm(WINDOW, w)
    assert np.abs(v[..., 0, 0]).max() < 1e-14
    assert np.all(v[..., 1, 1] == 0)
    assert np.all(np.isfinite(v))


@pytest.mark.parametrize("scale", [1e-200, 1e-30, 1e30, 1e200])
def test_any_size_of_weight(scale):
    w = drawn(WINDOW)
    np.testing.assert_allclose(keep_norm(WINDOW, scale * w) / scale, keep_norm(WINDOW, w))


def test_under_jit_with_gradients_and_in_half_precision():
    w = drawn(WINDOW).astype(np.float32)
    w[..., 1, 1] = 0.0
    compiled = jax.jit(keep_norm)(WINDOW, w)
    np.testing.assert_allclose(compiled, keep_norm(WINDOW, w), rtol=1e-5, atol=1e-6)
    gradient = jax.grad(lambda w: jnp.sum(keep_norm(WINDOW, w) ** 3))(jnp.asarray(w))
    assert np.all(np.isfinite(gradient))
    square = jax.grad(lambda w: jnp.sum(keep_norm(WINDOW, w) ** 2))(jnp.asarray(w))
    np.testing.assert_allclose(square, 2 * w, rtol=1e-4, atol=1e-5)  # its norm is that of w
    half = keep_norm(WINDOW, jnp.asarray(w, jnp.bfloat16))
    assert half.dtype == jnp.bfloat16
    np.testing.assert_allclose(np.float32(half), compiled, atol=0.05)


def test_a_plan_keeps_the_norms_of_all_its_weights():
    params = {"conv": drawn(WINDOW), "head": np.ones((4, 2))}
    plan = sq.plan(params, {"conv": WINDOW, "head": None})
    found = plan.project(params, keep_norm=True)
    np.testing.assert_array_equal(found["conv"], keep_norm(WINDOW, params["conv"]))
    np.testing.assert_array_equal(found["head"], params["head"])
    with pytest.raises(ValueError, match="conv"):
        plan.project({**params, "conv": np.ones((2, 2, 3, 4))}, keep_norm=True)
