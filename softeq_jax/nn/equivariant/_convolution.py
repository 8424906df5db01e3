"""Steerable convolutions: between fields of features on pixels or voxels.

A feature field on a lattice moves as ``(g f)(x) = rho(g) f(g^-1 x)``. The kernel of a convolution
from one such field to another is equivariant if it is invariant in

    window (x) dual(V_in) (x) V_out,

where the window is the representation of the group on the pixels or voxels of the kernel
(``reps.image``, ``reps.voxels``): no ring basis is chosen and nothing is interpolated.
"""

from typing import Any, Unpack

import jax
import jax.numpy as jnp
from flax import linen

from softeq_jax._checks import whole
from softeq_jax.groups import Group, PlanarGroup
from softeq_jax.nn._operations import convolve
from softeq_jax.nn.equivariant._dense import (
    Initializer,
    kernel_and_bias,
    linear_projectors,
    rules_at,
)
from softeq_jax.nn.equivariant._fields import check_features, check_real
from softeq_jax.projections import Dials, Projector
from softeq_jax.reps import Rep, image, voxels

Array = jax.Array


def conv_window(group: Group, side: int) -> Rep:
    """What acts on the pixels or voxels of a kernel: ``reps.image`` of a group of the plane,
    ``reps.voxels`` of a group of R^3.

    Raises:
      ValueError: ``side`` is no positive integer, or the group does not act on such a window.

    Example:
      >>> import softeq_jax as sq
      >>> sq.nn.equivariant.conv_window(sq.groups.cyclic(4), 3)
      Image[3x3](C4)
      >>> sq.nn.equivariant.conv_window(sq.groups.so(3), 3)
      Voxels[3x3x3](SO(3))
    """
    k = whole(side, "the side of a kernel")
    return image(group, (k, k)) if isinstance(group, PlanarGroup) else voxels(group, (k, k, k))


def conv_projectors(
    input: Rep, output: Rep, side: int, **dials: Unpack[Dials]
) -> tuple[Projector, Projector]:
    """The projectors of kernel ``[*window, in, out]`` and bias ``[out]``; strict without a dial.

    Args:
      input: real representation on the input features.
      output: the same on the output features.
      side: pixels (voxels) of the kernel along each axis.
      dials: see ``projections.Dials``.

    Raises:
      TypeError: ``input`` or ``output`` is no representation.
      ValueError: it is complex, the groups differ, the group does not act on the window, or a dial
        is out of range.

    Example:
      >>> import softeq_jax as sq
      >>> G = sq.groups.o(3)
      >>> V = sq.reps.vector(G)
      >>> kernel, _ = sq.nn.equivariant.conv_projectors(V, V, 3)
      >>> kernel.rank()  # of the 243 kernels
      6
    """
    check_real(input, "inputs")
    return linear_projectors(input, output, conv_window(input.group, side), dials)


def conv_rules(
    path_prefix: str,
    input: Rep,
    output: Rep,
    side: int,
    *,
    use_bias: bool = True,
    **dials: Unpack[Dials],
) -> dict[str, Projector]:
    """Rules for ``softeq_jax.plan`` of one ``EquivariantConv`` with ``project=False``, as
    ``dense_rules``.

    Args:
      path_prefix: path of the layer's parameters; "" for the root.
      input, output, side: those of the layer.
      use_bias: whether the layer has a bias.
      dials: see ``projections.Dials``; strict if none is given.

    Raises:
      TypeError, ValueError: as ``conv_projectors``.

    Example:
      >>> import softeq_jax as sq
      >>> G = sq.groups.cyclic(4)
      >>> rules = sq.nn.equivariant.conv_rules("conv", sq.reps.trivial(G), sq.reps.regular(G), 3)
      >>> {path: P.rank() for path, P in rules.items()}
      {'conv/kernel': 9, 'conv/bias': 1}
    """
    return rules_at(path_prefix, conv_projectors(input, output, side, **dials), use_bias)


class EquivariantConv(linen.Module):
    """A convolution between fields of two representations, on pixels or on voxels.

    Variables: ``kernel`` ``[side, side, (side,) in, out]`` and ``bias`` ``[out]``. With ``project``
    the layer computes with their projections onto the equivariant ones, whatever is stored;
    without, it is a plain convolution on what is stored, for a plan with ``conv_rules``.

    What the group moves exactly on the lattice of the features (quarter turns and flips of the
    plane, the 48 symmetries of a cube) the layer commutes with to rounding, if every stride
    divides the size of the padded map minus ``side`` and, on even sides, the group permutes the
    window. Other rotations move features between lattice points: there it commutes as far as the
    features are smooth and away from the border.

    Coordinates are those of ``reps.image`` and ``reps.voxels``: on volumes (x, y, z) are the axes
    (d, h, w) of the array, so that a vector's first component points along d.

    Attributes:
      input: representation on the last axis of the inputs, real.
      output: representation on the last axis of the outputs, real.
      side: pixels (voxels) of the kernel along each axis.
      strides: along each axis.
      padding: zeros on every side; None is ``(side - 1) // 2``, which keeps the size for odd sides
        at stride 1.
      project: whether the layer itself projects.
      use_bias: whether there is a bias.
      kernel_init: initializer; None is ``equivariant_normal`` with this window.
      bias_init: initializer.
      dtype: of the computation, None is that of the inputs and parameters.
      param_dtype: of the parameters.

    Call:
      x: ``[..., h, w, input.dim]``, or ``[..., d, h, w, input.dim]``.

    Raises:
      TypeError: ``input`` or ``output`` is no representation.
      ValueError: as ``conv_projectors``, the last axis has another length, or axes are missing.

    Example:
      >>> import jax, jax.numpy as jnp, softeq_jax as sq
      >>> G = sq.groups.o(3)
      >>> scalars, vectors = sq.reps.trivial(G, 2), 3 * sq.reps.vector(G)
      >>> layer = sq.nn.equivariant.EquivariantConv(scalars, scalars + vectors)
      >>> x = jnp.ones((1, 5, 5, 5, 2))
      >>> y, _ = jax.eval_shape(layer.init_with_output, jax.random.key(0), x)
      >>> y.shape
      (1, 5, 5, 5, 11)
    """

    input: Rep
    output: Rep
    side: int = 3
    strides: int = 1
    padding: int | None = None
    project: bool = True
    use_bias: bool = True
    kernel_init: Initializer | None = None
    bias_init: Initializer = linen.initializers.zeros
    dtype: Any = None
    param_dtype: Any = jnp.float32

    @property
    def margin(self) -> int:
        """Zeros on every side."""
        return (self.side - 1) // 2 if self.padding is None else self.padding

    @linen.compact
    def __call__(self, x: Array) -> Array:
        check_real(self.input, "inputs")
        check_features(self.input, x)
        window = conv_window(self.input.group, self.side)
        kernel, bias = kernel_and_bias(self, window)
        steps = (whole(self.strides, "strides"),) * len(window.shape)
        return convolve(
            x,
            kernel,
            bias,
            strides=steps,
            padding=whole(self.margin, "padding", 0),
            dtype=self.dtype,
        )
