"""Neighborhood models by plain loops over pairs of rows, as the formulas are written."""

import math
from collections.abc import Callable

import numpy as np
import pandas as pd

from recsys import Dataset

Row = dict[int, float]
Similarity = Callable[[Row, Row], float]


def rating_table(seed: int = 0, n_users: int = 16, n_items: int = 12) -> np.ndarray:
    """Users x items with NaN where unknown: real numbers, so that no two similarities tie; one user and one item are flat."""
    rng = np.random.default_rng(seed)
    table = rng.uniform(1, 5, (n_users, n_items)).astype(np.float32).astype(float)
    table[3] = 4.0
    table[:, 5] = 2.5
    table[rng.random(table.shape) < 0.35] = np.nan
    table[7, 1:] = np.nan  # a user with one rating
    table[7, 0] = 3.0
    return table


def as_data(table: np.ndarray) -> Dataset:
    users, items = np.nonzero(~np.isnan(table))
    return Dataset(pd.DataFrame({"user_id": users, "item_id": items, "rating": table[users, items]}))


def seen_table(seed: int = 0, n_users: int = 20, n_items: int = 13) -> np.ndarray:
    """Users x items of ones and zeros; every user and item has some."""
    rng = np.random.default_rng(seed)
    x = (rng.random((n_users, n_items)) < rng.uniform(0.15, 0.6, n_items)).astype(float)
    x[np.arange(n_users), np.arange(n_users) % n_items] = 1
    return x


def as_seen(x: np.ndarray) -> Dataset:
    users, items = np.nonzero(x)
    return Dataset(pd.DataFrame({"user_id": users, "item_id": items}))


def rows_of(table: np.ndarray) -> list[Row]:
    return [{j: row[j] for j in range(len(row)) if not math.isnan(row[j]) and row[j] != 0} for row in table]


def mean(row: Row, default: float) -> float:
    return sum(row.values()) / len(row) if row else default


def deviation(row: Row) -> float:
    level = mean(row, 0.0)
    spread = math.sqrt(sum((value - level) ** 2 for value in row.values()) / len(row)) if row else 0.0
    return spread if spread > 1e-9 else 1.0


def corated(name: str, shrinkage: float = 0.0, significance: float = 0.0, min_support: int = 1) -> Similarity:
    """A similarity of two rows of ratings over what both have, damped by how much that is."""

    def similarity(a: Row, b: Row) -> float:
        common = sorted(set(a) & set(b))
        n = len(common)
        if n < min_support or n == 0:
            return 0.0
        x, y = np.array([a[c] for c in common]), np.array([b[c] for c in common])
        if name == "jaccard":
            return damp(n / (len(set(a) | set(b)) + shrinkage), n, 0.0)
        if name == "msd":
            return damp(1 / (np.mean((x - y) ** 2) + 1), n, shrinkage)
        if name == "euclidean":
            return damp(1 / (math.dist(x, y) + 1), n, shrinkage)
        if name == "pearson":
            x, y = x - x.mean(), y - y.mean()
        if name == "pearson_mean":
            x, y = x - mean(a, 0.0), y - mean(b, 0.0)
        size = math.sqrt((x @ x) * (y @ y))
        return damp(x @ y / size, n, shrinkage) if min(x @ x, y @ y) > 1e-9 else 0.0

    def damp(value: float, n: int, beta: float) -> float:
        value *= n / (n + beta)
        return value * min(n, significance) / significance if significance else value

    return similarity


def overlap(name: str, shrinkage: float = 0.0, alpha: float = 0.5, beta: float = 0.5) -> Similarity:
    """A similarity of two weighted sets."""

    def similarity(a: Row, b: Row) -> float:
        common = set(a) & set(b)
        if not common:
            return 0.0
        n, product = len(common), sum(a[c] * b[c] for c in common)
        size_a, size_b = sum(v * v for v in a.values()), sum(v * v for v in b.values())
        return {
            "cosine": lambda: product / (math.sqrt(size_a * size_b) + shrinkage),
            "asymmetric": lambda: product / (size_a**alpha * size_b ** (1 - alpha) + shrinkage),
            "jaccard": lambda: n / (len(a) + len(b) - n + shrinkage),
            "dice": lambda: 2 * n / (len(a) + len(b) + 2 * shrinkage),
            "tversky": lambda: n / (n + alpha * (len(a) - n) + beta * (len(b) - n) + shrinkage),
        }[name]()

    return similarity


def nearest(similarities: dict[int, float], k: int) -> list[int]:
    """The k candidates of largest positive similarity, ties to the smaller code."""
    able = [code for code, value in similarities.items() if value > 1e-12]
    return sorted(able, key=lambda code: (-similarities[code], code))[:k]


