"""The cases of the projector benchmark; importable without softeq_jax."""

from collections.abc import Callable
from typing import Any, NamedTuple


class ProjectorCase(NamedTuple):
    """One weight space.

    Attributes:
      spec: axes.
      reps: from the module softeq_jax to the representations of the axes.
      emlp: from the modules emlp.groups and emlp.reps to (rep_in, rep_out), None if EMLP has no
        such representation.
      target: what the build should take at most.
    """

    spec: str
    reps: Callable[[Any], dict[str, Any]]
    emlp: Callable[[Any, Any], tuple[Any, Any]] | None
    target: str


def _maps(group: Callable[[Any], Any], source: int, target: int) -> Callable[[Any], dict]:
    def reps(sq: Any) -> dict:
        g = group(sq.groups)
        return {"i": sq.reps.tensor(g, source).dual, "o": sq.reps.tensor(g, target)}

    return reps


def _emlp(group: Callable[[Any], Any], source: int, target: int) -> Callable[[Any, Any], tuple]:
    def reps(groups: Any, reps: Any) -> tuple:
        g = group(groups)
        return reps.T(source)(g), reps.T(target)(g)

    return reps


def _grid(sq: Any) -> dict:
    tokens = sq.reps.tokens(sq.groups.cyclic(4), (16, 16))
    return {"i": tokens, "o": tokens}


def _vectors(sq: Any) -> dict:
    v = sq.reps.vector(sq.groups.so(3))
    return {"i": 16 * v, "o": 16 * v}


def _image(sq: Any) -> dict:
    return {"h w": sq.reps.image(sq.groups.so(2), (37, 37))}


CASES = {
    "O(5) T2->T2": ProjectorCase(
        "i o", _maps(lambda g: g.o(5), 2, 2), _emlp(lambda g: g.O(5), 2, 2), "20 ms"
    ),
    "S_8 T2->T2": ProjectorCase(
        "i o", _maps(lambda g: g.symmetric(8), 2, 2), _emlp(lambda g: g.S(8), 2, 2), "20 ms"
    ),
    "Rubik's cube V->V": ProjectorCase(
        "i o",
        _maps(lambda g: g.rubiks_cube(), 1, 1),
        _emlp(lambda g: g.RubiksCube(), 1, 1),
        "50 ms",
    ),
    "C4 image 16x16->16x16": ProjectorCase("i o", _grid, None, "10 ms"),
    "SO(3) 16->16 vectors": ProjectorCase(
        "i o",
        _vectors,
        lambda groups, reps: ((16 * reps.V)(groups.SO(3)), (16 * reps.V)(groups.SO(3))),
        "2 ms",
    ),
    "SO(2) invariant, 37x37": ProjectorCase("h w", _image, None, "200 ms"),
    "O(5) T4 invariant": ProjectorCase(
        "c",
        lambda sq: {"c": sq.reps.tensor(sq.groups.o(5), 4)},
        lambda groups, reps: (reps.Scalar(groups.O(5)), reps.T(4)(groups.O(5))),
        "1 s",
    ),
    "SO(3) T2->T2": ProjectorCase(
        "i o", _maps(lambda g: g.so(3), 2, 2), _emlp(lambda g: g.SO(3), 2, 2), "-"
    ),
    "Lorentz T2->T2": ProjectorCase(
        "i o", _maps(lambda g: g.lorentz(), 2, 2), _emlp(lambda g: g.Lorentz(), 2, 2), "-"
    ),
    "Sp(4,R) T2->T2": ProjectorCase(
        "i o", _maps(lambda g: g.sp(2), 2, 2), _emlp(lambda g: g.Sp(2), 2, 2), "-"
    ),
}
