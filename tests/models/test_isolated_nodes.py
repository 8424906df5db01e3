"""Graphs of one node, or without edges: the nodes alone."""

import jax
import numpy as np
import pytest

from softeq_jax import models

NONE = np.zeros(0, int)


@pytest.mark.slow(4)
@pytest.mark.parametrize(("nodes", "edges"), [(1, ()), (3, (None, NONE, NONE)), (0, ())])
def test_nodes_without_edges_get_no_messages(nodes, edges):
    net = models.EquivariantGraphNet(width=16, layers=1)
    rng = np.random.default_rng(0)

    def inputs(n):
        shapes = (2, n, 3), (2, n, 1, 3), (2, n, 1)
        return [rng.normal(size=shape).astype(np.float32) for shape in shapes]

    variables = net.init(jax.random.key(0), *inputs(4))
    x = inputs(nodes)
    y = net.apply(variables, *x, *edges)
    assert y.shape == (2, nodes, 3)
    assert np.all(np.isfinite(y))
    for i in range(nodes):  # each as if it were alone
        alone = net.apply(variables, *(part[:, i : i + 1] for part in x))
        np.testing.assert_allclose(y[:, i : i + 1], alone, atol=1e-6)
