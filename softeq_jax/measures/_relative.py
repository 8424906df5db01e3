r"""Lie derivatives relative to a control: what of them is not size, softness or bandwidth.

A local equivariance error E ||L f||^2 falls with the output's scale, with saturated scores and
with whatever makes f slow: exactly equivariant networks of different bandwidth differ in it by
their stencil's error alone, and untrained networks look best. ``relative_lie_errors`` divides
it by one of three controls:

* *random phases*: with ``v`` the motion ``D x`` of the image, its Fourier phases drawn anew (the
  same spectrum, the same norm, the same at all channels), the response to a change that is
  no motion, ``E ||J_f v - D' f||^2``. The ratio is 0 for an equivariant f and 1 for one to which
  moving is a change like any other of that spectrum (more where aliases move the wrong way);
  scale, saturation and bandwidth cancel.
* *another network*: ``E ||L h||^2`` of the same images, say of h with the weights before training.
  The ratio still has the scales of both outputs in it: compare probabilities, or ``lie_errors``'
  scale-free norms.
* *the low-passed image*: ``E ||L f||^2`` of the images without what lies above a share of Nyquist,
  where aliasing and the stencil hardly count. To hold the bandwidth fixed between networks,
  measure all of them on images of ``low_pass``. Such images are not what a network was trained
  on.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, Unpack

import jax
import jax.numpy as jnp
import numpy as np

from softeq_jax._checks import whole
from softeq_jax.measures._bandwidth import low_pass, random_phases, require_grid
from softeq_jax.measures._lie import (
    DERIVATIVE_HINT,
    default_generators,
    lie_errors,
    lie_setting,
    responses,
)
from softeq_jax.measures._statistics import Estimate, mean_of
from softeq_jax.measures.base._actions import Stencil, act
from softeq_jax.measures.base._functions import (
    Array,
    Function,
    Skeleton,
    as_key,
    batches,
    check_inputs,
    check_outputs,
    compiled,
    split_callable,
    with_head,
)
from softeq_jax.measures.base._generators import Generator, own_functions
from softeq_jax.measures.base._options import Options, Setting, resolved


@dataclasses.dataclass(frozen=True)
class RelativeError:
    """The error along one generator, its control, and their ratio; see ``Estimate``.

    Attributes:
      lie: ``E ||L f||^2 / d``, d the entries of an output; ``per_image`` are the LEE.
      control: of the control, in the same units.
      ratio: ``lie / control``, a ratio of means over the images, its standard error by the delta
        method (both are of the same images, whose contents cancel in part).

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> one = sq.measures.Estimate("lie", np.full((1, 4), 1.0), np.ones((1, 4)), ("",))
      >>> two = sq.measures.Estimate("control", np.full((1, 4), 2.0), np.ones((1, 4)), ("",))
      >>> ratio = sq.measures.Estimate("ratio", one.numerators, two.numerators, ("",))
      >>> sq.measures.RelativeError(one, two, ratio).ratio.value
      0.5
    """

    lie: Estimate
    control: Estimate
    ratio: Estimate

    def __repr__(self) -> str:
        return "\n".join(each.table() for each in (self.lie, self.control, self.ratio))


def relative_lie_errors(
    f: Function,
    images: Array,
    generators: Sequence[Any] | None = None,
    *,
    control: str | float | Function = "phases",
    draws: int = 4,
    key: jax.Array | int | None = None,
    **options: Unpack[Options],
) -> dict[str, RelativeError]:
    """The local equivariance error along every generator, a control, and their ratio.

    Costs about ``(1 + draws) (1 + G)`` evaluations of f for G generators with random phases, and
    ``2 (1 + G)`` with another control.

    Args:
      f: see ``lie_derivative``.
      images: see ``lie_derivative``; with a grid (an image, or tokens) but for another network.
      generators: see ``lie_errors``.
      control: "phases"; a number, the share of Nyquist of the low-passed images (periodic if the
        stencil is, else mirrored at the edges); or another network, a function like f.
      draws: random fields for each image and generator, with "phases".
      key: of the random fields: a JAX key or a seed, None for seed 0. They do not depend on the
        batches.
      **options: see ``lie_errors``.

    Returns:
      By generator name, in order.

    Raises:
      TypeError: see ``lie_derivative``; or a control that is none.
      ValueError: see ``lie_derivative``; an unknown control or a share out of range, a layout
        without a grid, draws below 1.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> x = np.random.default_rng(0).normal(size=(8, 8, 8, 1)).astype("float32")
      >>> settings = {"stencil": "spectral", "draws": 16}  # periodic images
      >>> still = lambda x: (x**2).mean(axis=(1, 2))  # does not see shifts
      >>> pixel = lambda x: x[:, 2, 3]  # sees nothing else
      >>> for f in (still, pixel):
      ...     found = sq.measures.relative_lie_errors(f, x, ["translation_x"], **settings)
      ...     print(round(found["translation_x"].ratio.value, 1))
      0.0
      0.7
    """
    if isinstance(control, str) and control != "phases":
        raise ValueError(f"no control is called {control!r}: 'phases', a share of Nyquist or h")
    is_share = isinstance(control, int | float | np.floating) and not isinstance(control, bool)
    if not (isinstance(control, str) or is_share or callable(control)):
        raise TypeError(f"control must be 'phases', a share or a function, got {control!r}")
    whole(draws, "draws")
    setting = resolved(options, "relative_lie_errors", without=("jit",), batch_size=64)
    images = check_inputs(images)
    if generators is None:
        generators = default_generators(setting.input, images.shape)
    chosen, setting = lie_setting(generators, setting, images.shape)
    if isinstance(control, str):
        sums = _by_phases(f, images, chosen, setting, draws, as_key(key))
    else:
        own = lie_errors(f, images, generators, **options)
        if callable(control):
            others = lie_errors(control, images, generators, **options)
        else:
            boundary = "circular" if _is_periodic(setting.stencil) else "symmetric"
            smooth = low_pass(images, float(control), setting.input, boundary)
            others = lie_errors(f, smooth, generators, **options)
        sums = {name: (own[name].mean_sq, others[name].mean_sq) for name in own}
    return {name: _related(name, *pair) for name, pair in sums.items()}


def _is_periodic(stencil: Stencil) -> bool:
    if stencil.name in ("spectral", "spectral_mirror"):
        return stencil.name == "spectral"
    return stencil.boundary == "wrap"


def _related(name: str, lie: np.ndarray, control: np.ndarray) -> RelativeError:
    return RelativeError(
        mean_of(f"{name}: LEE", lie[None], (name,)),
        mean_of(f"{name}: control", control[None], (name,)),
        Estimate(f"{name}: ratio", lie[None], control[None], (name,)),
    )


def _by_phases(
    f: Function,
    images: Array,
    generators: tuple[Generator, ...],
    setting: Setting,
    draws: int,
    key: jax.Array,
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Of every generator the squares of ``L f`` and of its control over d, float64 ``[n]`` each."""
    require_grid(setting.input, "the control by random phases")
    arrays, skeleton = split_callable(f, setting.head, *own_functions(generators))
    keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(len(images)))
    pieces = []
    for index, real in batches(np.arange(len(images)), setting.batch_size):
        sums = jax.device_get(
            _squares(
                arrays,
                images[index],
                keys[index],
                skeleton=skeleton,
                generators=generators,
                setting=setting,
                draws=draws,
            )
        )
        check_outputs(sums["output"][:real], "the function's output")
        check_outputs(sums["control"][:, :real], "the derivative", DERIVATIVE_HINT)
        pieces.append([sums[name][:, :real] for name in ("lie", "control")])
    lie, control = (
        np.concatenate(part, axis=1, dtype=np.float64) for part in zip(*pieces, strict=True)
    )
    return {g.name: (lie[i], control[i]) for i, g in enumerate(generators)}


