"""Networks whose outputs are 16-bit floats: sums of squares neither vanish nor overflow."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from softeq_jax import measures

IMAGES = np.random.default_rng(0).random((3, 8, 8, 2)).astype(np.float32)
WEIGHTS = np.random.default_rng(1).normal(size=(2, 5)).astype(np.float32)


def _network(dtype, size):
    def f(images):
        x = jax.nn.relu(images[:, 1:-1] - images[:, :-2]).mean((1, 2))
        return (x @ WEIGHTS * size).astype(dtype)

    return f


@pytest.mark.slow(6)
@pytest.mark.parametrize("size", [1e-3, 3e3])
@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_lie_errors_of_small_and_large_outputs(dtype, size):
    """In float16 the square of 1e-4 is 0 and that of 300 infinite."""
    found, exact = (measures.lie_errors(_network(d, size), IMAGES) for d in (dtype, jnp.float32))
    for name in ("translation_x", "rotation"):
        errors = exact[name]
        assert errors.mean_sq.min() > 0
        for metric in ("mean_sq", "response_sq", "relative"):
            got = getattr(found[name], metric)
            np.testing.assert_allclose(got, getattr(errors, metric), rtol=0.1)


def test_divergences_are_summed_in_float32():
    logits = np.random.default_rng(2).normal(size=(2, 50)).astype(np.float16)
    close = (logits + np.float16(2**-6) * (logits > 0)).astype(np.float16)
    exact = measures.kl_divergence(*(x.astype(np.float32) for x in (logits, close)))
    found = measures.kl_divergence(logits, close)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, exact, rtol=1e-4)
