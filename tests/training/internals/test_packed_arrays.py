"""Packed arrays of a checkpoint: pieces of bounded size, and back."""

import jax.numpy as jnp
import numpy as np
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

from softeq_jax.training.checkpoints import _folder


@pytest.mark.slow
@examples(fast=12)
@given(
    sizes=st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=6),
    kinds=st.lists(st.sampled_from(["float32", "bfloat16", "int32", "bool"]), min_size=6),
    piece=st.integers(4, 64),
)
def test_leaves_are_packed_into_pieces_and_back(sizes, kinds, piece):
    """Whatever the leaves and the size of a piece: no piece is larger, nothing is lost."""
    rng = np.random.default_rng(0)
    arrays = {
        f"leaf{i}": jnp.asarray(rng.integers(0, 2, size) * 100).astype(kind)
        for i, (size, kind) in enumerate(zip(sizes, kinds, strict=False))
    }
    arrays = {name: np.asarray(array) for name, array in arrays.items()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_folder, "PIECE_BYTES", piece)
        packed = _folder._packed(arrays)
        assert max(part.nbytes for part in packed.values()) <= piece
        specs = {name: (array.shape, str(array.dtype)) for name, array in arrays.items()}
        back = _folder._unpacked(packed, specs)
    assert list(back) == list(arrays)
    for name, array in arrays.items():
        assert back[name].dtype == array.dtype
        np.testing.assert_array_equal(back[name], array)
