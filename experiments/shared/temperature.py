"""The temperature of a network's logits: less confidence lowers every divergence."""

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax


def fitted_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    r"""The T that minimises the cross-entropy of ``softmax(logits / T)`` (Guo et al. 2017).

    Args:
      logits: ``[n, classes]`` of images that nothing is scored on.
      labels: ``[n]``, integers.

    Returns:
      T, within ``[exp(-4), exp(4)]``.
    """
    rows = np.arange(len(labels))

    def cross_entropy(log_temperature: float) -> float:
        return -float(log_softmax(logits / np.exp(log_temperature), axis=1)[rows, labels].mean())

    found = minimize_scalar(cross_entropy, bounds=(-4.0, 4.0), method="bounded")
    return float(np.exp(found.x))
