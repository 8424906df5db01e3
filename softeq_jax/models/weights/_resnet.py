"""ImageNet ResNets of Hugging Face, and of timm and torchvision, whose names are the same."""

from softeq_jax.models.resnet import ResNet
from softeq_jax.models.weights._architecture import NO_WEIGHTS, Arrays, Format, stage_count
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


def _build(arrays: Arrays, config: Config, heads: int | None) -> ResNet:
    del heads
    stages = stage_count(arrays, r"params/stage(\d+)_block")
    counts = tuple(
        arrays.count(rf"params/stage{stage}_block(\d+)/") for stage in range(1, max(4, stages) + 1)
    )
    bottleneck = any("/conv3/" in path for path in arrays.entries)
    *_, channels, width = arrays.shape("params/conv1/kernel")
    widths = tuple(width * 2**stage for stage in range(len(counts)))
    wide = tuple(4 * w if bottleneck else w for w in widths)
    config.agree(
        depths=counts,
        layers=counts,
        num_channels=channels,
        in_chans=channels,
        channels=widths,
        hidden_sizes=wide,
        embedding_size=width,
        layer_type="bottleneck" if bottleneck else "basic",
    )
    config.agree_on_features(wide[-1])
    return ResNet(
        depths=tuple(max(1, count) for count in counts),
        bottleneck=bottleneck,
        width=width,
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
