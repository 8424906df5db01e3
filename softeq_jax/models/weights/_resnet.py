"""ImageNet ResNets of Hugging Face, and of timm and torchvision, whose names are the same."""

from softeq_jax.models.resnet import ResNet
from softeq_jax.models.weights._architecture import NO_WEIGHTS, Arrays, Format
from softeq_jax.models.weights._configuration import IMAGENET, Config, default_preprocess
from softeq_jax.models.weights._tensor_names import NameTable

HUGGING_FACE = NameTable("""
    embedder.embedder.convolution   | conv1                 | conv without bias
    embedder.embedder.normalization | bn1                   | batch norm
    encoder.stages.{s}.layers.{j}.* | stage{s+1}_block{j}/*
    *layer.0.convolution            | *conv1                | conv without bias
    *layer.0.normalization          | *bn1                  | batch norm
    *layer.1.convolution            | *conv2                | conv without bias
    *layer.1.normalization          | *bn2                  | batch norm
    *layer.2.convolution            | *conv3                | conv without bias
    *layer.2.normalization          | *bn3                  | batch norm
    *shortcut.convolution           | *shortcut_conv        | conv without bias
    *shortcut.normalization         | *shortcut_bn          | batch norm
    /classifier.1                   | head                  | linear
""")

TIMM = NameTable("""
    conv1            | conv1                 | conv without bias
    bn1              | bn1                   | batch norm
    layer{s+1}.{j}.* | stage{s+1}_block{j}/*
    *conv1           | *conv1                | conv without bias
    *bn1             | *bn1                  | batch norm
    *conv2           | *conv2                | conv without bias
    *bn2             | *bn2                  | batch norm
    *conv3           | *conv3                | conv without bias
    *bn3             | *bn3                  | batch norm
    *downsample.0    | *shortcut_conv        | conv without bias
    *downsample.1    | *shortcut_bn          | batch norm
    fc               | head                  | linear
""")

_TIMM_FREE = (
    *("num_classes", "in_chans", "layers", "channels", "global_pool"),
    *("drop_rate", "drop_path_rate", "drop_block_rate", "zero_init_last"),
)
_TIMM_FIXED = {
    "output_stride": (32,),
    "cardinality": (1,),
    "base_width": (64,),
    "stem_type": ("",),
    "replace_stem_pool": (False,),
    "block_reduce_first": (1,),
    "down_kernel_size": (1,),
    "avg_down": (False,),
    "act_layer": ("relu", None),
    "aa_layer": (None, ""),
}


def _build(arrays: Arrays, config: Config, heads: int | None) -> ResNet:
    del heads
    counts = [
        arrays.count(rf"params/stage{stage}_block(\d+)/")
        for stage in range(1, max(5, arrays.count(r"params/stage(\d+)_block")))
    ]
    if config.format == "hugging face":
        config.expect("hidden_act", "relu")
        config.expect("downsample_in_first_stage", False)
        config.expect("downsample_in_bottleneck", False)
        config.agree(depths=tuple(counts))
    else:
        config.known(_TIMM_FREE, _TIMM_FIXED)
        if config.all.get("global_pool") not in (None, "avg"):
            raise ValueError(
                f"{config.where}: global_pool is {config.all['global_pool']!r}, expected 'avg'"
            )
    return ResNet(
        depths=tuple(max(1, count) for count in counts),
        bottleneck=arrays.count(r"params/stage(\d+)_block\d+/conv3") > 0,
        width=arrays.shape("params/conv1/kernel")[3],
        num_classes=arrays.classes("params/head/kernel", "params/head/bias"),
    )


FORMATS = (
    Format(
        family="resnet",
        name="hugging face",
        table=HUGGING_FACE,
        build=_build,
        head="params/head",
        stem="params/conv1/kernel",
        side=lambda model: 64,
        preprocess=default_preprocess("resnet", IMAGENET, 224, resize=256, interpolation="bicubic"),
        prefixes=("resnet.", ""),
        model_types={"resnet": ("ResNetModel", "ResNetForImageClassification")},
        unused=(NO_WEIGHTS,),
    ),
    Format(
        family="resnet",
        name="timm",
        table=TIMM,
        build=_build,
        head="params/head",
        stem="params/conv1/kernel",
        side=lambda model: 64,
        preprocess=default_preprocess("resnet", IMAGENET, 224, resize=256),
        architectures=r"resnet\d+",
        unused=(NO_WEIGHTS,),
        refused=((r"conv1\.\d+\..*", "a ResNet with a deep stem (C, D and S variants)"),),
    ),
)
