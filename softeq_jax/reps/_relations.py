"""Relations of a group, checked on matrices of its generators, and exact derivatives."""

import functools
import itertools
from collections.abc import Callable

import numpy as np

from softeq_jax.groups import LISTABLE, Group

TOLERANCE = 1e-8
_STEPS = (2.0**-5, 2.0**-9, 2.0**-13)  # in units of the generator
_TABLE = 10_000_000  # numbers in the table of all matrices of a finite group
_LONGEST = 1000  # orders of elements beyond which they are taken to be infinite


def verify(
    group: Group,
    lie: np.ndarray,
    discrete: np.ndarray,
    matrix: Callable[[np.ndarray], np.ndarray],
) -> None:
    """Raises ValueError unless the matrices of the generators define a representation.

    Args:
      group: the group.
      lie: images of its Lie generators, ``[k, n, n]``.
      discrete: images of its discrete generators, ``[m, n, n]``.
      matrix: the image of an element, by way of its factorization.
    """
    for i, h in enumerate(discrete):
        if np.linalg.cond(h) > 1e12:
            raise _failure(group, f"the matrix of discrete generator {i} is singular")
    _brackets(group, lie)
    _adjoint(group, lie, discrete)
    _periods(group, lie)
    order = group.order
    if order is not None and order <= LISTABLE and order * discrete[0].size <= _TABLE:
        _cayley_table(group, discrete)
        return
    _orders(group, discrete)
    sampled = random_elements(group.lie_generators, group.discrete_generators, 4, group.d)
    try:
        known = [(g, matrix(g)) for g in sampled]
    except ValueError:
        return  # the group cannot write its elements in generators: only orders can be checked
    _products(group, known, list(zip(group.discrete_generators, discrete, strict=True)), matrix)


def _failure(group: Group, what: str, off: float | None = None) -> ValueError:
    by = "" if off is None else f" (relative difference {off:.2g})"
    return ValueError(f"these matrices are no representation of {group}: {what}{by}")


def _combination(group: Group, element: np.ndarray, lie: np.ndarray) -> np.ndarray:
    return np.tensordot(group.coordinates(element), lie, 1)


def _brackets(group: Group, lie: np.ndarray) -> None:
    a = group.lie_generators
    for i, j in itertools.combinations(range(len(a)), 2):
        expected = _combination(group, a[i] @ a[j] - a[j] @ a[i], lie)
        off = deviation(lie[i] @ lie[j] - lie[j] @ lie[i], expected)
        if off > TOLERANCE:
            what = f"the commutator of Lie generators {i} and {j} is not what it is in the group"
            raise _failure(group, what, off)


def _adjoint(group: Group, lie: np.ndarray, discrete: np.ndarray) -> None:
    for i, (h, image) in enumerate(zip(group.discrete_generators, discrete, strict=True)):
        for k, a in enumerate(group.lie_generators):
            expected = _combination(group, h @ a @ np.linalg.inv(h), lie)
            off = deviation(image @ lie[k] @ np.linalg.inv(image), expected)
            if off > TOLERANCE:
                what = f"conjugating Lie generator {k} with discrete generator {i} gives another"
                raise _failure(group, f"{what} matrix than in the group", off)


def _periods(group: Group, lie: np.ndarray) -> None:
    import scipy.linalg

    for k, a in enumerate(group.lie_generators):
        period = _period(a)
        if period is None:
            continue
        off = deviation(scipy.linalg.expm(period * lie[k]), np.eye(lie.shape[-1]))
        if off > TOLERANCE:
            turns = f"{period / np.pi:.6g} pi"
            what = f"exp(t A_{k}) is 1 in the group at t = {turns}, but not exp(t rho(A_{k}))"
            raise _failure(group, what, off)


def _period(generator: np.ndarray) -> float | None:
    """The least ``t > 0`` with ``exp(t A) = 1`` in the defining representation, if any."""
    import scipy.linalg

    speeds = np.abs(np.linalg.eigvals(generator).imag)
    if not np.any(speeds > 1e-9):
        return None
    turn = 2.0 * np.pi / speeds[speeds > 1e-9].min()
    for t in turn * np.arange(1, 13):
        if np.abs(scipy.linalg.expm(t * generator) - np.eye(len(generator))).max() < 1e-9:
            return float(t)
    return None


def _cayley_table(group: Group, discrete: np.ndarray) -> None:
    elements, words = group.elements(), group.words()
    table = np.empty((len(elements), *discrete.shape[1:]), discrete.dtype)
    for i in _parents_first(words.parent):
        parent = words.parent[i]
        one = np.eye(discrete.shape[1])
        table[i] = one if parent < 0 else table[parent] @ discrete[words.generator[i]]
    for k, (h, image) in enumerate(zip(group.discrete_generators, discrete, strict=True)):
        off = np.abs(table @ image - table[group.indices(elements @ h)]).max(axis=(1, 2))
        scale = max(1.0, float(np.abs(table).max()))
        if off.max() > TOLERANCE * scale:
            i = int(np.argmax(off))
            spelled = " ".join(f"h{j}" for j in words.spell(i)) or "1"
            what = f"rho(g h{k}) differs from rho(g) rho(h{k}) for the element g = {spelled}"
            raise _failure(group, what, float(off[i]) / scale)


