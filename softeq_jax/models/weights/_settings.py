"""Settings: what each value of a checkpoint's JSON files may be, and the check that it is.

A setting that is not here says nothing about the network and is passed over; only timm's
``model_args``, which build the network, may have no others. ``null`` is as good as no setting.
"""

import reprlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

_MOST = 1 << 20
_SIDES = 1 << 14


class Kind(NamedTuple):
    """What a value may be.

    Attributes:
      words: for messages, after "expected".
      fits: whether a value is of this kind. ``True`` is no number, and ``2.0`` no integer.
    """

    words: str
    fits: Callable[[Any], bool]


def _number(low: float, high: float, words: str) -> Kind:
    return Kind(words, lambda v: type(v) in (int, float) and low <= v <= high)


def _integer(least: int, words: str, most: int = _MOST) -> Kind:
    return Kind(words, lambda v: type(v) is int and least <= v <= most)


def _only(*values: Any) -> Kind:
    """One of these values, of the same type."""
    words = " or ".join(repr(v) for v in values)
    return Kind(words, lambda v: any(type(v) is type(a) and v == a for a in values))


def _each(kind: Kind, words: str, least: int = 0) -> Kind:
    return Kind(words, lambda v: type(v) is list and len(v) >= least and all(map(kind.fits, v)))


def _either(first: Kind, second: Kind) -> Kind:
    return Kind(f"{first.words} or {second.words}", lambda v: first.fits(v) or second.fits(v))


def _equal_pair(kind: Kind) -> Kind:
    return Kind(
        kind.words, lambda v: type(v) is list and len(v) == 2 and v[0] == v[1] and kind.fits(v[0])
    )


def _typed(words: str, kind: type) -> Kind:
    return Kind(words, lambda v: type(v) is kind)


def _is_input_size(value: Any) -> bool:
    numbers = type(value) is list and len(value) == 3 and all(map(_COUNT.fits, value))
    return numbers and value[1] == value[2] and _PIXELS.fits(value[1])


def _is_size(value: Any) -> bool:
    if type(value) is not dict:
        return _SIDE.fits(value)
    sides = [value[key] for key in sorted(value)]
    known = sorted(value) in (["shortest_edge"], ["height", "width"])
    return known and all(map(_PIXELS.fits, sides)) and sides[0] == sides[-1]


def _are_labels(value: Any) -> bool:
    return type(value) is dict and all(
        key.isascii() and key.isdecimal() and type(label) in (str, int)
        for key, label in value.items()
    )


_TEXT, _FLAG, _OBJECT = (
    _typed("a text", str),
    _typed("true or false", bool),
    _typed("an object", dict),
)
_TEXTS = _each(_TEXT, "a list of texts")
_COUNT, _POSITIVE = _integer(0, "an integer >= 0"), _integer(1, "a positive integer")
_POSITIVES = _each(_POSITIVE, "a list of positive integers")
_SHARE = _number(0, 1, "a number from 0 to 1")
_SCALE = _number(0, 1e3, "a number >= 0")
_RATIO = _number(1e-3, 1e3, "a positive number")
_EPSILON = _number(1e-20, 0.1, "a number above 0, at most 0.1")
_CROP = _number(0.1, 1, "a number from 0.1 to 1")
_PIXELS = _integer(1, f"a square size of 1 to {_SIDES} pixels", _SIDES)
_SIDE = Kind(_PIXELS.words, lambda v: _PIXELS.fits(v) or _equal_pair(_PIXELS).fits(v))
_LABELS = Kind("an object from numbers to labels", _are_labels)
_SIZE = Kind(f"a square size or a shortest_edge, 1 to {_SIDES} pixels", _is_size)
_INPUT_SIZE = Kind(f"[channels, side, side], a square of 1 to {_SIDES} pixels", _is_input_size)
_MEANS = _each(_number(-1e4, 1e4, ""), "one number for each channel", least=1)
_DEVIATIONS = _each(_number(1e-4, 1e4, ""), "one positive number for each channel", least=1)
PILLOW = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")  # by Pillow's number

