"""Spectra by irreducible type of arrays whose types are known."""

import jax.numpy as jnp
import numpy as np
import pytest

import softeq_jax as sq
from softeq_jax.measures import irrep_spectrum

RNG = np.random.default_rng


def _groups():
    g = sq.groups
    return [
        (g.so(3), [0, 1, 2]),
        (g.o(3), ["0e", "0o", "1e", "1o", "2e", "2o"]),
        (g.so(2), [0, 1, 2, 5]),
        (g.o(2), [(0, 1), (0, -1), 1, 3]),
        (g.cyclic(1), [0]),
        (g.cyclic(2), [0, 1]),
        (g.cyclic(5), [0, 1, 2]),
        (g.cyclic(6), [0, 1, 2, 3]),
        (g.dihedral(1), [(0, 1), (0, -1)]),
        (g.dihedral(2), [(0, 1), (0, -1), (1, 1), (1, -1)]),
        (g.dihedral(3), [(0, 1), (0, -1), 1]),
        (g.dihedral(6), [(0, 1), (0, -1), 1, 2, (3, 1), (3, -1)]),
    ]


@pytest.mark.slow(6)
@pytest.mark.parametrize(("group", "names"), _groups(), ids=lambda v: str(v).replace(" ", ""))
def test_every_type_has_the_energy_of_its_entries_under_its_own_name(group, names):
    irreps = [sq.reps.irrep(group, name) for name in names]
    rep = irreps[0]
    for irrep in irreps[1:]:
        rep = rep + irrep
    x = RNG(0).standard_normal((4, 3, rep.dim)) * np.arange(1, rep.dim + 1)
    found = irrep_spectrum(x, sq.projector("n c a", {"a": rep}))
    assert sorted(found.labels) == sorted(str(name) for name in names)
    start = 0
    for name, irrep in zip(names, irreps, strict=True):
        part = x[..., start : start + irrep.dim]
        expected = (part**2).sum(axis=(1, 2))
        energy = found.energies[:, found.labels.index(str(name))]
        np.testing.assert_allclose(energy, expected, rtol=1e-5)
        start += irrep.dim
    assert sum(row["share"] for row in found.rows()) == pytest.approx(1)


@pytest.mark.slow(3)
def test_pixels_have_the_frequencies_that_rotations_turn_them_by():
    image = sq.reps.image(sq.groups.so(2), (9, 9))
    P = sq.projector("n h w c", {"h w": image})
    f = image.frequencies()
    for m in (0, 1, 3):
        columns = f.basis[:, (f.frequency == m) & ~f.odd]
        pattern = columns @ RNG(m).standard_normal((columns.shape[1], 2 * 2))
        x = pattern.reshape(9, 9, 2, 2).transpose(2, 0, 1, 3)
        assert irrep_spectrum(x, P).share(str(m)).value == pytest.approx(1, abs=1e-6)
    x = RNG(5).standard_normal((3, 9, 9, 2)).astype(np.float32)
    turned = P.act(sq.groups.so(2).element(0.4), x)
    before, after = (irrep_spectrum(v, P) for v in (x, turned))
    np.testing.assert_allclose(after.energies, before.energies, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(before.energies.sum(axis=1), (x**2).sum(axis=(1, 2, 3)), rtol=1e-5)
    assert "unmatched" not in before.labels
    even = sq.projector("n h w", {"h w": sq.reps.image(sq.groups.so(2), (4, 4))})
    assert irrep_spectrum(x[:, :4, :4, 0], even).share("unmatched").value > 0


def test_a_square_doubles_the_frequency_and_a_strict_layer_leaves_it():
    """Under quarter turns exactly: patterns of frequency 1 have squares of frequency 0 and 2."""
    image = sq.reps.image(sq.groups.cyclic(4), (6, 6))
    P = sq.projector("n h w", {"h w": image})
    f = image.frequencies()
    columns = f.basis[:, f.frequency == 1]
    x = (columns @ RNG(0).standard_normal((columns.shape[1], 3))).T.reshape(3, 6, 6)
    squared = irrep_spectrum(x**2, P)
    assert squared.share("1").value < 1e-9
    assert squared.share("2").value > 0.05
    assert squared.share("0").standard_error > 0
    pixels = sq.reps.tokens(sq.groups.cyclic(4), (6, 6))
    strict = sq.projector("i o", {"i": pixels.dual, "o": pixels})
    layer = strict(RNG(1).standard_normal((36, 36)))
    mapped = (x.reshape(3, 36) @ layer).reshape(3, 6, 6)
    assert irrep_spectrum(mapped, P).share("1").value == pytest.approx(1, abs=1e-9)


def test_fields_of_vectors_and_antisymmetric_matrices():
    V = sq.reps.vector(sq.groups.o(3))
    P = sq.projector("n a b", {"a": V, "b": V}, softness=0.5, mask="heat")
    x = jnp.asarray(RNG(0).standard_normal((4, 3, 3)))
    turns = irrep_spectrum(x - jnp.swapaxes(x, 1, 2), P)
    assert turns.labels == ("0e", "1e", "2e")
    assert turns.share("1e").value == pytest.approx(1, abs=1e-6)
    assert "1e" in turns.table()
    assert "0.0000" in repr(turns)
    squares = sq.projector("n a", {"a": sq.reps.vector(sq.groups.so(5))})
    assert irrep_spectrum(RNG(0).standard_normal((2, 5)), squares).labels == ("level 2",)


def test_errors():
    V = sq.reps.vector(sq.groups.so(3))
    x = RNG(0).standard_normal((4, 3))
    with pytest.raises(ValueError, match="axis 0 counts"):
        irrep_spectrum(x[:3], sq.projector("a n", {"a": V}))
    with pytest.raises(ValueError, match="does not fit"):
        irrep_spectrum(x[:, :2], sq.projector("n a", {"a": V}))
    with pytest.raises(ValueError, match="NaN"):
        irrep_spectrum(x * np.nan, sq.projector("n a", {"a": V}))
    with pytest.raises(ValueError, match="stacked"):
        irrep_spectrum(x, sq.projector("n a", {"a": V}, convention="stacked"))
    with pytest.raises(ValueError, match="no type is called '7'"):
        irrep_spectrum(x, sq.projector("n a", {"a": V})).share("7")
