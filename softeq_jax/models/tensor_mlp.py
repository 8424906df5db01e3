"""The tensor perceptron: an equivariant network on vectors and tensors of any group."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from softeq_jax._checks import whole
from softeq_jax.groups import Group, lorentz, o
from softeq_jax.models.rules import ModelDials, Rule
from softeq_jax.nn.equivariant import (
    Contraction,
    EquivariantDense,
    Gated,
    NormGate,
    contracted,
    contraction_maps,
    dense_rules,
    gated_input,
)
from softeq_jax.reps import Rep, restrict, trivial, vector

Function = Callable[[jax.Array], jax.Array]


def mixed(group: Group, width: int) -> Rep:
    """``width`` channels, scalars and vectors in equal parts (one more vector if it is odd).

    Raises:
      ValueError: width below 2.
    """
    whole(width, "width", least=2)
    return trivial(group, width // 2) + (width - width // 2) * vector(group)


class TensorMLP(nn.Module):
    """An equivariant perceptron, after EMLP (Finzi et al. 2021) and the O(5) and Lorentz networks
    of "Tunable Soft Equivariance with Guarantees" (sections 1.7 and 3 of its specification).

    Every layer appends to its input x the invariants ``Contraction(x)``, learned inner products
    of the vectors and tensors, since no linear map makes scalars of vectors; then comes a dense
    layer between representations, and a nonlinearity. The output is one more of these layers
    without a nonlinearity. With scalars among the hidden features, which are perceptrons of all
    inner products, the network fits any continuous invariant of vectors of O(n) on bounded sets.

    Parameters: ``contract{i}/left/kernel``, ``contract{i}/right/kernel``,
    ``dense{i}/{kernel,bias}``, for norm gates ``norm{i}/bias``, and the last ones with ``head``
    for ``dense{i}`` and ``contract_head``. Where a layer's input has nothing that moves, it has no
    contraction.

    Attributes:
      group: that acts.
      inputs: representation of the inputs, real.
      hidden: those of the hidden layers.
      outputs: that of the outputs, such as ``reps.trivial(group, 1)``.
      project: whether the layers project their own weights. Otherwise they compute with what is
        stored, for a plan with ``soft_rules`` (or a penalty) to govern.
      nonlinearity: ``"gated"``, vectors times a gate made from scalars, or ``"norm"``, times a
        function of their own norm.
      act: of scalars.
      gate: of gates (of norms).
      contractions: inner products per kind of vectors in each layer.

    Example:
      >>> import jax, jax.numpy as jnp, softeq_jax as sq
      >>> G = sq.groups.so(3)
      >>> V, S = sq.reps.vector(G), sq.reps.trivial(G)
      >>> net = sq.models.TensorMLP(G, 2 * V, [4 * V + sq.reps.trivial(G, 4)], S)
      >>> x = jnp.ones((5, 6))
      >>> y, variables = jax.eval_shape(net.init_with_output, jax.random.key(0), x)
      >>> y.shape, sorted(variables["params"])
      ((5, 1), ['contract0', 'contract_head', 'dense0', 'head'])
    """

    group: Group
    inputs: Rep
    hidden: Sequence[Rep]
    outputs: Rep
    project: bool = True
    nonlinearity: str = "gated"
    act: Function = jax.nn.silu
    gate: Function = jax.nn.sigmoid
    contractions: int = 32

    @classmethod
    def o5(cls, width: int = 128, depth: int = 3, **changes: Any) -> "TensorMLP":
        """The network for the synthetic task of O(5): two vectors to one scalar.

        Args:
          width: channels of a hidden layer, see ``mixed``.
          depth: hidden layers.
          **changes: other attributes.
        """
        return _to_scalar(cls, o(5), 2, (width,) * depth, changes)

    @classmethod
    def lorentz(cls, widths: Sequence[int] = (400, 200, 200, 200), **changes) -> "TensorMLP":
        """The network for electrons scattered by muons: four four-vectors of O(1,3) to a scalar.

        Args:
          widths: channels of the hidden layers, see ``mixed``.
          **changes: other attributes.
        """
        return _to_scalar(cls, lorentz(), 4, widths, changes)

    def soft_rules(self, group: Group, dials: ModelDials) -> dict[str, Rule]:
        """Every kernel and bias between representations, see ``softeq_jax.models.soft_rules``.

        Biases of norm gates are the only parameters without a rule: nothing moves them.

        Args:
          group: the model's, or a subgroup of matrices of the same size.
          dials: those of weights are used.

        Raises:
          ValueError: the model projects already, or ``group`` is not in the model's group.
        """
        if self.project:
            raise ValueError("this TensorMLP is strict already: make it with project=False")
        rules: dict[str, Rule] = {}
        for layer in self._layers():
            source, joined, target = layer.source, layer.joined, layer.target
            ends = contraction_maps(source, self.contractions) if layer.contracts else {}
            for end, rep in ends.items():
                maps = (restrict(source, group), restrict(rep, group))
                path = f"{layer.contraction}/{end}"
                rules |= dense_rules(path, *maps, use_bias=False, **dials.weights)
            maps = (restrict(joined, group), restrict(target, group))
            rules |= dense_rules(layer.name, *maps, **dials.weights)
        return rules

    @nn.compact
    def __call__(
        self, x: jax.Array, train: bool = False, *, features: bool = False
    ) -> jax.Array | tuple[jax.Array, ...]:
        """Outputs of inputs.

        Args:
          x: ``[..., inputs.dim]``, floating point.
          train: accepted so that all models are called alike; nothing depends on it.
          features: return what the hidden layers hold instead.

        Returns:
          ``[..., outputs.dim]``; with ``features`` one array ``[..., rep.dim]`` for each of
          ``hidden``.

        Raises:
          ValueError: x does not fit, the attributes do not fit together, or a norm gate for a
            representation without an invariant norm.
        """
        del train
        maps = []
        *layers, head = self._layers()
        for i, layer in enumerate(layers):
            x = self._dense(layer, x)
            if self.nonlinearity == "gated":
                x = Gated(self.hidden[i], self.act, self.gate)(x)
            else:
                x = NormGate(self.hidden[i], self.gate, self.act, name=f"norm{i}")(x)
            maps.append(x)
        return tuple(maps) if features else self._dense(head, x)

    def _dense(self, layer: "_TensorLayer", x: jax.Array) -> jax.Array:
        if layer.contracts:
            options = {"project": self.project, "name": layer.contraction}
            contraction = Contraction(layer.source, self.contractions, **options)
            x = jnp.concatenate([x, contraction(x)], axis=-1)
        return EquivariantDense(layer.joined, layer.target, self.project, name=layer.name)(x)

    def _layers(self) -> list["_TensorLayer"]:
        """The layers between representations; the last one is the head."""
        self._check()
        gated = self.nonlinearity == "gated"
        layers, source = [], self.inputs
        for i, rep in enumerate(self.hidden):
            target = gated_input(rep) if gated else rep
            layers.append(_layer(f"dense{i}", f"contract{i}", source, target, self.contractions))
            source = rep
        last = _layer("head", "contract_head", source, self.outputs, self.contractions)
        return [*layers, last]

    def _check(self) -> None:
        if self.nonlinearity not in ("gated", "norm"):
            raise ValueError(f'nonlinearity must be "gated" or "norm", got {self.nonlinearity!r}')
        whole(self.contractions, "contractions")
        for rep in (self.inputs, *self.hidden, self.outputs):
            if not isinstance(rep, Rep) or rep.group != self.group:
                raise ValueError(f"TensorMLP needs representations of {self.group}, got {rep!r}")


class _TensorLayer(NamedTuple):
    """A dense layer, with the name of the contraction before it."""

    name: str
    contraction: str
    source: Rep
    joined: Rep
    target: Rep

    @property
    def contracts(self) -> bool:
        return self.joined is not self.source


def _layer(name: str, contraction: str, source: Rep, target: Rep, features: int) -> _TensorLayer:
    scalars = contracted(source, features)
    joined = source + trivial(source.group, scalars) if scalars else source
    return _TensorLayer(name, contraction, source, joined, target)


def _to_scalar(
    cls: type[TensorMLP], group: Group, vectors: int, widths: Sequence[int], changes: dict[str, Any]
) -> TensorMLP:
    own = {
        "group": group,
        "inputs": vectors * vector(group),
        "hidden": tuple(mixed(group, width) for width in widths),
        "outputs": trivial(group),
    }
    return cls(**{**own, **changes})
