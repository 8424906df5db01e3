"""Dtypes of every model: variables and outputs stay what they are, also where JAX has float64."""

import inspect

import jax
import jax.numpy as jnp
import pytest

import softeq_jax as sq
from softeq_jax import models
from softeq_jax.models import TensorMLP, TrajectoryTransformer, ViT

IMAGE = ((2, 16, 16, 3),)
GRAPH = ((3, 4, 3), (3, 4, 1, 3), (3, 4, 2), (3, 12, 1))
TRACKS = {"width": 16, "depth": 1, "heads": 2, "mlp_width": 32, "max_length": 10}
PARTICLES = {"width": 16, "layers": 1, "scalars": 2, "edge_scalars": 1}
CLOUD = {"widths": (3, 4, 5), "neighbors": 4, "hidden": (8, 6)}
MIT = models.SegFormer(
    widths=(4, 8), depths=(1, 1), heads=(1, 2), reductions=(2, 1), patch_sizes=(7, 3),
    strides=(4, 2), mlp_ratios=(2, 2), num_classes=5,
)  # fmt: skip
C4 = sq.groups.cyclic(4)
MODELS = {
    "vit": (ViT(16, 4, 16, 1, 2, registers=2, layer_scale=0.1), IMAGE),
    "vit of another size": (ViT(24, 4, 16, 1, 2, pool="mean", interpolate=True), IMAGE),
    "dinov2": (models.DINOv2(16, 1, 2, 16, 4, registers=2, num_classes=5), IMAGE),
    "dinov2 of another size": (models.DINOv2(16, 1, 2, 24, 4, num_classes=5), IMAGE),
    "resnet": (models.ResNet((1, 1, 1, 1), width=4, num_classes=5), IMAGE),
    "cifar resnet": (models.CifarResNet(8, 5, 4), IMAGE),
    "lite": (models.EfficientNetLite((4,) * 7, (1,) * 7, stem=4, width=8, num_classes=5), IMAGE),
    "mixer": (models.MLPMixer(16, 4, 16, 1, 8, 32, num_classes=5), IMAGE),
    "segformer": (MIT, IMAGE),
    "segmenter": (models.segmenter(MIT, 4, "segformer"), IMAGE),
    "linear segmenter": (models.segmenter(MIT, 4, "linear"), IMAGE),
    "group convolutions": (models.GroupConvNet(C4, (2, 2), 5), IMAGE),
    "free group convolutions": (models.GroupConvNet(C4, (2, 2), 5, project=False), IMAGE),
    "tensor mlp": (TensorMLP.o5(16, 2), ((3, 10),)),
    "tensor mlp of norms": (TensorMLP.o5(16, 1, nonlinearity="norm", project=False), ((3, 10),)),
    "trajectories": (TrajectoryTransformer(3, **TRACKS), ((2, 3, 6, 2),)),
    "graph net": (models.EquivariantGraphNet(**PARTICLES), GRAPH),
    "vn pointnet": (models.VNPointNet(4, **CLOUD), ((2, 12, 3),)),
    "volumes": (models.VolumeResNet(8, 5, 4), ((2, 5, 5, 5, 1),)),
    "vn dgcnn": (models.VNDGCNN(4, **CLOUD), ((2, 12, 3),)),
    "free vn pointnet": (models.VNPointNet(4, free=True, **CLOUD), ((2, 12, 3),)),
}


def test_every_model_of_the_package_is_here():
    made = {type(model) for model, _ in MODELS.values()}
    public = [getattr(models, name) for name in models.__all__]
    networks = {c for c in public if inspect.isclass(c) and hasattr(c, "apply")}
    assert networks - made == {models.LinearHead, models.SegFormerHead}  # parts of the segmenters


@pytest.mark.slow(15)
@pytest.mark.parametrize("name", MODELS)
def test_models_keep_their_dtype_under_x64(name):
    model, shapes = MODELS[name]
    calls = [{}]
    if "features" in inspect.signature(type(model).__call__).parameters:
        calls.append({"features": True})
    with jax.enable_x64(True):
        inputs = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
        made = jax.eval_shape(lambda *x: model.init(jax.random.key(0), *x), *inputs)
        assert {str(leaf.dtype) for leaf in jax.tree.leaves(made)} == {"float32"}
        for dtype in ("float32", "bfloat16"):
            variables, given = jax.tree.map(
                lambda x, d=dtype: jax.ShapeDtypeStruct(x.shape, d), (made, inputs)
            )
            for options in calls if dtype == "float32" else calls[-1:]:
                outputs = jax.eval_shape(
                    lambda v, x, o=options: model.apply(v, *x, **o), variables, given
                )
                assert {str(y.dtype) for y in jax.tree.leaves(outputs)} == {dtype}
