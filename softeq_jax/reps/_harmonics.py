"""Rotations of the real spherical harmonics of one degree; host side, float64."""

import functools

import numpy as np


@functools.lru_cache(maxsize=64)
def rotation_generators(l: int) -> np.ndarray:
    r"""How infinitesimal rotations about x, y and z act on real spherical harmonics of degree l.

    On functions ``(g f)(p) = f(g^-1 p)`` the rotation about axis k acts as ``-i L_k``. With

        L_z Y_m = m Y_m,    (L_x + i L_y) Y_m = sqrt(l (l + 1) - m (m + 1)) Y_{m+1}

    on the complex harmonics, the real ones are ``((-1)^m Y_m + Y_{-m}) / sqrt 2`` for m > 0
    (cosines of m phi), ``Y_0``, and ``((-1)^m Y_m - Y_{-m}) / (i sqrt 2)`` as number -m (sines).
    Their order is ``m = -l .. l``, so degree 1 is ``(y, z, x)``.

    Returns:
      float64 ``[3, 2 l + 1, 2 l + 1]``, skew, read-only.
    """
    n = 2 * l + 1
    m = np.arange(-l, l + 1)
    raising = np.diag(np.sqrt(l * (l + 1) - m[:-1] * (m[:-1] + 1.0)), -1)
    along = np.stack(
        [(raising + raising.T) / 2, (raising - raising.T) / 2j, np.diag(m).astype(complex)]
    )
    real = np.zeros((n, n), complex)  # rows: real harmonics in terms of the complex ones
    real[l, l] = 1.0
    for k in range(1, l + 1):
        sign = (-1.0) ** k
        real[l + k, [l + k, l - k]] = np.array([sign, 1.0]) / np.sqrt(2.0)
        real[l - k, [l + k, l - k]] = np.array([sign, -1.0]) / (1j * np.sqrt(2.0))
    found = (real.conj() @ (-1j * along) @ real.T).real
    found = (found - np.swapaxes(found, 1, 2)) / 2.0
    found.setflags(write=False)
    return found


def rotation(l: int, axis_angle: np.ndarray) -> np.ndarray:
    """The matrix of a rotation on the real spherical harmonics of degree l.

    The generator about a unit axis has the eigenvalues ``-i m``, m = -l .. l, exactly; only its
    eigenvectors are computed, so that large angles cost no accuracy.

    Args:
      l: the degree.
      axis_angle: ``[3]``, the axis times the angle.

    Returns:
      float64 ``[2 l + 1, 2 l + 1]``.
    """
    angle = float(np.linalg.norm(axis_angle))
    if angle == 0.0 or l == 0:
        return np.eye(2 * l + 1)
    generator = np.tensordot(axis_angle / angle, rotation_generators(l), 1)
    _, vectors = np.linalg.eigh(1j * generator)  # in ascending order: -l .. l
    phases = np.exp(-1j * angle * np.arange(-l, l + 1))
    return ((vectors * phases) @ vectors.conj().T).real


def axes(generators: np.ndarray) -> np.ndarray:
    """The vectors n with ``A p = n x p`` for skew 3 x 3 matrices A; ``[k, 3]``."""
    return np.stack([generators[:, 2, 1], generators[:, 0, 2], generators[:, 1, 0]], axis=1)
