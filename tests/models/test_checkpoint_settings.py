"""Settings of checkpoints: of the right type, within their range, and one with the tensors."""

import json

import pytest

from softeq_jax import models

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"


@pytest.mark.parametrize("odd", [True, "4", 2.9, 0, -1, [1], {}, float("nan"), float("inf"), 10**9])
def test_heads_are_a_positive_integer_that_divides_the_channels(altered, odd):
    with pytest.raises(ValueError, match=r"config\.json: (num_attention_heads is|10+ attention)"):
        models.load(altered("hf_vit", {"num_attention_heads": odd}))


@pytest.mark.parametrize("odd", [True, "1e-6", 0, -0.5, float("nan"), 1e308, 10**18, 1e-300, []])
def test_epsilons_are_small_and_positive(altered, odd):
    with pytest.raises(ValueError, match=r"config\.json: layer_norm_eps is"):
        models.load(altered("hf_dinov2", {"layer_norm_eps": odd}))


@pytest.mark.parametrize(
    ("name", "settings", "words"),
    [
        ("hf_vit", {"model_type": []}, "model_type is .., expected a text"),
        ("hf_vit", {"architectures": 5}, "architectures is 5, expected a list of texts"),
        ("hf_vit", {"architectures": [3]}, "architectures is .3."),
        ("hf_vit", {"id2label": [1]}, "id2label is"),
        ("hf_vit", {"id2label": {"a": "b"}}, "id2label is"),
        ("hf_vit", {"num_labels": 4}, "num_labels is 4, but id2label has 5 labels"),
        ("hf_vit", {"num_labels": True}, "num_labels is True"),
        ("hf_vit", {"patch_size": 4}, "patch_size is 4, the tensors have 8"),
        ("hf_vit", {"patch_size": [8, 4]}, "patch_size is .8, 4."),
        ("hf_vit", {"num_channels": 1}, "num_channels is 1, the tensors have 3"),
        ("hf_vit", {"intermediate_size": 64}, "intermediate_size is 64, the tensors have 32"),
        ("hf_vit", {"hidden_size": 10**8}, "hidden_size is 100000000"),
        ("hf_vit", {"num_hidden_layers": 10**9}, "num_hidden_layers is 1000000000"),
        ("hf_vit", {"num_attention_heads": 3}, "3 attention heads do not divide the 16 channels"),
        ("hf_vit", {"qkv_bias": False}, "qkv_bias is False, expected True"),
        ("hf_vit", {"hidden_dropout_prob": "0"}, "hidden_dropout_prob is '0'"),
        ("hf_dinov2", {"use_swiglu_ffn": 0}, "use_swiglu_ffn is 0, expected False"),
        ("hf_dinov2", {"mlp_ratio": 4}, "mlp_ratio is 4, the tensors have 48 hidden of 16"),
        ("hf_resnet_basic", {"layer_type": "bottleneck"}, "layer_type is 'bottleneck'"),
        ("hf_resnet_basic", {"hidden_sizes": [4, 8, 16, 64]}, "hidden_sizes is"),
        ("hf_resnet_basic", {"embedding_size": 8}, "embedding_size is 8, the tensors have 4"),
        ("hf_segformer", {"strides": [10**5, 2, 2, 2]}, "strides are .* leave out pixels"),
        ("hf_segformer", {"strides": [4, 2]}, "strides is .4, 2., expected 4 integers"),
        ("hf_segformer", {"sr_ratios": [1, 1, 1, 1]}, "sr_ratios is"),
        ("hf_segformer", {"mlp_ratios": [2, 2, 2, 2]}, "mlp_ratios is"),
        ("hf_segformer", {"num_attention_heads": [3, 2, 3, 4]}, "heads do not divide the 4 chan"),
        ("timm_vit", {"num_classes": 7}, "num_classes is 7, but 5 in model_args"),
        ("timm_vit", {"num_classes": "5"}, "num_classes is '5'"),
        ("timm_vit", {"global_pool": "avg"}, "global_pool is 'avg', but 'token' in model_args"),
        ("timm_vit", {"num_features": 32}, "num_features is 32, the tensors have 16"),
        ("timm_vit", {"pretrained_cfg": [1]}, "pretrained_cfg is .1., expected an object"),
        ("timm_vit", {"model_args": {"num_heads": 3}}, "3 attention heads do not divide"),
        ("timm_vit", {"model_args": {"class_token": 1}}, "class_token is 1, expected true or f"),
        ("timm_vit", {"model_args": {"mlp_ratio": 3}}, "mlp_ratio is 3, the tensors have 64"),
        ("timm_vit", {"model_args": {"depth": 2.0}}, "depth is 2.0, expected a positive integer"),
        ("timm_mixer", {"model_args": {"mlp_ratio": [1, 1]}}, "mlp_ratio is .1, 1., the tensors"),
        ("timm_resnet", {"model_args": {"layers": [3, 4, 6, 3]}}, "layers is"),
    ],
)
def test_settings_are_typed_and_agree_with_the_tensors(altered, name, settings, words):
    with pytest.raises(ValueError, match=rf"network: config\.json: .*{words}"):
        models.load(altered(name, settings))


