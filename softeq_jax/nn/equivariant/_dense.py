"""The dense layer between two representations."""

import functools
from collections.abc import Callable
from typing import Any, Unpack

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen

from softeq_jax.nn._operations import affine
from softeq_jax.nn.equivariant._fields import check_features, check_real, fields
from softeq_jax.projections import Dials, Projector, projector
from softeq_jax.reps import Rep, trivial

Array = jax.Array
Initializer = Callable[..., Array]

# not "i o", where equal representations are taken for a forgotten dual: they may be a map V -> V*
_AXES = "source target"


def dense_projectors(
    input: Rep,
    output: Rep,
    **dials: Unpack[Dials],
) -> tuple[Projector, Projector]:
    """The projectors of kernel ``[in, out]`` and bias ``[out]``; strict if no dial is given.

    Args:
      input: real representation on the inputs.
      output: the same on the outputs.
      dials: see ``projections.Dials``.

    Raises:
      TypeError: ``input`` or ``output`` is no representation.
      ValueError: it is complex, the groups differ, or a dial is out of range.

    Example:
      >>> import softeq_jax as sq
      >>> V = sq.reps.vector(sq.groups.so(3))
      >>> kernel, bias = sq.nn.equivariant.dense_projectors(2 * V, 3 * V)
      >>> kernel.rank(), bias.rank()  # one number for each pair of vectors, and no invariant vector
      (6, 0)
    """
    return linear_projectors(input, output, None, dials)


def linear_projectors(
    input: Rep, output: Rep, window: Rep | None, dials: Dials
) -> tuple[Projector, Projector]:
    """As ``dense_projectors``, with a window on the first axes of the kernel if there is one."""
    check_real(input, "inputs")
    check_real(output, "outputs")
    kernel = projector(*_kernel_axes(input, output, window), **dials)
    of_bias = Dials() if output.is_trivial else dials  # nothing moves it: there is nothing to dial
    return kernel, projector("target", {"target": output}, **of_bias)


def dense_rules(
    path_prefix: str,
    input: Rep,
    output: Rep,
    *,
    use_bias: bool = True,
    **dials: Unpack[Dials],
) -> dict[str, Projector]:
    """Rules for ``softeq_jax.plan`` of one ``EquivariantDense`` with ``project=False``.

    Args:
      path_prefix: path of the layer's parameters, such as ``"layer0"``; "" for the root.
      input, output: those of the layer.
      use_bias: whether the layer has a bias.
      dials: see ``projections.Dials``; strict if none is given.

    Returns:
      ``{"<prefix>/kernel": projector, "<prefix>/bias": projector}``.

    Raises:
      ValueError: as ``dense_projectors``.

    Example:
      >>> import softeq_jax as sq
      >>> V = sq.reps.vector(sq.groups.so(3))
      >>> list(sq.nn.equivariant.dense_rules("layer0", V, 2 * V))
      ['layer0/kernel', 'layer0/bias']
    """
    return rules_at(path_prefix, dense_projectors(input, output, **dials), use_bias)


def rules_at(
    path_prefix: str, found: tuple[Projector, Projector], use_bias: bool
) -> dict[str, Projector]:
    """The projectors of kernel and bias as rules of a layer at a path."""
    names = ("kernel", "bias") if use_bias else ("kernel",)
    start = f"{path_prefix}/" if path_prefix else ""
    return {f"{start}{name}": p for name, p in zip(names, found, strict=False)}


