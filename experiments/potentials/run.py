"""Two potentials trained on the same clusters, and how each varies over rotations."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import softeq_jax as sq
from experiments.potentials.lennard_jones import SPECIES, Clusters, clusters
from softeq_jax import groups, orbits

Tree = Any
Potential = Callable[[jax.Array, jax.Array], dict[str, jax.Array]]
ROTATIONS = (1, 4, 24, 60)


class Size(NamedTuple):
    """How large everything is.

    Attributes:
      train, test: clusters.
      steps: of training, each on 100 clusters.
      width: of hidden layers.
      turned: test clusters whose variation is measured.
      degree: of the quadrature that measures it.
      draws: times that random rotations are drawn.
    """

    train: int
    test: int
    steps: int
    width: int
    turned: int
    degree: int
    draws: int


FULL = Size(train=2000, test=500, steps=3000, width=64, turned=10, degree=8, draws=2)
TINY = Size(train=100, test=20, steps=10, width=8, turned=2, degree=2, draws=1)


def subgroup(count: int) -> groups.Group:
    """The half turns about three axes (4 rotations), those of a cube (24), of an icosahedron (60).

    Their means are exact for functions of degree 1, 3 and 5, the first with none.
    """
    if count == 24:
        return groups.octahedral()
    if count == 60:
        return groups.icosahedral()
    turns = [np.diag([1.0, -1.0, -1.0]), np.diag([-1.0, -1.0, 1.0])]
    return groups.from_generators(
        "half turns", discrete=np.array(turns if count == 4 else [np.eye(3)])
    )


def _dense(key: jax.Array, sizes: tuple[int, ...]) -> Tree:
    keys = jax.random.split(key, len(sizes))
    pairs = list(zip(keys, sizes, sizes[1:], strict=False))
    return [(jax.random.normal(k, (a, b)) / np.sqrt(a), jnp.zeros(b)) for k, a, b in pairs]


def _perceptron(layers: Tree, x: jax.Array) -> jax.Array:
    for kernel, bias in layers[:-1]:
        x = jnp.tanh(x @ kernel + bias)
    kernel, bias = layers[-1]
    return x @ kernel + bias


def free_energy(weights: Tree, x: jax.Array, species: jax.Array) -> jax.Array:
    """Of one cluster: a perceptron of all coordinates and species."""
    return _perceptron(weights, jnp.concatenate([x.reshape(-1), species.astype(x.dtype)]))[0]


def strict_energy(weights: Tree, x: jax.Array, species: jax.Array) -> jax.Array:
    """Of one cluster: a perceptron of each atom's sum over the others of functions of distance."""
    atoms = len(species)
    apart = x[:, None] - x[None] + jnp.eye(atoms)[..., None]  # an atom and itself: any constant
    r = jnp.sqrt((apart**2).sum(-1))
    waves = jnp.exp(-(((r[..., None] - jnp.linspace(0.7, 3.0, 12)) / 0.2) ** 2))
    waves = jnp.concatenate([waves, (r[..., None] ** -6)], -1)
    kinds = jax.nn.one_hot(species, 2)
    pairs = waves[..., None] * kinds[None, :, None, :]
    sums = (pairs.reshape(atoms, atoms, -1) * (1 - jnp.eye(atoms))[..., None]).sum(1)
    return _perceptron(weights, jnp.concatenate([sums, kinds], -1)).sum()


def potential(energy: Callable[..., jax.Array], weights: Tree, scale: float = 1.0) -> Potential:
    """Energies ``[n]`` and forces, minus their gradients, of clusters ``[n, atoms, 3]``."""
    both = jax.vmap(jax.value_and_grad(functools.partial(energy, weights)), in_axes=(0, None))

    def predict(x: jax.Array, species: jax.Array) -> dict[str, jax.Array]:
        value, gradient = both(x, species)
        return {"energy": scale * value, "forces": -scale * gradient}

    return predict


