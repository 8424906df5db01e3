"""What the arguments of an attribution mean, and what of them is refused."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from softeq_jax.measures._functions import Array, Function, with_head
from softeq_jax.measures._generators import Action, Generator, as_generator, as_list
from softeq_jax.measures._layouts import Fiber, Image, Invariant, Layout, Tokens
from softeq_jax.measures.attribution._layers import By
from softeq_jax.measures.attribution._names import HEAD
from softeq_jax.measures.attribution._propagate import Frame


def user_functions(generators: Any, by: By) -> tuple[Any, ...]:
    """What of the arguments is a function of the user's, which may close over anything."""
    given = [generators] if not isinstance(generators, list | tuple) else generators
    return (by, *(g.function for g in given if isinstance(g, Action)))


def abstract(a: Array) -> jax.ShapeDtypeStruct:
    """Shape and dtype; those of keys stay as they are."""
    extended = jnp.issubdtype(a.dtype, jax.dtypes.extended)
    dtype = a.dtype if extended else jax.dtypes.canonicalize_dtype(a.dtype)
    return jax.ShapeDtypeStruct(a.shape, dtype)


def input_layout(layout: Layout, shape: tuple[int, ...]) -> tuple[Layout, Frame]:
    """The layout of the images, and their rows and columns if they have any.

    Raises:
      ValueError: it does not fit the shape, or nothing acts on it.
    """
    layout.check(shape, "images")
    if isinstance(layout, Image):
        colored = len(shape) > 3 and layout.fiber is None
        return dataclasses.replace(layout, color=colored), layout.grid(shape)
    if isinstance(layout, Tokens):
        return layout, layout.sides(shape)
    if isinstance(layout, Invariant):
        raise ValueError("nothing acts on an input of layout 'invariant'")
    return layout, None


def generators_of(given: Any, layout: Layout) -> tuple[Generator, ...]:
    """The generators that a user named, for images of a layout.

    Raises:
      TypeError, ValueError: see ``as_generator``; ValueError for none, or two of one name.
    """
    group = layout.rep.group if isinstance(layout, Fiber) else None
    chosen = tuple(as_generator(item, group) for item in as_list(given))
    names = [generator.name for generator in chosen]
    if not chosen or len(set(names)) < len(names):
        raise ValueError(f"generators must be some, with different names, got {names}")
    return chosen


@dataclasses.dataclass(frozen=True)
class Head:
    """The output head, as a layer of its own."""

    head: str | Function

    def on(self, function: Function) -> Function:
        """The function with the head behind it."""
        if self.head == "logits":
            return function
        name = self.head if isinstance(self.head, str) else getattr(self.head, "__name__", "head")
        apply = with_head(lambda y: y, self.head)

        def headed(x: Array) -> Any:
            y = function(x)
            with jax.named_scope(f"{HEAD}{name.strip('<>')}"):
                return apply(y)

        return headed


def check_result(graph: Any, root: int, count: int) -> None:
    """Refuses outputs without layers in front of them, and those of another form.

    Raises:
      ValueError: the output does not depend on the input, is the input, or has no axis of images.
      TypeError: it is not floating point.
    """
    result = graph.outputs[0]
    if not isinstance(result, int) or not graph.dependent([root])[result]:
        raise ValueError("the output of f does not depend on its input")
    if result == root:
        raise ValueError("f returns its input as it is: there is no layer to attribute to")
    given = graph.shapes[result]
    if not graph.is_smooth(result):
        raise TypeError(f"the output of f must be floating point, got {given.dtype}")
    if not given.shape or given.shape[0] != count:
        raise ValueError(
            f"f must return one entry per image on axis 0: {count} images gave {given.shape}"
        )
