"""The learned canonicaliser: a small group-convolution network turns an image before it is read.

After Kaba et al. 2023 and the baseline of the published study: a C4 group convolution gives a
score to each quarter turn, the image is turned back by the best one, and any network reads it.
Gradients reach the scores straight through the choice. Quarter turns of a square grid are exact, so
that the logits are invariant whatever the weights, to rounding and where scores do not tie.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn

import softeq_jax as sq
from softeq_jax.models.group_conv import GroupConv

GROUP = sq.groups.cyclic(4)


class Canonicalized(nn.Module):
    """A network on images that are turned back first.

    Attributes:
      network: reads the turned images.
      fields: regular fields of the hidden layer of the scores.
    """

    network: nn.Module
    fields: int = 8

    def setup(self) -> None:
        """Makes the layers."""
        self.lift = GroupConv(GROUP, None, self.fields, 7)
        self.score = GroupConv(GROUP, self.fields, 1, 3)

    def scores(self, x: jax.Array) -> jax.Array:
        """Logits of the four turns ``[n, 4]`` of images ``[n, s, s, c]``, s even.

        A quarter turn of the image moves them by one place.
        """
        small = nn.avg_pool(x, (2, 2), (2, 2))
        return self.score(jax.nn.relu(self.lift(small))).mean(axis=(1, 2))

    def __call__(self, x: jax.Array) -> jax.Array:
        """Logits ``[n, classes]`` of images ``[n, s, s, c]``, s even."""
        shares = jax.nn.softmax(self.scores(x))
        choice = jax.nn.one_hot(shares.argmax(-1), 4, dtype=x.dtype)
        weights = shares + jax.lax.stop_gradient(choice - shares)
        turned = jnp.stack([jnp.rot90(x, -k, axes=(1, 2)) for k in range(4)], axis=1)
        return self.network(jnp.einsum("nk,nkhwc->nhwc", weights, turned))
