"""Provenance of a written file: what was done to its weights, as text metadata of safetensors."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from softeq_jax._version import version
from softeq_jax.cli._certified import Certified, span

if TYPE_CHECKING:
    from softeq_jax.models.weights import Pretrained

WEIGHTS = "model.safetensors"
PREFIX = "softeq."
_JSON = {"dials": dict, "training": dict, "classes": list, "earlier": list}


@dataclasses.dataclass(frozen=True)
class Provenance:
    """What a file says of how its weights were made.

    Attributes:
      entries: text by key; in the file each key has ``softeq.`` before it. ``source``,
        ``source_sha256`` (of the weights that were read, hexadecimal) and ``version`` (of this
        library) are always there. Of filtered weights: ``group``, ``mask``, the realized
        ``softness``, ``level`` of a hard mask or ``width`` of a smooth one, in 1 / radian,
        ``bound``, the certified movement relative to the norm (unless it was left out), and
        ``dials``, the settings that were asked for, as JSON. Of trained ones: ``training`` and,
        where they are known, ``classes``, both JSON.
        ``earlier``: a JSON list of the entries of the files before, the first one first.
    """

    entries: Mapping[str, str]

    @classmethod
    def of(cls, network: "Pretrained") -> "Provenance | None":
        """That of a checkpoint, None if this library has not written it.

        Raises:
          ValueError: an entry is not readable; the message names file and key.
        """
        known = network.origin.metadata.items()
        entries = {k.removeprefix(PREFIX): text for k, text in known if k.startswith(PREFIX)}
        _check(entries, f"{network.report.source}: metadata {PREFIX}")
        return cls(entries) if entries else None

    @classmethod
    def made(cls, source: str, before: "Provenance | None", **entries: str) -> "Provenance":
        """The provenance of new weights.

        Args:
          source: the checkpoint that they were made of.
          before: that of the source.
          **entries: what else there is to say.
        """
        from softeq_jax.models.weights import sha256

        own = {
            **entries,
            "source": _name(source),
            "source_sha256": sha256(source),
            "version": version(),
        }
        if before is not None and "classes" in before.entries and "training" not in own:
            own["classes"] = before.entries["classes"]
        if before is not None:
            last = {key: text for key, text in before.entries.items() if key != "earlier"}
            own["earlier"] = json.dumps([*before.value("earlier", []), last])
        return cls(own)

    @property
    def what(self) -> str:
        """What was done last, in a word or two."""
        done = {"group": "softened", "training": "trained"}
        return " and ".join(word for key, word in done.items() if key in self.entries)

    @property
    def is_soft(self) -> bool:
        """Whether the weights are filtered."""
        return "group" in self.entries

    @property
    def classes(self) -> list[str]:
        """The names of the classes, none where they are not known."""
        return [str(name) for name in self.value("classes", [])]

    def value(self, key: str, default: Any) -> Any:
        """The value of an entry in JSON, or the default."""
        return json.loads(self.entries[key]) if key in self.entries else default

    def metadata(self, others: Mapping[str, str]) -> dict[str, str]:
        """Metadata of the file: the others, without an older provenance, and this one.

        ``format`` is ``pt`` if there is none: ``transformers`` refuses files that have metadata
        without it.
        """
        kept = {key: text for key, text in others.items() if not key.startswith(PREFIX)}
        own = {PREFIX + key: text for key, text in self.entries.items()}
        return {"format": "pt", **kept, **own}

    def rows(self) -> list[tuple[str, str]]:
        """What happened, the last thing first: a word and a text."""
        rows = []
        for entries in (self.entries, *reversed(self.value("earlier", []))):
            if "group" in entries:
                rows.append(("softened", _soft(entries)))
            if "training" in entries:
                trained = json.loads(entries["training"])
                rows.append(("trained", ", ".join(f"{k} {v}" for k, v in trained.items())))
            made = (entries.get(key, "unknown") for key in ("source", "source_sha256", "version"))
            rows.append(("made of", "{}, SHA-256 {}, by softeq-jax {}".format(*made)))
        return rows


def _check(entries: Any, where: str) -> None:
    """Checks entries, and those of the files before.

    Raises:
      ValueError: one is no text, or not the JSON that it should be; the message has its key.
    """
    if not isinstance(entries, dict) or not all(isinstance(v, str) for v in entries.values()):
        raise ValueError(f"{where}earlier holds {str(entries)[:80]!r}, expected texts by name")
    for key, kind in _JSON.items():
        try:
            value = json.loads(entries[key]) if key in entries else kind()
        except (ValueError, RecursionError):
            value = None
        if value is None or type(value) is not kind:
            raise ValueError(
                f"{where}{key} is {entries[key][:80]!r}, expected JSON of a {kind.__name__}"
            )
        for earlier in value if key == "earlier" else ():
            _check(earlier, where)


def _name(source: str) -> str:
    """What to call a checkpoint: the end of its path, or its hub id."""
    path = Path(source).resolve()
    if not path.exists():
        return source
    return f"{path.parent.name}/{path.name}" if path.name == WEIGHTS else path.name


def soft_entries(group: str, dials: Mapping[str, Any], certified: Certified) -> dict[str, str]:
    """The entries of filtered weights.

    Args:
      group: its name, as it was given.
      dials: those that were given.
      certified: the weights.
    """
    plan = certified.plan
    used = [projector for _, projector, _ in plan.planned(certified.params)]
    masks = dict.fromkeys(projector.mask for projector in used)
    entries = {
        "group": group,
        "mask": ", ".join(masks),
        "softness": certified.softness(),
        "dials": json.dumps(dials),
    }
    if certified.before:
        entries["bound"] = "; ".join(f"{row[-1]} {row[0]}" for row in certified.rows())
    for mask in masks:
        key = "level" if mask == "hard" else "width"
        entries[key] = span([p.cutoff for p in used if (p.mask == "hard") == (mask == "hard")])
    return entries


def _soft(entries: Mapping[str, str]) -> str:
    """The filters in one line."""
    shown = (f"{key} {entries[key]}" for key in ("softness", "level", "width") if key in entries)
    words = ", ".join((f"{entries.get('mask', 'unknown')} mask", *shown))
    bound = f"; moves by at most {entries['bound']}" if "bound" in entries else ""
    return f"under {entries['group']}: {words}{bound}"
