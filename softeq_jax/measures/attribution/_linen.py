"""Flax Linen modules as functions whose layers carry the names of the modules."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax

from softeq_jax.measures.attribution._graph import tap
from softeq_jax.measures.base._layouts import covers


def linen(
    module: Any,
    variables: Mapping[str, Any],
    *args: Any,
    method: str | Callable[..., Any] | None = None,
    taps: Sequence[str] = (),
    **kwargs: Any,
) -> Callable[[jax.Array], Any]:
    """The function of images that a Flax Linen module computes, for ``layerwise``.

    Every module's operations are traced under its name, whether Flax's own profiling is on or
    not; ``variables`` become arguments of the compiled program. Modules of NNX and Equinox need
    no such front end: pass them as they are.

    Args:
      module: the unbound module.
      variables: its parameters and other collections; none is written to.
      *args: passed to the module behind the images, as in ``linen(net, variables, False)``.
      method: of the module; None: ``__call__``.
      taps: patterns over the paths of modules, as in ``"stage*_block*"``; the outputs of those
        that match become taps of that name.
      **kwargs: passed to the module.

    Returns:
      ``f(images)``, a ``jax.tree_util.Partial``.

    Raises:
      TypeError: no Flax module.
      ValueError: on the first call, a pattern that matches no module that was called.

    Example:
      >>> import jax, jax.numpy as jnp, softeq_jax as sq
      >>> from flax import linen
      >>> net = linen.Sequential([linen.Dense(2), linen.relu])
      >>> x = jnp.ones((1, 4, 4, 1))
      >>> f = sq.measures.linen(net, net.init(jax.random.key(0), x))
      >>> f(x).shape
      (1, 4, 4, 2)
    """
    try:
        from flax import linen as nn
    except ModuleNotFoundError as error:
        raise ImportError("linen() needs Flax: pip install flax") from error
    if not isinstance(module, nn.Module):
        raise TypeError(f"linen() needs a flax.linen.Module, got {type(module).__name__}")
    return jax.tree_util.Partial(
        Application(module, method, tuple(taps)), (variables, args, kwargs)
    )


@dataclasses.dataclass(frozen=True)
class Application:
    """``module.apply`` without its arguments.

    Two are equal if they compute the same, so that another checkpoint of a network reuses what
    was compiled.
    """

    module: Any
    method: str | Callable[..., Any] | None
    taps: tuple[str, ...]

    def __hash__(self) -> int:
        return hash((type(self.module), self.taps))

    def __call__(self, state: tuple[Any, Any, Any], images: jax.Array) -> Any:
        """The output of the module; ``state`` is variables, and further arguments."""
        from flax import linen as nn

        unmatched = set(self.taps)

        def scoped(call: Callable[..., Any], given: Any, keywords: Any, context: Any) -> Any:
            path = context.module.path
            if context.method_name == "setup" or not path:
                return call(*given, **keywords)
            is_main = context.method_name == "__call__"
            name = path[-1] if is_main else f"{path[-1]}.{context.method_name}"
            with jax.named_scope(name):
                result = call(*given, **keywords)
            matching = [p for p in self.taps if covers(p, "/".join(path))] if is_main else []
            unmatched.difference_update(matching)
            if not matching:
                return result
            return jax.tree.map(lambda a: tap(a, "/".join(path)), result)

        with nn.override_named_call(False), nn.intercept_methods(scoped):
            variables, args, kwargs = state
            result = self.module.apply(variables, images, *args, method=self.method, **kwargs)
        if unmatched:
            raise ValueError(
                f"taps: {sorted(unmatched)} match no module that {self.module.name} calls"
            )
        return result
