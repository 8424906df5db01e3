"""Random rotations of space, and how they act on clouds of points."""

import jax
import jax.numpy as jnp
import numpy as np


def random_rotations(key: jax.Array, count: int) -> jax.Array:
    """Uniform rotations of space, float32 ``[count, 3, 3]``, from unit quaternions."""
    w, x, y, z = (q := jax.random.normal(key, (4, count))) / jnp.linalg.norm(q, axis=0)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return jnp.moveaxis(jnp.stack([jnp.stack(row) for row in rows]), -1, 0)


def rotations_about_z(key: jax.Array, count: int) -> jax.Array:
    """Rotations about the third axis by uniform angles, float32 ``[count, 3, 3]``."""
    angle = jax.random.uniform(key, (count,), maxval=2 * jnp.pi)
    c, s, o = jnp.cos(angle), jnp.sin(angle), jnp.zeros(count)
    rows = [[c, -s, o], [s, c, o], [o, o, o + 1]]
    return jnp.moveaxis(jnp.stack([jnp.stack(row) for row in rows]), -1, 0)


def turn(points: jax.Array | np.ndarray, rotations: jax.Array) -> jax.Array:
    """``R x`` for points ``[b, points, 3]``, to the last bit of float32."""
    return jnp.einsum("bij,bpj->bpi", rotations, points, precision="highest")
