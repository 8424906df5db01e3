"""All back ends agree where they apply, whatever the weight is made of."""

import numpy as np
import pytest
from examples import examples
from hypothesis import given
from projection_oracle import (
    COMPACT,
    NONCOMPACT,
    case_projector,
    dense,
    entries_of,
    generators,
    group_of,
    kernel_projector,
    pairs,
    projector,
    random_weight,
)

import softeq_jax as sq
from softeq_jax.projections._filter import IdentityFilter
from softeq_jax.projections.backends import BACKENDS

STRICT_ONLY = ("orbits", "krylov", "mean")


def applies(backend, reps):
    group = reps[0].group
    if backend == "spectral":
        return isinstance(group, sq.groups.PlanarGroup)
    if backend == "mean":
        return group.is_finite
    if backend == "orbits":
        moves = [rep.signed_permutation(g) for rep in reps for g in group.discrete_generators]
        lie = max((np.abs(rep.lie_matrices()).max(initial=0) for rep in reps), default=0)
        return lie == 0 and all(move is not None for move in moves)
    return True


def check_agreement(reps):
    expected = kernel_projector(reps)
    used = []
    for backend in BACKENDS:
        if not applies(backend, reps):
            with pytest.raises(ValueError, match="spectral|orbit|permutation|infinite"):
                projector(reps, backend=backend)
            continue
        p = projector(reps, backend=backend)
        assert p.rank() == round(np.trace(expected).real)
        np.testing.assert_allclose(dense(p), expected, atol=1e-10, err_msg=backend)
        used.append(backend)
    return used


def v(name):
    return sq.reps.vector(group_of(name))


CASES = {
    "c4 images": lambda: [sq.reps.image(group_of("c4"), (3, 3)), v("c4")],
    "d4 image, vectors": lambda: [sq.reps.image(group_of("d4"), (3, 3)), v("d4"), v("d4")],
    "d3 regular": lambda: [sq.reps.regular(group_of("d3")), sq.reps.regular(group_of("d3"))],
    "c6 circle": lambda: [sq.reps.circle(group_of("c6"), 6), sq.reps.regular(group_of("c6"))],
    "d4 irreps": lambda: [
        sq.reps.irrep(group_of("d4"), 1), sq.reps.irrep(group_of("d4"), (2, -1)), v("d4"),
    ],
    "so2": lambda: [sq.reps.circle(group_of("so2"), 7), v("so2")],
    "o2 odd image": lambda: [sq.reps.image(group_of("o2"), (5, 5)), v("o2")],
    "s4": lambda: [v("s4"), v("s4"), v("s4")],
    "s4 regular": lambda: [sq.reps.regular(group_of("s4")), v("s4")],
    "octahedral": lambda: [v("octahedral")] * 4,
    "octahedral points": lambda: [
        sq.reps.permutation(group_of("octahedral"), np.concatenate([np.eye(3), -np.eye(3)])),
        v("octahedral"), v("octahedral"),
    ],
    "icosahedral": lambda: [v("icosahedral")] * 3,
    "so3": lambda: [v("so3"), sq.reps.irrep(group_of("so3"), 2), v("so3")],
    "o3 irreps": lambda: [sq.reps.irrep(group_of("o3"), "1e"), v("o3"), v("o3")],
    "o5": lambda: [v("o5"), v("o5"), v("o5")],
    "su2": lambda: [v("su2").dual, v("su2"), v("su2"), v("su2").dual],
    "su2 real": lambda: [v("su2").real, v("su2").real],
    "su2 mixed": lambda: [v("su2").real, v("su2")],
    "su3": lambda: [v("su3").dual, v("su3")],
    "c4 x d3": lambda: [v("c4 x d3"), v("c4 x d3")],
    "so3 x s3": lambda: [v("so3 x s3"), v("so3 x s3")],
    "sp2": lambda: [v("sp2").dual, v("sp2"), v("sp2")],
    "lorentz": lambda: [v("lorentz").dual, v("lorentz"), v("lorentz")],
}  # fmt: skip


