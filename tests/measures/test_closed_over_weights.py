"""Measures of functions that close over their weights, among them blocks of zeros.

XLA on CPU (jaxlib 0.10) computes garbage for a product with constant zeros that is summed, once
`jit` has made constants of the weights; the measures hand them in as arguments.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import softeq_jax as sq
from softeq_jax import measures

RNG = np.random.default_rng(0)
WEIGHTS = (
    np.zeros((192, 128), np.float32),
    RNG.normal(size=(192, 128)).astype(np.float32) / 14,
)
IMAGES = RNG.normal(size=(32, 8, 8, 3)).astype(np.float32)


def network(weights, x):
    """Logits from two products, the first with zeros as a strict layer has them, and sums."""
    flat = x.reshape(len(x), -1)
    hidden = jnp.exp(flat) @ weights[0] + flat @ weights[1]
    return hidden.reshape(-1, 8, 16).sum(-1)


def closure(x):
    return network(WEIGHTS, x)


TURNS = sq.groups.cyclic(4)
MEASURES = {
    "lie_errors": lambda f: measures.local_equivariance_error(f, IMAGES, ["rotation"])["rotation"],
    "evaluate": lambda f: measures.kl_consistency(f, IMAGES, TURNS).kl.value,
    "worst_case_error": lambda f: measures.worst_case_error(f, IMAGES, TURNS).per_image,
    "layerwise": lambda f: measures.layerwise(f, IMAGES, "rotation").totals,
    "feature_correlation": lambda f: measures.feature_correlation(
        lambda x: {"logits": f(x)}, IMAGES, measures.cyclic_rotations(4)
    ).curve("invariance"),
}


@pytest.mark.parametrize("name", MEASURES)
def test_a_closure_is_measured_like_a_function_with_arguments(name):
    weights = jax.tree.map(jnp.asarray, WEIGHTS)
    given = MEASURES[name](jax.tree_util.Partial(network, weights))
    closed = MEASURES[name](closure)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), closed, given)
