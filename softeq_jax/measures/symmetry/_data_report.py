"""Is the data symmetric, and how soft should a model of it be?"""

import dataclasses
import json
from collections.abc import Sequence
from typing import Any, TypedDict, Unpack

import numpy as np

from softeq_jax._checks import coefficient, known_options, whole
from softeq_jax._text import html_table, paragraph, table, wrapped
from softeq_jax.measures.diagnosis._doctor import group_of
from softeq_jax.measures.symmetry._action import acting
from softeq_jax.measures.symmetry._arms import Arms, turned_first, wrong_origin
from softeq_jax.measures.symmetry._bands import bands
from softeq_jax.measures.symmetry._examples import LEAST, joined
from softeq_jax.measures.symmetry._labels import LabelLoss, label_loss
from softeq_jax.measures.symmetry._pairs import PairTest
from softeq_jax.measures.symmetry._subgroups import family
from softeq_jax.measures.symmetry._suggestion import Suggestion, from_examples, from_labels


class Survey(TypedDict, total=False):
    """How data are tested; all may be left out.

    Attributes:
      subgroups: groups (or their names) inside the group; by default those that suggest themselves.
      examples: most that are used, 1000 unless said otherwise.
      alpha: the level of all tests together, 0.05 unless said otherwise.
      swaps: draws of signs for each p-value, 1999 unless said otherwise.
      key: a seed, 0 unless said otherwise: of halves, elements and swaps.
    """

    subgroups: Sequence[Any] | None
    examples: int
    alpha: float
    swaps: int
    key: int


@dataclasses.dataclass(frozen=True, repr=False)
class DataReport:
    """Whether a group leaves data as they are, as far as they show; ``print`` it.

    Attributes:
      group: the name of the group.
      symmetric: whether the test does not reject the whole group.
      verdict: in a sentence.
      tests: for every subgroup, the whole group first, its name, its test and its p-value adjusted
        for all of them.
      kept: names of the largest subgroups that are not rejected.
      calibration: the test on data that were turned at random first: nothing may be found.
      control: the test under the group about a wrong origin: it must be found.
      loss: by level, for labelled data.
      suggestion: strict, soft or free.
      alpha: the level of all tests together.
      words: how the group acts, in words.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> x = np.random.default_rng(0).normal(size=(200, 2)) + [2, 0]
      >>> print(sq.measures.data_report(x, "c4").verdict)
      the data are not symmetric under C4 (p = 0.0005), nor under any subgroup tried.
    """

    group: str
    symmetric: bool
    verdict: str
    tests: tuple[tuple[str, PairTest, float], ...]
    kept: tuple[str, ...]
    calibration: PairTest
    control: PairTest
    loss: LabelLoss | None
    suggestion: Suggestion
    alpha: float
    words: str

    @property
    def p(self) -> float:
        """The exact p-value of the whole group."""
        return self.tests[0][1].p

    @property
    def share(self) -> tuple[float, float] | None:
        """For labelled data, the share of a strict predictor's loss that asymmetry explains, and
        its standard error."""
        return None if self.loss is None else self.loss.share

    def table(self) -> str:
        """The tests, as aligned text."""
        return table(_HEAD, self._rows(), right="-rrrl")

    def _rows(self) -> list[tuple[str, ...]]:
        rows = [_row(n, t, f"{p:.3g}", p <= self.alpha) for n, t, p in self.tests]
        for name, test in (("turned first", self.calibration), ("wrong origin", self.control)):
            rows.append(_row(name, test, "-", test.p <= self.alpha))
        return rows

    def _levels(self) -> list[tuple[str, ...]]:
        if self.loss is None:
            return []
        pairs = zip(self.loss.levels, self.loss.losses.mean(1), strict=True)
        return [(f"{level:.3g}", f"{mean:.4g}") for level, mean in pairs]

    def __repr__(self) -> str:
        lines = [wrapped(self.verdict), wrapped(f"suggested: {_told(self.suggestion)}")]
        lines += ["", self.table()]
        if self.loss is not None:
            lines += ["", table(("level", "held-out loss"), self._levels(), right="rr")]
        return "\n".join([*lines, wrapped(f"acting: {self.words}")])

    def _repr_html_(self) -> str:
        head = paragraph(self.verdict)
        told = paragraph(f"suggested: {_told(self.suggestion)}")
        losses = html_table(("level", "held-out loss"), self._levels()) if self.loss else ""
        return head + told + html_table(_HEAD, self._rows()) + losses

    def as_dict(self) -> dict[str, Any]:
        """Everything as numbers, texts and lists."""
        tests = [{"group": n, **dataclasses.asdict(t), "adjusted": p} for n, t, p in self.tests]
        losses = None
        if self.loss is not None:
            share, error = self.loss.share
            means = self.loss.losses.mean(1).tolist()
            losses = {"levels": self.loss.levels.tolist(), "losses": means}
            losses |= {"share": share, "share_error": error}
        return {
            "group": self.group,
            "symmetric": self.symmetric,
            "verdict": self.verdict,
            "tests": tests,
            "kept": list(self.kept),
            "calibration": dataclasses.asdict(self.calibration),
            "control": dataclasses.asdict(self.control),
            "labels": losses,
            "suggestion": dataclasses.asdict(self.suggestion),
            "alpha": self.alpha,
            "acting": self.words,
        }

    def json(self) -> str:
        """``as_dict`` as JSON."""
        return json.dumps(self.as_dict(), indent=2, allow_nan=False)


_HEAD = ("group", "p", "adjusted", "pairs told", "rejected")


