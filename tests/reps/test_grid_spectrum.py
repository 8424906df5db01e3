"""The basis of rotations of a grid: every size, dimensions of levels, unmatched vectors."""

import functools
import math

import numpy as np
import pytest
from examples import sizes

from softeq_jax import groups, reps

SIZES = sizes(fast=[2, 3, 4, 5, 7, 8, 14], sweep=range(2, 41))
LEVELS = {
    3: [3, 2, 2, 2],
    4: [2, 4, 2, 2, 2, 2],
    5: [5, 4, 4, 6, 2, 2, 2],
    7: [7, 6, 6, 8, 4, 4, 6, 4, 2, 2],
    8: [4, 10, 6, 6, 8, 8, 4, 4, 4, 2, 2, 2],
    14: [7, 18, 12, 14, 16, 14, 12],
}
LARGEST = {3: 3, 7: 9, 8: 11, 14: 23, 16: 27, 32: 63, 37: 75}


@pytest.fixture(scope="module", params=SIZES)
def k(request):
    """Every size; by being a fixture of the module, all tests of one size run together."""
    return request.param


def _close(found, expected, tolerance):
    assert np.abs(found - expected).max(initial=0) < tolerance


def _image(name, k):
    return reps.image(groups.from_name(name), (k, k))


@functools.lru_cache(maxsize=1)
def _lie(k):
    return _image("so2", k).lie_matrices()[0]


