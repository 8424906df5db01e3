"""MLP-Mixers of timm."""

import math

from softeq_jax.models.mixer import MLPMixer
from softeq_jax.models.weights._architecture import Arrays, Format, block_count
from softeq_jax.models.weights._configuration import HALF, Config, default_preprocess
from softeq_jax.models.weights._tensor_names import NameTable

TIMM = NameTable("""
    stem.proj         | patch_embed  | conv
    blocks.{i}.*      | block{i}/*
    *norm1            | *norm1       | norm
    *mlp_tokens.fc1   | *token_in    | linear
    *mlp_tokens.fc2   | *token_out   | linear
    *norm2            | *norm2       | norm
    *mlp_channels.fc1 | *channel_in  | linear
    *mlp_channels.fc2 | *channel_out | linear
    norm              | norm         | norm
    head              | head         | linear
""")


def _build(arrays: Arrays, config: Config, heads: int | None) -> MLPMixer:
    del heads
    patch = arrays.square("params/patch_embed/kernel")
    width = arrays.shape("params/patch_embed/kernel")[3]
    depth = block_count(arrays)
    tokens, token_hidden = arrays.shape("params/block0/token_in/kernel")
    side = math.isqrt(tokens)
    if side**2 != tokens:
        raise ValueError(
            f"{arrays.source}: tensor blocks.0.mlp_tokens.fc1.weight mixes {tokens} patches, "
            "expected a square number"
        )
    config.agree(
        embed_dim=width,
        num_blocks=depth,
        patch_size=patch,
        img_size=side * patch,
        in_chans=arrays.shape("params/patch_embed/kernel")[2],
    )
    channel_hidden = arrays.shape("params/block0/channel_in/kernel")[1]
    config.agree_on_hidden(
        "mlp_ratio", {"tokens": (width, token_hidden), "channels": (width, channel_hidden)}
    )
    config.agree_on_features(width)
    return MLPMixer(
        image_size=side * patch,
        patch_size=patch,
        width=width,
        depth=depth,
        token_hidden=token_hidden,
        channel_hidden=channel_hidden,
        num_classes=arrays.classes("params/head/kernel", "params/head/bias"),
        norm_epsilon=1e-6,
    )


FORMATS = (
    Format(
        family="mixer",
        name="timm",
        table=TIMM,
        build=_build,
        head="params/head",
        stem="params/patch_embed/kernel",
        side=lambda model: model.image_size,
        preprocess=default_preprocess("mixer", HALF, 224, resize=256, interpolation="bicubic"),
        fixed_size=True,
        architectures=r"mixer_.*",
    ),
)