@pytest.mark.filterwarnings("error::numpy.exceptions.ComplexWarning")
@pytest.mark.parametrize("name", CASES)
def test_back_ends_agree_with_the_definition(name):
    used = check_agreement(CASES[name]())
    assert {"isotypic", "gram", "krylov"} <= set(used)


def test_every_back_end_is_among_the_cases():
    used = {backend for case in CASES.values() for backend in BACKENDS if applies(backend, case())}
    assert used == set(BACKENDS)


@pytest.mark.slow
@given(case=pairs(COMPACT + NONCOMPACT, limit=60))
@examples(fast=40)
def test_back_ends_agree_on_random_cases(case):
    p = case_projector(case)
    reps = entries_of(p)
    expected = dense(p)
    for backend in BACKENDS:
        if applies(backend, reps):
            np.testing.assert_allclose(
                dense(projector(reps, backend=backend)), expected, atol=1e-10, err_msg=backend
            )


@given(case=pairs(COMPACT + NONCOMPACT, limit=60))
@examples(fast=30)
def test_complete_back_ends_agree_at_every_level(case):
    reps = entries_of(case_projector(case))
    each = [projector(reps, backend="isotypic"), projector(reps, backend="gram"), projector(reps)]
    if applies("spectral", reps):
        each.append(projector(reps, backend="spectral"))
    for p in each[1:]:
        np.testing.assert_allclose(p.levels(), each[0].levels(), atol=1e-9)
        assert p.dimensions().tolist() == each[0].dimensions().tolist()
    for level in each[0].levels():
        first = dense(projector(reps, backend="isotypic", cutoff=float(level) + 1e-9))
        for backend in ("gram", None, *(["spectral"] if applies("spectral", reps) else [])):
            other = projector(reps, backend=backend, cutoff=float(level) + 1e-9)
            np.testing.assert_allclose(dense(other), first, atol=1e-10, err_msg=str(backend))


@pytest.mark.parametrize("name", ["so2", "o2"])
def test_unmatched_patterns_are_no_invariants_for_any_back_end(name):
    """Rotations fix them for want of a partner; they have no finite level."""
    image = sq.reps.image(group_of(name), (4, 4))
    assert image.unmatched.shape[1] == 2
    strict = sq.projector("h w z", {"h w": image})
    for backend in ("gram", "isotypic", "krylov"):
        try:
            other = sq.projector("h w z", {"h w": image}, backend=backend)
        except ValueError:
            continue  # a refusal is fine
        assert other.rank() == strict.rank(), backend
        np.testing.assert_allclose(dense(other), dense(strict), atol=1e-10, err_msg=backend)


@pytest.mark.parametrize("backend", STRICT_ONLY)
def test_strict_back_ends_refuse_levels(backend):
    reps = [v("s4"), v("s4")]
    with pytest.raises(ValueError, match="level 0 only"):
        projector(reps, backend=backend, softness=0.5)
    # but they upgrade: at() builds the levels
    assert (
        projector(reps, backend=backend).at(softness=0.5).rank()
        == projector(reps, softness=0.5).rank()
    )


def test_automatic_choice_is_exact_on_larger_cases():
    """Whichever filter is chosen, at dimensions from 216 to 256."""
    cases = [
        [v("s4")] * 4,
        [v("so3")] * 5,
        [v("o4")] * 4,
        [v("octahedral")] * 5,
        [sq.reps.regular(group_of("octahedral")), v("octahedral"), v("octahedral")],
        [v("lorentz")] * 4,
        [v("su2")] * 8,
    ]
    kinds = set()
    for reps in cases:
        p = projector(reps)
        kinds.add(type(p.filters[0]).__name__)
        np.testing.assert_allclose(dense(p), kernel_projector(reps), atol=1e-10)
    assert {"OrbitFilter", "PairFilter"} <= kinds


# --- multiplicities, sums, several axes


