"""Batch statistics of a network, measured on images instead of carried along."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax import traverse_util

Tree = Any


def merged_moments(found: Sequence[Mapping[str, tuple[Any, Any]]]) -> Tree:
    """Batch statistics of all images together, from the ``batch_moments`` of each batch."""
    statistics = {}
    for path in found[0]:
        means, variances = (np.stack([each[path][i] for each in found]) for i in (0, 1))
        statistics[f"{path}/mean"] = means.mean(axis=0)
        statistics[f"{path}/var"] = variances.mean(axis=0) + means.var(axis=0)
    return traverse_util.unflatten_dict(statistics, sep="/")


def batch_moments(
    model: nn.Module, variables: Tree, images: jax.Array
) -> dict[str, tuple[jax.Array, jax.Array]]:
    """From the path of a batch norm to mean and variance, ``[c]``, of what it is given.

    All batch norms use the statistics of the batch meanwhile.
    """
    found = {}

    def record(call: Any, args: tuple, kwargs: dict, context: Any) -> Any:
        if isinstance(context.module, nn.BatchNorm) and context.method_name == "__call__":
            x, axes = args[0], tuple(range(args[0].ndim - 1))
            found["/".join(context.module.path)] = jnp.mean(x, axes), jnp.var(x, axes)
        return call(*args, **kwargs)

    with nn.intercept_methods(record):
        model.apply(variables, images, train=True, mutable=["batch_stats"])
    return found