@pytest.mark.parametrize(
    ("beside", "words"),
    [
        ({"rescale_factor": odd}, "rescale_factor is")
        for odd in (0, "x", float("nan"), -1, True, 1e300)
    ]
    + [({"crop_pct": odd}, "crop_pct is") for odd in ("x", -0.5, 0, 1.5, True)]
    + [({"resample": odd}, "resample is") for odd in (1.0, True, "2", 6, -1)]
    + [({"image_std": odd}, "image_std is") for odd in ([0, 0, 0], [float("nan")] * 3, 1, [-1] * 3)]
    + [({"image_mean": odd}, "image_mean is") for odd in ([True] * 3, "x", [None] * 3, {})]
    + [({"size": odd}, "size is") for odd in (0, 10**12, True, [32, 64], {"longest_edge": 32})]
    + [({"size": {"shortest_edge": odd}}, "size is") for odd in (-5, 2.0, "32", [32])]
    + [
        ({"size": {"height": 32, "width": 64}}, "size is"),
        ({"image_mean": [0.5, 0.5]}, "has 2 numbers for the mean, but .* 3 channels"),
        ({"do_resize": False}, "do_resize is False, expected True"),
        ({"do_normalize": 1}, "do_normalize is 1, expected true or false"),
        ({"size": 64}, "makes images of 64 x 64 pixels, but the network takes 32 x 32"),
        ({"size": {"shortest_edge": 32}, "do_center_crop": False}, "do_center_crop is False"),
        ({"size": 32, "do_center_crop": True, "crop_size": 64}, "crop_size is 64, more than size"),
    ],
)
def test_preprocessing_is_typed_and_fits_the_network(altered, beside, words):
    with pytest.raises(ValueError, match=rf"network: preprocessor_config\.json: {words}"):
        models.load(altered("hf_vit", beside=beside))


def test_images_are_multiples_of_the_patches(altered):
    size = {"size": {"height": 30, "width": 30}}  # patches of 4, on a table for 20 x 20
    with pytest.raises(
        ValueError, match="makes images of 30 x 30 .* multiples of its patches of 4"
    ):
        models.load(altered("hf_dinov2", beside=size))
    with pytest.raises(
        ValueError, match="makes images of 30 x 30 .* multiples of its patches of 8"
    ):
        models.load(altered("hf_vit", beside=size), interpolate=True)
    size["size"] = {"height": 24, "width": 24}
    assert models.load(altered("hf_dinov2", beside=size)).preprocess.image_size == 24


