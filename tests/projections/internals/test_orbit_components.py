"""Components of a graph: the same as SciPy's and in the same order, without SciPy where few."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from softeq_jax.projections.backends import _orbits
from tests.examples import examples


def by_scipy(row: np.ndarray, column: np.ndarray, count: int) -> np.ndarray:
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(len(row)), (row, column)), shape=(count, count))
    return connected_components(graph, directed=False)[1]


@given(st.integers(1, 300), st.floats(0, 2), st.integers(0, 2**32 - 1))
@examples(fast=30, sweep=1000)
def test_labels_follow_first_nodes_as_those_of_scipy(count, density, seed):
    rng = np.random.default_rng(seed)
    row, column = rng.integers(0, count, (2, int(density * count)))
    found = np.unique(_orbits._components(row, column, count), return_inverse=True)[1]
    np.testing.assert_array_equal(found, by_scipy(row, column, count))


def test_a_long_path_and_many_edges(monkeypatch):
    nodes = np.random.default_rng(0).permutation(5000)
    assert not _orbits._components(nodes[:-1], nodes[1:], 5000).any()
    monkeypatch.setattr(_orbits, "_FEW_EDGES", 10)
    assert not _orbits._components(nodes[:-1], nodes[1:], 5000).any()


@pytest.mark.slow(3)
def test_small_permutation_groups_are_built_without_scipy_sparse():
    script = """
import sys, softeq_jax as sq
T = sq.reps.tensor(sq.groups.symmetric(5), 2)
assert sq.projector("i o", {"i": T.dual, "o": T}).rank() == 15
print("scipy.sparse" in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script], capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == ["False"], done.stderr