def equivariant_normal(
    input: Rep, output: Rep, gain: float = 1.0, window: Rep | None = None
) -> Initializer:
    """Initializer of equivariant kernels that keep the variance.

    With independent standard normal entries z, the part of the kernel that ends in one part of
    the output (scalars, or copies of one representation; of dimension ``d`` per copy) is

        gain * sqrt(d / n) * P z,    n = dimension of the equivariant maps from input to one copy

    (for kernels of a convolution: of the equivariant kernels, and inputs are white noise).
    As ``E ||P z||^2 = n`` per copy, inputs of covariance 1 give outputs whose variance is
    ``gain^2`` on average over the components of every copy (of each component, if the copy is
    irreducible), and 0 where no equivariant map exists (n = 0). The kernel is equivariant, so
    that every hard or smooth mask leaves it as it is: a layer starts as the same function under a
    plan of any softness, and without one.

    Args:
      input, output: real representations.
      gain: factor, such as ``sqrt(2)`` before a ReLU.
      window: what acts on the pixels or voxels of a kernel, see ``conv_projectors``.

    Returns:
      ``(key, shape, dtype) -> [*window, in, out]``.

    Example:
      >>> import jax, jax.numpy as jnp, softeq_jax as sq
      >>> V = sq.reps.vector(sq.groups.so(3))
      >>> draw = sq.nn.equivariant.equivariant_normal(V, V)
      >>> w = draw(jax.random.key(0), (3, 3), jnp.float32)
      >>> bool(jnp.allclose(w, w[0, 0] * jnp.eye(3), atol=1e-6))  # all that commutes
      True
    """
    strict = strict_projectors(input, output, window)[0]
    scale = gain * _scales(input, output, window)

    def init(key: Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Array:
        return strict(jax.random.normal(key, shape, dtype) * scale.astype(dtype))

    return init


class EquivariantDense(linen.Module):
    """A dense layer between features of two representations, ``y = x P(W) + P(b)``.

    Variables: ``kernel`` W ``[input.dim, output.dim]`` and ``bias`` b ``[output.dim]``. With
    ``project`` the layer computes with their projections onto the equivariant maps (section 3 of
    the specification of "Tunable Soft Equivariance with Guarantees"), so it is equivariant to
    rounding whatever is stored. Without, it is a plain dense layer on what is stored, to be
    governed from outside by a plan with the rules of ``dense_rules``.

    Attributes:
      input: representation on the last axis of the inputs, real.
      output: representation on the last axis of the outputs, real.
      project: whether the layer itself projects.
      use_bias: whether there is a bias.
      kernel_init: initializer; None is ``equivariant_normal(input, output)``.
      bias_init: initializer.
      dtype: of the computation, None is that of the inputs and parameters.
      param_dtype: of the parameters.

    Call:
      x: ``[..., input.dim]``.

    Raises:
      TypeError: ``input`` or ``output`` is no representation.
      ValueError: it is complex, the groups differ, or the last axis has another length.

    Example:
      >>> import jax, jax.numpy as jnp, softeq_jax as sq
      >>> V = sq.reps.vector(sq.groups.so(3))
      >>> layer = sq.nn.equivariant.EquivariantDense(2 * V, V)
      >>> x = jnp.arange(6.0)[None]
      >>> y, variables = jax.eval_shape(layer.init_with_output, jax.random.key(0), x)
      >>> y.shape, jax.tree.map(jnp.shape, variables["params"])
      ((1, 3), {'bias': (3,), 'kernel': (6, 3)})
    """

    input: Rep
    output: Rep
    project: bool = True
    use_bias: bool = True
    kernel_init: Initializer | None = None
    bias_init: Initializer = linen.initializers.zeros
    dtype: Any = None
    param_dtype: Any = jnp.float32

    @linen.compact
    def __call__(self, x: Array) -> Array:
        strict_projectors(self.input, self.output)  # refuses what does not fit, before x is read
        check_features(self.input, x)
        return affine(x, *kernel_and_bias(self), self.dtype)


def kernel_and_bias(layer: Any, window: Rep | None = None) -> tuple[Array, Array | None]:
    """What a layer between two representations computes with, declared inside its call.

    Args:
      layer: a module with the attributes of ``EquivariantDense``.
      window: what acts on the pixels or voxels of its kernel.

    Returns:
      (kernel ``[*window, in, out]``, bias ``[out]`` or None), projected if the layer does that.
    """
    of_kernel, of_bias = strict_projectors(layer.input, layer.output, window)
    init = layer.kernel_init or equivariant_normal(layer.input, layer.output, window=window)
    shape = (*(window.shape if window else ()), layer.input.dim, layer.output.dim)
    kernel, bias = layer.param("kernel", init, shape, layer.param_dtype), None
    if layer.use_bias:
        bias = layer.param("bias", layer.bias_init, shape[-1:], layer.param_dtype)
    if layer.project:
        kernel = of_kernel(kernel)
        bias = None if bias is None else of_bias(bias)
    return kernel, bias


@functools.lru_cache(maxsize=256)
def strict_projectors(
    input: Rep, output: Rep, window: Rep | None = None
) -> tuple[Projector, Projector]:
    """Those of kernel and bias, remembered."""
    return linear_projectors(input, output, window, Dials())


def _kernel_axes(input: Rep, output: Rep, window: Rep | None) -> tuple[str, dict[str, Rep]]:
    """The names of the axes of a kernel, and what acts on them."""
    acts = {"source": input.dual, "target": output}
    if window is None:
        return _AXES, acts
    inside = " ".join("dhw"[-len(window.shape) :])
    return f"{inside} {_AXES}", {inside: window, **acts}


@functools.lru_cache(maxsize=256)
def _scales(input: Rep, output: Rep, window: Rep | None = None) -> np.ndarray:
    """``sqrt(d / n)`` of each output entry, float64 ``[out]``; 0 where n = 0."""
    scales = np.zeros(output.dim)
    found = fields(output)
    parts = [(trivial(output.group), found.scalars)] if len(found.scalars) else []
    for part, index in [*parts, *((field.rep, field.index) for field in found.moved)]:
        maps = projector(*_kernel_axes(input, part, window)).rank()
        scales[index] = np.sqrt(part.dim / maps) if maps else 0.0
    return scales
