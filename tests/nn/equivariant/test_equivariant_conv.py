"""Steerable convolutions on voxels and pixels."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen

import softeq_jax as sq
from softeq_jax.nn import equivariant as eq

G, R = sq.groups, sq.reps
O3, SO3, FULL, OCTAHEDRAL = G.o(3), G.so(3), G.full_octahedral(), G.octahedral()


def hidden(group):
    """Scalars and vectors, of both parities where there are parities."""
    if group == SO3:
        return R.trivial(group, 2) + 3 * R.vector(group)
    odd = R.irrep(group, "0o") + R.irrep(group, "1e")
    return R.trivial(group, 2) + 2 * R.vector(group) + odd


class Net(linen.Module):
    """Two convolutions with a gate and a norm between them."""

    group: G.Group
    side: int = 3
    strides: int = 1
    project: bool = True

    @property
    def output(self):
        return R.trivial(self.group, 2) + R.vector(self.group)

    @linen.compact
    def __call__(self, x):
        inside = hidden(self.group)
        scalars = R.trivial(self.group, x.shape[-1])
        conv = functools.partial(eq.EquivariantConv, side=self.side, project=self.project)
        x = conv(scalars, eq.gated_input(inside), strides=self.strides)(x)
        x = eq.FieldLayerNorm(inside)(eq.Gated(inside)(x))
        return conv(inside, self.output)(x)


def moved(rep, g, x, lattice=FULL):
    """A field ``[n, d, h, w, dim]`` under a symmetry of the cube."""
    x = R.voxels(lattice, x.shape[1:4]).apply(g, x, axes=(1, 2, 3))
    return rep.apply(g, x, axes=(x.ndim - 1,))


def anything(net, x, dtype, seed=0):
    """Variables of a network as they are stored after any training, without its initializers."""
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(lambda x: net.init(jax.random.key(0), x), x)
    return jax.tree.map(
        lambda s: (rng.normal(size=s.shape) / np.sqrt(max(s.size / s.shape[-1], 1))).astype(dtype),
        shapes,
    )


@pytest.mark.slow(6)
@pytest.mark.parametrize(
    ("group", "side", "strides", "size"),
    [(O3, 3, 1, 5), (O3, 3, 2, 7), (O3, 4, 1, 6), (SO3, 3, 1, 5)],
    ids=str,
)
def test_exact_at_the_symmetries_of_the_cube(group, side, strides, size):
    """In double precision, for whatever is stored; 24 of them under SO(3)."""
    net, lattice = Net(group, side, strides), FULL if group == O3 else OCTAHEDRAL
    scalars, x = R.trivial(group, 2), np.random.default_rng(0).normal(size=(1, *(size,) * 3, 2))
    elements = lattice.elements()[:: 1 if (side, strides) == (3, 1) else 5]
    with jax.enable_x64(True):
        variables = anything(net, x, np.float64)
        f = jax.jit(lambda x: net.apply(variables, x))
        y = np.asarray(f(x))
        assert y.dtype == np.float64
        for g in elements:
            away = f(moved(scalars, g, x, lattice)) - moved(net.output, g, y, lattice)
            assert np.abs(away).max() < 1e-10 * np.abs(y).max()


def blobs(size, turn):
    """Three Gaussians well inside a cube, turned; ``[size, size, size, 1]``."""
    i = np.arange(size) - (size - 1) / 2
    points = np.stack(np.meshgrid(i, i, i, indexing="ij"), axis=-1)
    centers = np.array([[1.6, 0.5, 0.3], [-0.8, 1.3, 0.2], [0.3, -0.4, -1.2]])
    weights = (1.0, 0.7, -0.8)
    return sum(
        w * np.exp(-np.sum((points - turn @ c) ** 2, -1) / 2 / 1.4**2)
        for w, c in zip(weights, centers, strict=True)
    )[..., None].astype(np.float32)


@pytest.mark.slow(8)
def test_nearly_exact_under_rotations_of_smooth_volumes():
    """Means over space, of scalars and of vectors, against those of the turned volume."""
    turns = np.linalg.qr(np.random.default_rng(1).normal(size=(4, 3, 3)))[0]
    x = np.stack([blobs(13, g) for g in [np.eye(3), *turns]])
    errors = []
    for project in (True, False):
        net = Net(O3, project=project)
        variables = anything(net, x, np.float32)
        y = np.asarray(jax.jit(net.apply)(variables, x))[:, 2:-2, 2:-2, 2:-2].mean(axis=(1, 2, 3))
        expected = np.stack([net.output.apply(g, y[0]) for g in turns])
        errors.append(np.max(np.linalg.norm(y[1:] - expected, axis=1) / np.linalg.norm(y[0])))
    assert errors[0] < 0.03
    assert errors[1] > 10 * errors[0]


def test_parity_is_a_difference():
    """O(3) knows pseudoscalars; SO(3), without mirrors, takes them for scalars."""

    def rank(group, a, b):
        return eq.conv_projectors(R.irrep(group, a), R.irrep(group, b), 3)[0].rank()

    copies = {i.degree: c.shape[1] for i, c in R.voxels(O3, (3, 3, 3)).harmonics()}
    assert rank(O3, "0e", "0o") == 0
    assert rank(O3, "0e", "0e") == rank(SO3, 0, 0) == copies[0]
    assert rank(O3, "1o", "1e") == copies[1]  # like the curl
    assert rank(O3, "1o", "1o") == copies[0] + copies[2]
    assert rank(SO3, 1, 1) == copies[0] + copies[1] + copies[2]


def test_mirrors_tell_the_two_apart():
    mirror, x = np.diag([-1.0, 1, 1]), np.random.default_rng(0).normal(size=(1, 5, 5, 5, 6))
    with jax.enable_x64(True):
        for group, commutes in ((O3, True), (SO3, False)):
            rep, as_o3 = 2 * R.vector(group), 2 * R.vector(O3)
            layer = eq.EquivariantConv(rep, rep)
            variables = anything(layer, x, np.float64)
            y = np.asarray(layer.apply(variables, x))
            away = layer.apply(variables, moved(as_o3, mirror, x)) - moved(as_o3, mirror, y)
            assert (np.abs(away).max() < 1e-10) == commutes
            assert commutes or np.abs(away).max() > 0.1


def test_the_curl_of_a_turning_flow():
    """``omega x r`` becomes a multiple of omega, the same for each: its curl is ``2 omega``."""
    i = np.arange(7.0) - 3
    r = np.stack(np.meshgrid(i, i, i, indexing="ij"), axis=-1)
    flow = np.stack([np.cross(omega, r) for omega in np.eye(3)])
    layer = eq.EquivariantConv(R.vector(O3), R.irrep(O3, "1e"))
    variables = layer.init(jax.random.key(1), flow)
    curl = np.asarray(layer.apply(variables, flow))[:, 2:-2, 2:-2, 2:-2]
    size = curl[0, 0, 0, 0]
    yzx = np.eye(3)[:, [1, 2, 0]]  # degree 1 is (y, z, x)
    c = float(size @ yzx[0])
    assert abs(c) > 0.05
    np.testing.assert_allclose(curl, np.broadcast_to(c * yzx[:, None, None, None], curl.shape),
                               atol=1e-4 * abs(c))  # fmt: skip


@pytest.mark.parametrize("group", [O3, G.o(2)], ids=str)
def test_white_noise_keeps_its_variance(group):
    rep = R.trivial(group, 8) + 8 * R.vector(group)
    layer = eq.EquivariantConv(rep, rep, padding=0)
    d = 2 if group == G.o(2) else 3
    x = (
        np.random.default_rng(0)
        .normal(size=(2, *(8 if d == 3 else 24,) * d, rep.dim))
        .astype(np.float32)
    )
    y, variables = layer.init_with_output(jax.random.key(0), x)
    squares = np.mean(np.asarray(y) ** 2, axis=tuple(range(d + 1)))
    assert 0.8 < squares[:8].mean() < 1.2
    assert 0.8 < squares[8:].mean() < 1.2
    kernel = variables["params"]["kernel"]
    strict, _ = eq.conv_projectors(rep, rep, 3)
    np.testing.assert_allclose(strict(kernel), kernel, atol=1e-5)


def test_strict_is_the_plan_of_the_free_layer():
    rep = R.trivial(O3, 2) + R.vector(O3)
    strict = eq.EquivariantConv(rep, rep)
    x = np.random.default_rng(0).normal(size=(1, 4, 4, 4, 5)).astype(np.float32)
    params = strict.init(jax.random.key(0), x)["params"]
    params = jax.tree.map(lambda p: p + jax.random.normal(jax.random.key(1), p.shape), params)
    plan = sq.plan(params, eq.conv_rules("", rep, rep, 3))
    free = strict.copy(project=False)
    found = free.apply({"params": plan.project(params)}, x)
    np.testing.assert_allclose(found, strict.apply({"params": params}, x), atol=1e-4)
    assert np.abs(found - free.apply({"params": params}, x)).max() > 0.1
    soft = eq.conv_rules("a", rep, rep, 3, use_bias=False, softness=0.3, mask="heat")
    assert list(soft) == ["a/kernel"]
    assert soft["a/kernel"].softness == pytest.approx(0.3, abs=0.01)


@pytest.mark.parametrize("name", ["o2", "c4"])
def test_images_turn_by_quarters(name):
    group = G.from_name(name)
    scalars, inside = R.trivial(group, 2), R.trivial(group, 2) + 2 * R.vector(group)
    first, second = eq.EquivariantConv(scalars, inside), eq.EquivariantConv(inside, inside)
    x = np.random.default_rng(0).normal(size=(2, 6, 6, 2)).astype(np.float32)
    y, v1 = first.init_with_output(jax.random.key(0), x)
    v2 = second.init(jax.random.key(1), y)

    def f(x):
        return second.apply(v2, first.apply(v1, x))

    g = group.element(np.pi / 2)
    turned = inside.apply(g, np.rot90(f(x), axes=(1, 2)), axes=(3,))
    np.testing.assert_allclose(f(np.rot90(x, axes=(1, 2))), turned, atol=1e-4)


@pytest.mark.parametrize(
    ("changes", "shape", "message"),
    [
        ({}, (1, 3, 3, 3, 4), r"must be \[..., 3\], got shape"),
        ({}, (3, 3, 3), r"\[..., d, h, w, channels\], got shape"),
        ({"side": 0}, (1, 3, 3, 3, 3), "the side of a kernel must be a positive integer, got 0"),
        ({"side": 11}, (1, 3, 3, 3, 3), "tried up to 9 voxels"),
        ({"strides": 0}, (1, 3, 3, 3, 3), "strides must be a positive integer, got 0"),
        ({"padding": -1}, (1, 3, 3, 3, 3), "padding must be an integer of at least 0, got -1"),
        ({"output": R.vector(SO3)}, (1, 3, 3, 3, 3), "one group"),
        ({"output": R.vector(G.su(2))}, (1, 3, 3, 3, 3), "must be real"),
    ],
)
def test_bad_input(changes, shape, message):
    layer = eq.EquivariantConv(**({"input": R.vector(O3), "output": R.vector(O3)} | changes))
    with pytest.raises(ValueError, match=message):
        layer.init(jax.random.key(0), jnp.ones(shape))
