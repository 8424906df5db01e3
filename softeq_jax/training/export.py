"""Trained networks without their training: filtered parameters, and functions that run anywhere.

The filter is applied once, when the file is written: what is read back is an ordinary network.
"""

import os
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import InconclusiveDimensionOperation

from softeq_jax._atomic import replacing, write_tensors
from softeq_jax._paths import by_path, leaf_paths
from softeq_jax.projections import Plan

try:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file
    from safetensors.numpy import save as save_bytes
except ImportError as error:
    raise ImportError(
        "softeq_jax.training.export needs safetensors: pip install softeq-jax[train]"
    ) from error

Params = Any
Array = jax.Array | np.ndarray

PLATFORMS = ("cpu", "cuda", "tpu")
"""What a function is exported for by default."""

# What zipfile and the reader of programs raise over damaged files, a place before the start too.
_DAMAGED = (ValueError, LookupError, RuntimeError, EOFError, OSError, struct.error, zlib.error)
_KNOWN = (*PLATFORMS, "rocm")
_PROGRAM, _LEAVES = "program.jax_export", "params.safetensors"
_RESERVED = "__metadata__"
_INTEGERS = tuple(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))
_DTYPES = ("bfloat16", "float16", "float32", "float64", "complex64", "bool", *_INTEGERS)


