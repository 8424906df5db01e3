"""Vision transformers of Hugging Face (ViT, DeiT) and timm."""

import math

from softeq_jax.models.vit import ViT
from softeq_jax.models.weights._architecture import (
    Arrays,
    Format,
    attention_heads,
    block_count,
    mlp_ratio,
    trained_image_size,
)
from softeq_jax.models.weights._configuration import HALF, Config, default_preprocess
from softeq_jax.models.weights._tensor_names import NameTable

# Hugging Face, the names in published files.
PUBLISHED = NameTable("""
    embeddings.cls_token                   | cls_token        | array
    embeddings.distillation_token          | register_tokens  | array
    embeddings.position_embeddings         | pos_embed        | array
    embeddings.patch_embeddings.projection | patch_embed      | conv
    encoder.layer.{i}.*                    | block{i}/*
    *layernorm_before                      | *norm1           | norm
    *attention.attention.query             | *attention/query | linear
    *attention.attention.key               | *attention/key   | linear
    *attention.attention.value             | *attention/value | linear
    *attention.output.dense                | *attention/out   | linear
    *layernorm_after                       | *norm2           | norm
    *intermediate.dense                    | *mlp_in          | linear
    *output.dense                          | *mlp_out         | linear
    layernorm                              | norm             | norm
    /classifier                            | head             | linear
""")

# Hugging Face, the names inside transformers 5.
RENAMED = NameTable("""
    embeddings.cls_token                   | cls_token        | array
    embeddings.distillation_token          | register_tokens  | array
    embeddings.position_embeddings         | pos_embed        | array
    embeddings.patch_embeddings.projection | patch_embed      | conv
    layers.{i}.*                           | block{i}/*
    *layernorm_before                      | *norm1           | norm
    *attention.q_proj                      | *attention/query | linear
    *attention.k_proj                      | *attention/key   | linear
    *attention.v_proj                      | *attention/value | linear
    *attention.o_proj                      | *attention/out   | linear
    *layernorm_after                       | *norm2           | norm
    *mlp.fc1                               | *mlp_in          | linear
    *mlp.fc2                               | *mlp_out         | linear
    layernorm                              | norm             | norm
    /classifier                            | head             | linear
""")

# timm. Where the last norm comes after the mean it is called fc_norm, otherwise norm.
_TIMM = """
    cls_token        | cls_token       | array
    reg_token        | register_tokens | array
    pos_embed        | pos_embed       | array
    patch_embed.proj | patch_embed     | conv
    blocks.{i}.*     | block{i}/*
    *norm1           | *norm1          | norm
    *attn.qkv        | *attention      | fused qkv
    *attn.proj       | *attention/out  | linear
    *ls1.gamma       | *scale1         | array
    *norm2           | *norm2          | norm
    *mlp.fc1         | *mlp_in         | linear
    *mlp.fc2         | *mlp_out        | linear
    *ls2.gamma       | *scale2         | array
    head             | head            | linear
"""
TIMM = NameTable(_TIMM + "norm | norm | norm")
TIMM_POOLED = NameTable(_TIMM + "fc_norm | norm | norm")

# timm's networks whose heads differ from those of others as wide.
_TIMM_HEADS = {"vit_base_patch16_gap_224": 16, "test_vit": 2, "test_vit2": 2}
# All plain ones, without those that use the tanh approximation of GELU.
_TIMM_NAMES = (
    r"(?!vit_(giantopt|so400m_patch16_siglip|base_patch32_siglip|large_patch16_siglip_gap_512))"
    r"(vit|deit3?|flexivit|eva_large|test_vit2?)(_.*)?"
)


def _hugging_face(arrays: Arrays, config: Config, heads: int | None) -> ViT:
    """DeiT's distillation token is a register that has a position."""
    patch = arrays.square("params/patch_embed/kernel")
    width = arrays.shape("params/patch_embed/kernel")[3]
    depth = block_count(arrays)
    config.agree(
        hidden_size=width,
        num_hidden_layers=depth,
        intermediate_size=arrays.shape("params/block0/mlp_in/kernel")[1],
        patch_size=patch,
        num_channels=arrays.shape("params/patch_embed/kernel")[2],
    )
    registers = int("params/register_tokens" in arrays)
    patches = arrays.rows("params/pos_embed") - 1 - registers
    return ViT(
        image_size=trained_image_size(arrays, config, "image_size", patch, patches),
        patch_size=patch,
        width=width,
        depth=depth,
        heads=attention_heads(arrays, config, "num_attention_heads", width, heads),
        mlp_ratio=mlp_ratio(arrays, width),
        num_classes=arrays.classes("params/head/kernel", "params/head/bias"),
        registers=registers,
        norm_epsilon=config.get("layer_norm_eps", 1e-12),
    )