def _row(name: str, test: PairTest, adjusted: str, rejected: bool) -> tuple[str, ...]:
    told = f"{test.accuracy:.3f} +- {test.error:.3f}"
    return name, f"{test.p:.3g}", adjusted, told, "yes" if rejected else "no"


def _told(found: Suggestion) -> str:
    level = f", cutoff={found.level:.3g}" if found.kind == "soft" and found.level else ""
    if level and found.levels is not None and found.levels[0] != found.levels[1]:
        level += f" (from {found.levels[0]:.3g} to {found.levels[1]:.3g})"
    sure = "" if found.confidence is None else f", in {found.confidence:.0%} of bootstrap draws"
    return f"{found.kind}{level}{sure}; {found.why}."


def data_report(
    source: Any,
    group: Any = None,
    *,
    input: Any = None,
    output: Any = None,
    **survey: Unpack[Survey],
) -> DataReport:
    r"""Whether a group leaves a distribution as it is: ``g x`` is distributed as x.

    Pairs ``(x_i, g_i x_i)`` of one half of the examples teach a classifier, once, which one was
    moved; those of the other half are asked, and only their labels are swapped, so that the
    p-value is exact. ``g_i`` is Haar, but not the identity. The same is done for subgroups, by
    closed testing (who rejects H rejects every group above it); for data that a random element
    turned first, where nothing may be found; and under the group about a wrong origin,
    ``g(x + c) - c`` with an example c, which must be found or there are too few examples.

    The examples must be independent. Quarter turns and flips move pixels as they are; other angles
    act by ``reps.image`` on an odd grid, after a disc and a low-pass, since resampled copies are
    told from originals by their blur. A test that finds nothing does not prove symmetry.

    Args:
      source: ``[n, ...]``; or a tuple of examples and labels (classes, numbers or arrays); or an
        iterable of batches of either, also as ``{"image": ..., "label": ...}``; or a source of
        ``softeq_jax.data``, which is asked for single examples.
      group: that acts, or its name; None: that of a representation below. Compact.
      input: how it acts on the examples, as in ``doctor``.
      output: how it acts on labels that are arrays; None: not at all.
      survey: ``subgroups``, ``examples``, ``alpha``, ``swaps`` and ``key``, see ``Survey``.

    Returns:
      A ``DataReport``. For labelled data it says which share of the loss of a strict predictor
      goes away where the symmetry may be broken, by kernel regression.

    Raises:
      TypeError: no array.
      ValueError: no group, or one that is not compact or does not act on this grid; fewer than 40
        examples; nothing acts on them; labels or subgroups that do not fit; NaN.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> rng = np.random.default_rng(0)
      >>> x = rng.normal(size=(300, 2))
      >>> sq.measures.data_report(x, "so2").symmetric
      True
      >>> found = sq.measures.data_report(x * [1, 2], "so2")  # an ellipse: half turns keep it
      >>> found.symmetric, found.kept
      (False, ('C2',))
    """
    known_options(survey, Survey, "data_report")
    alpha = float(coefficient(survey.get("alpha", 0.05), "alpha", positive=True))
    swaps = whole(survey.get("swaps", 1999), "swaps")
    rng = np.random.default_rng(whole(survey.get("key", 0), "key", least=0))
    group = group_of(group, input, output)
    if not group.is_compact:
        raise ValueError(
            f"{group} is not compact, so there is no uniform element to move the data by; take a "
            f"compact subgroup, such as its rotations"
        )
    x, labels = joined(source, whole(survey.get("examples", 1000), "examples", LEAST), rng)
    act = acting(x, group, input)
    groups = family(group, survey.get("subgroups"), rng)
    arms = Arms(act, rng.permutation(len(x)) < len(x) // 2, rng, swaps)
    asked = [arms.test(member.elements, act.x) for member in groups.members]
    adjusted = groups.adjusted([test.p for test, _ in asked])
    top, found = groups.members[0].elements, bands(group)
    calibration, _ = arms.test(*turned_first(act, top, found, rng))
    control, _ = arms.test(top, act.x, wrong_origin(act, top))
    symmetric = adjusted[0] > alpha
    loss = None
    if labels is not None:
        if found is None:
            raise ValueError(f"levels of {group} are not known: leave the labels out")
        loss = label_loss(act, labels, output, found, arms.first)
    suggestion = None if loss is None else from_labels(loss, rng)
    if suggestion is None:
        energies = None if symmetric or found is None else arms.energies(asked[0][1], found)
        seen = control.p <= alpha
        suggestion = from_examples(asked[0][0], not symmetric, seen, energies, found, rng)
    kept = tuple(m.name for m in groups.largest([p > alpha for p in adjusted]))
    tests = [(m.name, t, p) for m, (t, _), p in zip(groups.members, asked, adjusted, strict=True)]
    verdict = _verdict(group, asked[0][0], symmetric, kept, control.p <= alpha)
    return DataReport(
        str(group),
        symmetric,
        verdict,
        tuple(tests),
        kept,
        calibration,
        control,
        loss,
        suggestion,
        alpha,
        act.words,
    )


def _verdict(group: Any, test: PairTest, symmetric: bool, kept: Sequence[str], seen: bool) -> str:
    if symmetric and not seen:
        return f"too few examples to tell whether the data are symmetric under {group}."
    if symmetric:
        return f"no asymmetry under {group} was found (p = {test.p:.2g})."
    rest = f"; {', '.join(kept)} not rejected" if kept else ", nor under any subgroup tried"
    return f"the data are not symmetric under {group} (p = {test.p:.2g}){rest}."
