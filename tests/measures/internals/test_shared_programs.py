"""What all images share: programs that are compiled once, partners, and the check of sums."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from softeq_jax import measures
from softeq_jax.measures._lie import derivatives
from softeq_jax.measures.attribution._pullbacks import without_shares
from softeq_jax.measures.base._generators import FLOWS
from softeq_jax.measures.features._evaluation import partners_of


def test_other_parameters_do_not_compile_again():
    x = jnp.asarray(np.random.default_rng(11).standard_normal((2, 8, 8, 1)))

    def apply(w, x):
        return x.mean((1, 2)) * w

    def run(w):
        f = jax.tree_util.Partial(apply, jnp.asarray(w))
        return measures.lie_derivative(f, x, "rotation")

    first = run([1.0, 2.0])
    size = derivatives.shared._cache_size()
    second = run([2.0, 4.0])
    assert derivatives.shared._cache_size() == size
    np.testing.assert_allclose(second, 2 * first)


def test_partners_are_never_the_image_itself():
    for n in (2, 3, 8):
        for key in (None, jax.random.key(n)):
            partners = partners_of(n, key)
            assert sorted(partners) == list(range(n))
            assert (partners != np.arange(n)).all()


def test_a_batch_of_wrong_sums_is_refused_but_not_a_negligible_image():
    host = {
        "total": np.ones((4, 1, 2)),
        "size": np.ones(4),
        "gap": np.full((4, 1), 1e-6),
        "allowed": np.full((4, 1), 1e-5),
    }
    assert not without_shares(host, [FLOWS["scale"]]).any()
    host["gap"][2] = 1.0
    with pytest.raises(ArithmeticError, match="scale: the contributions .* at image 2"):
        without_shares(host, [FLOWS["scale"]])
    host["total"][2] = 1e-4
    assert without_shares(host, [FLOWS["scale"]])[:, 0].tolist() == [False, False, True, False]
    host["total"] *= 1e-17  # below the last bit of the output: nothing fails, nothing is shared
    assert without_shares(host, [FLOWS["scale"]]).all()
