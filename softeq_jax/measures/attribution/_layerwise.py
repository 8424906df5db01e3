r"""Layer-wise attribution of a Lie derivative: which layers of a network break a symmetry.

    L f = sum_i c_i,     c_i = J_{>i} L f_i:    what the output owes to layer i not commuting
                                                with the generator

for every layer i of a partition of the whole computation: modules, functional operations, sums
and reshapes alike, so that nothing is left out and the sum is exact. Sources: measures.md A.5,
D.3 to D.5, D.7.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Unpack

import jax
import jax.numpy as jnp
import numpy as np

from softeq_jax._checks import known_options, whole
from softeq_jax._text import brief
from softeq_jax.measures.attribution._attribution import Attribution
from softeq_jax.measures.attribution._dataflow import DataFlow, propagate
from softeq_jax.measures.attribution._graph import HEAD, abstract, check_result, flatten
from softeq_jax.measures.attribution._partition import By, partition
from softeq_jax.measures.attribution._pullbacks import (
    ESTIMATORS,
    Host,
    Problem,
    Stages,
    Values,
    check_finite,
    summarize,
)
from softeq_jax.measures.base._functions import (
    Array,
    Function,
    Skeleton,
    batches,
    check_inputs,
    one_array,
    split_callable,
    with_head,
)
from softeq_jax.measures.base._generators import Flow, Generator, as_generators, own_functions
from softeq_jax.measures.base._layouts import Frame, Image, Invariant, Layout, Tokens
from softeq_jax.measures.base._options import Options, Setting, resolved


def input_layout(layout: Layout, shape: tuple[int, ...]) -> tuple[Layout, Frame | None]:
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


def _headed(function: Function, head: str | Function) -> Function:
    """The function with the head behind it, as a layer of its own."""
    if head == "logits":
        return function
    name = head if isinstance(head, str) else getattr(head, "__name__", "head")
    apply = with_head(lambda y: y, head)

    def headed(x: Array) -> Any:
        y = function(x)
        with jax.named_scope(f"{HEAD}{name.strip('<>')}"):
            return apply(y)

    return headed


@dataclasses.dataclass(frozen=True, eq=False)
class CompiledAttribution:
    """A network cut into layers, ready to be measured on any number of images; made by ``plan``.

    It is compiled once per estimator, for one batch size.

    Attributes:
      layers: labels in order of execution.
      shapes: of what each layer hands on.
      layouts: of it, in words.
      generators: along which the derivative is taken.
      batch_shape: of the images that are computed on at a time.

    Example:
      >>> import jax, numpy as np, softeq_jax as sq
      >>> x = np.random.default_rng(0).normal(size=(2, 8, 8, 1)).astype("float32")
      >>> compiled = sq.measures.attribution.plan(lambda x: jax.nn.relu(x).mean((1, 2)), x)
      >>> compiled.layers, compiled.batch_shape
      (('relu', 'sum', 'div'), (2, 8, 8, 1))
    """

    layers: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    layouts: tuple[str, ...]
    generators: tuple[Generator, ...]
    batch_shape: tuple[int, ...]
    _stages: Stages
    _arrays: tuple[Any, ...]

    __repr__ = brief

    def measure(
        self,
        images: Array,
        estimator: str = "shares",
        *,
        probes: int = 100,
        key: jax.Array | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Attribution:
        """Contributions of the layers on images; arguments and errors as of ``layerwise``."""
        check_inputs(images)
        if estimator not in ESTIMATORS:
            raise ValueError(f"no estimator is called {estimator!r}, choose from {ESTIMATORS}")
        if tuple(images.shape[1:]) != self.batch_shape[1:]:
            raise ValueError(
                f"the plan is for images of shape {self.batch_shape[1:]}, got {images.shape[1:]}"
            )
        whole(probes, "probes", 2)
        key = jax.random.key(0) if key is None else key
        problem = self._stages.problem
        constants = [value for _, value in problem.graph.constants]
        collected: list[Host] = []
        done = 0
        for piece, real in batches(images, self.batch_shape[0]):
            filled = jnp.asarray(_filled(piece, self.batch_shape[0]))
            values = Values(list(self._arrays), constants, filled)
            host = self._stages.run(estimator, values, key, done, probes)
            host = {name: array[:real] for name, array in host.items()}
            check_finite(host, self.generators)
            collected.append(host)
            done += real
            if progress is not None:
                progress(done, len(images))
        joined = {name: np.concatenate([h[name] for h in collected]) for name in collected[0]}
        return Attribution(
            self.layers,
            self.shapes,
            self.layouts,
            tuple(generator.name for generator in self.generators),
            estimator,
            **summarize(joined, self.generators, estimator),
        )


class CutOptions(Options, total=False):
    """Options of an attribution: those of the measures, and how the network is cut into layers.

    Attributes:
      by: "modules" (unless said otherwise): a module without modules inside is a layer, functional
        operations are layers of their own; "ops": every operation; "taps": from one ``tap`` to the
        next; or a function from the labels of "modules" to names of groups.
      layouts: layout by name, with wildcards, of arrays inside: a tap's name, the path of a module
        that the array is an output of, or a path and an operation (``"block1/dot"``).
      alignment: "pixel" (unless said otherwise): positions follow from strides and paddings;
        "corner": every grid is stretched from corner to corner of the input, as in published
        numbers.
    """

    by: By
    layouts: Mapping[str, Any] | None
    alignment: str


Generators = str | Generator | int | Sequence[str | Generator | int]
_TRANSLATIONS = ("translation_x", "translation_y")


def plan(
    f: Function,
    like: Array | jax.ShapeDtypeStruct,
    generators: Generators = _TRANSLATIONS,
    **options: Unpack[CutOptions],
) -> CompiledAttribution:
    """A network traced and cut into layers; errors as of ``layerwise``.

    Args:
      f: see ``layerwise``.
      like: images or a ``jax.ShapeDtypeStruct``: only shape and dtype are used.
      generators: see ``layerwise``.
      **options: see ``CutOptions``.

    Example:
      >>> import jax, softeq_jax as sq
      >>> like = jax.ShapeDtypeStruct((2, 8, 8, 1), "float32")
      >>> compiled = sq.measures.attribution.plan(lambda x: jax.nn.relu(x).mean((1, 2)), like)
      >>> list(zip(compiled.layers, compiled.shapes))
      [('relu', (2, 8, 8, 1)), ('sum', (2, 1)), ('div', (2, 1))]
    """
    known_options(options, CutOptions, "an attribution")
    shared = {name: value for name, value in options.items() if name in Options.__annotations__}
    setting = resolved(shared, "an attribution", without=("jit",))
    by, alignment = options.get("by", "modules"), options.get("alignment", "pixel")
    if alignment not in ("pixel", "corner"):
        raise ValueError(f"alignment must be 'pixel' or 'corner', got {alignment!r}")
    if not isinstance(like, jax.ShapeDtypeStruct):
        check_inputs(like)
    size = setting.batch_size
    count = like.shape[0] if size is None else min(size, like.shape[0])
    dtype = jax.dtypes.canonicalize_dtype(like.dtype)
    images = jax.ShapeDtypeStruct((count, *like.shape[1:]), dtype)
    layout, frame = input_layout(setting.input, images.shape)
    chosen = as_generators(generators, layout)
    arrays, skeleton = split_callable(f, setting.head, by, *own_functions(chosen))
    cut = (_cut if skeleton.lasting else _cut.__wrapped__)(
        skeleton,
        tuple(abstract(a) for a in arrays),
        images,
        chosen,
        dataclasses.replace(setting, input=layout, frame=frame),
        by,
        tuple((options.get("layouts") or {}).items()),
        alignment,
        bool(jax.config.jax_enable_x64),  # pyright: ignore[reportAttributeAccessIssue] made at run time
    )
    return dataclasses.replace(cut, _arrays=tuple(arrays))


@functools.lru_cache(maxsize=16)
def _cut(
    skeleton: Skeleton,
    arrays: tuple[jax.ShapeDtypeStruct, ...],
    images: jax.ShapeDtypeStruct,
    generators: tuple[Generator, ...],
    setting: Setting,
    by: By,
    layouts: tuple[tuple[str, Any], ...],
    alignment: str,
    double: bool,
) -> CompiledAttribution:
    """The attribution without the arrays of the function; traced and cut once for equal arguments.

    ``double``, whether JAX computes in float64, decides how the function is traced.
    """
    del double

    def function(values: Sequence[Any], x: Any) -> Any:
        return _headed(skeleton(list(values)), setting.head)(x)

    with jax.default_matmul_precision("highest"):
        traced = jax.make_jaxpr(lambda values, x: one_array(function(values, x)))(arrays, images)
    graph = flatten(traced)
    root = graph.arguments[-1]
    check_result(graph, root, images.shape[0])
    setting.output.check(graph.shapes[graph.output].shape, "the output")
    output = Invariant() if isinstance(setting.output, Invariant) else setting.output
    layout, frame = setting.input, setting.frame
    facts = propagate(graph, root, layout, output, frame, dict(layouts), alignment)
    flows_only = all(isinstance(generator, Flow) for generator in generators)
    cut = partition(DataFlow(graph, facts), by, flows_only=flows_only)
    stages = Stages(Problem(function, graph, facts, cut, generators, frame, setting.stencil))
    return CompiledAttribution(
        cut.layers, cut.shapes, cut.layouts, generators, images.shape, stages, ()
    )


def layerwise(
    f: Function,
    images: Array,
    generators: Generators = _TRANSLATIONS,
    *,
    estimator: str = "shares",
    probes: int = 100,
    key: jax.Array | None = None,
    progress: Callable[[int, int], None] | None = None,
    **options: Unpack[CutOptions],
) -> Attribution:
    """What every layer contributes to the Lie derivative of a network.

    The layers cover all that is computed, so contributions sum to ``L f`` exactly; this is checked
    for every image against a derivative in forward mode that knows of no layers. Sums and other
    pointwise linear operations contribute zero. Where the layout of an array does not follow from
    the input's (attention weights, flattened maps), the operations around it are one layer.

    Args:
      f: from images to one array with the examples on axis 0, deterministic, not mixing examples
        (evaluation mode). Arrays of a pytree (``jax.tree_util.Partial``, Equinox) become
        arguments of the compiled program. For Flax Linen see ``linen``.
      images: ``[n, ...]`` floating point.
      generators: names, ``measures.Flow`` and so on; units as of ``measures.flow``.
      estimator: "shares": signed shares of every layer, one pullback per generator; "exact": every
        c_i, one pullback per entry of the output; "hutchinson": ``||c_i||^2`` from random probes.
      probes: of "hutchinson", at least 2.
      key: of "hutchinson"; None: ``jax.random.key(0)``. Results do not depend on ``batch_size``.
      progress: called with the numbers of images done and in all after each batch.
      **options: see ``CutOptions``; the head is the last layer.

    Returns:
      The attribution, per image.

    Raises:
      ValueError: f does not depend on its input; unknown names; layouts that do not fit.
      TypeError: integer images, an output that is no floating point array, unknown options.
      ArithmeticError: contributions do not sum to L f: f is not deterministic, mixes examples, or
        has a derivative rule that is not linear.

    Example:
      >>> import jax, numpy as np, softeq_jax as sq
      >>> images = np.random.default_rng(0).normal(size=(4, 8, 8, 3)).astype("float32")
      >>> f = lambda x: jax.nn.relu(x)[:, ::2, ::2].mean((1, 2))
      >>> found = sq.measures.layerwise(f, images, "translation_x")
      >>> found.layers
      ('relu', 'slice', 'sum', 'div')
      >>> found.shares["translation_x"].sum(axis=0).round(3)  # signed, for every image
      array([1., 1., 1., 1.])
    """
    check_inputs(images)
    planned = plan(f, images, generators, **options)
    return planned.measure(images, estimator, probes=probes, key=key, progress=progress)


def _filled(piece: Array, size: int) -> Array:
    missing = size - len(piece)
    return piece if not missing else np.concatenate([piece, np.repeat(piece[-1:], missing, 0)])