def test_a_default_size_that_is_no_multiple_of_the_patches_is_not_taken(altered):
    def with_patches_of_five(found):
        name = "dinov2.embeddings.patch_embeddings.projection.weight"
        return found | {name: found[name].repeat(2, axis=2).repeat(2, axis=3)[..., :5, :5].copy()}

    folder = altered("hf_dinov2", {"patch_size": 5, "image_size": 25}, tensors=with_patches_of_five)
    found = models.load(folder)
    assert (found.model.patch_size, found.preprocess.image_size) == (5, 25)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"input_size": [3, 32, 64]}, "input_size is .3, 32, 64., expected .channels, side, side"),
        ({"input_size": [3, 32, 64], "mean": None}, "input_size is .3, 32, 64."),
        ({"input_size": [1, 32, 32]}, "input_size is .1, 32, 32., but .* images of 3 channels"),
        ({"mean": []}, "mean is .., expected one number for each channel"),
        ({"mean": None, "input_size": None, "std": [0.5]}, "has 1 numbers for the std"),
        ({"mean": [0.5]}, "has 1 numbers for the mean"),
        ({"std": [0.5, 0.5, 0]}, "std is"),
        ({"crop_pct": 0}, "crop_pct is 0"),
        ({"crop_mode": "border"}, "crop_mode is 'border', expected 'center' or 'squash'"),
        ({"interpolation": "random"}, "interpolation is 'random'"),
    ],
)
def test_recipes_of_timm_are_typed_and_fit_the_network(altered, settings, words):
    folder = altered("timm_vit", settings, "pretrained_cfg")
    with pytest.raises(ValueError, match=rf"config\.json: pretrained_cfg.*: {words}"):
        models.load(folder)


def test_a_recipe_of_another_image_size(altered):
    other = altered("timm_vit", {"input_size": [3, 224, 224]}, "pretrained_cfg")
    made = models.load(other).preprocess  # model_args say img_size = 32
    assert (made.image_size, made.resize) == (32, 35)
    assert made.source.endswith("at img_size 32")
    assert models.load(other, interpolate=True).preprocess.image_size == 224
    text = json.loads((other / "config.json").read_text())
    del text["model_args"]["img_size"]
    (other / "config.json").write_text(json.dumps(text))
    with pytest.raises(ValueError, match="makes images of 224 x 224 .* takes 32 x 32.*interpolate"):
        models.load(other)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b'{"a": "vit", "a": "vit"}', "not JSON .the name 'a' occurs twice"),
        (b"[" * 200_000, "not JSON"),
        (b'{"a":' * 200_000, "not JSON"),
        (b'{"a": ' + b"[" * 90 + b"]" * 90 + b"}", "nested more than 64 levels deep"),
        (b'{"a": "caf\xe9"}', "not a text in UTF-8"),
        ('{"a": "vit"}'.encode("utf-16"), "not a text in UTF-8"),
        (b'\xef\xbb\xbf{"a": "vit"}', "not JSON .*BOM"),
        (b"null", "expected a JSON object, got NoneType"),
        (b'{"a": ' + b"9" * 5000 + b"}", "not JSON"),
    ],
)
@pytest.mark.parametrize("file", ["config.json", "preprocessor_config.json", INDEX])
def test_texts_that_are_no_json_are_told_by_name(altered, file, text, words):
    folder = altered("hf_vit")
    (folder / file).write_bytes(text)
    if file == INDEX:
        (folder / WEIGHTS).unlink()
    with pytest.raises(ValueError, match=rf"{file}: {words}"):
        models.load(folder)


@pytest.mark.parametrize("file", ["config.json", "preprocessor_config.json"])
def test_what_is_there_but_no_file_is_not_passed_over(altered, file):
    folder = altered("hf_vit")
    (folder / file).unlink(missing_ok=True)
    (folder / file).mkdir()
    with pytest.raises(ValueError, match=rf"{file}: is no file"):
        models.load(folder)
    (folder / file).rmdir()
    (folder / file).symlink_to("nowhere")
    with pytest.raises(FileNotFoundError, match=file):
        models.load(folder)
