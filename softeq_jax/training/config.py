"""Configurations: checked against their defaults, saved, compared.

A configuration holds None, booleans, integers, floats, strings, sequences of these, and
configurations by name. Sequences are tuples once it is frozen and lists in its JSON, so the two
count as the same.
"""

import difflib
import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from softeq_jax._atomic import replacing

try:
    from ml_collections import ConfigDict, FrozenConfigDict
    from ml_collections.config_dict import FieldReference, RequiredValueError
except ImportError as error:
    raise ImportError(
        "softeq_jax.training.config needs ml_collections: pip install softeq-jax[train]"
    ) from error

Config = ConfigDict | FrozenConfigDict | Mapping[str, Any]

ROOT = "config"
"""What a configuration is called in messages, as on a command line."""

ABSENT = "<absent>"
"""Stands in differences for the value of a key that one side does not have."""


def resolve_config(config: Config, defaults: Config) -> FrozenConfigDict:
    """The configuration with all that it leaves out taken from the defaults.

    A default of None, or one that is a placeholder without a type, takes any value; a placeholder
    takes None and its type. An integer is accepted for a float and becomes one. References among
    the values are resolved first: a default that refers to another one does not follow its change.

    Args:
      config: any part of the defaults' keys, nested alike.
      defaults: every key there is.

    Returns:
      Every key of the defaults, frozen.

    Raises:
      KeyError: a key that the defaults do not have; the message has the full key and the nearest
        right one.
      TypeError: a value of another type than its default, or one that no configuration holds.
      ValueError: a NaN, or a required placeholder without a value.
    """
    merged = _merged(_fields(config), _fields(defaults), ROOT)
    return FrozenConfigDict(_plain(merged, ROOT))


def save_config(config: Config, path: str | os.PathLike[str]) -> None:
    """Writes the configuration as JSON with sorted keys; an earlier file is replaced at once.

    Tuples become lists. Infinite floats are written as `Infinity`, which Python reads.

    Raises:
      TypeError: a value that no configuration holds; the message has its full key.
      ValueError: a NaN, or a required placeholder without a value.
    """
    text = json.dumps(_plain(_fields(config), ROOT), indent=2, sort_keys=True)
    with replacing(path) as partial:
        partial.write_text(text + "\n", encoding="utf-8")


def load_config(path: str | os.PathLike[str]) -> FrozenConfigDict:
    """Reads what `save_config` wrote; sequences are tuples.

    Raises:
      FileNotFoundError: no such file.
      ValueError: it holds no configuration; the message names it.
    """
    data = Path(path).read_bytes()
    try:
        values = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not a JSON file ({error})") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path}: holds a {type(values).__name__}, expected an object with keys")
    try:
        return FrozenConfigDict(_plain(values, ROOT))
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{path}: {error}") from error


def config_digest(config: Config) -> str:
    """SHA-256 (64 hexadecimal digits) of the configuration's canonical JSON.

    The order of keys and the difference of lists and tuples do not enter; 1 and 1.0 differ, so
    resolve the configuration first.

    Raises:
      TypeError, ValueError: as `save_config`.
    """
    return hashlib.sha256(_canonical(_plain(_fields(config), ROOT)).encode()).hexdigest()


def config_differences(a: Config, b: Config) -> dict[str, tuple[Any, Any]]:
    """Differences: full keys such as "optimizer.learning_rate" with the values in a and in b.

    Empty exactly if the digests are equal. Where one has no such key its value is "<absent>".

    Raises:
      TypeError, ValueError: as `save_config`.
    """
    left, right = (_plain(_fields(side), ROOT) for side in (a, b))
    return differences(left, right)