def _parents_first(parent: np.ndarray) -> np.ndarray:
    """Elements ordered by the length of their words."""
    depth, at = np.zeros(len(parent), int), np.array(parent)
    while np.any(at >= 0):
        depth += at >= 0
        at = np.where(at >= 0, parent[at], -1)
    return np.argsort(depth, kind="stable")


def _order(h: np.ndarray) -> int | None:
    power = np.array(h)
    for order in range(1, _LONGEST + 1):
        if np.abs(power - np.eye(len(h))).max() < 1e-9:
            return order
        power = power @ h
    return None


def _orders(group: Group, discrete: np.ndarray) -> None:
    generators = list(zip(group.discrete_generators, discrete, strict=True))
    named = [(f"h{i}", *pair) for i, pair in enumerate(generators)]
    named += [
        (f"h{i} h{j}", a @ b, x @ y)
        for (i, (a, x)), (j, (b, y)) in itertools.combinations(enumerate(generators), 2)
    ]
    rng = np.random.default_rng(0)
    for length in range(3, 9 if generators else 3):
        word = rng.integers(len(generators), size=length)
        g, x = (functools.reduce(np.matmul, [generators[i][side] for i in word]) for side in (0, 1))
        named.append((" ".join(f"h{i}" for i in word), g, x))
    for name, h, image in named:
        order = _order(h)
        if order is None:
            continue
        off = deviation(np.linalg.matrix_power(image, order), np.eye(len(image)))
        if off > TOLERANCE:
            raise _failure(group, f"{name} has order {order} in the group, not here", off)


def _products(
    group: Group,
    sampled: list[tuple[np.ndarray, np.ndarray]],
    generators: list[tuple[np.ndarray, np.ndarray]],
    matrix: Callable[[np.ndarray], np.ndarray],
) -> None:
    """Checks ``rho(g h) = rho(g) rho(h)`` for pairs of elements that come with their matrices."""
    pairs = [*itertools.product(generators + sampled, generators)]
    pairs += [*itertools.permutations(sampled, 2)]
    for (g, x), (h, y) in pairs:
        try:
            product = matrix(g @ h)
        except ValueError:
            continue  # the group cannot write this product in generators
        off = deviation(product, x @ y)
        if off > TOLERANCE:
            what = f"rho(g h) differs from rho(g) rho(h) for g = {shown(g)} and h = {shown(h)}"
            raise _failure(group, what, off)


def derivative(
    image: Callable[[np.ndarray], np.ndarray], generator: np.ndarray, what: str, tolerance: float
) -> np.ndarray:
    """The B with ``image(exp(t A)) = exp(t B)``, for a homomorphism ``image`` of matrices.

    ``B = log(image(exp(h A))) / h`` with the principal logarithm holds exactly, not to some order
    in h, once ``|h B| < pi``. What is left is rounding, about ``1e-16 / h``.

    Args:
      image: from matrices ``[d, d]`` to matrices ``[n, n]``.
      generator: A.
      what: of what, for errors.
      tolerance: largest deviation, relative to the size of the matrices.

    Returns:
      ``[n, n]``.

    Raises:
      ValueError: the image of this one-parameter subgroup is no one-parameter subgroup.
    """
    import scipy.linalg

    worst = np.inf
    for h in _STEPS:
        moved = image(scipy.linalg.expm(h * generator))
        if not np.linalg.norm(moved - np.eye(len(moved)), 2) < 0.5:
            continue
        b = np.asarray(scipy.linalg.logm(moved)) / h
        b = b if np.iscomplexobj(moved) else np.real(b)
        worst = 0.0
        for t in (h / np.sqrt(2.0), 0.7, -1.3):  # the first one excludes a whole turn within h
            found, expected = image(scipy.linalg.expm(t * generator)), scipy.linalg.expm(t * b)
            worst = max(worst, deviation(found, expected))
        if worst <= tolerance:
            return b
    shown = f"by {worst:.2g}" if np.isfinite(worst) else "already close to the identity"
    raise ValueError(
        f"{what} is no homomorphism: along a Lie generator it differs from an exponential {shown}"
    )


def deviation(found: np.ndarray, expected: np.ndarray) -> float:
    """Largest difference of an entry, relative to the largest entry if that exceeds 1."""
    scale = max(1.0, float(np.max(np.abs(expected), initial=0.0)))
    return float(np.max(np.abs(found - expected), initial=0.0)) / scale


def random_elements(
    lie: np.ndarray, discrete: np.ndarray, n: int, d: int, seed: int = 0
) -> list[np.ndarray]:
    """``n`` random elements: products of exponentials and of discrete generators."""
    import scipy.linalg

    rng, found = np.random.default_rng(seed), []
    for _ in range(n):
        g = np.eye(d)
        for _ in range(2):
            if len(lie):
                t = rng.normal(size=len(lie)) / np.sqrt(len(lie))
                g = g @ scipy.linalg.expm(np.tensordot(t, lie, 1))
            for i in rng.integers(len(discrete), size=3 if len(discrete) else 0):
                g = g @ discrete[i]
        found.append(g)
    return found


def shown(matrix: np.ndarray) -> str:
    """A matrix in one line, with few digits, for messages."""
    text = np.array2string(matrix, precision=3, suppress_small=True, threshold=100)
    return " ".join(text.split())
