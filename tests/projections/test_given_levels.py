"""Levels of groups that are given by generators: the user's choice of what they follow."""

import functools
import warnings

import numpy as np
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

import softeq_jax as sq
from softeq_jax import groups

turn = groups.so(2).element
FLIP = np.diag([-1.0, 1.0])
SEEDS = {
    "C6": [turn(np.pi / 3)],
    "C12": [turn(np.pi / 6)],
    "D6": [turn(np.pi / 3), FLIP],
    "Q8": np.array([[[1j, 0], [0, -1j]], [[0, 1], [-1, 0]]]),
    "octahedral": groups.octahedral().discrete_generators,
    "icosahedral": groups.icosahedral().discrete_generators,
    "S4": np.array([[1, 0, 2, 3], [1, 2, 3, 0]]),
    "oblique D3": np.array([[[0.0, -1], [1, -1]], [[0.0, 1], [1, 0]]]),
}


@functools.cache
def listed(name):
    group = groups.from_generators(name, discrete=SEEDS[name])
    return group.listed()


def canonical(name, discrete):
    return groups.from_generators(name, discrete=discrete, levels="canonical")


def spectrum(group):
    v = sq.reps.vector(group)
    v = v if v.is_orthogonal else sq.reps.regular(group)
    p = sq.projector("a b", {"a": v, "b": v})
    return p.levels(), p.dimensions()


@pytest.mark.parametrize("name", SEEDS)
@examples(fast=4, sweep=40)
@given(seed=st.integers(0, 10**6))
def test_canonical_levels_are_equal_for_all_generating_sets(name, seed):
    elements, rng = listed(name), np.random.default_rng(seed)
    reference = canonical(name, SEEDS[name])
    chosen = list(rng.integers(len(elements), size=rng.integers(1, 4)))
    while (group := canonical(name, elements[chosen])).order < len(elements):
        chosen.append(int(rng.integers(len(elements))))
    for found, expected in zip(spectrum(group), spectrum(reference), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-9)
    # and for every basis
    if group.d != 4 and reference.is_orthogonal:
        q, _ = np.linalg.qr(rng.normal(size=(group.d, group.d)))
        turned = canonical(name, q @ group.discrete_generators @ q.T)
        for found, expected in zip(spectrum(turned), spectrum(reference), strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-9)


@pytest.mark.parametrize("name", ["C12", "D6", "Q8", "icosahedral", "S4"])
def test_canonical_levels_are_the_formula(name):
    """``c sum over g != 1 of (1 - Re chi / d) / (1 - Re chi_V / d_V)^2``, of tensor powers."""
    group = canonical(name, SEEDS[name])
    elements = group.elements()
    share = 1.0 - np.real(np.trace(elements, axis1=1, axis2=2)) / group.d
    moving = group.d - np.real(np.trace(elements, axis1=1, axis2=2)).mean()
    c = moving / (group.d * np.sum(1.0 / share[1:]))
    v = sq.reps.vector(group)
    p = sq.projector("a b", {"a": v, "b": v}, cutoff=np.inf)
    whole = np.zeros((group.d**2, group.d**2), complex)
    for g, s in zip(elements[1:], share[1:], strict=True):
        h = np.kron(g, g)
        whole += c * (np.eye(len(h)) - (h + h.conj().T) / 2.0) / s**2
    squares = np.linalg.eigvalsh(whole)
    expected = np.sqrt(np.where(squares < 1e-9, 0.0, squares))
    found = np.repeat(p.levels(), p.dimensions())
    np.testing.assert_allclose(np.sort(expected), found, atol=1e-9)


def test_canonical_levels_tend_to_frequencies():
    group = canonical("C60", [turn(2 * np.pi * 7 / 60)])
    v = sq.reps.vector(group)
    found = sq.projector("a b c d", dict.fromkeys("abcd", v)).levels()
    single = sq.projector("a", {"a": v}).levels()
    np.testing.assert_allclose(single, [1.0], atol=1e-9)
    np.testing.assert_allclose(found, [0.0, 1.95, 3.75], atol=0.01)


