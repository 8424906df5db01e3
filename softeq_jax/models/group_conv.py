"""Convolutional networks on functions of a rotation group: regular feature maps."""

import functools
import itertools
import math
from collections.abc import Sequence
from typing import Unpack

import jax
import jax.numpy as jnp
from flax import linen as nn

from softeq_jax.groups import Group, PlanarGroup
from softeq_jax.models.image_shape import check_images
from softeq_jax.models.rules import ModelDials, Rule
from softeq_jax.models.vision import VisionModel
from softeq_jax.nn import BatchNorm, convolve
from softeq_jax.nn.equivariant import pointwise
from softeq_jax.projections import Dials, Projector, projector
from softeq_jax.reps import Rep, grid_obstacle, image, regular

Array = jax.Array


def kernel_projector(
    group: PlanarGroup,
    window: int,
    fields_in: int | None,
    fields_out: int,
    **dials: Unpack[Dials],
) -> Projector:
    """The projector of a kernel ``[window, window, in, out]`` between regular feature maps.

    Args:
      group: C_n or D_n.
      window: side of the kernel.
      fields_in: copies of the regular representation that come in; None for images, on whose
        channels the group does not act.
      fields_out: copies that go out.
      dials: see ``projections.Dials``; strict if none is given.
    """
    functions = regular(group)
    acts: dict[str, Rep] = {"h w": image(group, (window, window))}
    if fields_in is not None:
        acts["i"] = (fields_in * functions).dual
    return projector("h w i o", {**acts, "o": fields_out * functions}, **dials)


def shrink(x: Array) -> Array:
    """Halves a feature map by a mean that all symmetries of the square or rectangle keep.

    Means of 2 pixels along even sides, of overlapping 3 at stride 2 along odd ones.

    Args:
      x: ``[n, h, w, c]``.

    Returns:
      ``[n, h // 2, w // 2, c]``.

    Raises:
      ValueError: a side is below 2.
    """
    sides = x.shape[1:3]
    if min(sides) < 2:
        raise ValueError(
            f"a feature map of side {min(sides)} cannot be halved: fewer widths are needed"
        )
    window = tuple(2 if side % 2 == 0 else 3 for side in sides)
    return nn.avg_pool(x, window, strides=(2, 2), padding="VALID")


