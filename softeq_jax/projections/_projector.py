r"""The projector of a weight array onto its (softly) invariant part.

A weight is a vector in a tensor product of representations, one per axis; the layer is
equivariant iff the weight is invariant (for convolutions: under the symmetries of the pixel
lattice). In an orthonormal basis U of joint eigenvectors, with a mask m over its columns,

.. math:: P w = w - U ((1 - m) \odot (U^T w)),

which is w to the bit where m = 1 everywhere. With the hard mask of level 0 this is the Reynolds
operator, the orthogonal projector on the invariant vectors.
"""

import dataclasses
import functools
import math
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from softeq_jax.projections import _axes, _certificate, _levels
from softeq_jax.reps import Rep

Array = jax.Array | np.ndarray


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Projector:
    """An immutable pytree that filters one kind of weight array. Build it with ``projector``.

    Calling it, ``residual`` and ``split`` are array operations that work under any
    transformation, with the projector as an argument or a constant. ``at``, ``rank``, ``levels``,
    ``softness``, ``cutoff`` and ``certificate`` are host-side, in float64, and refuse tracers.
    The level is a data leaf: changing it recompiles nothing.
    """

    basis: Array
    mask: Array
    width: Array
    axes: _axes.Axes = dataclasses.field(metadata={"static": True})
    rep: Rep = dataclasses.field(metadata={"static": True})
    kind: str = dataclasses.field(metadata={"static": True})

    def __call__(self, w: Array) -> jax.Array:
        """``P w``, in the dtype of w (half precision is computed in float32).

        Args:
          w: array with the axes of the specification. A NumPy float64 array is computed by NumPy,
            and comes back as one, where JAX has no float64 (``jax_enable_x64`` is off).

        Raises:
          ValueError: the shape does not fit the axes.
          TypeError: w is not a real floating-point array.
        """
        return self._parts(w)[0]

    def residual(self, w: Array) -> jax.Array:
        """``w - P w``, computed without cancellation as ``U ((1 - m) * (U^T w))``."""
        return self._parts(w)[1]

    def split(self, w: Array) -> tuple[jax.Array, jax.Array]:
        """``(P w, w - P w)``, orthogonal parts of w.

        Raises:
          ValueError: the mask is smooth: then P is not idempotent and the parts not orthogonal.
        """
        if self.kind != "hard":
            raise ValueError(
                f"split needs an orthogonal projector; this one has the smooth mask {self.kind!r}"
            )
        return self._parts(w)

    def at(
        self,
        *,
        cutoff: float | None = None,
        softness: float | None = None,
        mask: str | None = None,
    ) -> "Projector":
        """The same projector at another setting of the dials.

        Args:
          cutoff: b >= 0, in the unit of the levels (1 / radian). A hard mask keeps the levels
            ``<= b (1 + 1e-6)``; a smooth one has width b. Infinity is the identity.
          softness: s in [0, 1]. 0 is strict, 1 the identity to the bit. A hard mask keeps whole
            levels, those up to the level whose ``(d_j - n0) / (n - n0)`` is nearest to s (ties to
            the stricter), where d_j are the cumulative dimensions of the levels, n0 the dimension
            of level 0 and n that of all levels; the whole space is left to s = 1. A smooth mask
            gets the width at which ``(rank - n0) / (n - n0) = s``.
          mask: ``"hard"``, ``"heat"`` (``exp(-sigma^2 / (2 b^2))``) or ``"resolvent"``
            (``1 / (1 + (sigma / b)^2)``); the present one if left out.

        Raises:
          ValueError: not exactly one dial, or a dial out of range.
        """
        kind = self.kind if mask is None else mask
        levels = _levels.levels_of(self.rep)
        values, width = _levels.mask_at(levels, kind, cutoff=cutoff, softness=softness)
        return dataclasses.replace(self, mask=values, width=np.float64(width), kind=kind)

    def levels(self) -> np.ndarray:
        """The distinct finite levels of the action, ascending, in 1 / radian. float64 [l]."""
        return _levels.levels_of(self.rep).values.copy()

    def dimensions(self) -> np.ndarray:
        """The dimension of each level of ``levels()``, per index of the other axes. int [l]."""
        return _levels.levels_of(self.rep).dimensions.copy()

    def factors(self) -> np.ndarray:
        """What the mask multiplies each level of ``levels()`` by, in [0, 1]. float64 [l]."""
        levels = _levels.levels_of(self.rep)
        first = [int(np.argmax(levels.of_column == value)) for value in levels.values]
        return self.host_mask()[first]

    def rank(self) -> float:
        """Trace of P on the acting axes: the rank of a hard cut (an int), else a float."""
        trace = float(self.host_mask().sum())
        return round(trace) if self.kind == "hard" else trace

    @property
    def cutoff(self) -> float:
        """Highest level a hard mask keeps, or the width of a smooth one; infinite: identity."""
        return float(_host(self.width, "cutoff"))

    @property
    def softness(self) -> float:
        """Realized softness ``(rank - n0) / (n - n0)``; 1 for the identity and nothing else."""
        return _levels.realized_softness(_levels.levels_of(self.rep), self.host_mask())

    def act(self, g: Array, w: Array) -> Array:
        """``g w``, the weight moved by a group element. Certificates bound ``act(g, w) - w``.

        Args:
          g: element of the group, [2, 2].
          w: as for calling the projector. A NumPy array is moved by NumPy, in its own precision.

        Raises:
          ValueError: the element is not in the group, or the shape does not fit.
        """
        self.axes.check(w.shape, self.rep)
        return self.rep.apply(g, w, axes=self.axes.acting)

    def certificate(
        self,
        w: Array | None = None,
        *,
        angle: float | None = None,
        flip: bool = False,
        within: float | None = None,
    ) -> _certificate.Certificate:
        """How far the group can move the weight w *as given* (pass ``P(w)`` for the filtered one).

        Args:
          w: concrete array. None asks what this projector guarantees a priori, for ``P w`` of
            every w with ``||w|| = 1``.
          angle: rotation angle in radians of one group element; with ``flip`` the element
            R(angle) F. None asks for the supremum over the group.
          flip: whether the element includes the left-right flip.
          within: instead of one element, the supremum over rotations by at most this angle.

        Returns:
          A ``Certificate`` of ``||g w - w||`` in the Frobenius norm. For a weight it is the exact
          movement ``sum_m 4 sin^2(m t / 2) ||w_m||^2`` (and its analogue for reflections).

        Raises:
          ValueError: NaN or infinite weights, a shape that does not fit, an element that is not
            in the group.
        """
        chosen = {"angle": angle, "flip": flip, "within": within}
        if w is None:
            return _certificate.a_priori_certificate(self.rep, self.host_mask(), **chosen)
        host = np.asarray(_host(w, "certificate"), dtype=np.float64)
        self.axes.check(host.shape, self.rep)
        moved = np.moveaxis(host, self.axes.acting, range(len(self.axes.acting)))
        flat = moved.reshape(self.rep.dim, -1)
        return _certificate.weight_certificate(self.rep, flat, **chosen)

    def __repr__(self) -> str:
        spec = " ".join(self.axes.names)
        acting = " ".join(self.axes.names[i] for i in self.axes.acting)
        head = f"Projector({spec!r}, {acting}: {self.rep!r}, mask={self.kind}"
        if isinstance(self.width, jax.core.Tracer) or np.ndim(self.width):
            return head + ")"
        return f"{head}, cutoff={self.cutoff:.4g}, softness={self.softness:.4g})"

    def _parts(self, w: Array) -> tuple[Array, Array]:
        """``(P w, w - P w)`` in the dtype of w."""
        xp = np if self._needs_numpy(w) else jnp
        w = xp.asarray(w)
        self.axes.check(w.shape, self.rep)
        if not jnp.issubdtype(w.dtype, jnp.floating):
            raise TypeError(f"a weight must be a real floating-point array, got {w.dtype}")
        work = w.astype(jnp.promote_types(w.dtype, jnp.float32))
        basis = xp.asarray(self.basis, work.dtype)
        dropped = _complement(self.mask)
        front = range(len(self.axes.acting))
        moved = xp.moveaxis(work, self.axes.acting, front)
        flat = moved.reshape(self.rep.dim, -1)
        matmul = np.matmul if xp is np else _matmul
        coefficients = matmul(basis.T, flat)
        removed = matmul(basis, xp.asarray(dropped, work.dtype)[:, None] * coefficients)
        removed = xp.moveaxis(removed.reshape(moved.shape), front, self.axes.acting)
        full = xp.all(xp.asarray(dropped) == 0)
        removed = xp.where(full, xp.zeros_like(removed), removed)
        kept = xp.where(full, work, work - removed)
        return kept.astype(w.dtype), removed.astype(w.dtype)

    def _needs_numpy(self, w: Array) -> bool:
        """Whether w is a NumPy float64 that JAX would round: then NumPy computes, in float64."""
        return (
            isinstance(w, np.ndarray)
            and w.dtype == np.float64
            and not jax.config.jax_enable_x64
            and isinstance(self.basis, np.ndarray)
            and isinstance(self.mask, np.ndarray)
        )

    def host_mask(self) -> np.ndarray:
        """The mask over the columns of ``rep.frequencies().basis``, float64 [dim].

        Raises:
          TypeError: it is traced.
          ValueError: it is a stack of masks (a projector under ``vmap``).
        """
        mask = np.asarray(_host(self.mask, "rank, softness and the like"), dtype=np.float64)
        if mask.ndim != 1:
            raise ValueError(f"a stack of masks {mask.shape} has no single rank or softness")
        return mask


