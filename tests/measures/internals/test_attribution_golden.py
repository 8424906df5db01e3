"""Contributions against the golden arrays of the published method (measures.md G)."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from softeq_jax.measures import Image, Invariant
from softeq_jax.measures.attribution import layerwise, plan
from softeq_jax.measures.attribution._pullbacks import Problem, Stages
from softeq_jax.measures.base._actions import Stencil

GENERATORS = ("translation_x", "translation_y", "rotation", "scale")
FORWARD = Stencil("forward", "reflect")
HALF_WIDTH = 15.5
IMAGES = 6


@pytest.fixture(scope="module")
def golden(golden_dir):
    with np.load(golden_dir / "lee.npz") as arrays:
        return {name: arrays[name] for name in arrays if name.split("/")[-1] in _WANTED}


_WANTED = {
    *("images", "spec", "head_w", "head_b", "exact_sq_norm", "ref_estimate_400"),
    *(f"{letter}{k}" for letter in "wb" for k in range(7)),
    *(f"floors_f32_x_{side}" for side in (32, 16, 8)),
    *GENERATORS,
}


def network(golden, act, channels_last, head=None):
    weight, bias = (golden["w6"], golden["b6"]) if head is None else head
    order = ("NHWC", "HWIO", "NHWC") if channels_last else ("NCHW", "OIHW", "NCHW")

    def f(x):
        for k, (_, _, stride) in enumerate(golden["spec"]):
            w, b = jnp.asarray(golden[f"w{k}"], x.dtype), jnp.asarray(golden[f"b{k}"], x.dtype)
            w, b = (w.transpose(2, 3, 1, 0), b) if channels_last else (w, b[:, None, None])
            x = jax.lax.conv_general_dilated(
                x, w, (stride, stride), ((1, 1), (1, 1)), dimension_numbers=order
            )
            x = jnp.tanh(x + b) if act == "tanh" else jax.nn.relu(x + b)
        x = x.mean((1, 2) if channels_last else (2, 3))
        return jax.nn.softmax(x @ jnp.asarray(weight.T, x.dtype) + jnp.asarray(bias, x.dtype))

    return f


def published(result, name, act):
    """Contributions of the 13 layers of the golden arrays, in their unit of t."""
    c = result.contributions[name] if result.contributions else result.squared_norms[name]
    label = [layer.split("_")[0] for layer in result.layers]
    trunk = [k for k, own in enumerate(label) if own in ("conv", act)]
    pool = label.index("sum")
    others = [k for k in range(len(label)) if k not in (*trunk, pool)]
    assert len(trunk) == 12
    np.testing.assert_array_equal(c[others], 0)
    unit = HALF_WIDTH if name.startswith("translation") else 1
    return unit * c[[*trunk, pool]]


@pytest.mark.slow(11)
@pytest.mark.parametrize(("act", "channels_last"), [("tanh", True), ("relu", False)])
def test_exact_contributions(golden, act, channels_last):
    with jax.enable_x64(True):
        x = golden["images"][:IMAGES].astype(np.float64)
        x = x.transpose(0, 2, 3, 1) if channels_last else x
        result = layerwise(
            network(golden, act, channels_last),
            x,
            GENERATORS,
            input="image" if channels_last else Image(axes=(2, 3), channel=1),
            estimator="exact",
            stencil=FORWARD,
            alignment="corner",
        )
    for name in GENERATORS:
        wanted = golden[f"{act}_f64/forward_contrib/{name}"][:, :IMAGES]
        found = published(result, name, act)
        assert np.linalg.norm(found - wanted[:13]) < 1e-12 * np.linalg.norm(wanted)
        unit = HALF_WIDTH if name.startswith("translation") else 1
        gap = np.linalg.norm(unit * result.totals[name] - wanted.sum(0))
        assert gap < 1e-12 * np.linalg.norm(wanted)


@pytest.mark.slow
def test_single_precision(golden):
    x = golden["images"][:2].transpose(0, 2, 3, 1)
    options = {"estimator": "exact", "stencil": FORWARD, "alignment": "corner"}
    result = layerwise(network(golden, "tanh", True), x, "rotation", **options)
    wanted = golden["tanh_f64/forward_contrib/rotation"][:13, :2]
    found = published(result, "rotation", "tanh")
    assert found.dtype == np.float32
    assert np.linalg.norm(found - wanted) < 1e-5 * np.linalg.norm(wanted)


class FloorProblem(Problem):
    """The published code's x translation: at some columns rounding picks the other neighbor."""

    floors: ClassVar[dict[int, np.ndarray]] = {}

    def action(self, a, layout):
        if isinstance(layout, Invariant):
            return jnp.zeros((1, *a.shape), a.dtype)
        w = a.shape[2]
        read = jnp.pad(a, ((0, 0), (0, 0), (1, 1), (0, 0)), mode="reflect")
        ahead, behind = read[:, :, 2:] - a, a - read[:, :, :-2]
        is_ahead = (self.floors[w] >= np.arange(w))[None, :, :, None]
        return (w - 1) / 2 * jnp.where(is_ahead, ahead, behind)[None]


@pytest.mark.slow
def test_thousand_classes_by_random_probes(golden):
    """Probes find the exact norms within their errors, as the published estimate does."""
    head = golden["layerwise1000/head_w"], golden["layerwise1000/head_b"]
    x = golden["images"][:1].transpose(0, 2, 3, 1)
    f = network(golden, "relu", True, head)
    planned = plan(f, x, "translation_x")
    FloorProblem.floors = {side: golden[f"floors_f32_x_{side}"] for side in (32, 16, 8)}
    problem = FloorProblem(**vars(planned._stages.problem))
    planned = dataclasses.replace(planned, _stages=Stages(problem))
    result = planned.measure(x, "hutchinson", probes=200, key=jax.random.key(7))
    kept = [k for k, own in enumerate(result.layers) if own.split("_")[0] in ("conv", "relu")]
    pool = [k for k, own in enumerate(result.layers) if own.split("_")[0] == "sum"][:1]
    found = result.squared_norms["translation_x"][[*kept, *pool], 0]
    errors = result.squared_norm_errors["translation_x"][[*kept, *pool], 0]
    exact = golden["layerwise1000/exact_sq_norm"]
    assert np.all(np.abs(found - exact) < 5 * errors)
    assert np.all(errors < 0.5 * exact)
    published_error = exact * np.sqrt(2 / 400)
    assert np.all(np.abs(golden["layerwise1000/ref_estimate_400"] - exact) < 5 * published_error)