@compiled
def _squares(
    arrays: Sequence[Array],
    images: Array,
    keys: jax.Array,
    *,
    skeleton: Skeleton,
    generators: tuple[Generator, ...],
    setting: Setting,
    draws: int,
) -> dict[str, jax.Array]:
    x = jnp.asarray(images)
    f = with_head(skeleton(arrays), setting.head)
    layout = require_grid(setting.input, "the control by random phases")
    layout.check(x.shape, "the input")
    directions = act(generators, x, layout, setting.frame, setting.stencil)
    y, response = responses(f, x, directions)
    setting.output.check(y.shape, "the function's output")
    expected = act(generators, y, setting.output, setting.frame, setting.stencil)

    def mean_square(moved: jax.Array) -> jax.Array:
        left = moved - expected
        left = left.astype(jnp.promote_types(left.dtype, jnp.float32))
        return jnp.mean(jnp.abs(left) ** 2, axis=tuple(range(2, left.ndim)))

    def drawn(i: jax.Array) -> jax.Array:
        each = jax.vmap(lambda key: jax.random.fold_in(key, i))(keys)
        fields = jax.vmap(lambda d: random_phases(d, each, layout))(directions)
        return mean_square(responses(f, x, fields)[1])

    return {
        "lie": mean_square(response),
        "control": jax.lax.map(drawn, jnp.arange(draws)).mean(axis=0),
        "output": jnp.mean(jnp.abs(y), axis=tuple(range(1, y.ndim))),
    }
