"""Rounded matrices of a representation are moved to the nearest one, or refused."""

import warnings

import numpy as np
import pytest

import softeq_jax as sq
from softeq_jax import groups, reps

FORMATS = {
    "float32": lambda x: x.astype(np.complex64 if np.iscomplexobj(x) else np.float32),
    "6 decimals": lambda x: x.round(6),
    "4 decimals": lambda x: x.round(4),
}
NAMES = ["c3", "c7", "d5", "icosahedral", "s4", "c4 x s3", "so2", "o2", "so3", "o3", "su2", "su3",
         "lorentz", "sp2", "so2 x c3"]  # fmt: skip


def rounded(rep, m, form):
    """The matrices of generators in another basis, rounded."""
    back = np.linalg.inv(m)
    given = rep.lie_matrices(), rep.discrete_matrices()
    lie, discrete = (FORMATS[form](m @ a @ back) if len(a) else None for a in given)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        found = reps.from_generators(rep.group, lie=lie, discrete=discrete)
    return found, [str(one.message) for one in said]


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("basis", ["orthogonal", "oblique"])
@pytest.mark.parametrize("name", NAMES)
def test_rounded_matrices_represent_the_group(name, basis, form):
    v = reps.vector(groups.from_name(name))
    rng = np.random.default_rng(len(name))
    m = rng.normal(size=(v.dim, v.dim)) + 3.0 * np.eye(v.dim)
    m = m if basis == "oblique" else np.linalg.qr(m)[0]
    found, said = rounded(v, m, form)
    assert found.moved <= (1e-6 if form == "float32" else 1e-3)
    assert bool(said) == (found.moved > 1e-6)
    for one in (v, v.dual):
        pairs = [sq.projector("a b", {"a": rep, "b": one}).rank() for rep in (found, v)]
        assert pairs[0] == pairs[1]
    # exactly: products of generators as in the group
    words = v.group.discrete_generators
    for h, image in zip(words, found.discrete_matrices(), strict=True):
        order = groups.matrix_order(h) if v.group.is_finite or name != "lorentz" else 2
        power = np.linalg.matrix_power(image, order)
        np.testing.assert_allclose(power, np.eye(v.dim), atol=1e-10)


def test_larger_representations_are_moved_too():
    so3 = groups.so(3)
    v = reps.vector(so3)
    q, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(9, 9)))
    for rep in (v * v, reps.irrep(so3, 4)):
        found, said = rounded(rep, q, "float32")
        assert said == []
        pair = sq.projector("i o", {"i": found, "o": found}).rank()
        assert pair == sq.projector("i o", {"i": rep, "o": rep}).rank()


def test_double_precision_is_left_as_it_is():
    for name in ("icosahedral", "so3", "o3", "lorentz"):
        v = reps.vector(groups.from_name(name))
        lie, discrete = v.lie_matrices(), v.discrete_matrices()
        found = reps.from_generators(
            v.group, lie=lie if len(lie) else None, discrete=discrete if len(discrete) else None
        )
        assert found.moved <= 1e-15
        np.testing.assert_array_equal(found.discrete_matrices(), discrete)


def test_matrices_that_are_no_representation_are_refused_with_the_deviation():
    c3 = groups.cyclic(3)
    turn = groups.so(2).element
    with pytest.raises(ValueError, match="relative difference 0.0"):
        reps.from_generators(c3, discrete=[turn(2 * np.pi / 3 + 0.01)])
    with pytest.raises(ValueError, match="relative difference"):
        reps.from_generators(c3, discrete=[turn(2 * np.pi / 3).round(1)])
    half = np.array([[[0, 1j, 0], [1j, 0, 0], [0, 0, 0]]] * 3)
    with pytest.raises(ValueError, match="commutator of Lie generators"):
        reps.from_generators(groups.so(3), lie=half.astype(np.complex64))
    with pytest.raises(ValueError, match="2 pi"):
        reps.from_generators(groups.so(2), lie=[[[0.0, -1.5], [1.5, 0.0]]])
