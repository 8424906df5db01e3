"""Norms of a Lie derivative along one generator, image by image."""

import dataclasses

import numpy as np

from softeq_jax._text import html_table, plural
from softeq_jax.measures._statistics import given, mean_and_error

METRICS = ("mean_sq", "mean_abs", "relative", "lipschitz", "null_normalized", "fisher")


@dataclasses.dataclass(frozen=True)
class LieErrors:
    """Norms of the Lie derivative along one generator; float64, one entry per image.

    d is the number of output entries of an image (the interior ones, if a border is set apart).

    Attributes:
      mean_sq: ``||L f||^2 / d``, the local equivariance error.
      mean_abs: ``||L f||_1 / d``.
      response_sq: ``||J_f D x||^2 / d``, how far the output moves.
      input_sq: ``||D x||^2``, how far the input moves; not divided.
      null_sq: ``||J_f D x - D' f(x')||^2 / d`` with x' the next image of the batch; NaN for
        batches of one.
      fisher: ``sum_k (L p_k)^2 / p_k`` of class probabilities p, the curvature of the KL
        divergence along the orbit; NaN where the output is not a row of class scores.
      border_mean_sq: ``mean_sq`` over the border that was set apart; NaN without one.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> ramp = np.tile(np.arange(8.0), (1, 8, 1))[..., None]  # grows by 1 per pixel
      >>> found = sq.measures.lie_errors(lambda x: x[:, 4, 4], ramp, ["translation_x"])
      >>> errors = found["translation_x"]
      >>> errors.mean_sq.tolist(), errors.entries
      ([1.0], 1)
    """

    mean_sq: np.ndarray
    mean_abs: np.ndarray
    response_sq: np.ndarray
    input_sq: np.ndarray
    null_sq: np.ndarray
    fisher: np.ndarray
    border_mean_sq: np.ndarray
    entries: int

    def __repr__(self) -> str:
        mean, error = mean_and_error(self.mean_sq)
        shares = (f"{name} {getattr(self, name).mean():.4g}" for name in ("relative", "lipschitz"))
        value = f"{mean:.4g} +- {given(error, '.2g')}"
        images = plural(len(self.mean_sq), "image")
        return f"LieErrors({images}: mean_sq {value}, {', '.join(shares)})"

    def _repr_html_(self) -> str:
        pairs = [(name, mean_and_error(getattr(self, name))) for name in METRICS]
        rows = [(name, given(m, ".4g"), given(e, ".2g")) for name, (m, e) in pairs]
        head = ("norm", f"mean of {plural(len(self.mean_sq), 'image')}", "+-")
        return html_table(head, rows)

    @property
    def relative(self) -> np.ndarray:
        """``||L f|| / ||J_f D x||``: 1 for invariant outputs, in [0, 2] while D' f moves no
        further than f; 0 where nothing moves at all."""
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.sqrt(self.mean_sq / self.response_sq)
        return np.where(self.mean_sq == 0, 0.0, ratio)

    @property
    def lipschitz(self) -> np.ndarray:
        """``||L f|| / ||D x||``: per distance that the image itself moves; 0 where it does not."""
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.sqrt(self.mean_sq * self.entries / self.input_sq)
        return np.where(self.mean_sq == 0, 0.0, ratio)

    @property
    def null_normalized(self) -> np.ndarray:
        """``||L f||^2`` over the mean of ``null_sq``: the mean over images is 0 for an
        equivariant function and 1 for one no better than another image's."""
        return self.mean_sq / self.null_sq.mean()

    @property
    def floor(self) -> np.ndarray:
        """What float32 rounding alone may leave of ``mean_sq``: ``response_sq * eps^2``."""
        return self.response_sq * np.finfo(np.float32).eps ** 2
