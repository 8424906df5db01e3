"""Bad examples: every kind is named, or skipped in a way that nothing else depends on."""

import json
import logging
import pickle
import shutil
from dataclasses import dataclass

import numpy as np
import pytest
import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordWriter
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

from softeq_jax.data import (
    BAD_IN_A_ROW,
    ArraySource,
    BadExampleError,
    Decode,
    anything,
    classification,
    eval_batches,
    load_arrays,
    open_source,
    segmentation,
    train_batches,
)

GOOD = {"image": np.ones((4, 3, 1), np.float32), "label": 2, "id": b"good"}


def _records(count=12, **bad):
    """Good records, the one at 5 with the fields of `bad` in place of its own."""
    records = [{**GOOD, "id": f"r{i}".encode(), "label": i % 3} for i in range(count)]
    records[5] = {**records[5], **bad}
    return [{k: v for k, v in r.items() if v is not None} for r in records]


@dataclass(frozen=True)
class Draw:
    def __call__(self, example, rng):
        return {**example, "draw": np.float32(rng.random())}


@dataclass(frozen=True)
class FailsOn:
    """Fails as careless code would, with no word on the example."""

    value: float

    def __call__(self, example, rng):
        if example["image"].flat[0] == self.value:
            raise KeyError("oops")
        return example


class Unreadable:
    """A source that cannot read some of its examples, nor many at once if one of them is such."""

    def __init__(self, count, bad):
        self.count, self.bad = count, frozenset(bad)

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        if index in self.bad:
            raise OSError("disk says no")
        return {"image": np.full((2, 2, 1), index, np.int32), "label": index}

    def __getitems__(self, indices):
        return [self[i] for i in indices]


def _image(**changes):
    image = np.ones((4, 3, 1), np.float32)
    image[1, 2, 0] = changes.get("value", 1)
    return image


KINDS = [
    ({"label": 3}, classification(3), "label 3, expected 0 <= label < 3"),
    ({"label": -1}, None, "label -1, expected 0 <= label"),
    ({"label": 1.0}, None, "label .*1.*, expected one integer"),
    ({"label": np.arange(2)}, None, "label .*0, 1.*, expected one integer"),
    ({"label": None}, None, "no field 'label'; it has image, id"),
    ({"image": np.ones((4, 3), np.float32)}, None, r"shape \(4, 3\), expected \[h, w, c\]"),
    ({"image": np.ones((4, 2, 1), np.float32)}, None, r"\(4, 2, 1\), expected \(4, 3, 1\)"),
    ({"image": np.ones((4, 3, 1), np.uint8)}, None, "dtype uint8, expected float32"),
    ({"image": _image(value=np.nan)}, None, "image with 1 NaN or infinite"),
    ({"image": _image(value=-np.inf)}, anything(), "image with 1 NaN or infinite"),
    ({"image": b"encoded"}, None, "encoded images need"),
    ({"label": "cat"}, anything(), "label 'cat', expected numbers"),
    ({"more": 1}, anything(), "fields .*more.*expected"),
]


@pytest.mark.parametrize(("bad", "check", "words"), KINDS)
def test_every_kind_is_named_or_skipped(bad, check, words):
    source = _records(**bad)
    for batches in (
        train_batches(source, 4, seed=0, epochs=1, check=check),
        eval_batches(source, 4, check=check),
    ):
        with pytest.raises(BadExampleError, match=rf"example 5 \(id r5\): .*{words}") as found:
            list(batches)
        assert (found.value.index, found.value.id) == (5, "r5")
        assert isinstance(found.value, ValueError)
    kwargs = {"check": check, "on_bad_example": "skip"}
    trained = train_batches(source, 4, seed=0, epochs=3, **kwargs)
    assert len(list(trained)) == 9
    evaluated = eval_batches(source, 4, **kwargs)
    weight = np.concatenate([b["weight"] for b in evaluated])
    np.testing.assert_array_equal(np.flatnonzero(weight == 0), [5])
    for batches in (trained, evaluated):
        assert batches.skipped.keys() == {5}
        assert batches.skipped[5] == found.value.reason


