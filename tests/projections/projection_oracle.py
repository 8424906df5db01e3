"""Slow definitions, independent of the library's algorithms, that projectors are tested against."""

import functools
import itertools

import numpy as np
from hypothesis import strategies as st

import softeq_jax as sq

COMPACT = (
    "trivial", "c2", "c5", "c8", "d1", "d3", "d4", "so2", "o2", "s3", "s4", "octahedral",
    "icosahedral", "so3", "o3", "so4", "o4", "o5", "su2", "su3", "usp2", "so2 x c4", "c4 x d3",
    "so3 x s3", "su2 x c3",
)  # fmt: skip
NONCOMPACT = ("sp1", "sp2", "lorentz", "so13", "o+(1,3)", "so+(1,3)")
# a connected group has the invariants of the compact form of its complexification
COMPACT_FORM = {
    "sp1": "su2", "sp2": "usp2", "lorentz": "o4", "o+(1,3)": "o4", "so13": "so4",
    "so+(1,3)": "so4",
}  # fmt: skip

group_of = functools.lru_cache(sq.groups.from_name)


def build(name, tree):
    """The representation of an expression tree such as ``("+", "V", ("*", "V", "V*"))``."""
    group = group_of(name)
    if isinstance(tree, tuple):
        kind, a, b = tree
        if kind == "n":
            return a * build(name, b)
        a, b = build(name, a), build(name, b)
        return a + b if kind == "+" else a * b
    if tree == "1":
        return sq.reps.trivial(group)
    vector = sq.reps.vector(group)
    return vector.dual if tree == "V*" else vector


def dimension(d, tree):
    if not isinstance(tree, tuple):
        return 1 if tree == "1" else d
    kind, a, b = tree
    if kind == "n":
        return a * dimension(d, b)
    a, b = dimension(d, a), dimension(d, b)
    return a + b if kind == "+" else a * b


@st.composite
def trees(draw, d, limit):
    leaf = st.sampled_from(["1", "V", "V*"])
    found = st.recursive(
        leaf,
        lambda t: st.one_of(
            st.tuples(st.just("+"), t, t),
            st.tuples(st.just("*"), t, t),
            st.tuples(st.just("n"), st.integers(1, 3), t),
        ),
        max_leaves=3,
    )
    return draw(found.filter(lambda tree: dimension(d, tree) <= limit))


