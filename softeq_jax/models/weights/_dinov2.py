"""DINOv2 of Hugging Face, with or without registers. (timm's is a ViT with layer scales.)"""

from softeq_jax.models.dinov2 import DINOv2
from softeq_jax.models.weights._architecture import (
    Arrays,
    Format,
    attention_heads,
    block_count,
    mlp_ratio,
    trained_image_size,
)
from softeq_jax.models.weights._configuration import IMAGENET, Config, default_preprocess
from softeq_jax.models.weights._tensor_names import NameTable

# The names in published files.
PUBLISHED = NameTable("""
    embeddings.cls_token                   | cls_token        | array
    embeddings.register_tokens             | register_tokens  | array
    embeddings.position_embeddings         | pos_embed        | array
    embeddings.patch_embeddings.projection | patch_embed      | conv
    encoder.layer.{i}.*                    | block{i}/*
    *norm1                                 | *norm1           | norm
    *attention.attention.query             | *attention/query | linear
    *attention.attention.key               | *attention/key   | linear
    *attention.attention.value             | *attention/value | linear
    *attention.output.dense                | *attention/out   | linear
    *layer_scale1.lambda1                  | *scale1          | array
    *norm2                                 | *norm2           | norm
    *mlp.fc1                               | *mlp_in          | linear
    *mlp.fc2                               | *mlp_out         | linear
    *layer_scale2.lambda1                  | *scale2          | array
    layernorm                              | norm             | norm
    /classifier                            | head             | linear
""")

# The names inside transformers 5.
RENAMED = NameTable("""
    embeddings.cls_token                   | cls_token        | array
    embeddings.register_tokens             | register_tokens  | array
    embeddings.position_embeddings         | pos_embed        | array
    embeddings.patch_embeddings.projection | patch_embed      | conv
    encoder.layer.{i}.*                    | block{i}/*
    *norm1                                 | *norm1           | norm
    *attention.q_proj                      | *attention/query | linear
    *attention.k_proj                      | *attention/key   | linear
    *attention.v_proj                      | *attention/value | linear
    *attention.o_proj                      | *attention/out   | linear
    *layer_scale1.lambda1                  | *scale1          | array
    *norm2                                 | *norm2           | norm
    *mlp.fc1                               | *mlp_in          | linear
    *mlp.fc2                               | *mlp_out         | linear
    *layer_scale2.lambda1                  | *scale2          | array
    layernorm                              | norm             | norm
    /classifier                            | head             | linear
""")


def _build(arrays: Arrays, config: Config, heads: int | None) -> DINOv2:
    patch = arrays.square("params/patch_embed/kernel")
    width = arrays.shape("params/patch_embed/kernel")[3]
    depth = block_count(arrays)
    registers = arrays.rows("params/register_tokens") if "params/register_tokens" in arrays else 0
    config.agree(
        hidden_size=width,
        num_hidden_layers=depth,
        num_register_tokens=registers,
        patch_size=patch,
        num_channels=arrays.shape("params/patch_embed/kernel")[2],
    )
    hidden = arrays.shape("params/block0/mlp_in/kernel")[1]
    config.agree_on_hidden("mlp_ratio", {"": (width, hidden)})
    patches = arrays.rows("params/pos_embed") - 1
    return DINOv2(
        width=width,
        depth=depth,
        heads=attention_heads(arrays, config, "num_attention_heads", width, heads),
        image_size=trained_image_size(arrays, config, "image_size", patch, patches),
        patch_size=patch,
        mlp_ratio=mlp_ratio(arrays, width),
        registers=registers,
        num_classes=arrays.classes("params/head/kernel", "params/head/bias"),
        norm_epsilon=config.get("layer_norm_eps", 1e-6),
    )


def _of(table: NameTable) -> Format:
    return Format(
        family="dinov2",
        name="hugging face",
        table=table,
        build=_build,
        head="params/head",
        stem="params/patch_embed/kernel",
        side=lambda model: model.patch_size,
        preprocess=default_preprocess("dinov2", IMAGENET, 224, resize=256, interpolation="bicubic"),
        prefixes=("dinov2.", "dinov2_with_registers.", ""),
        model_types={
            "dinov2": ("Dinov2Model", "Dinov2ForImageClassification"),
            "dinov2_with_registers": (
                "Dinov2WithRegistersModel",
                "Dinov2WithRegistersForImageClassification",
            ),
        },
        unused=((r"(.*\.)?mask_token", "masks patches in pretraining"),),
        refused=(
            (
                r".*\.mlp\.(weights_in|weights_out|gate_proj|up_proj|down_proj)\..*",
                "DINOv2 with SwiGLU perceptrons (giant)",
            ),
        ),
    )


FORMATS = (_of(PUBLISHED), _of(RENAMED))
