r"""How a function varies over a group: how far it is from its mean, and with which irreps.

For ``h_x(g) = rho_out(g)^-1 f(rho_in(g) x)``, which is constant in g iff f is equivariant, the mean
over g is the Reynolds average ``(R f)(x)``, the variance what averaging removes, and the energy of
an irreducible representation lambda (Peter and Weyl)

.. math:: \int\int h_x(g) h_x(k)\, d_\lambda \chi_\lambda(g k^{-1})\, dg\, dk .
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from softeq_jax._sizes import require_room
from softeq_jax._text import table
from softeq_jax.groups import Group, OrthogonalGroup, PlanarGroup
from softeq_jax.orbits._orbit import common_group, tree_action
from softeq_jax.orbits._quadrature import Quadrature, quadrature, require_mean

DEGREE = 8
"""Of the quadrature for infinite groups: exact for products of degree 4 and 4."""
REST = "rest"


@dataclasses.dataclass(frozen=True)
class OutputVariation:
    """How one output varies over the group, means over the examples.

    Attributes:
      name: its path in what the function returns; "" for a single array.
      variance: ``mean_x mean_g ||h_x(g) - mean h_x||^2``.
      scale: root mean square of the averaged output, over the examples (about its mean over them
        where nothing acts on it, as for energies).
      error: root mean square of ``f(x) - (R f)(x)``, in units of ``scale``.
      energies: by irreducible representation, those that vary; "rest" is what is faster than the
        quadrature tells apart.

    Example:
      >>> import jax.numpy as jnp, softeq_jax as sq
      >>> V, x = sq.reps.vector(sq.groups.so(2)), jnp.array([[3.0, 4.0]])
      >>> one = sq.orbits.variation(lambda x: 10 + x[:, 0], V, None, x)[""]
      >>> round(one.variance, 3)  # 25 times the mean of a squared cosine
      12.5
    """

    name: str
    variance: float
    scale: float
    error: float
    energies: tuple[tuple[str, float], ...]

    @property
    def spread(self) -> float:
        """The standard deviation over the group, in units of ``scale``."""
        return math.sqrt(self.variance) / max(self.scale, 1e-300)


@dataclasses.dataclass(frozen=True, repr=False)
class Variation:
    """How far a function is from its mean over a group; ``print`` it.

    Attributes:
      group: its name.
      elements: how many were taken.
      degree: up to which the mean is exact; None: for every function.
      outputs: one entry each.

    Example:
      >>> import jax.numpy as jnp, softeq_jax as sq
      >>> V, x = sq.reps.vector(sq.groups.cyclic(4)), jnp.array([[3.0, 4.0]])
      >>> found = sq.orbits.variation(lambda x: {"length": (x**2).sum(-1)}, V, None, x)
      >>> found["length"].variance, found.elements
      (0.0, 4)
    """

    group: str
    elements: int
    degree: int | tuple[int, ...] | None
    outputs: tuple[OutputVariation, ...]

    def __getitem__(self, name: str) -> OutputVariation:
        for one in self.outputs:
            if one.name == name:
                return one
        raise KeyError(
            f"no output is called {name!r}, choose from {[o.name for o in self.outputs]}"
        )

    def table(self) -> str:
        """The numbers, as aligned text."""
        rows = []
        for one in self.outputs:
            total = max(one.variance, 1e-300)
            shares = ", ".join(f"{n} {e / total:.0%}" for n, e in one.energies if e > 5e-3 * total)
            cells = (f"{one.variance:.3g}", f"{one.spread:.3g}", f"{one.error:.3g}")
            rows.append((one.name or "-", *cells, shares or "-"))
        head = ("output", "variance", "spread", "error", "by irrep")
        return table(head, rows, right="-rrr")

    def __repr__(self) -> str:
        exact = "exact" if self.degree is None else f"exact to degree {self.degree}"
        return f"{self.table()}\nover {self.elements} elements of {self.group}, {exact}"

    def as_dict(self) -> dict[str, Any]:
        """Everything as numbers, texts and lists."""
        return dataclasses.asdict(self)


def variation(
    f: Callable[..., Any],
    rep_in: Any,
    rep_out: Any,
    x: Any,
    *args: Any,
    degree: int | tuple[int, ...] | None = None,
) -> Variation:
    """How far a function is from its Reynolds average, output by output and irrep by irrep.

    For a potential: positions, species as a further argument, energy and forces as outputs.

    Args:
      f: as in ``average``; it is called with ``x`` moved and ``args`` as they are.
      rep_in: what acts on x, as in ``average``.
      rep_out: what acts on ``f(x)``; None for an invariant.
      x: examples, on the first axis.
      args: further arguments of f.
      degree: for infinite groups, of the quadrature, ``DEGREE = 8`` by default. Energies of
        irreps up to half of it are told apart, exactly for an f of that degree; the rest is one.

    Returns:
      A ``Variation``. Irreps are told for SO(2), O(2), SO(3) and O(3), named as ``reps.irrep``
      names them.

    Raises:
      ValueError, TypeError: as ``average``.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> V = sq.reps.vector(sq.groups.so(3))
      >>> x = np.random.default_rng(0).normal(size=(50, 3)).astype("float32")
      >>> found = sq.orbits.variation(lambda x: (x**2).sum(-1) + x[:, 2], V, None, x)
      >>> [name for name, energy in found[""].energies if energy > 1e-6]  # x_2 is a vector's
      ['1']
    """
    if not callable(f):
        raise TypeError(f"variation needs a function, got {f!r}")
    group = common_group(rep_in, rep_out)
    require_mean(group)
    degree = DEGREE if degree is None else degree
    rule = quadrature(group, degree)
    enter = tree_action(rep_in, None, rule.elements)
    leave = tree_action(rep_out, None, rule.elements, inverse=True)
    x = jax.tree.map(jnp.asarray, x)
    still = f(x, *args)
    leaves = jax.tree.leaves(still)
    size = len(rule.weights) * sum(leaf.nbytes for leaf in leaves)
    require_room(3 * size, f"{len(rule.weights)} outputs of f", "give fewer examples or degree=")

    def one(entries: tuple[Any, Any]) -> Any:
        return leave.move(entries[1], f(enter.move(entries[0], x), *args))

    moved = jax.jit(lambda entries: jax.lax.map(one, entries))((enter.arrays, leave.arrays))
    paths = jax.tree_util.tree_flatten_with_path(still)[0]
    acting = leave.moving(still)
    kernels = _kernels(group, rule, degree)
    found = []
    for (path, y), hs in zip(paths, jax.tree.leaves(moved), strict=True):
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        fixed = not any(y is other for other in acting)
        found.append(_output(name, np.asarray(y), np.asarray(hs), rule, kernels, fixed))
    exact = None if group.is_finite else degree
    return Variation(str(group), len(rule.weights), exact, tuple(found))


def _output(
    name: str,
    y: np.ndarray,
    moved: np.ndarray,
    rule: Quadrature,
    kernels: list[tuple[str, np.ndarray]],
    fixed: bool,
) -> OutputVariation:
    n = len(y)
    h = moved.astype(np.float64).reshape(len(rule.weights), n, -1)
    mean = np.tensordot(rule.weights, h, 1)
    rest = (h - mean).reshape(len(h), -1)
    gram = rest @ rest.T / n
    variance = float(rule.weights @ np.diagonal(gram))
    about = mean - mean.mean(0) if fixed else mean
    scale = math.sqrt(float((about**2).sum()) / n)
    error = math.sqrt(float(((y.astype(np.float64).reshape(n, -1) - mean) ** 2).sum()) / n)
    energies = [(irrep, max(0.0, float(np.sum(gram * kernel)))) for irrep, kernel in kernels]
    energies.append((REST, max(0.0, variance - sum(energy for _, energy in energies))))
    return OutputVariation(name, variance, scale, error / max(scale, 1e-300), tuple(energies))


def _kernels(group: Group, rule: Quadrature, degree: Any) -> list[tuple[str, np.ndarray]]:
    """``w_i w_j d chi(g_i g_j^-1)`` of the irreps that vary, up to half of the degree."""
    spatial = isinstance(group, OrthogonalGroup) and group.n == 3
    planar = isinstance(group, PlanarGroup) and group.rotations is None
    if not spatial and not planar:
        return []
    g = rule.elements
    between = np.einsum("aij,bkj->abik", g, g)
    sign = np.round(np.linalg.det(between))
    trace = np.trace(between, axis1=2, axis2=3)
    weights = np.multiply.outer(rule.weights, rule.weights)
    most = degree // 2
    found: list[tuple[str, np.ndarray]] = []
    if spatial:
        angle = np.arccos(np.clip((sign * trace - 1) / 2, -1, 1))
        chi = np.ones_like(angle)
        for l in range(most + 1):
            chi = chi + 2 * np.cos(l * angle) if l else chi
            parts = (
                [(str(l), chi)] if group.is_connected else [(f"{l}e", chi), (f"{l}o", sign * chi)]
            )
            found += [(name, (2 * l + 1) * weights * part) for name, part in parts]
        return found[1:]
    angle = np.arctan2(between[..., 1, 0], between[..., 1, 1])
    flips = not group.is_connected
    for m in range(most + 1):
        wave = np.cos(m * angle) * (1 if m == 0 else 2)
        if not flips:
            found.append((str(m), weights * wave))
        elif m:
            found.append((str(m), 2 * weights * wave * (sign > 0)))
        else:
            found += [("(0, 1)", weights * wave), ("(0, -1)", weights * wave * sign)]
    return found[1:]
