r"""Certificates of layers: from the movement of a kernel to the defect of its convolution.

A convolution with kernel K intertwines a symmetry g of the pixel lattice up to the convolution
with ``g K - K``: ``rho(g) conv(K) rho(g)^-1 = conv(g K)``. That holds for the quarter turns and
flips of pixels and the 48 symmetries of voxels, where the padding is symmetric and
``(N + 2 p - k)`` is divisible by the stride, so that the sampled positions are a symmetric set.
Then

.. math:: \|\rho(g) \, conv(K) - conv(K) \, \rho(g)\| = \|conv(g K - K)\| \le B(g K - K),

with a bound B of the operator norm of a convolution that is safe for every map size. For other
rotations the action on the feature map is an interpolation, the identity fails, and only the
movement of the kernel itself is known: ``kernel only``.

The channel axes may carry representations too; g then acts on all axes of K. If the group moves no
pixels, K -> g K is an intertwiner for every geometry.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Protocol, Unpack

import numpy as np

from softeq_jax.certificates._composition import Linear
from softeq_jax.projections import Certificate, Projector, Question, Space
from softeq_jax.projections.movement import ELEMENTS, Inquiry, understand
from softeq_jax.reps import GridImage, Voxels

_LATTICE = 1e-9  # how far entries of a symmetry of the lattice may be from whole numbers
_TURN = np.array([[0, -1], [1, 0]])  # also (row, column) of (x, y), as rows go down


class ConvolutionGeometry(Protocol):
    """What a layer certificate needs to know of a convolution; an entry for each grid axis."""

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Grid of the input."""
        ...

    @property
    def kernel_size(self) -> tuple[int, ...]:
        """Grid of the kernel."""
        ...

    @property
    def strides(self) -> tuple[int, ...]:
        """Steps between outputs."""
        ...

    @property
    def padding(self) -> tuple[tuple[int, int], ...]:
        """Pixels added (before, after) on each axis."""
        ...

    @property
    def kernel_dilation(self) -> tuple[int, ...]:
        """Spacing of the kernel's taps."""
        ...

    @property
    def feature_group_count(self) -> int:
        """Groups of channels."""
        ...


