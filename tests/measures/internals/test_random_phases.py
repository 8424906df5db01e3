"""Fields of random phases keep the spectra and the phases between channels."""

import jax
import numpy as np

from softeq_jax.measures import Image
from softeq_jax.measures._bandwidth import random_phases


def test_spectra_norms_and_phases_between_channels_are_kept():
    x = np.random.default_rng(0).standard_normal((3, 2, 5, 6)).astype(np.float32)
    keys = jax.random.split(jax.random.key(0), 3)
    y = np.asarray(random_phases(x, keys, Image((2, 3), 1)))
    assert y.shape == x.shape
    before, after = (np.fft.fft2(v) for v in (x, y))
    np.testing.assert_allclose(np.abs(after), np.abs(before), atol=1e-4)
    cross = [v[:, 0] * v[:, 1].conj() for v in (before, after)]
    np.testing.assert_allclose(cross[1], cross[0], atol=1e-3)
    assert np.abs(y - x).max() > 0.5
    assert np.abs(np.angle(after[0, 0] / before[0, 0]) - np.angle(after[1, 0] / before[1, 0])).max()
