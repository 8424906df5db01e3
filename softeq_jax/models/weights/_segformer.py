"""SegFormers of Hugging Face: classifiers, and segmenters with their head."""

from softeq_jax.models.heads import SegFormerHead, Segmenter
from softeq_jax.models.segformer import SegFormer
from softeq_jax.models.weights._architecture import NO_WEIGHTS, Arrays, Format, stage_count
from softeq_jax.models.weights._configuration import IMAGENET, Config, default_preprocess
from softeq_jax.models.weights._tensor_names import NameTable

# The names in published files; s counts stages, j blocks.
_PUBLISHED = """
    encoder.patch_embeddings.{s}.proj       | stage{s+1}_patch_embed | conv
    encoder.patch_embeddings.{s}.layer_norm | stage{s+1}_patch_norm  | norm
    encoder.block.{s}.{j}.*                 | stage{s+1}_block{j}/*
    *layer_norm_1                           | *norm1                 | norm
    *attention.self.query                   | *attention/query       | linear
    *attention.self.key                     | *attention/key         | linear
    *attention.self.value                   | *attention/value       | linear
    *attention.self.sr                      | *attention/reduce      | conv
    *attention.self.layer_norm              | *attention/reduce_norm | norm
    *attention.output.dense                 | *attention/out         | linear
    *layer_norm_2                           | *norm2                 | norm
    *mlp.dense1                             | *mlp_in                | linear
    *mlp.dwconv.dwconv                      | *mlp_conv              | conv
    *mlp.dense2                             | *mlp_out               | linear
    encoder.layer_norm.{s}                  | stage{s+1}_norm        | norm
"""

# The names inside transformers 5.
_RENAMED = """
    stages.{s}.patch_embeddings.proj                 | stage{s+1}_patch_embed | conv
    stages.{s}.patch_embeddings.layer_norm           | stage{s+1}_patch_norm  | norm
    stages.{s}.blocks.{j}.*                          | stage{s+1}_block{j}/*
    *layernorm_before                                | *norm1                 | norm
    *attention.q_proj                                | *attention/query       | linear
    *attention.k_proj                                | *attention/key         | linear
    *attention.v_proj                                | *attention/value       | linear
    *attention.sequence_reduction.sequence_reduction | *attention/reduce      | conv
    *attention.sequence_reduction.layer_norm         | *attention/reduce_norm | norm
    *attention.o_proj                                | *attention/out         | linear
    *layernorm_after                                 | *norm2                 | norm
    *mlp.fc1                                         | *mlp_in                | linear
    *mlp.dwconv.dwconv                               | *mlp_conv              | conv
    *mlp.fc2                                         | *mlp_out               | linear
    stages.{s}.layer_norm                            | stage{s+1}_norm        | norm
"""

_CLASSIFIER = "/classifier | head | linear"
_DECODER = """
    /decode_head.{projections}.{s}.proj | head/project{s+1} | linear
    /decode_head.linear_fuse            | head/fuse         | conv without bias
    /decode_head.batch_norm             | head/fuse_norm    | batch norm
    /decode_head.classifier             | head/classifier   | conv
"""


def _under_backbone(rows: str) -> str:
    """The same rows for a segmenter, whose encoder lies one module deeper."""
    return rows.replace("| stage", "| backbone/stage")


_SEGMENTERS = (
    NameTable(_under_backbone(_PUBLISHED) + _DECODER.replace("{projections}", "linear_c")),
    NameTable(_under_backbone(_RENAMED) + _DECODER.replace("{projections}", "linear_projections")),
)
_CLASSIFIERS = (NameTable(_PUBLISHED + _CLASSIFIER), NameTable(_RENAMED + _CLASSIFIER))


def _classifier(arrays: Arrays, config: Config, heads: tuple[int, ...] | None) -> SegFormer:
    classes = arrays.classes("params/head/kernel", "params/head/bias")
    return _encoder(arrays, config, heads, "params/", classes)


