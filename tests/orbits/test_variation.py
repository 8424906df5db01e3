"""How functions vary over groups: energies by irrep, and potentials that are averaged."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import softeq_jax as sq
from softeq_jax import groups, orbits, reps

SO3, O3 = groups.so(3), groups.o(3)
V3, V = reps.vector(SO3), reps.vector(O3)
SPECIES = jnp.array([0, 0, 1, 1])
X = np.random.default_rng(0).normal(size=(6, 4, 3)).astype("float32")
W = np.random.default_rng(1).normal(size=(3, 12)).astype("float32")


def energy(x, species):
    """Breaks every symmetry: a polynomial of degree 3 of all coordinates."""
    flat = (x * (1 + species[:, None])).reshape(*x.shape[:-2], 12)
    return (flat @ W[0]) * (flat @ W[1]) * (flat @ W[2]) + (flat**2).sum(-1)


def potential(x, species):
    return {
        "energy": energy(x, species),
        "forces": -jax.grad(lambda y: energy(y, species).sum())(x),
    }


OUT = {"energy": None, "forces": V3}


def test_forces_of_an_averaged_energy_are_its_gradient():
    average = orbits.average(potential, V3, OUT, degree=3)
    alone = orbits.average(energy, V3, None, degree=3)
    y = average(X, SPECIES)
    gradient = jax.grad(lambda x: alone(x, SPECIES).sum())(X)
    assert np.allclose(y["forces"], -gradient, atol=2e-4 * float(jnp.abs(gradient).max()))
    assert np.allclose(y["energy"], alone(X, SPECIES), rtol=1e-4, atol=1e-3)


def test_a_quadrature_of_its_degree_makes_a_potential_equivariant():
    free = orbits.variation(potential, V3, OUT, X, SPECIES, degree=6)
    average = orbits.average(potential, V3, OUT, degree=3)
    found = orbits.variation(average, V3, OUT, X, SPECIES, degree=6)
    for name in ("energy", "forces"):
        assert free[name].spread > 0.1
        assert found[name].spread < 1e-4
        assert found[name].error < 1e-4
    assert free["energy"].error > 0.1


@pytest.mark.parametrize("degree", [1, 2, 3])
def test_energies_by_irrep_are_those_of_harmonics(degree):
    harmonics = {
        1: lambda x: x[..., 2],
        2: lambda x: x[..., 0] * x[..., 1],
        3: lambda x: x[..., 0] * x[..., 1] * x[..., 2],
    }
    x = X[:, 0]
    found = orbits.variation(lambda x: harmonics[degree](x) + 5.0, V3, None, x)[""]
    energies = dict(found.energies)
    assert energies[str(degree)] == pytest.approx(found.variance, rel=1e-3)
    mean = {1: 1 / 3, 2: 1 / 15, 3: 1 / 105}[degree]
    lengths = (np.linalg.norm(x, axis=1) ** (2 * degree)).mean()
    assert found.variance == pytest.approx(mean * lengths, rel=1e-3)


def test_parity_and_flips_are_told_apart():
    odd = orbits.variation(lambda x: jnp.linalg.det(x[:, :3]), V, None, X, degree=6)[""]
    even = orbits.variation(lambda x: x[:, 0, 0] ** 2, V, None, X, degree=4)[""]
    assert dict(odd.energies)["0o"] == pytest.approx(odd.variance, rel=1e-3)
    assert dict(even.energies)["2e"] == pytest.approx(even.variance, rel=1e-3)
    o2 = groups.o(2)
    x = X[:, :2, :2]
    flips = orbits.variation(jnp.linalg.det, reps.vector(o2), None, x, degree=4)[""]
    assert dict(flips.energies)["(0, -1)"] == pytest.approx(flips.variance, rel=1e-3)
    turns = orbits.variation(lambda x: x[:, 0, 0], reps.vector(groups.so(2)), None, x)[""]
    assert dict(turns.energies)["1"] == pytest.approx(turns.variance, rel=1e-3)


def test_finite_groups_vary_and_equivariant_functions_do_not():
    c4 = groups.cyclic(4)
    x = X[:, 0, :2]
    found = orbits.variation(lambda x: x[:, 0], reps.vector(c4), None, x)
    assert found.degree is None
    assert found[""].energies == (("rest", pytest.approx(found[""].variance)),)
    still = orbits.variation(lambda x: (2 * x,), reps.vector(c4), (reps.vector(c4),), x)
    assert still["0"].spread < 1e-6
    assert "exact" in str(still)


def test_what_is_not_there_is_named():
    found = orbits.variation(lambda x: x, V3, V3, X, degree=2)
    with pytest.raises(KeyError, match="no output is called 'energy'"):
        found["energy"]
    with pytest.raises(ValueError, match="not compact"):
        orbits.variation(lambda x: x, reps.vector(groups.lorentz()), None, np.ones((2, 4)))
    with pytest.raises(TypeError, match="needs a function"):
        orbits.variation(3, V3, None, X)
    assert sq.orbits.variation is orbits.variation