def _timm(arrays: Arrays, config: Config, heads: int | None) -> ViT:
    patch = arrays.square("params/patch_embed/kernel")
    width = arrays.shape("params/patch_embed/kernel")[3]
    depth = block_count(arrays)
    pooled = arrays.table is TIMM_POOLED
    class_token = "params/cls_token" in arrays
    registers = arrays.rows("params/register_tokens") if "params/register_tokens" in arrays else 0
    config.agree(
        embed_dim=width,
        depth=depth,
        patch_size=patch,
        in_chans=arrays.shape("params/patch_embed/kernel")[2],
        class_token=class_token,
        reg_tokens=registers,
    )
    hidden = arrays.shape("params/block0/mlp_in/kernel")[1]
    config.agree_on_hidden("mlp_ratio", {"": (width, hidden)})
    config.agree_on_features(width)
    pool = config.get("global_pool", config.all.get("global_pool"))
    if pool is None:
        pool = "avg" if pooled or not class_token else "token"
    if pool == "token" and not class_token:
        raise ValueError(
            f"{config.where}: global_pool is 'token', but the tensors have no class token"
        )
    rows = arrays.rows("params/pos_embed")
    prefix = _prefix_rows(arrays, config, patch, rows, int(class_token) + registers)
    if heads is None and config.format == "timm":
        heads = _TIMM_HEADS.get(str(config.all["architecture"]).split(".")[0])
        heads = config.get("num_heads", heads)
    return ViT(
        image_size=trained_image_size(arrays, config, "img_size", patch, rows - prefix),
        patch_size=patch,
        width=width,
        depth=depth,
        heads=attention_heads(arrays, config, "num_heads", width, heads),
        mlp_ratio=mlp_ratio(arrays, width),
        num_classes=arrays.classes("params/head/kernel", "params/head/bias"),
        pool="cls" if pool == "token" else "mean",
        class_token=class_token,
        registers=registers,
        position_prefix="all" if prefix else "none",
        norm_epsilon=1e-6,
        layer_scale=config.get("init_values", 1e-5) if "params/block0/scale1" in arrays else None,
        norm_after_pool=pooled and pool == "avg",
    )


def _prefix_rows(arrays: Arrays, config: Config, patch: int, rows: int, prefix: int) -> int:
    """How many rows of the position table belong to class token and registers: all or none.

    Raises:
      ValueError: the size of the table does not tell, and neither does the configuration.
    """
    if "no_embed_class" in config:
        return 0 if config.values["no_embed_class"] else prefix
    side = config.side("img_size")
    fits = [p for p in {0, prefix} if p < rows and math.isqrt(rows - p) ** 2 == rows - p]
    if side is not None:
        fits = [p for p in fits if (side // patch) ** 2 == rows - p]
    if not fits:
        raise ValueError(
            f"{arrays.source}: tensor pos_embed has {rows} rows, expected a square number or "
            f"{prefix} more"
        )
    if len(fits) > 1:
        raise ValueError(
            f"{arrays.source}: tensor pos_embed has {rows} rows, of which 0 or {prefix} may belong "
            f"to class token and registers; a {config.where} with no_embed_class or img_size tells"
        )
    return fits[0]


_MASK = (r"(.*\.)?mask_token", "masks patches in pretraining")
_POOLER = (r"(.*\.)?pooler\.dense\.(weight|bias)", "follows the class token after the last norm")


def _published(table: NameTable) -> Format:
    return Format(
        family="vit",
        name="hugging face",
        table=table,
        build=_hugging_face,
        head="params/head",
        stem="params/patch_embed/kernel",
        side=lambda model: model.image_size,
        preprocess=default_preprocess("vit", HALF, 224, keep_aspect=False),
        fixed_size=True,
        prefixes=("vit.", "deit.", ""),
        model_types={
            "vit": ("ViTModel", "ViTForImageClassification"),
            "deit": ("DeiTModel", "DeiTForImageClassification"),
        },
        unused=(_MASK, _POOLER),
        backbone_only=rf"{_MASK[0]}|{_POOLER[0]}",
        refused=(
            (r"(cls|distillation)_classifier\..*", "DeiT with a head on its distillation token"),
            (r"decoder\..*", "a masked autoencoder"),
        ),
    )


def _of_timm(table: NameTable) -> Format:
    return Format(
        family="vit",
        name="timm",
        table=table,
        build=_timm,
        head="params/head",
        stem="params/patch_embed/kernel",
        side=lambda model: model.image_size,
        preprocess=default_preprocess("vit", HALF, 224, resize=248, interpolation="bicubic"),
        fixed_size=True,
        architectures=_TIMM_NAMES,
        refused=(
            (r"norm_pre\..*", "a transformer with a norm before its blocks (CLIP)"),
            (r"attn_pool\..*", "a transformer that pools by attention"),
            (r"dist_token|head_dist\..*", "DeiT with a head on its distillation token"),
            (r"blocks\.\d+\.attn\.[qk]_norm\..*", "a transformer with normalized queries"),
        ),
    )


FORMATS = (_published(PUBLISHED), _published(RENAMED), _of_timm(TIMM), _of_timm(TIMM_POOLED))
