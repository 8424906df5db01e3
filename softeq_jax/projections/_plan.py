"""A plan: which parameters of a model are filtered, and by which projector."""

import dataclasses
import math
import warnings
from collections.abc import Callable, Mapping
from typing import Any, Unpack

import jax
import jax.numpy as jnp
import numpy as np

from softeq_jax._checks import is_traced, known_options
from softeq_jax._paths import first_matches, leaf_paths, naming, ordered, refuse_idle
from softeq_jax._text import TextTable, paragraph, table
from softeq_jax.projections._certificate import Certificate, combine
from softeq_jax.projections._dials import Dials, continuous
from softeq_jax.projections._filter import Array
from softeq_jax.projections._kept_norm import keep_norm as norm_kept
from softeq_jax.projections._projector import Projector
from softeq_jax.projections._rules import Untouched
from softeq_jax.projections.movement import Question

Params = Any
Rule = Projector | Callable[[str, Array], Projector | Untouched | None] | Untouched | None
"""A projector, a function (path, weight) -> projector, ``Untouched`` or None, or one of these two
for all that the rule covers: left untouched, with a reason that is reported or without."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Plan:
    """An immutable pytree that filters the parameters of one model. Build it with ``plan``.

    ``project`` and ``split`` work under ``jit``, ``grad``, ``vmap`` and as an argument of
    ``pmap`` (the masks are its data leaves, so another level recompiles nothing). The others are
    host-side.

    Parameters are known by their paths alone, so that the plan of a model is that of its state, of
    its arrays, and of what was restored from a file, in whatever order these hold them.
    Parameters are the leaves with at least one axis; numbers, functions and other leaves belong
    to no plan and pass through.

    Attributes:
      projectors: the distinct projectors.
      paths: path of every parameter of the model, sorted: ``layers/2`` before ``layers/10``.
      shapes: their shapes.
      chosen: for each parameter the index of its projector, or -1 if it is left untouched.
      reasons: (path, reason) of those that a rule covers and leaves untouched, see ``Untouched``.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> V = sq.reps.vector(sq.groups.so(3))
      >>> params = {"kernel": np.diag([1.0, 2.0, 6.0]), "bias": np.ones(3)}
      >>> plan = sq.plan(params, {"kernel": sq.projector("i o", {"i": V, "o": V})})
      >>> plan
      Plan(1 of 2 parameters, 1 projectors)
      >>> np.diag(plan.project(params)["kernel"])
      array([3., 3., 3.])
    """

    projectors: tuple[Projector, ...]
    paths: tuple[str, ...] = dataclasses.field(metadata={"static": True})
    shapes: tuple[tuple[int, ...], ...] = dataclasses.field(metadata={"static": True})
    chosen: tuple[int, ...] = dataclasses.field(metadata={"static": True})
    reasons: tuple[tuple[str, str], ...] = dataclasses.field(metadata={"static": True}, default=())

    def project(self, params: Params, *, keep_norm: bool = False) -> Params:
        """``P w`` for every planned parameter; the others are passed through.

        Args:
          params: the parameters.
          keep_norm: bring every slice of a weight back to the norm it had, see ``keep_norm``.

        Raises:
          ValueError: the parameters are not those the plan was built for, or a planned one has
            another shape (names the path).

        Example:
          >>> import numpy as np, softeq_jax as sq
          >>> V = sq.reps.vector(sq.groups.so(3))
          >>> params = {"kernel": np.diag([1.0, 2.0, 6.0]), "bias": np.ones(3)}
          >>> plan = sq.plan(params, {"kernel": sq.projector("i o", {"i": V, "o": V})})
          >>> np.diag(plan.project(params)["kernel"])
          array([3., 3., 3.])
        """
        filtered = norm_kept if keep_norm else lambda projector, w: projector(w)
        return self._map(params, filtered, lambda w: w)

    def split(self, params: Params) -> tuple[Params, Params]:
        """``(P w, w - P w)`` for every planned parameter, ``(w, 0)`` for the others.

        Leaves that are no numbers (the activation of an Equinox module) are in both.

        Raises:
          ValueError: as ``project``, or a projector has a smooth mask.
        """
        pairs = self._map(params, lambda projector, w: projector.split(w), lambda w: (w, _zero(w)))
        outer = jax.tree.structure(params)
        return jax.tree.transpose(outer, jax.tree.structure((0, 0)), pairs)

    def at(self, **dials: Unpack[Dials]) -> "Plan":
        """The same plan with every projector at one setting; see ``Dials``.

        What the group leaves alone whatever the setting, the bias of invariant outputs say, stays
        as it is, unless the plan has nothing else.

        Raises:
          ValueError: as ``Projector.at``; it names the first path of the projector.
        """
        alone = all(map(_is_still, self.projectors))
        return self._changed(lambda p: p.at(**dials) if alone or not _is_still(p) else p)

    def certificate(self, params: Params, **question: Unpack[Question]) -> Certificate:
        """How far the group moves the planned parameters *as given*; see ``Projector.certificate``.

        Args:
          params: the parameters.
          question: about which elements, see ``Question``.

        Returns:
          The certificate of all planned weights as one vector; ``parts`` holds each by path. For
          one element it is the exact movement; a supremum adds the worst of each weight in
          squares, a bound that one element need not attain for all of them.

        Raises:
          ValueError: as ``project``; NaN or infinite weights (names the path); an angle where
            some groups are planar and others not: it is one element for the former and a
            neighbourhood for the latter, so ask with ``within``.
          TypeError: as ``Projector.certificate`` (names the path).
        """
        parts = {}
        for path, projector, w in self.planned(params):
            with naming(path):
                parts[path] = projector.certificate(w, **question)
        return combine(parts)

    def planned(self, params: Params) -> list[tuple[str, Projector, Array]]:
        """``(path, projector, weight)`` of every parameter that is filtered, as ``paths`` lie.

        Raises:
          ValueError: the parameters are not those the plan was built for (names the path).
        """
        given = {path: leaf for path, _, leaf in self.leaves(params)}
        return [
            (path, self.projectors[index], given[path])
            for path, index in zip(self.paths, self.chosen, strict=True)
            if index >= 0
        ]

    def leaves(self, params: Params) -> list[tuple[str, Projector | None, Any]]:
        """``(path, projector or None, leaf)`` of every leaf, in the order of the tree.

        Raises:
          ValueError: as ``planned``.
        """
        paths, leaves, _ = leaf_paths(params)
        index_of = dict(zip(self.paths, self.chosen, strict=True))
        given = {path for path, leaf in zip(paths, leaves, strict=True) if _is_parameter(leaf)}
        if given != index_of.keys():
            missing, surplus = ordered(index_of.keys() - given), ordered(given - index_of.keys())
            raise ValueError(
                "these are not the parameters that the plan was built for: "
                f"missing {missing[:3] or 'none'}, unexpected {surplus[:3] or 'none'}"
            )
        chosen = (index_of.get(path, -1) for path in paths)
        projectors = (None if index < 0 else self.projectors[index] for index in chosen)
        return list(zip(paths, projectors, leaves, strict=True))

    def describe(self) -> str:
        """A table: parameter, shape, action, mask, cutoff, softness, rank of how many; then the
        parameters that a rule left untouched, with the reason."""
        rows, untouched = self._table(), self.chosen.count(-1)
        reasons = "".join(f"\n{path} is left untouched: {reason}" for path, reason in self.reasons)
        return f"{rows}\n{len(rows.rows)} filtered, {untouched} untouched{reasons}"

    def _table(self) -> TextTable:
        head = ("parameter", "shape", "action", "mask", "cutoff", "softness", "rank")
        rows = []
        for path, shape, index in zip(self.paths, self.shapes, self.chosen, strict=True):
            if index < 0:
                continue
            p = self.projectors[index]
            size = "x".join(map(str, shape))
            rank = f"{p.rank():.4g} of {p.dim}"
            dials = (f"{p.cutoff:.4g}", f"{p.softness:.4g}")
            rows.append((path, size, p.space.describe(), p.mask, *dials, rank))
        return table(head, rows)

    def __repr__(self) -> str:
        filtered = sum(index >= 0 for index in self.chosen)
        return (
            f"Plan({filtered} of {len(self.paths)} parameters, {len(self.projectors)} projectors)"
        )

    def _repr_html_(self) -> str:
        return paragraph(repr(self)) + self._table()._repr_html_()

    def _changed(self, change: Callable[[Projector], Projector]) -> "Plan":
        """The same plan with other projectors."""
        new = []
        for index, projector in enumerate(self.projectors):
            with naming(self.paths[self.chosen.index(index)]):
                new.append(change(projector))
        return dataclasses.replace(self, projectors=tuple(new))

    def _map(self, params: Params, filtered: Callable, untouched: Callable) -> Params:
        out = []
        for path, projector, leaf in self.leaves(params):
            with naming(path):
                out.append(untouched(leaf) if projector is None else filtered(projector, leaf))
        return jax.tree.unflatten(jax.tree.structure(params), out)


def plan(params: Params, rules: Mapping[str, Rule]) -> Plan:
    """Assigns a projector to each parameter that a rule covers.

    Args:
      params: any pytree of arrays (or of shapes): Flax Linen variables, an ``nnx`` module or
        state, an Equinox module, Haiku parameters.
      rules: from a glob over the paths (``"**/kernel"``, ``"stage1/*/conv?/kernel"``) to a
        projector, to a function ``(path, weight) -> projector, Untouched(reason) or None``, or to
        one of these two for "untouched". The first rule that covers a path decides. A path covers
        itself; globs over keys that hold ``*``, ``?`` or ``[`` are written with
        ``softeq_jax.literal``.

    Returns:
      The plan. Parameters that a rule leaves untouched for a reason are a UserWarning, all in one.

    Raises:
      ValueError: a rule that filters no parameter (and is not None), two leaves with one path, a
        weight whose shape does not fit its projector, NaN or infinite weights: each names the rule
        or the path.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> V = sq.reps.vector(sq.groups.so(3))
      >>> layer = {"kernel": np.ones((3, 3)), "bias": np.ones(3)}
      >>> P = sq.projector("i o", {"i": V, "o": V})
      >>> print(sq.plan({"a": layer, "b": layer}, {"a/kernel": P}).describe())
      parameter  shape  action                    mask  cutoff  softness  rank
      a/kernel   3x3    i: V(SO(3)), o: V(SO(3))  hard  0       0         1 of 9
      1 filtered, 3 untouched
    """
    paths, leaves, _ = leaf_paths(params)
    leaf_of = dict(zip(paths, leaves, strict=True))
    paths = ordered(paths)
    projectors: list[Projector] = []
    index_of: dict[Any, int] = {}
    chosen: dict[str, int] = {}
    reasons: dict[str, str] = {}
    used = set()
    for path, pattern in zip(paths, first_matches(rules, paths), strict=True):
        leaf = leaf_of[path]
        with naming(path):
            projector = None if pattern is None else _resolve(rules[pattern], pattern, path, leaf)
            if isinstance(projector, Untouched):
                reasons[path] = projector.reason
                projector = None
            if projector is not None:
                projector.space.check(tuple(leaf.shape))
                _check_finite(leaf)
        if projector is not None or (pattern is not None and not callable(rules[pattern])):
            used.add(pattern)
        if not _is_parameter(leaf):
            continue
        if projector is None:
            chosen[path] = -1
            continue
        dropped = projector.host_dropped().tobytes()
        key = (pattern, projector.space, projector.mask, projector.spectrum, dropped)
        if key not in index_of:
            index_of[key] = len(projectors)
            projectors.append(projector)
        chosen[path] = index_of[key]
    left = "; ".join(f"{path!r}: {reason}" for path, reason in reasons.items())
    refuse_idle(rules, used, paths, "rules that match no parameter" + (left and f" ({left})"))
    if left:
        warnings.warn(f"left untouched by the plan: {left}", stacklevel=2)
    shapes = tuple(tuple(leaf_of[path].shape) for path in chosen)
    indices = tuple(chosen.values())
    return Plan(tuple(projectors), tuple(chosen), shapes, indices, tuple(reasons.items()))


def soften(params: Params, rules: Mapping[str, Rule], **dials: Unpack[Dials]) -> Params:
    """Filters a network in one call: new parameters, the given ones are left as they are.

    A softness is met by a smooth mask, heat unless the rule's projector has another; whole levels
    are had by ``mask="hard"``. Weights whose certified bound (under the whole group) did not fall
    are a UserWarning, except at softness 1, and so are rules that filter nothing.

    Args:
      params: concrete parameters, any pytree.
      rules: see ``plan``.
      dials: one setting for every rule, see ``Dials``; none keeps those of the rules' projectors.

    Returns:
      Parameters of the same structure, shapes and dtypes.

    Raises:
      ValueError: see ``plan`` and ``Projector.at``.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> V = sq.reps.vector(sq.groups.so(3))
      >>> P = sq.projector("i o", {"i": V, "o": V})
      >>> params = {"kernel": np.arange(9.0).reshape(3, 3), "bias": np.ones(3)}
      >>> dials = {"softness": 3 / 8, "mask": "hard"}  # up to the antisymmetric part
      >>> soft = sq.soften(params, {"kernel": P}, **dials)
      >>> np.asarray(soft["kernel"])
      array([[ 4., -1., -2.],
             [ 1.,  4., -1.],
             [ 2.,  1.,  4.]])
    """
    chosen = plan(params, rules)
    known_options(dials, Dials, "soften")
    mask = dials.get("mask")
    if dials.get("softness") is not None or dials.get("cutoff") is not None:
        chosen = chosen._changed(lambda p: p.at(**continuous(dials, p.mask)))
    elif mask is not None:
        raise ValueError(f"mask={mask!r} needs a dial beside it: softness= or cutoff=")
    if not chosen.projectors:
        warnings.warn("nothing is softened: no rule filters a parameter", stacklevel=2)
    soft = chosen.project(params)
    planned = chosen.planned(params)
    if not any(is_traced(w) for _, _, w in planned):
        cut = {path for path, p, _ in planned if p.softness < 1.0}
        still = cut.intersection(unmoved(chosen.certificate(params), chosen.certificate(soft)))
        if still:
            warnings.warn(
                f"softening did not lower the certified bound of the movement of {sorted(still)}",
                stacklevel=2,
            )
    return soft


def unmoved(before: Certificate, after: Certificate) -> list[str]:
    """Paths of the weights of a plan whose bound did not fall, by 0.1 per cent or more, between two
    certificates; without those of which nothing is known, or that were 0 to rounding.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> V = sq.reps.vector(sq.groups.cyclic(2))
      >>> P = sq.projector("i", {"i": V})
      >>> w = {"a": np.ones(2), "b": np.zeros(2)}
      >>> plan = sq.plan(w, {"*": P})
      >>> sq.projections.unmoved(plan.certificate(w), plan.certificate(w))
      ['a']
    """

    def falls(old: Certificate, new: Certificate) -> bool:
        unknown = not math.isfinite(old.bound + new.bound)
        nothing = old.bound <= 1e-6 * old.weight_norm
        return unknown or nothing or new.bound < 0.999 * old.bound

    return [path for path, old in before.parts.items() if not falls(old, after.parts[path])]


def _is_still(projector: Projector) -> bool:
    """Whether the group moves none of the weights, by what it acts with."""
    return all(entry.rep.is_trivial for entry in projector.space.entries)


def _is_parameter(leaf: Any) -> bool:
    return len(getattr(leaf, "shape", ())) > 0


def _resolve(rule: Rule, pattern: str, path: str, leaf: Any) -> Projector | Untouched | None:
    if rule is None:
        return None
    if not hasattr(leaf, "shape"):
        if isinstance(rule, Projector) and pattern == path:
            raise ValueError(f"a projector needs an array, got {type(leaf).__name__}")
        return None
    if isinstance(rule, Projector | Untouched):
        return rule
    if not callable(rule):
        raise ValueError(f"a rule must be a projector, a function or None, got {rule!r}")
    projector = rule(path, leaf)
    if projector is not None and not isinstance(projector, Projector | Untouched):
        raise ValueError(
            f"the rule's function returned {projector!r}, expected a projector, Untouched or None"
        )
    return projector


def _check_finite(leaf: Array) -> None:
    if not isinstance(leaf, np.ndarray | jax.Array) or is_traced(leaf):
        return
    values = np.asarray(leaf)
    wide = np.complex128 if np.iscomplexobj(values) else np.float64
    if not np.all(np.isfinite(values.astype(wide))):
        raise ValueError("the weights contain NaN or infinite values")


def _zero(leaf: Any) -> Any:
    return jnp.zeros_like(leaf) if isinstance(leaf, int | float | complex | Array) else leaf
