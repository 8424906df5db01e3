"""Layer certificates: the measured operator defect never exceeds them, and refusals say why."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import softeq_jax as sq
from softeq_jax.certificates import convolution, convolution_norm_bound, lattice_obstacle


@dataclasses.dataclass(frozen=True)
class Layer:
    """A convolution layer on a square map."""

    size: int
    kernel: int
    stride: int = 1
    pad: int = 0
    groups: int = 1

    input_shape = property(lambda self: (self.size, self.size))
    kernel_size = property(lambda self: (self.kernel, self.kernel))
    strides = property(lambda self: (self.stride, self.stride))
    padding = property(lambda self: ((self.pad, self.pad),) * 2)
    kernel_dilation = (1, 1)
    feature_group_count = property(lambda self: self.groups)

    def __call__(self, x, kernel):
        return jax.lax.conv_general_dilated(
            x,
            kernel,
            self.strides,
            self.padding,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=self.groups,
        )

    def matrix(self, kernel):
        """The layer as a dense matrix, float64."""
        channels = kernel.shape[2] * self.groups
        basis = np.eye(self.size**2 * channels, dtype=np.float32)
        x = basis.reshape(-1, self.size, self.size, channels)
        y = np.asarray(self(jnp.asarray(x), jnp.asarray(kernel, jnp.float32)))
        return y.reshape(len(x), -1).T.astype(np.float64), y.shape[1:]


def turn(shape, quarters, mirrored):
    """The matrix of R^quarters F^mirrored on maps of this shape."""
    index = np.arange(np.prod(shape)).reshape(shape)
    index = index[:, ::-1] if mirrored else index
    return np.eye(index.size)[np.rot90(index, quarters).ravel()]


SYMMETRIC = [
    Layer(5, 3, 1, 1),
    Layer(6, 3, 1, 0),
    Layer(7, 3, 2, 1),
    Layer(8, 4, 4),
    Layer(6, 2, 2),
]


@pytest.mark.parametrize("name", ["c2", "c4", "d4"])
@pytest.mark.parametrize("layer", SYMMETRIC, ids=str)
def test_the_measured_operator_defect_is_below_the_certificate(name, layer):
    group = sq.groups.from_name(name)
    rep = sq.reps.image(group, layer.kernel_size)
    strict = sq.projector("h w i o", {"h w": rep})
    rng = np.random.default_rng(0)
    for level in strict.levels():
        raw = rng.standard_normal((*layer.kernel_size, 2, 3)).astype(np.float32)
        kernel = np.asarray(strict.at(cutoff=level)(raw))
        operator, out_shape = layer.matrix(kernel)
        in_shape = (layer.size, layer.size, 2)
        assert np.linalg.norm(operator, 2) <= convolution_norm_bound(kernel, layer.strides) + 1e-4
        worst = 0.0
        for g in group.elements():
            angle, flip = group.parameters(g)
            quarters = round(angle / (np.pi / 2))
            defect = turn(out_shape, quarters, flip) @ operator - operator @ turn(
                in_shape, quarters, flip
            )
            certificate = convolution(strict, kernel, layer, angle=angle, flip=flip)
            assert certificate.certified
            assert certificate.norm == "operator"
            measured = np.linalg.norm(defect, 2)
            assert measured <= certificate.bound + 1e-4
            worst = max(worst, measured)
        whole = convolution(strict, kernel, layer)
        assert worst <= whole.bound + 1e-4
        assert whole.bound == whole.supremum
        if level == 0:
            assert whole.bound < 1e-4


def test_the_bound_is_tight_for_patch_embeddings_and_safe_for_constants():
    kernel = np.random.default_rng(1).standard_normal((4, 4, 3, 5))
    exact = np.linalg.norm(Layer(8, 4, 4).matrix(kernel)[0], 2)
    np.testing.assert_allclose(convolution_norm_bound(kernel, (4, 4)), exact, rtol=1e-5)
    constant = np.ones((3, 3, 1, 1))
    assert np.linalg.norm(constant) == 3
    assert convolution_norm_bound(constant) >= np.linalg.norm(
        Layer(20, 3, 1, 1).matrix(constant)[0], 2
    )
    np.testing.assert_allclose(convolution_norm_bound(constant), 9)


def test_feature_groups_take_the_largest_block():
    rng = np.random.default_rng(2)
    kernel = rng.standard_normal((3, 3, 1, 4))
    layer = Layer(6, 3, 1, 1, groups=4)
    exact = np.linalg.norm(layer.matrix(kernel)[0], 2)
    bound = convolution_norm_bound(kernel, feature_group_count=4)
    assert exact <= bound + 1e-4
    assert bound < convolution_norm_bound(kernel)
    with pytest.raises(ValueError, match="3 groups"):
        convolution_norm_bound(kernel, feature_group_count=3)


def test_strided_layers_that_break_the_lattice_are_not_certified():
    layer = Layer(32, 3, 2, 1)
    assert "stride 2" in lattice_obstacle(layer)
    strict = sq.projector("h w i o", {"h w": sq.reps.image(sq.groups.cyclic(4), (3, 3))})
    kernel = np.asarray(strict(np.random.default_rng(0).standard_normal((3, 3, 1, 1))))
    certificate = convolution(strict, kernel, layer)
    assert not certificate.certified
    assert np.isnan(certificate.bound)
    assert certificate.reason.startswith("not certified")
    operator, out_shape = layer.matrix(kernel)
    defect = turn(out_shape, 1, False) @ operator - operator @ turn((32, 32, 1), 1, False)
    assert np.linalg.norm(defect) > 0.1


def test_other_rotations_are_certified_for_the_kernel_only():
    so2 = sq.reps.image(sq.groups.so(2), (3, 3))
    strict = sq.projector("h w i o", {"h w": so2})
    kernel = np.random.default_rng(0).standard_normal((3, 3, 1, 2))
    for asked in ({}, {"angle": 0.5}, {"within": 0.5}):
        certificate = convolution(strict, kernel, Layer(9, 3, 1, 1), **asked)
        assert not certificate.certified
        assert certificate.reason.startswith("kernel only")
    quarter = convolution(strict, kernel, Layer(9, 3, 1, 1), angle=np.pi / 2)
    assert quarter.certified
    operator, out_shape = Layer(9, 3, 1, 1).matrix(kernel)
    defect = turn(out_shape, 1, False) @ operator - operator @ turn((9, 9, 1), 1, False)
    assert np.linalg.norm(defect, 2) <= quarter.bound + 1e-4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"input_shape": (8, 6)}, "not square"),
        ({"padding": ((0, 1), (0, 1))}, "not symmetric"),
        ({"strides": (1, 2)}, "strides"),
        ({"padding_mode": "reflect"}, "reflect"),
    ],
)
def test_obstacles_are_named(change, message):
    from softeq_jax.models import ConvGeometry

    regular = ConvGeometry((8, 8), (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 1)
    assert lattice_obstacle(regular) is None
    assert message in lattice_obstacle(dataclasses.replace(regular, **change))
