"""Levels: the stages are central, and give the values that the design lists."""

import functools
import math

import numpy as np
import pytest

from softeq_jax import groups

group_of = functools.lru_cache(groups.from_name)


def _value(group, stage, matrix, lie):
    """The stage's operator for a representation ``matrix`` with derivatives ``lie``."""
    total = sum(lie[k].conj().T @ lie[k] for k in stage.lie)
    for weight, elements in stage.classes:
        mean = np.mean([matrix(h) for h in group.dense(elements)], axis=0)
        total = total + weight * (2 * np.eye(len(mean)) - mean - mean.conj().T)
    return total


def _sigmas(group, matrix, lie):
    """Levels of a representation, factor by factor and stage by stage."""
    squared = 0.0
    for stages in group.level_factors():
        done = fixed = None
        for stage in stages:
            operator = _value(group, stage, matrix, lie)
            if done is None:
                done, fixed = 0.0 * operator, np.eye(len(operator))
            done = done + fixed @ operator @ fixed
            values, vectors = np.linalg.eigh(done)
            kernel = vectors[:, values < 1e-9]
            fixed = kernel @ kernel.conj().T
        squared = squared + done
    return np.sqrt(np.maximum(np.linalg.eigvalsh(squared), 0))


@pytest.mark.parametrize(
    "name",
    ["so2", "o2", "c6", "d5", "so3", "o4", "su3", "usp2", "s4", "icosahedral", "octahedral",
     "so2 x c4", "su2 x o3 x s3"],
)  # fmt: skip
def test_stages_commute_with_the_group(name):
    """On the square of the defining representation."""
    group = group_of(name)
    lie = [np.kron(a, np.eye(group.d)) + np.kron(np.eye(group.d), a) for a in group.lie_generators]
    rng = np.random.default_rng(0)
    moves = [np.kron(h, h) for h in group.discrete_generators]
    if len(lie):
        g = group.exp(rng.normal(size=len(lie)))
        moves.append(np.kron(g, g))
    for stages in group.level_factors():
        seen = np.eye(group.d**2)
        for stage in stages:
            operator = _value(group, stage, lambda h: np.kron(h, h), lie)
            # a later stage counts on what the earlier ones fix
            for g in moves:
                np.testing.assert_allclose(seen @ (operator @ g - g @ operator) @ seen, 0,
                                           atol=1e-12)  # fmt: skip
            values, vectors = np.linalg.eigh(operator)
            assert values[0] > -1e-12
            kernel = vectors[:, values < 1e-9]
            seen = seen @ kernel @ kernel.conj().T


@pytest.mark.parametrize(
    ("name", "sigmas"),
    [
        ("so2", [1, 1]),
        ("o2", [1, 1]),
        ("c4", [4 / math.pi * math.sin(math.pi / 4)] * 2),
        ("c5", [5 / math.pi * math.sin(math.pi / 5)] * 2),
        ("d4", [0.9003163] * 2),
        ("d1", [0, 2 / math.pi]),
        ("so3", [math.sqrt(2)] * 3),
        ("o5", [2] * 5),
        ("su2", [math.sqrt(3) / 2] * 2),
        # transpositions: one in three of S_3 fixes a vector of the standard representation
        ("s3", [0, math.sqrt(2) / math.pi, math.sqrt(2) / math.pi]),
        ("s1", [0]),
        ("o1", [2 / math.pi]),
        ("so2 x so3", [1, 1, *[math.sqrt(2)] * 3]),
    ],
)
def test_levels_of_the_defining_representation(name, sigmas):
    group = group_of(name)
    if not group.level_factors():
        assert sigmas == [0]
        return
    found = _sigmas(group, lambda h: h, group.lie_generators)
    np.testing.assert_allclose(np.sort(found), np.sort(sigmas), atol=1e-6)


def test_levels_of_determinants():
    for name, sigma in [
        ("o2", 2 / math.pi),
        ("o5", 2 / math.pi),
        ("so3", 0.0),
        ("d4", 2 / math.pi),
    ]:
        group = group_of(name)
        lie = [np.zeros((1, 1))] * len(group.lie_generators)
        found = _sigmas(group, lambda h: np.linalg.det(h).reshape(1, 1), lie)
        np.testing.assert_allclose(found, [sigma], atol=1e-12)


def test_orthogonal_group_in_five_dimensions_squared():
    group = group_of("o5")
    lie = [np.kron(a, np.eye(5)) + np.kron(np.eye(5), a) for a in group.lie_generators]
    found = _sigmas(group, lambda h: np.kron(h, h), lie).round(6)
    values, counts = np.unique(found, return_counts=True)
    np.testing.assert_allclose(values, [0, math.sqrt(6), math.sqrt(10)], atol=1e-5)
    np.testing.assert_array_equal(counts, [1, 10, 14])


@pytest.mark.parametrize("name", ["icosahedral", "octahedral", "s5", "s9", "d5"])
def test_classes_are_closed_under_conjugation(name):
    group = group_of(name)
    ((first, *_),) = group.level_factors()
    for weight, elements in first.classes:
        elements = group.dense(elements)
        h = elements[0]
        order = next(m for m in range(1, 99)
                     if np.allclose(np.linalg.matrix_power(h, m), np.eye(group.d)))  # fmt: skip
        assert weight == pytest.approx((order / (2 * math.pi)) ** 2)
        for g in group.discrete_generators:
            moved = g @ elements @ np.linalg.inv(g)
            distance = np.abs(moved[:, None] - elements[None]).max(axis=(2, 3))
            assert np.all(distance.min(axis=1) < 1e-9)
            assert len(set(distance.argmin(axis=1))) == len(elements)


def test_class_sizes_and_orders():
    ((stage,),) = group_of("icosahedral").level_factors()
    assert [len(c.elements) for c in stage.classes] == [12, 20]
    assert [c.weight for c in stage.classes] == pytest.approx(
        [(5 / (2 * math.pi)) ** 2, (3 / (2 * math.pi)) ** 2]
    )
    ((stage,),) = group_of("s5").level_factors()
    assert [len(c.elements) for c in stage.classes] == [10]
    assert group_of("trivial").level_factors() == ()
    assert group_of("s1").level_factors() == ()
    assert group_of("rubik").level_factors() is None
    assert groups.product(groups.so(2), group_of("rubik")).level_factors() is None
    assert group_of("trivial x s1").level_factors() == ()


def test_inverse_generators_count_once():
    r = groups.cyclic(5).discrete_generators[0]
    once = groups.from_generators("a", discrete=[r])
    twice = groups.from_generators("b", discrete=[r, r.T, np.eye(2), r])
    # in D_5 the two are conjugate, in C_5 they are not
    for group in (once, twice):
        ((stage,),) = group.level_factors()
        assert [len(c.elements) for c in stage.classes] == [1]
    p = np.array([1, 2, 3, 4, 0])
    group = groups.from_generators("c", discrete=[p, np.argsort(p), np.arange(5)])
    ((stage,),) = group.level_factors()
    assert [len(c.elements) for c in stage.classes] == [1]


def test_product_levels_are_shifted_and_embedded():
    group = group_of("so3 x o2 x c4")
    first, second, third = group.level_factors()
    assert first[0].lie == (0, 1, 2)
    assert second[0].lie == (3,)
    np.testing.assert_array_equal(second[1].classes[0].elements,
                                  [np.diag([1.0, 1, 1, -1, 1, 1, 1])])  # fmt: skip
    np.testing.assert_array_equal(third[0].classes[0].elements,
                                  group.embed(2, groups.cyclic(4).discrete_generators))  # fmt: skip
