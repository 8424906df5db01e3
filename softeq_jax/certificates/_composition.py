r"""Composition of the certificates of layers into that of a network (theorem 6).

A network of linear layers ``x -> W_l x + b_l``, activations and residual blocks, with group
actions on all features. Carry a bound H of the feature's norm and E of its error
``||h(g x) - g h(x)||``:

====================  =========================================  ============================
linear layer          ``E <- ||W|| E + e H + e_b``               ``H <- ||W|| H + ||b||``
activation            ``E <- c E``                               ``H <- c H + ||phi(0)||``
residual ``S + F``    ``E <- (Lip S + Lip F) E + new errors``    ``H <- H_S + H_F``
====================  =========================================  ============================

with the operator defect ``e = ||rho_out(g) W - W rho_in(g)||``, ``e_b = ||g b - b||`` and the
Lipschitz constant c of an equivariant activation: moving g past one layer at a time,
``W h(gx) + b - g (W h(x) + b) = W (h(gx) - g h(x)) + (W g - g W) h(x) + (b - g b)``. Solved, this
is ``sum_l (e_l H_(l-1) + e_b,l) prod_(j > l) ||W_j||``; without biases
``sum_l e_l prod_(j != l) ||W_j|| ||x||``. It holds for any group, one element (or range of
elements) at a time; where that is not compact, for each element.
"""

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Union

from softeq_jax._text import brief, html_table, paragraph
from softeq_jax.reps import Rep


@dataclasses.dataclass(frozen=True)
class Linear:
    """What is known of a linear (affine) layer, at one element or range of elements.

    Attributes:
      defect: bound of ``||rho_out(g) W - W rho_in(g)||`` in the operator norm.
      norm: bound of the operator norm ``||W||``.
      bias_norm: ``||b||`` of the whole bias (a convolution repeats it at every pixel).
      bias_defect: bound of ``||g b - b||``.
      certified: whether these are proven.
      reason: why not.
      name: for the report.
      source: representation of the input, where it should be checked.
      target: representation of the output.

    Example:
      >>> import softeq_jax as sq
      >>> exact = sq.certificates.Linear(defect=0.0, norm=2.0)
      >>> sq.certificates.compose([exact, exact]).bound
      0.0
    """

    defect: float
    norm: float
    bias_norm: float = 0.0
    bias_defect: float = 0.0
    certified: bool = True
    reason: str = ""
    name: str = ""
    source: Rep | None = None
    target: Rep | None = None

    __repr__ = brief

    def __post_init__(self) -> None:
        for field in ("defect", "norm", "bias_norm", "bias_defect"):
            _check(getattr(self, field), self.certified, f"{field} of {self.name or 'a layer'}")


@dataclasses.dataclass(frozen=True)
class Activation:
    """What is known of an activation; see ``activation`` for the common ones.

    Attributes:
      lipschitz: global Lipschitz constant, or one that holds on the features that occur.
      certified: whether it commutes with the action and the constant is proven.
      reason: why not.
      name: for the report.
      offset: ``||phi(0)||``.
      rep: the representation of the features, where it should be checked.

    Example:
      >>> import softeq_jax as sq
      >>> sq.certificates.Activation(lipschitz=2.0, name="attention, on these inputs").certified
      True
    """

    lipschitz: float
    certified: bool = True
    reason: str = ""
    name: str = ""
    offset: float = 0.0
    rep: Rep | None = None

    __repr__ = brief

    def __post_init__(self) -> None:
        for field in ("lipschitz", "offset"):
            _check(getattr(self, field), self.certified, f"{field} of {self.name or 'a layer'}")


@dataclasses.dataclass(frozen=True)
class Residual:
    """``y = S x + F x``.

    Attributes:
      layers: F.
      shortcut: S, the identity if empty; then both ends need the same representation.
      name: for the report.

    Example:
      >>> import softeq_jax as sq
      >>> branch = sq.certificates.Residual([sq.certificates.Linear(defect=0.1, norm=2.0)])
      >>> found = sq.certificates.compose([branch])
      >>> round(found.bound, 6), found.lipschitz  # 1 of the shortcut and 2
      (0.1, 3.0)
    """

    layers: Sequence["Layer"]
    shortcut: Sequence["Layer"] = ()
    name: str = ""

    __repr__ = brief


Layer = Union[Linear, Activation, Residual]  # noqa: UP007 (a forward reference)


@dataclasses.dataclass(frozen=True)
class Composition:
    """What is proven about a network.

    Attributes:
      bound: of ``||f(g x) - g f(x)||`` for all ``||x|| <= input_norm`` (with hidden norms: for the
        inputs they come from). NaN if not certified.
      output_norm: bound of ``||f(x)||``; NaN if not certified.
      lipschitz: bound of the Lipschitz constant of f; NaN if not certified.
      terms: what each linear layer adds to ``bound``, by name.
      certified: whether it is proven.
      reasons: why not, one entry for each layer that is to blame.

    Example:
      >>> import softeq_jax as sq
      >>> layer = sq.certificates.Linear(defect=0.1, norm=2.0, name="dense")
      >>> found = sq.certificates.compose([layer, layer], input_norm=1.0)
      >>> found.certified, round(found.bound, 6), found.output_norm
      (True, 0.4, 4.0)
    """

    bound: float
    output_norm: float
    lipschitz: float
    terms: Mapping[str, float]
    certified: bool
    reasons: tuple[str, ...]

    __repr__ = brief

    def _repr_html_(self) -> str:
        rows = [(name, f"{term:.4g}") for name, term in self.terms.items()]
        rows += [("not certified", reason) for reason in self.reasons]
        return paragraph(repr(self)) + html_table(("layer", "adds to the bound"), rows)


