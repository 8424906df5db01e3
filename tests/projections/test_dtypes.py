"""Precision by dtype, and every transformation, for each kind of filter."""

import os
import pathlib
import signal
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from projection_oracle import build, dense, full_shape, group_of, projector

import softeq_jax as sq


def v(name):
    return sq.reps.vector(group_of(name))


CASES = {
    "spectral": lambda: [sq.reps.image(group_of("so2"), (7, 7)), v("so2"), 3 * v("so2")],
    "fft": lambda: [sq.reps.circle(group_of("c256"), 256)],
    "orbits": lambda: [v("s5")] * 4,
    "dense": lambda: [v("so3")] * 4,
    "dense complex": lambda: [v("su3").dual, v("su3"), v("su3")],
    "pairs": lambda: [build("so3", ("*", "V", "V")), v("so3"), v("so3")],
    "kernel": lambda: [sheared(), sheared().dual],
    "chebyshev": lambda: [v("lorentz")] * 4,
    "mean": lambda: [v("octahedral")] * 3,
}
BACKENDS = {"orbits": "orbits", "pairs": "isotypic", "chebyshev": "krylov", "mean": "mean"}
FILTERS = {
    "spectral": "SpectralFilter", "fft": "SpectralFilter", "orbits": "OrbitFilter",
    "dense": "DenseFilter", "dense complex": "DenseFilter", "pairs": "PairFilter",
    "kernel": "KernelFilter", "chebyshev": "ChebyshevFilter", "mean": "MeanFilter",
}  # fmt: skip
# largest error against float64, in units of the largest weight
LIMITS = {np.float64: 1e-14, np.float32: 1e-6, jnp.bfloat16: 4e-3, jnp.float16: 5e-4}


def sheared():
    """C3 in a basis that is not orthogonal."""
    h = group_of("c3").discrete_generators[0]
    s = np.array([[1.0, 0.7], [0.0, 1.0]])
    return sq.reps.from_generators(group_of("c3"), discrete=[s @ h @ np.linalg.inv(s)])


def made(name):
    p = projector(CASES[name](), backend=BACKENDS.get(name))
    assert type(p.filters[0]).__name__ == FILTERS[name]
    return p


def weight(p, seed=0, batch=3):
    rng = np.random.default_rng(seed)
    w = rng.standard_normal(full_shape(p.space, batch))
    return w + 1j * rng.standard_normal(w.shape) if p.space.is_complex else w


def as_dtype(w, dtype):
    if np.iscomplexobj(w):
        return w.astype({np.float32: np.complex64, np.float64: np.complex128}[dtype])
    return jnp.asarray(w, dtype) if dtype is not np.float64 else w