def _segmenter(arrays: Arrays, config: Config, heads: tuple[int, ...] | None) -> Segmenter:
    width = arrays.shape("params/head/project1/kernel")[1]
    config.agree(decoder_hidden_size=width)
    path = "params/head/classifier"
    classes = max(1, arrays.classes(f"{path}/kernel", f"{path}/bias"))
    backbone = _encoder(arrays, config, heads, "params/backbone/", 0)
    return Segmenter(backbone, SegFormerHead(classes, width))


def _encoder(
    arrays: Arrays, config: Config, heads: tuple[int, ...] | None, start: str, classes: int
) -> SegFormer:
    stages = max(1, stage_count(arrays, rf"{start}stage(\d+)_patch_embed"))
    embed = [f"{start}stage{s}_patch_embed/kernel" for s in range(1, stages + 1)]
    first = [f"{start}stage{s}_block0" for s in range(1, stages + 1)]
    widths = tuple(arrays.shape(path)[3] for path in embed)
    depths = tuple(
        max(1, arrays.count(rf"{start}stage{s}_block(\d+)/")) for s in range(1, stages + 1)
    )
    hidden = [arrays.shape(f"{block}/mlp_in/kernel")[1] for block in first]
    patches = tuple(arrays.square(path) for path in embed)
    reductions = tuple(
        arrays.square(path) if (path := f"{block}/attention/reduce/kernel") in arrays else 1
        for block in first
    )
    config.agree(
        num_encoder_blocks=stages,
        hidden_sizes=widths,
        depths=depths,
        patch_sizes=patches,
        sr_ratios=reductions,
        num_channels=arrays.shape(embed[0])[2],
    )
    pairs = zip(widths, hidden, strict=True)
    config.agree_on_hidden("mlp_ratios", {f"stage {s}": p for s, p in enumerate(pairs, 1)})
    strides = config.for_stages("strides", stages) or (4, *(2,) * (stages - 1))
    if any(stride > patch for stride, patch in zip(strides, patches, strict=True)):
        where = config.where if "strides" in config else arrays.source
        raise ValueError(
            f"{where}: strides are {strides}, which leave out pixels between patches of {patches}"
        )
    return SegFormer(
        widths=widths,
        depths=depths,
        heads=heads or _heads(arrays, config, widths),
        reductions=reductions,
        patch_sizes=patches,
        strides=strides,
        mlp_ratios=tuple(
            h // w if h % w == 0 else h / w for h, w in zip(hidden, widths, strict=True)
        ),
        num_classes=classes,
    )


def _heads(arrays: Arrays, config: Config, widths: tuple[int, ...]) -> tuple[int, ...]:
    """Heads of the stages: configured, or as many as the width has of the first stage's.

    Raises:
      ValueError: neither says.
    """
    configured = config.for_stages("num_attention_heads", len(widths))
    if configured is not None:
        return configured
    if any(width % widths[0] for width in widths):
        raise ValueError(
            f"{arrays.source}: the numbers of attention heads are not in the tensors, and the "
            f"widths {widths} are no multiples of the first; pass heads=(...)"
        )
    return tuple(width // widths[0] for width in widths)


FORMATS = (
    *(
        Format(
            family="segformer",
            name="hugging face",
            table=table,
            build=_classifier,
            head="params/head",
            stem="params/stage1_patch_embed/kernel",
            side=lambda model: 256,
            preprocess=default_preprocess("segformer", IMAGENET, 224, keep_aspect=False),
            prefixes=("segformer.", ""),
            model_types={"segformer": ("SegformerModel", "SegformerForImageClassification")},
        )
        for table in _CLASSIFIERS
    ),
    *(
        Format(
            family="segformer",
            name="hugging face",
            table=table,
            build=_segmenter,
            head="params/head/classifier",
            stem="params/backbone/stage1_patch_embed/kernel",
            side=lambda model: 256,
            preprocess=default_preprocess("segformer", IMAGENET, 512, keep_aspect=False),
            prefixes=("segformer.",),
            model_types={"segformer": ("SegformerForSemanticSegmentation",)},
            unused=(NO_WEIGHTS,),
        )
        for table in _SEGMENTERS
    ),
)