@pytest.mark.parametrize("name", ["so3", "s4", "d4", "su2", "lorentz", "octahedral"])
def test_multiplicity_never_enters(name):
    """16 V -> 16 V is the 1 -> 1 filter on every pair, with arrays of the size of V x V."""
    one, many = projector([v(name).dual, v(name)]), projector([16 * v(name).dual, 16 * v(name)])
    for dial in ({"softness": 0.0}, {"softness": 0.4}, {"cutoff": 1.0, "mask": "heat"}):
        p, q = one.at(**dial), many.at(**dial)
        d = v(name).dim
        w = random_weight(q, np.random.default_rng(0))
        blocks = w.reshape(16, d, 16, d)
        expected = np.zeros_like(blocks)
        for i in range(16):
            for j in range(16):
                expected[i, :, j] = p(blocks[i, :, j][..., None])[..., 0]
        np.testing.assert_allclose(q(w), expected.reshape(w.shape), atol=1e-12)
        arrays = [np.shape(x) for f in q.filters for x in vars(f).values() if hasattr(x, "shape")]
        assert all(np.prod(shape) <= d**4 for shape in arrays)
        assert q.rank() == (256 * p.rank() if p.mask == "hard" else pytest.approx(256 * p.rank()))
    np.testing.assert_array_equal(one.levels(), many.levels())
    assert many.dimensions().tolist() == (256 * one.dimensions()).tolist()


def by_definition(p, w):
    """P w by the SVD of the explicit Kronecker matrix, for weights of any axes."""
    reps, positions = entries_of(p), p.space.positions
    front = np.moveaxis(w, positions, range(len(positions)))
    flat = front.reshape(p.dim, -1)
    out = (kernel_projector(reps) @ flat).reshape(front.shape)
    return np.moveaxis(out, range(len(positions)), positions)


def full_weight(shape, p, seed=0):
    rng = np.random.default_rng(seed)
    w = rng.standard_normal(shape)
    return w + 1j * rng.standard_normal(shape) if p.space.is_complex else w


@pytest.mark.parametrize("name", ["d4", "so3", "s3", "su2", "sp1"])
def test_sums_products_and_their_order(name):
    """One axis with several terms, in an order that is not that of the segments."""
    a, one = v(name), sq.reps.trivial(group_of(name))
    u = a * a
    for rep in (
        a + 2 * u,
        2 * u + a,
        (a + one) * (a + one),
        3 * (a + one),
        a * (one + a),
        2 * (one + 3 * a) + a * 2,
        (2 * one) * a,
        a * (2 * one),
        2 * (a * (one + one + a)),
    ):
        p = projector([rep])
        np.testing.assert_allclose(dense(p), kernel_projector([rep]), atol=1e-11, err_msg=str(rep))
        q = projector([(a + one).dual, rep])
        if q.dim <= 120:
            np.testing.assert_allclose(dense(q), kernel_projector(entries_of(q)), atol=1e-11)


def test_axes_in_any_order_and_place():
    """Image x dual(V) x W with batch axes between, images on swapped axes, single axes of one."""
    d4 = group_of("d4")
    image, w = sq.reps.image(d4, (3, 3)), v("d4")
    for spec, reps, shape in [
        ("h w i o", {"h w": image, "i": w.dual, "o": w + sq.reps.trivial(d4)}, (3, 3, 2, 3)),
        ("o i h w", {"h w": image, "i": w.dual, "o": 2 * w}, (4, 2, 3, 3)),
        ("h i w o", {"h w": image, "o": w}, (3, 5, 3, 2)),
        ("w b h o", {"w h": image, "o": w}, (3, 2, 3, 2)),
        ("w b h o", {"h w": image, "o": w}, (3, 2, 3, 2)),
        ("1 o a h 1 w", {"h w": image, "o": w}, (1, 2, 4, 3, 1, 3)),
        ("a b c", {"c": w, "a": w}, (2, 3, 2)),
    ]:
        p = sq.projector(spec, reps)
        x = full_weight(shape, p)
        np.testing.assert_allclose(p(x), by_definition(p, x), atol=1e-12, err_msg=spec)
        g = d4.element(np.pi / 2, flip=True)
        np.testing.assert_allclose(p.act(g, p(x)), p(x), atol=1e-12)
        soft = p.at(softness=0.5)
        np.testing.assert_allclose(p.act(g, soft(x)), soft(p.act(g, x)), atol=1e-12)
    # the two ways to name the axes of an image differ by its transpose
    one = sq.projector("w h o", {"w h": image, "o": w})
    other = sq.projector("h w o", {"h w": image, "o": w})
    x = full_weight((3, 3, 2), one)
    np.testing.assert_allclose(one(x), other(x), atol=1e-13)


