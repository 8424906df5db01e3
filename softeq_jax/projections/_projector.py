r"""The projector of a weight array onto its (softly) invariant part, and its constructor.

A weight is a vector in a tensor product of representations, one per axis; the layer is
equivariant iff the weight is invariant (for convolutions: under the symmetries of the pixel
lattice). With the orthogonal projectors :math:`\Pi_\sigma` on its levels and a mask m,

.. math:: P w = w - \sum_\sigma (1 - m_\sigma) \, \Pi_\sigma w,

which is w to the bit where m = 1 everywhere. With the hard mask of level 0 this is, for compact
groups, the Reynolds operator; for all groups the orthogonal projector on the invariant vectors.
"""

import dataclasses
import math
import warnings
from collections.abc import Mapping
from typing import Any, Unpack

import jax
import jax.numpy as jnp
import numpy as np

from softeq_jax._checks import is_traced
from softeq_jax._sizes import told
from softeq_jax._text import WIDTH, clipped, html_table, paragraph
from softeq_jax.projections import _choose, _levels
from softeq_jax.projections._certificate import Certificate
from softeq_jax.projections._choose import Splitting, splitting
from softeq_jax.projections._dials import Dials
from softeq_jax.projections._filter import Array, Filters, jitted_split_parts, split_parts
from softeq_jax.projections._levels import Levels
from softeq_jax.projections._space import Space, parse
from softeq_jax.projections.backends import BACKENDS
from softeq_jax.projections.movement import Question, certificate
from softeq_jax.reps import Rep


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Projector:
    """An immutable pytree that filters one kind of weight array. Build it with ``projector``.

    Calling it, ``residual`` and ``split`` are array operations that work under any
    transformation, with the projector as an argument or a constant; all else is host-side, in
    float64, and refuses tracers. The level is a data leaf: changing it recompiles nothing, once
    all levels were built (large spaces add them when a level above 0 is first asked for).

    Attributes:
      filters: what filters each block of the weight.
      dropped: float64 ``[levels + 1]``, one minus the mask on each level; the last entry is for
        what has no finite level.
      space: the axes and representations.
      spectrum: the levels and their dimensions.
      mask: ``"hard"``, ``"heat"`` or ``"resolvent"``.
      backend: the back end that was asked for, None if it was chosen.
      convention: ``"central"`` or ``"stacked"``.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> V = sq.reps.vector(sq.groups.so(3))
      >>> P = sq.projector("i o", {"i": V, "o": V})
      >>> P.rank(), P.dim
      (1, 9)
      >>> np.diag(P(np.diag([1.0, 2.0, 6.0])))  # its mean, three times
      array([3., 3., 3.])
    """

    filters: Filters
    dropped: Array
    _width: Array | float
    space: Space = dataclasses.field(metadata={"static": True})
    spectrum: Levels = dataclasses.field(metadata={"static": True})
    mask: str = dataclasses.field(metadata={"static": True})
    backend: str | None = dataclasses.field(metadata={"static": True})
    convention: str = dataclasses.field(metadata={"static": True})

    def __call__(self, w: Array) -> Any:
        """``P w``, in the dtype of w (half precision is computed in float32).

        A NumPy float64 (complex128) array is computed by NumPy, and comes back as one, where JAX
        has no such numbers (``jax_enable_x64`` is off). NaN and infinite entries are not looked
        for, which would wait for the device: they spread over what is averaged with them. Files
        of weights are checked when they are read (``models.load``).

        Raises:
          ValueError: the shape does not fit the axes.
          TypeError: w is not floating-point, complex for complex representations.
        """
        return self._parts(w)[0]

    def residual(self, w: Array) -> Any:
        """``w - P w``, computed first, so that it is small without cancellation."""
        return self._parts(w)[1]

    def split(self, w: Array) -> tuple[Any, Any]:
        """``(P w, w - P w)``, orthogonal parts of w.

        Raises:
          ValueError: the mask is smooth: then P is not idempotent and the parts not orthogonal.
        """
        self.refuse_smooth("split")
        return self._parts(w)

    def refuse_smooth(self, what: str) -> None:
        """ValueError for a smooth mask, which is no projector, where ``what`` needs one."""
        if self.mask != "hard":
            raise ValueError(
                f"{what} needs an orthogonal projector, and this one has the smooth mask "
                f'{self.mask!r}: name mask="hard" beside the softness or the cutoff'
            )

    def at(self, **dials: Unpack[Dials]) -> "Projector":
        """The same projector at another setting of the dials, see ``Dials``.

        Raises:
          ValueError: not exactly one dial, one out of range, or levels that do not exist.

        Example:
          >>> I = sq.reps.image(sq.groups.so(2), (3, 3))
          >>> P = sq.projector("h w", {"h w": I})
          >>> [P.at(cutoff=b).rank() for b in (0, 1, 2, 3)]  # angular frequencies up to b
          [3, 5, 7, 9]
        """
        return self._at(dials, "Projector.at")

    def _at(self, dials: Dials, what: str) -> "Projector":
        """As ``at``, called by what the user calls."""
        wanted = _levels.setting(dials, self.mask, what)
        if wanted.needs_all_levels:
            _choose.warn_of_given_levels(self.space, self.convention)
        source = self.complete() if wanted.needs_all_levels else self
        dropped, width = _levels.dropped_at(source.spectrum, wanted)
        missed = _levels.shortfall(source.spectrum, wanted, dropped)
        if missed and not is_traced(jnp.zeros(())):
            warnings.warn(f"{self.space.describe()}: {missed}", stacklevel=3)
        return dataclasses.replace(
            source, dropped=dropped, _width=np.float64(width), mask=wanted.mask
        )

    def levels(self) -> np.ndarray:
        """The distinct finite levels of the action, ascending, in 1 / radian. float64 [l]."""
        known = self.complete().spectrum
        return np.array(known.values)[np.array(known.dimensions) > 0]

    def dimensions(self) -> np.ndarray:
        """The dimension of each level of ``levels()``, per index of the unnamed axes. int [l]."""
        dimensions = np.array(self.complete().spectrum.dimensions)
        return dimensions[dimensions > 0]

    def factors(self) -> np.ndarray:
        """What the mask multiplies each level of ``levels()`` by, in [0, 1]. float64 [l]."""
        source = self.complete()
        return 1.0 - source.host_dropped()[:-1][np.array(source.spectrum.dimensions) > 0]

    def rank(self) -> float:
        """Trace of P on the named axes: the rank of a hard cut (an int), else a float."""
        trace = float(self.spectrum.sizes @ (1.0 - self.host_dropped()))
        return round(trace) if self.mask == "hard" else trace

    @property
    def dim(self) -> int:
        """Dimension of the named axes, the rank of the identity."""
        return self.space.dim

    @property
    def cutoff(self) -> float:
        """Highest level a hard mask keeps, or the width of a smooth one; infinite: identity."""
        return float(_host(self._width, "cutoff"))

    @property
    def softness(self) -> float:
        """Realized softness ``(rank - n0) / (n - n0)``; 1 for the identity and nothing else."""
        return _levels.realized_softness(self.spectrum, self.host_dropped())

    def act(self, g: Array, w: Array) -> Any:
        """``g w``, the weight moved by a group element ``[d, d]``: certificates bound ``g w - w``.

        A NumPy array is moved by NumPy, in its own precision. ValueError for a matrix that is not
        in the group, or a shape that does not fit.
        """
        return self.space.act(g, w)

    def certificate(self, w: Array | None = None, **question: Unpack[Question]) -> Certificate:
        """How far the group can move the weight w *as given* (pass ``P(w)`` for the filtered one).

        Args:
          w: concrete array. None asks what this projector guarantees a priori, for ``P w`` of
            every w with ``||w|| = 1``.
          question: about which elements, see ``Question``; the whole group by default.

        Returns:
          A ``Certificate`` of ``||g w - w||`` in the Frobenius norm. For groups of the plane it is
          the exact movement ``sum_m 4 sin^2(m t / 2) ||w_m||^2`` (and its analogue for
          reflections); for others see ``softeq_jax.certificates``.

        Raises:
          ValueError: NaN or infinite weights, a shape that does not fit, no such element.
          TypeError: a traced weight, or one of the wrong kind of numbers.

        Example:
          >>> P = sq.projector("h w", {"h w": sq.reps.image(sq.groups.cyclic(4), (2, 2))})
          >>> w = np.array([[1.0, 2.0], [3.0, 4.0]])  # turned by 90 degrees: [[2, 4], [1, 3]]
          >>> round(P.certificate(w, angle=np.pi / 2).bound ** 2, 9)
          10.0
        """
        if w is not None:
            w = np.asarray(_host(w, "certificate"))
            self.space.check_weight(w)
            w = w.astype(np.complex128 if self.space.is_complex else np.float64)
        instead = "angle=, within= or one element= are asked faster than the whole group"
        with told(f"certifying a weight of {self.space.describe()}", instead):
            return certificate(self.host_splitting(), self.host_dropped(), w, **question)

    def __repr__(self) -> str:
        spec = " ".join(self.space.names)
        head = f"Projector({spec!r}, {self.space.describe()}, mask={self.mask}"
        dials = ""
        if not is_traced(self._width) and not np.ndim(self._width):
            dials = f", cutoff={self.cutoff:.4g}, softness={self.softness:.4g}"
        return f"{clipped(head, WIDTH - len(dials) - 1)}{dials})"

    def _repr_html_(self) -> str:
        text = paragraph(repr(self))
        if is_traced(self.dropped) or np.ndim(self.dropped) > 1 or not self.spectrum.complete:
            return text
        numbers = zip(self.levels(), self.dimensions(), self.factors(), strict=True)
        rows = [(f"{level:.4g}", f"{count}", f"{kept:.3g}") for level, count, kept in numbers]
        return text + html_table(("level", "dimensions", "kept"), rows)

    def host_dropped(self) -> np.ndarray:
        """One minus the mask on each level, float64 ``[levels + 1]``; TypeError if it is traced,
        ValueError for a stack of masks (a projector under ``vmap``)."""
        dropped = np.asarray(_host(self.dropped, "rank, softness and the like"), dtype=np.float64)
        if dropped.ndim != 1:
            raise ValueError(f"a stack of masks {dropped.shape} has no single rank or softness")
        return dropped

    def host_splitting(self) -> Splitting:
        """Space, levels and their filters in double precision, for NumPy."""
        leaves = jax.tree.leaves(self.filters)
        double = all(isinstance(leaf, np.ndarray) for leaf in leaves)
        if double and not any(leaf.dtype in (np.float32, np.complex64) for leaf in leaves):
            return Splitting(self.space, self.filters, self.spectrum, self.convention)
        return splitting(self.space, self.spectrum.complete, None, self.convention)

    def complete(self) -> "Projector":
        """The same projector with all levels known; ValueError where there are none above 0."""
        if self.spectrum.complete:
            return self
        built = splitting(self.space, True, None, self.convention)
        dropped = np.zeros(len(built.levels.values) + 1)
        if np.any(self.host_dropped()):
            dropped[1:] = 1.0
        return dataclasses.replace(
            self, filters=built.filters, spectrum=built.levels, dropped=dropped
        )

    def _parts(self, w: Array) -> tuple[Array, Array]:
        """``(P w, w - P w)`` in the dtype of w."""
        by_numpy = self._needs_numpy(w)
        w = np.asarray(w) if by_numpy else jnp.asarray(w)
        self.space.check_weight(w)
        split = split_parts if by_numpy else jitted_split_parts
        return split(self.filters, self.dropped, w, layout=self.space.layout)

    def _needs_numpy(self, w: Array) -> bool:
        """Whether w is a NumPy float64 that JAX would round: then NumPy computes, in float64."""
        return (
            isinstance(w, np.ndarray)
            and w.dtype in (np.float64, np.complex128)
            and jax.dtypes.canonicalize_dtype(w.dtype) != w.dtype
            and all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(self.filters))
            and isinstance(self.dropped, np.ndarray)
        )


