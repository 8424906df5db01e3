"""The input axis of a linear map carries what ``.dual`` was applied to, whatever it then holds."""

import numpy as np
import pytest

import softeq_jax as sq
from softeq_jax import groups, reps

GROUPS = {
    "SU(2)": groups.su(2),
    "SU(3)": groups.su(3),
    "U(3)": groups.from_generators("U(3)", lie=[*groups.su(3).lie_generators, 1j * np.eye(3)]),
    "USp(2)": groups.usp(1),
    "O(1,3)": groups.lorentz(),
    "Sp(4,R)": groups.sp(2),
    "SL(2)": groups.from_generators("SL(2)", lie=[[[0, 1], [0, 0]], [[0, 0], [1, 0]]]),
    "shear": groups.from_generators("shear", lie=[[[0.0, 1], [0, 0]]]),
    "Galilei": groups.from_generators("Galilei", lie=[[[0.0, 0], [1, 0]]]),
    "Heisenberg": groups.from_generators(
        "Heisenberg", lie=[np.eye(3, k=1) * [0, 1, 0], np.eye(3, k=1) * [0, 0, 1]]
    ),
    "affine": groups.from_generators("affine", lie=[[[0, 1], [0, 0]], [[1, 0], [0, 0]]]),
    "oblique Z3": groups.from_generators("Z3", discrete=[[[0, -1], [1, -1]]]),
    "product": groups.product(groups.lorentz(), groups.so(2)),
}
ORDERS = [((0, 1), (1, 0)), ((0, 2), (1, 0)), ((0, 2), (2, 0)), ((1, 1), (1, 1)), ((1, 0), (0, 0))]


SMALL = [
    (name, source, target)
    for name, group in GROUPS.items()
    for source, target in ORDERS
    if group.d ** (sum(source) + sum(target)) <= 300
]


@pytest.mark.parametrize(("name", "source", "target"), SMALL)
def test_the_dual_of_any_input_is_accepted_under_the_names_of_a_map(name, source, target):
    group = GROUPS[name]
    given, wanted = reps.tensor(group, *source), reps.tensor(group, *target)
    named = sq.projector("o i", {"o": wanted, "i": given.dual}).rank()
    assert named == sq.projector("b a", {"b": wanted, "a": given.dual}).rank()
    for axes in ({"i": given}, {"i": given, "o": wanted}):
        with pytest.raises(ValueError, match=r"input axis 'i' is .*pass \.dual"):
            sq.projector("o i", axes)
    with pytest.raises(ValueError, match="input axis 'in'"):
        sq.projector("in out", {"in": given, "out": wanted})


@pytest.mark.parametrize("name", ["SU(2)", "O(1,3)", "Galilei", "affine", "product"])
def test_every_way_to_compose_remembers_the_dual(name):
    group = GROUPS[name]
    v = reps.vector(group)
    one = reps.trivial(group, 2)
    forgotten = [v, 2 * v, v + one, v * v, v.dual + v, v * v.dual, reps.tensor(group, 0, 1)]
    remembered = [v.dual, 2 * v.dual, v.dual + one, (v + one).dual, (v * v.dual).dual,
                  v.dual * v.dual, v.dual.dual, (2 * (v + v.dual)).dual,
                  reps.tensor(group, 0, 1).dual]  # fmt: skip
    if v.is_complex:
        forgotten.append(reps.Real(group, v) * v)
    for rep in forgotten:
        assert not reps.is_dualized(rep)
        with pytest.raises(ValueError, match="input axis"):
            sq.projector("i o", {"i": rep})
    for rep in remembered:
        assert reps.is_dualized(rep)
        sq.projector("i o", {"i": rep})


def test_what_is_its_own_dual_needs_no_mark():
    for group in (groups.so(3), groups.dihedral(4), groups.symmetric(4), groups.o(2)):
        v = reps.vector(group)
        for rep in (v, 2 * v + v * v, reps.trivial(group)):
            assert reps.is_dualized(rep)
            sq.projector("i o", {"i": rep, "o": v})
    assert reps.is_dualized(reps.vector(groups.su(2)).real)


def test_the_mark_is_no_part_of_what_a_representation_is():
    v = reps.vector(groups.lorentz())
    assert v.dual.dual == v
    assert hash(v.dual.dual) == hash(v)
    assert repr(v.dual.dual) == repr(v)
    assert reps.tensor(groups.lorentz(), 0, 2).dual == v * v


def test_restriction_and_factors_keep_the_mark():
    lorentz = groups.lorentz()
    both = groups.product(lorentz, groups.so(2))
    small = groups.lorentz(special=True, orthochronous=True)
    for rep in (reps.vector(lorentz), reps.tensor(lorentz, 0, 2), reps.tensor(lorentz, 1, 1)):
        for moved in (reps.factor(both, 0, rep), reps.restrict(rep, small)):
            assert not reps.is_dualized(moved)
        for moved in (reps.factor(both, 0, rep.dual), reps.restrict(rep.dual, small)):
            assert reps.is_dualized(moved)


def test_maps_to_scalars_are_invariant():
    for name in ("shear", "Galilei", "Heisenberg", "affine"):
        group = GROUPS[name]
        v = reps.vector(group)
        w = sq.projector("i o", {"i": v.dual})(np.random.default_rng(0).normal(size=(v.dim, 3)))
        g = group.exp(np.linspace(0.5, 1.0, len(group.lie_generators)))
        np.testing.assert_allclose(g.T @ w, w, atol=1e-12)
        assert np.linalg.norm(w) > 0.1


def test_a_form_on_axes_i_and_j_is_no_map():
    v = reps.vector(groups.lorentz())
    assert sq.projector("i j", {"i": v, "j": v}).rank() == 1