def test_basis_is_orthonormal_and_well_labeled(k):
    rep = _image("o2", k)
    f = rep.frequencies()
    assert np.abs(f.basis.T @ f.basis - np.eye(k * k)).max() < 1e-13
    even, odd, m = f.pairs()
    assert not f.odd[even].any()
    assert f.odd[odd].all()
    np.testing.assert_array_equal(f.partner[odd], even)
    np.testing.assert_array_equal(f.frequency[odd], m)
    assert (m > 0).all()
    single = f.partner < 0
    np.testing.assert_array_equal(f.frequency[single & ~f.unmatched], 0)
    assert not f.odd[single & ~f.unmatched].any()
    np.testing.assert_array_equal(f.frequency[f.unmatched], -1)
    assert f.odd[f.unmatched].all()
    # dimensions: k / 2 unmatched and as many radial vectors for even k, none and k for odd k
    assert rep.unmatched.shape == (k * k, 0 if k % 2 else k // 2)
    assert (f.frequency == 0).sum() == (k if k % 2 else k // 2)


def test_flip_and_quarter_turn_act_as_the_basis_says(k):
    f = _image("o2", k).frequencies()
    columns = f.basis.reshape(k, k, -1)
    _close(columns[:, ::-1], columns * np.where(f.odd, -1, 1), 1e-13)
    # an unmatched column changes its sign, which no orthogonal action of O(2) could have it do
    m = np.where(f.unmatched, 2, f.frequency)
    cos = np.array([1, 0, -1, 0])[m % 4]
    sin = np.array([0, 1, 0, -1])[m % 4] * np.where(f.odd, -1, 1)
    turned = np.rot90(columns).reshape(k * k, -1)
    _close(turned, cos * f.basis + sin * f.basis[:, f.partner], 1e-13)


def test_generator_is_skew_with_integer_spectrum(k):
    lie = _lie(k)
    _close(lie, -lie.T, 1e-12)
    f = _image("so2", k).frequencies()
    m = np.where(f.odd, -1, 1) * np.maximum(f.frequency, 0)
    if k <= 12:
        _close(np.linalg.eigvalsh(1j * lie), np.sort(m), 1e-10)
    else:  # the same by eigenvectors, as the spectrum takes long: A (a + ib) = -im (a + ib)
        c = np.random.default_rng(k).normal(size=(k * k, 2))
        expected = f.basis @ (-m[:, None] * c[f.partner])
        _close(lie @ (f.basis @ c), expected, 1e-10)


def test_rotation_is_the_exponential_of_the_generator(k):
    rep = _image("so2", k)
    x = np.random.default_rng(k).normal(size=k * k)
    t = 3.0 / rep.frequencies().frequency.max()
    term, total = x, x.copy()
    for j in range(1, 36):  # the Taylor series; |t A| <= 3
        term = t * (_lie(k) @ term) / j
        total = total + term
    _close(rep.apply(rep.group.element(t), x), total, 1e-10)


def test_homomorphism_full_turn_and_flip_relation(k):
    rep = _image("o2", k)
    x = np.random.default_rng(k).normal(size=(1, k, k))

    def act(x, angle, flip=False):
        return rep.apply(rep.group.element(angle, flip), x)

    s, t = 0.7, 2.9
    moved = act(x, t)
    _close(act(moved, s), act(x, s + t), 1e-10)
    _close(np.linalg.norm(moved, axis=(1, 2)), np.linalg.norm(x, axis=(1, 2)), 1e-10)
    third = 2 * math.pi / 3
    _close(act(act(act(x, third), third), third), x, 1e-10)
    _close(act(x[..., ::-1], t)[..., ::-1], act(x, -t), 1e-10)
    _close(act(x, t, flip=True), act(x[..., ::-1], t), 1e-10)


def test_quarter_turns_are_rot90_off_the_unmatched(k):
    rep = _image("so2", k)
    x = np.random.default_rng(k).normal(size=(1, k, k))
    u = rep.unmatched
    fixed = (x.reshape(1, -1) @ u @ u.T).reshape(x.shape)
    matched = x - fixed
    for quarters in (1, 2, 3):
        g = rep.group.element(quarters * math.pi / 2)
        _close(rep.apply(g, matched), np.rot90(matched, quarters, axes=(1, 2)), 1e-10)
        _close(rep.apply(g, fixed), fixed, 1e-10)
        turned = _image("c4", k).apply(g, x)
        np.testing.assert_array_equal(turned, np.rot90(x, quarters, axes=(1, 2)))


@pytest.mark.parametrize("side", LEVELS)
def test_dimensions_of_the_levels(side):
    found = np.bincount(np.maximum(_image("so2", side).frequencies().frequency, 0))
    found[0] -= 0 if side % 2 else side // 2  # the unmatched, counted as 0 above
    np.testing.assert_array_equal(found[: len(LEVELS[side])], LEVELS[side])
    if side != 14:
        assert len(found) == len(LEVELS[side])


@pytest.mark.parametrize("side", LARGEST)
def test_largest_frequency(side):
    assert _image("o2", side).frequencies().frequency.max() == LARGEST[side]


@pytest.mark.parametrize("side", [1, 2, 3, 6, 9, 10])
def test_permutation_basis_consists_of_orbit_vectors(side):
    for name in ("1", "c1", "c2", "c4", "d1", "d2", "d4"):
        rep = _image(name, side)
        f = rep.frequencies()
        assert rep.is_permutation
        assert rep.unmatched.shape == (side * side, 0)
        np.testing.assert_allclose(f.basis.T @ f.basis, np.eye(side * side), atol=1e-15)
        size = np.abs(f.basis)
        assert set(np.unique(size)) <= {0, 1 / np.sqrt(8), 0.5, 1 / np.sqrt(2), 1}
        columns = f.basis.reshape(side, side, -1)
        np.testing.assert_array_equal(columns[:, ::-1], columns * np.where(f.odd, -1, 1))
        turned = np.rot90(columns).reshape(side * side, -1)
        even, odd, m = f.pairs()
        np.testing.assert_array_equal(m, 1)
        np.testing.assert_array_equal(turned[:, even], f.basis[:, odd])
        np.testing.assert_array_equal(turned[:, odd], -f.basis[:, even])
        single = f.partner < 0
        assert set(f.frequency[single]) <= {0, 2}
        sign = np.where(f.frequency[single] == 0, 1, -1)
        np.testing.assert_array_equal(turned[:, single], f.basis[:, single] * sign)


def test_numbers_of_each_type_differ_as_the_orbits_say():
    for k in range(1, 25):
        f = _image("d4", k).frequencies()
        single = f.partner < 0
        b = [(single & (f.frequency == 2) & (f.odd == odd)).sum() for odd in (False, True)]
        a = [(single & (f.frequency == 0) & (f.odd == odd)).sum() for odd in (False, True)]
        assert b[1] - b[0] == (0 if k % 2 else k // 2)
        assert a[0] - a[1] == (k if k % 2 else k // 2)


def test_prefix_columns_come_first():
    f = reps.tokens(groups.so(2), (4, 4), prefix=3).frequencies()
    image = _image("so2", 4).frequencies()
    np.testing.assert_array_equal(f.basis[:, :3], np.eye(19)[:, :3])
    np.testing.assert_array_equal(f.basis[3:, 3:], image.basis)
    np.testing.assert_array_equal(f.frequency[:3], 0)
    np.testing.assert_array_equal(f.partner[:3], -1)
    assert not f.odd[:3].any()
    assert not f.unmatched[:3].any()
    even, odd, m = f.pairs()
    for found, expected in zip((even - 3, odd - 3, m), image.pairs(), strict=True):
        np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(f.unmatched[3:], image.unmatched)
