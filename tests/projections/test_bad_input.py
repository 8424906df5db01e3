"""Mistakes of a caller: errors that say which argument, and by how much."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from projection_oracle import group_of, projector

import softeq_jax as sq


def v(name):
    return sq.reps.vector(group_of(name))


MISTAKES = {
    "groups that differ": (
        lambda: sq.projector("i o", {"i": v("so3"), "o": v("o3")}),
        ValueError, r"one group.*'i': .*SO\(3\).*'o': .*O\(3\)",
    ),
    "groups that differ in their order": (
        lambda: sq.projector("i o", {"i": v("c4"), "o": v("c8")}), ValueError, "C4.*C8",
    ),
    "sums over two groups": (lambda: v("so3") + v("s3"), ValueError, r"SO\(3\).*S3|S_3|S\(3\)"),
    "a dual forgotten": (
        lambda: sq.projector("i o", {"i": v("lorentz"), "o": v("lorentz")}),
        ValueError, r"input axis 'i' is not orthogonal.*\.dual",
    ),
    "a dual forgotten, long names": (
        lambda: sq.projector("in out", {"in": v("sp2"), "out": 2 * v("sp2")}),
        ValueError, r"'in' is not orthogonal",
    ),
    "a dual forgotten, unitary": (
        lambda: sq.projector("h w i o", {"i": v("su2"), "o": v("su2")}),
        ValueError, "unitary, not real orthogonal",
    ),
    "a negative multiplicity": (lambda: -2 * v("so3"), ValueError, "-2"),
    "no copies": (lambda: 0 * v("so3"), ValueError, "a positive integer, got 0"),
    "half a copy": (lambda: 1.5 * v("so3"), TypeError, "unsupported operand|multiply"),
    "negative tensor power": (
        lambda: sq.reps.tensor(group_of("so3"), -1), ValueError, "p must be an integer.*-1",
    ),
    "no representation": (lambda: sq.projector("i o", {}), ValueError, "no axis of 'i o'"),
    "an unknown axis": (
        lambda: sq.projector("i o", {"x": v("so3")}), ValueError, "'x' are not among.*'i o'",
    ),
    "an axis of one": (
        lambda: sq.projector("1 o", {"1": v("so3")}), ValueError, "not among the named axes",
    ),
    "an axis twice": (
        lambda: sq.projector("i i", {"i": v("so3")}), ValueError, "distinct, got 'i i'",
    ),
    "an axis in two entries": (
        lambda: sq.projector(
            "h w c", {"h w": sq.reps.image(group_of("d4"), (3, 3)), "w": v("d4")}
        ),
        ValueError, "named in two entries",
    ),
    "an axis too few": (
        lambda: sq.projector("h w", {"h": sq.reps.image(group_of("d4"), (3, 3))}),
        ValueError, "acts on 2 axes, but 'h' names 1",
    ),
    "a group instead of a representation": (
        lambda: sq.projector("i o", {"i": group_of("so3")}), ValueError, "need a representation",
    ),
    "an empty specification": (lambda: sq.projector("", {"i": v("so3")}), ValueError, "present"),
    "an unknown back end": (
        lambda: projector([v("so3")], backend="magic"), ValueError, "'magic'.*spectral, orbits",
    ),
    "an unknown convention": (
        lambda: projector([v("so3")], convention="s0"), ValueError, "'s0'.*central",
    ),
    "spectral without a plane": (
        lambda: projector([v("so3")] * 2, backend="spectral"), ValueError, r"plane.*V\(SO\(3\)\)",
    ),
    "orbits of a rotation": (
        lambda: projector([v("so3")] * 2, backend="orbits"), ValueError, "no signed permutation",
    ),
    "a mean over infinitely many": (
        lambda: projector([v("so3")] * 2, backend="mean"), ValueError, "infinitely many",
    ),
    "two dials": (
        lambda: projector([v("so3")], cutoff=1.0, softness=0.5), ValueError, "exactly one",
    ),
    "no dial": (lambda: projector([v("so3")]).at(), ValueError, "exactly one"),
    "a dial out of range": (
        lambda: projector([v("so3")], softness=1.5), ValueError, r"in \[0, 1\], got 1.5",
    ),
    "a negative cutoff": (
        lambda: projector([v("so3")], cutoff=-1.0), ValueError, ">= 0, got -1",
    ),
    "a cutoff that is no number": (
        lambda: projector([v("so3")]).at(cutoff=np.nan), ValueError, ">= 0, got nan",
    ),
    "an unknown mask": (
        lambda: projector([v("so3")]).at(cutoff=1.0, mask="box"), ValueError, "'box'.*hard, heat",
    ),
    "dense beyond memory": (
        lambda: projector([v("s8")] * 4, backend="gram"), ValueError, "dimension 4096, beyond 2500",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_named(name):
    call, kind, message = MISTAKES[name]
    with pytest.raises(kind, match=message):
        call()


def test_weights_that_do_not_fit():
    """The message holds the shape that was given and the one that was expected."""
    p = sq.projector("i o", {"i": v("so3"), "o": 2 * v("so3")})
    for shape in ((3, 3), (6, 3), (3, 7), (3,), (3, 6, 1), ()):
        for xp in (np, jnp):
            with pytest.raises(ValueError, match=r"does not fit the axes \(i=3, o=6\)"):
                p(xp.zeros(shape))
    q = sq.projector("1 n c", {"c": v("so3")})
    with pytest.raises(ValueError, match=r"\(2, 5, 3\)"):
        q(np.zeros((2, 5, 3)))
    with pytest.raises(ValueError, match=r"\(1, 5, 4\).*c=3"):
        q(np.zeros((1, 5, 4)))
    with pytest.raises(ValueError, match="does not fit"):
        jax.jit(p)(jnp.zeros((6, 3)))
    for method in (p.residual, p.split):
        with pytest.raises(ValueError, match="does not fit"):
            method(np.zeros((6, 3)))


def test_weights_of_the_wrong_type():
    real, complex_ = projector([v("so3")]), projector([v("su2").dual, v("su2")])
    for dtype in (int, bool, complex, np.complex64):
        with pytest.raises(TypeError, match="real floating-point"):
            real(np.zeros((3, 1), dtype))
    for dtype in (float, np.float32, int):
        with pytest.raises(TypeError, match="is complex"):
            complex_(np.zeros((2, 2, 1), dtype))
    with pytest.raises(TypeError, match="is complex"):
        complex_(jnp.zeros((2, 2, 1)))


def test_elements_that_are_in_no_group():
    p = projector([v("so3"), v("so3")])
    w = np.zeros((3, 3, 1))
    with pytest.raises(ValueError, match=r"SO\(3\)"):
        p.act(2 * np.eye(3), w)
    with pytest.raises(ValueError, match="determinant is -1"):
        p.act(-np.eye(3), w)
    with pytest.raises(ValueError, match="does not fit"):
        p.act(np.eye(3), w[..., 0])


def test_what_is_no_number_spreads_and_does_not_hide():
    """Projecting does not check values (it may be traced); the identity keeps them in place."""
    p = projector([v("so3"), v("so3")])
    w = np.zeros((3, 3, 2))
    w[0, 0, 0] = np.nan
    out = p(w)
    assert np.isnan(out[..., 0]).any()
    np.testing.assert_array_equal(out[..., 1], 0)
    np.testing.assert_array_equal(p.at(softness=1.0)(w), w)
    with pytest.raises(ValueError, match="NaN"):
        p.certificate(w)


def test_host_side_methods_refuse_tracers():
    p = projector([v("so3"), v("so3")], softness=0.3)
    for method in (
        lambda q: q.rank(),
        lambda q: q.softness,
        lambda q: q.cutoff,
        lambda q: q.factors(),
    ):
        with pytest.raises(TypeError, match="cannot be traced"):
            jax.jit(method)(p)
    with pytest.raises(TypeError, match="cannot be traced"):
        jax.jit(lambda w: p.certificate(w).bound)(jnp.ones((3, 3, 1)))


def test_projectors_are_immutable():
    p = projector([v("so3"), v("so3")], softness=0.3)
    with pytest.raises(AttributeError):
        p.dropped = np.zeros(3)
    before = p.host_dropped().copy()
    w = np.random.default_rng(0).standard_normal((3, 3, 2))
    copy = w.copy()
    p(w), p.at(softness=1.0), p.at(cutoff=0.0, mask="heat"), p.split(w)
    np.testing.assert_array_equal(p.host_dropped(), before)
    np.testing.assert_array_equal(w, copy)


def test_a_bilinear_form_needs_other_names():
    """The dual is asked for on input and output axes only; the metric is found elsewhere."""
    p = sq.projector("a b", {"a": v("lorentz"), "b": v("lorentz")})
    assert p.rank() == 1
    metric = p(np.diag([1.0, -1.0, -1.0, -1.0]))
    np.testing.assert_allclose(metric, np.diag([1.0, -1.0, -1.0, -1.0]), atol=1e-14)
    own = sq.projector("i o", {"i": v("lorentz").dual, "o": v("lorentz")})
    np.testing.assert_allclose(own(np.eye(4)), np.eye(4), atol=1e-14)


def test_representations_without_their_axes_are_refused():
    v = sq.reps.vector(sq.groups.so(3))
    with pytest.raises(TypeError, match=r"reps must be a dictionary from axes of 'i o'.*'i': V"):
        sq.projector("i o", v)


@pytest.mark.parametrize("dial", ["cutoff", "softness"])
def test_a_traced_dial_is_named(dial):
    v = sq.reps.vector(sq.groups.so(3))
    axes = {"i": v, "o": v}
    p = sq.projector("i o", axes)
    for make in (lambda s: p.at(**{dial: s}), lambda s: sq.projector("i o", axes, **{dial: s})):
        with pytest.raises(TypeError, match=f"{dial} is traced: a projector is built once"):
            jax.jit(lambda s, make=make: make(s)(np.eye(3)))(0.5)
