"""Encoded images: real and broken bytes, random resized crops, ImageNet's recipes."""

import io

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from softeq_jax.data import (
    CenterCrop,
    Decode,
    Normalize,
    RandAugment,
    RandomErasing,
    RandomResizedCrop,
    Resize,
    imagenet_eval,
    imagenet_train,
)


@pytest.fixture(scope="module")
def records(data_dir):
    builder = tfds.builder_from_directory(data_dir / "tfds" / "imagenet_sample" / "1.0.0")
    raw = builder.as_data_source("validation", decoders={"image": tfds.decode.SkipDecoding()})
    return [raw[i] for i in (0, 17, 400)]


def _encoded(array, form="PNG", **kwargs):
    file = io.BytesIO()
    Image.fromarray(array).save(file, form, **kwargs)
    return file.getvalue()


def _smooth(height, width):
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    return np.stack([255 * x, 255 * y, 127 + 127 * np.sin(6 * x * y)], -1).astype(np.uint8)


def _run(transforms, example, seed=0):
    rng = np.random.default_rng(seed)
    for transform in transforms:
        example = transform(example, rng)
    return example


def test_decodes_real_bytes(records):
    for record in records:
        out = Decode()(record, np.random.default_rng(0))
        want = np.asarray(Image.open(io.BytesIO(record["image"])).convert("RGB"))
        assert out["image"].dtype == np.uint8
        assert min(out["image"].shape[:2]) == 256
        np.testing.assert_array_equal(out["image"], want)
        assert out["label"] == record["label"]
        assert isinstance(record["image"], bytes)


@pytest.mark.parametrize("kind", ["gray", "alpha", "palette", "cmyk"])
def test_decodes_to_three_channels(kind):
    rgb = _smooth(9, 12)
    file = io.BytesIO()
    mode = {"gray": "L", "alpha": "RGBA", "palette": "P", "cmyk": "CMYK"}[kind]
    form = "TIFF" if kind == "cmyk" else "PNG"
    Image.fromarray(rgb).convert(mode).save(file, form)
    data = file.getvalue()
    rng = np.random.default_rng(0)
    out = Decode()({"image": data}, rng)["image"]
    assert out.shape == (9, 12, 3)
    if kind in ("alpha", "cmyk"):
        assert np.abs(out.astype(int) - rgb).max() <= 2
    crop = RandomResizedCrop(4)({"image": data}, rng)["image"]
    assert crop.shape == (4, 4, 3)


def test_arrays_pass_through_decode():
    image = _smooth(5, 6)
    assert Decode()({"image": image}, np.random.default_rng(0))["image"] is image
    with pytest.raises(ValueError, match=r"\[h, w, c\]"):
        Decode()({"image": image[..., 0]}, np.random.default_rng(0))


