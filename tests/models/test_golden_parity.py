"""Networks that transformers and timm made give the same outputs here.

The folders in ``golden`` are written by ``experiments.parity.pytorch --tiny``: a small network with
random weights in its published form, images, and what PyTorch makes of them.
"""

import pathlib

import jax
import numpy as np
import pytest

from softeq_jax import models

GOLDEN = pathlib.Path(__file__).parent / "golden"
# Folder: class of the model, family, format.
CASES = {
    "hf_vit": ("ViT", "vit", "hugging face"),
    "hf_vit_backbone_f16": ("ViT", "vit", "hugging face"),
    "hf_vit_renamed": ("ViT", "vit", "hugging face"),
    "hf_deit": ("ViT", "vit", "hugging face"),
    "hf_dinov2": ("DINOv2", "dinov2", "hugging face"),
    "hf_dinov2_backbone": ("DINOv2", "dinov2", "hugging face"),
    "hf_dinov2_registers_bf16": ("DINOv2", "dinov2", "hugging face"),
    "hf_dinov2_renamed": ("DINOv2", "dinov2", "hugging face"),
    "hf_resnet_basic": ("ResNet", "resnet", "hugging face"),
    "hf_resnet_bottleneck": ("ResNet", "resnet", "hugging face"),
    "hf_segformer": ("SegFormer", "segformer", "hugging face"),
    "hf_segformer_segmenter": ("Segmenter", "segformer", "hugging face"),
    "hf_segformer_renamed": ("Segmenter", "segformer", "hugging face"),
    "timm_resnet": ("ResNet", "resnet", "timm"),
    "timm_vit": ("ViT", "vit", "timm"),
    "timm_vit_mean": ("ViT", "vit", "timm"),
    "timm_vit_registers": ("ViT", "vit", "timm"),
    "timm_dinov2_registers": ("ViT", "vit", "timm"),
    "timm_mixer": ("MLPMixer", "mixer", "timm"),
}


def test_every_golden_network_is_compared():
    assert {folder.name for folder in GOLDEN.iterdir()} == set(CASES)


@pytest.mark.slow(11)
@pytest.mark.parametrize("name", CASES)
def test_outputs_are_those_of_pytorch(name):
    model, family, form = CASES[name]
    changes = {"upsample": False} if model == "Segmenter" else {}
    found = models.load(GOLDEN / name, **changes)
    assert (found.report.model, found.report.family, found.report.format) == (model, family, form)
    apply = jax.jit(
        lambda variables, x: found.model.apply(variables, x, train=False),
        compiler_options={"xla_backend_optimization_level": 0},  # compiling takes longest
    )
    with np.load(GOLDEN / name / "io.npz") as arrays:
        sizes = len(arrays.files) // 2
        for i in range(sizes):
            ours = apply(found.variables, arrays[f"x{i}"].astype(np.float32))
            np.testing.assert_allclose(ours, arrays[f"y{i}"], rtol=0, atol=1e-4)
            assert np.abs(arrays[f"y{i}"]).max() > 0.1