def differences(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Differences of two objects of JSON, as `config_differences` gives them."""
    left, right = dict(_leaves(a)), dict(_leaves(b))
    pairs = {key: (left.get(key, ABSENT), right.get(key, ABSENT)) for key in {**left, **right}}
    differ = (key for key, (x, y) in pairs.items() if _canonical(x) != _canonical(y))
    return {key: pairs[key] for key in sorted(differ)}


def _fields(config: Any) -> dict[str, Any]:
    """The values by key; those of a ConfigDict with its references."""
    if isinstance(config, ConfigDict):
        return dict(config.items(preserve_field_references=True))
    if isinstance(config, Mapping):
        return dict(config)
    raise TypeError(f"{ROOT} is a {type(config).__name__}, expected a ConfigDict or a mapping")


def _merged(given: Mapping[str, Any], defaults: Mapping[str, Any], where: str) -> dict[str, Any]:
    for key in given:
        if key not in defaults:
            raise KeyError(_no_such_key(f"{where}.{key}", key, list(defaults), where))
    return {
        key: _chosen(given[key], default, f"{where}.{key}") if key in given else default
        for key, default in defaults.items()
    }


def _chosen(value: Any, default: Any, where: str) -> Any:
    """The given value, if its type is that of the default."""
    value, kind = _resolved(value, where), type(default)
    if isinstance(default, FieldReference):
        is_required, kind = _is_required(default), default.get_type()
        default = None if is_required else default.get()
        if default is None and value is None and not is_required:
            return None
    if kind is type(None) or kind is object:
        return value
    if _is_config(default):
        if not _is_config(value):
            raise TypeError(f"{where} is {value!r}, expected keys among {sorted(_fields(default))}")
        return _merged(_fields(value), _fields(default), where)
    if kind is float and type(value) is int:
        return float(value)
    sequence = (list, tuple)
    fits = isinstance(value, sequence) if issubclass(kind, sequence) else type(value) is kind
    if not fits:
        raise TypeError(f"{where} is {value!r} ({type(value).__name__}), expected {kind.__name__}")
    return value


def _no_such_key(full: str, key: Any, known: list[str], where: str) -> str:
    near = difflib.get_close_matches(str(key), known, n=1)
    hint = f"; did you mean {near[0]}?" if near else ";"
    return f"{full}: no such key{hint} {where} has {', '.join(sorted(known)) or 'no keys'}"


def _plain(value: Any, where: str) -> Any:
    """The value as JSON holds it: dictionaries, lists, and scalars.

    Raises:
      TypeError, ValueError: see `save_config`.
    """
    value = _resolved(value, where)
    if _is_config(value):
        fields = _fields(value)
        for key in fields:
            if not isinstance(key, str) or "." in key:
                raise TypeError(f"{where} has the key {key!r}, expected a string without dots")
        return {key: _plain(field, f"{where}.{key}") for key, field in fields.items()}
    if isinstance(value, list | tuple):
        items = [_plain(item, f"{where}[{i}]") for i, item in enumerate(value)]
        if any(isinstance(item, dict) for item in items):
            raise TypeError(f"{where} is a sequence with a configuration in it; give each a name")
        return items
    if value is not None and type(value) not in (bool, int, float, str):
        raise TypeError(
            f"{where} is a {type(value).__name__}, expected None, a boolean, an integer, a float, "
            f"a string, a sequence of these or a configuration"
        )
    if isinstance(value, float) and math.isnan(value):
        raise ValueError(f"{where} is NaN, which is equal to nothing")
    return value


def _resolved(value: Any, where: str) -> Any:
    if not isinstance(value, FieldReference):
        return value
    try:
        return value.get()
    except RequiredValueError as error:
        raise ValueError(f"{where} has no value, expected {value.get_type().__name__}") from error


def _is_required(reference: FieldReference) -> bool:
    try:
        reference.get()
    except RequiredValueError:
        return True
    return False


def _is_config(value: Any) -> bool:
    return isinstance(value, ConfigDict | Mapping)


def _leaves(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Full keys and values; an empty configuration counts as a value."""
    for key, field in value.items():
        if isinstance(field, dict) and field:
            yield from _leaves(field, f"{prefix}{key}.")
        else:
            yield prefix + key, field


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
