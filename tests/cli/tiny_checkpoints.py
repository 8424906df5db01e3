"""Tiny checkpoints as others publish them: a CIFAR ResNet's file, and a ViT's folder."""

import json

import jax
import numpy as np
from flax import traverse_util
from safetensors.numpy import save_file

from softeq_jax import models
from softeq_jax.models.weights import FORMATS

PUBLISHED = next(f.table for f in FORMATS if (f.family, f.name) == ("vit", "hugging face"))
CONFIG = {
    "model_type": "vit",
    "architectures": ["ViTForImageClassification"],
    "hidden_act": "gelu",
    "hidden_size": 12,
    "image_size": 16,
    "layer_norm_eps": 1e-12,
    "num_attention_heads": 3,
    "num_hidden_layers": 1,
    "patch_size": 4,
}
PREPROCESSOR = {
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.25, 0.25, 0.25],
    "resample": 2,
    "rescale_factor": 1 / 255,
    "size": {"height": 16, "width": 16},
}


def random_variables(model, side):
    """Random float32 arrays of the right shapes; variances are positive."""
    images = jax.ShapeDtypeStruct((1, side, side, 3), np.float32)
    shapes = jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), images)
    rng = np.random.default_rng(0)

    def filled(path, leaf):
        values = 0.3 * rng.standard_normal(leaf.shape)
        return (np.abs(values) + 0.5 if path[-1].key == "var" else values).astype(np.float32)

    return jax.tree_util.tree_map_with_path(filled, shapes)


def cifar_file(path):
    """A ResNet-8 with 5 classes, as one file."""
    model = models.CifarResNet(depth=8, width=4, num_classes=5)
    models.save_cifar_resnet(path, random_variables(model, 8))
    return path


def vit_folder(path, dtype=np.float32):
    """A vision transformer of 4 x 4 patches with 5 classes, as a Hugging Face folder."""
    model = models.ViT(16, 4, width=12, depth=1, heads=3, num_classes=5)
    flat = traverse_util.flatten_dict(random_variables(model, 16), sep="/")
    tensors = {
        entry.name: entry.to_torch([flat[p] for p in entry.paths]).astype(dtype)
        for entry in PUBLISHED.entries(flat, "vit.")
    }
    path.mkdir()
    save_file(tensors, path / "model.safetensors", metadata={"format": "pt"})
    (path / "config.json").write_text(json.dumps(CONFIG))
    (path / "preprocessor_config.json").write_text(json.dumps(PREPROCESSOR))
    return path
