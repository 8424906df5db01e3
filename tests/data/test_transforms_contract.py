"""What holds for every transform: the draw decides, examples are not changed, it can be sent."""

import io
import pickle

import numpy as np
import pytest
from PIL import Image

from softeq_jax.data import (
    CenterCrop,
    Cutmix,
    Decode,
    Mixup,
    MixupOrCutmix,
    Normalize,
    RandAugment,
    RandomCrop,
    RandomErasing,
    RandomFlip,
    RandomResizedCrop,
    RandomRotation,
    RandomScaleCrop,
    Resize,
    RotateTrajectories,
    imagenet_eval,
    imagenet_train,
    segmentation_pairs,
)

_TRANSFORMS = [
    RandomCrop(),
    RandomFlip(),
    RandomRotation(30),
    Resize(20),
    CenterCrop(10),
    RandomScaleCrop(20),
    RandAugment(num_ops=3),
    RandomErasing(1),
    Normalize(0.5, 0.25),
    Decode(),
    RandomResizedCrop(20),
    segmentation_pairs(),
]
_RANDOM = (RandomCrop, RandomFlip, RandomRotation, RandomScaleCrop, RandAugment)
_RANDOM = (*_RANDOM, RandomErasing, RandomResizedCrop)


def _example():
    rng = np.random.default_rng(0)
    return {
        "image": rng.integers(0, 256, (32, 24, 3), np.uint8),
        "mask": rng.integers(0, 5, (32, 24), np.int32),
        "label": np.int32(2),
    }


@pytest.mark.parametrize("transform", _TRANSFORMS, ids=lambda t: type(t).__name__)
def test_the_draw_decides_and_the_example_stays(transform):
    example, untouched = _example(), _example()
    for array in (example["image"], example["mask"]):
        array.flags.writeable = False
    sent = pickle.loads(pickle.dumps(transform))
    assert sent == transform
    outs = []
    for seed in range(8):
        one, two = (t(example, np.random.default_rng(seed)) for t in (transform, sent))
        assert one is not example
        assert one.keys() == two.keys() == example.keys()
        for key in one:
            np.testing.assert_array_equal(one[key], two[key])
        outs.append(one["image"].tobytes())
    assert (len(set(outs)) > 1) == isinstance(transform, _RANDOM)
    assert example.keys() == untouched.keys()
    for key in example:
        np.testing.assert_array_equal(example[key], untouched[key])


@pytest.mark.parametrize(
    "one",
    [Mixup(1, 3), Cutmix(1, 3), MixupOrCutmix(1, 1, 3), RotateTrajectories(9), *imagenet_train()],
    ids=lambda t: type(t).__name__,
)
def test_settings_can_be_sent_and_not_changed(one):
    assert pickle.loads(pickle.dumps(one)) == one
    assert hash(one) == hash(pickle.loads(pickle.dumps(one)))
    field = next(iter(one.__dataclass_fields__))
    with pytest.raises(AttributeError):
        setattr(one, field, 0)


def test_chains_of_all_kinds_end_in_one_layout():
    file = io.BytesIO()
    Image.fromarray(_example()["image"]).save(file, "JPEG")
    for transforms in (
        imagenet_train(16, randaugment=RandAugment(), erasing=1.0),
        imagenet_eval(16, 20),
    ):
        for image in (file.getvalue(), _example()["image"]):
            example = {"image": image, "label": 1}
            for transform in transforms:
                example = transform(example, np.random.default_rng(3))
            assert example["image"].shape == (16, 16, 3)
            assert example["image"].dtype == np.float32
            assert example["label"] == 1