class GroupConv(nn.Module):
    """A convolution from an image or regular feature maps to regular feature maps, without bias.

    Variables: ``kernel`` ``[window, window, in, fields_out * order]``. It starts equivariant, with
    the variance of a He initialization: ``sqrt(2 out / n) P z``, z standard normal and n the
    dimension of the equivariant kernels.

    Attributes:
      group: C_n or D_n.
      fields_in: None for images; see ``kernel_projector``.
      fields_out: copies of the regular representation.
      window: side of the kernel, odd.
      project: whether the layer projects its kernel.
    """

    group: PlanarGroup
    fields_in: int | None
    fields_out: int
    window: int = 3
    project: bool = True

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Maps ``[n, s, s, in]`` to ``[n, s, s, fields_out * order]``, zeros at the border."""
        filtered = _strict(self.group, self.window, self.fields_in, self.fields_out)
        out = self.fields_out * regular(self.group).dim
        unnamed = x.shape[-1] if self.fields_in is None else 1
        scale = math.sqrt(2.0 * out / (filtered.rank() * unnamed))

        def init(key: Array, shape: tuple[int, ...]) -> Array:
            return filtered(scale * jax.random.normal(key, shape, jnp.float32))

        kernel = self.param("kernel", init, (self.window, self.window, x.shape[-1], out))
        if self.project:
            kernel = filtered(kernel)
        return convolve(x, kernel, padding=self.window // 2)


class GroupConvNet(VisionModel):
    """A group-convolutional network (Cohen & Welling 2016) of C_n or D_n.

    A lifting convolution makes regular feature maps of the image; two 3 x 3 convolutions with
    batch norm and ReLU make a stage (the first one begins with the lifting), with ``shrink``
    between stages. Batch norm shares statistics, scale and bias over the group, so it commutes
    with the permutations, and so does ReLU. The maximum over the group and the mean over space are
    invariant.

    For C1, C2, C4, D1, D2 and D4 feature maps turn with the image and logits are invariant, to
    rounding, on even and odd square maps alike. For other groups the kernels are equivariant (on
    the 3 x 3 window with its interpolated rotations) and the permutations of the feature maps
    exact, but rotations by other than quarter turns do not map a pixel grid to itself: the layers
    are equivariant only approximately.

    Parameters: ``conv{i}/kernel`` and ``bn{i}/{scale,bias}`` (``batch_stats`` ``bn{i}/{mean,var}``)
    for i = 0 .. 2 len(widths) - 1, and ``head/{kernel,bias}``.

    Attributes:
      group: ``groups.cyclic(n)`` or ``groups.dihedral(n)``.
      widths: copies of the regular representation in each stage.
      num_classes, axis_name: see ``VisionModel``.
      project: whether layers project their own kernels. Otherwise they compute with what is
        stored, for a plan with ``soft_rules`` (or a penalty) to govern.

    Example:
      >>> import jax, jax.numpy as jnp, softeq_jax as sq
      >>> net = sq.models.GroupConvNet(sq.groups.dihedral(4), widths=(2, 3))
      >>> x = jnp.ones((1, 8, 8, 1))
      >>> y, variables = jax.eval_shape(net.init_with_output, jax.random.key(0), x)
      >>> y.shape, variables["params"]["conv1"]["kernel"].shape
      ((1, 10), (3, 3, 16, 16))
    """

    group: PlanarGroup
    widths: Sequence[int] = (8, 16, 32)
    num_classes: int = 10
    project: bool = True
    axis_name: str | None = None

    def rep(self, stage: int) -> Rep:
        """The representation on the channels of a stage, ``widths[stage]`` regular ones."""
        return self.widths[stage] * regular(self.group)

    def soft_rules(self, group: Group, dials: ModelDials) -> dict[str, Rule]:
        """Every convolution, see ``softeq_jax.models.soft_rules``.

        Args:
          group: the model's.
          dials: those of weights are used.

        Raises:
          ValueError: the model projects already, or another group.
        """
        if self.project:
            raise ValueError("this GroupConvNet is strict already: make it with project=False")
        if group != self.group:
            raise ValueError(f"the feature maps are functions on {self.group}, got {group}")
        rules: dict[str, Rule] = {
            f"conv{i}/kernel": kernel_projector(self.group, 3, *ends, **dials.weights)
            for i, ends in enumerate(self._ends())
        }
        return {**rules, "**": None}

    @nn.compact
    def __call__(
        self, x: Array, train: bool = False, *, features: bool = False
    ) -> Array | tuple[Array, ...]:
        """Logits of images, see ``VisionModel``.

        The images are square, or rectangles that the group maps to themselves, with sides that
        can be halved ``len(widths) - 1`` times. ``rep(i)`` acts on the ``widths[i] * order``
        channels of map i; pooled are ``widths[-1]`` features.
        """
        self._check(x.shape)
        relu = pointwise(nn.relu, regular(self.group))
        maps = []
        for i, (fields_in, fields_out) in enumerate(self._ends()):
            if i and i % 2 == 0:
                maps.append(x)
                x = shrink(x)
            conv = GroupConv(self.group, fields_in, fields_out, 3, self.project, name=f"conv{i}")
            x = relu(self._normalized(conv(x), f"bn{i}", train))
        maps.append(x)
        if features:
            return tuple(maps)
        x = x.reshape(*x.shape[:3], self.widths[-1], self.group.order)
        x = x.max(axis=-1).mean(axis=(1, 2))
        return nn.Dense(self.num_classes, name="head")(x) if self.num_classes else x

    def _normalized(self, x: Array, name: str, train: bool) -> Array:
        norm = BatchNorm(
            use_running_average=not train,
            axis=-2,
            momentum=0.9,
            epsilon=1e-5,
            axis_name=self.axis_name,
            name=name,
        )
        return norm(x.reshape(*x.shape[:3], -1, self.group.order)).reshape(x.shape)

    def _ends(self) -> list[tuple[int | None, int]]:
        """Fields in and out of each convolution."""
        fields = [None, *(width for width in self.widths for _ in range(2))]
        return list(itertools.pairwise(fields))

    def _check(self, shape: tuple[int, ...]) -> None:
        if not isinstance(self.group, PlanarGroup) or not self.group.is_finite:
            raise ValueError(f"GroupConvNet needs C_n or D_n, got {self.group!r}")
        if not self.widths or min(self.widths) < 1:
            raise ValueError(f"widths must be positive integers, got {self.widths}")
        check_images(shape)
        if obstacle := grid_obstacle(self.group, (shape[1], shape[2])):
            raise ValueError(
                f"images must be [n, s, s, c], square, got shape {tuple(shape)}: {obstacle}"
            )


@functools.lru_cache(maxsize=128)
def _strict(group: PlanarGroup, window: int, fields_in: int | None, fields_out: int) -> Projector:
    return kernel_projector(group, window, fields_in, fields_out)
