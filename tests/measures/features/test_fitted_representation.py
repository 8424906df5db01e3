"""Fitted representations: hidden field types are found, aliased networks break the law."""

import jax.numpy as jnp
import numpy as np
import pytest
from feature_networks import conv, kernel, lifting, white_noise

import softeq_jax as sq
from softeq_jax.measures import fitted_representation, low_pass
from softeq_jax.nn import blur_pool

C4 = sq.groups.cyclic(4)
IMAGE = {"layouts": {"*": "image"}}
MIXING = np.linalg.qr(np.random.default_rng(7).standard_normal((8, 8)))[0].astype(np.float32)


def _hidden(x):
    """Two regular fields in a basis that nobody tells beside a channel that is never used; pooled,
    what is invariant, what quarter turns negate, and pairs that turn."""
    lifted = lifting()(x)["lifted"]
    dead = jnp.zeros((*lifted.shape[:-1], 1))
    a, b, c, d = jnp.moveaxis(lifted.reshape(*x.shape[:3], 4, 2), 3, 0)
    pooled = [v.mean(axis=(1, 2)) for v in (a + b + c + d, a - b + c - d, a - c, b - d)]
    return {
        "mixed": jnp.concatenate([lifted @ MIXING, dead], axis=-1),
        "0": pooled[0],
        "2": pooled[1],
        "1": jnp.concatenate(pooled[2:], axis=1),
    }


@pytest.mark.slow(4)
def test_hidden_field_types_are_found():
    layouts = {"mixed": "image"}
    every = fitted_representation(_hidden, white_noise(40, 6), C4, energy=1, layouts=layouts)
    found = every.pop("mixed")
    assert found.basis.shape == (9, 8)
    assert found.fitted.value < 1e-9
    assert found.law_defect < 1e-5
    assert max(found.order_defects) < 1e-5
    np.testing.assert_allclose(found.characters, [8, 0, 0, 0], atol=1e-4)
    for label in (0, 1, 2):
        assert found.multiplicity(sq.reps.irrep(C4, label)) == pytest.approx(2, abs=1e-4)
    assert found.identity.value > 0.5
    assert found.control.value > 0.9
    assert found.law_defect_control > 0.5
    assert found.fitted.transforms == ("C4 90 deg", "C4 180 deg", "C4 270 deg")
    matrix = found.basis @ found.matrices[1] @ found.basis.T
    x = white_noise(1, 6, seed=9)
    still, turned = (np.asarray(_hidden(v)["mixed"]) for v in (x, np.rot90(x, axes=(1, 2))))
    np.testing.assert_allclose(turned, np.rot90(still, axes=(1, 2)) @ matrix.T, atol=1e-4)
    for label, field in every.items():
        assert field.law_defect < 1e-4
        for other in (0, 1, 2):
            expected = 2 * (str(other) == label)
            assert field.multiplicity(sq.reps.irrep(C4, other)) == pytest.approx(expected, abs=1e-3)
    assert every["0"].identity.value < 1e-6
    assert every["2"].identity.value > 1


@pytest.mark.slow(6)
def test_aliasing_breaks_the_law_and_a_blur_keeps_it():
    """On an even map plain strides keep other pixels after a turn; four taps do not care."""
    images = white_noise(40, 8)
    k = kernel(3, 3, 2, 3)
    turned = np.concatenate([np.rot90(k, turn, axes=(0, 1)) for turn in range(4)], axis=-1)

    def features(x):
        lifted = jnp.tanh(conv(x, turned, padding="circular"))
        return {"plain": lifted[:, ::2, ::2], "blurred": blur_pool(lifted, 4)}

    found = fitted_representation(features, images, sq.groups.cyclic(2), **IMAGE)
    assert found["blurred"].fitted.value < 1e-6
    assert found["blurred"].law_defect < 1e-4
    assert found["plain"].fitted.value > 0.8
    assert found["plain"].law_defect > 0.5


@pytest.mark.slow(4)
def test_rotations_by_any_angle():
    """The first moments of a smooth image turn as a vector does, up to bilinear sampling."""
    axis = np.arange(24) - 11.5
    x, y = axis[None, :], -axis[:, None]
    window = np.exp(-(x**2 + y**2) / 18)
    images = np.asarray(low_pass(white_noise(30, 24, 1), 0.2)) * window[..., None]
    moments = np.stack([x * window, y * window], axis=-1).astype(np.float32)
    features = lambda v: {"moments": jnp.einsum("nhwc,hwk->nk", v, moments)}  # noqa: E731
    group = sq.groups.cyclic(3)
    found = fitted_representation(features, images.astype(np.float32), group)["moments"]
    assert found.fitted.value < 1e-3
    assert found.law_defect < 0.02 < found.law_defect_control
    angles = [group.parameters(g)[0] for g in group.elements()]
    np.testing.assert_allclose(found.characters, 2 * np.cos(angles), atol=0.02)
    assert found.multiplicity(sq.reps.irrep(group, 1)) == pytest.approx(1, abs=0.01)
    assert max(found.order_defects) < 0.1


def test_a_dead_feature_is_undefined_and_other_errors():
    images = white_noise(6, 6)
    found = fitted_representation(lambda x: {"dead": jnp.zeros((len(x), 3))}, images, C4)["dead"]
    assert np.isnan(found.law_defect)
    assert np.isnan(found.fitted.value)
    assert found.basis.shape == (3, 0)
    pooled = lambda x: {"v": x.mean(axis=(1, 2))}  # noqa: E731
    for group, options, message in (
        (sq.groups.so(2), {}, "finite group"),
        (sq.groups.cyclic(1), {}, "finite group"),
        (C4, {"energy": 0}, "energy"),
        (C4, {"energy": 1.5}, "energy"),
        (C4, {"kind": "sparse"}, "sparse"),
    ):
        with pytest.raises(ValueError, match=message):
            fitted_representation(pooled, images, group, **options)
    corner = lambda x: {"v": x[:, 0, 0]}  # noqa: E731
    with pytest.raises(ValueError, match="2 training rows do not determine"):
        fitted_representation(corner, images, C4, split=(np.arange(2), np.arange(2, 6)))
    field = fitted_representation(pooled, images, C4)["v"]
    with pytest.raises(ValueError, match="no representation of C4"):
        field.multiplicity(sq.reps.irrep(sq.groups.cyclic(3), 1))
