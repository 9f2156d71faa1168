"""Users and items as bags of features: a row for the entity's own id, and rows for what it is described by.

Kula, "Metadata Embeddings for User and Item Cold-start Recommendations", CBRecSys 2015.
"""

from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recsys.data import Column, Features

N_KNOTS = 9
"""Quantiles of a number, from the smallest to the largest, that have a column."""


def bag_matrix(features: Features) -> tuple[Any, NDArray[Any]]:
    """What each of n entities sums, CSR (n, n + F) float32: its own id, weight 1, and its features; and the F names.

    A category is a column and so is a tag, weight 1. A number has a column for each of 9 quantiles and shares a weight
    of 1 between the two that it lies between, by its distance to them, so that its vector is a piecewise linear
    function of it. A vector is a column an entry, scaled to length 1.
    What is missing adds nothing, but for a number: that is then the mean.
    """
    blocks = [sp.identity(len(features), np.float32, format="csr")]
    names: list[str] = []
    for column in features.columns:
        block, named = column_block(column, len(features))
        blocks.append(block)
        names += named
    matrix: Any = sp.hstack(blocks, format="csr")
    matrix.sum_duplicates()
    return matrix, np.array(names, dtype=object)


def column_block(column: Column, n_rows: int) -> tuple[Any, list[str]]:
    """Weights (n, F) of one column's features, and their names."""
    if column.kind == "numeric":
        knots = np.unique(np.quantile(column.values, np.linspace(0, 1, N_KNOTS)))
        names = [f"{column.name}~{knot * column.scale + column.mean:g}" for knot in knots]
        return hats(column.values, knots), names
    if column.kind == "vector":
        norms = np.linalg.norm(column.vectors, axis=1, keepdims=True)
        names = [f"{column.name}[{d}]" for d in range(column.vectors.shape[1])]
        return sp.csr_matrix(column.vectors / np.where(norms > 0, norms, 1)), names
    rows = np.arange(n_rows)
    if column.kind == "tags":
        rows = np.repeat(rows, np.diff(column.indptr))
    known = column.codes >= 0
    rows, codes = rows[known], column.codes[known]
    names = [f"{column.name}={value}" for value in column.labels]
    return sp.csr_matrix((np.ones(len(rows), np.float32), (rows, codes)), shape=(n_rows, column.size)), names


def hats(values: NDArray[np.float32], knots: NDArray[np.floating]) -> Any:
    """Weights (n, knots) of linear interpolation between ascending knots, which span the values."""
    n = len(values)
    if len(knots) == 1:
        return sp.csr_matrix(np.ones((n, 1), np.float32))
    below = np.clip(np.searchsorted(knots, values, side="right") - 1, 0, len(knots) - 2)
    share = (values - knots[below]) / (knots[below + 1] - knots[below])
    rows, columns = np.tile(np.arange(n), 2), np.concatenate([below, below + 1])
    weights = np.concatenate([1 - share, share]).astype(np.float32)
    return sp.csr_matrix((weights, (rows, columns)), shape=(n, len(knots)))
