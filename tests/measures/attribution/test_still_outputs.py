"""Outputs that nothing moves have no error to attribute."""

import jax.numpy as jnp
import numpy as np

from softeq_jax import measures


def test_shares_of_an_output_that_is_zero_are_dashes():
    x = np.random.default_rng(0).normal(size=(2, 6, 6, 1)).astype(np.float32)
    found = measures.layerwise(lambda im: 0.0 * jnp.sum(im, axis=(1, 2)), x, ["rotation"])
    text = found.table()
    assert "nan" not in text
    assert all(line.split()[2] == "-" for line in text.splitlines()[1:])
    assert found.undefined["rotation"] == 2
