"""Optimizers with what fine-tuning needs beside optax: rates and decay by path, clipping."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from softeq_jax._checks import coefficient
from softeq_jax._paths import first_matches, leaf_paths, refuse_idle
from softeq_jax._text import brief
from softeq_jax.training.pmap import widened

Tree = Any


def factors(params: Tree, rules: Mapping[str, float], default: float | None = None) -> Tree:
    """A number for every parameter, by its path.

    Args:
      params: the parameters.
      rules: globs over paths (as in `softeq_jax.plan`) and their numbers; the first that
        matches counts.
      default: for parameters that no rule matches.

    Returns:
      A tree like `params` of Python floats.

    Raises:
      ValueError: a rule is the first match of no parameter, a parameter has no rule and there
        is no default, or a number is not finite and >= 0.
    """
    for pattern, value in rules.items():
        coefficient(value, f"the number of rule {pattern!r}")
    paths, _, structure = leaf_paths(params)
    chosen = first_matches(rules, paths)
    refuse_idle(rules, chosen, paths, "rules that match no parameter")
    left = [path for path, pattern in zip(paths, chosen, strict=True) if pattern is None]
    if left and default is None:
        raise ValueError(f"no rule matches {left}; the rules are {list(rules)}")
    values = [default if pattern is None else float(rules[pattern]) for pattern in chosen]
    return jax.tree.unflatten(structure, values)


def layer_decay(params: Tree, layers: Sequence[str], decay: float) -> Tree:
    """Factors of the learning rate that fall from the output to the input.

    Layer i of L, counted from the input, gets `decay ** (L - 1 - i)`.

    Args:
      params: the parameters.
      layers: globs over paths, from the input to the output; together they cover everything.
      decay: in (0, 1]; 1 treats all alike.

    Raises:
      ValueError: decay out of range, or as `factors`.
    """
    if not 0 < decay <= 1:
        raise ValueError(f"decay must be in (0, 1], got {decay}")
    last = len(layers) - 1
    return factors(params, {pattern: decay ** (last - i) for i, pattern in enumerate(layers)})


def scale_by_factors(values: Tree) -> optax.GradientTransformation:
    """Multiplies the update of each parameter by its factor: a learning rate of its own.

    Put it last in `optax.chain`, so that decoupled weight decay is scaled as well. Parameters
    with factor 0 do not move.

    Args:
      values: numbers, a tree like the parameters (see `factors`).
    """

    def init(params: Tree) -> optax.EmptyState:
        del params
        return optax.EmptyState()

    def update(updates: Tree, state: Any, params: Tree = None) -> tuple[Tree, Any]:
        del params
        return jax.tree.map(lambda u, f: (u * f).astype(u.dtype), updates, values), state

    return optax.GradientTransformation(init, update)


def in_float32(optimizer: optax.GradientTransformation) -> optax.GradientTransformation:
    """The optimizer with its averages, norms and updates in float32 where parameters have 16 bits.

    In their own dtype averages of gradients stand still: 1 + 0.001 is 1. Other parameters, and the
    structure of the optimizer's state, are left as they are.
    """
    inner = optax.with_extra_args_support(optimizer)

    def update(updates: Tree, state: Any, params: Tree = None, **extra: Any) -> tuple[Tree, Any]:
        params = None if params is None else widened(params)
        return inner.update(widened(updates), state, params, **extra)

    return optax.GradientTransformationExtraArgs(lambda params: inner.init(widened(params)), update)


def decays(params: Tree) -> Tree:
    """Which parameters weight decay acts on by custom: those with two axes and more."""
    return jax.tree.map(lambda leaf: jnp.ndim(leaf) > 1, params)


@dataclasses.dataclass(frozen=True)
class OptimizerSettings:
    """An optimizer as a config writes it.

    Attributes:
      algorithm: "sgd" (Nesterov momentum), "adam", "adamw" or "lamb".
      learning_rate: at its highest.
      schedule: "constant", "cosine" or "linear" after a linear warmup, down to `final` times the
        highest rate; or "onecycle", optax's cosine one-cycle, `final` aside.
      warmup: steps (1 and more) or share of all steps (below 1) over which the rate rises
        from 0.
      final: rate at the end, as a share of the highest.
      weight_decay: coupled with SGD and Adam (added to the gradient), decoupled with AdamW and
        LAMB.
      decay_all: also decay biases and gains.
      momentum: of SGD.
      betas: of Adam.
      clip: largest norm of the gradient over all parameters, or None.
    """

    algorithm: str = "adamw"
    learning_rate: float = 1e-3
    schedule: str = "cosine"
    warmup: float = 0.0
    final: float = 0.0
    weight_decay: float = 0.0
    decay_all: bool = False
    momentum: float = 0.9
    betas: tuple[float, float] = (0.9, 0.999)
    clip: float | None = None

    __repr__ = brief

    def rate(self, steps: int) -> optax.Schedule:
        """The learning rate after so many steps, for a run of `steps`.

        Raises:
          ValueError: an unknown schedule, or a warmup longer than the run.
        """
        warmup = round(self.warmup * steps) if self.warmup < 1 else int(self.warmup)
        if not 0 <= warmup <= steps:
            raise ValueError(f"warmup is {warmup} steps, expected 0 to {steps}, the whole run")
        top, bottom, rest = self.learning_rate, self.learning_rate * self.final, steps - warmup
        shapes = {
            "constant": lambda: optax.constant_schedule(top),
            "cosine": lambda: optax.cosine_decay_schedule(top, max(rest, 1), self.final),
            "linear": lambda: optax.linear_schedule(top, bottom, max(rest, 1)),
        }
        if self.schedule == "onecycle":
            share = max(warmup, 1) / steps
            return optax.cosine_onecycle_schedule(steps, top, pct_start=share)
        if self.schedule not in shapes:
            expected = sorted([*shapes, "onecycle"])
            raise ValueError(f"schedule must be one of {expected}, got {self.schedule!r}")
        shape = shapes[self.schedule]()
        if not warmup:
            return shape
        return optax.join_schedules([optax.linear_schedule(0.0, top, warmup), shape], [warmup])

    def optimizer(
        self, params: Tree, steps: int, rates: Tree | None = None
    ) -> optax.GradientTransformation:
        """The optimizer for a run of `steps`; averages are kept in float32, see `in_float32`.

        Args:
          params: the parameters, for the mask of the weight decay.
          steps: of the whole run.
          rates: factors of the learning rate, a tree like `params` (see `factors`).

        Raises:
          ValueError: an unknown algorithm or schedule, or a number out of range.
        """
        coefficient(self.weight_decay, "weight_decay")
        coefficient(self.learning_rate, "learning_rate")
        if self.clip is not None and not self.clip > 0:
            raise ValueError(f"clip must be None or positive, got {self.clip}")
        rate = self.rate(steps)
        mask = None if self.decay_all else decays(params)
        first, second = self.betas
        coupled = optax.add_decayed_weights(self.weight_decay, mask)
        algorithms = {
            "sgd": lambda: [coupled, optax.sgd(rate, self.momentum, nesterov=True)],
            "adam": lambda: [coupled, optax.adam(rate, first, second)],
            "adamw": lambda: [
                optax.adamw(rate, first, second, weight_decay=self.weight_decay, mask=mask)
            ],
            "lamb": lambda: [
                optax.lamb(rate, first, second, weight_decay=self.weight_decay, mask=mask)
            ],
        }
        if self.algorithm not in algorithms:
            raise ValueError(
                f"algorithm must be one of {sorted(algorithms)}, got {self.algorithm!r}"
            )
        clip = [] if self.clip is None else [optax.clip_by_global_norm(self.clip)]
        scaled = [] if rates is None else [scale_by_factors(rates)]
        return in_float32(optax.chain(*clip, *algorithms[self.algorithm](), *scaled))
