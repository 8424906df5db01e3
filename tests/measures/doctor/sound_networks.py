"""Networks that are equivariant as declared, of every kind that the sick ones are of."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from sick_networks import (
    AXIAL,
    C4,
    D4,
    LORENTZ,
    LV,
    METRIC,
    NCHW,
    O3,
    O3V,
    SO3,
    V2,
    V3,
    Case,
    K,
    conv,
    forces,
    gradient,
    images,
    invariants,
    lifted,
    network,
    normal,
    symmetric,
    vector_net,
)

from softeq_jax import groups, measures, reps

S5 = groups.symmetric(5)
SETS = reps.vector(S5)
HEAD, ONE = normal(4, 3), symmetric(1, 1, 2, 3)
EVEN, symmetric_4 = symmetric(4, 4, 2, 3), symmetric(4, 4, 2, 3)
_free = normal(3, 3, 2, 3)
MIRROR = _free + _free[:, ::-1]
HALF = MIRROR + MIRROR[::-1, ::-1]
ISO = np.exp(-sum(np.square(np.mgrid[-3:4, -3:4])) / 4.0)[:, :, None, None].astype(np.float32)
PLACES = symmetric(9, 9, 1, 2)[:, :, 0]
GATE = normal(5, 5)
SKEW = np.array([[0, 1.0], [-1, 0]], np.float32)
BANK = normal(4, 3, 3, 1, 1)


def pooled(pool, **more):
    return lambda x: pool(conv(x, K), **more)


def regular_convolution(x):
    y = lifted(1)(x)
    out = [
        sum(conv(y[..., j : j + 1], np.rot90(BANK[(j - q) % 4], q, (0, 1))) for j in range(4))
        for q in range(4)
    ]
    return jnp.concatenate(out, -1)


def attention(x):
    """Attention over all pixels, without places."""
    t = x.reshape(len(x), -1, x.shape[-1])
    weights = jax.nn.softmax(t @ jnp.swapaxes(t, 1, 2), -1)
    return (weights @ t).reshape(x.shape)


def layer_norm(x):
    return (x - x.mean(-1, keepdims=True)) / jnp.sqrt(x.var(-1, keepdims=True) + 1e-3)


def group_norm(x):
    return x / jnp.sqrt((x**2).mean((1, 2, 3), keepdims=True) + 1e-5)


def squeeze(x):
    y = conv(x, K)
    return y * nn.sigmoid(y.mean((1, 2), keepdims=True))


def centered(x):
    x = x - x.mean(1, keepdims=True)
    return (x * nn.softplus((x**2).sum(-1, keepdims=True))).sum(1) + x[:, 0]


def potential(x):
    apart = (x[:, :, None] - x[:, None]) ** 2
    return jnp.exp(-apart.sum(-1)).sum((1, 2))


def gradient_forces(x):
    return -jax.grad(lambda x: potential(x).sum())(x)


def lorentz_norms(x):
    return jnp.einsum("ni,ij,nj->n", x, METRIC, x)


def deep_sets(x):
    return jnp.tanh(x + x.mean(1, keepdims=True))


def sum_net(x):
    return nn.relu(jnp.concatenate([x.max(1), x.mean(1)], -1))


def stream(x):
    """Scalars and vectors, each made of both."""
    norms = invariants(x)
    return jnp.concatenate([(x * norms[..., None]).sum(1), norms.max(1)[:, None]], -1)


def looped(x):
    return jax.lax.fori_loop(0, 3, lambda _, y: jnp.tanh(conv(y, KK)), x)


KK = symmetric(3, 3, 2, 2)
CLOUD = functools.partial(normal, 3, 4, 3)
IMAGE = images()
SOUND: dict[str, Case] = {
    "a network": Case(network("", 9), IMAGE, "c4"),
    "a network under D4": Case(network("", 9), IMAGE, D4),
    "a network on an even side": Case(network("", 8), images(8), D4),
    "raw apply": Case(network("", 9, linen=False), IMAGE, D4),
    "a stride on an odd side": Case(network("strided", 9), IMAGE, D4),
    "a pool on an odd side": Case(network("maxpool", 9), IMAGE, D4),
    "a network under D2": Case(network("", 9), IMAGE, "d2"),
    "a network under SO(2)": Case(network("", 9), IMAGE, "so2"),
    "a convolution": Case(lambda x: conv(x, K), IMAGE, C4),
    "no padding": Case(lambda x: conv(x, K, 1, "VALID"), IMAGE, D4),
    "an even kernel": Case(lambda x: conv(x, EVEN, 1, "VALID"), IMAGE, D4),
    "stride 2, odd": Case(lambda x: conv(x, K, 2), IMAGE, D4),
    "stride 2, even kernel, even": Case(lambda x: conv(x, EVEN, 2), images(8), D4),
    "patches": Case(lambda x: conv(x, symmetric_4, 4, "VALID"), images(8), D4),
    "every second of nine": Case(lambda x: x[:, ::2, ::2], IMAGE, D4),
    "a crop": Case(lambda x: x[:, 1:-1, 1:-1], IMAGE, D4),
    "average pool": Case(pooled(nn.avg_pool, window_shape=(2, 2), strides=(2, 2)), images(8), D4),
    "max pool": Case(pooled(nn.max_pool, window_shape=(3, 3), strides=(2, 2)), IMAGE, D4),
    "global pools": Case(lambda x: jnp.concatenate([x.max((1, 2)), x.mean((1, 2))], -1), IMAGE, D4),
    "a flip through a rectangle": Case(lambda x: conv(x, MIRROR), normal(3, 6, 9, 2), "d1"),
    "a half turn of a rectangle": Case(lambda x: conv(x, HALF), normal(3, 6, 9, 2), "c2"),
    "places that are symmetric": Case(lambda x: conv(x + PLACES, K), IMAGE, D4),
    "resized": Case(lambda x: jax.image.resize(x, (3, 18, 18, 2), "linear"), IMAGE, D4),
    "attention": Case(attention, IMAGE, D4),
    "norm of channels": Case(layer_norm, IMAGE, D4),
    "norm of the image": Case(group_norm, IMAGE, D4),
    "squeeze and excite": Case(squeeze, IMAGE, D4),
    "a loop": Case(looped, IMAGE, D4),
    "under jit": Case(jax.jit(squeeze), IMAGE, D4),
    "NCHW, declared": Case(
        lambda x: conv(x.transpose(0, 2, 3, 1), K).transpose(0, 3, 1, 2),
        NCHW,
        D4,
        measures.Image((2, 3), 1),
        measures.Image((2, 3), 1),
    ),
    "a representation of images": Case(
        lambda x: conv(x, K), IMAGE, None, reps.image(D4, (9, 9)), reps.image(D4, (9, 9))
    ),
    "a gradient": Case(gradient, IMAGE, D4, "image", V2),
    "its norm": Case(lambda x: invariants(gradient(x))[..., None], IMAGE, D4),
    "a vector field in and out": Case(
        lambda x: x * (x**2).sum(-1, keepdims=True), IMAGE, D4, V2, measures.Image(fiber=V2)
    ),
    "a turned field": Case(
        lambda x: x @ SKEW, IMAGE, C4, reps.vector(C4), measures.Image(fiber=reps.vector(C4))
    ),
    "lifted": Case(lifted(1), IMAGE, C4, None, reps.regular(C4)),
    "lifted, pooled": Case(lambda x: lifted(1)(x).max(-1).mean((1, 2)), IMAGE, C4),
    "a group convolution": Case(regular_convolution, IMAGE, C4, None, reps.regular(C4)),
    "tokens": Case(
        lambda x: x - x.mean(1, keepdims=True),
        normal(3, 9, 5),
        D4,
        measures.Tokens(),
        measures.Tokens(),
    ),
    "isotropic under SO(2)": Case(lambda x: conv(x[..., :1], ISO), images(15), "so2"),
    "isotropic under C12": Case(lambda x: conv(x[..., :1], ISO) ** 2, images(15), "c12"),
    "pooled under C8": Case(lambda x: (x**2).mean((1, 2)), images(15), "c8"),
    "bfloat16 inputs": Case(
        lambda x: conv(x, jnp.asarray(K, jnp.bfloat16)), np.asarray(jnp.bfloat16(IMAGE)), D4
    ),
    "forces": Case(forces, CLOUD(), O3, O3V, reps.points(O3, 4)),
    "forces, nothing declared": Case(forces, CLOUD(), "o3"),
    "forces of a potential": Case(gradient_forces, CLOUD(), SO3, V3, V3),
    "its energy": Case(potential, CLOUD(), O3, O3V, "invariant"),
    "vector neurons": Case(vector_net(""), CLOUD(), SO3, V3, V3),
    "centered": Case(centered, CLOUD(), O3, O3V, O3V),
    "a cross product": Case(lambda x: jnp.cross(x[:, 0], x[:, 1]), normal(3, 2, 3), O3, O3V, AXIAL),
    "a cross product of rotations": Case(
        lambda x: jnp.cross(x[:, 0], x[:, 1]), normal(3, 2, 3), SO3, V3, V3
    ),
    "a triple product": Case(lambda x: jnp.linalg.det(x), normal(3, 3, 3), SO3, V3, "invariant"),
    "an inertia tensor": Case(
        lambda x: jnp.einsum("npi,npj->nij", x, x).reshape(len(x), 9),
        CLOUD(),
        O3,
        O3V,
        reps.tensor(O3, 2),
    ),
    "scalars and vectors": Case(stream, CLOUD(), SO3, V3, V3 + reps.trivial(SO3)),
    "flat vectors": Case(
        lambda x: forces(x.reshape(-1, 4, 3)).reshape(-1, 12), normal(3, 12), SO3, 4 * V3, 4 * V3
    ),
    "momenta": Case(lambda x: x @ METRIC, normal(3, 4), LORENTZ, LV, LV.dual),
    "masses": Case(lorentz_norms, normal(3, 4), LORENTZ, LV, "invariant"),
    "scaled momenta": Case(
        lambda x: x * jnp.tanh(lorentz_norms(x))[:, None], normal(3, 4), LORENTZ, LV, LV
    ),
    "a set": Case(
        deep_sets, normal(3, 5, 2), S5, measures.Fiber(SETS, (1,)), measures.Fiber(SETS, (1,))
    ),
    "a set, pooled": Case(sum_net, normal(3, 5, 2), S5, measures.Fiber(SETS, (1,)), "invariant"),
    "a graph": Case(lambda x: jnp.tanh(x @ x), normal(3, 5, 5), S5, SETS * SETS, SETS * SETS),
    "sorted by norm": Case(
        lambda x: jnp.take_along_axis(x, jnp.argsort(invariants(x), 1)[..., None], 1)[:, 0],
        CLOUD(),
        SO3,
        V3,
        V3,
    ),
    "weights drawn inside": Case(
        lambda x: jnp.einsum("npd,pc->ncd", x, jax.random.normal(jax.random.key(3), (4, 2))),
        CLOUD(),
        SO3,
        V3,
        V3,
    ),
}
