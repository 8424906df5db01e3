"""Functions of positions and species, with several outputs: one of one array for each output.

Species and other numbers of atoms that nothing acts on travel as further components of the
positions, so that examples, elements and parts of a batch are taken of both alike.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from softeq_jax.groups import Group
from softeq_jax.measures.base._functions import Array, Function
from softeq_jax.measures.base._layouts import Layout
from softeq_jax.measures.diagnosis._diagnosis import Diagnosis
from softeq_jax.reps import Rep, trivial, vector


class OneOutput(NamedTuple):
    """One output of a function.

    Attributes:
      name: its path in what the function returns; "" if it returns one array.
      f: from one array to this output.
      output: what acts on it, None where nobody said it.
    """

    name: str
    f: Function
    output: Any


class Cloud(NamedTuple):
    """Positions and species as one array.

    Attributes:
      x: ``[n, atoms, d + s]``; the positions alone where there are no species.
      input: what acts on it.
      apart: x to the arguments of the function.
      positions: the shape of the positions.
      acts: what acts on them.
    """

    x: np.ndarray
    input: Any
    apart: Callable[[Any], tuple[Any, ...]]
    positions: tuple[int, ...]
    acts: Any


def is_declared(node: Any) -> bool:
    """Whether something says how a group acts on one array."""
    return isinstance(node, Rep | Layout | str)


def is_several(output: Any) -> bool:
    """Whether several outputs are declared."""
    return isinstance(output, dict | tuple | list)


def joined(x: Any, group: Group, given: Any) -> Cloud:
    """Positions, or a tuple of positions and species, as one array.

    Raises:
      TypeError, ValueError: a tuple that does not hold positions ``[n, atoms, d]`` and species
        ``[n, atoms]``, ``[atoms]`` or ``[n, atoms, s]``.
    """
    if not isinstance(x, tuple):
        return Cloud(x, given, lambda x: (x,), np.shape(x), given)
    if len(x) != 2 or not all(hasattr(part, "shape") for part in x):
        raise TypeError(f"x must be an array, or (positions, species), got {len(x)} entries")
    positions, species = np.asarray(x[0]), np.asarray(x[1])
    if given is None:
        given = vector(group)
    dims = given.dim if isinstance(given, Rep) else -1
    if positions.ndim != 3 or positions.shape[-1] != dims:
        raise ValueError(
            f"positions must be [n, atoms, {group.d}] with a representation on the last axis as "
            f"input=, got shape {positions.shape} and {given!r}"
        )
    if not np.issubdtype(positions.dtype, np.floating):
        raise TypeError(f"positions must be floating point, got {positions.dtype}")
    if species.ndim == 1 and len(species) == positions.shape[1]:
        return Cloud(positions, given, lambda x: (x, species), positions.shape, given)
    flat = species.ndim == 2
    rows = species[..., None] if flat else species
    if rows.ndim != 3 or rows.shape[:2] != positions.shape[:2]:
        raise ValueError(
            f"species must be [n, atoms] or [atoms] like positions {positions.shape}, got shape "
            f"{species.shape}"
        )
    both = np.concatenate([positions, rows.astype(positions.dtype)], axis=-1)
    kind = jax.dtypes.canonicalize_dtype(species.dtype)

    def apart(x: Any) -> tuple[Any, Any]:
        kinds = x[..., dims:]
        if not np.issubdtype(kind, np.floating):
            kinds = jax.lax.stop_gradient(jnp.round(kinds)).astype(kind)
        return x[..., :dims], kinds[..., 0] if flat else kinds

    acts = given + trivial(given.group, rows.shape[-1])
    return Cloud(both, acts, apart, positions.shape, given)


def outputs(f: Callable[..., Any], cloud: Cloud, given: Any) -> list[OneOutput]:
    """The outputs of a function of positions and species, one by one; f is called once.

    An output without representation is read as its shape says: vectors where it has that of the
    positions, else an invariant.

    Raises:
      ValueError: ``output=`` has other entries than what f returns.
    """

    def whole(*x: Array) -> Any:
        return f(*cloud.apart(*x))

    y = whole(jnp.asarray(cloud.x))
    found, structure = jax.tree_util.tree_flatten_with_path(y)
    declared = [None] * len(found)
    if given is not None:
        try:
            declared = structure.flatten_up_to(given)
        except (ValueError, TypeError) as error:
            raise ValueError(f"output= must have the entries that f returns: {error}") from None
    parts = []
    for i, ((path, leaf), one) in enumerate(zip(found, declared, strict=True)):
        vectors = np.shape(leaf) == cloud.positions
        suggested = cloud.acts if vectors else "invariant"
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        parts.append(OneOutput(name, _ith(whole, i), suggested if one is None else one))
    return parts


def _ith(whole: Callable[..., Any], i: int) -> Function:
    return lambda x: jax.tree.leaves(whole(x))[i]


def together(parts: Sequence[tuple[str, Diagnosis]]) -> Diagnosis:
    """One diagnosis of all outputs; findings and errors say which output they are of."""
    if len(parts) == 1:
        return parts[0][1]
    findings = [
        dataclasses.replace(finding, evidence=f"{name}: {finding.evidence}")
        for name, one in parts
        for finding in one.findings
    ]
    errors = [(f"{name}: {e}", size) for name, one in parts for e, size in one.errors]
    broken = [(name, one) for name, one in parts if not one.equivariant]
    worst = max(broken or parts, key=lambda part: part[1].error)
    sound = [name for name, one in parts if one.equivariant]
    rest = f" ({', '.join(sound)}: equivariant)" if broken and sound else ""
    names = worst[0] if broken else ", ".join(sound)
    return Diagnosis(
        not broken,
        tuple(sorted(findings, key=lambda found: -found.size)),
        f"{names}: {worst[1].verdict}{rest}",
        tuple(errors),
        max(one.tolerance for _, one in parts),
        sum(one.passes for _, one in parts),
    )
