"""The configuration beside a checkpoint: Hugging Face's or timm's."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from softeq_jax.models.weights import _files


@dataclasses.dataclass(frozen=True)
class Config:
    """What ``config.json`` says.

    Attributes:
      where: what to call it in messages.
      format: ``"hugging face"``, ``"timm"``, or None if there is no file.
      values: Hugging Face's keys, or timm's ``model_args``.
      all: the whole file.
    """

    where: str
    format: str | None
    values: Mapping[str, Any]
    all: Mapping[str, Any]

    def __contains__(self, key: str) -> bool:
        return self.values.get(key) is not None

    def number(self, key: str, default: float) -> float:
        """A number.

        Raises:
          ValueError: there is something else.
        """
        value = self.values.get(key)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"{self.where}: {key} is {value!r}, expected a number")
        return value

    def side(self, key: str) -> int | None:
        """A square size, given as one integer or as two equal ones; None if there is none."""
        value = self.values.get(key)
        if isinstance(value, list) and len(value) == 2 and value[0] == value[1]:
            value = value[0]
        if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
            raise ValueError(f"{self.where}: {key} is {value!r}, expected a square size")
        return value

    def integers(self, key: str, stages: int) -> tuple[int, ...] | None:
        """One integer for each stage; None if there is no such key."""
        value = self.values.get(key)
        if value is None:
            return None
        if (
            not isinstance(value, list)
            or len(value) != stages
            or any(isinstance(v, bool) or not isinstance(v, int) for v in value)
        ):
            raise ValueError(f"{self.where}: {key} is {value!r}, expected {stages} integers")
        return tuple(value)

    def classes(self) -> int | None:
        """Length of the logits, or None where the file does not say.

        Hugging Face's files have labels for networks without a head, too.
        """
        if self.format == "timm":
            return self.all.get("num_classes")
        architectures = self.all.get("architectures") or [""]
        if architectures[0].endswith("Model"):
            return 0
        if "num_labels" in self:
            return self.values["num_labels"]
        labels = self.values.get("id2label")
        return len(labels) if architectures[0] and isinstance(labels, dict) else None

    def expect(self, key: str, *allowed: Any) -> None:
        """Checks a setting that the model has in one way only.

        Raises:
          ValueError: it is set to something else.
        """
        if key in self.values and self.values[key] not in allowed:
            raise ValueError(
                f"{self.where}: {key} is {self.values[key]!r}, expected {_either(allowed)}"
            )

    def known(self, free: tuple[str, ...], fixed: Mapping[str, tuple[Any, ...]]) -> None:
        """Checks timm's ``model_args``: any value for some keys, given ones for others, no more.

        Raises:
          ValueError: another key, or another value.
        """
        for key, value in self.values.items():
            if key in free:
                continue
            if key not in fixed:
                raise ValueError(
                    f"{self.where}: model_args has {key} = {value!r}, which is not supported"
                )
            self.expect(key, *fixed[key])

    def agree(self, **facts: Any) -> None:
        """Checks numbers that the tensors have told.

        Raises:
          ValueError: the file says something else.
        """
        for key, fact in facts.items():
            value = self.values.get(key)
            said = tuple(value) if isinstance(value, list) else value
            if value is not None and said not in (fact, (fact, fact)):
                raise ValueError(f"{self.where}: {key} is {value!r}, the tensors have {fact!r}")


def _either(values: tuple[Any, ...]) -> str:
    return " or ".join(repr(v) for v in values)


def parse(text: str | None, source: str) -> Config:
    """Reads the text of ``config.json``.

    Raises:
      ValueError: not JSON, or neither of the two formats.
    """
    where = f"{source}: {_files.CONFIG}"
    if text is None:
        return Config(where, None, {}, {})
    whole = _files.json_object(text, where)
    if "model_type" in whole:
        return Config(where, "hugging face", whole, whole)
    if "architecture" in whole:
        args = whole.get("model_args") or {}
        if not isinstance(args, dict):
            raise ValueError(f"{where}: model_args is {args!r}, expected an object")
        return Config(where, "timm", args, whole)
    raise ValueError(f"{where}: has neither 'model_type' (Hugging Face) nor 'architecture' (timm)")