def _host(value: Any, what: str) -> Any:
    if is_traced(value):
        raise TypeError(
            f"{what} of a projector is computed on the host in float64 and cannot be traced: "
            "call it outside jit, grad, vmap and pmap"
        )
    return value


def projector(
    spec: str,
    reps: Mapping[str, Rep],
    *,
    backend: str | None = None,
    convention: str = "central",
    **dials: Unpack[Dials],
) -> Projector:
    """The projector of weights with these axes onto their (softly) invariant part.

    Args:
      spec: names of the axes separated by spaces, ``1`` for one of size one; for instance
        ``"h w i o"`` for a convolution kernel, ``"i o"`` for a dense one, ``"1 n c"`` for a
        position table.
      reps: the representation on each acting axis or group of axes, ``{"h w": image}`` or
        ``{"i": V.dual, "o": V}``. Axes not named here are acted on trivially.
      backend: to force one of ``"spectral"`` (groups of the plane), ``"orbits"`` (signed
        permutations), ``"isotypic"`` (Schur's lemma), ``"gram"`` (dense eigenvectors),
        ``"krylov"`` (Chebyshev filter) or ``"mean"`` (plain orbit mean); by default it is chosen.
        They agree where they apply; orbits, krylov and mean are strict only.
      convention: ``"central"``, or ``"stacked"`` for the levels of the published code (singular
        values of the stacked generators), for comparison with its numbers only.
      dials: see ``Dials``; strict if neither cutoff nor softness is given.

    Raises:
      ValueError: see ``Projector.at``; unknown axes, mismatched groups, a back end that cannot
        treat these representations.
      TypeError: ``reps`` is no dictionary, or a dial is traced.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> V = sq.reps.vector(sq.groups.so(3))
      >>> P = sq.projector("i o", {"i": V, "o": V})  # what commutes with rotations: multiples of 1
      >>> np.diag(P(np.diag([1.0, 2.0, 6.0]))).round(6), P.rank()
      (array([3., 3., 3.]), 1)
    """
    if backend is not None and backend not in BACKENDS:
        raise ValueError(f"unknown back end {backend!r}: expected one of {', '.join(BACKENDS)}")
    if convention not in ("central", "stacked"):
        raise ValueError(f"unknown convention {convention!r}: expected 'central' or 'stacked'")
    if backend is not None and convention == "stacked":
        raise ValueError(
            f"convention='stacked' has a back end of its own: leave backend={backend!r} out"
        )
    if not isinstance(reps, Mapping):
        raise TypeError(
            f"reps must be a dictionary from axes of {spec!r} to representations, such as "
            f"{{{spec.split(' ')[0]!r}: V}}, got {reps!r}"
        )
    space = parse(spec, reps)
    strict = dials.get("cutoff") is None and dials.get("softness") is None
    if strict:
        dials = {**dials, "cutoff": 0.0}
    wanted = _levels.setting(dials, "hard", "projector")
    if strict and wanted.mask != "hard":
        raise ValueError(f"mask={wanted.mask!r} needs a dial beside it: softness= or cutoff=")
    _choose.warn_if_strict_only(space)
    built = splitting(space, wanted.needs_all_levels, backend, convention)
    dropped = np.zeros(len(built.levels.values) + 1)
    return Projector(
        built.filters, dropped, math.inf, space, built.levels, wanted.mask, backend, convention
    )._at(dials, "projector")
