"""Small checkpoints of each family, damaged at random, and what loading them may end in."""

import copy
import json
import math
import pathlib
import random
import struct

import ml_dtypes
import numpy as np
from safetensors.numpy import load_file, save_file

from softeq_jax import models

GOLDEN = pathlib.Path(__file__).parent / "golden"
NAMES = sorted(folder.name for folder in GOLDEN.iterdir())
CONFIG, PREPROCESSOR = "config.json", "preprocessor_config.json"
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
# What a setting may change in a model that loads: no tensor tells it.
FREE = ("heads", "norm_epsilon", "strides", "pool", "layer_scale", "norm_after_pool")

_ODD = (
    *(None, True, False, 0, 1, -1, 2, 3, 7, 2.9, 0.5, 0.0, -0.5, 1e308, 1e-300, -1e308),
    *(float("nan"), float("inf"), 10**9, 10**18, 10**400, 30_000, 4.0, "4", "", "x", "gelu"),
    *([], [1], [4, 4], [4, 8], [1, 2, 1], [1] * 4, [True], ["a"], [None], [[]], [0.5] * 3, [0] * 3),
    *({}, {"a": 1}, {"height": 8, "width": 8}, {"shortest_edge": 8}, {"0": "a"}, "\ud800", "é"),
)


def write(name, folder, shards=False):
    """A golden checkpoint with a preprocessor configuration, in one file or in two shards."""
    values = load_file(GOLDEN / name / WEIGHTS)
    folder.mkdir()
    text = (GOLDEN / name / CONFIG).read_text()
    (folder / CONFIG).write_text(text)
    if "model_type" in text:
        side = json.loads(text).get("image_size", 32)
        size = {"height": side, "width": side}
        made = {"do_resize": True, "size": size, "do_center_crop": False, "crop_size": size}
        made |= {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.5] * 3, "do_normalize": True}
        made |= {"do_rescale": True, "rescale_factor": 1 / 255, "resample": 2, "crop_pct": None}
        (folder / PREPROCESSOR).write_text(json.dumps(made))
    if not shards:
        save_file(values, folder / WEIGHTS, {"format": "pt"})
        return
    names = [f"model-{i:05d}-of-00002.safetensors" for i in (1, 2)]
    where = {key: names[i % 2] for i, key in enumerate(sorted(values))}
    for file in names:
        save_file({k: v for k, v in values.items() if where[k] == file}, folder / file)
    index = {"metadata": {"total_size": sum(v.nbytes for v in values.values())}}
    (folder / INDEX).write_text(json.dumps(index | {"weight_map": where}))


