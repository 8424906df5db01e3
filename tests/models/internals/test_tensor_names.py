"""Tables of tensor names and layouts, and heads of published widths."""

import pathlib
import types

import hypothesis.strategies as st
import numpy as np
import pytest
from examples import examples
from hypothesis import given
from safetensors.numpy import load_file

from softeq_jax.models.weights import _architecture, _detection
from softeq_jax.models.weights._tensor_names import TensorEntry

GOLDEN = pathlib.Path(__file__).parents[1] / "golden"


def test_names_and_paths_are_inverse_in_every_golden_network():
    for folder in GOLDEN.iterdir():
        names = list(load_file(folder / "model.safetensors"))
        kind, prefix, share = _detection.detect(names, folder.name)
        assert share > 0.7
        for name in names:
            entry = kind.table.entry_of_name(name, prefix)
            assert (entry is None) == (not kind.table.knows(name, prefix))
            if entry is None:
                assert kind.unused_reason(name)
                continue
            for path in entry.paths:
                assert kind.table.entry_of_path(path, prefix) == entry


@given(
    st.sampled_from([("conv", 4, 1), ("linear", 2, 1), ("linear", 2, 3), ("array", 1, 3)]),
    st.tuples(*[st.integers(1, 4)] * 4),
)
@examples(fast=100)
def test_layouts_are_inverse(form, sides):
    layout, axes, parts = form
    entry = TensorEntry("t", tuple("abc"[:parts]), layout)
    shape = (sides[0] * parts, *sides[1:axes])
    tensor = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    arrays = entry.to_flax(tensor)
    assert all(a.shape == entry.flax_shape(shape) for a in arrays)
    assert entry.torch_shape(arrays[0].shape) == shape
    np.testing.assert_array_equal(entry.to_torch(arrays), tensor)


@pytest.mark.parametrize(
    ("width", "heads"), [(192, 3), (384, 6), (768, 12), (1024, 16), (1280, 16), (1408, 16)]
)
def test_heads_of_published_widths(width, heads):
    config = types.SimpleNamespace(__contains__=None)
    assert _architecture.attention_heads(None, {}, "num_heads", width, None) == heads
    assert _architecture.attention_heads(None, config, "num_heads", width, 5) == 5
