"""Taps of a network: where its features are taken, and their layouts.

A *features* function maps images ``[n, h, w, c]`` to a dictionary ``{name: array}``, in the order
of depth, every array with the examples on axis 0. What each array is, is declared by patterns of
names; nothing is guessed from a shape, except that ``[n, c]`` is a vector on which nothing acts.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax

from softeq_jax._paths import refuse_idle
from softeq_jax.measures.base._functions import Array
from softeq_jax.measures.base._layouts import Invariant, Layout, as_layout, covers

Features = Callable[[Array], dict[str, jax.Array]]
Shapes = Mapping[str, tuple[int, ...]]


def linen_features(
    module: Any, variables: Any, *args: Any, filter: str = "*", **kwargs: Any
) -> Features:
    """The outputs of the modules of a Linen network, in the order in which they are computed.

    Args:
      module: a ``flax.linen.Module``.
      variables: its variables, as for ``module.apply``.
      *args: further positional arguments of ``module.apply`` behind the images.
      filter: pattern of the names to collect, ``*`` standing for any letters. A name is the path
        of the module, such as ``"stage1/block0/conv"``; the whole network is ``"output"``, a
        second call of a module appends ``"#2"``, and so on.
      **kwargs: keyword arguments of ``module.apply``, such as ``train=False``.

    Returns:
      A features function, a pytree whose leaves are the variables. It holds the ``__call__`` of
      every module whose output is one array; those with other outputs (tuples, carries) and
      other methods are not among the features.
      A module that does not act on examples along axis 0 has to be filtered off.

    Raises:
      ValueError: when called: the filter matches nothing, or a module that it matches runs inside
        a lifted transformation (``nn.remat``, ``nn.scan``, ``nn.vmap``, ``nn.jit``), from where
        values cannot be carried out: filter it off, or tap the unlifted network.

    Example:
      >>> import jax, jax.numpy as jnp, softeq_jax as sq
      >>> from flax import linen
      >>> net = linen.Sequential([linen.Dense(2), linen.Dense(3)])
      >>> x = jnp.ones((1, 4))
      >>> features = sq.measures.linen_features(net, net.init(jax.random.key(0), x))
      >>> {name: value.shape for name, value in features(x).items()}
      {'layers_0': (1, 2), 'layers_1': (1, 3), 'output': (1, 3)}
    """

    return jax.tree_util.Partial(Tapped(module, filter), (variables, args, kwargs))


@dataclasses.dataclass(frozen=True)
class Tapped:
    """``module.apply`` that returns what its modules return; see ``linen_features``.

    Two are equal if they collect the same, so that another checkpoint of a network reuses what
    was compiled.
    """

    module: Any
    filter: str

    def __hash__(self) -> int:
        return hash((type(self.module), self.filter))

    def __call__(self, state: tuple[Any, Any, Any], images: Array) -> dict[str, Array]:
        """The features of images; ``state`` is variables, and further arguments."""
        import flax.linen as nn
        from jax.extend.core import get_opaque_trace_state

        outside = get_opaque_trace_state(convention="flax")
        collected: dict[str, Array] = {}
        calls: dict[str, int] = {}

        def tap(next_call: Callable, inputs: tuple, options: dict, context: Any) -> Any:
            output = next_call(*inputs, **options)
            if context.method_name != "__call__" or not isinstance(output, jax.Array):
                return output
            path = "/".join(context.module.path) or "output"
            calls[path] = calls.get(path, 0) + 1
            name = path if calls[path] == 1 else f"{path}#{calls[path]}"
            if covers(self.filter, name):
                if get_opaque_trace_state(convention="flax") != outside:
                    raise ValueError(
                        f"{name} runs inside a lifted transformation (nn.remat, nn.scan, ...), "
                        f"from where its output cannot be tapped: exclude it by filter=, or build "
                        f"the network without the transformation"
                    )
                collected[name] = output
            return output

        with nn.intercept_methods(tap):
            variables, args, kwargs = state
            self.module.apply(variables, images, *args, **kwargs)
        if not collected:
            raise ValueError(f"filter {self.filter!r} matches none of the modules {list(calls)}")
        return collected


def named_features(f: Callable[[Array], Any], images: Array) -> Features:
    """A features function; of one that returns an array, which is then called "output".

    Raises:
      TypeError: a function that cannot be called.
    """
    if not callable(f):
        raise TypeError(f"features must be a function of the images, got {type(f).__name__}")
    if isinstance(jax.eval_shape(f, jax.ShapeDtypeStruct(images.shape, images.dtype)), dict):
        return f
    if jax.tree_util.treedef_is_leaf(jax.tree.structure(f)):
        return lambda x: {"output": f(x)}
    return jax.tree_util.Partial(_as_output, f)


def _as_output(f: Callable[[Array], jax.Array], x: Array) -> dict[str, jax.Array]:
    return {"output": f(x)}


def feature_layouts(
    shapes: Shapes, layouts: Mapping[str, Layout | str | Any] | None = None
) -> dict[str, Layout]:
    """The layout of every feature, from patterns of names.

    Args:
      shapes: name to shape, in the order of depth.
      layouts: name or pattern to layout (as ``measures.Image``, or "image", "tokens",
        "invariant"). The exact name counts first, then the first pattern that matches.

    Returns:
      Name to layout; an undeclared feature of shape ``[n, c]`` is "invariant".

    Raises:
      ValueError: a pattern decides the layout of no feature, a layout does not fit the shape, or
        a feature of another rank than 2 has none.
    """
    layouts = dict(layouts or {})
    used, result = set(), {}
    for name, shape in shapes.items():
        hits = [p for p in layouts if p == name]
        hits += [p for p in layouts if covers(p, name)]
        if hits:
            used.add(hits[0])
            result[name] = as_layout(layouts[hits[0]], f"the layout of {name}")
        elif len(shape) == 2:
            result[name] = Invariant()
        else:
            raise ValueError(
                f"feature {name!r} has shape {tuple(shape)} and no layout: pass "
                f"layouts={{{name!r}: measures.Image(...)}} (or measures.Tokens(...), or "
                f"'invariant'); infer_layouts(features, image_shape) measures those of "
                f"convolutional maps"
            )
        result[name].check(tuple(shape), f"feature {name!r}")
    refuse_idle(layouts, used, list(shapes), "layouts of no feature")
    return result


def feature_shapes(features: Features, images: Array) -> dict[str, tuple[int, ...]]:
    """The shapes of the features, without computing them.

    Raises:
      TypeError: the function returns no dictionary of floating point arrays.
      ValueError: it returns no feature, or one whose axis 0 does not count the examples.
    """
    spec = jax.ShapeDtypeStruct(images.shape, images.dtype)
    # A dictionary that passes through a transformation is sorted by name: the order is noted here.
    order: list[str] = []

    def noted(x: Array) -> Any:
        outputs = features(x)
        if not isinstance(outputs, dict):
            raise TypeError(
                f"features must return a dictionary of arrays by name, in the order of depth, got "
                f"{type(outputs).__name__}: as in lambda x: {{'output': f(x)}}, or see "
                f"linen_features"
            )
        order.extend(outputs)
        return outputs

    outputs = jax.eval_shape(noted, spec)
    if not outputs:
        raise ValueError("features returned no feature")
    for name, output in outputs.items():
        if not isinstance(name, str) or not isinstance(output, jax.ShapeDtypeStruct):
            raise TypeError(f"feature {name!r} must be an array under a string, got {output}")
        if not jax.numpy.issubdtype(output.dtype, jax.numpy.floating):
            raise TypeError(f"feature {name!r} must be floating point, got {output.dtype}")
        if len(output.shape) < 2 or output.shape[0] != len(images):
            raise ValueError(
                f"feature {name!r} has shape {output.shape}: axis 0 must count the "
                f"{len(images)} examples, and another one the channels"
            )
    return {name: outputs[name].shape for name in order}