def test_tokens_keep_their_prefix_and_project_the_grid():
    d4 = group_of("d4")
    tokens, v4 = sq.reps.tokens(d4, (3, 3), prefix=2), v("d4")
    p = sq.projector("1 n c", {"n": tokens, "c": v4 + sq.reps.trivial(d4)})
    x = full_weight((1, 11, 3), p)
    np.testing.assert_allclose(p(x), by_definition(p, x), atol=1e-12)
    # prefix tokens are scalars: their vector part has no invariants, their scalar part stays
    np.testing.assert_allclose(p(x)[0, :2, :2], 0, atol=1e-13)
    np.testing.assert_allclose(p(x)[0, :2, 2], x[0, :2, 2], atol=1e-13)


def test_trivial_axes_are_identity_filters():
    so3 = group_of("so3")
    one = sq.reps.trivial(so3, 5)
    p = sq.projector("i o", {"i": one, "o": 3 * sq.reps.trivial(so3) + one})
    assert all(isinstance(f, IdentityFilter) for f in p.filters)
    x = full_weight((5, 8), p)
    np.testing.assert_array_equal(p(x), x)
    assert (p.rank(), p.softness, p.cutoff) == (40, 1.0, np.inf)
    q = sq.projector("i o", {"i": one + v("so3"), "o": one})
    x = full_weight((8, 5), q)
    np.testing.assert_array_equal(q(x)[:5], x[:5])
    np.testing.assert_allclose(q(x)[5:], 0, atol=1e-14)


def test_gains_are_averaged_over_what_the_group_mixes():
    so3 = group_of("so3")
    gains = sq.reps.diagonal(2 * v("so3") + sq.reps.trivial(so3, 2))
    p = sq.projector("c", {"c": gains})
    x = np.arange(8.0)
    np.testing.assert_allclose(p(x), [1, 1, 1, 4, 4, 4, 6, 7], atol=1e-14)
    assert p.rank() == 4
    np.testing.assert_array_equal(p.at(softness=1.0)(x), x)
    with pytest.raises(ValueError, match="averaged or left alone"):
        p.at(softness=0.5)
    signs = sq.reps.diagonal(v("d4"))  # signed permutations: the signs cancel
    np.testing.assert_allclose(sq.projector("c", {"c": signs})(np.array([1.0, 3.0])), 2.0)
    with pytest.raises(ValueError, match="depthwise"):
        sq.projector(
            "h w c",
            {"h w": sq.reps.image(group_of("c8"), (3, 3)), "c": sq.reps.diagonal(v("c8"))},
        )
    kernel = sq.projector("h w c", {"h w": sq.reps.image(group_of("d4"), (3, 3)), "c": signs})
    x = full_weight((3, 3, 2), kernel)
    np.testing.assert_allclose(kernel(x), by_definition(kernel, x), atol=1e-13)


def test_restrictions_have_the_projector_of_their_matrices():
    so3, o3 = group_of("so3"), group_of("o3")
    rep = sq.reps.restrict(sq.reps.vector(so3), group_of("c4"), lambda g: embed(g))
    p = projector([rep, rep])
    np.testing.assert_allclose(dense(p), kernel_projector([rep, rep]), atol=1e-12)
    assert p.rank() == 3  # z z, and the dot and cross product of the plane
    rep = sq.reps.restrict(sq.reps.vector(o3), so3)
    assert projector([rep] * 3).rank() == 1


def embed(g):
    out = np.eye(3)
    out[:2, :2] = g
    return out


def test_generated_representations():
    """Spin 1 of SU(2), given by matrices, is V of SO(3) up to coordinates."""
    so3 = group_of("so3")
    rep = sq.reps.from_generators(so3, lie=sq.reps.irrep(so3, 2).lie_matrices())
    for other in (v("so3"), sq.reps.irrep(so3, 2), rep):
        p = projector([other, rep])
        np.testing.assert_allclose(dense(p), kernel_projector([other, rep]), atol=1e-12)
    lie, _ = generators([rep, rep])
    assert lie.shape == (3, 25, 25)