# config.json of Hugging Face: of all families, and of each.
_ALL = {
    **dict.fromkeys(("transformers_version", "torch_dtype", "dtype"), _TEXT),
    **dict.fromkeys(("hidden_dropout_prob", "attention_probs_dropout_prob"), _SHARE),
    **dict.fromkeys(("drop_path_rate", "classifier_dropout_prob"), _SHARE),
    "model_type": _TEXT,
    "architectures": _TEXTS,
    "num_labels": _COUNT,
    "id2label": _LABELS,
    "label2id": _OBJECT,
    "num_channels": _POSITIVE,
    "image_size": _SIDE,
    "initializer_range": _SCALE,
}
_TRANSFORMER = {
    **dict.fromkeys(("hidden_size", "num_hidden_layers", "num_attention_heads"), _POSITIVE),
    "hidden_act": _only("gelu"),
    "layer_norm_eps": _EPSILON,
    "patch_size": _SIDE,
    "qkv_bias": _only(True),
}
HUGGING_FACE: Mapping[str, Mapping[str, Kind]] = {
    "vit": {
        **_ALL,
        **_TRANSFORMER,
        **dict.fromkeys(("intermediate_size", "encoder_stride", "pooler_output_size"), _POSITIVE),
    },
    "dinov2": {
        **_ALL,
        **_TRANSFORMER,
        "mlp_ratio": _RATIO,
        "num_register_tokens": _COUNT,
        "layerscale_value": _SCALE,
        "use_swiglu_ffn": _only(False),
        "use_mask_token": _FLAG,
        "apply_layernorm": _FLAG,
        "reshape_hidden_states": _FLAG,
    },
    "resnet": {
        **_ALL,
        **dict.fromkeys(("depths", "hidden_sizes"), _POSITIVES),
        "embedding_size": _POSITIVE,
        "layer_type": _only("basic", "bottleneck"),
        "hidden_act": _only("relu"),
        "downsample_in_first_stage": _only(False),
        "downsample_in_bottleneck": _only(False),
    },
    "segformer": {
        **_ALL,
        **dict.fromkeys(("depths", "hidden_sizes", "num_attention_heads"), _POSITIVES),
        **dict.fromkeys(("patch_sizes", "strides", "sr_ratios"), _POSITIVES),
        **dict.fromkeys(("num_encoder_blocks", "decoder_hidden_size"), _POSITIVE),
        "mlp_ratios": _each(_RATIO, "a list of positive numbers"),
        "hidden_act": _only("gelu"),
        "layer_norm_eps": _EPSILON,
        "reshape_last_stage": _FLAG,
        "semantic_loss_ignore_index": _integer(-_MOST, "an integer"),
    },
}

# config.json of timm: the file, its pretrained_cfg (in old files a part of it), its model_args.
TIMM: Mapping[str, Kind] = {
    "architecture": _TEXT,
    "num_classes": _COUNT,
    "num_features": _POSITIVE,
    "global_pool": _TEXT,
    "pretrained_cfg": _OBJECT,
    "model_args": _OBJECT,
}
PRETRAINED_CFG: Mapping[str, Kind] = {
    **dict.fromkeys(("input_size", "test_input_size", "min_input_size"), _INPUT_SIZE),
    **dict.fromkeys(("crop_pct", "test_crop_pct"), _CROP),
    "mean": _MEANS,
    "std": _DEVIATIONS,
    "interpolation": _only(*PILLOW),
    "crop_mode": _only("center", "squash"),
    "num_classes": _COUNT,
    "fixed_input_size": _FLAG,
}
_RATES = ("drop_rate", "drop_path_rate", "proj_drop_rate", "attn_drop_rate")
MODEL_ARGS: Mapping[str, Mapping[str, Kind]] = {
    "vit": {
        **dict.fromkeys((*_RATES, "pos_drop_rate", "patch_drop_rate"), _SHARE),
        **dict.fromkeys(("in_chans", "embed_dim", "depth", "num_heads"), _POSITIVE),
        **dict.fromkeys(("img_size", "patch_size"), _SIDE),
        **dict.fromkeys(("num_classes", "reg_tokens"), _COUNT),
        **dict.fromkeys(("class_token", "no_embed_class", "fc_norm"), _FLAG),
        **dict.fromkeys(("fix_init", "dynamic_img_size"), _FLAG),
        **dict.fromkeys(("qkv_bias", "proj_bias", "final_norm"), _only(True)),
        **dict.fromkeys(("qk_norm", "scale_attn_norm", "scale_mlp_norm"), _only(False)),
        **dict.fromkeys(("pre_norm", "pool_include_prefix", "dynamic_img_pad"), _only(False)),
        **dict.fromkeys(("norm_layer", "embed_norm_layer"), _only(None)),
        "mlp_ratio": _RATIO,
        "init_values": _SCALE,
        "global_pool": _only("token", "avg"),
        "weight_init": _TEXT,
        "pos_embed": _only("learn"),
        "act_layer": _only("gelu"),
    },
    "mixer": {
        **dict.fromkeys(("drop_rate", "proj_drop_rate", "drop_path_rate"), _SHARE),
        **dict.fromkeys(("in_chans", "embed_dim", "num_blocks"), _POSITIVE),
        **dict.fromkeys(("img_size", "patch_size"), _SIDE),
        "num_classes": _COUNT,
        "mlp_ratio": _either(_RATIO, _each(_RATIO, "a list of them")),
        "nlhb": _FLAG,
        "stem_norm": _only(False),
        "global_pool": _only("avg"),
        "act_layer": _only("gelu"),
    },
    "resnet": {
        **dict.fromkeys(("drop_rate", "drop_path_rate", "drop_block_rate"), _SHARE),
        **dict.fromkeys(("layers", "channels"), _POSITIVES),
        **dict.fromkeys(("replace_stem_pool", "avg_down"), _only(False)),
        **dict.fromkeys(("cardinality", "block_reduce_first", "down_kernel_size"), _only(1)),
        **dict.fromkeys(("stem_type", "aa_layer"), _only("")),
        "num_classes": _COUNT,
        "in_chans": _POSITIVE,
        "global_pool": _only("avg"),
        "zero_init_last": _FLAG,
        "output_stride": _only(32),
        "base_width": _only(64),
        "act_layer": _only("relu"),
    },
    "efficientnet_lite": {
        **dict.fromkeys(("drop_rate", "drop_path_rate"), _SHARE),
        "num_classes": _COUNT,
        "in_chans": _POSITIVE,
        "global_pool": _only("avg"),
    },
}

