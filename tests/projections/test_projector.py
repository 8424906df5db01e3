"""Projectors: exactness, dials, transformations, bad input."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from examples import examples, sizes
from hypothesis import given
from hypothesis import strategies as st

import softeq_jax as sq

NAMES = ("c1", "c2", "c4", "c3", "c8", "c12", "d1", "d2", "d4", "d3", "d8", "so2", "o2")
CASES = st.tuples(st.sampled_from(NAMES), st.integers(1, 9), st.integers(0, 2**31))


def kernel_projector(name, k, **dial):
    image = sq.reps.image(sq.groups.from_name(name), (k, k))
    return sq.projector("h w i o", {"h w": image}, **dial)


def rep_of(projector):
    (entry,) = projector.space.entries
    return entry.rep


def mask(projector):
    """What each level is multiplied by; the last entry is for what has no finite level."""
    return 1.0 - np.asarray(projector.dropped)


def dense(projector):
    """The projector as a float64 matrix on the acting axes, columns from batch entries."""
    n = projector.dim
    eye = np.eye(n).reshape(*rep_of(projector).shape, n, 1)
    return projector(eye).reshape(n, n)


def elements(group, rng):
    if group.is_finite:
        return group.elements()
    angles = rng.uniform(-np.pi, np.pi, 4)
    flips = [False, True] if group.has_flip else [False]
    return np.stack([group.element(t, f) for t in angles for f in flips])


@pytest.mark.slow
@given(CASES)
@examples(fast=60)
def test_every_hard_cut_is_an_orthogonal_projector_on_a_stable_subspace(case):
    name, k, seed = case
    strict = kernel_projector(name, k)
    rep, rng = rep_of(strict), np.random.default_rng(seed)
    previous = np.zeros((rep.dim, rep.dim))
    for level, dimension in zip(strict.levels(), strict.dimensions(), strict=True):
        cut = strict.at(cutoff=level)
        matrix = dense(cut)
        np.testing.assert_allclose(matrix @ matrix, matrix, atol=1e-12)
        np.testing.assert_allclose(matrix, matrix.T, atol=1e-12)
        np.testing.assert_allclose(previous @ matrix, previous, atol=1e-12)
        if cut.cutoff < np.inf:
            np.testing.assert_allclose(np.trace(matrix - previous), dimension, atol=1e-9)
            assert cut.rank() == round(np.trace(matrix))
        for g in elements(rep.group, rng):
            moved = rep.matrix(g)
            np.testing.assert_allclose(moved @ matrix, matrix @ moved, atol=1e-11)
        previous = matrix


@given(CASES)
@examples(fast=40)
def test_level_zero_of_a_finite_group_is_the_orbit_mean(case):
    name, k, _ = case
    group = sq.groups.from_name(name)
    strict = kernel_projector(name, k)
    if not group.is_finite:
        group = sq.groups.from_name({"so2": "c199", "o2": "d199"}[name])
    rep = sq.reps.image(group, (k, k))
    mean = np.mean([rep.matrix(g) for g in group.elements()], axis=0)
    if rep.unmatched.size and not group.has_flip:
        mean = mean - rep.unmatched @ rep.unmatched.T
    np.testing.assert_allclose(dense(strict), mean, atol=1e-11)


@given(CASES, st.floats(0, 1))
@examples(fast=80)
def test_softness_keeps_whole_levels_and_reports_what_it_kept(case, softness):
    name, k, _ = case
    strict = kernel_projector(name, k)
    cut = strict.at(softness=softness)
    kept, levels = mask(cut), strict.levels()
    assert set(np.unique(kept)) <= {0.0, 1.0}
    again = strict.at(softness=cut.softness)
    np.testing.assert_array_equal(mask(again), kept)
    np.testing.assert_array_equal(mask(strict.at(cutoff=cut.cutoff)), kept)
    n0, n = strict.rank(), int(strict.dimensions().sum())
    identity = kept.all()
    assert identity == (cut.softness == 1.0)
    if n0 < n:
        assert identity == (softness == 1.0)
    if softness < 1.0 and n0 < n:
        ranks = np.array([strict.at(cutoff=b).rank() for b in np.union1d([0.0], levels)])
        ranks = ranks[ranks < strict.dim]
        shares = (ranks - n0) / (n - n0)
        best = np.abs(shares - softness).min()
        np.testing.assert_allclose(abs((cut.rank() - n0) / (n - n0) - softness), best, atol=1e-12)
        assert cut.rank() == ranks[np.flatnonzero(np.abs(shares - softness) == best)[0]]


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("mask", ["hard", "heat", "resolvent"])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
def test_full_softness_is_the_identity_to_the_bit(name, mask, dtype):
    rng = np.random.default_rng(0)
    for k in sizes(fast=[3, 4], sweep=[2, 3, 4, 7, 8]):
        w = jnp.asarray(rng.standard_normal((k, k, 2, 3)), dtype)
        full = kernel_projector(name, k, softness=1.0, mask=mask)
        chex.assert_trees_all_equal(full(w), w)
        assert full(w).dtype == dtype
        assert full.softness == 1.0


def test_the_identity_keeps_extreme_values_and_float64():
    for k in (1, 3):
        full = kernel_projector("so2", k, softness=1.0)
        w = jnp.full((k, k, 1, 1), -0.0).at[0, 0].set(3e38)
        out = full(w)
        chex.assert_trees_all_equal(out, w)
        np.testing.assert_array_equal(np.signbit(out), np.signbit(w))
    w = np.random.default_rng(0).standard_normal((3, 3, 2, 2))
    out = kernel_projector("so2", 3, softness=1.0)(w)
    assert out.dtype == np.float64
    np.testing.assert_array_equal(out, w)
    twice = kernel_projector("so2", 3, cutoff=1.0)
    np.testing.assert_allclose(twice(twice(w)), twice(w), atol=1e-15)


@pytest.mark.parametrize("mask", ["heat", "resolvent"])
@pytest.mark.parametrize("softness", [1e-9, 1e-3, 0.5, 1 - 1e-9])
def test_the_smooth_dial_reaches_every_softness(mask, softness):
    strict = kernel_projector("so2", 5)
    cut = strict.at(softness=softness, mask=mask)
    np.testing.assert_allclose(cut.softness, softness, rtol=1e-6)
    np.testing.assert_allclose(
        strict.at(cutoff=cut.cutoff, mask=mask).softness, softness, rtol=1e-6
    )
    wide, full = strict.at(cutoff=1e12, mask=mask), strict.at(cutoff=np.inf, mask=mask)
    w = np.random.default_rng(0).standard_normal((5, 5, 1, 1))
    np.testing.assert_array_equal(wide(w), w)
    assert 1 - 1e-15 < wide.softness < 1  # only the identity is 1
    assert (full.softness, full.cutoff) == (1.0, np.inf)


@pytest.mark.parametrize("kind", ["heat", "resolvent"])
def test_smooth_masks_follow_their_formula_and_softness(kind):
    strict = kernel_projector("so2", 8)
    formula = {
        "heat": lambda s, b: np.exp(-(s**2) / (2 * b**2)),
        "resolvent": lambda s, b: 1 / (1 + (s / b) ** 2),
    }
    b = 1.7
    smooth = strict.at(cutoff=b, mask=kind)
    values = formula[kind](strict.levels(), b)
    np.testing.assert_allclose(smooth.rank(), values @ strict.dimensions(), rtol=1e-13)
    np.testing.assert_allclose(smooth.factors(), values, rtol=1e-13, atol=1e-15)
    np.testing.assert_array_equal(strict.factors(), [1] + [0] * (len(values) - 1))
    unmatched = rep_of(strict).unmatched
    assert unmatched.shape[1] == 4
    np.testing.assert_allclose(dense(smooth) @ unmatched, 0, atol=1e-13)
    for softness in (0.05, 0.4, 0.9):
        cut = strict.at(softness=softness, mask=kind)
        np.testing.assert_allclose(cut.softness, softness, rtol=1e-9)
        n0, n = strict.rank(), strict.dimensions().sum()
        np.testing.assert_allclose((cut.rank() - n0) / (n - n0), softness, rtol=1e-9)
    zero, tiny = strict.at(softness=0.0, mask=kind), strict.at(cutoff=1e-6, mask=kind)
    chex.assert_trees_all_equal(zero.dropped, strict.dropped)
    chex.assert_trees_all_close(tiny.dropped, strict.dropped, atol=1e-9)


def test_levels_are_the_documented_ones():
    c4, d4 = kernel_projector("c4", 16), kernel_projector("d4", 16)
    np.testing.assert_allclose(c4.levels(), [0, 2 * np.sqrt(2) / np.pi, 4 / np.pi])
    np.testing.assert_allclose(d4.levels(), [0, 2 / np.pi, 2 * np.sqrt(2) / np.pi, 4 / np.pi])
    assert c4.rank() == 64
    assert kernel_projector("so2", 3).levels().tolist() == [0, 1, 2, 3]
    assert kernel_projector("so2", 3).dimensions().tolist() == [3, 2, 2, 2]
    assert kernel_projector("c4", 7).rank() == (49 + 3) // 4
    c12 = kernel_projector("c12", 7)
    expected = 12 / np.pi * np.abs(np.sin(np.pi * np.arange(7) / 12))
    np.testing.assert_allclose(c12.levels(), expected, atol=1e-14)


def test_golden_strict_projectors(golden_dir):
    for k in (4, 7):
        golden = np.load(golden_dir / "softeq" / f"inv_C4_{k}x{k}.npz")
        strict = kernel_projector("c4", k)
        for side in "wx":
            reference = golden[f"svd_s0.0_hardmask_{side}"]
            np.testing.assert_allclose(dense(strict), reference, atol=2e-6)
        values = np.repeat(strict.levels(), strict.dimensions())
        np.testing.assert_allclose(np.sort(golden["svd_values"]), values, atol=2e-5)


def test_split_residual_and_idempotence():
    rng = np.random.default_rng(1)
    projector = kernel_projector("so2", 8, cutoff=2.0)
    w = jnp.asarray(rng.standard_normal((8, 8, 3, 5)), jnp.float32)
    kept, rest = projector.split(w)
    chex.assert_trees_all_close(kept + rest, w, atol=1e-6)
    chex.assert_trees_all_close(projector.residual(w), rest)
    np.testing.assert_allclose(jnp.vdot(kept, rest), 0, atol=1e-4)
    chex.assert_trees_all_close(projector(kept), kept, atol=2e-6)
    with pytest.raises(ValueError, match="smooth mask 'heat'"):
        projector.at(cutoff=1.0, mask="heat").split(w)


def test_act_moves_a_weight():
    projector = kernel_projector("c4", 3)
    w = np.random.default_rng(0).standard_normal((3, 3, 2, 2))
    g = projector.space.group.element(np.pi / 2)
    np.testing.assert_array_equal(projector.act(g, w), np.rot90(w))
    moved = np.linalg.norm(projector.act(g, w) - w)
    np.testing.assert_allclose(projector.certificate(w, angle=np.pi / 2).bound, moved, rtol=1e-10)
    with pytest.raises(ValueError, match="does not fit"):
        projector.act(g, w[0])


def test_small_residuals_do_not_cancel():
    projector = kernel_projector("c4", 7)
    rng = np.random.default_rng(2)
    invariant = projector(rng.standard_normal((7, 7, 1, 1)).astype(np.float32))
    tiny = 1e-5 * np.asarray(
        projector.residual(rng.standard_normal((7, 7, 1, 1)).astype(np.float32))
    )
    measured = np.linalg.norm(projector.residual(invariant + tiny))
    np.testing.assert_allclose(measured, np.linalg.norm(tiny), rtol=0.1)


def test_position_tables_keep_their_prefix():
    group = sq.groups.dihedral(4)
    tokens = sq.reps.tokens(group, (4, 4), prefix=2)
    projector = sq.projector("1 n c", {"n": tokens})
    rng = np.random.default_rng(0)
    table = rng.standard_normal((1, 18, 5)).astype(np.float32)
    out = np.asarray(projector(table))
    np.testing.assert_allclose(out[:, :2], table[:, :2], atol=1e-6)
    grid = out[0, 2:].reshape(4, 4, 5)
    np.testing.assert_allclose(np.rot90(grid), grid, atol=1e-6)
    np.testing.assert_allclose(grid[:, ::-1], grid, atol=1e-6)


def test_trivial_axes_are_left_alone():
    group = sq.groups.so(2)
    bias = sq.projector("o", {"o": sq.reps.trivial(group, 6)})
    w = jnp.arange(6.0)
    chex.assert_trees_all_equal(bias(w), w)
    assert (bias.softness, bias.rank()) == (1.0, 6)
    both = sq.projector(
        "h w o", {"h w": sq.reps.image(group, (3, 3)), "o": sq.reps.trivial(group, 2)}
    )
    assert both.rank() == 3 * 2  # named axes count, trivial ones too
    one = sq.groups.trivial()
    nothing = sq.projector(
        "h w o", {"h w": sq.reps.image(one, (2, 2)), "o": sq.reps.trivial(one, 2)}
    )
    w = jnp.arange(8.0).reshape(2, 2, 2)
    chex.assert_trees_all_equal(nothing(w), w)


@pytest.mark.slow
def test_works_under_transformations():
    projector = kernel_projector("so2", 5, cutoff=1.0)
    rng = np.random.default_rng(3)
    w = jnp.asarray(rng.standard_normal((5, 5, 2, 2)), jnp.float32)
    matrix = dense(projector)
    expected = np.einsum("ab,bio->aio", matrix, np.asarray(w).reshape(25, 2, 2)).reshape(w.shape)
    traced = chex.assert_max_traces(lambda p, x: p(x), n=1)
    jitted = jax.jit(traced)
    chex.assert_trees_all_close(jitted(projector, w), expected, atol=1e-5)
    for cutoff in (0.0, 2.0, np.inf):
        jitted(projector.at(cutoff=cutoff), w)

    gradient = jax.grad(lambda x: 0.5 * jnp.sum(projector(x) ** 2))(w)
    chex.assert_trees_all_close(gradient, expected, atol=1e-5)

    stacked = jax.tree.map(
        lambda *leaves: jnp.stack([jnp.asarray(leaf) for leaf in leaves]),
        *[projector.at(cutoff=b) for b in (0.0, 1.0, 3.0)],
    )
    with pytest.raises(ValueError, match="stack of masks"):
        stacked.rank()
    swept = jax.vmap(lambda p: p(w))(stacked)
    chex.assert_trees_all_close(swept[1], expected, atol=1e-5)
    batch = jnp.stack([w, 2 * w])
    chex.assert_trees_all_close(jax.vmap(projector)(batch)[1], 2 * expected, atol=1e-5)


def test_bfloat16_is_computed_in_float32():
    projector = kernel_projector("so2", 7, cutoff=3.0)
    w = jnp.asarray(np.random.default_rng(4).standard_normal((7, 7, 2, 2)), jnp.bfloat16)
    exact = projector(w.astype(jnp.float32))
    chex.assert_trees_all_equal(projector(w), exact.astype(jnp.bfloat16))


def test_arguments_are_not_changed():
    projector = kernel_projector("c4", 3)
    w = np.random.default_rng(5).standard_normal((3, 3, 1, 1)).astype(np.float32)
    before, dropped = w.copy(), np.array(projector.dropped)
    projector(w)
    projector.at(cutoff=1.0)
    np.testing.assert_array_equal(w, before)
    np.testing.assert_array_equal(projector.dropped, dropped)
    with pytest.raises(AttributeError):
        projector.dropped = dropped


def test_repr_reads_like_the_formula():
    text = repr(kernel_projector("so2", 7, cutoff=1.0))
    for part in ("Projector", "h w i o", "SO(2)", "7", "hard", "cutoff=1"):
        assert part in text


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: kernel_projector("so2", 3, cutoff=-1.0), "cutoff must be >= 0, got -1"),
        (lambda: kernel_projector("so2", 3, cutoff=np.nan), "cutoff must be >= 0, got nan"),
        (lambda: kernel_projector("so2", 3, softness=1.2), r"softness must be in \[0, 1\]"),
        (lambda: kernel_projector("so2", 3, softness=np.nan), r"softness must be in \[0, 1\]"),
        (lambda: kernel_projector("so2", 3, cutoff=1.0, softness=0.5), "exactly one"),
        (lambda: kernel_projector("so2", 3).at(), "exactly one"),
        (lambda: kernel_projector("so2", 3, mask="box"), "unknown mask 'box'"),
        (lambda: kernel_projector("klein", 3), "klein"),
        (lambda: sq.projector("h w", {}), "no axis"),
        (lambda: sq.projector("h h", {"h": None}), "distinct"),
    ],
)
def test_bad_dials_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_bad_axes_are_refused():
    so2, c4 = sq.groups.so(2), sq.groups.cyclic(4)
    image = sq.reps.image(so2, (3, 3))
    for spec, reps, message in [
        ("h w i o", {"x y": image}, "not among"),
        ("h w i o", {"h": image}, "acts on 2 axes"),
        ("h w i o", {"h w": image, "h i": image}, "two entries"),
        ("h w i o", {"h w": image, "i": sq.reps.trivial(c4, 2)}, "one group"),
        ("h w", {"h w": "image"}, "need a representation"),
    ]:
        with pytest.raises(ValueError, match=message):
            sq.projector(spec, reps)


def test_bad_weights_are_refused():
    projector = kernel_projector("so2", 3)
    with pytest.raises(ValueError, match=r"\(3, 5, 1, 1\).*h=3, w=3"):
        projector(np.zeros((3, 5, 1, 1)))
    with pytest.raises(ValueError, match="does not fit"):
        projector(np.zeros((3, 3)))
    with pytest.raises(TypeError, match="floating-point"):
        projector(np.zeros((3, 3, 1, 1), int))
    with pytest.raises(ValueError, match="1 of 9 weights are NaN"):
        projector.certificate(np.where(np.arange(9) == 4, np.nan, 1.0).reshape(3, 3, 1, 1))


def test_host_side_methods_refuse_tracers():
    projector = kernel_projector("so2", 3)
    for method in (lambda p: p.rank(), lambda p: p.softness, lambda p: p.cutoff):
        with pytest.raises(TypeError, match="cannot be traced"):
            jax.jit(method)(projector)
    with pytest.raises(TypeError, match="cannot be traced"):
        jax.jit(lambda w: projector.certificate(w).bound)(jnp.ones((3, 3, 1, 1)))
