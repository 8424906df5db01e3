"""Generators of many kinds, and formats that they are rounded to."""

import numpy as np
import scipy.linalg

from softeq_jax import groups, reps

_rng = np.random.default_rng(1)
BLOCK = scipy.linalg.block_diag
J, FLIP = np.array([[0.0, -1.0], [1.0, 0.0]]), np.diag([-1.0, 1.0])
turn = groups.so(2).element


def orthogonal(d):
    return np.linalg.qr(_rng.normal(size=(d, d)))[0]


def oblique(d):
    return _rng.normal(size=(d, d)) + 3.0 * np.eye(d)


def conjugated(m, a):
    return m @ np.asarray(a) @ np.linalg.inv(m)


def mixed(a):
    return np.tensordot(_rng.normal(size=(len(a), len(a))), a, 1)


_third = np.exp(2j * np.pi / 3)
_s4 = np.array([np.eye(4)[:, p] for p in ([1, 0, 2, 3], [0, 2, 1, 3], [0, 1, 3, 2])])
_fixed, _ = np.linalg.qr(np.c_[np.ones(4), np.eye(4)[:, :3]])
FINITE = {  # name: generators, order
    "C3": ([turn(2 * np.pi / 3)], 3),
    "C7": ([turn(2 * np.pi / 7)], 7),
    "C18": ([turn(2 * np.pi / 18)], 18),
    "D5": ([turn(2 * np.pi / 5), FLIP], 10),
    "D6 turned": (conjugated(orthogonal(2), [turn(np.pi / 3), FLIP]), 12),
    "C7 oblique": (conjugated(oblique(2), [turn(2 * np.pi / 7)]), 7),
    "D6 oblique": (conjugated(oblique(2), [turn(np.pi / 3), FLIP]), 12),
    "C5 x C7": ([BLOCK(turn(2 * np.pi / 5), turn(2 * np.pi / 7))], 35),
    "third turn in space": (conjugated(orthogonal(3), [BLOCK(turn(2 * np.pi / 3), 1.0)]), 3),
    "octahedral turned": (conjugated(orthogonal(3), groups.octahedral().discrete_generators), 24),
    "icosahedral": (groups.icosahedral().discrete_generators, 60),
    "icosahedral oblique": (conjugated(oblique(3), groups.icosahedral().discrete_generators), 60),
    "S4 on three numbers": (_fixed[:, 1:].T @ _s4 @ _fixed[:, 1:], 24),
    "S4 with dust": (_s4 + 1e-9 * _rng.normal(size=_s4.shape), 24),
    "signed permutations": ([[[0.0, 1, 0], [0, 0, 1], [-1, 0, 0]]], 6),
    "Q8": ([[[1j, 0], [0, -1j]], [[0, 1], [-1, 0]]], 8),
    "Pauli of three": ([np.roll(np.eye(3), 1, 0), np.diag([1, _third, _third**2])], 27),
}
_spin2 = reps.irrep(groups.so(3), 2).lie_matrices()
_shear = np.array([[[0.0, 1], [0, 0]]])
_heisenberg = np.array([np.eye(3, k=1) * [0, 1, 0], np.eye(3, k=1) * [0, 0, 1]])
_affine = np.array([[[0.0, 1], [0, 0]], [[1.0, 0], [0, 0]]])
_torus = np.array([BLOCK(J, 0 * J), BLOCK(0 * J, J)])
ALGEBRAS = {  # name: generators, dimension
    "so(3) turned": (conjugated(orthogonal(3), groups.so(3).lie_generators), 3),
    "so(4)": (mixed(groups.so(4).lie_generators), 6),
    "spin 2": (_spin2, 3),
    "spin 2 turned": (conjugated(orthogonal(5), _spin2), 3),
    "su(2)": (mixed(groups.su(2).lie_generators), 3),
    "su(3)": (mixed(groups.su(3).lie_generators), 8),
    "u(3)": (mixed(np.array([*groups.su(3).lie_generators, 1j * np.eye(3)])), 9),
    "usp(2)": (mixed(groups.usp(2).lie_generators), 10),
    "Lorentz": (mixed(groups.lorentz().lie_generators), 6),
    "Lorentz oblique": (conjugated(oblique(4), groups.lorentz().lie_generators), 6),
    "sp(4)": (mixed(groups.sp(2).lie_generators), 10),
    "torus turned": (conjugated(orthogonal(4), _torus), 2),
    "winding turned": (conjugated(orthogonal(4), [BLOCK(2 * J, 5 * J)]), 1),
    "shear oblique": (conjugated(oblique(2), _shear), 1),
    "Heisenberg oblique": (conjugated(oblique(3), _heisenberg), 3),
    "affine oblique": (conjugated(oblique(2), _affine), 2),
}


def _half(x):
    if np.iscomplexobj(x):
        return _half(np.real(x)) + 1j * _half(np.imag(x)).astype(np.float64)
    return x.astype(np.float16)


FORMATS = {  # name: rounding, whether it is told by a warning
    "float32": (lambda x: x.astype(np.complex64 if np.iscomplexobj(x) else np.float32), False),
    "8 decimals": (lambda x: x.round(8), False),
    "4 decimals": (lambda x: x.round(4), True),
    "float16": (_half, True),
}