def save_params(
    path: str | os.PathLike[str],
    params: Params,
    *,
    plan: Plan | None = None,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Writes the parameters as safetensors; an earlier file is replaced at once.

    Args:
      path: the file; missing folders are made.
      params: any pytree of arrays, not replicated. Every leaf is stored under its path, such as
        "stage1/conv1/kernel".
      plan: filters them first, once, so that the file holds what the network computes with:
        float32 leaves in float32, NumPy's float64 in float64, half precision in float32.
      metadata: text by name, kept in the file; `safetensors.safe_open(path, "np").metadata()`.

    Raises:
      TypeError: a leaf is no array of numbers of a type that safetensors has.
      ValueError: NaN or infinite entries, two leaves of one path, or a plan that was made for
        other parameters; the message has the path.
    """
    arrays = _folded(params, plan)
    with replacing(path) as partial:
        write_tensors(partial, arrays, metadata)


def load_params(path: str | os.PathLike[str], template: Params) -> Params:
    """Reads what `save_params` wrote.

    Args:
      path: the file.
      template: a pytree of the saved structure with leaves of the saved shapes and dtypes (arrays
        or `jax.ShapeDtypeStruct`).

    Returns:
      A tree like the template with NumPy leaves.

    Raises:
      FileNotFoundError: no such file.
      ValueError: it is no safetensors file, lacks a leaf of the template, has one beyond it, or
        one of another shape or dtype; the message has the path of the leaf.
    """
    names, leaves, treedef = leaf_paths(template)
    try:
        found = load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path}: not a safetensors file ({error})") from error
    missing, left_over = sorted(set(names) - set(found)), sorted(set(found) - set(names))
    if missing or left_over:
        raise ValueError(
            f"{path}: lacks {missing[:8]} of the template and has {left_over[:8]} beyond it"
        )
    for name, leaf in zip(names, leaves, strict=True):
        came, expected = _spec(found[name]), _spec(leaf)
        if came != expected:
            raise ValueError(f"{path}: {name} is {came}, the template expects {expected}")
    return jax.tree.unflatten(treedef, [found[name] for name in names])


def save_function(
    path: str | os.PathLike[str],
    f: Callable[[Params, Array], Any],
    params: Params,
    example: Array | jax.ShapeDtypeStruct,
    *,
    platforms: Sequence[str] = PLATFORMS,
    symbolic_batch: bool = True,
    plan: Plan | None = None,
) -> None:
    """Writes `x -> f(params, x)` as a file that runs without its Python source.

    The file is an uncompressed zip of the program (`jax.export`, "program.jax_export") and of the
    filtered parameters ("params.safetensors"), which are arguments of the program. So it is as
    large as the parameters and some kilobytes for each platform, no weight is folded into the
    code by the compiler, and its checksums show a damaged file.

    Args:
      path: the file; missing folders are made.
      f: what JAX can trace, evaluation of a network for example; returns a pytree of arrays. What
        else it closes over (running averages) becomes part of the program.
      params: as of `save_params`; float64 becomes float32 where JAX has none.
      example: images `[n, ...]` or their shape and dtype.
      platforms: of "cpu", "cuda", "rocm" and "tpu", those the function may run on.
      symbolic_batch: whether any number n of images may be passed later; else that of `example`.
      plan: filters the parameters first, once; see `save_params`.

    Raises:
      ImportError: flatbuffers is not installed.
      TypeError: `example` is no array, or as `save_params`.
      ValueError: an unknown platform; an example without a leading axis; a function that fixes
        the number of images; or as `save_params`.
    """
    _require_flatbuffers()
    _check_platforms(platforms)
    images = _example_spec(example, symbolic_batch)
    arrays = {name: np.asarray(jnp.asarray(leaf)) for name, leaf in _folded(params, plan).items()}
    names, _, treedef = leaf_paths(params)

    def program(leaves: dict[str, Array], x: Array) -> Any:
        return f(jax.tree.unflatten(treedef, [leaves[name] for name in names]), x)

    shapes = {k: jax.ShapeDtypeStruct(v.shape, v.dtype) for k, v in arrays.items()}
    jax.eval_shape(program, shapes, _example_spec(example, False))
    try:
        exported = jax.export.export(jax.jit(program), platforms=list(platforms))(shapes, images)
    except (TypeError, ValueError, InconclusiveDimensionOperation) as error:
        if not symbolic_batch:
            raise
        raise ValueError(
            f"the function can be traced for {example.shape[0]} images, but not for any number of "
            f"them; pass symbolic_batch=False to fix the number ({error})"
        ) from error
    with replacing(path) as partial, zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED) as file:
        for name, content in ((_PROGRAM, exported.serialize()), (_LEAVES, save_bytes(arrays))):
            entry = zipfile.ZipInfo(name)  # has no time: the same function gives the same bytes
            entry.external_attr = 0o644 << 16
            file.writestr(entry, content)


def load_function(path: str | os.PathLike[str]) -> Callable[[Array], Any]:
    """Reads what `save_function` wrote.

    Returns:
      The compiled function of images. It takes those of the exported shape and dtype (any number
      of them, if the batch is symbolic) and has no derivatives. Each number of images compiles
      once. The parameters are on the default device, once.

    Raises:
      ImportError: flatbuffers is not installed.
      FileNotFoundError: no such file.
      ValueError: it is no such file, or is damaged.
    """
    _require_flatbuffers()
    try:
        with zipfile.ZipFile(path) as file, tempfile.TemporaryDirectory() as folder:
            program = file.read(_PROGRAM)
            # From a file: safetensors does not read bfloat16 from bytes.
            leaves = load_file(file.extract(_LEAVES, folder))
        exported = jax.export.deserialize(bytearray(program))
    except FileNotFoundError:
        raise
    except (zipfile.BadZipFile, SafetensorError, *_DAMAGED) as error:
        raise ValueError(
            f"{path}: not a file that save_function wrote, or damaged ({error})"
        ) from error
    leaves = jax.device_put(leaves)
    call = jax.jit(exported.call)
    return lambda x: call(leaves, x)


def _folded(params: Params, plan: Plan | None) -> dict[str, np.ndarray]:
    """The filtered parameters on the host by path.

    Raises:
      TypeError, ValueError: see `save_params`.
    """
    folded = params if plan is None else plan.project(params)
    leaves = by_path(folded)
    for name in {"", _RESERVED} & leaves.keys():
        raise ValueError(f"a parameter has the path {name!r}, expected a name of its own")
    return {name: _host(name, leaf) for name, leaf in leaves.items()}


def _host(name: str, leaf: Any) -> np.ndarray:
    kind = leaf.dtype.name if hasattr(leaf, "dtype") else type(leaf).__name__
    if kind not in _DTYPES or not hasattr(leaf, "dtype"):
        raise TypeError(f"parameter {name} is of type {kind}, expected an array of {_DTYPES}")
    array = np.array(leaf, order="C")  # safetensors writes wrong bytes for any other order
    if not np.isfinite(array).all():
        raise ValueError(f"parameter {name} holds NaN or infinite entries, expected finite ones")
    return array


def _spec(leaf: Any) -> tuple[tuple[int, ...], str]:
    leaf = leaf if hasattr(leaf, "dtype") else np.asarray(leaf)
    return tuple(leaf.shape), str(leaf.dtype)


def _check_platforms(platforms: Sequence[str]) -> None:
    unknown = [platform for platform in platforms if platform not in _KNOWN]
    if unknown or not platforms or isinstance(platforms, str):
        raise ValueError(f"platforms is {platforms!r}, expected some of {_KNOWN}")


def _example_spec(example: Any, symbolic_batch: bool) -> jax.ShapeDtypeStruct:
    if not hasattr(example, "shape") or not hasattr(example, "dtype"):
        raise TypeError(f"example is a {type(example).__name__}, expected an array [n, ...]")
    if not example.shape:
        raise ValueError("example has shape (), expected an array [n, ...]")
    shape = tuple(example.shape)
    if symbolic_batch:
        shape = (*jax.export.symbolic_shape("b"), *shape[1:])
    return jax.ShapeDtypeStruct(shape, jax.dtypes.canonicalize_dtype(example.dtype))


def _require_flatbuffers() -> None:
    try:
        import flatbuffers  # noqa: F401
    except ImportError as error:
        raise ImportError(
            "exported functions need flatbuffers: pip install softeq-jax[train]"
        ) from error
