"""Options that the measures share: what each means, its default and its check."""

import dataclasses
from collections.abc import Mapping
from typing import Any, TypedDict, Unpack

from softeq_jax._checks import known_options, whole
from softeq_jax.measures.base._actions import Stencil, as_stencil
from softeq_jax.measures.base._functions import Function, as_head
from softeq_jax.measures.base._layouts import Layout, as_layout
from softeq_jax.reps import Rep


class Options(TypedDict, total=False):
    """Keywords that measures take and pass on as one.

    A measure that has no use for one of them refuses it with a TypeError that names it.

    Attributes:
      input: layout of the images: "image" (unless said otherwise), "tokens", a ``Layout`` or a
        representation, which acts on the last axis (one of a grid on axes 1 and 2).
      output: layout of ``head(f(x))``, on which generators and transforms act, too: "image",
        "tokens", a ``Layout``, a representation, or "invariant" if nothing acts on it. None (unless
        said otherwise): scores ``[n]`` or ``[n, c]``, on which nothing acts; anything larger has to
        be declared.
      head: what of the output is measured: "logits" (the output as it is, unless said otherwise),
        "probabilities", "log_probabilities" or a function of the output.
      batch_size: images per call of f, the last call being filled up; None (unless said
        otherwise): all at once.
      jit: False for functions that JAX cannot trace; else they are compiled.
      stencil: the derivative of sampled images and feature maps: "central" (unless said
        otherwise), "spectral", "spectral_mirror", "cubic", "lanczos", "forward", "backward" or a
        ``Stencil``.
    """

    input: Layout | Rep | str
    output: Layout | Rep | str | None
    head: str | Function
    batch_size: int | None
    jit: bool
    stencil: str | Stencil


@dataclasses.dataclass(frozen=True)
class Setting:
    """Options as objects that are known to be good; hashable, as the compiler wants them.

    Two are equal if they stand for the same numbers: how many images are computed at a time, and
    whether the function is compiled, does not count.

    Attributes:
      input: layout of the images.
      output: layout of the outputs.
      head: see ``Options``.
      stencil: the spatial derivative.
      batch_size: see ``Options``.
      jit: see ``Options``.
      frame: rows and columns of the images, once they are known; None where they have none.
    """

    input: Layout
    output: Layout
    head: str | Function
    stencil: Stencil
    batch_size: int | None = dataclasses.field(default=None, compare=False)
    jit: bool = dataclasses.field(default=True, compare=False)
    frame: tuple[int, int] | None = None


def resolved(
    options: Mapping[str, Any],
    what: str,
    *,
    without: tuple[str, ...] = (),
    **defaults: Unpack[Options],
) -> Setting:
    """The setting that options stand for.

    Args:
      options: as they were given, see ``Options``.
      what: takes them, for messages.
      without: those among ``Options`` that it has no use for.
      **defaults: where they differ from those of ``Options``.

    Raises:
      TypeError: an option that nobody knows, or that is of no use here; something that is no
        layout.
      ValueError: an unknown layout, head or stencil, or a batch size below 1.
    """
    known_options(options, Options, what)
    for name in options:
        if name in without:
            takes = [known for known in Options.__annotations__ if known not in without]
            raise TypeError(f"{what} has no use for the option {name!r}; it takes {takes}")
    given: dict[str, Any] = {**defaults, **options}
    as_head(given.get("head", "logits"))
    size = given.get("batch_size")
    return Setting(
        as_layout(given.get("input", "image"), "input"),
        as_layout(given.get("output"), "output"),
        given.get("head", "logits"),
        as_stencil(given.get("stencil", "central")),
        None if size is None else whole(size, "batch_size"),
        bool(given.get("jit", True)),
    )
