"""The MLP-Mixer."""

from typing import cast

import jax
import jax.numpy as jnp
from flax import linen as nn

from softeq_jax.groups import Group, PlanarGroup
from softeq_jax.models.patches import check_size, embed_patches, patch_grid
from softeq_jax.models.rules import ModelDials, Rule, window_rule
from softeq_jax.models.transformer import gelu
from softeq_jax.models.vision import VisionModel
from softeq_jax.projections import projector
from softeq_jax.reps import tokens


class MixerBlock(nn.Module):
    """A perceptron over the tokens of each channel, then one over the channels of each token.

    Attributes:
      token_hidden: hidden units of the first.
      channel_hidden: hidden units of the second.
      norm_epsilon: of the layer norms.
    """

    token_hidden: int
    channel_hidden: int
    norm_epsilon: float = 1e-6

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps tokens ``[n, t, c]`` to tokens of the same shape and dtype."""
        tokens, channels = x.shape[1:]
        y = nn.LayerNorm(epsilon=self.norm_epsilon, name="norm1")(x).swapaxes(1, 2)
        y = gelu(nn.Dense(self.token_hidden, name="token_in")(y))
        x = x + nn.Dense(tokens, name="token_out")(y).swapaxes(1, 2)
        y = nn.LayerNorm(epsilon=self.norm_epsilon, name="norm2")(x)
        y = gelu(nn.Dense(self.channel_hidden, name="channel_in")(y))
        return x + nn.Dense(channels, name="channel_out")(y)


class MLPMixer(VisionModel):
    """MLP-Mixer (Tolstikhin et al. 2021): patches, mixing blocks, mean over patches, head.

    Attributes:
      image_size, patch_size, width, depth, num_classes, norm_epsilon: see ``VisionModel``; the
        token-mixing layers fix ``image_size``.
      token_hidden: hidden units of the token-mixing perceptrons.
      channel_hidden: hidden units of the channel-mixing perceptrons.

    Example:
      >>> import jax, jax.numpy as jnp, softeq_jax as sq
      >>> net = sq.models.MLPMixer(8, 4, width=8, depth=1, token_hidden=6, channel_hidden=16)
      >>> x = jnp.ones((1, 8, 8, 3))
      >>> y, variables = jax.eval_shape(net.init_with_output, jax.random.key(0), x)
      >>> y.shape
      (1, 1000)
    """

    image_size: int
    patch_size: int
    width: int
    depth: int
    token_hidden: int
    channel_hidden: int
    num_classes: int = 1000
    norm_epsilon: float = 1e-6

    @property
    def grid(self) -> int:
        """Patches along a side."""
        return patch_grid(self.image_size, self.patch_size)

    def soft_rules(self, group: Group, dials: ModelDials) -> dict[str, Rule]:
        """Patches and token-mixing layers, see ``softeq_jax.models.soft_rules``.

        The group permutes the patches and leaves the hidden units of the token-mixing layers
        alone, the only permutation representation that trained weights do not have to be sorted
        into. The position dial is that of the token-mixing layers.
        """
        patches = tokens(cast(PlanarGroup, group), (self.grid, self.grid))
        into = projector("i o", {"i": patches.dual}, **dials.positions)
        out_of = projector("i o", {"o": patches}, **dials.positions)
        return {
            "patch_embed/kernel": window_rule(group, dials),
            "*/token_in/kernel": into,
            "*/token_out/kernel": out_of,
            "*/token_out/bias": projector("o", {"o": patches}, **dials.positions),
            "**": None,
        }

    @nn.compact
    def __call__(
        self, x: jax.Array, train: bool = False, *, features: bool = False
    ) -> jax.Array | tuple[jax.Array, ...]:
        """Logits of images, see ``VisionModel``.

        The sides of the images are ``image_size``.
        """
        del train
        patch_grid(self.image_size, self.patch_size)
        check_size(x.shape, self.image_size)
        x = embed_patches(x, self.width, self.patch_size)
        x = x.reshape(x.shape[0], -1, self.width)
        for i in range(self.depth):
            block = MixerBlock(
                self.token_hidden, self.channel_hidden, self.norm_epsilon, name=f"block{i}"
            )
            x = block(x)
        x = nn.LayerNorm(epsilon=self.norm_epsilon, name="norm")(x)
        if features:
            return (x.reshape(x.shape[0], self.grid, self.grid, self.width),)
        x = jnp.mean(x, axis=1)
        return nn.Dense(self.num_classes, name="head")(x) if self.num_classes else x