@st.composite
def pairs(draw, names, limit=150):
    """(group name, two or three expression trees), of a joint dimension within the limit."""
    name = draw(st.sampled_from(names))
    d = group_of(name).d
    left = draw(trees(d, max(d, 12)))
    right = draw(trees(d, max(d, limit // dimension(d, left))))
    rest = limit // (dimension(d, left) * dimension(d, right))
    third = [draw(trees(d, rest))] if rest >= d and draw(st.booleans()) else []
    return name, (left, right, *third)


def projector(reps, **dials):
    """A projector with axes named by letters, the last one a batch axis ``z``."""
    letters = iter("abcdefghklmn")
    names = [" ".join(next(letters) for _ in rep.shape) for rep in reps]
    return sq.projector(" ".join([*names, "z"]), dict(zip(names, reps, strict=True)), **dials)


def case_projector(case, **dials):
    name, each = case
    return projector([build(name, tree) for tree in each], **dials)


def full_shape(space, batch):
    """The shape of weights whose trivial axes are all of length 1, but the last one."""
    shape = [1] * (len(space.names) - 1) + [batch]
    for entry in space.entries:
        for position, size in zip(entry.positions, entry.rep.shape, strict=True):
            shape[position] = size
    return tuple(shape)


def dense(p, dtype=None):
    """The matrix of a projector whose last axis is a batch axis, by NumPy in float64."""
    dtype = dtype or (np.complex128 if p.space.is_complex else np.float64)
    eye = np.eye(p.dim, dtype=dtype)
    return np.asarray(p(eye.reshape(full_shape(p.space, p.dim)))).reshape(p.dim, p.dim)


def kron(matrices):
    return functools.reduce(np.kron, matrices)


def generators(reps):
    """Explicit Kronecker matrices of the generators: ``[k, n, n]`` and ``[m, n, n]``."""
    lie, discrete = reps[0].lie_matrices(), reps[0].discrete_matrices()
    for rep in reps[1:]:
        n, d = lie.shape[-1], rep.dim
        lie = np.array(
            [
                np.kron(a, np.eye(d)) + np.kron(np.eye(n), b)
                for a, b in zip(lie, rep.lie_matrices(), strict=True)
            ]
        ).reshape(-1, n * d, n * d)
        discrete = np.array(
            [np.kron(a, b) for a, b in zip(discrete, rep.discrete_matrices(), strict=True)]
        ).reshape(-1, n * d, n * d)
    return lie, discrete


def kernel_projector(reps):
    """Orthogonal projector on the null space of the stacked generators, by an SVD."""
    lie, discrete = generators(reps)
    n = np.prod([rep.dim for rep in reps])
    stack = np.concatenate([np.zeros((1, n)), *lie, *(discrete - np.eye(n))])
    _, sizes, right = np.linalg.svd(np.linalg.qr(np.concatenate([stack, 0 * np.eye(n)]), "r"))
    kernel = right[int(np.sum(sizes > 1e-8 * max(1.0, sizes[0]))) :]
    return kernel.conj().T @ kernel


def entries_of(p):
    return [entry.rep for entry in p.space.entries]


def moves(group, rng, n=3):
    """Random elements ``[n, d, d]``: words of exponentials and of discrete generators."""
    found = []
    for _ in range(n):
        g = np.eye(group.d)
        for _ in range(2):
            if len(group.lie_generators):
                g = g @ group.exp(0.7 * rng.normal(size=len(group.lie_generators)))
            if len(group.discrete_generators):
                g = g @ group.discrete_generators[rng.integers(len(group.discrete_generators))]
        found.append(g)
    return found


def action(p, g):
    return kron([rep.matrix(g) for rep in entries_of(p)])


def random_weight(p, rng, batch=1):
    w = rng.standard_normal(full_shape(p.space, batch))
    return w + 1j * rng.standard_normal(w.shape) if p.space.is_complex else w


# --- characters: (weights of sum 1, character of the defining representation) on a list of classes


def _circle(n=48):
    return 2 * np.pi * np.arange(n) / n  # exact for trigonometric polynomials of degree < n


def _torus(weight, character, rank=1):
    angles = np.stack(np.meshgrid(*[_circle()] * rank, indexing="ij")).reshape(rank, -1)
    w = weight(*angles)
    return w / w.sum(), character(*angles) + 0j


def _join(a, b, share=0.5):
    return np.concatenate([share * a[0], (1 - share) * b[0]]), np.concatenate([a[1], b[1]])


@functools.lru_cache
def character(name):
    """Weyl's integration formula, or all elements of a finite group."""
    c, s = np.cos, np.sin
    if " x " in name:
        (w1, x1), (w2, x2) = (character(part) for part in name.split(" x "))
        return np.outer(w1, w2).reshape(-1), np.add.outer(x1, x2).reshape(-1)
    if name == "so2":
        return _torus(lambda t: 1 + 0 * t, lambda t: 2 * c(t))
    if name == "o2":
        return _join(character("so2"), (np.ones(1), np.zeros(1, complex)))
    if name == "so3":
        return _torus(lambda t: 1 - c(t), lambda t: 1 + 2 * c(t))
    if name == "so4":
        return _torus(lambda t, u: (c(t) - c(u)) ** 2, lambda t, u: 2 * c(t) + 2 * c(u), 2)
    if name == "o4":  # the other component: diag(1, -1, a rotation), with the measure of SU(2)
        return _join(character("so4"), _torus(lambda t: s(t) ** 2, lambda t: 2 * c(t)))
    if name == "so5":
        return _torus(
            lambda t, u: (1 - c(t)) * (1 - c(u)) * (c(t) - c(u)) ** 2,
            lambda t, u: 1 + 2 * c(t) + 2 * c(u),
            2,
        )
    if name in ("o3", "o5"):
        weights, x = character("s" + name)
        return _join((weights, x), (weights, -x))
    if name in ("su2", "usp1"):
        return _torus(lambda t: s(t) ** 2, lambda t: 2 * c(t))
    if name == "usp2":
        return _torus(
            lambda t, u: (s(t) * s(u) * (c(t) - c(u))) ** 2, lambda t, u: 2 * c(t) + 2 * c(u), 2
        )
    if name == "su3":

        def eigenvalues(t, u):
            return np.exp(1j * np.stack([t, u, -t - u]))

        def vandermonde(t, u):
            e = eigenvalues(t, u)
            return np.prod(
                [np.abs(e[i] - e[j]) ** 2 for i, j in itertools.combinations(range(3), 2)], axis=0
            )

        return _torus(vandermonde, lambda t, u: eigenvalues(t, u).sum(0), 2)
    elements = group_of(name).elements()
    return np.full(len(elements), 1 / len(elements)), np.trace(elements, axis1=1, axis2=2) + 0j


def character_of(x, tree):
    if not isinstance(tree, tuple):
        return {"1": np.ones_like(x), "V": x, "V*": x.conj()}[tree]
    kind, a, b = tree
    if kind == "n":
        return a * character_of(x, b)
    a, b = character_of(x, a), character_of(x, b)
    return a + b if kind == "+" else a * b


def character_rank(case):
    """Dimension of the invariants of a tensor product, as the mean of its character."""
    name, each = case
    weights, x = character(COMPACT_FORM.get(name, name))
    value = weights @ np.prod([character_of(x, tree) for tree in each], axis=0)
    assert abs(value - round(value.real)) < 1e-8
    return round(value.real)
