"""EfficientNet-Lite under timm's names of the networks that came from TensorFlow."""

from softeq_jax.models.efficientnet_lite import VERSIONS, EfficientNetLite, lite_sizes
from softeq_jax.models.weights._architecture import NO_WEIGHTS, Arrays, Format
from softeq_jax.models.weights._configuration import HALF, Config, default_preprocess
from softeq_jax.models.weights._tensor_names import NameTable

# The first stage does not widen its channels, so that its layers have other numbers.
TIMM = NameTable("""
    conv_stem      | stem_conv             | conv without bias
    bn1            | stem_bn               | batch norm
    blocks.0.{j}.* | stage1_block{j}/*
    *conv_dw       | *depthwise            | conv without bias
    *bn1           | *depthwise_bn         | batch norm
    *conv_pw       | *project              | conv without bias
    *bn2           | *project_bn           | batch norm
    blocks.{s}.{j}.* | stage{s+1}_block{j}/*
    *conv_pw       | *expand               | conv without bias
    *bn1           | *expand_bn            | batch norm
    *conv_dw       | *depthwise            | conv without bias
    *bn2           | *depthwise_bn         | batch norm
    *conv_pwl      | *project              | conv without bias
    *bn3           | *project_bn           | batch norm
    conv_head      | head_conv             | conv without bias
    bn2            | head_bn               | batch norm
    classifier     | head                  | linear
""")
_STAGES = 7


def _build(arrays: Arrays, config: Config, heads: int | None) -> EfficientNetLite:
    del heads
    stages = range(1, _STAGES + 1)
    depths = tuple(max(1, arrays.count(rf"params/stage{s}_block(\d+)/")) for s in stages)
    widths = tuple(arrays.shape(f"params/stage{s}_block0/project/kernel")[3] for s in stages)
    *_, channels, stem = arrays.shape("params/stem_conv/kernel")
    width = arrays.shape("params/head_conv/kernel")[3]
    config.agree(in_chans=channels)
    config.agree_on_features(width)
    return EfficientNetLite(
        widths=widths,
        depths=depths,
        stem=stem,
        width=width,
        image_size=_image_size(config, depths, widths),
        num_classes=arrays.classes("params/head/kernel", "params/head/bias"),
    )


def _image_size(config: Config, depths: tuple[int, ...], widths: tuple[int, ...]) -> int:
    """What the configuration says, else that of the published network of this size, else 224."""
    said = config.recipe().get("input_size") if config.format == "timm" else None
    if said is not None:
        return said[-1]
    published = (lite_sizes(version) for version in VERSIONS)
    same = (p for p in published if (p["depths"], p["widths"]) == (depths, widths))
    return next(same, {"image_size": 224})["image_size"]


FORMATS = (
    Format(
        family="efficientnet_lite",
        name="timm",
        table=TIMM,
        build=_build,
        head="params/head",
        stem="params/stem_conv/kernel",
        side=lambda model: 64,
        preprocess=default_preprocess(
            "efficientnet_lite", HALF, 224, resize=256, interpolation="bicubic"
        ),
        architectures=r"tf_efficientnet_lite[0-4]",
        unused=(NO_WEIGHTS,),
        refused=(
            (
                r"blocks\.\d+\.\d+\.se\..*",
                "an EfficientNet or MobileNet with attention to channels",
            ),
        ),
    ),
)
