r"""Layers from their kernels: operator norm and operator defect of dense ones, biases.

For a kernel ``[in, out]``, an element of ``dual(V_in) (x) V_out``, the map ``W`` of its layer has
the defect ``rho_out(g) W - W rho_in(g) = (g W - W) rho_in(g)``. Its spectral norm, not the
Frobenius norm of the kernel's movement, enters theorem 6. Over a range of elements, for orthogonal
actions, theorems 3 and 4b hold in the spectral norm too:
``min(2 ||N W||, r ||sum_k (A_k W)^* (A_k W)||^(1/2))``.
"""

import math
from typing import Any, Unpack

import numpy as np

from softeq_jax.certificates._bounds import weight
from softeq_jax.certificates._composition import Linear
from softeq_jax.certificates._convolution import ConvolutionGeometry, convolution
from softeq_jax.projections import ROUNDING, Projector, Question
from softeq_jax.projections.movement import (
    ELEMENTS,
    Inquiry,
    frobenius,
    is_isometric,
    lie_images,
    moving_part,
    unbounded,
    understand,
)
from softeq_jax.reps import Rep


def linear(
    projector: Projector,
    kernel: Any,
    bias: Any = None,
    bias_projector: Projector | None = None,
    *,
    geometry: ConvolutionGeometry | None = None,
    name: str = "",
    **question: Unpack[Question],
) -> Linear:
    """What theorem 6 needs to know of a layer, from its parameters.

    Args:
      projector: of the kernel, for axes and representations (its level plays no part); two axes
        ``[in, out]``, or ``[*window, in, out]`` with a geometry.
      kernel: concrete, as given.
      bias: concrete ``[out]``; none if left out.
      bias_projector: of the bias. Left out, the bias may move by ``2 ||b||``.
      geometry: of a convolution, whose safe norms then take the place of spectral norms.
      name: for the report.
      question: about which elements, see ``projections.Question``; the whole group by default.

    Returns:
      A ``Linear`` for ``compose``; not certified, with the reason, where no bound is known.

    Raises:
      ValueError: a kernel or bias that does not fit, a question that makes no sense.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> V = sq.reps.vector(sq.groups.so(3))
      >>> P = sq.projector("i o", {"i": V, "o": V})
      >>> layer = sq.certificates.linear(P, 2 * np.eye(3))
      >>> layer.certified, round(layer.norm, 6), round(layer.defect, 6)
      (True, 2.0, 0.0)
    """
    bias_norm, bias_defect, why = _bias(projector, bias, bias_projector, geometry, question)
    if geometry is not None:
        found = convolution(projector, kernel, geometry, **question)
        norm, defect = found.weight_norm, found.bound
        reason = "" if found.certified else found.reason
    else:
        kernel = weight(projector, kernel)
        if kernel.ndim != 2:
            raise ValueError(
                f"a dense kernel has two axes [in, out], got shape {kernel.shape}; a convolution "
                "needs its geometry"
            )
        norm = _spectral(kernel)
        norm += ROUNDING * norm
        inquiry = understand(projector.space.group, **question)
        defect, reason = _defect(projector, kernel, inquiry)
        defect += ROUNDING * norm
    source, target = (_rep(projector, axis, geometry) for axis in (-2, -1))
    reason = "; ".join(filter(None, (reason, why)))
    if source is not None:
        source = source.dual
    return Linear(defect, norm, bias_norm, bias_defect, not reason, reason, name, source, target)


def _bias(
    projector: Projector,
    bias: Any,
    bias_projector: Projector | None,
    geometry: ConvolutionGeometry | None,
    question: Question,
) -> tuple[float, float, str]:
    if bias is None:
        return 0.0, 0.0, ""
    bias = np.asarray(bias)
    if bias.ndim != 1 or not np.all(np.isfinite(bias)):
        raise ValueError(f"a bias is a finite array [out], got shape {bias.shape}")
    pixels = 1.0
    if geometry is not None:
        pixels = math.sqrt(_outputs(geometry))
    norm = pixels * frobenius(bias.astype(np.complex128))
    norm += ROUNDING * norm
    if bias_projector is None:
        if is_isometric(projector.space):
            return norm, 2.0 * norm, ""
        return norm, math.nan, "the bias has no projector and the action is not orthogonal"
    if bias_projector.space.group != projector.space.group:
        raise ValueError(
            f"kernel and bias need one group, got {projector.space.group!r} and "
            f"{bias_projector.space.group!r}"
        )
    found = bias_projector.certificate(bias, **question)
    return norm, pixels * found.bound, "" if found.certified else f"bias: {found.reason}"


def _outputs(geometry: ConvolutionGeometry) -> int:
    sizes = []
    for i, n in enumerate(geometry.input_shape):
        reach = geometry.kernel_dilation[i] * (geometry.kernel_size[i] - 1) + 1
        sizes.append((n + sum(geometry.padding[i]) - reach) // geometry.strides[i] + 1)
    return math.prod(sizes)


def _rep(projector: Projector, axis: int, geometry: Any) -> Rep | None:
    """The representation on the input (-2) or output (-1) axis of a dense kernel."""
    if geometry is not None:
        return None
    position = len(projector.space.names) + axis
    for entry in projector.space.entries:
        if entry.positions == (position,):
            return entry.rep
    return None


def _defect(projector: Projector, kernel: np.ndarray, inquiry: Inquiry) -> tuple[float, str]:
    space = projector.space
    group = space.group
    if inquiry.element is not None:
        return _at(projector, kernel, inquiry.element), ""
    if inquiry.elements is not None:
        return max(_at(projector, kernel, g) for g in inquiry.elements), ""
    if inquiry.scope == "global" and group.order is not None and group.order <= ELEMENTS:
        return max(_at(projector, kernel, g) for g in group.listed()), ""
    if not is_isometric(space):
        if inquiry.scope == "global":
            return math.nan, "not certified: " + unbounded(group)
        return math.nan, (
            "not certified: a layer between representations that are not orthogonal is certified "
            "for one element at a time"
        )
    bound = 2.0 * _spectral(moving_part(projector.host_splitting(), kernel))
    if inquiry.radius is not None:
        images = lie_images(space, kernel)
        rows = _spectral(images.reshape(-1, kernel.shape[1]))
        columns = _spectral(np.moveaxis(images, 0, 1).reshape(kernel.shape[0], -1))
        bound = min(bound, inquiry.radius * rows, inquiry.radius * columns)
    return bound, ""


def _at(projector: Projector, kernel: np.ndarray, g: np.ndarray) -> float:
    """``||rho_out W - W rho_in||`` at one element."""
    moved = projector.act(g, kernel) - kernel
    source = _rep(projector, -2, None)
    if source is not None and not source.is_orthogonal:
        # the axis carries the dual: rho_in(g) = inverse transpose of its matrix
        moved = np.linalg.inv(source.matrix(g)) @ moved
    return _spectral(moved)


def _spectral(matrix: np.ndarray) -> float:
    return float(np.linalg.norm(matrix, 2)) if matrix.size else 0.0
