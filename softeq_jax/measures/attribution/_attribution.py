"""Contributions of layers to a Lie derivative, as a table and as records."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from softeq_jax._text import html_table, table
from softeq_jax.measures._statistics import given, given_means, weighted_means

SHOWN = 12
"""Layers in the table of a terminal."""

PerLayer = Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True, eq=False)
class Attribution:
    """Contributions ``c_i`` with ``sum_i c_i = L f``, per generator, layer and image.

    All arrays are NumPy float64 (totals and contributions keep the output's dtype). Shares are
    NaN for images whose L f is zero up to rounding; every mean leaves those out, and
    ``undefined`` counts them. Sources: measures.md A.5, D.4, D.5.

    Attributes:
      layers: labels in order of execution.
      shapes: of what each layer hands on, ``[n, ...]`` with the batch size.
      layouts: of it, in words.
      generators: names.
      estimator: "shares", "exact" or "hutchinson".
      totals: L f, ``[n, ...]`` as the output.
      shares: ``<c_i, L> / ||L||^2`` ``[layers, n]``, summing to 1 over the layers; signed. For
        "hutchinson" the ratio of two means over the probes.
      squared_norms: ``||c_i||^2`` ``[layers, n]``; None for "shares".
      squared_norm_errors: their standard errors over the probes; None unless "hutchinson".
      cosines: between c_i and L, NaN where either is zero; None unless "exact".
      contributions: c_i, ``[layers, n, ...]``; None unless "exact".
      undefined: how many images have no shares.

    Example:
      >>> import jax, numpy as np, softeq_jax as sq
      >>> x = np.random.default_rng(0).normal(size=(2, 8, 8, 1)).astype("float32")
      >>> found = sq.measures.layerwise(lambda x: jax.nn.relu(x).mean((1, 2)), x, "translation_x")
      >>> found.layers, found.estimator, found.shares["translation_x"].shape
      (('relu', 'sum', 'div'), 'shares', (3, 2))
    """

    layers: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    layouts: tuple[str, ...]
    generators: tuple[str, ...]
    estimator: str
    totals: PerLayer
    shares: PerLayer
    squared_norms: PerLayer | None
    squared_norm_errors: PerLayer | None
    cosines: PerLayer | None
    contributions: PerLayer | None
    undefined: Mapping[str, int]

    def __repr__(self) -> str:
        return self.table(top=SHOWN)

    def _repr_html_(self) -> str:
        return html_table(self._head(), self._cells(range(len(self.layers))))

    def mean_shares(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """``E <c_i, L> / E ||L||^2`` over the images and its standard error, each ``[layers]``.

        A ratio of expectations, so that images on which little happens at all, whose own shares
        may be anything, do not decide; it sums to 1 over the layers as well. The error (delta
        method) is NaN for fewer than two images, the mean for none.
        """
        return {
            name: weighted_means(values, np.abs(self.totals[name].astype(np.float64)) ** 2)
            for name, values in self.shares.items()
        }

    def mean_norms(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Root of the mean ``||c_i||^2`` over the images and its standard error, ``[layers]``.

        Raises:
          ValueError: the estimator "shares" computes no norms.
        """
        if self.squared_norms is None:
            raise ValueError("estimator='shares' has no norms: use 'exact' or 'hutchinson'")
        result = {}
        for name, values in self.squared_norms.items():
            mean, error = given_means(values)
            root = np.sqrt(mean)
            scale = np.divide(0.5, root, out=np.zeros_like(root), where=root > 0)
            result[name] = (root, error * scale)
        return result

    def cumulative(self) -> dict[str, np.ndarray]:
        """Mean shares of all layers up to each, ``[layers]``; the last is 1."""
        return {name: np.cumsum(mean) for name, (mean, _) in self.mean_shares().items()}

    def rows(self) -> list[dict[str, Any]]:
        """One record per generator and layer, for tables and CSV files.

        Keys: generator, layer, index, shape (without the batch), layout, share, share_error,
        cumulative_share, images, undefined; where computed norm, norm_error, cosine.
        """
        shares, cumulative = self.mean_shares(), self.cumulative()
        norms = None if self.squared_norms is None else self.mean_norms()
        cosines = (
            None
            if self.cosines is None
            else {name: given_means(values)[0] for name, values in self.cosines.items()}
        )
        rows = []
        for name in self.generators:
            for index, layer in enumerate(self.layers):
                row = {
                    "generator": name,
                    "layer": layer,
                    "index": index,
                    "shape": "x".join(map(str, self.shapes[index][1:])),
                    "layout": self.layouts[index],
                    "share": float(shares[name][0][index]),
                    "share_error": float(shares[name][1][index]),
                    "cumulative_share": float(cumulative[name][index]),
                    "images": self.shares[name].shape[1],
                    "undefined": self.undefined[name],
                }
                if norms is not None:
                    row["norm"] = float(norms[name][0][index])
                    row["norm_error"] = float(norms[name][1][index])
                if cosines is not None:
                    row["cosine"] = float(cosines[name][index])
                rows.append(row)
        return rows

    def table(self, top: int | None = None) -> str:
        """Mean shares per layer and generator with their standard errors, as aligned text.

        Norms (root mean square) and cosines follow where they were computed. A dash stands for the
        share of a layer where there is nothing to divide: no image moves the output.

        Args:
          top: only so many layers, those with the largest shares (of either sign) along any
            generator, still in order of execution; the last line says how many are left out. None:
            all.
        """
        largest = np.max([np.abs(mean) for mean, _ in self.mean_shares().values()], axis=0)
        kept = np.argsort(-np.nan_to_num(largest), kind="stable")[:top]
        head = self._head()
        text = table(head, self._cells(sorted(kept)), right="--" + "r" * (len(head) - 2))
        left = len(self.layers) - len(kept)
        return f"{text}\n{left} further layers have smaller shares" if left else text

    def _head(self) -> list[str]:
        head = ["layer", "output"]
        for name in self.generators:
            head.append(name)
            head += [] if self.squared_norms is None else ["norm"]
            head += [] if self.cosines is None else ["cosine"]
        return head

    def _cells(self, kept: Iterable[int]) -> list[list[str]]:
        lines, records = [], self.rows()
        for index in kept:
            line = [self.layers[index], records[index]["shape"]]
            for row in records[index :: len(self.layers)]:
                share = f"{row['share']:+.4f} ± {given(row['share_error'], '.4f')}"
                line.append("-" if np.isnan(row["share"]) else share)
                line += [f"{row['norm']:.3g}"] if "norm" in row else []
                line += [given(row["cosine"], "+.3f")] if "cosine" in row else []
            lines.append(line)
        return lines
