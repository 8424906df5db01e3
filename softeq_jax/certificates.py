r"""Certificates of layers: from the movement of a kernel to the defect of its convolution.

A convolution with kernel K intertwines a symmetry g of the pixel lattice up to the convolution
with ``g K - K``: ``rho(g) conv(K) rho(g)^-1 = conv(g K)``. That holds for the quarter turns and
flips, where the padding is symmetric and ``(N + 2 p - k)`` is divisible by the stride, so that
the sampled positions are a symmetric set. Then

.. math:: \|\rho(g) \, conv(K) - conv(K) \, \rho(g)\| = \|conv(g K - K)\| \le B(g K - K),

with a bound B of the operator norm of a convolution that is safe for every map size. For other
rotations the action on the feature map is an interpolation, the identity fails, and only the
movement of the kernel itself is known: ``kernel only``.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from softeq_jax.projections import Certificate, Projector, combine
from softeq_jax.reps import Rep

__all__ = [
    "Certificate",
    "ConvolutionGeometry",
    "combine",
    "convolution",
    "convolution_norm_bound",
    "lattice_obstacle",
]

_QUARTER = 0.5 * math.pi


class ConvolutionGeometry(Protocol):
    """What a layer certificate needs to know of a two-dimensional convolution layer."""

    input_shape: tuple[int, int]
    kernel_size: tuple[int, int]
    strides: tuple[int, int]
    padding: tuple[tuple[int, int], tuple[int, int]]
    kernel_dilation: tuple[int, int]
    feature_group_count: int


def convolution_norm_bound(
    kernel: np.ndarray,
    strides: Sequence[int] = (1, 1),
    feature_group_count: int = 1,
    dilation: Sequence[int] = (1, 1),
) -> float:
    r"""A bound of the operator norm of a zero-padded convolution, for maps of any size.

    The smaller of ``sqrt(c_h c_w) * ||K as (kh kw I) x O matrix||_2`` and the sum of the spectral
    norms of the taps. Here ``c = ceil(k / (s / gcd(s, d)))`` for kernel size k, stride s and
    dilation d, ``ceil(k / s)`` without dilation: each input pixel is read by at most
    ``c_h c_w`` windows (tight for patch embeddings). With feature groups, the largest over the
    groups. The Frobenius norm of a kernel is not such a bound.

    Args:
      kernel: [kh, kw, I, O].
      strides: (sh, sw).
      feature_group_count: number of feature groups; O is divided into as many blocks.
      dilation: (dh, dw), spacing of the taps.

    Raises:
      ValueError: the groups do not divide the outputs.
    """
    kernel = np.asarray(kernel, dtype=np.float64)
    kh, kw, inputs, outputs = kernel.shape
    if outputs % feature_group_count:
        raise ValueError(f"{outputs} outputs cannot be divided into {feature_group_count} groups")
    overlap = math.prod(
        math.ceil(k / (s // math.gcd(s, d)))
        for k, s, d in zip((kh, kw), strides, dilation, strict=True)
    )
    bounds = []
    for block in np.split(kernel, feature_group_count, axis=3):
        unfolded = block.reshape(kh * kw * inputs, -1)
        windows = math.sqrt(overlap) * np.linalg.norm(unfolded, 2)
        taps = np.linalg.norm(block, 2, axis=(2, 3)).sum()
        bounds.append(min(windows, taps))
    return float(max(bounds))


def lattice_obstacle(geometry: ConvolutionGeometry) -> str | None:
    """Why a layer breaks the symmetry of the pixel lattice, or None if it does not.

    The feature map must be square (quarter turns map it to itself), padding and strides the same
    on all four sides, and the windows must tile the padded map symmetrically:
    ``(N + 2 p - k) % stride == 0`` with k the dilated kernel size.
    """
    if len(set(geometry.input_shape)) != 1:
        return f"the feature map {geometry.input_shape} is not square"
    sides = {pad for axis in geometry.padding for pad in axis}
    if len(sides) != 1:
        return f"the padding {geometry.padding} is not symmetric"
    mode = getattr(geometry, "padding_mode", "zeros")
    if mode != "zeros":
        return f"padding by {mode}: no safe norm is known here"
    for name in ("kernel_size", "strides", "kernel_dilation"):
        if len(set(getattr(geometry, name))) != 1:
            return f"{name} {getattr(geometry, name)} differs between the axes"
    size = geometry.kernel_dilation[0] * (geometry.kernel_size[0] - 1) + 1
    pad, stride, n = sides.pop(), geometry.strides[0], geometry.input_shape[0]
    if (n + 2 * pad - size) % stride:
        return (
            f"({n} + 2*{pad} - {size}) is not divisible by the stride {stride}: the windows do not "
            "lie symmetrically on the map"
        )
    return None


def convolution(
    projector: Projector,
    kernel: np.ndarray,
    geometry: ConvolutionGeometry,
    *,
    angle: float | None = None,
    flip: bool = False,
    within: float | None = None,
) -> Certificate:
    r"""Certificate of the operator defect ``||rho(g) conv(K) - conv(K) rho(g)||`` of a layer.

    Args:
      projector: of the kernel, for its representation (its level plays no part).
      kernel: HWIO kernel, as given.
      geometry: of the layer, such as ``softeq_jax.models.conv_geometry`` records.
      angle: angle of one element in radians; None for the whole group.
      flip: whether that element contains the flip.
      within: instead, all rotations by at most this angle.

    Returns:
      A certificate in the operator norm (its ``weight_norm`` bounds the layer's norm), where every
      element asked for is a symmetry of the pixel lattice (C1, C2, C4, D1, D2, D4, or such an
      element of a larger group) and the layer respects it. Otherwise ``certified`` is False,
      bound and supremum are NaN, and the reason begins with ``"kernel only"`` (other rotations:
      ``projector.certificate`` still holds for the kernel) or ``"not certified"`` (the layer
      breaks the lattice symmetry).

    Raises:
      ValueError: as ``Projector.certificate``; a kernel of another size than the layer's.
    """
    of_kernel = projector.certificate(kernel, angle=angle, flip=flip, within=within)
    kernel = np.asarray(kernel, dtype=np.float64)
    if kernel.shape[:2] != tuple(geometry.kernel_size):
        raise ValueError(
            f"a kernel of shape {kernel.shape} does not belong to a layer with windows of "
            f"{tuple(geometry.kernel_size)}"
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

    group, rep = projector.rep.group, projector.rep
    obstacle = lattice_obstacle(geometry)
    if obstacle is not None:
        return refused(f"not certified: {obstacle}")
    everywhere = group.rotations in (1, 2, 4)
    elements = _elements(rep, of_kernel)
    if elements is None:
        return refused(
            f"kernel only: {group!r} rotates the feature map by interpolation, which the layer "
            "does not commute with"
        )

    def defect(turns: int, mirrored: bool) -> float:
        moved = kernel[:, ::-1] if mirrored else kernel
        return norm_bound(np.rot90(moved, turns) - kernel)

    margin = 1e-12 * norm
    bound = max((defect(*element) for element in elements), default=0.0) + margin
    supremum = math.nan
    if everywhere:
        supremum = max(defect(*element) for element in _lattice_elements(rep)) + margin
    return dataclasses.replace(
        of_kernel,
        bound=bound,
        supremum=supremum,
        weight_norm=norm,
        norm="operator",
        reason="safe norm of the convolution with g K - K",
    )


def _elements(rep: Rep, asked: Certificate) -> list[tuple[int, bool]] | None:
    """The quarter turns and flips that a certificate is about; None if there are others."""
    if asked.scope == "element":
        turns = asked.angle / _QUARTER
        if abs(turns - round(turns)) > 1e-9:
            return None
        return [(round(turns) % 4, asked.flip)]
    if rep.group.rotations not in (1, 2, 4):
        return None
    if asked.scope == "global":
        return _lattice_elements(rep)
    return [
        (turns, mirrored)
        for turns, mirrored in _lattice_elements(rep)
        if not mirrored and min(turns, 4 - turns) * _QUARTER <= asked.angle + 1e-12
    ]


def _lattice_elements(rep: Rep) -> list[tuple[int, bool]]:
    step = 4 // rep.group.rotations
    flips = (False, True) if rep.group.has_flip else (False,)
    return [(turns, mirrored) for turns in range(0, 4, step) for mirrored in flips]