def baseline_parts(table: np.ndarray, estimate: str = "decoupled") -> tuple[float, np.ndarray, np.ndarray]:
    """Mean, b_u and b_i: items damped by 25 and then users by 10, or ten rounds by 10 and 15, or gradient steps."""
    mu = float(np.nanmean(table))
    b_i, b_u = np.zeros(table.shape[1]), np.zeros(table.shape[0])
    if estimate == "sgd":
        for _ in range(20):
            for u, i in np.argwhere(~np.isnan(table)):
                step(table[u, i] - mu, b_u, u, b_i, i)
        b_u = np.zeros(table.shape[0])
        for _ in range(20):
            for u, i in np.argwhere(~np.isnan(table)):
                step(table[u, i] - mu, b_u, u, b_i.copy(), i)
        return mu, b_u, b_i
    item_damping, user_damping, rounds = (25, 10, 1) if estimate == "decoupled" else (10, 15, 10)
    for _ in range(rounds):
        for i in range(table.shape[1]):
            given = [(u, table[u, i]) for u in range(len(table)) if not math.isnan(table[u, i])]
            b_i[i] = sum(r - mu - b_u[u] for u, r in given) / (item_damping + len(given))
        for u in range(table.shape[0]):
            given = [(i, table[u, i]) for i in range(table.shape[1]) if not math.isnan(table[u, i])]
            b_u[u] = sum(r - mu - b_i[i] for i, r in given) / (user_damping + len(given))
    return mu, b_u, b_i


def step(deviation: float, b_u: np.ndarray, u: int, b_i: np.ndarray, i: int) -> None:
    """A gradient step on a squared error and 0.02 times the squares of both biases, at a rate of 0.005."""
    error = deviation - b_u[u] - b_i[i]
    b_u[u] += 0.005 * (error - 0.02 * b_u[u])
    b_i[i] += 0.005 * (error - 0.02 * b_i[i])


def beyond_baselines(table: np.ndarray, estimate: str = "decoupled") -> np.ndarray:
    """Ratings less their baselines, NaN where unknown."""
    mu, b_u, b_i = baseline_parts(table, estimate)
    return table - mu - b_u[:, None] - b_i


def predictions(
    table: np.ndarray,
    similarities: np.ndarray,
    k: int,
    form: str,
    *,
    by_user: bool,
    min_k: int = 1,
    estimate: str = "decoupled",
) -> np.ndarray:
    """Predicted ratings of all pairs, from the similarities of all users or of all items."""
    mu, b_u, b_i = baseline_parts(table, estimate)
    rows = rows_of(table if by_user else table.T)
    out = np.zeros(table.shape)
    for u in range(table.shape[0]):
        for i in range(table.shape[1]):
            me, other = (u, i) if by_user else (i, u)
            raters = {v: similarities[me, v] for v in range(len(rows)) if v != me and other in rows[v]}
            base = mu + b_u[u] + b_i[i]
            chosen = nearest(raters, k)
            if len(chosen) < min_k:
                out[u, i] = base
                continue
            weight = sum(raters[v] for v in chosen)
            total = 0.0
            for v in chosen:
                pair_base = mu + b_u[v if by_user else other] + b_i[other if by_user else v]
                level = {"raw": 0.0, "baseline": pair_base}.get(form, mean(rows[v], mu))
                spread = deviation(rows[v]) if form == "zscore" else 1.0
                total += raters[v] * (rows[v][other] - level) / spread
            level = {"raw": 0.0, "baseline": base}.get(form, mean(rows[me], mu))
            spread = deviation(rows[me]) if form == "zscore" else 1.0
            out[u, i] = level + spread * total / weight
    return np.clip(out, np.nanmin(table), np.nanmax(table))


def similarity_table(rows: list[Row], similarity: Similarity) -> np.ndarray:
    return np.array([[similarity(a, b) for b in rows] for a in rows])


def tf_idf(x: np.ndarray, bm25: bool = False) -> np.ndarray:
    """Rows of ones weighed by how rare their columns are, and by how long they are."""
    n, counts, lengths = len(x), x.sum(0), x.sum(1)
    out = np.zeros(x.shape)
    for r in range(n):
        for c in range(x.shape[1]):
            if x[r, c]:
                out[r, c] = math.log((1 + n) / (1 + counts[c])) + 1
                if bm25:
                    out[r, c] *= 2.2 / (1 + 1.2 * (1 - 0.75 + 0.75 * lengths[r] / lengths.mean()))
    return out