def test_masks():
    image = np.zeros((4, 3, 3), np.uint8)
    mask = np.arange(12, dtype=np.uint8).reshape(4, 3) % 3
    good = {"image": image, "mask": mask[..., None]}
    void = {"image": image, "mask": np.where(mask == 1, 9, mask)}
    (batch,) = eval_batches([good, void], 2, check=segmentation(3, ignore=9))
    assert (batch["mask"].shape, batch["mask"].dtype) == ((2, 4, 3), np.int32)
    np.testing.assert_array_equal(batch["mask"][0], mask)
    for bad, check, words in [
        (mask, segmentation(2), r"values \[2\], expected 0 <= value < 2"),
        (np.where(mask == 1, 9, mask), segmentation(3, (7, 8)), r"\[9\].*< 3 or one of \(7, 8\)"),
        (mask.astype(np.int8) - 1, segmentation(3), r"values \[-1\]"),
        (mask[:2], segmentation(3), r"shape \(2, 3\), expected \(4, 3\) as the image"),
        (np.stack([mask, mask], -1), segmentation(3), r"shape \(4, 3, 2\)"),
        (mask.astype(np.float32), segmentation(3), "dtype float32"),
        (None, segmentation(3), "no field 'mask'; it has image"),
    ]:
        record = {"image": image} if bad is None else {"image": image, "mask": bad}
        with pytest.raises(BadExampleError, match=rf"example 1: .*{words}"):
            list(eval_batches([{**good, "mask": mask % 2}, record], 2, check=check))


def test_checks_need_classes():
    for make in (classification, segmentation):
        with pytest.raises(ValueError, match="num_classes must be a positive integer, got 0"):
            make(0)


def test_failing_transforms_name_the_example():
    source = ArraySource(np.arange(6).reshape(6, 1, 1, 1), np.zeros(6, int))
    batches = train_batches(source, 6, seed=0, transforms=[FailsOn(3)])
    with pytest.raises(BadExampleError, match=r"example 3: KeyError: 'oops'") as found:
        next(batches)
    assert any("FailsOn" in note or "oops" in note for note in found.value.__notes__)
    skipping = train_batches(source, 6, seed=0, transforms=[FailsOn(3)], on_bad_example="skip")
    assert 3 not in next(skipping)["image"]
    with pytest.raises(BadExampleError, match="example 0: KeyError"):
        train_batches(source, 6, seed=0, transforms=[FailsOn(0)])


def test_failing_pairings_are_no_bad_examples():
    @dataclass(frozen=True)
    class Broken:
        def __call__(self, first, second, rng):
            if first["image"].flat[0] != second["image"].flat[0]:
                raise RuntimeError("broken")
            return first, second

    source = ArraySource(np.arange(6).reshape(6, 1, 1, 1), np.zeros(6, int))
    batches = train_batches(source, 2, seed=0, pairing=Broken(), on_bad_example="skip")
    with pytest.raises(RuntimeError, match="broken") as found:
        next(batches)
    one, two = batches.examples(0)
    assert found.value.__notes__ == [f"while pairing examples {one} and {two}"]