def trained(kind: str, data: Clusters, size: Size, seed: int = 0) -> Potential:
    """A potential trained on energies and forces, both in units of their deviations."""
    energy = strict_energy if kind == "strict" else free_energy
    inputs = 13 * 2 + 2 if kind == "strict" else 4 * len(SPECIES)
    weights = _dense(jax.random.key(seed), (inputs, size.width, size.width, 1))
    scale = float(data.energy.std())
    x, e, f = (jnp.asarray(a, jnp.float32) for a in data)
    e, f, species = (e - e.mean()) / scale, f / scale, jnp.asarray(SPECIES)
    spread = float(jnp.sqrt((f**2).mean()))
    rule = optax.adam(optax.cosine_decay_schedule(3e-3, size.steps))

    def loss(weights: Tree, chosen: jax.Array) -> jax.Array:
        y = potential(energy, weights)(x[chosen], species)
        return ((y["energy"] - e[chosen]) ** 2).mean() + (
            ((y["forces"] - f[chosen]) / spread) ** 2
        ).mean()

    def step(state: Tree, key: jax.Array) -> tuple[Tree, None]:
        weights, moments = state
        chosen = jax.random.randint(key, (100,), 0, len(x))
        updates, moments = rule.update(jax.grad(loss)(weights, chosen), moments)
        return (optax.apply_updates(weights, updates), moments), None

    keys = jax.random.split(jax.random.key(seed + 1), size.steps)
    (weights, _), _ = jax.jit(lambda s: jax.lax.scan(step, s, keys))((weights, rule.init(weights)))
    return potential(energy, weights, scale)


def averaged(f: Potential, count: int, key: jax.Array | None = None) -> Potential:
    """The mean of a potential over rotations of a polyhedron, or over random ones."""
    group = subgroup(count) if key is None else groups.so(3)
    v = sq.reps.vector(group)
    how: dict[str, Any] = {} if key is None else {"samples": count, "key": key}
    return orbits.average(f, v, {"energy": None, "forces": v}, **how)


def results(size: Size) -> dict[str, Any]:
    """All numbers of the page."""
    train, test = clusters(size.train, 0), clusters(size.test, 1)
    x, species = jnp.asarray(test.positions, jnp.float32), jnp.asarray(SPECIES)
    v = sq.reps.vector(groups.so(3))

    def measured(f: Potential) -> orbits.Variation:
        out = {"energy": None, "forces": v}
        return orbits.variation(f, v, out, x[: size.turned], species, degree=size.degree)

    def errors(f: Potential) -> dict[str, float]:
        y = f(x, species)
        off = np.asarray(y["energy"]) - test.energy
        forces = np.asarray(y["forces"]) - test.forces
        scale = np.sqrt((test.forces**2).mean())
        return {
            "energy_error": float((off - off.mean()).std() / test.energy.std()),
            "force_error": float(np.sqrt((forces**2).mean()) / scale),
        }

    def line(f: Potential, kind: str, count: int, how: str) -> dict[str, Any]:
        found = measured(f)
        spreads = {f"{one.name}_spread": one.spread for one in found.outputs}
        return {"potential": kind, "rotations": count, "how": how, **spreads, **errors(f)}

    lines, irreps, diagnoses = [], {}, {}
    for kind in ("strict", "free"):
        f = trained(kind, train, size)
        found = measured(f)
        irreps[kind] = {one.name: dict(one.energies) for one in found.outputs}
        few = np.asarray(x[:4]), SPECIES
        diagnoses[kind] = sq.measures.doctor(f, few, input=v).verdict
        lines.append(line(f, kind, 1, "as trained"))
        if kind == "free":
            lines += [line(averaged(f, n), kind, n, "polyhedron") for n in ROTATIONS[1:]]
            for draw in range(size.draws):
                keys = jax.random.split(jax.random.key(draw), len(ROTATIONS))
                for n, key in list(zip(ROTATIONS, keys, strict=True))[1:]:
                    lines.append(line(averaged(f, n, key), kind, n, "random"))
    return {"lines": lines, "irreps": irreps, "diagnoses": diagnoses, "size": size._asdict()}
