"""Measures of how similar two rows of a sparse matrix are, and the rows as the kernels of `similarity` take them.

"Overlap" measures read whole rows: what is common over what both have. "Corated" measures read only the columns that
both rows have.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recsys.kernels.topk import LAYOUT

OVERLAP: Mapping[str, int] = {"cosine": 0, "asymmetric": 1, "jaccard": 2, "dice": 3, "tversky": 4}
CORATED: Mapping[str, int] = {
    "corated_cosine": 10,
    "corated_pearson": 11,
    "msd": 12,
    "euclidean": 13,
    "corated_jaccard": 2,
}
FIXED: Mapping[int, float] = {OVERLAP["cosine"]: 0.5, OVERLAP["jaccard"]: 1.0, OVERLAP["dice"]: 0.5}
"""Alpha and beta of the measures that are "asymmetric" or "tversky" with both weights alike."""
PRODUCTS, FIRST_CORATED, PEARSON, MSD = 2, 10, 11, 12
"""Kinds below the first are sums of products over lengths, from the second on corated, from the last on distances."""


@dataclass(frozen=True)
class Measure:
    """A similarity and how it is damped.

    Overlap measures divide by their denominator + `shrinkage`; co-rated ones are multiplied by n / (n + `shrinkage`).
    `significance` g > 0 multiplies by min(n, g) / g. Fewer than `min_support` common columns, or a zero denominator,
    give 0.
    """

    kind: int
    shrinkage: float = 0.0
    significance: float = 0.0
    min_support: int = 1
    alpha: float = 0.5
    beta: float = 0.5

    def turned(self) -> "Measure":
        """The measure with its two rows exchanged: "asymmetric" and "tversky" tell the query from what it is compared with."""
        if self.kind == OVERLAP["asymmetric"]:
            return replace(self, alpha=1 - self.alpha)
        return replace(self, alpha=self.beta, beta=self.alpha)

    @property
    def of_products(self) -> bool:
        """Whether it is a sum of products over the common columns, divided by the lengths of both rows."""
        return self.kind < PRODUCTS

    def n_sums(self, *, ones: bool) -> int:
        """Numbers summed over the common columns of two rows, whose entries are all `ones` or not."""
        if self.kind < FIRST_CORATED:
            return 2 if self.of_products and not ones else 1
        return {PEARSON: 6}.get(self.kind, 4 if self.kind < MSD else 2)

    def denominator(
        self, norms: NDArray[Any], counts: NDArray[Any], others: "Rows"
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], float]:
        """What makes an overlap measure's denominator p q + r + e n: p and r of each query row, q of each other, and e."""
        alpha = beta = FIXED.get(self.kind, self.alpha)
        if self.of_products:
            return norms**alpha, np.full(len(norms), self.shrinkage), others.norms ** (1 - alpha), 0.0
        if self.kind == OVERLAP["tversky"]:
            beta = self.beta
        return np.ones(len(counts)), alpha * counts + self.shrinkage, beta * others.counts, 1 - alpha - beta


class Rows(NamedTuple):
    """A matrix whose rows are compared, by columns, with what the measures need of each row."""

    indptr: NDArray[np.int64]
    rows: NDArray[np.int32]
    data: NDArray[np.float64]
    norms: NDArray[np.float64]
    counts: NDArray[np.float64]

    @classmethod
    def of(cls, matrix: Any) -> "Rows":
        """From a sparse matrix (n, m); one that is held by columns is taken as it is."""
        indptr, rows, data = parts_of(matrix.tocsc())
        return cls(indptr, rows, data, *_lengths(rows, data, matrix.shape[0]))


class Queries(NamedTuple):
    """Rows to compare with others: each with its own row there or -1, p and r of its denominators, and its cost."""

    indptr: NDArray[np.int64]
    columns: NDArray[np.int32]
    data: NDArray[np.float64]
    own: NDArray[np.int64]
    scale: NDArray[np.float64]
    term: NDArray[np.float64]
    cost: NDArray[np.int64]


class Others(NamedTuple):
    """The rows they are compared with, by columns, and q of each; the measure; the numbers summed a pair."""

    indptr: NDArray[np.int64]
    rows: NDArray[np.int32]
    data: NDArray[np.float64]
    scale: NDArray[np.float64]
    kind: int
    excess: float
    shrinkage: float
    significance: float
    min_support: int
    n_sums: int


def parts_of(matrix: Any) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float64]]:
    """Pointers, indices and entries of a CSR or CSC matrix, in the layouts that kernels are compiled for."""
    parts = ((matrix.indptr, np.int64), (matrix.indices, np.int32), (matrix.data, np.float64))
    indptr, indices, data = (np.require(part, dtype, LAYOUT) for part, dtype in parts)
    return indptr, indices, data


def _lengths(rows: NDArray[Any], data: NDArray[Any], n: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Squared length of each row and how many entries it has: one array where all entries are 1."""
    counts = np.bincount(rows, minlength=n).astype(np.float64)
    return (counts if (data == 1).all() else np.bincount(rows, data**2, n)), counts


def sides(queries: Any, own: NDArray[np.int64] | None, rows: Rows, measure: Measure) -> tuple[Queries, Others]:
    """Both sides as the kernels take them; without `own`, query row i is row i of the others."""
    indptr, columns, data = parts_of(queries)
    n = len(indptr) - 1
    at = np.repeat(np.arange(n), np.diff(indptr))
    norms, counts = _lengths(at, data, n)
    scale, term, other_scale, excess = measure.denominator(norms, counts, rows)
    cost = np.bincount(at, np.diff(rows.indptr)[columns], n).astype(np.int64)
    own = np.require(np.arange(n) if own is None else own, np.int64, LAYOUT)
    damping = float(measure.shrinkage), float(measure.significance), int(measure.min_support)
    n_sums = measure.n_sums(ones=norms is counts and rows.norms is rows.counts)
    return (
        Queries(indptr, columns, data, own, scale, term, cost),
        Others(rows.indptr, rows.rows, rows.data, other_scale, measure.kind, float(excess), *damping, n_sums),
    )
