"""Small networks with known symmetries, as functions from images to features."""

import jax
import jax.numpy as jnp
import numpy as np


def white_noise(n, side=16, channels=3, seed=0):
    """Images of independent standard normal pixels, float32."""
    shape = (n, side, side, channels)
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def kernel(size, inputs, outputs, seed=0, symmetric=False):
    """A random kernel [size, size, inputs, outputs]; symmetric: unchanged by quarter turns."""
    rng = np.random.default_rng(seed)
    k = rng.normal(size=(size, size, inputs, outputs)) / size / np.sqrt(inputs)
    if symmetric:
        k = sum(np.rot90(k, turn, axes=(0, 1)) for turn in range(4)) / 2
    return k.astype(np.float32)


def conv(x, k, stride=1, padding=0):
    """Convolution; padding in pixels, "circular" or "valid"."""
    size = k.shape[0]
    if padding == "circular":
        x = jnp.pad(x, ((0, 0), (size // 2,) * 2, (size // 2,) * 2, (0, 0)), mode="wrap")
        padding = 0
    pads = [(0, 0)] * 2 if padding == "valid" else [(padding, padding)] * 2
    return jax.lax.conv_general_dilated(
        x,
        k,
        (stride, stride),
        pads,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        precision="highest",
    )


def pool(x):
    """2 x 2 averages."""
    return (x[:, ::2, ::2] + x[:, 1::2, ::2] + x[:, ::2, 1::2] + x[:, 1::2, 1::2]) / 4


def stack(padding, symmetric=False):
    """Conv and ReLU, pooling, conv, averaged vector; names in the order of depth."""
    first = kernel(3, 3, 8, 1, symmetric)
    second = kernel(3, 8, 6, 2, symmetric)

    def features(x):
        early = jax.nn.relu(conv(x, first, padding=padding))
        late = jnp.tanh(conv(pool(early), second, padding=padding))
        return {"early": early, "late": late, "head": late.mean(axis=(1, 2))}

    return features


def lifting(seed=3):
    """Four responses per filter, to the filter turned by 0, 1, 2 and 3 quarters: a quarter turn of
    the image moves the positions and cycles the four."""
    k = kernel(3, 3, 2, seed)
    turned = np.concatenate([np.rot90(k, turn, axes=(0, 1)) for turn in range(4)], axis=-1)
    return lambda x: {"lifted": jnp.tanh(conv(x, turned, padding="circular"))}


def scrambled(side=16, channels=3, seed=4):
    """Multiplies every pixel by its own random sign: what one position does says nothing about
    another."""
    rng = np.random.default_rng(seed)
    signs = rng.choice([-1.0, 1.0], size=(side, side, channels)).astype(np.float32)
    return lambda x: {"scrambled": x * signs}
