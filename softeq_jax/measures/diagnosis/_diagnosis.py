"""What a doctor found: findings by size, one verdict in words, as text, HTML and JSON."""

import dataclasses
import json
from typing import Any

from softeq_jax._text import brief, html_table, paragraph, table, wrapped

KINDS = (
    "model",
    "representation",
    "layout",
    "interpolation",
    "position",
    "precision",
    "state",
)
"""What a finding may be of."""


@dataclasses.dataclass(frozen=True)
class Finding:
    """One reason why a function is not equivariant as declared.

    Attributes:
      kind: one of ``KINDS``.
      layer: the first layer at which it arises, None where layers cannot be seen.
      size: relative error, ``||f(g x) - rho(g) f(x)|| / ||f(x)||`` where nothing else is said.
      evidence: what was measured, in a sentence.
      remedy: what to do, in a sentence.

    Example:
      >>> import softeq_jax as sq
      >>> remedy = "pool symmetrically"
      >>> finding = sq.measures.Finding("position", "pool", 0.2, "depends on the place", remedy)
      >>> finding.kind, finding.layer, finding.size
      ('position', 'pool', 0.2)
    """

    kind: str
    layer: str | None
    size: float
    evidence: str
    remedy: str

    __repr__ = brief


@dataclasses.dataclass(frozen=True, repr=False)
class Diagnosis:
    """Whether a function is equivariant as declared, and why not; ``print`` it.

    Attributes:
      equivariant: whether it is, up to the tolerance (between the points of a lattice: up to what
        resampling alone does).
      findings: the largest first; a sound function may have one of kind "interpolation".
      verdict: in a sentence.
      errors: relative errors by element of the group, in the order in which they were measured.
      tolerance: below which an error is rounding, from the dtype of the inputs.
      passes: forward passes that were needed.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> x = np.random.default_rng(0).normal(size=(2, 6, 6, 1)).astype("float32")
      >>> found = sq.measures.doctor(lambda x: x.mean((1, 2)), x, "c4")
      >>> found.equivariant, found.findings
      (True, ())
    """

    equivariant: bool
    findings: tuple[Finding, ...]
    verdict: str
    errors: tuple[tuple[str, float], ...]
    tolerance: float
    passes: int

    @property
    def error(self) -> float:
        """The largest of ``errors``."""
        return max((error for _, error in self.errors), default=0.0)

    def table(self) -> str:
        """The findings and the errors, as aligned text."""
        parts = []
        if self.findings:
            rows = [(f.kind, f.layer or "-", f"{f.size:.3g}") for f in self.findings]
            parts.append(table(("finding", "layer", "size"), rows, right="--r"))
        rows = [(name, f"{error:.3g}") for name, error in self.errors]
        parts.append(table(("element", "relative error"), rows, right="-r"))
        return "\n\n".join(parts)

    def __repr__(self) -> str:
        lines = [wrapped(self.verdict, "   ")]
        for number, found in enumerate(self.findings, 1):
            where = f" at {found.layer}" if found.layer else ""
            head = f"{number}. {found.kind}{where}, {found.size:.3g}: {found.evidence}"
            lines += [wrapped(head, "   "), wrapped(f"   what to do: {found.remedy}", "   ")]
        lines.append(self.table())
        note = f"tolerance {self.tolerance:.3g}; forward passes: {self.passes}"
        return "\n".join([*lines, note])

    def _repr_html_(self) -> str:
        rows = [
            (f.kind, f.layer or "-", f"{f.size:.3g}", f.evidence, f.remedy) for f in self.findings
        ]
        found = html_table(("kind", "layer", "size", "evidence", "remedy"), rows) if rows else ""
        errors = [(name, f"{error:.3g}") for name, error in self.errors]
        tables = found + html_table(("element", "relative error"), errors)
        return f"{paragraph(self.verdict)}{tables}"

    def as_dict(self) -> dict[str, Any]:
        """Everything as numbers, texts and lists."""
        return {
            "equivariant": self.equivariant,
            "verdict": self.verdict,
            "findings": [dataclasses.asdict(found) for found in self.findings],
            "errors": [{"element": name, "error": error} for name, error in self.errors],
            "tolerance": self.tolerance,
            "passes": self.passes,
        }

    def json(self) -> str:
        """``as_dict`` as JSON."""
        return json.dumps(self.as_dict(), indent=2, allow_nan=False)
