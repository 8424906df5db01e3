"""Matched rows of features: of an image, carried along by a transform, and of the moved image."""

import functools
from collections.abc import Iterator
from typing import NamedTuple

import jax
import numpy as np

from softeq_jax.measures.features._evaluation import Evaluation, check_finite
from softeq_jax.measures.features._positions import Site
from softeq_jax.measures.finite._transform import Transform


class Pairs(NamedTuple):
    """Features at the positions that count, host side, each ``[n, positions, channels]``.

    Attributes:
      carried: ``g' F(x)``, or ``F(x)`` without transport.
      moved: ``F(g x)``.
      still: ``F(x)``.
      other: as ``carried``, of the partner images.
    """

    carried: np.ndarray
    moved: np.ndarray
    still: np.ndarray
    other: np.ndarray


def pairs(
    job: Evaluation,
    index: np.ndarray,
    partners: np.ndarray,
    batch_size: int | None,
    transport: bool,
) -> Iterator[dict[str, Pairs]]:
    """The rows of every feature, batch by batch, under the first transform of a job.

    Args:
      job: what is evaluated.
      index: int, the images to go through.
      partners: int ``[n]``, for every image of the job another one.
      batch_size: images at a time; None: all.
      transport: whether the action g' carries the positions along first.

    Raises:
      ValueError: NaN or infinite features.
    """
    transform = job.transforms[0]
    for batch in job.over(index, batch_size, partners):
        moved = job.moved(transform, batch.images)
        check_finite(batch.still, job.sites, "of the images")
        check_finite(moved, job.sites, f"under {transform.name}")
        rows, valid = _rows(moved, batch.still, batch.other, transform, job.sites, transport)
        yield {
            site.name: Pairs(
                *(np.asarray(v, np.float64)[: batch.real, np.asarray(keep) > 0] for v in values)
            )
            for site, values, keep in zip(job.sites, rows, valid, strict=True)
        }


@functools.partial(jax.jit, static_argnames=("sites", "transport"))
def _rows(
    moved: dict[str, jax.Array],
    still: dict[str, jax.Array],
    other: dict[str, jax.Array],
    transform: Transform,
    sites: tuple[Site, ...],
    transport: bool,
) -> tuple[list[Pairs], list[jax.Array]]:
    rows, valid = [], []
    for site in sites:
        y, s, o = (values[site.name] for values in (moved, still, other))
        carried = (site.act(transform, s), site.act(transform, o)) if transport else (s, o)
        rows.append(Pairs(*(site.positions(v) for v in (carried[0], y, s, carried[1]))))
        valid.append(site.valid(transform))
    return rows, valid