def test_canonical_levels_order_the_symmetric_group_as_transpositions_do():
    """The standard representation below [2, 2] below [2, 1, 1]."""
    for discrete in ([[1, 0, 2, 3], [0, 2, 1, 3], [0, 1, 3, 2]], [[1, 0, 2, 3], [1, 2, 3, 0]]):
        group = canonical("S4", np.array(discrete))
        v = sq.reps.vector(group)
        p = sq.projector("a b", {"a": v, "b": v})
        assert p.dimensions().tolist() == [2, 9, 2, 3]
        assert p.levels()[1] == pytest.approx(1.0)


def test_elements_choose_the_classes():
    swap, cycle = [1, 0, 2, 3], [1, 2, 3, 0]
    known = groups.symmetric(4)
    expected = spectrum(known)
    for elements in ([swap], [[0, 1, 3, 2], swap], np.array([np.eye(4)[:, swap]])):
        group = groups.from_generators("S4", discrete=[swap, cycle], levels=elements)
        for found, wanted in zip(spectrum(group), expected, strict=True):
            np.testing.assert_allclose(found, wanted, rtol=1e-9)
    r = turn(np.pi / 3)
    one = groups.from_generators("C6", discrete=[r @ r, r @ r @ r], levels=[r.astype(np.float32)])
    np.testing.assert_allclose(spectrum(one)[0], spectrum(groups.cyclic(6))[0], rtol=1e-9)


def test_what_is_not_said_is_told_where_a_dial_is_used():
    r = turn(np.pi / 3)
    silent = groups.from_generators("C6", discrete=[r @ r, r @ r @ r])
    v = sq.reps.vector(silent)
    axes = {"a": v, "b": v}
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*follow the conjugacy")
        strict = sq.projector("a b", axes)
        strict.at(softness=1.0), strict.levels()
        for levels in ("given", "canonical", [r]):
            said = groups.from_generators("C6", discrete=[r @ r, r @ r @ r], levels=levels)
            w = sq.reps.vector(said)
            sq.projector("a b", {"a": w, "b": w}, cutoff=0.9)
        for named in (groups.octahedral(), groups.symmetric(4), groups.cyclic(6), groups.o(3)):
            w = sq.reps.vector(named)
            sq.projector("a b", {"a": w, "b": w}, cutoff=0.9)
    for dials in (
        {"cutoff": 0.9},
        {"softness": 0.5, "mask": "heat"},
        {"cutoff": 1.0, "mask": "heat"},
    ):
        with pytest.warns(UserWarning, match=r"C6\[order 6.*follow.*levels='canonical'"):
            sq.projector("a b", axes, **dials)
        with pytest.warns(UserWarning, match="follow the conjugacy classes"):
            strict.at(**dials)
    both = groups.product(silent, groups.so(2))
    w = sq.reps.vector(both)
    with pytest.warns(UserWarning, match="follow the conjugacy classes"):
        sq.projector("a", {"a": w}, cutoff=0.9)


def test_classes_are_shown():
    r = turn(np.pi / 3)
    group = groups.from_generators("C6", discrete=[r @ r, r @ r @ r])
    assert repr(group) == "C6[order 6; levels by classes of 1 of order 3, 1 of order 2]"
    assert str(group) == "C6"
    assert repr(sq.reps.vector(group)) == "V(C6)"
    assert repr(canonical("C6", [r])) == "C6[order 6; canonical levels, 3 classes]"
    assert repr(groups.icosahedral()) == "Icosahedral"


def test_equality_is_that_of_the_levels():
    r = turn(np.pi / 3)
    silent = groups.from_generators("C6", discrete=[r])
    assert silent == groups.from_generators("C6", discrete=[r], levels="given")
    assert silent != canonical("C6", [r])


@pytest.mark.parametrize(
    ("arguments", "levels", "message"),
    [
        ({"discrete": [turn(1.0)]}, "canonical", "canonical levels need a finite group"),
        ({"lie": groups.so(3).lie_generators}, "canonical", "canonical levels need a finite group"),
        ({"discrete": [turn(np.pi / 3)]}, "natural", "'given', 'canonical' or the elements"),
        ({"discrete": [turn(np.pi / 3)]}, [turn(1.0)], "not in G"),
        ({"discrete": [turn(np.pi / 3)]}, [np.eye(3)], "levels must be elements of G"),
        ({"discrete": [[1, 2, 0]]}, [[1, 0, 2]], "not in G"),
    ],
)
def test_levels_that_do_not_exist(arguments, levels, message):
    with pytest.raises(ValueError, match=message):
        groups.from_generators("G", levels=levels, **arguments)
