"""Filtered weights as they are in a file, with what is certified of them before and after."""

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from softeq_jax._atomic import TENSOR_DTYPES
from softeq_jax._text import at_most, table
from softeq_jax.cli._progress import shown

if TYPE_CHECKING:
    from softeq_jax import Certificate, Plan
    from softeq_jax.groups import Group
    from softeq_jax.models.weights import Pretrained
    from softeq_jax.projections import Question

_WITHIN = 15.0
_UNITS = "(in units of the norm of these weights before, in the last column of that after)"
BOUNDS = ("movement of the filtered weights, at most", "before", "after", "after, own norm")


@dataclasses.dataclass(frozen=True)
class Certified:
    """Weights with bounds of ``||g w - w||``, of all filtered ones as one vector.

    Attributes:
      plan: of the filters.
      params: the weights, in the dtypes of the file's tensors.
      before: from a set of group elements, in words, to the certificate of the weights before.
      after: the same of ``params``.
    """

    plan: "Plan"
    params: Any
    before: Mapping[str, "Certificate"]
    after: Mapping[str, "Certificate"]

    def rows(self) -> list[tuple[str, ...]]:
        """Elements, and bounds: before and after in units of the norm before, and in its own."""
        rows = []
        for what, old in self.before.items():
            new = self.after[what]
            values = (old.relative, new.bound / (old.weight_norm or 1.0), new.relative)
            rows.append((what, *map(at_most, values)))
        return rows

    def parts(self) -> list[tuple[str, ...]]:
        """The rows of every filtered parameter, its path first."""
        rows = []
        for what, old in self.before.items():
            for path, part in old.parts.items():
                one = Certified(self.plan, None, {what: part}, {what: self.after[what].parts[path]})
                rows += [(path, *row) for row in one.rows()]
        return rows

    def softness(self) -> str:
        """The range of the softness that the filters have."""
        return span([projector.softness for _, projector, _ in self.plan.planned(self.params)])

    def stuck(self) -> dict[str, list[str]]:
        """From the elements to the parameters whose bound did not fall."""
        from softeq_jax.projections import unmoved

        return {what: unmoved(old, self.after[what]) for what, old in self.before.items()}

    def table(self) -> str:
        """The rows as text."""
        return f"{table(BOUNDS, self.rows(), right='-rrr')}\n{_UNITS}"

    def judged(self) -> str:
        """The table with whether the bounds fell, and of which parameters they did not."""
        if not self.before:
            return "no bounds, as --no-bounds said"
        rows, stuck = [], self.stuck()
        for row in self.rows():
            still, parts = stuck[row[0]], self.before[row[0]].parts
            some = f"but of {len(still)}" if len(still) < len(parts) else "no"
            rows.append((*row, some if still else "yes"))
        text = f"{table((*BOUNDS, 'fell'), rows, right='-rrr-')}\n{_UNITS}"
        if names := dict.fromkeys(path for paths in stuck.values() for path in paths):
            text += f"\n\nthe bound did not fall of {', '.join(names)}"
        return text


def certified(
    plan: "Plan",
    group: "Group",
    network: "Pretrained",
    params: Any,
    before: Any = None,
    *,
    bounds: bool = True,
) -> Certified:
    """Certifies weights as they will be in the file.

    Args:
      plan: of the filters.
      group: of the plan.
      network: whose checkpoint tells the dtypes.
      params: the new weights.
      before: the weights to compare with; None: those of the network.
      bounds: whether there are any; without them nothing is certified.
    """
    before = network.variables["params"] if before is None else before
    stored = rounded(params, network)
    if not bounds:
        return Certified(plan, stored, {}, {})
    return Certified(plan, stored, _movements(plan, group, before), _movements(plan, group, stored))


def span(values: Sequence[float]) -> str:
    """``0.8``, or ``0.8 to 1``."""
    low, high = f"{min(values):.4g}", f"{max(values):.4g}"
    return low + (f" to {high}" if low != high else "")


def _movements(plan: "Plan", group: "Group", params: Any) -> dict[str, "Certificate"]:
    from softeq_jax._paths import naming
    from softeq_jax.projections import combine

    asked: dict[str, Question] = {f"by any element of {group!r}": {}}
    if not group.is_finite:
        asked[f"by rotations up to {_WITHIN:g} degrees"] = {"within": math.radians(_WITHIN)}
    planned = plan.planned(params)
    parts: dict[str, dict[str, Certificate]] = {what: {} for what in asked}
    for what, (path, projector, w) in shown(list(itertools.product(asked, planned)), "bound"):
        with naming(path):
            parts[what][path] = projector.certificate(w, **asked[what])
    return {what: combine(found) for what, found in parts.items()}


def rounded(params: Any, network: "Pretrained") -> Any:
    """The parameters as they are in the file: in the dtypes of its tensors."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from softeq_jax._paths import leaf_paths

    names = {word: name for name, word in TENSOR_DTYPES.items()}
    paths, leaves, structure = leaf_paths({"params": params})
    flat = dict(zip(paths, leaves, strict=True))
    for stored in network.origin.tensors:
        for path in flat.keys() & set(stored.entry.paths):
            values = np.asarray(flat[path]).astype(jnp.dtype(names[stored.dtype]))
            flat[path] = values.astype(np.float32)
    return jax.tree.unflatten(structure, [flat[path] for path in paths])["params"]
