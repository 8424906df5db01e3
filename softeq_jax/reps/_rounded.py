"""Rounded matrices of a representation: the nearest ones of which the relations hold."""

import functools
import itertools

import numpy as np

from softeq_jax.groups import LISTABLE, Group, deviation_of, homomorphism, resolution, tolerance_of

_TABLE = 10_000_000  # numbers in the table of all matrices of a finite group
_EQUATIONS = 30_000_000  # entries of the linear system that is solved
_HOLDS = 1e-13  # relative size of what is left of relations
_NOISE = 1e-3  # relative singular values that only rounding opens
_LONGEST = 12  # orders of elements that count as relations


def nearest_images(
    group: Group, lie: np.ndarray, discrete: np.ndarray
) -> tuple[np.ndarray, np.ndarray, float]:
    """Matrices of generators, moved by no more than their rounding so that they represent a group.

    For a listed finite group by averages over its elements, else by Gauss-Newton steps of least
    norm on the relations: brackets, conjugates of Lie generators, orders, whole turns. What is not
    near to a representation is left as it is, for the relations to be checked.

    Args:
      group: the group.
      lie: ``[k, n, n]``.
      discrete: ``[m, n, n]``.

    Returns:
      (lie, discrete, the largest change of an entry in units of the largest one).
    """
    tolerance = tolerance_of(max(resolution(lie), resolution(discrete), 1e-9))
    if len(lie):
        found = _by_relations(group, _skew(lie, tolerance), discrete)
    else:
        found = lie, _finite(group, _permutations(discrete, tolerance))
    moved = max(deviation_of(found[0], lie), deviation_of(found[1], discrete))
    return (*found, moved) if moved <= tolerance else (lie, discrete, 0.0)


def _permutations(images: np.ndarray, tolerance: float) -> np.ndarray:
    """Signed permutations without dust, if all of them are near to some."""
    whole = np.rint(np.real(images)).astype(images.dtype)
    signed = all(np.array_equal(h @ h.T, np.eye(len(h))) for h in whole)
    return whole if signed and np.abs(images - whole).max(initial=0.0) <= tolerance else images


def _finite(group: Group, images: np.ndarray) -> np.ndarray:
    order = group.order
    if not len(images) or order is None or order > LISTABLE or order * images[0].size > _TABLE:
        return images
    elements, words = group.elements(), group.words()
    step = np.stack([group.indices(elements @ h) for h in group.discrete_generators], axis=1)
    found = homomorphism((words.parent, words.generator), step, images)
    return images if found is None else found


def _skew(images: np.ndarray, tolerance: float) -> np.ndarray:
    skew = (images - np.swapaxes(images.conj(), 1, 2)) / 2.0
    return skew if np.abs(images - skew).max() <= tolerance else images


def _by_relations(
    group: Group, lie: np.ndarray, discrete: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    (k, n, _), m = lie.shape, len(discrete)
    whole = np.concatenate([lie, discrete])
    relations = _Relations(group, k, m)
    if not 0 < relations.count * (k + m) * n**4 <= _EQUATIONS:
        return lie, discrete
    found, last = whole, np.inf
    for _ in range(9):
        off, system = relations.linearized(found)
        largest, scale = float(np.abs(off).max(initial=0.0)), max(1.0, np.abs(found).max() ** 2)
        if largest <= _HOLDS * scale or largest > 0.5 * last:
            break
        last = largest
        step = np.linalg.lstsq(system, -off, rcond=_NOISE)[0].reshape(found.shape)
        found = found + (step if np.iscomplexobj(found) else np.real(step))
    good = largest <= 1e-10 * scale
    return (found[:k], found[k:]) if good else (lie, discrete)


class _Relations:
    """Relations between the generators of a group that is not listed, for their images."""

    def __init__(self, group: Group, k: int, m: int) -> None:
        a, h = group.lie_generators, group.discrete_generators
        self.k = k
        self.brackets = [
            (i, j, group.coordinates(a[i] @ a[j] - a[j] @ a[i]))
            for i, j in itertools.combinations(range(k), 2)
        ]
        self.conjugates = [
            (j, i, group.coordinates(h[j] @ a[i] @ np.linalg.inv(h[j])))
            for j in range(m)
            for i in range(k)
        ]
        words = [(j,) for j in range(m)] + list(itertools.combinations(range(m), 2))
        self.powers = [
            word * order
            for word in words
            if (order := _order(functools.reduce(np.matmul, [h[j] for j in word]))) is not None
        ]
        speeds = np.linalg.eigvals(a[0]) if k == 1 else np.array([1.0])
        self.turns = np.abs(speeds - 1j * np.rint(np.imag(speeds))).max() <= 1e-9
        self.count = len(self.brackets) + len(self.conjugates) + len(self.powers) + self.turns

    def linearized(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What is left of each relation, and its derivative by all images, row-major."""
        k, n, one = self.k, x.shape[1], np.eye(x.shape[1])
        off: list[np.ndarray] = []
        system = np.zeros((self.count, n * n, len(x), n * n), x.dtype)

        def add(left: np.ndarray, which: int, right: np.ndarray) -> None:
            """``left y right`` for a change y of one image."""
            system[len(off), :, which] += np.kron(left, right.T)

        for i, j, structure in self.brackets:
            for term in ((one, i, x[j]), (-x[j], i, one), (x[i], j, one), (-one, j, x[i])):
                add(*term)
            for l, c in enumerate(structure):
                add(-c * one, l, one)
            off.append(x[i] @ x[j] - x[j] @ x[i] - np.tensordot(structure, x[:k], 1))
        for j, i, structure in self.conjugates:
            image, h = np.tensordot(structure, x[:k], 1), x[k + j]
            for term in ((one, k + j, x[i]), (h, i, one), (-image, k + j, one)):
                add(*term)
            for l, c in enumerate(structure):
                add(-c * one, l, h)
            off.append(h @ x[i] - image @ h)
        for word in self.powers:
            before = [one]
            for j in word:
                before.append(before[-1] @ x[k + j])
            after = one
            for place in reversed(range(len(word))):
                add(before[place], k + word[place], after)
                after = x[k + word[place]] @ after
            off.append(before[-1] - one)
        if self.turns:
            values, vectors = np.linalg.eig(x[0])
            back, speeds = np.linalg.inv(vectors), np.rint(np.imag(values))
            wrong = (vectors * (values - 1j * speeds)) @ back
            for speed in np.unique(speeds):  # of what is within the space of one frequency
                p = (vectors * (speeds == speed)) @ back
                if np.iscomplexobj(x):
                    add(p, 0, p)
                else:
                    system[len(off), :, 0] += np.real(np.kron(p, p.T))
            off.append(wrong if np.iscomplexobj(x) else np.real(wrong))
        return np.concatenate(off, axis=None), system.reshape(self.count * n * n, -1)


def _order(h: np.ndarray) -> int | None:
    power = h
    for order in range(1, _LONGEST + 1):
        if np.abs(power - np.eye(len(h))).max() < 1e-9:
            return order
        power = power @ h
    return None