@pytest.mark.slow
@examples(fast=25)
@given(
    bad=st.sets(st.integers(1, 19), max_size=8),
    hosts=st.integers(1, 3),
    start=st.integers(0, 5),
    threads=st.integers(0, 2),
)
def test_the_next_good_one_takes_the_place(bad, hosts, start, threads):
    kwargs = {"seed": 1, "transforms": [Draw()], "steps": 9}
    clean = train_batches(Unreadable(20, ()), 6, **kwargs)
    order = np.concatenate([clean.examples(step) for step in range(40)])
    whole = list(clean)
    for host in range(hosts):
        batches = train_batches(
            Unreadable(20, bad),
            6,
            start_step=start,
            host=host,
            hosts=hosts,
            num_threads=threads,
            on_bad_example="skip",
            **kwargs,
        )
        rows = range(host * 6 // hosts, (host + 1) * 6 // hosts)
        met = set()
        for step, batch in enumerate(batches, start):
            np.testing.assert_array_equal(batch["draw"], whole[step]["draw"][rows])
            for row, label in zip(rows, batch["label"], strict=True):
                rest = order[step * 6 + row :]
                good = next(i for i, e in enumerate(rest) if e not in bad)
                assert label == rest[good]
                met.update(rest[:good].tolist())
        assert batches.skipped.keys() == met
        assert all("OSError: disk says no" in reason for reason in batches.skipped.values())


def test_skips_are_logged_once(caplog):
    with caplog.at_level(logging.WARNING, "softeq_jax"):
        list(train_batches(Unreadable(10, {2, 7}), 5, seed=0, epochs=5, on_bad_example="skip"))
    texts = sorted(record.getMessage() for record in caplog.records)
    assert texts == [
        "skipping example 2: cannot be read: OSError: disk says no",
        "skipping example 7: cannot be read: OSError: disk says no",
    ]


def test_too_many_bad_ones():
    for make in (
        lambda source: train_batches(source, 2, seed=0, on_bad_example="skip"),
        lambda source: eval_batches(source, 2, on_bad_example="skip"),
    ):
        with pytest.raises(BadExampleError, match="too many bad examples in a row: cannot be read"):
            make(Unreadable(3, range(3)))
    mostly = Unreadable(BAD_IN_A_ROW * 20, range(1, BAD_IN_A_ROW * 20))
    with pytest.raises(BadExampleError, match="too many bad examples in a row"):
        next(train_batches(mostly, 30, seed=0, on_bad_example="skip"))
    first_bad = train_batches(Unreadable(8, {0, 1}), 4, seed=0, on_bad_example="skip")
    assert next(first_bad)["image"].shape == (4, 2, 2, 1)


def test_errors_survive_pickling():
    error = BadExampleError(3, "no good", "img_3")
    error.add_note("where")
    copy = pickle.loads(pickle.dumps(error))
    assert (str(copy), copy.__notes__) == ("example 3 (id img_3): no good", ["where"])
    assert (copy.index, copy.reason, copy.id) == (3, "no good", "img_3")


@pytest.fixture(scope="module")
def damaged(data_dir, tmp_path_factory):
    """Forty CIFAR-10 images: 3 a record that is not one, 7 no image, 11 with half of its bytes."""
    original = data_dir / "tfds" / "cifar10" / "3.0.2"
    folder = tmp_path_factory.mktemp("tfds") / "cifar10" / "3.0.2"
    folder.mkdir(parents=True)
    for path in original.glob("*.json"):
        shutil.copy(path, folder)
    info = json.loads((folder / "dataset_info.json").read_text())
    (test,) = (split for split in info["splits"] if split["name"] == "test")
    test["shardLengths"] = ["40"]
    (folder / "dataset_info.json").write_text(json.dumps(info))
    raw = tfds.decode.DeserializeMethod.RAW_BYTES
    builder = tfds.builder_from_directory(original)
    records = builder.as_data_source("test", deserialize_method=raw).__getitems__(list(range(40)))
    for index, cut in ((7, 0), (11, 400)):
        start = records[index].index(b"\xff\xd8\xff") + cut
        end = records[index].index(b"\xff\xd9", start)
        noise = bytes(end - start)
        records[index] = records[index][:start] + noise + records[index][end:]
    records[3] = b"\xff" * 20
    name = "cifar10-test.array_record-00000-of-00001"
    writer = ArrayRecordWriter(str(folder / name), "group_size:1")
    for record in records:
        writer.write(record)
    writer.close()
    return folder.parent.parent


@pytest.mark.parametrize("decode", [True, False])
def test_damaged_files(damaged, decode):
    source = open_source("cifar10", "test", damaged, decode=decode)
    assert len(source) == 40
    kwargs = {"transforms": () if decode else (Decode(),), "on_bad_example": "skip"}
    batches = eval_batches(source, 16, **kwargs)
    weight = np.concatenate([b["weight"] for b in batches])
    assert {3, 7} <= batches.skipped.keys() <= {3, 7, 11}
    assert set(np.flatnonzero(weight[:40] == 0)) == batches.skipped.keys()
    assert "cannot be read: DecodeError" in batches.skipped[3]
    trained = train_batches(source, 8, seed=0, epochs=2, **kwargs)
    assert len(list(trained)) == 10
    assert trained.skipped == batches.skipped
    kwargs["on_bad_example"] = "raise"
    with pytest.raises(BadExampleError, match="example 3: cannot be read"):
        list(eval_batches(source, 16, **kwargs))
    without = train_batches(source, 1, seed=0, epochs=1, **kwargs)
    step = next(s for s in range(40) if without.examples(s) == 7)
    # Undecoded records still have their id.
    words = r"example 7: cannot be read: UnidentifiedImageError: cannot identify image file"
    if not decode:
        words = r"example 7 \(id test_\w+\): .*image"
    with pytest.raises(BadExampleError, match=words):
        next(train_batches(source, 1, seed=0, start_step=step, **kwargs))


def test_flipped_byte_on_disk(damaged, tmp_path):
    shutil.copytree(damaged, tmp_path / "tfds")
    (path,) = (tmp_path / "tfds").rglob("*.array_record*")
    data = bytearray(path.read_bytes())
    data[data.index(b"JFIF") + 40] ^= 0xFF
    path.write_bytes(data)
    source = open_source("cifar10", "test", tmp_path / "tfds")
    batches = eval_batches(source, 8, on_bad_example="skip")
    kept = sum(int(b["weight"].sum()) for b in batches)
    assert kept == 40 - len(batches.skipped)
    corrupted = [i for i, why in batches.skipped.items() if "Corrupted" in why]
    assert len(corrupted) == 1
    with pytest.raises(BadExampleError, match=rf"example {corrupted[0]}: cannot be read: .*hash"):
        load_arrays(source, [corrupted[0]])