def projector(
    spec: str,
    reps: Mapping[str, Rep],
    *,
    cutoff: float | None = None,
    softness: float | None = None,
    mask: str = "hard",
) -> Projector:
    """The projector of weights with these axes onto their (softly) invariant part.

    Args:
      spec: names of the axes, for instance ``"h w i o"`` for a convolution kernel or ``"1 n c"``
        for a position table.
      reps: the representation on each acting axis or group of axes, ``{"h w": image}``. Axes not
        named here are acted on trivially.
      cutoff: see ``Projector.at``; 0 (strict) if neither dial is given.
      softness: see ``Projector.at``.
      mask: ``"hard"``, ``"heat"`` or ``"resolvent"``.

    Returns:
      The projector, built in float64 on the host.

    Raises:
      ValueError: see ``Projector.at``; unknown axes, mismatched groups, more than one acting
        group of axes.
    """
    axes, rep = _axes.parse(spec, reps)
    strict = Projector(
        basis=rep.frequencies().basis,
        mask=np.ones(rep.dim),
        width=np.float64(math.inf),
        axes=axes,
        rep=rep,
        kind="hard",
    )
    if cutoff is None and softness is None:
        cutoff = 0.0
    return strict.at(cutoff=cutoff, softness=softness, mask=mask)


_matmul = functools.partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)


def _complement(mask: Array) -> Array:
    """``1 - m``, in float64 where m is concrete: a mask close to 1 must not cancel."""
    if isinstance(mask, np.ndarray):
        return 1.0 - mask
    return 1.0 - jnp.asarray(mask)


def _host(value: Array, what: str) -> Array:
    if isinstance(value, jax.core.Tracer):
        raise TypeError(
            f"{what} of a projector is computed on the host in float64 and cannot be traced: "
            "call it outside jit, grad, vmap and pmap"
        )
    return value
