"""Images with channels first are refused by every family, with what to do."""

import jax
import jax.numpy as jnp
import pytest

import softeq_jax as sq
from softeq_jax import models

FAMILIES = {
    "cifar": models.CifarResNet(8, 5, 4),
    "resnet": models.ResNet((1, 1, 1, 1), width=4, num_classes=5),
    "lite": models.EfficientNetLite((4,) * 7, (1,) * 7, stem=4, width=8, num_classes=5),
    "segformer": models.SegFormer(widths=(4,) * 4, depths=(1,) * 4, heads=(1,) * 4),
    "groups": models.GroupConvNet(sq.groups.cyclic(4), (2, 2), 5),
    "vit": models.ViT(16, 4, 16, 1, 2, num_classes=5),
    "vit of any size": models.ViT(16, 4, 16, 1, 2, num_classes=5, interpolate=True),
    "dinov2": models.DINOv2(16, 1, 2, 16, 4, num_classes=5),
    "mixer": models.MLPMixer(16, 4, 16, 1, 8, 32, num_classes=5),
}


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", FAMILIES)
def test_channels_first_are_refused_with_advice(name, channels):
    x = jax.ShapeDtypeStruct((2, channels, 16, 16), jnp.float32)
    with pytest.raises(ValueError, match=r"channels come last, np.moveaxis\(x, 1, -1\)"):
        jax.eval_shape(FAMILIES[name].init, jax.random.key(0), x)


@pytest.mark.parametrize("shape", [(2, 3, 3, 3), (2, 3, 16, 3), (2, 16, 16, 16)])
def test_small_and_wide_maps_are_not_taken_for_channels_first(shape):
    x = jax.ShapeDtypeStruct(shape, jnp.float32)
    jax.eval_shape(FAMILIES["cifar"].init, jax.random.key(0), x)
