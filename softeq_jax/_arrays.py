"""Arrays of NumPy and of JAX: their type, the library that computes with one, and its dtypes."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

Array = jax.Array | np.ndarray


def library(x: Any) -> Any:
    """``numpy`` for a NumPy array, which keeps its precision, else ``jax.numpy``."""
    return np if isinstance(x, np.ndarray) else jnp


def real_dtype(dtype: Any) -> np.dtype:
    """The dtype of the real part of numbers of a dtype."""
    return np.zeros((), dtype).real.dtype
