"""Geometry of convolutions and blur-pools on the pixel grid, found by an abstract run."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from softeq_jax._text import brief
from softeq_jax.nn import BlurPool, RelaxedConv, RelaxedGroupConv
from softeq_jax.nn.equivariant import EquivariantConv, conv_window

Pads = tuple[tuple[int, int], ...]


@dataclasses.dataclass(frozen=True)
class ConvGeometry:
    """One convolution or blur-pool. Fields have an entry per grid axis, (height, width) for images.

    Attributes:
      input_shape: grid of the input.
      kernel_size: grid of the kernel.
      strides: steps between outputs.
      padding: pixels added (before, after), also where the layer said "SAME" or "VALID".
      kernel_dilation: spacing of the kernel's taps.
      feature_group_count: groups of channels (one number).
      padding_mode: what the added pixels hold: "zeros", "circular", "reflect" or "symmetric".

    Example:
      >>> import softeq_jax as sq
      >>> geometry = sq.models.ConvGeometry((9, 9), (3, 3), (2, 2), ((1, 1), (1, 1)), (1, 1), 1)
      >>> sq.certificates.lattice_obstacle(geometry) is None  # 9 is 8 n + 1
      True
    """

    input_shape: tuple[int, ...]
    kernel_size: tuple[int, ...]
    strides: tuple[int, ...]
    padding: Pads
    kernel_dilation: tuple[int, ...]
    feature_group_count: int
    padding_mode: str = "zeros"

    __repr__ = brief


def conv_geometry(
    model: nn.Module, variables: Mapping[str, Any], input_shape: Sequence[int], **apply_kwargs: Any
) -> dict[str, ConvGeometry]:
    """Records every convolution and `softeq_jax.nn.BlurPool` that a model calls.

    Convolutions are those of `flax.linen.Conv`, `softeq_jax.nn.RelaxedConv`, `RelaxedGroupConv`
    and `softeq_jax.nn.equivariant.EquivariantConv`.

    Args:
      model: any Linen module.
      variables: its variables; arrays or `jax.ShapeDtypeStruct`.
      input_shape: shape of the whole input, batch included: `(n, h, w, c)`.
      **apply_kwargs: passed on to `model.apply`, for example `train=False`.

    Returns:
      From the kernel's path within `params`, as in `"stage1_block0/conv1/kernel"`, to its geometry,
      in the order of the calls; where a layer stores more than one kernel, to the path of the one
      that its fold has. A blur-pool, which has no kernel there, goes by the path of the module, as
      in `"stage2_block0/blur"`. Nothing is computed; the input counts as float32.

    Raises:
      ValueError: one kernel is used on two different geometries, or a padding is not understood.

    Example:
      >>> import jax, jax.numpy as jnp, softeq_jax as sq
      >>> net, x = sq.models.CifarResNet(depth=8, width=4), jnp.ones((1, 8, 8, 3))
      >>> variables = jax.eval_shape(net.init, jax.random.key(0), x)
      >>> found = sq.models.conv_geometry(net, variables, x.shape)
      >>> len(found), found["stage2_block0/conv1/kernel"].strides
      (7, (2, 2))
    """
    found: dict[str, ConvGeometry] = {}

    def record(
        call: Callable[..., Any], args: tuple, kwargs: dict, context: nn.module.InterceptorContext
    ) -> Any:
        called = context.method_name == "__call__"
        if called and (known := _described(context.module, args, kwargs)):
            path, geometry = known
            if found.setdefault(path, geometry) != geometry:
                raise ValueError(f"{path} is used twice, as {found[path]} and as {geometry}")
        return call(*args, **kwargs)

    with nn.intercept_methods(record):
        x = jax.ShapeDtypeStruct(tuple(input_shape), jnp.float32)
        jax.eval_shape(lambda v, x: model.apply(v, x, **apply_kwargs), dict(variables), x)
    return found


def _described(
    module: nn.Module, args: tuple, kwargs: Mapping[str, Any]
) -> tuple[str, ConvGeometry] | None:
    """(path, geometry) of a module's call; None where it is no convolution or blur-pool."""
    layer = module if isinstance(module, BlurPool) else _layer(module)
    if layer is None:
        return None
    shape = (args[0] if args else next(iter(kwargs.values()))).shape
    if isinstance(layer, BlurPool):
        return "/".join(module.path), _blur(layer, shape)
    path = "/".join((*module.path, "kernel"))
    return path, _describe(layer, shape, path)