_split = jax.jit(lambda p, w: p.split(w))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "dtype"),
    [  # there are no half-precision complex numbers
        pytest.param(name, dtype, id=f"{name}-{np.dtype(dtype).name}")
        for name in CASES
        for dtype in LIMITS
        if dtype in (np.float32, np.float64) or not made(name).space.is_complex
    ],
)
def test_error_against_float64(name, dtype, record_property):
    """float32 1e-6, bfloat16 4e-3 and float16 5e-4 (rounding of the result), float64 1e-14."""
    p = made(name)
    w = weight(p)
    given = as_dtype(w, dtype)
    exact = np.asarray(given).astype(w.dtype)  # the same numbers
    expected = (dense(p) @ exact.reshape(p.dim, -1)).reshape(w.shape)
    # one compilation is faster than one for each operation
    kept, rest = p.split(given) if dtype is np.float64 else _split(p, given)
    assert kept.dtype == rest.dtype == given.dtype
    kept, rest = (np.asarray(x).astype(w.dtype) for x in (kept, rest))
    error = np.abs(kept - expected).max() / np.abs(w).max()
    record_property("error", float(error))
    assert error < LIMITS[dtype]
    assert np.abs(kept + rest - exact).max() / np.abs(w).max() < LIMITS[dtype]


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_float64_under_x64(name):
    """JAX arrays in float64: 1e-12, under jit too."""
    p = made(name)
    w = weight(p)
    expected = p(w)
    with jax.enable_x64(True):
        x = jnp.asarray(w)
        assert x.dtype == w.dtype
        out = jax.jit(lambda q, y: q(y))(p, x)
        assert out.dtype == w.dtype
        np.testing.assert_allclose(out, expected, atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_transformations(name):
    """jit, vmap, grad, and the projector as an argument or a constant."""
    p = made(name)
    w = jnp.asarray(as_dtype(weight(p), np.float32))
    expected = np.asarray(jax.jit(p)(w))
    limit = {"atol": 5e-6 * float(np.abs(w).max())}
    np.testing.assert_allclose(jax.jit(lambda q, x: q(x))(p, w), expected, **limit)
    many = jnp.stack([w, -2 * w], axis=-1)
    batched = jax.jit(jax.vmap(p, in_axes=-1))(many)
    np.testing.assert_allclose(batched[1], -2 * expected, atol=2 * limit["atol"])
    _, tangent = jax.jit(lambda x: jax.jvp(p, (x,), (x,)))(w)
    np.testing.assert_allclose(tangent, expected, **limit)
    if not p.space.is_complex:
        gradient = jax.jit(jax.grad(lambda x: 0.5 * jnp.sum(p(x) ** 2)))(w)
        np.testing.assert_allclose(gradient, expected, **limit)
    leaves, treedef = jax.tree.flatten(p)
    again = jax.tree.unflatten(treedef, leaves)
    np.testing.assert_allclose(jax.jit(again)(w), expected, **limit)
    assert hash(treedef) == hash(jax.tree.structure(made(name)))
    assert treedef == jax.tree.structure(made(name))


def test_half_precision_is_computed_in_float32():
    p = projector([v("so3")] * 3, softness=0.4)
    w = weight(p)
    for dtype in (jnp.bfloat16, jnp.float16):
        half = jnp.asarray(w, dtype)
        np.testing.assert_array_equal(p(half), p(half.astype(jnp.float32)).astype(dtype))


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
def test_softness_one_is_the_identity_to_the_bit(dtype):
    for name in ("spectral", "orbits", "dense", "pairs", "kernel"):
        p = made(name).at(softness=1.0)
        w = as_dtype(weight(p), dtype)
        np.testing.assert_array_equal(p(w) if name in ("spectral", "dense") else w, w)
        np.testing.assert_array_equal(_split(p, w)[0], w)


@pytest.mark.slow
def test_strict_weights_are_left_alone_in_float32():
    """Projecting again moves nothing by more than rounding; small residuals do not cancel."""
    for name in ("spectral", "orbits", "dense", "chebyshev"):
        p = made(name)
        w = np.asarray(_split(p, as_dtype(weight(p), np.float32))[0])
        np.testing.assert_allclose(_split(p, w)[0], w, atol=3e-6)
        tiny = 1e-4 * np.asarray(_split(p, as_dtype(weight(p, 1), np.float32))[1])
        measured = np.linalg.norm(np.asarray(_split(p, w + tiny)[1]))
        np.testing.assert_allclose(measured, np.linalg.norm(tiny), rtol=0.05)


def test_numpy_float64_needs_no_x64():
    """A NumPy float64 array is computed in float64 and comes back as NumPy, outside x64."""
    assert not jax.config.jax_enable_x64
    p = projector([v("s4")] * 3)
    w = weight(p)
    out = p(w)
    assert isinstance(out, np.ndarray)
    assert out.dtype == np.float64
    np.testing.assert_allclose(p(out), out, atol=1e-15)


_PMAP = """
import jax, jax.numpy as jnp, numpy as np, softeq_jax as sq
assert jax.device_count() == 8, jax.devices()
for name in ("so3", "s4", "d4"):
    v = sq.reps.vector(sq.groups.from_name(name))
    p = sq.projector("i o", {"i": 2 * v, "o": v * v}, softness=0.4)
    rng = np.random.default_rng(0)
    w = jnp.asarray(rng.standard_normal((8, 2 * v.dim, v.dim ** 2)), jnp.float32)
    traces = []
    def step(q, x):
        traces.append(q)
        loss, gradient = jax.value_and_grad(lambda y: 0.5 * jnp.sum(q(y) ** 2))(x)
        return jax.lax.pmean(gradient, "d"), jax.lax.psum(loss, "d")
    mapped = jax.pmap(step, axis_name="d", in_axes=(None, 0))
    for q in (p, p.at(softness=0.0), p.at(softness=1.0), p.at(cutoff=0.7, mask="heat")):
        if q.mask != p.mask:
            traces.clear()
        mean, total = jax.block_until_ready(mapped(q, w))
        expected = np.mean([q(q(x)) for x in w], axis=0)
        np.testing.assert_allclose(mean[5], expected, atol=1e-5)
        np.testing.assert_allclose(total[0], sum(0.5 * np.sum(np.square(q(x))) for x in w), 1e-5,
                                   1e-6)
        assert len(traces) == 1, (name, len(traces))
print("fine")
"""


@pytest.mark.slow
def test_pmap_on_eight_virtual_devices():
    """In a process of its own, whose whole group is killed at the time limit."""
    root = pathlib.Path(__file__).parents[2]
    env = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": "--xla_force_host_platform_device_count=8",
        "PYTHONPATH": os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")]),
    }
    process = subprocess.Popen(
        [sys.executable, "-c", _PMAP], env=env, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        output, _ = process.communicate(timeout=120)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
        pytest.fail(f"not done after 120 s\n{output}")
    assert output.strip().endswith("fine"), output[-3000:]
