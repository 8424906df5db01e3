"""Networks with one fault each, and what a doctor should find."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from softeq_jax import groups, measures, reps

RNG = np.random.default_rng(7)
C4, D4, SO3, O3, LORENTZ = (groups.from_name(n) for n in ("c4", "d4", "so3", "o3", "lorentz"))


class Case(NamedTuple):
    """A function, its inputs and what is declared; for a sick one kind and layer of the fault."""

    f: Callable[..., Any]
    x: np.ndarray
    group: Any
    input: Any = None
    output: Any = None
    kind: str | None = None
    layer: str | None = None


def normal(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


def symmetric(*shape: int, flips: bool = True) -> np.ndarray:
    """A kernel HWIO that quarter turns (and flips) leave alone."""
    k = normal(*shape)
    k = sum(np.rot90(k, q, (0, 1)) for q in range(4)) / 4
    return (k + k[:, ::-1]) / 2 if flips else k


def conv(x, kernel, stride=1, padding="SAME"):
    return jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), padding, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


class Net(nn.Module):
    """Two convolutions with symmetric kernels, a pool and a dense layer; one fault is chosen."""

    fault: str = ""

    @nn.compact
    def __call__(self, x):
        fault = self.fault

        def sym(key, shape, dtype=jnp.float32):
            k = jax.random.normal(key, shape, dtype)
            k = sum(jnp.rot90(k, q, (0, 1)) for q in range(4)) / 4
            return (k + k[:, ::-1]) / 2

        free = nn.initializers.normal(1.0)
        init = dict.fromkeys(("first", "second"), sym)
        if fault in init:
            init[fault] = free
        x = nn.Conv(4, (3, 3), kernel_init=init["first"], bias_init=free, name="first")(x)
        x = nn.relu(x)
        if fault == "embedding":
            x = nn.Module.param(self, "place", free, x.shape[1:]) + x
        if fault == "dropout":
            x = nn.Dropout(0.5, deterministic=False)(x)
        if fault == "batchnorm":
            x = nn.BatchNorm(use_running_average=False, name="norm")(x)
        if fault == "strided":
            x = nn.Conv(4, (3, 3), strides=2, kernel_init=sym, name="down")(x)
        if fault == "maxpool":
            x = nn.max_pool(x, (3, 3), (2, 2), "SAME")
        if fault == "skewpad":
            x = nn.Conv(4, (3, 3), padding=((1, 0), (1, 0)), kernel_init=sym, name="skew")(x)
        x = nn.Conv(4, (3, 3), kernel_init=init["second"], name="second")(x)
        x = nn.gelu(x)
        x = x.reshape(len(x), -1) if fault == "flat" else x.mean((1, 2))
        return nn.Dense(3, name="head", kernel_init=free)(x)


def network(fault: str, size: int, linen: bool = True, **more: Any) -> Callable[..., Any]:
    net, x = Net(fault), jnp.zeros((2, size, size, 2))
    keys = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
    variables = net.init(keys, x)
    rngs = {"dropout": jax.random.key(2)} if fault == "dropout" else None
    mutable = ["batch_stats"] if fault == "batchnorm" else False
    if linen and not rngs and not mutable:
        return measures.linen(net, variables)
    if mutable:
        return lambda x: net.apply(variables, x, mutable=mutable)[0]
    return lambda x: net.apply(variables, x, rngs=rngs)


def images(size: int = 9, channels: int = 2, n: int = 3) -> np.ndarray:
    return normal(n, size, size, channels)


def noisy():
    keys = iter(jax.random.split(jax.random.key(0), 99))
    return lambda x: x.mean((1, 2)) * (1 + jax.random.normal(next(keys), (len(x), x.shape[-1])))


def counting():
    calls = []
    return lambda x: calls.append(0) or x.mean((1, 2)) + len(calls)


def invariants(x):
    return jnp.sqrt((x**2).sum(-1))


K, K2, PLACE = symmetric(3, 3, 2, 4), symmetric(3, 3, 4, 2), normal(9, 9, 2)
K9, KK = symmetric(3, 3, 2, 9), symmetric(3, 3, 2, 2)
LIFT = normal(3, 3, 2, 1)


def lifted(turn: int):
    """A lifting convolution with kernels turned by ``turn`` quarters from one to the next."""
    bank = np.concatenate([np.rot90(LIFT, turn * q, (0, 1)) for q in range(4)], -1)
    return lambda x: nn.relu(conv(x, bank))


def group_convolution(x):
    """Lifted the right way, then a group convolution whose shifts go the wrong way."""
    y = lifted(1)(x)
    bank = normal_bank
    out = [
        sum(conv(y[..., j : j + 1], np.rot90(bank[(j + q) % 4], q, (0, 1))) for j in range(4))
        for q in range(4)
    ]
    return jnp.concatenate(out, -1)


normal_bank = normal(4, 3, 3, 1, 1)


def gradient(x):
    """Differences along x and y (up) of the sum of the channels: a vector field."""
    dx = conv(x, np.zeros((3, 3, 2, 1), np.float32) + np.array([-1, 0, 1.0])[None, :, None, None])
    dy = conv(x, np.zeros((3, 3, 2, 1), np.float32) + np.array([1, 0, -1.0])[:, None, None, None])
    return jnp.concatenate([dx, dy], -1).astype(x.dtype)


def forces(x):
    """Central forces between points."""
    apart = x[:, :, None] - x[:, None]
    return (apart * jnp.exp(-(apart**2).sum(-1, keepdims=True))).sum(2)


W3, B3 = normal(3, 3), normal(3)
CHANNELS = normal(4, 5)
CROSS = np.zeros((9, 9, 2, 1), np.float32)
CROSS[4], CROSS[:, 4] = 1, 1


def vector_net(fault: str):
    """Vector neurons ``[n, p, 3] -> [n, 3]``."""

    def f(x):
        with jax.named_scope("mix"):
            x = jnp.einsum("npd,pc->ncd", x, CHANNELS)
            x = x + B3 if fault == "bias" else x
        with jax.named_scope("gate"):
            gate = nn.relu(x) if fault == "relu" else x * nn.sigmoid((x**2).sum(-1, keepdims=True))
            x = gate
        with jax.named_scope("norm"):
            if fault == "layernorm":
                x = (x - x.mean(-1, keepdims=True)) / jnp.sqrt(x.var(-1, keepdims=True) + 1e-3)
            if fault == "free":
                x = x @ W3
        with jax.named_scope("pool"):
            if fault == "argmax":
                best = jnp.argmax(x[..., 0], -1)
                return jnp.take_along_axis(x, best[:, None, None], 1)[:, 0]
            if fault == "sort":
                return jnp.sort(x, 1)[:, 0]
            return x.sum(1)

    return f


def tapped(x):
    x = measures.tap(conv(x, K), "one")
    x = measures.tap(nn.relu(conv(x, symmetric_free)), "two")
    return measures.tap(x.mean((1, 2)), "three")


symmetric_free = normal(3, 3, 4, 4)
V2, V3, O3V = reps.vector(D4), reps.vector(SO3), reps.vector(O3)
AXIAL = reps.from_function(O3, lambda g: np.linalg.det(g) * g, 3)
LV = reps.vector(LORENTZ)
METRIC = np.diag([1.0, -1, -1, -1]).astype(np.float32)
NCHW = images().transpose(0, 3, 1, 2)
M, L = "model", "layout"
SWAP = np.array([1, 0])


def cancelling(x):
    """Squared distances as ``|a|^2 + |b|^2 - 2 a b``, far from the origin."""
    norms = (x**2).sum(-1)
    with jax.named_scope("distances"):
        return norms[:, :, None] + norms[:, None] - 2 * jnp.einsum("npd,nqd->npq", x, x)


def bfloat(x):
    with jax.named_scope("gram"):
        y = x.astype(jnp.bfloat16)
        gram = jnp.einsum("npd,nqd->npq", y, y)
    return gram.astype(jnp.float32).sum((1, 2))


def narrow_layer(x):
    x = jnp.einsum("npd,pc->ncd", x, CHANNELS)
    with jax.named_scope("narrow"):
        x = x.astype(jnp.bfloat16)
        x = x * (x**2).sum(-1, keepdims=True)
    return x.astype(jnp.float32).sum(1)


def mixed_norm():
    """Scalars and vectors side by side, more than 128 channels, normalized together."""
    w = normal(2, 40)

    def f(x):
        with jax.named_scope("gate"):
            lengths = (x**2).sum(-1, keepdims=True)
            v = x[..., None, :] * jnp.tanh(lengths * w[0])[..., None]
            both = jnp.concatenate([jnp.sin(lengths * w[1]), v.reshape(*v.shape[:2], -1)], -1)
        with jax.named_scope("norm"):
            y = both - both.mean(-1, keepdims=True)
        with jax.named_scope("pool"):
            return (y[..., 40:].reshape(*v.shape) * y[..., :40, None]).sum((1, 2))

    return f


def brightest(x):
    """Row and column of the brightest pixel of the first channel."""
    flat = x[..., 0].reshape(len(x), -1).argmax(1)
    return jnp.stack([flat // x.shape[2], flat % x.shape[2]], -1).astype(x.dtype)


SICK: dict[str, Case] = {
    "a free first kernel": Case(network("first", 9), images(), "c4", kind=M, layer="first"),
    "a free second kernel": Case(network("second", 9), images(), "d4", kind=M, layer="second"),
    "raw apply": Case(network("second", 9, linen=False), images(), "d4", kind=M, layer="second"),
    "a flattened head": Case(network("flat", 9), images(), "c4", kind=M, layer="head"),
    "an embedding of places": Case(network("embedding", 9), images(), "d4", kind=M, layer="add"),
    "a bias per pixel": Case(lambda x: conv(x + PLACE, K), images(), "c4", kind=M),
    "dropout left on": Case(network("dropout", 9), images(), "c4", kind="state", layer="Dropout_0"),
    "batch statistics": Case(network("batchnorm", 9), images(), "c4", kind="state", layer="norm"),
    "noise": Case(noisy(), images(), "c4", kind="state"),
    "a counter": Case(counting(), images(), "c4", kind="state"),
    "a stride on an even side": Case(
        network("strided", 8), images(8), "c4", kind="position", layer="down"
    ),
    "a pool on an even side": Case(
        network("maxpool", 8), images(8), "d4", kind="position", layer="max_pool"
    ),
    "a shift": Case(lambda x: jnp.roll(x, 1, 1), images(), "c4", kind=M),
    "a map declared invariant": Case(
        lambda x: (x**2).sum(-1), images(), D4, None, "invariant", "representation"
    ),
    "a double angle as a vector": Case(
        lambda x: jnp.stack([x[:, 0] ** 2 - x[:, 1] ** 2, 2 * x[:, 0] * x[:, 1]], -1),
        normal(3, 2),
        "so2",
        "vector",
        "vector",
        "representation",
    ),
    "a skew padding": Case(network("skewpad", 9), images(), "c4", kind="position", layer="skew"),
    "every second pixel": Case(lambda x: conv(x, K)[:, ::2, ::2], images(8), "c4", kind="position"),
    "a strided convolution": Case(lambda x: conv(x, K, 2), images(8), "d4", kind="position"),
    "channels first": Case(
        lambda x: conv(x.transpose(0, 2, 3, 1), K), NCHW, "c4", "image", "image", L
    ),
    "channels first, pooled": Case(lambda x: x.mean((2, 3)), NCHW, "d4", kind=L),
    "output channels first": Case(
        lambda x: conv(x, K9).transpose(0, 3, 1, 2), images(), "d4", kind=L
    ),
    "rows and columns exchanged": Case(
        lambda x: conv(x, K).transpose(0, 2, 1, 3)[..., ::-1], images(), "d4", kind=L
    ),
    "components (y, x)": Case(
        lambda x: gradient(x)[..., ::-1], images(), D4, output=measures.Image(fiber=V2), kind=L
    ),
    "vectors that turn back": Case(
        lambda x: gradient(x) * np.array([1.0, -1]),
        images(),
        C4,
        output=measures.Image(fiber=reps.vector(C4)),
        kind="representation",
    ),
    "scalars declared, vectors returned": Case(
        gradient, images(), D4, output="image", kind="representation"
    ),
    "vectors declared, scalars returned": Case(
        lambda x: conv(x, KK), images(), D4, output=V2, kind="representation"
    ),
    "kernels turned the wrong way": Case(
        lifted(-1), images(), C4, output=reps.regular(C4), kind="representation"
    ),
    "shifts the wrong way": Case(group_convolution, images(), C4, output=reps.regular(C4), kind=M),
    "forces as axial vectors": Case(
        lambda x: forces(x)[:, 0], normal(3, 5, 3), O3, O3V, AXIAL, "representation"
    ),
    "a cross product as a vector": Case(
        lambda x: jnp.cross(x[:, 0], x[:, 1]), normal(3, 2, 3), O3, O3V, O3V, "representation"
    ),
    "a triple product as a scalar": Case(
        lambda x: jnp.linalg.det(x)[:, None],
        normal(3, 3, 3),
        O3,
        O3V,
        "invariant",
        "representation",
    ),
    "momenta as positions": Case(
        lambda x: x @ METRIC, normal(3, 4), LORENTZ, LV, LV, "representation"
    ),
    "dipoles as scalars": Case(
        lambda x: (x * invariants(x)[..., None]).sum(1),
        normal(3, 4, 3),
        SO3,
        V3,
        "invariant",
        "representation",
    ),
    "energies as vectors": Case(
        lambda x: jnp.stack([invariants(x).sum(1)] * 3, -1),
        normal(3, 4, 3),
        SO3,
        V3,
        V3,
        "representation",
    ),
    "component by component": Case(
        lambda x: forces(x).transpose(0, 2, 1).reshape(len(x), -1),
        normal(3, 4, 3),
        SO3,
        V3,
        4 * V3,
        L,
    ),
    "permuted fields": Case(
        lambda x: jnp.concatenate([invariants(x).sum(1)[:, None], x.sum(1)], -1),
        normal(3, 4, 3),
        SO3,
        V3,
        V3 + reps.trivial(SO3),
        L,
    ),
    "axes exchanged": Case(
        lambda x: forces(x).transpose(0, 2, 1),
        normal(3, 4, 3),
        SO3,
        V3,
        reps.points(SO3, 4),
        L,
    ),
    "a bias on vectors": Case(vector_net("bias"), normal(3, 4, 3), SO3, V3, V3, M, "mix"),
    "a ReLU on components": Case(vector_net("relu"), normal(3, 4, 3), SO3, V3, V3, M, "gate"),
    "a norm over components": Case(
        vector_net("layernorm"), normal(3, 4, 3), SO3, V3, V3, M, "norm"
    ),
    "a free matrix": Case(vector_net("free"), normal(3, 4, 3), SO3, V3, V3, M, "norm"),
    "the first by its x": Case(vector_net("argmax"), normal(3, 4, 3), SO3, V3, V3, M, "pool"),
    "sorted components": Case(vector_net("sort"), normal(3, 4, 3), SO3, V3, V3, M, "pool"),
    "not centered": Case(lambda x: invariants(x - B3).sum(1), normal(3, 4, 3), SO3, V3, kind=M),
    "taps": Case(tapped, images(), "c4", kind=M, layer="two"),
    "bfloat16 products": Case(bfloat, normal(3, 4, 3), SO3, V3, None, "precision", "gram"),
    "a layer in bfloat16": Case(narrow_layer, normal(3, 4, 3), SO3, V3, V3, "precision", "narrow"),
    "digits that cancel": Case(
        cancelling, normal(3, 4, 3) + 300, SO3, V3, "invariant", "precision", "distances"
    ),
    "squares turned by 45 degrees": Case(
        lambda x: conv(x, CROSS), images(15), "c8", kind="interpolation"
    ),
    "a corner of an image as a vector": Case(
        brightest, images(8), D4, "image", reps.vector(D4), "representation"
    ),
    "a point of an image as scores": Case(
        lambda x: (brightest(x) + 0.5) / 8, images(8), C4, "image", "invariant", "representation"
    ),
    "a norm over many mixed fields": Case(mixed_norm(), normal(4, 40, 3), SO3, V3, V3, M, "norm"),
}
