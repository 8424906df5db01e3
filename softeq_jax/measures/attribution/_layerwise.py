r"""Which layers of a network break a symmetry: attribution of its Lie derivative.

    L f = sum_i c_i,     c_i = J_{>i} L f_i:    what the output owes to layer i not commuting
                                                with the generator

for every layer i of a partition of the whole computation: modules, functional operations, sums
and reshapes alike, so that nothing is left out and the sum is exact. Sources: measures.md A.5,
D.3 to D.5, D.7.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from softeq_jax.measures._functions import (
    Array,
    Function,
    Skeleton,
    batches,
    check_inputs,
    one_array,
    split_callable,
)
from softeq_jax.measures._generators import Flow, Generator
from softeq_jax.measures._layouts import Invariant, Layout, as_layout
from softeq_jax.measures._stencils import Stencil, as_stencil
from softeq_jax.measures.attribution._arguments import (
    Head,
    abstract,
    check_result,
    generators_of,
    input_layout,
    user_functions,
)
from softeq_jax.measures.attribution._attribution import Attribution
from softeq_jax.measures.attribution._estimators import ESTIMATORS, Host, Stages
from softeq_jax.measures.attribution._flow import Flow as DataFlow
from softeq_jax.measures.attribution._graph import flatten
from softeq_jax.measures.attribution._layers import By
from softeq_jax.measures.attribution._propagate import Frame, propagate
from softeq_jax.measures.attribution._regions import partition
from softeq_jax.measures.attribution._summary import check_finite, summarize
from softeq_jax.measures.attribution._telescope import Problem, Values


@dataclasses.dataclass(frozen=True, eq=False)
class Plan:
    """A network cut into layers, ready to be measured on any number of images.

    Made by ``plan``. Compiled once per estimator, for one batch size.

    Attributes:
      layers: labels in order of execution.
      shapes: of what each layer hands on.
      layouts: of it, in words.
      generators: along which the derivative is taken.
      batch_shape: of the images that are computed on at a time.
    """

    layers: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    layouts: tuple[str, ...]
    generators: tuple[Generator, ...]
    batch_shape: tuple[int, ...]
    _stages: Stages
    _arrays: tuple[Any, ...]

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
        if probes < 2:
            raise ValueError(f"a standard error needs at least 2 probes, got {probes}")
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
        cut = (problem.partition.layers, problem.partition.shapes, problem.partition.layouts)
        return summarize(joined, *cut, self.generators, estimator)


def plan(
    f: Function,
    like: Array,
    generators: str | Generator | int | Sequence[str | Generator | int] = (
        "translation_x",
        "translation_y",
    ),
    *,
    input: str | Layout = "image",
    output: str | Layout | None = None,
    head: str | Function = "logits",
    stencil: str | Stencil = "central",
    by: By = "modules",
    layouts: Mapping[str, Any] | None = None,
    alignment: str = "pixel",
    batch_size: int | None = None,
) -> Plan:
    """Traces a network and cuts it into layers; see ``layerwise`` for arguments and errors.

    Args:
      like: images or a ``jax.ShapeDtypeStruct``: only shape and dtype are used.
    """
    if alignment not in ("pixel", "corner"):
        raise ValueError(f"alignment must be 'pixel' or 'corner', got {alignment!r}")
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    check_inputs(like) if not isinstance(like, jax.ShapeDtypeStruct) else None
    count = like.shape[0] if batch_size is None else min(batch_size, like.shape[0])
    dtype = jax.dtypes.canonicalize_dtype(like.dtype)
    images = jax.ShapeDtypeStruct((count, *like.shape[1:]), dtype)
    source = as_layout(input, "input")
    layout, frame = input_layout(source, images.shape)
    arrays, skeleton = split_callable(f, head, *user_functions(generators, by))
    cut = (_cut if skeleton.lasting else _cut.__wrapped__)(
        skeleton,
        tuple(abstract(a) for a in arrays),
        images,
        generators_of(generators, layout),
        layout,
        frame,
        as_layout(output, "output"),
        Head(head),
        as_stencil(stencil),
        by,
        tuple((layouts or {}).items()),
        alignment,
        bool(jax.config.jax_enable_x64),
    )
    return dataclasses.replace(cut, _arrays=tuple(arrays))


@functools.lru_cache(maxsize=16)
def _cut(
    skeleton: Skeleton,
    arrays: tuple[jax.ShapeDtypeStruct, ...],
    images: jax.ShapeDtypeStruct,
    generators: tuple[Generator, ...],
    layout: Layout,
    frame: Frame,
    output: Layout,
    head: Head,
    stencil: Stencil,
    by: By,
    layouts: tuple[tuple[str, Any], ...],
    alignment: str,
    double: bool,
) -> Plan:
    """The plan without the arrays of the function; traced and cut once for equal arguments.

    ``double``, whether JAX computes in float64, decides how the function is traced.
    """
    del double

    def function(values: Sequence[Any], x: Any) -> Any:
        return head.on(skeleton(list(values)))(x)

    with jax.default_matmul_precision("highest"):
        traced = jax.make_jaxpr(lambda values, x: one_array(function(values, x)))(arrays, images)
    graph = flatten(traced)
    root, result = graph.arguments[-1], graph.outputs[0]
    check_result(graph, root, images.shape[0])
    output.check(graph.shapes[result].shape, "the output")
    output = Invariant() if isinstance(output, Invariant) else output
    facts = propagate(graph, root, layout, output, frame, dict(layouts), alignment)
    flows_only = all(isinstance(generator, Flow) for generator in generators)
    cut = partition(DataFlow(graph, facts), by, flows_only=flows_only)
    stages = Stages(Problem(function, graph, facts, cut, generators, frame, stencil))
    return Plan(cut.layers, cut.shapes, cut.layouts, generators, images.shape, stages, ())


def layerwise(
    f: Function,
    images: Array,
    generators: str | Generator | int | Sequence[str | Generator | int] = (
        "translation_x",
        "translation_y",
    ),
    *,
    input: str | Layout = "image",
    output: str | Layout | None = None,
    head: str | Function = "logits",
    stencil: str | Stencil = "central",
    estimator: str = "shares",
    probes: int = 100,
    key: jax.Array | None = None,
    by: By = "modules",
    layouts: Mapping[str, Any] | None = None,
    alignment: str = "pixel",
    batch_size: int | None = None,
    progress: Callable[[int, int], None] | None = None,
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
      input: the layout of the images.
      output: the layout of the output; None for scores ``[n]`` or ``[n, c]``.
      head: "logits" (the output as it is), "probabilities", "log_probabilities" or a function; it
        is the last layer.
      stencil: the spatial derivative, at the input and at every interface alike.
      estimator: "shares": signed shares of every layer, one pullback per generator; "exact": every
        c_i, one pullback per entry of the output; "hutchinson": ``||c_i||^2`` from random probes.
      probes: of "hutchinson", at least 2.
      key: of "hutchinson"; None: ``jax.random.key(0)``. Results do not depend on ``batch_size``.
      by: "modules": a module without modules inside is a layer, functional operations are layers
        of their own; "ops": every operation; "taps": from one ``tap`` to the next; or a function
        from the labels of "modules" to names of groups.
      layouts: layout by name, with wildcards, of arrays inside: a tap's name, the path of a module
        that the array is an output of, or a path and an operation (``"block1/dot"``).
      alignment: "pixel": positions follow from strides and paddings; "corner": every grid is
        stretched from corner to corner of the input, as in published numbers.
      batch_size: images computed on at a time; None: all.
      progress: called with the numbers of images done and in all after each batch.

    Returns:
      The attribution, per image.

    Raises:
      ValueError: f does not depend on its input; unknown names; layouts that do not fit.
      TypeError: integer images, an output that is no floating point array.
      ArithmeticError: contributions do not sum to L f: f is not deterministic, mixes examples, or
        has a derivative rule that is not linear.
    """
    check_inputs(images)
    planned = plan(
        f,
        images,
        generators,
        input=input,
        output=output,
        head=head,
        stencil=stencil,
        by=by,
        layouts=layouts,
        alignment=alignment,
        batch_size=batch_size,
    )
    return planned.measure(images, estimator, probes=probes, key=key, progress=progress)


def _filled(piece: Array, size: int) -> Array:
    missing = size - len(piece)
    return piece if not missing else np.concatenate([piece, np.repeat(piece[-1:], missing, 0)])
