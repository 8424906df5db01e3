"""The product rule on SO(3): how many angles and Gauss nodes it needs."""

import numpy as np

from softeq_jax import groups, reps
from softeq_jax.orbits._quadrature import _rotations

SO3 = groups.so(3)


def size_of_mean(rule, rep):
    matrices = np.stack([rep.matrix(g) for g in rule.elements])
    return np.abs(np.tensordot(rule.weights, matrices, 1)).max()


def test_both_kinds_of_nodes_are_needed():
    """Degree 4: with one angle or one Gauss node fewer the rule is exact to degree 3 only."""
    degree, rep = 4, reps.irrep(SO3, 4)
    assert size_of_mean(_rotations(5, 3), rep) < 1e-13
    for angles, nodes in ((4, 3), (5, 2)):
        rule = _rotations(angles, nodes)
        assert size_of_mean(rule, rep) > 1e-2
        for l in range(1, degree):
            assert size_of_mean(rule, reps.irrep(SO3, l)) < 1e-13
