"""Calling what is measured: checked inputs, heads, batches, and parameters as arguments."""

import functools
import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, jaxpr_as_fun

from softeq_jax._checks import is_traced, whole

Array = jax.Array | np.ndarray
Function = Callable[[Array], Array]


@jax.custom_jvp
def probabilities(y: jax.Array) -> jax.Array:
    """``softmax(y)`` over the last axis, with a derivative that confident predictions keep exact.

    ``J = diag(p) - p p^T`` is applied as ``(1 - p 1^T) diag(p) (1 - 1 p^T)``. Both are the same
    matrix, but near ``p = (1, 0, ...)`` the first is a difference of nearly equal numbers, which
    float32 does not carry, forward or backward.
    """
    return jax.nn.softmax(y, axis=-1)


@probabilities.defjvp
def _probabilities_jvp(primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
    p, (t,) = probabilities(*primals), tangents
    spread = p * (t - jnp.sum(p * t, axis=-1, keepdims=True))
    return p, spread - p * jnp.sum(spread, axis=-1, keepdims=True)


HEADS: dict[str, Function] = {
    "logits": lambda y: y,
    "probabilities": probabilities,
    "log_probabilities": functools.partial(jax.nn.log_softmax, axis=-1),
}


def check_inputs(images: Array, what: str = "images") -> Array:
    """The images, if they are floating point, finite and have examples.

    Raises:
      TypeError: integers, or no array at all.
      ValueError: no example, no entry in one, or NaN or infinite entries.
    """
    if not hasattr(images, "dtype") or not hasattr(images, "shape"):
        raise TypeError(f"{what} must be an array, got {type(images).__name__}")
    if not jnp.issubdtype(images.dtype, jnp.floating):
        raise TypeError(
            f"{what} must be floating point to be differentiated, got {images.dtype}: convert "
            f"and normalize them as the network wants them, as in images / 255"
        )
    if len(images.shape) < 2 or images.shape[0] == 0:
        raise ValueError(f"{what} must be [n, ...] with n >= 1, got shape {tuple(images.shape)}")
    require_entries(images.shape, what)
    if not is_traced(images) and not np.all(np.isfinite(images)):
        raise ValueError(f"{what} hold NaN or infinite entries")
    return images


def require_entries(shape: tuple[int, ...], what: str) -> None:
    """ValueError where examples, ``[n, ...]``, have no entry: there is nothing to measure."""
    if 0 in shape[1:]:
        raise ValueError(f"{what} must have entries, got shape {tuple(shape)}")


def check_outputs(outputs: Array, what: str, hint: str = "") -> None:
    """Refuses concrete outputs with NaN or infinite entries, by a ValueError."""
    if is_traced(outputs):
        return
    bad = ~np.isfinite(np.asarray(outputs))
    if bad.any():
        first = int(np.argwhere(bad)[0][0])
        raise ValueError(
            f"{what} has {int(bad.sum())} NaN or infinite entries of {bad.size}, the first in "
            f"example {first}{hint}"
        )


def one_array(y: Any) -> Any:
    """The output of a function, if it is one array.

    Raises:
      TypeError: a tuple, a dictionary, or no array at all.
      ValueError: an array without entries.
    """
    if not hasattr(y, "shape") or not hasattr(y, "dtype"):
        raise TypeError(
            f"the function must return one array [n, ...], got {type(y).__name__}: choose one, as "
            f"in lambda x: f(x)[0]"
        )
    require_entries(y.shape, "the output of the function")
    return y


def as_head(head: str | Function) -> Function:
    """The function of the output that a head stands for: a key of ``HEADS``, or itself.

    Raises:
      ValueError: an unknown name.
    """
    if callable(head):
        return head
    if head not in HEADS:
        raise ValueError(f"no head is called {head!r}, choose from {list(HEADS)} or a function")
    return HEADS[head]


def with_head(f: Function, head: str | Function) -> Function:
    """``head(f(x))``; see ``as_head``."""
    function = as_head(head)
    return f if function is HEADS["logits"] else lambda x: function(f(x))


class Skeleton:
    """A callable pytree without its arrays: hashable, so that ``jit`` takes it as static.

    Two skeletons are equal if the same call would run for the same arrays. Leaves that cannot be
    hashed are compared by identity.

    Attributes:
      lasting: whether what is compiled for it may serve later calls, too. A function that is no
        pytree may close over anything, and its value may change while it stays the same object:
        it is traced anew whenever it is handed in.
    """

    def __init__(self, structure: Any, leaves: tuple[Any, ...], lasting: bool):
        self.lasting = lasting
        self.programs: dict[Any, Callable] = {}
        self._structure = structure
        self._leaves = leaves
        self._key = (structure, tuple(_hashable(leaf) for leaf in leaves))

    def __call__(self, arrays: Sequence[Array]) -> Callable[..., Any]:
        """The function with these arrays in it."""
        given = iter(arrays)
        leaves = [next(given) if leaf is _ARRAY else leaf for leaf in self._leaves]
        return jax.tree.unflatten(self._structure, leaves)

    def __hash__(self) -> int:
        return hash(self._key) if self.lasting else id(self)

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if not isinstance(other, Skeleton) or not (self.lasting and other.lasting):
            return False
        return self._key == other._key


def split_callable(f: Callable[..., Any], *others: Any) -> tuple[list[Array], Skeleton]:
    """The arrays of a function that is itself a pytree, and the function without them.

    A ``jax.tree_util.Partial(apply, params)`` or a module of Equinox or NNX is a pytree with arrays
    in it; passing them to ``jit`` as arguments keeps them out of the compiled program, which then
    serves any other arrays. Any other function has none, and is compiled at every call.

    Args:
      f: a callable.
      *others: what else decides what runs (a head); if one is a function, nothing lasts.

    Returns:
      Its arrays, and the skeleton that puts (other) arrays back.

    Raises:
      TypeError: ``f`` cannot be called.
    """
    if not callable(f):
        raise TypeError(f"a function of the images is needed, got {type(f).__name__}")
    leaves, structure = jax.tree.flatten(f)
    arrays = [leaf for leaf in leaves if isinstance(leaf, jax.Array | np.ndarray)]
    kept = tuple(_ARRAY if isinstance(leaf, jax.Array | np.ndarray) else leaf for leaf in leaves)
    plain = jax.tree_util.treedef_is_leaf(structure)
    lasting = not plain and not any(callable(other) for other in others)
    return arrays, Skeleton(structure, kept, lasting)


def hoisted(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, compiled, with all arrays that it closes over as arguments.

    ``jit`` makes constants of them. These are folded at length and kept twice, and XLA on CPU
    (jaxlib 0.10) computes garbage, not always NaN, for a product with a block of constant zeros
    followed by a sum, which is what the weights of a strictly equivariant layer look like.

    Args:
      function: of pytrees of arrays. It is traced once for their shapes and dtypes.
    """
    programs: dict[Any, tuple[Callable[..., Any], Any, Any]] = {}

    def call(*args: Any) -> Any:
        leaves, structure = jax.tree.flatten(args)
        key = (structure, tuple(jax.typeof(leaf) for leaf in leaves))
        if key not in programs:

            def traced(*values: Any) -> Any:  # its own object, which JAX's caches may forget
                return function(*values)

            closed, shapes = jax.make_jaxpr(traced, return_shape=True)(*args)

            def program(constants: Any, *values: Any) -> Any:
                return jaxpr_as_fun(ClosedJaxpr(closed.jaxpr, constants))(*values)

            programs[key] = jax.jit(program), closed.consts, jax.tree.structure(shapes)
        run, constants, outputs = programs[key]
        return jax.tree.unflatten(outputs, run(constants, *leaves))

    return call


def compiled(body: Callable) -> Callable:
    """The function ``body(*arrays, skeleton, **static)``, compiled as long as the skeleton allows.

    What runs for a lasting skeleton is kept by ``jit``; what runs for another one is kept by the
    skeleton, and goes with it.

    Args:
      body: its keyword-only arguments are static; ``skeleton`` is among them.
    """
    parameters = inspect.signature(body).parameters.values()
    names = [p.name for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY]
    shared = jax.jit(body, static_argnames=names)

    @functools.wraps(body)
    def call(*arrays: Any, skeleton: Skeleton, **static: Any) -> Any:
        if skeleton.lasting:
            return shared(*arrays, skeleton=skeleton, **static)
        key = (body, tuple(sorted(static.items(), key=lambda item: item[0])))
        if key not in skeleton.programs:
            skeleton.programs[key] = hoisted(functools.partial(body, skeleton=skeleton, **static))
        return skeleton.programs[key](*arrays)

    call.__dict__["shared"] = shared
    return call


_ARRAY = object()
"""Stands where a skeleton had an array."""


def _hashable(leaf: Any) -> Any:
    try:
        hash(leaf)
    except TypeError:
        return ("by identity", id(leaf))
    return type(leaf), repr(leaf) if isinstance(leaf, float) else leaf


def as_key(key: Any) -> jax.Array:
    """A JAX key: None is key 0, an integer the key of that seed."""
    if key is None or isinstance(key, int | np.integer):
        return jax.random.key(0 if key is None else int(key))
    return key


def batches(images: Array, batch_size: int | None) -> Iterator[tuple[Array, int]]:
    """The images in pieces of one size, the last filled up with the first examples of all.

    So the next example after a real one (cyclically) is never the same one, unless there is but
    one in all.

    Yields:
      A piece and how many of its examples count.

    Raises:
      ValueError: ``batch_size`` is below 1.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> pieces = sq.measures.batches(np.arange(5), 2)
      >>> [(piece.tolist(), real) for piece, real in pieces]
      [([0, 1], 2), ([2, 3], 2), ([4, 0], 1)]
    """
    n = len(images)
    size = n if batch_size is None else min(whole(batch_size, "batch_size"), n)
    for start in range(0, n, max(size, 1)):
        piece = images[start : start + size]
        real = len(piece)
        if real < size:
            xp = jnp if isinstance(piece, jax.Array) else np
            piece = xp.concatenate([piece, images[: size - real]])
        yield piece, real
