"""Models and plans that the tests of relaxation share."""

import numpy as np

import softeq_jax as sq


def _dense(rep_in, rep_out):
    return sq.projector("i o", {"i": rep_in.dual, "o": rep_out})


def _vector(group, copies=2):
    v = sq.reps.vector(group)
    return _dense(v, copies * v)


def _complex_type():
    c5 = sq.groups.cyclic(5)
    v = sq.reps.regular(c5)
    return _dense(v, v)


def _tensor():
    g = sq.groups.so(3)
    return _dense(sq.reps.tensor(g, 1, 1), sq.reps.vector(g) + sq.reps.trivial(g, 2))


def _grid():
    return sq.projector("h w i o", {"h w": sq.reps.image(sq.groups.dihedral(4), (3, 3))})


def _rotations():
    return sq.projector("h w i o", {"h w": sq.reps.image(sq.groups.so(2), (5, 5))})


CASES = {
    "c4": lambda: _vector(sq.groups.cyclic(4)),
    "s4": lambda: _vector(sq.groups.symmetric(4)),
    "so3": lambda: _vector(sq.groups.so(3)),
    "so2": lambda: _vector(sq.groups.so(2)),
    "su2": lambda: _vector(sq.groups.su(2)),
    "lorentz": lambda: _vector(sq.groups.lorentz()),
    "complex type": _complex_type,
    "tensor": _tensor,
    "d4 on a grid": _grid,
    "so2 on a grid": _rotations,
}
"""Functions that make a strict projector of a weight."""


def weight_shape(projector, channels=2):
    sizes = dict.fromkeys(projector.space.names, channels)
    for entry in projector.space.entries:
        names = [projector.space.names[i] for i in entry.positions]
        if len(names) == 1:
            sizes[names[0]] = entry.rep.dim
        else:
            side = round(entry.rep.dim ** (1 / len(names)))
            sizes.update(dict.fromkeys(names, side))
    return tuple(sizes[name] for name in projector.space.names)


def random_weight(projector, rng):
    shape = weight_shape(projector)
    w = rng.standard_normal(shape)
    return w + 1j * rng.standard_normal(shape) if projector.space.is_complex else w


def two_layers(seed=0, group=None):
    """(params, plan): two dense layers between vectors of the plane, one with its bias."""
    rng = np.random.default_rng(seed)
    hidden, v = 2, sq.reps.vector(group or sq.groups.cyclic(4))
    first = sq.projector("i o", {"i": v.dual, "o": hidden * v})
    second = sq.projector("i o", {"i": (hidden * v).dual, "o": v})
    shift = sq.projector("o", {"o": hidden * v})
    params = {
        "first": {"kernel": rng.standard_normal((2, 2 * hidden)), "bias": np.ones(2 * hidden)},
        "second": {"kernel": rng.standard_normal((2 * hidden, 2)), "scale": np.ones(2)},
    }
    params = {a: {b: x.astype(np.float32) for b, x in p.items()} for a, p in params.items()}
    rules = {"first/kernel": first, "first/bias": shift, "second/kernel": second}
    return params, sq.plan(params, rules)


def two_layer_outputs(params, x):
    hidden = x @ params["first"]["kernel"] + params["first"]["bias"]
    return hidden @ params["second"]["kernel"] * params["second"]["scale"]