@pytest.mark.parametrize("transform", [Decode(), RandomResizedCrop(16)], ids=["decode", "crop"])
def test_broken_bytes_are_refused(records, transform):
    data, rng = records[0]["image"], np.random.default_rng(0)
    with pytest.raises(ValueError, match=r"image: 0 bytes.*cannot identify image file"):
        transform({"image": b""}, rng)
    with pytest.raises(ValueError, match=r"image: 12 bytes.*cannot identify image file"):
        transform({"image": b"not an image"}, rng)
    for length in (100, len(data) // 2, len(data) - 200):
        with pytest.raises(ValueError, match=rf"image: {length} bytes.*[Tt]runcated"):
            transform({"image": data[:length]}, rng)
    png = bytearray(_encoded(_smooth(40, 40)))
    png[60:90] = bytes(30)
    with pytest.raises(ValueError, match=r"image: \d+ bytes that cannot be decoded: ."):
        transform({"image": bytes(png)}, rng)


def test_crop_boxes_follow_area_and_aspect():
    """The image is its own coordinates, so that corners tell the box."""
    size = 200
    rows, cols = np.mgrid[0:size, 0:size].astype(np.float32)
    image = np.stack([rows, cols], -1)
    crop = RandomResizedCrop((50, 50), area=(0.2, 0.5), aspect=(0.5, 1.5), resample="bilinear")
    rng, areas, aspects, tops = np.random.default_rng(0), [], [], []
    for _ in range(300):
        out = crop({"image": image}, rng)["image"]
        height = (out[30, 0, 0] - out[20, 0, 0]) * 5
        width = (out[0, 30, 1] - out[0, 20, 1]) * 5
        areas.append(height * width / size**2)
        aspects.append(width / height)
        tops.append(out[25, 25, 0] - height / 2)
    assert 0.19 < min(areas) < 0.23
    assert 0.45 < max(areas) < 0.51
    assert abs(np.mean(areas) - 0.35) < 0.02
    assert 0.48 < min(aspects) < 0.55
    assert 1.4 < max(aspects) < 1.55
    assert np.mean(np.log(aspects)) == pytest.approx(np.log(0.75) / 2, abs=0.06)
    assert -1 < min(tops) < 5


def test_crop_of_what_cannot_fit_is_the_middle():
    image = np.zeros((10, 100, 1), np.float32)
    image[:] = np.arange(100)[:, None]
    crop = RandomResizedCrop((10, 20), area=(1, 1), aspect=(1, 2), resample="nearest")
    out = crop({"image": image}, np.random.default_rng(0))["image"]
    np.testing.assert_array_equal(out[3, :, 0], np.arange(40, 60))


def test_whole_area_is_a_resize():
    image, rng = _smooth(40, 40), np.random.default_rng(0)
    whole = RandomResizedCrop(16, area=(1, 1), aspect=(1, 1))({"image": image}, rng)["image"]
    plain = Resize((16, 16), "bicubic")({"image": image}, rng)["image"]
    np.testing.assert_array_equal(whole, plain)


def test_bytes_and_arrays_are_cropped_alike(records):
    for size in (64, 224):
        for record in records:
            array = Decode()(record, np.random.default_rng(0))
            for seed in range(3):
                crop = RandomResizedCrop(size)
                a = crop(record, np.random.default_rng(seed))["image"]
                b = crop(array, np.random.default_rng(seed))["image"]
                assert a.shape == b.shape == (size, size, 3)
                # Small sizes are decoded at a fraction, which blurs differently.
                difference = np.abs(a.astype(int) - b)
                assert difference.mean() < (8 if size == 64 else 1e-9)


def test_draft_decoding_is_used_and_stays_in_place():
    image = _smooth(800, 1000)
    data = _encoded(image, "JPEG", quality=95)
    crop = RandomResizedCrop((50, 60))
    used = []
    original = Image.Image.resize

    def spy(self, *args, **kwargs):
        used.append((self.size, kwargs["box"]))
        return original(self, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Image.Image, "resize", spy)
        outs = [crop({"image": data}, np.random.default_rng(s))["image"] for s in range(20)]
    assert {size for size, _ in used} >= {(125, 100), (250, 200)}
    for size, (left, upper, right, lower) in used:
        assert right - left >= 60
        assert lower - upper >= 50
        if size != (125, 100):
            assert min((right - left) / 60, (lower - upper) / 50) < 2
    for seed, out in enumerate(outs):
        want = crop({"image": image}, np.random.default_rng(seed))["image"]
        assert np.abs(out.astype(int) - want).mean() < 2


def test_mask_is_cropped_with_encoded_images():
    mask = np.repeat(np.arange(40)[:, None], 30, axis=1)
    image = np.repeat(mask[..., None] * 6, 3, axis=-1).astype(np.uint8)
    crop = RandomResizedCrop((20, 20), resample="nearest")
    for seed in range(10):
        example = {"image": image, "mask": mask}
        out = crop(example, np.random.default_rng(seed))
        np.testing.assert_array_equal(out["image"][..., 0], out["mask"] * 6)
        encoded = {"image": _encoded(image), "mask": mask}
        other = crop(encoded, np.random.default_rng(seed))
        np.testing.assert_array_equal(other["mask"], out["mask"])
        assert np.abs(other["image"].astype(int) - out["image"]).max() <= 6


def test_imagenet_train(records):
    augment = RandAugment(num_ops=1)
    transforms = imagenet_train(64, randaugment=augment, erasing=0.5)
    assert augment in transforms
    assert RandomErasing(0.5) in transforms
    assert len(imagenet_train()) == len(transforms) - 2
    outs = [_run(transforms, records[0], seed) for seed in (1, 1, 2)]
    assert outs[0]["image"].shape == (64, 64, 3)
    assert outs[0]["image"].dtype == np.float32
    np.testing.assert_array_equal(outs[0]["image"], outs[1]["image"])
    assert not np.array_equal(outs[0]["image"], outs[2]["image"])


def test_imagenet_eval_by_hand(records):
    for record in records:
        out = _run(imagenet_eval(100, 120), record)["image"]
        picture = Image.open(io.BytesIO(record["image"])).convert("RGB")
        scale = 120 / min(picture.size)
        picture = picture.resize([round(s * scale) for s in picture.size], Image.Resampling.BICUBIC)
        left, top = (picture.size[0] - 100) // 2, (picture.size[1] - 100) // 2
        pixels = np.asarray(picture.crop((left, top, left + 100, top + 100))) / 255
        want = (pixels - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
        np.testing.assert_allclose(out, want, atol=1e-5)


def test_imagenet_settings():
    assert imagenet_eval(mean=(0, 0, 0), std=(1, 1, 1)) == (
        Decode(),
        Resize(256, "bicubic"),
        CenterCrop(224),
        Normalize((0, 0, 0), (1, 1, 1)),
    )
    with pytest.raises(ValueError, match="resize must be at least size = 300, got 256"):
        imagenet_eval(300)


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"size": 0}, "size"),
        ({"size": 4, "area": (0, 1)}, "area"),
        ({"size": 4, "area": (0.5, 1.5)}, "area"),
        ({"size": 4, "aspect": (2, 1)}, "aspect"),
        ({"size": 4, "resample": "lanczos"}, "resample"),
    ],
)
def test_crop_refuses(fields, name):
    with pytest.raises(ValueError, match=name):
        RandomResizedCrop(**fields)
