"""What a network is and what rules filter of it, from shapes alone: nothing is loaded or trained.

So rows of sizes that cannot be run here are checked: the network takes the images, its rules fit
its weights.
"""

import math
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from flax import linen as nn

import softeq_jax as sq


def network_text(
    model: nn.Module, side: int, batch: int, rules: Mapping[str, Any] | None = None
) -> str:
    """Parameters, outputs of a batch, and the filtered weights.

    Args:
      model: called as ``model.apply(variables, images)``.
      side: of its images.
      batch: images of a step.
      rules: of ``softeq_jax.plan``; None: nothing is filtered.

    Raises:
      ValueError: the network does not take such images, or the rules do not fit its weights.
    """
    one, images = (jax.ShapeDtypeStruct((n, side, side, 3), np.float32) for n in (1, batch))
    variables: Any = jax.eval_shape(lambda x: model.init(jax.random.key(0), x), one)
    outputs: Any = jax.eval_shape(model.apply, variables, images)
    params = variables["params"]
    sizes = {
        jax.tree_util.keystr(path, simple=True, separator="/"): math.prod(leaf.shape)
        for path, leaf in jax.tree_util.tree_leaves_with_path(params)
    }
    total = sum(sizes.values())
    said = f"{images.shape} -> {outputs.shape}, {total:,} parameters"
    if rules is None:
        return f"{said}, none filtered"
    plan = sq.plan(params, rules)
    chosen = [path for path, index in zip(sizes, plan.chosen, strict=True) if index >= 0]
    share = sum(sizes[path] for path in chosen) / total
    which = ", ".join(chosen) if len(chosen) < 4 else f"{chosen[0]}, ..., {chosen[-1]}"
    return f"{said}, {share:.1%} of them filtered, in {len(chosen)} weights: {which}"
