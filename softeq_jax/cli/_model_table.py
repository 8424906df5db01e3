"""The networks that are built in, as they are listed: stored, so that none has to be built."""

from typing import NamedTuple


class Listed(NamedTuple):
    """A line of the list.

    Attributes:
      name: of `softeq_jax.models.create`.
      family: the module of the network.
      parameters: how many numbers training changes.
      image: side of the images, None where any side will do.
      patch: side of a patch, None where there are none.
      formats: kinds of published weights that load into it.
    """

    name: str
    family: str
    parameters: int
    image: int | None
    patch: int | None
    formats: tuple[str, ...]


TABLE = (
    Listed("vit_ti16", "vit", 5717416, 224, 16, ("hugging face", "timm")),
    Listed("vit_s16", "vit", 22050664, 224, 16, ("hugging face", "timm")),
    Listed("vit_s32", "vit", 22878952, 224, 32, ("hugging face", "timm")),
    Listed("dinov2_s14", "dinov2", 22056192, 518, 14, ("hugging face",)),
    Listed("dinov2_s14_reg4", "dinov2", 22057728, 518, 14, ("hugging face",)),
    Listed("vit_b16", "vit", 86567656, 224, 16, ("hugging face", "timm")),
    Listed("vit_b32", "vit", 88224232, 224, 32, ("hugging face", "timm")),
    Listed("dinov2_b14", "dinov2", 86579712, 518, 14, ("hugging face",)),
    Listed("dinov2_b14_reg4", "dinov2", 86582784, 518, 14, ("hugging face",)),
    Listed("vit_l16", "vit", 304326632, 224, 16, ("hugging face", "timm")),
    Listed("vit_l32", "vit", 306535400, 224, 32, ("hugging face", "timm")),
    Listed("dinov2_l14", "dinov2", 304367616, 518, 14, ("hugging face",)),
    Listed("dinov2_l14_reg4", "dinov2", 304371712, 518, 14, ("hugging face",)),
    Listed("resnet18", "resnet", 11689512, None, None, ("hugging face", "timm")),
    Listed("resnet34", "resnet", 21797672, None, None, ("hugging face", "timm")),
    Listed("resnet50", "resnet", 25557032, None, None, ("hugging face", "timm")),
    Listed("resnet101", "resnet", 44549160, None, None, ("hugging face", "timm")),
    Listed("resnet152", "resnet", 60192808, None, None, ("hugging face", "timm")),
    Listed("cifar_resnet20", "cifar_resnet", 269722, None, None, ("cifar",)),
    Listed("cifar_resnet32", "cifar_resnet", 464154, None, None, ("cifar",)),
    Listed("cifar_resnet44", "cifar_resnet", 658586, None, None, ("cifar",)),
    Listed("cifar_resnet56", "cifar_resnet", 853018, None, None, ("cifar",)),
    Listed("cifar_resnet110", "cifar_resnet", 1727962, None, None, ("cifar",)),
    Listed("volume_resnet8", "volume_resnet", 223610, None, None, ()),
    Listed("volume_resnet14", "volume_resnet", 514362, None, None, ()),
    Listed("volume_resnet20", "volume_resnet", 805114, None, None, ()),
    Listed("mixer_s16", "mixer", 18528264, 224, 16, ("timm",)),
    Listed("mixer_s32", "mixer", 19104624, 224, 32, ("timm",)),
    Listed("mixer_b16", "mixer", 59880472, 224, 16, ("timm",)),
    Listed("mixer_b32", "mixer", 60293428, 224, 32, ("timm",)),
    Listed("mixer_l16", "mixer", 208196168, 224, 16, ("timm",)),
    Listed("segformer_b0", "segformer", 3576392, None, None, ("hugging face",)),
    Listed("efficientnet_lite0", "efficientnet_lite", 4652008, 224, None, ("timm",)),
    Listed("efficientnet_lite1", "efficientnet_lite", 5416680, 240, None, ("timm",)),
    Listed("efficientnet_lite2", "efficientnet_lite", 6092072, 260, None, ("timm",)),
    Listed("efficientnet_lite3", "efficientnet_lite", 8197096, 280, None, ("timm",)),
    Listed("efficientnet_lite4", "efficientnet_lite", 13006568, 300, None, ("timm",)),
)
"""In the order of `softeq_jax.models.PRESETS`."""
