"""Groups, their elements, and how far a function is from commuting with them."""

import jax
import numpy as np

import softeq_jax as sq

G = sq.groups
R = sq.reps
GROUPS = {
    str(group): group
    for group in (
        G.so(2),
        G.o(2),
        G.so(3),
        G.o(3),
        G.o(5),
        G.dihedral(4),
        G.symmetric(3),
        G.lorentz(),
        G.sp(2),
    )
}
NORMAL = jax.nn.initializers.normal(1.0)


def element(group, seed):
    """A random element, float64: uniform, or of moderate size if the group is not compact."""
    if group.is_compact:
        with jax.enable_x64(True):
            return np.asarray(group.sample(jax.random.key(seed), 1)[0])
    rng = np.random.default_rng(seed)
    g = group.exp(0.4 * rng.standard_normal(len(group.lie_generators)))
    for h in group.discrete_generators:
        g = g @ h if rng.random() < 0.5 else g
    return g


def parts(group):
    """A few representations of a group, not all orthogonal."""
    v = R.vector(group)
    return [R.trivial(group, 2), v, v.dual, v * v.dual, R.tensor(group, 2)]


def inputs(rep, n=6, seed=0, dtype=np.float32):
    return np.random.default_rng(seed).standard_normal((n, rep.dim)).astype(dtype)


def defect(f, rep_in, rep_out, g, x):
    """``max |f(g x) - g f(x)| / max |f(x)|``."""
    f = jax.jit(f)
    y = np.asarray(f(x))
    moved = np.asarray(f(rep_in.apply(g, x)))
    return float(np.abs(moved - rep_out.apply(g, y)).max() / np.abs(y).max())


def run(layer, variables, *args, **options):
    """``layer.apply``, compiled as a whole."""
    return jax.jit(lambda v, x: layer.apply(v, x, *args[1:], **options))(variables, args[0])


def start(layer, *args, seed=0):
    """``layer.init``, compiled as a whole."""
    return jax.jit(lambda key, x: layer.init(key, x, *args[1:]))(jax.random.key(seed), args[0])
