"""Sources of images for the command line: folders with odd files in them, damaged arrays."""

import zipfile

import numpy as np
import pytest
from PIL import Image

from softeq_jax.cli._image_sources import open_images
from softeq_jax.data import open_source

RAMP = np.tile(np.linspace(0, 255, 16).astype(np.uint8), (16, 1))


def test_hidden_files_and_other_kinds_are_counted(tmp_path):
    for name in ("a.png", "deep/b.tif", "deep/c.webp"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(RAMP).save(tmp_path / name)
    for name in ("._a.png", "deep/._b.jpg", "__MACOSX/d.jpg", ".cache/e.png", ".DS_Store"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"\0\5\26\7")
    for name in ("notes.txt", "paper.pdf", "plan.eps", "clip.mpg", "maps.h5", "Thumbs.db"):
        (tmp_path / name).write_bytes(b"none")
    source = open_images(str(tmp_path), None)
    assert [source.get(i).image.shape for i in range(source.length)] == [
        (16, 16),
        (16, 16),
        (16, 16, 3),
    ]
    assert source.note == "passed over 5 hidden files and 6 files that are no images"


def test_a_folder_of_hidden_files_alone_says_so(tmp_path):
    (tmp_path / "._a.jpg").write_bytes(b"")
    with pytest.raises(FileNotFoundError, match=r"no image files .*passed over 1 hidden file"):
        open_images(str(tmp_path), None)


def test_gray_of_sixteen_bits_stays_gray(tmp_path):
    Image.fromarray(RAMP.astype(np.uint16) * 257).save(tmp_path / "a.png")
    image = open_images(str(tmp_path), None).get(0).image
    np.testing.assert_array_equal(image, RAMP)
    Image.fromarray(RAMP.astype(np.float32) / 255).save(tmp_path / "a.tif")
    with pytest.raises(ValueError, match=r"a\.tif: not a readable image .*mode F"):
        open_images(str(tmp_path), None).get(1)


def _npy(header):
    text = header.encode()
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


HEADERS = {
    "larger than memory": "{'descr':'|u1','fortran_order':False,'shape':(10000000000000,8,8,3)}",
    "negative": "{'descr':'|u1','fortran_order':False,'shape':(-1,8,8,3)}",
    "objects": "{'descr':'|O','fortran_order':False,'shape':(1,8,8,3)}",
    "no header": "(" * 300,
    "records": "{'descr':[('a','<f8')],'fortran_order':False,'shape':(1,)}",
    "empty": "{'descr':'|u1','fortran_order':False,'shape':(1000000000,0,0,3)}",
}


@pytest.mark.parametrize("kind", HEADERS)
def test_damaged_arrays_are_told_by_the_file(tmp_path, kind):
    data = _npy(HEADERS[kind])
    (tmp_path / "a.npy").write_bytes(data)
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as file:
        file.writestr("images.npy", data)
    for name in ("a.npy", "a.npz"):
        with pytest.raises(ValueError, match=rf"{name}: "):
            open_images(str(tmp_path / name), None)


@pytest.mark.slow(5)
@pytest.mark.parametrize("file", ["dataset_info.json", "features.json"])
@pytest.mark.parametrize("text", ["", "[", "null", "[" * 100_000, '{"name": 3}'], ids=len)
def test_damaged_descriptions_of_data_sets_are_told_by_the_folder(data_dir, tmp_path, file, text):
    original = next((data_dir / "tfds" / "mnist").iterdir())
    folder = tmp_path / "mnist" / original.name
    folder.mkdir(parents=True)
    for path in original.iterdir():
        (folder / path.name).symlink_to(path)
    (folder / file).unlink()
    (folder / file).write_text(text)
    with pytest.raises(ValueError, match=rf"{folder}"):
        open_images(f"{folder}:test", None)
    if file == "dataset_info.json":  # TFDS knows the features of mnist without a file
        with pytest.raises(ValueError, match=rf"{folder.parent}: no prepared data set"):
            open_source("mnist", "test", tmp_path)