def _blur(module: BlurPool, shape: tuple[int, ...]) -> ConvGeometry:
    taps, stride, reach = module.taps, module.stride, (module.taps - 1) // 2
    pads = ((reach, reach),) * 2
    grid, channels = tuple(shape[-3:-1]), shape[-1]
    return ConvGeometry(
        grid, (taps, taps), (stride, stride), pads, (1, 1), channels, module.padding
    )


class _Layer(NamedTuple):
    """What a convolution says of its window, in the ways in which Flax lets one say it."""

    kernel_size: int | Sequence[int]
    strides: int | Sequence[int] | None
    padding: Any
    kernel_dilation: int | Sequence[int] | None = 1
    input_dilation: int | Sequence[int] | None = 1
    feature_group_count: int = 1


def _layer(module: nn.Module) -> _Layer | None:
    """None where the module is no convolution."""
    match module:
        case nn.Conv():
            return _Layer(*(getattr(module, name) for name in _Layer._fields))
        case RelaxedConv() | RelaxedGroupConv():
            window = _per_axis(module.kernel_size, 2)
            return _Layer(window, module.strides, module.padding)
        case EquivariantConv():
            window = conv_window(module.input.group, module.side).shape
            return _Layer(window, module.strides, module.margin)
    return None


def _describe(layer: _Layer, shape: tuple[int, ...], path: str) -> ConvGeometry:
    kernel = layer.kernel_size
    kernel = (kernel,) if isinstance(kernel, int) else tuple(kernel)
    rank = len(kernel)
    grid = tuple(shape[-rank - 1 : -1])
    strides = _per_axis(layer.strides, rank)
    dilation = _per_axis(layer.kernel_dilation, rank)
    if any(d != 1 for d in _per_axis(layer.input_dilation, rank)):
        raise ValueError(f"{path}: input_dilation {layer.input_dilation} is not supported")
    reach = tuple((k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True))
    padding, mode = _padding(layer.padding, grid, reach, strides, path)
    return ConvGeometry(grid, kernel, strides, padding, dilation, layer.feature_group_count, mode)


def _per_axis(value: int | Sequence[int] | None, rank: int) -> tuple[int, ...]:
    if value is None or isinstance(value, int):
        return (1 if value is None else value,) * rank
    return tuple(value)


def _padding(
    padding: Any, grid: tuple[int, ...], reach: tuple[int, ...], strides: tuple[int, ...], path: str
) -> tuple[Pads, str]:
    """Explicit pads and their filling, for any way in which Flax lets one say it."""
    rank = len(grid)
    if isinstance(padding, int):
        return ((padding, padding),) * rank, "zeros"
    if isinstance(padding, str):
        if padding in ("CIRCULAR", "REFLECT"):
            return tuple(((r - 1) // 2, r // 2) for r in reach), padding.lower()
        if padding == "CAUSAL" and rank == 1:
            return ((reach[0] - 1, 0),), "zeros"
        if padding in ("SAME", "VALID", "SAME_LOWER"):
            pads = jax.lax.padtype_to_pads(grid, reach, strides, padding)
            return tuple((int(low), int(high)) for low, high in pads), "zeros"
    elif len(padding) == rank:
        return tuple((p, p) if isinstance(p, int) else (p[0], p[1]) for p in padding), "zeros"
    raise ValueError(f"{path}: padding {padding!r} is not understood")
