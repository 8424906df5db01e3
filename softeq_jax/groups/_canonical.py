r"""Levels of a finite group that depend on its matrices alone, not on generators.

With the characters :math:`\chi` of an isotypic component of dimension d (one copy) and of the
defining representation V,

.. math:: \sigma^2 = c \sum_{g \ne 1} (1 - Re \chi(g) / d) \, / \, (1 - Re \chi_V(g) / d_V)^2 .

Elements near the identity, which move vectors of V little, count most: for C_n the levels tend to
the frequencies as n grows. c makes the mean of the squares over the part of V that moves one.
"""

import numpy as np

from softeq_jax._checks import frozen
from softeq_jax.groups._levels import ConjugacyClass, Stage


def canonical_stages(
    listed: np.ndarray,
    inverses: np.ndarray,
    conjugates: list[np.ndarray],
    traces: np.ndarray,
    d: int,
) -> tuple[tuple[Stage, ...], ...]:
    """The one stage of all conjugacy classes; a class and its inverse are one.

    Args:
      listed: all elements ``[order, ...]``, the identity first.
      inverses: int ``[order]``, which element the inverse of each is.
      conjugates: the same for the conjugates by each of some generators.
      traces: real parts of the traces of the matrices, ``[order]``.
      d: dimension of the matrices.
    """
    import scipy.sparse

    order = len(listed)
    if order == 1:
        return ()
    here = np.tile(np.arange(order), len(conjugates))
    there = np.concatenate([*conjugates, np.zeros(0, int)])
    graph = scipy.sparse.coo_matrix((np.ones(len(here)), (here, there)), (order, order))
    _, label = scipy.sparse.csgraph.connected_components(graph, directed=False)
    _, first = np.unique(label, return_index=True)
    twins = np.minimum(first[label], first[label[inverses]])  # the first element of both classes
    share = 1.0 - traces / d
    moving = d - traces.mean()
    scale = moving / (2.0 * d * np.sum(1.0 / share[1:]))
    classes = []
    for i in np.unique(twins):
        if i == 0:
            continue
        members = frozen(listed[label == label[i]])
        weight = scale * np.sum(twins == i) / share[i] ** 2
        classes.append(ConjugacyClass(float(weight), members))
    return ((Stage((), tuple(classes)),),)
