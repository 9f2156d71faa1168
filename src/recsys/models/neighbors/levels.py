"""Rows of ratings less their level, and rows of ones weighed by how rare their columns are."""

from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray


def row_means(matrix: Any, default: float) -> NDArray[np.float64]:
    """Mean of each row's entries; the default for an empty row."""
    n = np.diff(matrix.indptr)
    if len(matrix.data) == 0:
        return np.full(len(n), default)
    sums = np.add.reduceat(np.append(matrix.data, 0.0), matrix.indptr[:-1])
    return np.where(n > 0, sums / np.maximum(n, 1), default)


def row_deviations(matrix: Any, means: NDArray[np.float64]) -> NDArray[np.float64]:
    """Standard deviation of each row's entries; 1 where there is none."""
    squares = centered(matrix, means)
    squares.data = squares.data**2
    deviation = np.sqrt(row_means(squares, 1.0))
    return np.where(deviation > 0, deviation, 1.0)


def centered(matrix: Any, means: NDArray[np.float64]) -> Any:
    """Entries minus their row's mean, entries that become 0 kept."""
    levels = np.repeat(means, np.diff(matrix.indptr))
    data = matrix.data - levels
    # The mean of equal numbers can be off them by rounding.
    data[np.abs(data) < 1e-12 * np.abs(levels)] = 0
    return with_data(matrix, data)


def with_data(matrix: Any, data: NDArray[Any]) -> Any:
    """A CSR matrix with other numbers in the same places."""
    return sp.csr_matrix((data, matrix.indices, matrix.indptr), shape=matrix.shape)


def weigh(rows: Any, column_counts: NDArray[np.int64], n_rows: int, weighting: str) -> Any:
    """Ones by how rare their column is (TF-IDF), and by how long their row is too (BM25 with its usual 1.2 and 0.75).

    Columns have `column_counts` (m,) entries over the `n_rows` rows of the training data, of which `rows` may be others.
    """
    if weighting == "none":
        return rows
    weighed: Any = rows @ sp.diags(np.log((1 + n_rows) / (1 + column_counts)) + 1)
    if weighting == "bm25":
        lengths = np.diff(rows.indptr) * n_rows / max(int(column_counts.sum()), 1)
        weighed = sp.diags(2.2 / (1 + 1.2 * (0.25 + 0.75 * lengths))) @ weighed
    return weighed.tocsr()
