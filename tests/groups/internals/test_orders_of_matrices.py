"""Orders of matrices, told by their eigenvalues."""

import numpy as np
import pytest
import scipy.linalg

from softeq_jax import groups
from softeq_jax.groups._rounded import order_of, resolution

BLOCK = scipy.linalg.block_diag
turn = groups.so(2).element


def test_orders_are_told_by_their_eigenvalues():
    assert order_of(turn(1.0)) is None
    assert order_of(turn(2 * np.pi / 50_021)) is None
    for n in (1, 7, 997, 49_999):
        assert order_of(turn(2 * np.pi / n)) == n
    assert order_of(BLOCK(turn(2 * np.pi / 5), turn(2 * np.pi / 7))) == 35
    assert order_of(BLOCK(turn(2 * np.pi / 5), turn(1.0))) is None
    assert order_of(2.0 * np.eye(2)) is None
    assert order_of(np.array([[1.0, 1.0], [0.0, 1.0]])) is None


def test_no_coincidence_counts_as_an_order():
    """710 turns of one radian are 113 whole ones but for 6e-5."""
    for tolerance in (1e-11, 1e-8, 2.4e-7, 4e-6):
        assert order_of(turn(1.0), tolerance) is None


@pytest.mark.parametrize(
    ("rounded", "unit"),
    [
        (lambda x: x, 2.0**-53),
        (lambda x: x.astype(np.float32), 2.0**-25),
        (lambda x: x.astype(np.float16), 2.0**-12),
        (lambda x: x.round(8), 0.5e-8),
        (lambda x: x.round(3), 0.5e-3),
        (lambda x: x.round(2), 2.0**-53),  # taken to be meant
        (np.rint, 2.0**-53),
    ],
)
def test_the_format_of_entries_tells_their_rounding(rounded, unit):
    x = np.cos(np.arange(1.0, 9.0))
    assert resolution(np.float64(rounded(x))) == pytest.approx(unit, rel=0.05)
