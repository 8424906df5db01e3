"""Elements drawn under ``jit``: they act as the same ones do outside, and uniformly."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from softeq_jax import groups as G
from softeq_jax import orbits
from softeq_jax import reps as R

O2, SO2, SU2 = G.o(2), G.so(2), G.su(2)
DRAWN = {
    "image, an odd grid": R.image(SO2, (5, 5)),
    "image, an even grid, flips": R.image(O2, (4, 4)),
    "circle with an unmatched pattern": R.circle(O2, 6),
    "sum, product, multiple": R.vector(O2) * R.irrep(O2, 2) + 2 * R.irrep(O2, (0, -1)),
    "with a trivial part": R.vector(SO2) + R.trivial(SO2, 2),
    "spherical harmonics": R.irrep(G.o(3), (2, -1)) + R.vector(G.o(3)),
    "spinors, their dual, their realification": R.tensor(SU2, 1, 1) + R.vector(SU2),
    "realified": R.vector(SU2).real,
    "permutations of too many": R.vector(G.symmetric(12)),
    "product group": R.factor(G.product(SO2, G.su(2)), 0, R.irrep(SO2, 2)),
}


@pytest.mark.slow
@pytest.mark.parametrize("what", sorted(DRAWN))
def test_elements_drawn_under_jit_act_as_they_do_outside(what):
    rep = DRAWN[what]
    key, n = jax.random.key(3), 4
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, *rep.shape))
    x = x + 1j * rng.standard_normal(x.shape) if rep.is_complex else x

    @jax.jit
    def moved(key, x):
        draw = orbits.draw((rep, None), (tuple(range(-len(rep.shape), 0)), None), rep.group, key, n)
        return jax.vmap(lambda one: draw.enter(one, x))(draw.entries)

    found = moved(key, x.astype(np.complex64 if rep.is_complex else np.float32))
    axes = tuple(range(1, 1 + len(rep.shape)))
    gs = np.asarray(rep.group.sample(key, n))
    expected = [rep.apply(g, x, axes=axes) for g in gs]
    np.testing.assert_allclose(found, expected, atol=2e-5)
    assert np.max(np.abs(np.asarray(found) - x)) > 0.1


@pytest.mark.slow
def test_finite_groups_are_drawn_uniformly():
    group = G.dihedral(4)
    rep = R.regular(group)
    x = jnp.eye(8)[0]
    draw = orbits.draw((rep, rep), (None, None), group, jax.random.key(0), 4000)
    counts = np.asarray(jax.vmap(lambda one: draw.enter(one, x))(draw.entries)).sum(0)
    assert np.all(np.abs(counts - 500) < 5 * np.sqrt(500))
    both = jax.vmap(lambda one: draw.enter(one, x) - draw.leave(one, x))(draw.entries)
    np.testing.assert_array_equal(both, 0.0)
