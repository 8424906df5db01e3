"""Vision models: how all of them are called, and what their attributes of one name mean."""

import jax
from flax import linen as nn

from softeq_jax.groups import Group
from softeq_jax.models.rules import ModelDials, Rule
from softeq_jax.nn import BatchNorm


class VisionModel(nn.Module):
    """A network of images, or of volumes (``VolumeResNet``: one axis more everywhere).

    A model has those of the following attributes that mean something to it, with its own defaults.

    * ``num_classes``: length of the logits; 0 for a model that ends with its pooled features.
    * ``width``, ``depth``, ``heads``: channels of a token or of the first feature map, number of
      blocks or of layers with weights, attention heads, which divide the channels. Networks in
      stages have ``widths``, ``depths`` and ``heads`` with an entry for each stage.
    * ``image_size``: side of the square images in pixels that the model is made for, a multiple of
      ``patch_size``, the side of a patch.
    * ``mlp_ratio``: hidden channels of the perceptrons in units of their input's.
    * ``registers``: tokens that carry no image and are dropped at the end.
    * ``norm_epsilon``: of the layer norms.
    * ``blur``: taps of the blur-pool (``softeq_jax.nn.BlurPool``) that takes over every stride 2 of
      a convolution (after its nonlinearity), of a maximum and of a shortcut, which then have
      stride 1; 0 for none. It has no parameters, and files do not tell it: load the weights, then
      ``model.clone(blur=3)``. Where it respects the lattice depends on the sides of the maps:
      3, 5, 7 taps on odd sides, 2, 4, 6 taps on even ones.
    * ``axis_name``: mapped axis over which batch statistics are averaged (``"device"`` in the
      trainer of ``softeq_jax.training``), or None for statistics of the local batch.
    """

    def soft_rules(self, group: Group, dials: ModelDials) -> dict[str, Rule]:
        """The rules that filter the weights of this model, see ``softeq_jax.models.soft_rules``."""
        raise NotImplementedError

    def __call__(
        self, x: jax.Array, train: bool = False, *, features: bool = False
    ) -> jax.Array | tuple[jax.Array, ...]:
        """Logits of images.

        Args:
          x: images ``[n, h, w, c]``, floating point.
          train: whether batch norms normalize by the statistics of the batch and update the
            collection ``batch_stats`` (make it mutable), instead of using the running ones. Models
            without batch norm take it and do not depend on it.
          features: return the feature maps instead.

        Returns:
          Logits ``[n, num_classes]``; the pooled features ``[n, c]`` if there are no classes; with
          ``features`` a tuple of maps ``[n, h, w, c]``, finest first: of the stages, or one of
          what the patches have become.

        Raises:
          ValueError: the images do not fit, or the attributes do not fit together.
        """
        raise NotImplementedError


def batch_norm(
    *,
    train: bool,
    axis_name: str | None,
    name: str,
    momentum: float = 0.9,
    epsilon: float = 1e-5,
) -> BatchNorm:
    """The batch norm of convolutional networks; by default as residual networks have it."""
    return BatchNorm(
        use_running_average=not train,
        momentum=momentum,
        epsilon=epsilon,
        axis_name=axis_name,
        name=name,
    )