def convolution_norm_bound(
    kernel: np.ndarray,
    strides: Sequence[int] | None = None,
    feature_group_count: int = 1,
    dilation: Sequence[int] | None = None,
) -> float:
    r"""A bound of the operator norm of a zero-padded convolution, for maps of any size.

    The smaller of ``sqrt(prod c) * ||K as (taps I) x O matrix||_2`` and the sum of the spectral
    norms of the taps. Here ``c = ceil(k / (s / gcd(s, d)))`` for kernel size k, stride s and
    dilation d on each grid axis, ``ceil(k / s)`` without dilation: each input pixel is read by at
    most ``prod c`` windows (tight for patch embeddings). With feature groups, the largest over the
    groups. The Frobenius norm of a kernel is not such a bound.

    Args:
      kernel: ``[*window, I, O]`` with any number of grid axes: HWIO, DHWIO.
      strides: steps between outputs, one for each grid axis; 1 if left out.
      feature_group_count: number of feature groups; O is divided into as many blocks.
      dilation: spacing of the taps, one for each grid axis; 1 if left out.

    Raises:
      ValueError: the groups do not divide the outputs, or a number of grid axes is another one.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> kernel = np.ones((3, 3, 1, 1)) / 9  # a mean
      >>> round(sq.certificates.convolution_norm_bound(kernel), 6)
      1.0
    """
    kernel = np.asarray(kernel)
    kernel = kernel.astype(np.complex128 if np.iscomplexobj(kernel) else np.float64)
    *window, inputs, outputs = kernel.shape
    ones = (1,) * len(window)
    strides, dilation = (ones if each is None else tuple(each) for each in (strides, dilation))
    if {len(strides), len(dilation)} != {len(window)}:
        raise ValueError(
            f"a kernel of shape {kernel.shape} has {len(window)} grid axes, got the strides "
            f"{strides} and the dilation {dilation}"
        )
    if outputs % feature_group_count:
        raise ValueError(f"{outputs} outputs cannot be divided into {feature_group_count} groups")
    overlap = math.prod(
        math.ceil(k / (s // math.gcd(s, d)))
        for k, s, d in zip(window, strides, dilation, strict=True)
    )
    bounds = []
    for block in np.split(kernel, feature_group_count, axis=-1):
        unfolded = block.reshape(math.prod(window) * inputs, -1)
        windows = math.sqrt(overlap) * np.linalg.norm(unfolded, 2)
        taps = np.linalg.norm(block, 2, axis=(-2, -1)).sum()
        bounds.append(min(windows, taps))
    return float(max(bounds))


def lattice_obstacle(
    geometry: ConvolutionGeometry, elements: Sequence[np.ndarray] | None = None
) -> str | None:
    """Why a layer breaks symmetries of the pixel lattice, or None if it does not.

    On the axes that they reverse the padding must be the same on both sides, and the windows must
    tile the padded map symmetrically: ``(N + 2 p - k) % stride == 0`` with k the dilated kernel
    size. Where they exchange axes (quarter turns), the feature map must be as long on both, and
    all else the same.

    Args:
      geometry: of the layer, with d grid axes.
      elements: signed permutation matrices ``[m, d, d]``: of the plane, acting on x (right) and y
        (up), or acting on the array axes in their order where there are not two; all quarter turns
        if left out.

    Raises:
      ValueError: an element is no such matrix.

    Example:
      >>> import softeq_jax as sq
      >>> from softeq_jax.models import ConvGeometry
      >>> strided = ConvGeometry((8, 8), (3, 3), (2, 2), ((0, 1), (0, 1)), (1, 1), 1)
      >>> sq.certificates.lattice_obstacle(strided)
      'the padding ((0, 1), (0, 1)) is not symmetric'
    """
    d = len(geometry.input_shape)
    every = _on_axes(_quarter_turns(d) if elements is None else elements, d)
    swapped = [(i, j) for i in range(d) for j in range(d) if i != j and np.any(every[:, i, j])]
    backward = np.any(every < 0, axis=0)
    reversed_ = [axis for axis in range(d) if np.any(backward[axis]) or np.any(backward[:, axis])]
    for to, source in swapped:
        if geometry.input_shape[to] != geometry.input_shape[source]:
            kind = "square" if d == 2 else "as long on the axes that trade places"
            return f"the feature map {geometry.input_shape} is not {kind}"
    for axis in reversed_:
        if len(set(geometry.padding[axis])) != 1:
            return f"the padding {geometry.padding} is not symmetric"
    for to, source in swapped:
        for name in ("padding", "kernel_size", "strides", "kernel_dilation"):
            values = getattr(geometry, name)
            if values[to] != values[source]:
                return f"{name.replace('_', ' ')} {values} differs between the axes"
    for axis in reversed_:
        size = geometry.kernel_dilation[axis] * (geometry.kernel_size[axis] - 1) + 1
        pad, stride = geometry.padding[axis][0], geometry.strides[axis]
        n = geometry.input_shape[axis]
        if (n + 2 * pad - size) % stride:
            return (
                f"({n} + 2*{pad} - {size}) is not divisible by the stride {stride}: the windows do "
                "not lie symmetrically on the map"
            )
    return None


def _on_axes(elements: Sequence[np.ndarray] | np.ndarray, d: int) -> np.ndarray:
    """Symmetries of the lattice as signed permutations of the array axes, ``[m, d, d]``."""
    given = np.asarray(elements, np.float64)
    every = np.rint(given).astype(int)
    if given.shape[-2:] != (d, d) or not (
        np.all(np.abs(given - every) <= _LATTICE)
        and np.all(np.abs(every).sum(axis=-1) == 1)
        and np.all(np.abs(every).sum(axis=-2) == 1)
    ):
        raise ValueError(
            f"symmetries of a lattice with {d} axes are signed permutation matrices "
            f"[m, {d}, {d}], got {given.tolist() if given.size <= 9 else given.shape}"
        )
    every = every.reshape(-1, d, d)
    frame = _TURN if d == 2 else np.eye(d, dtype=int)
    return frame @ every @ frame.T


def _quarter_turns(d: int) -> list[np.ndarray]:
    """Turns of each axis to the next one, which generate all rotations of the lattice."""
    found = []
    for axis in range(d - 1):
        turn = np.eye(d)
        turn[axis : axis + 2, axis : axis + 2] = _TURN
        found.append(turn)
    return found


def convolution(
    projector: Projector,
    kernel: np.ndarray,
    geometry: ConvolutionGeometry,
    **question: Unpack[Question],
) -> Certificate:
    r"""Certificate of the operator defect ``||rho(g) conv(K) - conv(K) rho(g)||`` of a layer.

    Args:
      projector: of the kernel ``[*window, in, out]``, for its representations (its level plays no
        part): on the window an image, voxels or nothing; anything orthogonal on the channels.
      kernel: as given; HWIO, DHWIO or of any number of grid axes.
      geometry: of the layer, such as ``softeq_jax.models.conv_geometry`` records.
      question: about which elements, see ``projections.Question``; the whole group by default.

    Returns:
      A certificate in the operator norm (its ``weight_norm`` bounds the layer's norm), where every
      element asked for is a symmetry of the pixel lattice (C1, C2, C4, D1, D2, D4, the octahedral
      groups, or such an element of a larger group; any element of a group that moves no pixels)
      and the layer respects it. Otherwise ``certified`` is False, bound and supremum are NaN, and
      the reason begins with ``"kernel only"`` (other rotations: ``projector.certificate`` still
      holds for the kernel) or ``"not certified"`` (the layer breaks the lattice symmetry).

    Raises:
      ValueError: as ``Projector.certificate``; a kernel of another size than the layer's.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> from softeq_jax.models import ConvGeometry
      >>> same = ConvGeometry((8, 8), (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 1)
      >>> P = sq.projector("h w i o", {"h w": sq.reps.image(sq.groups.cyclic(4), (3, 3))})
      >>> c = sq.certificates.convolution(P, np.ones((3, 3, 1, 1)), same)
      >>> c.certified, c.norm, c.bound < 1e-9  # a kernel of ones commutes with quarter turns
      (True, 'operator', True)
    """
    space = projector.space
    of_kernel = projector.certificate(kernel, **question)
    kernel = np.asarray(kernel, dtype=np.complex128 if space.is_complex else np.float64)
    window = tuple(geometry.kernel_size)
    if kernel.ndim != len(window) + 2 or kernel.shape[:-2] != window:
        raise ValueError(
            f"a kernel of shape {kernel.shape} does not belong to a layer with windows of {window}"
        )

    def norm_bound(k: np.ndarray) -> float:
        return convolution_norm_bound(
            k, geometry.strides, geometry.feature_group_count, geometry.kernel_dilation
        )

    norm = norm_bound(kernel)

    def refused(reason: str) -> Certificate:
        return dataclasses.replace(
            of_kernel,
            bound=math.nan,
            supremum=math.nan,
            weight_norm=norm,
            norm="operator",
            certified=False,
            reason=reason,
        )

    elements = _elements(space, understand(space.group, **question))
    obstacle = _channel_obstacle(space, geometry) or _filling_obstacle(geometry, ("zeros",))
    if obstacle is None and _moves_pixels(space):
        obstacle = lattice_obstacle(geometry, _dense(space, elements))
    if obstacle is not None:
        return refused(f"not certified: {obstacle}")
    if elements is None:
        return refused(
            f"kernel only: {space.group!r} rotates the feature map by interpolation, which the "
            "layer does not commute with"
            if _moves_pixels(space)
            else f"not certified: the safe norm of conv(g K - K) is taken for one element of "
            f"{space.group!r} at a time, or over the elements of a finite group"
        )

    def defect(g: np.ndarray) -> float:
        return norm_bound(_moved(space, g, kernel) - kernel)

    margin = 1e-12 * norm
    bound = max((defect(g) for g in elements), default=0.0) + margin
    everything = _all_elements(space)
    if everything is not None and _moves_pixels(space):
        everything = None if lattice_obstacle(geometry, _dense(space, everything)) else everything
    supremum = math.nan if everything is None else max(map(defect, everything)) + margin
    return dataclasses.replace(
        of_kernel,
        bound=bound,
        supremum=supremum,
        weight_norm=norm,
        norm="operator",
        reason="safe norm of the convolution with g K - K",
    )


def averaging(
    geometry: ConvolutionGeometry, elements: Sequence[np.ndarray] | None = None, name: str = ""
) -> Linear:
    """What ``compose`` needs to know of a layer that averages each channel by itself.

    Such are blur-pools and mean pools: one window of weights >= 0 for all channels, the same after
    every turn and mirror, with sum 1. Its norm is at most 1 (``softeq_jax.nn.BlurPool`` has the
    proof, which asks nothing else of the window), and it commutes with the symmetries of the pixel
    lattice that ``lattice_obstacle`` does not object to.

    Args:
      geometry: of the layer, such as ``softeq_jax.models.conv_geometry`` records of a blur-pool.
      elements: quarter turns and flips, see ``lattice_obstacle``.
      name: for the report.

    Returns:
      A layer of norm 1 and defect 0; not certified, with the reason, where it breaks a symmetry or
      its padding is another than zeros, circular or symmetric.

    Example:
      >>> import softeq_jax as sq
      >>> from softeq_jax.models import ConvGeometry
      >>> pool = ConvGeometry((8, 8), (2, 2), (2, 2), ((0, 0), (0, 0)), (1, 1), 1)
      >>> layer = sq.certificates.averaging(pool)
      >>> layer.certified, layer.norm, layer.defect
      (True, 1.0, 0.0)
    """
    filling = _filling_obstacle(geometry, ("zeros", "circular", "symmetric"))
    norm = 1.0 if filling is None else math.nan
    reason = filling or lattice_obstacle(geometry, elements)
    if reason is None:
        return Linear(0.0, norm, name=name)
    return Linear(math.nan, norm, certified=False, reason=reason, name=name)


def _filling_obstacle(geometry: ConvolutionGeometry, known: tuple[str, ...]) -> str | None:
    """Why the norm of a layer is not known: what its padding holds."""
    mode = getattr(geometry, "padding_mode", "zeros")
    return None if mode in known else f"padding by {mode}: no safe norm is known here"


def _moves_pixels(space: Space) -> bool:
    return any(min(e.positions) < len(space.names) - 2 for e in space.entries)


def _channel_obstacle(space: Space, geometry: ConvolutionGeometry) -> str | None:
    """What keeps the actions on the axes of a kernel from being those of a layer."""
    grid = tuple(range(len(geometry.kernel_size)))
    for entry in space.entries:
        if entry.positions in ((len(grid),), (len(grid) + 1,)):
            if not entry.rep.is_orthogonal:
                return f"the channels of {entry.rep!r} are not acted on by orthogonal matrices"
            if geometry.feature_group_count != 1 and not entry.rep.is_trivial:
                return f"{geometry.feature_group_count} feature groups cut through {entry.rep!r}"
        elif entry.positions != grid or not isinstance(entry.rep, GridImage | Voxels):
            names = " ".join(space.names[p] for p in entry.positions)
            return f"{entry.rep!r} on the axes {names!r} is no action on images that is known here"
    return None


def _moved(space: Space, g: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """``g K``, by exact moves of the pixels."""
    for entry in space.entries:
        if isinstance(entry.rep, GridImage | Voxels):
            kernel = _turned(kernel, _on_axes([space.group.dense(g)], len(entry.positions))[0])
        else:
            kernel = entry.rep.apply(g, kernel, axes=entry.positions)
    return kernel


def _turned(x: np.ndarray, symmetry: np.ndarray) -> np.ndarray:
    """``f(g^-1 x)`` for a signed permutation g of the first axes."""
    d = len(symmetry)
    sources = np.abs(symmetry).argmax(axis=1)
    moved = np.transpose(x, (*sources, *range(d, x.ndim)))
    return np.flip(moved, tuple(axis for axis in range(d) if symmetry[axis].sum() < 0))


def _dense(space: Space, elements: Sequence[np.ndarray] | None) -> list[np.ndarray] | None:
    return None if elements is None else [space.group.dense(g) for g in elements]


def _on_lattice(space: Space, g: np.ndarray) -> bool:
    """Whether an element is a signed permutation of the grid's axes."""
    matrix = space.group.dense(g)
    return bool(np.max(np.abs(matrix - np.rint(matrix))) <= _LATTICE)


def _elements(space: Space, inquiry: Inquiry) -> list[np.ndarray] | None:
    """The elements that are asked about; None if they are not all lattice symmetries."""
    if inquiry.element is not None:
        known = not _moves_pixels(space) or _on_lattice(space, inquiry.element)
        return [inquiry.element] if known else None
    every = _all_elements(space)
    if every is None or inquiry.scope == "global":
        return every
    return None if inquiry.elements is None else list(inquiry.elements)


def _all_elements(space: Space) -> list[np.ndarray] | None:
    """All elements, if they are few and symmetries of the lattice where they move pixels."""
    group = space.group
    if group.order is None or group.order > ELEMENTS:
        return None
    every = list(group.listed())
    if _moves_pixels(space) and not all(_on_lattice(space, g) for g in every):
        return None
    return every
