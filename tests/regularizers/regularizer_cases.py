"""Weights of several groups, with projectors that do not come from the library."""

import functools

import numpy as np

import softeq_jax as sq

G = sq.groups
R = sq.reps


def _linear(rep_in, rep_out):
    return "i o", {"i": rep_in.dual, "o": rep_out}


def _c4():
    regular = R.regular(G.cyclic(4))
    return _linear(regular, regular)


def _c6_irreps():
    g = G.cyclic(6)
    return _linear(R.irrep(g, 1) + R.irrep(g, 2), R.irrep(g, 1) + R.irrep(g, 3))


def _d4_kernel():
    g = G.dihedral(4)
    return "h w i o", {"h w": R.image(g, (3, 3)), "o": R.irrep(g, 1)}


def _s4():
    v = R.vector(G.symmetric(4))
    return _linear(v, R.tensor(G.symmetric(4), 2))


def _so2():
    g = G.so(2)
    return _linear(R.irrep(g, 1) + 2 * R.irrep(g, 2), R.tensor(g, 2))


def _so3():
    g = G.so(3)
    return _linear(R.irrep(g, 1) + R.irrep(g, 0), R.tensor(g, 2))


def _o2():
    g = G.o(2)
    return _linear(R.tensor(g, 2), R.vector(g) + R.irrep(g, 2))


def _su2():
    v = R.vector(G.su(2))
    return _linear(v, 2 * v)


def _rotations_and_permutations():
    g = G.product(G.so(3), G.symmetric(3))
    v = R.factor(g, 0, R.vector(G.so(3)))
    p = R.factor(g, 1, R.vector(G.symmetric(3)))
    return _linear(p * v, v)


CASES = {
    "c4": _c4,
    "c6": _c6_irreps,
    "d4": _d4_kernel,
    "s4": _s4,
    "so2": _so2,
    "o2": _o2,
    "so3": _so3,
    "su2": _su2,
    "so3xs3": _rotations_and_permutations,
}


@functools.cache
def projector(name, backend=None):
    spec, reps = CASES[name]()
    return sq.projector(spec, reps, backend=backend)


def weight(name, seed, dtype=np.float32):
    """A random weight that fits."""
    space = projector(name).space
    shape = [2] * len(space.names)  # axes that nothing acts on
    for entry in space.entries:
        for position, size in zip(entry.positions, entry.rep.shape, strict=True):
            shape[position] = size
    rng = np.random.default_rng(seed)
    w = rng.standard_normal(shape)
    if space.is_complex:
        w = w + 1j * rng.standard_normal(shape)
        return w.astype(np.complex64 if dtype == np.float32 else np.complex128)
    return w.astype(dtype)


def plan_of(name, params=None, backend=None):
    """A plan for ``{"layer": {"kernel": w}, "other": ...}``, of which the kernel is projected."""
    params = params_of(name) if params is None else params
    return sq.plan(params, {"layer/kernel": projector(name, backend)})


def params_of(name, seed=0, dtype=np.float32):
    other = np.random.default_rng(seed + 1).standard_normal(3).astype(dtype)
    return {"layer": {"kernel": weight(name, seed, dtype)}, "other": other}


def flat(name, w):
    """Acting axes first, as a matrix ``[n, rest]``."""
    space = projector(name).space
    return np.moveaxis(w, space.positions, range(len(space.positions))).reshape(space.dim, -1)


def acting(name, matrices):
    """Kronecker products over the axes; ``matrices`` from a representation to one matrix."""
    return functools.reduce(np.kron, [matrices(e.rep) for e in projector(name).space.entries])


def lie_stack(name):
    """The Lie generators on the whole weight, ``[k, n, n]``, by the rule of Leibniz."""
    entries = projector(name).space.entries
    total = []
    for k in range(len(projector(name).space.group.lie_generators)):
        terms = [
            functools.reduce(
                np.kron,
                [e.rep.lie_matrices()[k] if j == i else np.eye(e.rep.dim) for j, e in rows],
            )
            for i in range(len(entries))
            for rows in [list(enumerate(entries))]
        ]
        total.append(sum(terms))
    return total


@functools.cache
def dense(name):
    """The projector on the invariant vectors, from the kernel of the generators: float64."""
    group = projector(name).space.group
    n = projector(name).dim
    stack = [np.zeros((1, n)), *lie_stack(name)]
    for h in group.discrete_generators:
        stack.append(acting(name, lambda rep, h=h: rep.matrix(h)) - np.eye(n))
    _, sizes, right = np.linalg.svd(np.concatenate(stack))
    kernel = right[int(np.sum(sizes > 1e-9)) :].conj().T
    return kernel @ kernel.conj().T


def parts(name, w):
    """(P w, N w) flattened, by the dense projector."""
    w = np.asarray(w)
    columns = flat(name, w.astype(np.complex128 if np.iscomplexobj(w) else np.float64))
    kept = dense(name) @ columns
    return kept, columns - kept
