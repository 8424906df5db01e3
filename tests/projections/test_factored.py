"""Direct products whose factors act on different axes, and the size of what is compiled."""

import jax
import numpy as np
import pytest

import softeq_jax as sq

G, R = sq.groups, sq.reps


def of(group, i, rep):
    return R.factor(group, i, rep)


def torus():
    group = G.product(G.so(2), G.so(2))
    grid = of(group, 0, R.tokens(G.so(2), (3, 3)))
    return {"a": grid, "b": of(group, 1, R.vector(G.so(2))) * of(group, 1, R.vector(G.so(2)))}


def translations():
    group = G.product(G.cyclic(3), G.cyclic(4))
    grid = of(group, 0, R.regular(G.cyclic(3))) * of(group, 1, R.regular(G.cyclic(4)))
    return {"a": grid, "b": grid}


def mixed():
    group = G.product(G.so(3), G.dihedral(3), G.symmetric(3))
    v = of(group, 0, R.vector(G.so(3)))
    w = of(group, 1, R.vector(G.dihedral(3))) * of(group, 2, R.vector(G.symmetric(3)))
    return {"a": v + w, "b": 2 * v * of(group, 2, R.vector(G.symmetric(3)))}


@pytest.mark.slow
@pytest.mark.parametrize("space", [torus, translations, mixed])
def test_the_transform_of_each_factor_gives_the_levels_of_the_product(space):
    reps = space()
    found = sq.projector("a b", reps)
    oracle = sq.projector("a b", reps, backend="gram")
    assert "FactoredFilter" in {type(f).__name__ for f in found.filters}
    np.testing.assert_allclose(found.levels(), oracle.levels(), atol=1e-12)
    np.testing.assert_array_equal(found.dimensions(), oracle.dimensions())
    w = np.random.default_rng(0).standard_normal([reps["a"].dim, reps["b"].dim])
    for cutoff in (0.0, *found.levels()[1:4]):
        np.testing.assert_allclose(
            found.at(cutoff=cutoff)(w), oracle.at(cutoff=cutoff)(w), atol=1e-12
        )
    soft = found.at(softness=0.4, mask="heat")
    g = np.asarray(soft.space.group.sample(jax.random.key(0), 1)[0])
    np.testing.assert_allclose(soft.act(g, soft(w)), soft(soft.act(g, w)), atol=1e-5)


def test_unmatched_patterns_keep_no_finite_level_in_a_product():
    group = G.product(G.so(2), G.cyclic(2))
    image = of(group, 0, R.image(G.so(2), (4, 4)))
    projector = sq.projector("h w", {"h w": image})
    alone = sq.projector("h w", {"h w": R.image(G.so(2), (4, 4))})
    assert projector.rank() == alone.rank() == 2
    np.testing.assert_array_equal(projector.levels(), alone.levels())
    np.testing.assert_array_equal(projector.dimensions(), alone.dimensions())


@pytest.mark.parametrize("softness", [0.0, 0.3])
def test_what_is_compiled_does_not_grow_with_the_number_of_types(softness):
    """33 types of the cyclic shifts of 64 entries are 1089 pairs, filtered in a few batches."""
    shifts = G.from_generators("Z64", discrete=np.roll(np.arange(64), 1)[None])
    v = R.vector(shifts)
    projector = sq.projector("a b", {"a": v, "b": v}, softness=softness)
    program = str(jax.make_jaxpr(lambda p, w: p(w))(projector, np.zeros((64, 64), "float32")))
    assert program.count("\n") < 600
    w = np.random.default_rng(0).standard_normal((64, 64))
    reference = R.regular(G.cyclic(64))
    expected = sq.projector("a b", {"a": reference, "b": reference}).at(cutoff=projector.cutoff)(w)
    np.testing.assert_allclose(projector(w), expected, atol=1e-10)


@pytest.mark.parametrize("n", [6, 8])
def test_large_pairs_without_invariants(n):
    tensors = R.tensor(G.o(n), 2)
    assert sq.projector("i o", {"i": tensors, "o": tensors}).rank() == 3