@dataclasses.dataclass
class _State:
    """Walks through the layers: errors by layer, norm of the feature, and its representation."""

    terms: dict[str, float]
    norm: float
    lipschitz: float
    rep: Rep | None


def compose(
    layers: Sequence[Layer],
    *,
    input_norm: float = 1.0,
    hidden_norms: Sequence[float] | None = None,
) -> Composition:
    """Theorem 6: the equivariance error of a network, a priori or from actual hidden norms.

    Args:
      layers: in the order of their application; the certificates in them must be about the same
        element or range of elements.
      input_norm: largest ``||x||``.
      hidden_norms: a posteriori, and much tighter: the actual norm of the input of each linear
        layer (in order, within a residual first those of ``layers``, then those of ``shortcut``),
        or their maxima over the inputs that are of interest.

    Returns:
      The bound, with each layer's share; or "not certified", with the reason for each layer that
      breaks the claim.

    Raises:
      ValueError: negative norms, another number of hidden norms than linear layers, neighbours
        with different representations, a residual whose ends have different ones.

    Example:
      >>> import softeq_jax as sq
      >>> first = sq.certificates.Linear(defect=0.1, norm=1.0, name="first")
      >>> second = sq.certificates.Linear(defect=0.2, norm=3.0, name="second")
      >>> found = sq.certificates.compose([first, second])
      >>> {name: round(term, 6) for name, term in found.terms.items()}, round(found.bound, 6)
      ({'0 (first)': 0.3, '1 (second)': 0.2}, 0.5)
    """
    _check(input_norm, True, "input_norm")
    named = list(_named(layers, ""))
    linear = sum(isinstance(layer, Linear) for _, layer in named)
    norms = None
    if hidden_norms is not None:
        norms = [float(n) for n in hidden_norms]
        if len(norms) != linear:
            raise ValueError(
                f"hidden_norms must hold one norm for each of the {linear} linear layers, got "
                f"{len(norms)}"
            )
        for n in norms:
            _check(n, True, "a hidden norm")
    reasons = tuple(
        f"{name}: {layer.reason or 'not certified'}"
        for name, layer in named
        if not isinstance(layer, Residual) and not layer.certified
    )
    state = _State({}, float(input_norm), 1.0, None)
    state = _walk(layers, "", state, None if norms is None else iter(norms))
    if reasons:
        nothing = dict.fromkeys(state.terms, math.nan)
        return Composition(math.nan, math.nan, math.nan, nothing, False, reasons)
    bound = math.fsum(state.terms.values()) * (1.0 + 1e-12)
    return Composition(bound, state.norm, state.lipschitz, state.terms, True, ())


def _named(layers: Sequence[Layer], prefix: str) -> Iterator[tuple[str, Layer]]:
    for i, layer in enumerate(layers):
        if not isinstance(layer, Linear | Activation | Residual):
            raise ValueError(
                f"layer {prefix}{i} must be Linear, Activation or Residual, got "
                f"{type(layer).__name__}"
            )
        name = f"{prefix}{i}" + (f" ({layer.name})" if layer.name else "")
        yield name, layer
        if isinstance(layer, Residual):
            yield from _named(layer.layers, f"{name}.")
            yield from _named(layer.shortcut, f"{name}.shortcut.")


def _walk(
    layers: Sequence[Layer], prefix: str, state: _State, norms: Iterator[float] | None
) -> _State:
    for i, layer in enumerate(layers):
        name = f"{prefix}{i}" + (f" ({layer.name})" if layer.name else "")
        if isinstance(layer, Residual):
            state = _residual(layer, name, state, norms)
        elif isinstance(layer, Linear):
            _same(name, state.rep, layer.source)
            incoming = state.norm if norms is None else next(norms)
            terms = {key: layer.norm * e for key, e in state.terms.items()}
            terms[name] = layer.defect * incoming + layer.bias_defect
            norm = layer.norm * incoming + layer.bias_norm
            state = _State(terms, norm, layer.norm * state.lipschitz, layer.target)
        else:
            _same(name, state.rep, layer.rep)
            c = layer.lipschitz
            terms = {key: c * e for key, e in state.terms.items()}
            rep = state.rep if layer.rep is None else layer.rep
            state = _State(terms, c * state.norm + layer.offset, c * state.lipschitz, rep)
    return state


def _residual(block: Residual, name: str, state: _State, norms: Iterator[float] | None) -> _State:
    def branch(layers: Sequence[Layer], prefix: str) -> _State:
        return _walk(layers, prefix, _State({}, state.norm, 1.0, state.rep), norms)

    first = branch(block.layers, f"{name}.")
    second = branch(block.shortcut, f"{name}.shortcut.")
    ends = [first.rep, second.rep]
    if not block.shortcut:
        heads = [layer.source for layer in block.layers[:1] if isinstance(layer, Linear)]
        ends = [first.rep, state.rep, *heads]
    known = [rep for rep in ends if rep is not None]
    if any(rep != known[0] for rep in known):
        raise ValueError(
            f"residual {name} needs equal representations at both ends, got "
            + " and ".join(dict.fromkeys(map(repr, known)))
        )
    factor = first.lipschitz + second.lipschitz
    terms = {key: factor * e for key, e in state.terms.items()}
    return _State(
        {**terms, **first.terms, **second.terms},
        first.norm + second.norm,
        factor * state.lipschitz,
        known[0] if known else None,
    )


def _same(name: str, before: Rep | None, after: Rep | None) -> None:
    if before is not None and after is not None and before != after:
        raise ValueError(f"layer {name} takes features of {after!r}, but gets those of {before!r}")


def _check(value: float, certified: bool, what: str) -> None:
    value = float(value)
    if certified and not 0.0 <= value < math.inf:
        raise ValueError(f"{what} must be a finite number >= 0, got {value}")
