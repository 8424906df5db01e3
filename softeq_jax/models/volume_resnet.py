"""Residual networks for small volumes: the CIFAR ResNets with one axis more."""

import functools

import jax
import jax.numpy as jnp
from flax import linen as nn

from softeq_jax.groups import Group
from softeq_jax.models.rules import ModelDials, Rule, window_rule
from softeq_jax.models.vision import VisionModel, batch_norm


def _conv(features: int, stride: int, name: str) -> nn.Conv:
    """A 3x3x3 convolution without bias, one voxel of zeros on every side."""
    return nn.Conv(
        features,
        (3, 3, 3),
        strides=(stride,) * 3,
        padding=((1, 1),) * 3,
        use_bias=False,
        kernel_init=nn.initializers.variance_scaling(2.0, "fan_out", "normal"),
        name=name,
    )


class VolumeBlock(nn.Module):
    """Two 3x3x3 convolutions with batch norm, added to a parameter-free shortcut.

    Attributes:
      features: output channels, at least as many as the input has.
      stride: of the first convolution and of the shortcut.
      axis_name: mapped axis over which batch statistics are averaged, or None.
    """

    features: int
    stride: int = 1
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Maps `[n, d, h, w, c]` to `[n, ceil(d / stride), .., features]`."""
        norm = functools.partial(batch_norm, train=train, axis_name=self.axis_name)
        y = nn.relu(norm(name="bn1")(_conv(self.features, self.stride, "conv1")(x)))
        y = norm(name="bn2")(_conv(self.features, 1, "conv2")(y))
        step = self.stride
        kept = x[:, ::step, ::step, ::step]
        more = self.features - x.shape[-1]
        return nn.relu(y + jnp.pad(kept, ((0, 0),) * 4 + ((more // 2, more - more // 2),)))


class VolumeResNet(VisionModel):
    """ResNet for small volumes: three stages of `(depth - 2) / 6` blocks, widths 1:2:4.

    Its modules are named `conv1`, `bn1`, `stage{1,2,3}_block{b}` and `linear`. On volumes of side
    `4 n + 1` every layer respects the 48 symmetries of the lattice as far as its kernel does; on
    others the strides of the second and third stage begin at a corner.

    Attributes:
      depth, num_classes, width, axis_name: see ``VisionModel``; ``depth`` counts the layers with
        weights, `6 n + 2` with n >= 1.

    Example:
      >>> import jax, jax.numpy as jnp, softeq_jax as sq
      >>> net = sq.models.VolumeResNet(depth=8, num_classes=6, width=4)
      >>> x = jnp.ones((1, 9, 9, 9, 1))
      >>> y, variables = jax.eval_shape(net.init_with_output, jax.random.key(0), x)
      >>> y.shape, variables["params"]["conv1"]["kernel"].shape
      ((1, 6), (3, 3, 3, 1, 4))
    """

    depth: int = 8
    num_classes: int = 10
    width: int = 16
    axis_name: str | None = None

    def soft_rules(self, group: Group, dials: ModelDials) -> dict[str, Rule]:
        """Convolutions with a window, under a group of R^3; see ``models.soft_rules``."""
        return {"**/conv?/kernel": window_rule(group, dials, axes="d h w i o"), "**": None}

    @nn.compact
    def __call__(
        self, x: jax.Array, train: bool = False, *, features: bool = False
    ) -> jax.Array | tuple[jax.Array, ...]:
        """Logits of volumes `[n, d, h, w, c]` of any size and number of channels, see
        ``VisionModel``; with ``features`` the maps `[n, d, h, w, c]` of the stages."""
        if x.ndim != 5:
            raise ValueError(f"volumes must be [n, d, h, w, c], got shape {x.shape}")
        if self.depth < 8 or (self.depth - 2) % 6:
            raise ValueError(f"depth must be 6 n + 2 with n >= 1 (8, 14, ...), got {self.depth}")
        if self.width < 1:
            raise ValueError(f"width must be a number >= 1, got {self.width}")
        x = _conv(self.width, 1, "conv1")(x)
        x = nn.relu(batch_norm(train=train, axis_name=self.axis_name, name="bn1")(x))
        maps = []
        for stage in range(3):
            for block in range((self.depth - 2) // 6):
                x = VolumeBlock(
                    features=self.width * 2**stage,
                    stride=2 if stage > 0 and block == 0 else 1,
                    axis_name=self.axis_name,
                    name=f"stage{stage + 1}_block{block}",
                )(x, train)
            maps.append(x)
        if features:
            return tuple(maps)
        x = jnp.mean(x, axis=(1, 2, 3))
        return nn.Dense(self.num_classes, name="linear")(x) if self.num_classes else x
