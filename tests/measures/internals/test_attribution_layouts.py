"""Layouts followed through operations: positions of samples, tokens, and what stays unknown."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from softeq_jax import groups, reps
from softeq_jax.measures import Fiber, Image, Invariant, Tokens
from softeq_jax.measures.attribution._dataflow import propagate
from softeq_jax.measures.attribution._graph import flatten

NHWC = ("NHWC", "HWIO", "NHWC")


def layout(f, shape=(2, 8, 8, 3), given=None, frame=(8, 8), alignment="pixel"):
    """The layout that is found for the result of f, or None; the last operation is an identity."""
    given = Image() if given is None else given
    x = jax.ShapeDtypeStruct(shape, jnp.float32)
    graph = flatten(jax.make_jaxpr(lambda x: (f(x) * 1.0, 0.0))(x))
    facts = propagate(graph, graph.arguments[0], given, Invariant(), frame, {}, alignment)
    return facts.layouts.get(graph.operations[-1].inputs[0])


def placement(f, shape=(2, 8, 8, 3), given=None, frame=(8, 8)):
    found = layout(f, shape, given, frame)
    return found.origin, found.pitch


def conv(x, size, strides, padding, **options):
    kernel = jnp.ones((*size, x.shape[-1], 2))
    return jax.lax.conv_general_dilated(
        x, kernel, strides, padding, dimension_numbers=NHWC, **options
    )


PLACES = {
    "same": (lambda x: conv(x, (3, 3), (1, 1), "SAME"), (-3.5, -3.5), (1, 1)),
    "valid": (lambda x: conv(x, (3, 5), (1, 1), "VALID"), (-2.5, -1.5), (1, 1)),
    "stride, padding 1": (
        lambda x: conv(x, (3, 3), (2, 2), ((1, 1), (1, 1))),
        (-3.5, -3.5),
        (2, 2),
    ),
    "stride, SAME": (lambda x: conv(x, (3, 3), (2, 2), "SAME"), (-2.5, -2.5), (2, 2)),
    "dilated": (
        lambda x: conv(x, (3, 3), (1, 1), "VALID", rhs_dilation=(2, 1)),
        (-1.5, -2.5),
        (1, 1),
    ),
    "patches": (lambda x: conv(x, (4, 4), (4, 4), "VALID"), (-2, -2), (4, 4)),
    "transposed": (
        lambda x: jax.lax.conv_transpose(
            conv(x, (2, 2), (2, 2), "VALID"), jnp.ones((2, 2, 2, 2)), (2, 2), "VALID"
        ),
        (-3.5, -3.5),
        (1, 1),
    ),
    "pool": (
        lambda x: jax.lax.reduce_window(
            x, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID"
        ),
        (-3, -3),
        (2, 2),
    ),
    "subsampled": (lambda x: x[:, ::2, 1::2], (-3.5, -2.5), (2, 2)),
    "circular padding": (
        lambda x: jnp.pad(x, ((0, 0), (1, 1), (2, 2), (0, 0)), mode="wrap"),
        (-4.5, -5.5),
        (1, 1),
    ),
    "mirrored padding": (
        lambda x: jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="reflect"),
        (-4.5, -4.5),
        (1, 1),
    ),
    "zero padding": (lambda x: jnp.pad(x, ((0, 0), (1, 0), (0, 0), (0, 0))), (-4.5, -3.5), (1, 1)),
    "rolled": (lambda x: jnp.roll(x, 1, axis=2), (-3.5, -4.5), (1, 1)),
    "flipped": (lambda x: x[:, ::-1], (3.5, -3.5), (-1, 1)),
    "blurred": (lambda x: x[:, :-1] + x[:, 1:], (-3, -3.5), (1, 1)),
    "resized up": (
        lambda x: jax.image.resize(x, (2, 16, 16, 3), "bilinear"),
        (-3.75, -3.75),
        (0.5, 0.5),
    ),
    "resized down": (lambda x: jax.image.resize(x, (2, 4, 8, 3), "linear"), (-3, -3.5), (2, 1)),
    "batch norm": (
        lambda x: (x - jnp.mean(x, -1, keepdims=True)) / jnp.sqrt(jnp.var(x, -1, keepdims=True)),
        (-3.5, -3.5),
        (1, 1),
    ),
    "channels first and back": (
        lambda x: jnp.moveaxis(jnp.moveaxis(x, -1, 1) * 2, 1, -1),
        (-3.5, -3.5),
        (1, 1),
    ),
    "dense": (lambda x: jnp.einsum("dc,nhwc->nhwd", jnp.ones((5, 3)), x), (-3.5, -3.5), (1, 1)),
    "scores joined": (lambda x: x * x.mean((1, 2))[:, None, None], (-3.5, -3.5), (1, 1)),
    "mixed and added": (
        lambda x: x + jnp.einsum("nhwc,hp->npwc", x, jnp.ones((8, 8))),
        (-3.5, -3.5),
        (1, 1),
    ),
    "sequence and back": (
        lambda x: jnp.tanh(x.reshape(2, 64, 3)).reshape(2, 8, 8, 3),
        (-3.5, -3.5),
        (1, 1),
    ),
    "flattened and back": (
        lambda x: jnp.tanh(x.reshape(2, -1)).reshape(2, 8, 8, 3),
        (-3.5, -3.5),
        (1, 1),
    ),
    "sorted channels": (lambda x: jnp.sort(x, axis=-1), (-3.5, -3.5), (1, 1)),
    "loop": (
        lambda x: jax.lax.scan(lambda a, _: (jnp.tanh(a), a), x, None, length=3)[0],
        (-3.5, -3.5),
        (1, 1),
    ),
    "while": (
        lambda x: jax.lax.while_loop(lambda a: a.sum() > 9.0, lambda a: a * 0.5, x),
        (-3.5, -3.5),
        (1, 1),
    ),
    "dynamic slice": (
        lambda x: jax.lax.dynamic_slice(x, (0, 2, 0, 0), (2, 4, 8, 3)),
        (-1.5, -3.5),
        (1, 1),
    ),
}


@pytest.mark.parametrize("name", PLACES)
def test_positions(name):
    f, origin, pitch = PLACES[name]
    found = placement(f)
    np.testing.assert_allclose(found[0], origin, atol=1e-12)
    np.testing.assert_allclose(found[1], pitch, atol=1e-12)


@pytest.mark.slow
def test_positions_by_receptive_fields():
    """The mean position of what an entry reads, by differentiation, is where it is said to lie."""

    def f(x):
        x = conv(x, (3, 3), (2, 2), ((1, 1), (1, 1)))
        x = jax.lax.conv_transpose(x, jnp.ones((4, 4, 2, 2)), (2, 2), ((2, 2), (2, 2)))
        return conv(x, (2, 2), (2, 2), "VALID")

    shape, entry = (1, 32, 32, 1), (0, 4, 5, 0)
    reads = np.abs(jax.grad(lambda x: f(x)[entry])(jnp.ones(shape)))[0, :, :, 0]
    center = np.array([np.average(np.arange(32), weights=reads.sum(1 - k)) for k in (0, 1)]) - 15.5
    origin, pitch = placement(f, shape, frame=(32, 32))
    np.testing.assert_allclose(np.add(origin, np.multiply(pitch, entry[1:3])), center, atol=1e-5)


def test_channels_first():
    found = layout(
        lambda x: jnp.tanh(x[:, :, ::2]) + jnp.ones((3, 1, 1)),
        (2, 3, 8, 8),
        Image(axes=(2, 3), channel=1),
    )
    assert (found.axes, found.channel, found.pitch) == ((2, 3), 1, (2, 1))


def test_tokens():
    def embed(x):
        x = conv(x, (2, 2), (2, 2), "VALID")
        x = x.reshape(2, -1, 2)
        x = jnp.concatenate([jnp.zeros((2, 1, 2)), x], axis=1)
        return x + jnp.arange(34.0).reshape(1, 17, 2)

    found = layout(embed)
    assert found == Tokens((4, 4), 1, 1, (2, 2), (-3, -3), True)
    assert layout(lambda x: embed(x)[:, 1:]) == Tokens((4, 4), 0, 1, (2, 2), (-3, -3), True)
    assert layout(lambda x: embed(x)[:, 0]) == Invariant()
    assert layout(lambda x: jnp.swapaxes(embed(x), 1, 2)).axis == 2
    assert isinstance(layout(lambda x: embed(x)[:, 1:].reshape(2, 4, 4, 2)), Image)
    assert layout(lambda x: embed(x)[:, 1:4]) is None
    heads = layout(lambda x: (embed(x) @ jnp.ones((2, 6))).reshape(2, 17, 3, 2))
    assert heads == found
    scores = layout(lambda x: jnp.einsum("ntc,nsc->nts", embed(x), embed(x)))
    assert scores is None


def test_patches_by_reshape():
    """(h p) (w q) c -> (h w) (p q c), as a patch embedding does without a convolution."""

    def f(x):
        x = x.reshape(2, 4, 2, 4, 2, 3).transpose(0, 1, 3, 2, 4, 5)
        return x.reshape(2, 16, 12)

    assert layout(f) == Tokens((4, 4), 0, 1, (2, 2), (-3, -3), True)


@pytest.mark.parametrize(
    "f",
    [
        lambda x: x.mean((1, 2)),
        lambda x: jnp.max(x, axis=(1, 2), keepdims=True),
        lambda x: jnp.einsum("nhwc,nhwd->ncd", x, x),
        lambda x: jax.nn.softmax(x.sum((1, 2))) @ jnp.ones((3, 7)),
    ],
)
def test_pooled_features_are_invariant(f):
    assert layout(f) == Invariant()


@pytest.mark.parametrize(
    "f",
    [
        lambda x: x.reshape(2, -1),
        lambda x: x.reshape(2, -1) @ jnp.ones((192, 4)),
        lambda x: x.mean(1),
        lambda x: x[:, jnp.array([3, 1])],
        lambda x: jnp.fft.rfft2(x, axes=(1, 2)).real,
        lambda x: jnp.einsum("nhwc,hp->npwc", x, jnp.ones((8, 8))),
        lambda x: jnp.concatenate([x[:1], x[1:]], axis=0),
        lambda x: x + x[:, ::2].repeat(2, axis=1),
        lambda x: x.transpose(1, 0, 2, 3),
        lambda x: jnp.cumsum(x, axis=1),
        lambda x: jax.lax.scan(lambda a, _: (a.transpose(0, 2, 1, 3), 0.0), x, None, length=2)[0],
    ],
)
def test_unknown(f):
    assert layout(f) is None


def test_corner_alignment():
    found = layout(lambda x: conv(x, (3, 3), (2, 2), ((1, 1), (1, 1))), alignment="corner")
    assert (found.origin, found.pitch) == (None, (7 / 3, 7 / 3))


def test_representations():
    vectors = reps.irrep(groups.so(2), 1)
    found = layout(
        lambda x: x[:, ::2, ::2] / jnp.linalg.norm(x[:, ::2, ::2], axis=-1, keepdims=True),
        (2, 8, 8, vectors.dim),
        Image(fiber=vectors),
    )
    assert found.fiber == vectors
    assert found.pitch == (2, 2)
    assert (
        layout(
            lambda x: x @ jnp.ones((vectors.dim, 2)), (2, 8, 8, vectors.dim), Image(fiber=vectors)
        )
        is None
    )
    given = Fiber(vectors)
    assert layout(lambda x: x * 2, (2, vectors.dim), given, None) == Fiber(vectors, (1,))
    assert layout(jnp.sum, (2, vectors.dim), given, None) is None
