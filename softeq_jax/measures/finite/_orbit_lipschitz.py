r"""The Lipschitz constant along an orbit at finite size.

``LLC(r) = sup_{0 < |t| <= r} ||f(T_t x) - T'_t f(x)|| / |t|`` tends to the norm of the Lie
derivative as r goes to 0 (measures.md C); where the curve leaves it, "local" ends.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from softeq_jax.measures._functions import Function
from softeq_jax.measures._layouts import Layout
from softeq_jax.measures._rotation import mean_and_error
from softeq_jax.measures.finite._transform import Array
from softeq_jax.measures.finite._worst_case import Family, worst_case_error


@dataclasses.dataclass(frozen=True, repr=False)
class OrbitLipschitz:
    """Difference quotients along an orbit.

    Attributes:
      ts: float64 ``[t]``, in order of size.
      ratios: float64 ``[t, n]``, ``||f(T_t x) - T'_t f(x)|| / |t|``.
    """

    ts: np.ndarray
    ratios: np.ndarray

    @property
    def radii(self) -> np.ndarray:
        """The sizes |t|, each once, growing."""
        return np.unique(np.abs(self.ts))

    @property
    def suprema(self) -> np.ndarray:
        """``LLC(r)`` of every image over the sampled t, ``[radii, n]``."""
        return np.stack([self.ratios[np.abs(self.ts) <= r].max(axis=0) for r in self.radii])

    def at(self, r: float) -> tuple[float, float]:
        """Mean of ``LLC(r)`` over images, and its standard error.

        Raises:
          ValueError: no sample of this size or below.
        """
        chosen = np.abs(self.ts) <= r * (1 + 1e-9)
        if not chosen.any():
            raise ValueError(f"no t up to {r} among the samples, the smallest is {self.radii[0]}")
        return mean_and_error(self.ratios[chosen].max(axis=0))

    def table(self) -> str:
        """One row per radius."""
        rows = (f"LLC({r:<10.4g}) {{:>12.5g}} +- {{:.2g}}".format(*self.at(r)) for r in self.radii)
        return "\n".join(rows)

    def __repr__(self) -> str:
        return self.table()


def orbit_lipschitz(
    f: Function,
    images: Array,
    family: Family,
    ts: Sequence[float],
    *,
    input: str | Layout = "image",
    output: str | Layout | None = None,
    head: str | Function = "logits",
    batch_size: int | None = None,
    jit: bool = True,
) -> OrbitLipschitz:
    """The curve of difference quotients, and its running supremum.

    Args:
      f: as of ``relative_error``.
      images: likewise.
      family: t to a transform, with ``family(0)`` the identity, such as ``rotation``.
      ts: sizes in the unit of the family, none 0; a lower bound of the sup between them.
      input: as of ``relative_error``.
      output: likewise.
      head: likewise.
      batch_size: likewise.
      jit: likewise.

    Raises:
      TypeError, ValueError: see ``evaluate``; ValueError for no t, or one that is 0.
    """
    ts = np.asarray(ts, np.float64).ravel()
    if ts.size == 0 or not np.all(np.isfinite(ts)) or np.any(ts == 0):
        raise ValueError(f"ts must be finite and different from 0, got {ts.tolist()}")
    ts = ts[np.argsort(np.abs(ts), kind="stable")]
    errors = worst_case_error(
        f,
        images,
        [family(float(t)) for t in ts],
        input=input,
        output=output,
        head=head,
        batch_size=batch_size,
        jit=jit,
    ).errors
    return OrbitLipschitz(ts, errors / np.abs(ts)[:, None])
