"""Projectors, certificates and plans of weights on rectangles, against their definitions."""

import itertools
import warnings

import numpy as np
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

import softeq_jax as sq

MOVES = {
    "d1": [lambda x: x, lambda x: x[:, ::-1]],
    "c2": [lambda x: x, lambda x: x[::-1, ::-1]],
    "d2": [lambda x: x, lambda x: x[:, ::-1], lambda x: x[::-1], lambda x: x[::-1, ::-1]],
}
DIALS = [{"cutoff": 0.0}, {"softness": 0.4, "mask": "heat"}, {"cutoff": 0.5, "mask": "resolvent"}]


@given(
    name=st.sampled_from(list(MOVES)),
    shape=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    dials=st.sampled_from(DIALS),
    channels=st.sampled_from([None, "irrep", "regular"]),
    seed=st.integers(0, 99),
)
@examples(fast=60)
def test_kernels_on_rectangles(name, shape, dials, channels, seed):
    group = sq.groups.from_name(name)
    acts = {"h w": sq.reps.image(group, shape)}
    if channels:
        acts["o"] = sq.reps.regular(group) if channels == "regular" else sq.reps.vector(group)
    p = sq.projector("h w o", acts, **dials)
    count = acts["o"].dim if channels else 3
    w = np.random.default_rng(seed).normal(size=(*shape, count))
    out = p(w)
    moved = []
    for g in group.elements():
        angle, flip = group.parameters(g)
        turned = np.rot90(w[:, ::-1] if flip else w, round(angle / (np.pi / 2)))
        turned = turned @ acts["o"].matrix(g).T if channels else turned
        moved.append(turned)
        np.testing.assert_allclose(p.act(g, w), turned, atol=1e-12)
        np.testing.assert_allclose(p(p.act(g, w)), p.act(g, out), atol=1e-12)
    if dials == {"cutoff": 0.0}:
        np.testing.assert_allclose(out, np.mean(moved, axis=0), atol=1e-12)
        np.testing.assert_allclose(p(out), out, atol=1e-12)
    reached = max(np.linalg.norm(m - w) for m in moved)
    found = p.certificate(w)
    assert found.certified
    assert reached <= found.bound <= reached + 1e-9
    for g, m in zip(group.elements(), moved, strict=True):
        assert np.linalg.norm(m - w) <= p.certificate(w, element=g).bound + 0.0
    assert p.certificate(out).bound <= p.certificate().bound * np.linalg.norm(w) + 1e-9


@pytest.mark.parametrize("name", MOVES)
def test_orbits_of_rectangles(name):
    group = sq.groups.from_name(name)
    image = sq.reps.image(group, (3, 6))
    x = np.random.default_rng(0).normal(size=(3, 6))
    orbit = np.asarray(sq.orbits.orbit(image, x))
    expected = [move(x) for move in MOVES[name]]
    for row, column in ((orbit, expected), (expected, orbit)):
        assert all(any(np.allclose(a, b, atol=1e-6) for b in column) for a in row)


INCEPTION = {
    "square": np.ones((3, 3, 3, 4), "float32"),
    "row": np.ones((1, 7, 4, 4), "float32"),
    "column": np.ones((7, 1, 4, 4), "float32"),
    "point": np.ones((1, 1, 4, 4), "float32"),
}


@pytest.mark.parametrize("name", ["c4", "d4", "so2", "c3"])
def test_misfits_are_untouched_and_reported_or_refused(name):
    group = sq.groups.from_name(name)
    with pytest.warns(UserWarning, match=r"untouched.*'column': .*7 x 1 grid.*'row': .*1 x 7"):
        plan = sq.plan(INCEPTION, {"*": sq.convolution_rule(group)})
    assert [path for path, _, _ in plan.planned(INCEPTION)] == ["square"]
    table = plan.describe()
    assert "1 filtered, 3 untouched" in table
    assert "row is left untouched: rotations by" in table
    assert "point is" not in table
    assert dict(plan.at(cutoff=1.0).reasons) == dict(plan.reasons)
    with pytest.raises(ValueError, match="parameter 'column'.*7 x 1"):
        sq.plan(INCEPTION, {"*": sq.convolution_rule(group, misfits="refused")})
    with pytest.raises(ValueError, match=r"match no parameter \('row': rotations by"):
        sq.plan(INCEPTION, {"row": sq.convolution_rule(group), "*": None})
    with pytest.raises(ValueError, match="misfits must be one of untouched, refused"):
        sq.convolution_rule(group, misfits="ignored")


@pytest.mark.parametrize("name", MOVES)
def test_what_fits_is_filtered_without_a_word(name):
    rule = sq.convolution_rule(sq.groups.from_name(name), axes="o i h w")
    params = {path: w.transpose(3, 2, 0, 1) for path, w in INCEPTION.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plan = sq.plan(params, {"*": rule})
    assert [path for path, _, _ in plan.planned(params)] == ["column", "row", "square"]


def test_a_rule_of_ones_own_may_tell_why():
    def rule(path, w):
        return sq.projections.Untouched("kept by hand") if path == "row" else None

    everything = sq.convolution_rule(sq.groups.dihedral(1))
    rules = {"r*": rule, "*": everything}
    with pytest.raises(ValueError, match=r"match no parameter \('row': kept by hand\)"):
        sq.plan(INCEPTION, rules)
    both = {"*": lambda path, w: rule(path, w) or everything(path, w)}
    with pytest.warns(UserWarning, match="'row': kept by hand"):
        assert sq.plan(INCEPTION, both).reasons == (("row", "kept by hand"),)


def test_position_tables_on_rectangles():
    for name, (h, w) in itertools.product(MOVES, [(2, 3), (14, 28)]):
        grid = sq.reps.tokens(sq.groups.from_name(name), (h, w), prefix=1)
        p = sq.projector("1 n c", {"n": grid})
        table = np.random.default_rng(0).normal(size=(1, 1 + h * w, 2))
        out = p(table)
        patches = table[0, 1:].reshape(h, w, 2)
        mean = np.mean([move(patches) for move in MOVES[name]], axis=0)
        np.testing.assert_allclose(out[0, 1:].reshape(h, w, 2), mean, atol=1e-12)
        np.testing.assert_array_equal(out[0, 0], table[0, 0])
