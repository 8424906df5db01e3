r"""The projector of a weight array onto its (softly) invariant part.

A weight is a vector in a tensor product of representations, one per axis; the layer is
equivariant iff the weight is invariant (for convolutions: under the symmetries of the pixel
lattice). With the orthogonal projectors :math:`\Pi_\sigma` on its levels and a mask m,

.. math:: P w = w - \sum_\sigma (1 - m_\sigma) \, \Pi_\sigma w,

which is w to the bit where m = 1 everywhere. With the hard mask of level 0 this is, for compact
groups, the Reynolds operator; for all groups the orthogonal projector on the invariant vectors.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from softeq_jax.projections import _certificate, _levels
from softeq_jax.projections._apply import jitted_split_parts, split_parts
from softeq_jax.projections._build import build_cached
from softeq_jax.projections._space import Space

Array = jax.Array | np.ndarray


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Projector:
    """An immutable pytree that filters one kind of weight array. Build it with ``projector``.

    Calling it, ``residual`` and ``split`` are array operations that work under any
    transformation, with the projector as an argument or a constant. ``at``, ``rank``, ``levels``,
    ``softness``, ``cutoff`` and ``certificate`` are host-side, in float64, and refuse tracers.
    The level is a data leaf: changing it recompiles nothing, once all levels were built (for large
    spaces the strict projector is built without them, and ``at`` adds them when it is first asked
    for a level above 0).

    Attributes:
      filters: what filters each block of the weight.
      dropped: float64 ``[levels + 1]``, one minus the mask on each level; the last entry is for
        what has no finite level.
      width: the highest level that is kept, or the width of a smooth mask.
      space: the axes and representations.
      known: the levels.
      kind: ``"hard"``, ``"heat"`` or ``"resolvent"``.
      backend: the back end that was asked for, None if it was chosen.
      convention: ``"central"`` or ``"stacked"``.
    """

    filters: tuple
    dropped: Array
    width: Array
    space: Space = dataclasses.field(metadata={"static": True})
    known: _levels.Levels = dataclasses.field(metadata={"static": True})
    kind: str = dataclasses.field(metadata={"static": True})
    backend: str | None = dataclasses.field(metadata={"static": True})
    convention: str = dataclasses.field(metadata={"static": True})

    def __call__(self, w: Array) -> jax.Array:
        """``P w``, in the dtype of w (half precision is computed in float32).

        Args:
          w: array with the axes of the specification. A NumPy float64 (complex128) array is
            computed by NumPy, and comes back as one, where JAX has none (``jax_enable_x64`` is
            off).

        Raises:
          ValueError: the shape does not fit the axes.
          TypeError: w is not a floating-point array, real for real representations and complex
            for complex ones.
        """
        return self._parts(w)[0]

    def residual(self, w: Array) -> jax.Array:
        """``w - P w``, computed first, so that it is small without cancellation."""
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
            (``1 / (1 + (sigma / b)^2)``); the present one if left out. Unlike the level it is
            static: another kind of mask compiles again.

        Raises:
          ValueError: not exactly one dial, a dial out of range, or a level above 0 of a group or
            representation that has none.
        """
        kind = self.kind if mask is None else mask
        _levels.check_dials(kind, cutoff, softness)
        wanted = _levels.needs_all_levels(cutoff, softness)
        source = self._complete() if wanted else self
        dropped, width = _levels.dropped_at(source.known, kind, cutoff=cutoff, softness=softness)
        return dataclasses.replace(source, dropped=dropped, width=np.float64(width), kind=kind)

    def levels(self) -> np.ndarray:
        """The distinct finite levels of the action, ascending, in 1 / radian. float64 [l]."""
        values, dimensions = self._spectrum()
        return values[dimensions > 0]

    def dimensions(self) -> np.ndarray:
        """The dimension of each level of ``levels()``, per index of the unnamed axes. int [l]."""
        dimensions = self._spectrum()[1]
        return dimensions[dimensions > 0]

    def factors(self) -> np.ndarray:
        """What the mask multiplies each level of ``levels()`` by, in [0, 1]. float64 [l]."""
        source = self._complete()
        dropped, dimensions = source.host_dropped(), np.array(source.known.dimensions)
        return 1.0 - dropped[:-1][dimensions > 0]

    def rank(self) -> float:
        """Trace of P on the named axes: the rank of a hard cut (an int), else a float."""
        sizes = np.array([*self.known.dimensions, self.known.infinite])
        trace = float(sizes @ (1.0 - self.host_dropped()))
        return round(trace) if self.kind == "hard" else trace

    @property
    def dim(self) -> int:
        """Dimension of the named axes, the rank of the identity."""
        return self.space.dim

    @property
    def cutoff(self) -> float:
        """Highest level a hard mask keeps, or the width of a smooth one; infinite: identity."""
        return float(_host(self.width, "cutoff"))

    @property
    def softness(self) -> float:
        """Realized softness ``(rank - n0) / (n - n0)``; 1 for the identity and nothing else."""
        return _levels.realized_softness(self.known, self.host_dropped())

    def act(self, g: Array, w: Array) -> Array:
        """``g w``, the weight moved by a group element. Certificates bound ``act(g, w) - w``.

        Args:
          g: element of the group, ``[d, d]``.
          w: as for calling the projector. A NumPy array is moved by NumPy, in its own precision.

        Raises:
          ValueError: the element is not in the group, or the shape does not fit.
        """
        self.space.check(w.shape)
        for entry in self.space.entries:
            w = entry.rep.apply(g, w, axes=entry.positions)
        return w

    def certificate(
        self,
        w: Array | None = None,
        *,
        element: Array | None = None,
        angle: float | None = None,
        flip: bool = False,
        within: float | None = None,
    ) -> _certificate.Certificate:
        """How far the group can move the weight w *as given* (pass ``P(w)`` for the filtered one).

        Args:
          w: concrete array. None asks what this projector guarantees a priori, for ``P w`` of
            every w with ``||w|| = 1``.
          element: a group element ``[d, d]``.
          angle: for groups of the plane, the rotation angle in radians of one element, with
            ``flip`` the element R(angle) F; for other Lie groups like ``within``.
          flip: whether the element includes the left-right flip.
          within: instead of one element, the supremum over all ``exp(sum t_k A_k)`` with
            ``|t| <= within``: rotations by at most this angle.

        Returns:
          A ``Certificate`` of ``||g w - w||`` in the Frobenius norm. Without element, angle or
          within it is about the whole group. For groups of the plane it is the exact movement
          ``sum_m 4 sin^2(m t / 2) ||w_m||^2`` (and its analogue for reflections); for others see
          ``softeq_jax.certificates``.

        Raises:
          ValueError: NaN or infinite weights, a shape that does not fit, an element that is not
            in the group.
          TypeError: a traced weight; as for calling the projector, one that is not complex for a
            complex representation, or not real floating-point for a real one.
        """
        asked = {"element": element, "angle": angle, "flip": flip, "within": within}
        if w is not None:
            w = np.asarray(_host(w, "certificate"))
            self.space.check(w.shape)
            expected = jnp.complexfloating if self.space.is_complex else jnp.floating
            if not jnp.issubdtype(w.dtype, expected):
                kind = "complex" if self.space.is_complex else "real floating-point"
                raise TypeError(f"a weight of {self.space.describe()} is {kind}, got {w.dtype}")
            w = w.astype(np.complex128 if self.space.is_complex else np.float64)
        return _certificate.certificate(self, w, **asked)

    def __repr__(self) -> str:
        spec = " ".join(self.space.names)
        head = f"Projector({spec!r}, {self.space.describe()}, mask={self.kind}"
        if isinstance(self.width, jax.core.Tracer) or np.ndim(self.width):
            return head + ")"
        return f"{head}, cutoff={self.cutoff:.4g}, softness={self.softness:.4g})"

    def host_dropped(self) -> np.ndarray:
        """One minus the mask on each level, float64 ``[levels + 1]``.

        Raises:
          TypeError: it is traced.
          ValueError: it is a stack of masks (a projector under ``vmap``).
        """
        dropped = np.asarray(_host(self.dropped, "rank, softness and the like"), dtype=np.float64)
        if dropped.ndim != 1:
            raise ValueError(f"a stack of masks {dropped.shape} has no single rank or softness")
        return dropped

    def _spectrum(self) -> tuple[np.ndarray, np.ndarray]:
        known = self._complete().known
        return np.array(known.values), np.array(known.dimensions)

    def _complete(self) -> "Projector":
        """The same projector with all levels known.

        Raises:
          ValueError: the group or the representation has no levels above 0.
        """
        if self.known.complete:
            return self
        built = build_cached(self.space, True, None, self.convention)
        dropped = np.zeros(len(built.levels.values) + 1)
        if np.any(self.host_dropped()):
            dropped[1:] = 1.0
        return dataclasses.replace(self, filters=built.filters, known=built.levels, dropped=dropped)

    def _parts(self, w: Array) -> tuple[Array, Array]:
        """``(P w, w - P w)`` in the dtype of w."""
        xp = np if self._needs_numpy(w) else jnp
        w = xp.asarray(w)
        self.space.check(w.shape)
        expected = jnp.complexfloating if self.space.is_complex else jnp.floating
        if not jnp.issubdtype(w.dtype, expected):
            kind = "complex" if self.space.is_complex else "real floating-point"
            raise TypeError(f"a weight of {self.space.describe()} is {kind}, got {w.dtype}")
        split = split_parts if xp is np else jitted_split_parts
        return split(self.filters, self.dropped, w, space=self.space)

    def _needs_numpy(self, w: Array) -> bool:
        """Whether w is a NumPy float64 that JAX would round: then NumPy computes, in float64."""
        return (
            isinstance(w, np.ndarray)
            and w.dtype in (np.float64, np.complex128)
            and not jax.config.jax_enable_x64
            and all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(self.filters))
            and isinstance(self.dropped, np.ndarray)
        )


def _host(value: Any, what: str) -> Any:
    if isinstance(value, jax.core.Tracer):
        raise TypeError(
            f"{what} of a projector is computed on the host in float64 and cannot be traced: "
            "call it outside jit, grad, vmap and pmap"
        )
    return value