PREPROCESSOR: Mapping[str, Kind] = {
    **dict.fromkeys(("do_normalize", "do_rescale", "do_center_crop", "do_convert_rgb"), _FLAG),
    **dict.fromkeys(("size", "crop_size"), _SIZE),
    "do_resize": _only(True),
    "do_flip_channel_order": _only(False),
    "rescale_offset": _only(False),
    "rescale_factor": _number(1e-5, 1, "a number from 1e-5 to 1"),
    "image_mean": _MEANS,
    "image_std": _DEVIATIONS,
    "crop_pct": _CROP,
    "resample": _integer(0, "Pillow's number, 0 to 5", len(PILLOW) - 1),
}
TEXT_BY_NAME = Kind(
    "an object of texts",
    lambda v: type(v) is dict and all(type(text) is str for text in v.values()),
)
INDEX: Mapping[str, Kind] = {"weight_map": TEXT_BY_NAME, "metadata": _OBJECT}
TENSOR: Mapping[str, Kind] = {
    "dtype": _TEXT,
    "shape": Kind(
        "a list of at most 16 integers >= 0",
        lambda v: type(v) is list and len(v) <= 16 and all(type(n) is int and n >= 0 for n in v),
    ),
    "data_offsets": Kind(
        "two integers, begin and end",
        lambda v: (
            type(v) is list and len(v) == 2 and all(type(n) is int for n in v) and 0 <= v[0] <= v[1]
        ),
    ),
}


def check(
    values: Mapping[str, Any],
    where: str,
    kinds: Mapping[str, Kind],
    *,
    required: tuple[str, ...] = (),
    closed: str = "",
) -> None:
    """Checks the settings of a file.

    Args:
      values: the settings.
      where: they are, for messages.
      kinds: what each may be.
      required: those that must be there.
      closed: what to call the values if there may be no others than those of ``kinds``.

    Raises:
      ValueError: one is missing, of another kind, or unknown; the message names it.
    """
    for key in required:
        if values.get(key) is None:
            raise ValueError(f"{where}: has no {key}, expected {kinds[key].words}")
    for key, value in values.items():
        if key in kinds:
            if value is not None and not kinds[key].fits(value):
                raise ValueError(f"{where}: {key} is {shown(value)}, expected {kinds[key].words}")
        elif closed:
            raise ValueError(
                f"{where}: {closed} has {key} = {shown(value)}, which is not supported"
            )


def shown(value: Any) -> str:
    """A value as it stands in a message, however large it is."""
    return _REPR.repr(value)


_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = 60
