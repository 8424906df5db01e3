"""The doctor on potentials: positions and species in, energy and forces out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from softeq_jax import groups, measures, reps

SO3 = groups.so(3)
V = reps.vector(groups.o(3))
X = np.random.default_rng(0).normal(size=(4, 5, 3)).astype("float32")
SPECIES = np.array([[0, 1, 1, 0, 2], [0, 0, 1, 2, 2], [1, 1, 1, 0, 0], [2, 0, 2, 0, 1]])
OUT = {"energy": "invariant", "forces": V}


def energy(x, species, push=0.0):
    charge = 1.0 + jnp.atleast_2d(species)
    apart = x[:, :, None] - x[:, None]
    pairs = charge[:, :, None] * charge[:, None] / (1 + (apart**2).sum(-1))
    return pairs.sum((1, 2)) + push * (charge * x[..., 2]).sum(1)


def potential(x, species, push=0.0):
    assert jnp.issubdtype(species.dtype, jnp.integer)
    forces = -jax.grad(lambda y: energy(y, species, push).sum())(x)
    return {"energy": energy(x, species, push), "forces": forces}


def test_a_sound_potential_is_called_sound():
    found = measures.doctor(potential, (X, SPECIES), input=V)
    assert found.equivariant
    assert found.verdict.startswith("energy, forces: f is equivariant under O(3)")
    assert {name.split(":")[0] for name, _ in found.errors} == {"energy", "forces"}
    assert found.passes <= 2 * 30
    tupled = measures.doctor(lambda *a: tuple(potential(*a).values()), (X, SPECIES[0]), "so3")
    assert tupled.equivariant
    measures.assert_equivariant(potential, V, OUT, (X, SPECIES))


def test_a_field_that_pulls_breaks_energy_and_forces():
    found = measures.doctor(lambda x, s: potential(x, s, 0.1), (X, SPECIES), input=V, output=OUT)
    assert not found.equivariant
    assert {f.kind for f in found.findings} == {"model"}
    assert {f.evidence.split(":")[0] for f in found.findings} == {"energy", "forces"}
    with pytest.raises(AssertionError, match="energy: f"):
        measures.assert_equivariant(lambda x, s: potential(x, s, 0.1), V, OUT, (X, SPECIES))


def test_forces_alone_may_be_wrong():
    def torque(x, species):
        y = potential(x, species)
        return {**y, "forces": jnp.cross(y["forces"], x)}

    found = measures.doctor(torque, (X, SPECIES), input=V, output=OUT)
    assert [f.kind for f in found.findings] == ["representation"]
    assert found.verdict.startswith("forces: ")
    assert found.verdict.endswith("(energy: equivariant)")


def test_bad_input_says_what_is_missing():
    with pytest.raises(ValueError, match=r"species must be \[n, atoms\]"):
        measures.doctor(potential, (X, SPECIES[:, :3]), input=V)
    with pytest.raises(ValueError, match="output= must have the entries"):
        measures.doctor(potential, (X, SPECIES), input=V, output={"energy": "invariant"})
    with pytest.raises(ValueError, match="positions must be"):
        measures.doctor(potential, (X[..., :2], SPECIES), input=V)
    with pytest.raises(TypeError, match="floating point"):
        measures.doctor(potential, (X.astype(int), SPECIES), input=V)
    with pytest.raises(TypeError, match="3 entries"):
        measures.doctor(potential, (X, SPECIES, SPECIES), input=V)
