"""Feature columns as vectors of items."""

import re
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
from numpy.typing import NDArray

from recsys.data import Column

Parts = tuple[NDArray[np.float64], Any]
"""Vectors: numbers (n, d), and a sparse matrix (n, s) beside them."""
BLOCK = 1 << 24
"""Numbers of a block of dense profiles."""


def item_vectors(columns: tuple[Column, ...], text: tuple[str, ...], n_items: int) -> Parts:
    """Vector and numeric columns side by side, (I, d), and all others by TF-IDF, sparse (I, s), each in their order."""
    dense = [
        np.empty((n_items, 0)),
        *(dense_vectors(column) for column in columns if column.kind in ("vector", "numeric")),
    ]
    sparse = [sp.csr_matrix((n_items, 0))]
    for column in columns:
        if column.name in text:
            sparse.append(tf_idf(word_counts(column)))
        elif column.kind in ("categorical", "tags"):
            sparse.append(tf_idf(tag_counts(column, n_items)))
    return np.concatenate(dense, 1), sp.hstack(sparse).tocsr()


def dense_vectors(column: Column) -> NDArray[np.float64]:
    """A vector column as it is, or standardized numbers, (I, d)."""
    values = column.vectors if column.kind == "vector" else column.values[:, None]
    return values.astype(np.float64)


def reads_as_text(column: Column) -> bool:
    """Whether a column holds prose rather than names of categories: strings of several words, hardly any there twice."""
    if column.kind != "categorical" or column.vocabulary is None or column.vocabulary.kind != "strings":
        return False
    several = sum(" " in value.strip() for value in column.vocabulary.ids)
    known = int((column.codes >= 0).sum())
    return 2 * several > len(column.vocabulary) and 2 * len(column.vocabulary) > known > 1


def word_counts(column: Column) -> Any:
    """How often each item's text holds each word, (I, words); a word is a run of letters and digits, in lower case."""
    texts = [] if column.vocabulary is None else column.vocabulary.ids
    words = [re.findall(r"\w+", text.lower()) for text in texts]
    codes, distinct = pd.factorize(np.array([word for text in words for word in text], object))
    row = np.repeat(np.arange(len(words)), [len(text) for text in words])
    counts = sp.csr_matrix((np.ones(len(codes)), (row, codes)), shape=(len(words) + 1, max(len(distinct), 1)))
    # A missing text is code -1, the last row, which is empty.
    return counts[column.codes]


def tag_counts(column: Column, n_items: int) -> Any:
    """How often each item has each tag or category, (I, tags)."""
    indptr = np.arange(n_items + 1) if column.kind == "categorical" else column.indptr
    rows, known = np.repeat(np.arange(n_items), np.diff(indptr)), column.codes >= 0
    entries = (np.ones(int(known.sum())), (rows[known], column.codes[known]))
    return sp.csr_matrix(entries, shape=(n_items, max(column.size, 1)))


def tf_idf(counts: Any) -> Any:
    """(1 + ln count) (ln((1 + I) / (1 + n)) + 1) for a word that n of the I items have, rows scaled to norm 1."""
    holders = np.bincount(counts.indices, minlength=counts.shape[1])
    frequencies = sp.csr_matrix((1 + np.log(counts.data), counts.indices, counts.indptr), shape=counts.shape)
    weighted = frequencies @ sp.diags(np.log((1 + counts.shape[0]) / (1 + holders)) + 1)
    norms = np.sqrt(row_squares(weighted))
    return sp.diags(1 / np.where(norms > 0, norms, 1)) @ weighted


def row_squares(matrix: Any) -> NDArray[np.float64]:
    """Squared norm of each row of a sparse matrix."""
    return np.asarray(matrix.multiply(matrix).sum(1), np.float64).ravel()


def compare(metric: str, profiles: Parts, items: Parts, dtype: Any) -> NDArray[Any]:
    """Scores (B, I) of profiles and items, each a dense and a sparse part: larger is nearer."""
    (dense, sparse), (item_dense, item_sparse) = profiles, items
    scores = np.empty((len(dense), len(item_dense)), dtype)
    other = np.square(item_dense).sum(1) + row_squares(item_sparse)
    step = max(1, BLOCK // max(1, *item_sparse.shape))
    for rows in (slice(start, start + step) for start in range(0, len(dense), step)):
        # A sparse times a dense matrix: profiles of many items have most of the words.
        dot = dense[rows] @ item_dense.T + (item_sparse @ sparse[rows].T.toarray()).T
        if metric == "dot":
            scores[rows] = dot
            continue
        own = np.square(dense[rows]).sum(1) + row_squares(sparse[rows])
        if metric == "euclidean":
            # Rounding can leave a square of zero below it.
            scores[rows] = -np.sqrt(np.maximum(own[:, None] + other - 2 * dot, 0))
        else:
            norm = np.sqrt(own[:, None] * other)
            scores[rows] = np.where(norm > 0, dot / np.where(norm > 0, norm, 1), 0)
    return scores