def damage(folder, draw: random.Random):
    """Damages one file of a checkpoint; returns what was done, in words."""
    file = draw.choice([f for f in sorted(folder.iterdir()) if f.suffix != ".npz"])
    if file.suffix == ".json":
        file.write_bytes(_damaged_text(file.read_bytes(), draw))
        return f"{file.name}: {file.read_bytes()[:2000]!r}"
    if draw.random() < 0.5:
        tensors = load_file(file)
        for _ in range(draw.choice([1, 1, 2, 5])):
            _damage_tensors(tensors, draw)
        save_file(tensors, file, {"format": "pt"})
        return f"{file.name}: tensors { ({k: v.shape for k, v in tensors.items()}) }"
    whole = file.read_bytes()
    size = struct.unpack("<Q", whole[:8])[0]
    header, data = whole[8 : 8 + size], whole[8 + size :]
    kind = draw.randrange(6)
    if kind == 0:
        whole = _damaged_bytes(whole, draw)
    elif kind == 1:
        whole = (
            struct.pack("<Q", draw.choice([0, 1, size + 1, size - 1, 2**63, 10**8])) + header + data
        )
    else:
        header = _damaged_text(header, draw)
        if kind == 2:
            data = data[: draw.choice([0, len(data) // 2])]
        whole = struct.pack("<Q", len(header)) + header + data
    file.write_bytes(whole)
    return f"{file.name}: {whole[8:1000]!r}"


def _damage_tensors(tensors, draw):
    """Changes one of the tensors: a whole file, but of a network that there is not."""
    if not tensors:
        return
    name = draw.choice(sorted(tensors))
    value, kind = tensors[name], draw.randrange(7)
    if kind == 0:
        del tensors[name]
    elif kind == 1:
        tensors[_other_name(name, draw)] = tensors.pop(name)
    elif kind == 2:
        tensors[_other_name(name, draw)] = value
    elif kind == 3:
        shape = list(value.shape) or [1]
        shape[draw.randrange(len(shape))] = draw.choice([0, 1, 2, 3, 4, 5, 7, 64, 1000])
        tensors[name] = np.ones(shape[: draw.choice([1, 4, 4])], value.dtype)
    elif kind == 4:
        kinds = [bool, "int8", "int64", "float64", "float16", ml_dtypes.float8_e5m2]
        tensors[name] = np.ones(value.shape, draw.choice(kinds))
    elif kind == 5:
        tensors[name] = np.full_like(value, draw.choice([float("nan"), float("inf"), -1]))
    else:
        prefix = draw.choice(["module.", "_orig_mod.", "vit.", "x.", "backbone.model."])
        for each in list(tensors):
            if draw.random() < draw.choice([1, 0.8]):
                tensors[prefix + each] = tensors.pop(each)


def _damaged_text(text, draw):
    if draw.random() < 0.15:
        return _damaged_bytes(text, draw)
    tree = json.loads(text)
    for _ in range(draw.choice([1, 1, 1, 2, 3])):
        tree = _damaged_tree(tree, draw)
    changed = json.dumps(tree, ensure_ascii=draw.random() < 0.9).encode("utf-8", "surrogatepass")
    if draw.random() < 0.08:  # one name twice
        name = (
            json.dumps(draw.choice(list(tree))).encode() if type(tree) is dict and tree else b'"a"'
        )
        again = name + b": " + json.dumps(draw.choice(_ODD)).encode()
        changed = b"{" + again + b", " + again + b", " + changed[1:]
    return changed


def _damaged_bytes(data, draw):
    at = draw.randrange(len(data) + 1)
    return draw.choice(
        [
            lambda: data[:at],
            lambda: data[:at] + bytes([draw.randrange(256)]) + data[at + 1 :],
            lambda: data[:at] + bytes([draw.randrange(256)]) + data[at:],
            lambda: data[:at] + data[at + 1 :],
            lambda: b"[" * 100_000,
            lambda: b'{"a":' * 100_000,
            lambda: b"\xef\xbb\xbf" + data,
            lambda: data.decode("latin-1").encode("utf-16"),
            lambda: b"",
            lambda: data + data,
            lambda: b"null",
        ]
    )()


def _nodes(tree, path=()):
    yield path
    children = tree.items() if type(tree) is dict else enumerate(tree) if type(tree) is list else ()
    for key, child in children:
        yield from _nodes(child, (*path, key))


def _damaged_tree(tree, draw):
    """The tree with one node changed, removed, renamed, or taken from elsewhere."""
    tree = copy.deepcopy(tree)
    path = draw.choice(list(_nodes(tree)))
    if not path:
        return draw.choice(_ODD) if draw.random() < 0.3 else tree
    parent = tree
    for key in path[:-1]:
        parent = parent[key]
    key, kind = path[-1], draw.randrange(8)
    value = parent[key]
    if kind == 0:
        del parent[key]
    elif kind == 1 and type(parent) is dict:
        parent[_other_name(str(key), draw)] = parent.pop(key)
    elif kind == 2 and type(parent) is dict:
        parent[_other_name(str(key), draw)] = copy.deepcopy(value)
    elif kind == 3:
        other = tree
        for step in draw.choice(list(_nodes(tree))):
            other = other[step]
        parent[key] = copy.deepcopy(other)
    elif kind == 4 and type(value) in (int, float) and abs(value) < 1e300:
        parent[key] = draw.choice(
            [-value, value * 2, value + 0.5, value + 1, value * 1e300, str(value)]
        )
    else:
        parent[key] = draw.choice(_ODD)
    return tree


def _other_name(name, draw):
    for digit in sorted({c for c in name if c.isdigit()}):
        if draw.random() < 0.6:
            more = ["9", "07", "30000", "100000000", "9" * 5000, "٣", "-1", "1", "0"]
            return name.replace(digit, draw.choice(more), 1)
    return draw.choice(["", "x", name + "x", "module." + name, name.upper(), "__metadata__"])


def outcome(name, folder):
    """None where loading ends as it may, or what is wrong with how it ended.

    It may fail with a ValueError or an OSError that names a path in the folder, or load the
    network of the golden checkpoint, but for what no tensor tells, with images that it can take.
    """
    try:
        found = models.load(folder)
    except (ValueError, OSError) as error:
        return None if str(folder) in str(error) else f"names no file: {error}"
    except Exception as error:  # what else is raised is what is looked for
        return f"{type(error).__name__}: {error}"
    golden = models.load(GOLDEN / name).model
    inner, wanted = (
        getattr(found.model, "backbone", found.model),
        getattr(golden, "backbone", golden),
    )
    free = {key: getattr(wanted, key) for key in FREE if hasattr(wanted, key)}
    if type(inner) is not type(wanted) or inner.clone(**free) != wanted:
        return f"another network: {found.model}"
    epsilon = getattr(inner, "norm_epsilon", 1e-6)
    if type(epsilon) not in (int, float) or not 0 < epsilon <= 0.1:
        return f"epsilon {epsilon}"
    images = found.preprocess
    numbers = (*images.mean, *images.std)
    channels = len(images.mean)
    if not all(type(v) is float and math.isfinite(v) for v in numbers) or min(images.std) <= 0:
        return f"{images}"
    patch = getattr(inner, "patch_size", 1)
    if (
        images.image_size % patch
        or channels != 3
        or len(images.std) != 3
        or not 1 <= images.image_size <= images.resize < 1e6
    ):
        return f"{images}"
    fixed = type(inner).__name__ in ("ViT", "MLPMixer")
    if fixed and images.image_size != inner.image_size:
        return f"{images} for {inner.image_size}"
    return None
