"""One temperature for a classifier, fitted on held-out data: less confidence alone lowers KL."""

import numpy as np
from scipy import optimize, special


def fitted_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    r"""The T that minimizes the mean of ``-log softmax(logits / T)[label]``, in [1e-2, 1e2].

    KL divergences of networks are compared after each has divided its logits by its own. The loss
    is convex in 1 / T, so the minimum is the only one.

    Args:
      logits: ``[n, classes]``, of held-out examples.
      labels: int ``[n]``.

    Raises:
      ValueError: no example, shapes that do not fit, or logits that are not finite.
    """
    z, y = np.asarray(logits, np.float64), np.asarray(labels)
    if z.ndim != 2 or not len(z) or y.shape != (len(z),) or not np.isfinite(z).all():
        raise ValueError(
            f"logits must be finite [n, classes] with as many labels, got shapes {z.shape} and "
            f"{y.shape}"
        )
    right = z[np.arange(len(z)), y]

    def loss(log_beta: float) -> float:
        beta = np.exp(log_beta)
        return float(np.mean(special.logsumexp(beta * z, axis=1) - beta * right))

    edge = np.log(100.0)
    found = optimize.minimize_scalar(loss, bounds=(-edge, edge), method="bounded")
    return float(np.exp(-found.x))
