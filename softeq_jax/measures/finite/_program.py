"""The function that is measured, compiled once, with its arrays as arguments."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from softeq_jax.measures._functions import (
    Function,
    Skeleton,
    check_outputs,
    compiled,
    one_array,
    split_callable,
    with_head,
)
from softeq_jax.measures._layouts import Layout
from softeq_jax.measures.finite._transform import Array, Frame, Shape, Transform, grid_of, is_planar


@dataclasses.dataclass(frozen=True, eq=False)
class Program:
    """A function with its head, ready to be called on batches.

    Attributes:
      skeleton: what it is without its arrays, for the compiler; None: it is called as it is.
      arrays: its parameters, where it is a pytree.
      plain: the function itself, with its head.
      head: the head.
    """

    skeleton: Skeleton | None
    arrays: list[Array]
    plain: Function
    head: str | Function

    def __call__(self, x: Array) -> jax.Array:
        if self.skeleton is None:
            return jnp.asarray(one_array(self.plain(x)))
        return _call(self.arrays, x, skeleton=self.skeleton, head=self.head)

    def checked(self, x: Array, what: str) -> jax.Array:
        """The output, once it is known to be finite and to have one entry per example.

        Raises:
          ValueError: it is not.
        """
        y = self(x)
        if y.ndim < 1 or y.shape[0] != x.shape[0]:
            raise ValueError(
                f"{what} has shape {y.shape} for {x.shape[0]} inputs: the function must return "
                f"[n, ...], one entry per example"
            )
        if not bool(_all_finite(y)):
            check_outputs(y, what, ": check the inputs and the parameters of the function")
        return y


def program_of(f: Function, head: str | Function, jit: bool = True) -> Program:
    """The function with a head, compiled unless ``jit`` is False.

    Args:
      f: images to outputs ``[n, ...]``; the arrays of a pytree that can be called, such as
        ``jax.tree_util.Partial``, are arguments of the compiled program.
      head: "logits", "probabilities", "log_probabilities" or a function of the output.
      jit: False for functions that JAX cannot trace.

    Raises:
      TypeError: f cannot be called.
      ValueError: an unknown head.
    """
    if not callable(f):
        raise TypeError(f"what is measured must be a function of the images, got {f!r}")
    plain = with_head(f, head)
    if not jit:
        return Program(None, [], plain, head)
    arrays, skeleton = split_callable(f, head)
    return Program(skeleton, arrays, plain, head)


def frame_of(shape: Shape, layout: Layout) -> Frame:
    """Rows and columns of the input; (1, 1) where nothing lies on a grid."""
    return grid_of(shape, layout) if is_planar(layout) else (1, 1)


def move(transform: Transform, x: Array, layout: Layout, frame: Frame) -> jax.Array:
    """``T x``; compiled once per kind where the transform has numbers, else run as it is.

    ``transform.check`` comes first.
    """
    if not jax.tree.leaves(transform):
        return transform(x, layout, frame)
    return _move(transform, x, layout, frame)


def match(transform: Transform, x: Array, layout: Layout, frame: Frame) -> jax.Array:
    """``transform.match``, compiled where it does anything."""
    if transform.filter is None:
        return x
    return _match(transform, x, layout, frame)


def checked_mask(transform: Transform, shape: Shape, layout: Layout, frame: Frame) -> jax.Array:
    """The mask, if it leaves anything.

    Raises:
      ValueError: every entry is masked.
    """
    static = not jax.tree.leaves(transform)
    mask = (transform.mask if static else functools.partial(_mask, transform))(shape, layout, frame)
    if not np.any(np.asarray(mask)):
        raise ValueError(
            f"{transform.name} leaves nothing of an array of shape {shape} inside its mask: "
            f"choose a smaller transform, boundary='circular', or interpolation='bilinear'"
        )
    return mask


@functools.partial(jax.jit, static_argnames=("layout", "frame"))
def _move(transform: Transform, x: Array, layout: Layout, frame: Frame) -> jax.Array:
    return transform(x, layout, frame)


@functools.partial(jax.jit, static_argnames=("shape", "layout", "frame"))
def _mask(transform: Transform, shape: Shape, layout: Layout, frame: Frame) -> jax.Array:
    return transform.mask(shape, layout, frame)


@functools.partial(jax.jit, static_argnames=("layout", "frame"))
def _match(transform: Transform, x: Array, layout: Layout, frame: Frame) -> jax.Array:
    return transform.match(x, layout, frame)


@compiled
def _call(arrays: list[Array], x: Array, *, skeleton: Skeleton, head: str | Function) -> jax.Array:
    return one_array(with_head(skeleton(arrays), head)(x))


@jax.jit
def _all_finite(y: jax.Array) -> jax.Array:
    return jnp.all(jnp.isfinite(y))
