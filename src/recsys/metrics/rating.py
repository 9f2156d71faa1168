"""Metrics of predicted ratings."""

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from recsys.errors import DataError

Average = Literal["pairs", "users"]


def columns(true: ArrayLike, predicted: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Both as float64 (n,), of one length, without NaN."""
    y, p = np.asarray(true, np.float64), np.asarray(predicted, np.float64)
    if y.shape != p.shape or y.ndim != 1 or len(y) == 0:
        raise DataError(f"true values {y.shape} and predictions {p.shape} must be of one length, at least 1")
    for name, values in (("true values", y), ("predictions", p)):
        wrong = ~np.isfinite(values)
        if wrong.any():
            raise DataError(f"{int(wrong.sum())} {name} are NaN or infinite, first in row {int(np.argmax(wrong))}")
    return y, p


def user_rows(users: ArrayLike | None, n_rows: int) -> NDArray[np.int64]:
    """Users of the rows, (n,), in codes 0, 1, ..."""
    if users is None:
        raise DataError("a figure by user needs the users of the rows; pass users=...")
    codes = np.unique(np.asarray(users), return_inverse=True)[1]
    if codes.shape != (n_rows,):
        raise DataError(f"users {codes.shape} and rows ({n_rows},) must be of one length")
    return codes


def rmse(true: ArrayLike, predicted: ArrayLike, users: ArrayLike | None = None, *, average: Average = "pairs") -> float:
    """Root of the mean squared error over all pairs (n,); `average="users"` is the mean of each user's own root."""
    y, p = columns(true, predicted)
    squares = (y - p) ** 2
    return float(np.sqrt(squares.mean()) if average == "pairs" else np.sqrt(_user_means(squares, users)).mean())


def mae(true: ArrayLike, predicted: ArrayLike, users: ArrayLike | None = None, *, average: Average = "pairs") -> float:
    """Mean absolute error over all pairs (n,); `average="users"` is the mean of the users' means."""
    y, p = columns(true, predicted)
    distances = np.abs(y - p)
    return float(distances.mean() if average == "pairs" else _user_means(distances, users).mean())


def fcp(true: ArrayLike, predicted: ArrayLike, users: ArrayLike) -> float:
    """Concordant / (concordant + discordant) pairs of a user's rows, counted over all users; NaN where there are none.

    A pair that is equal in truth or in prediction is neither. O(n^2) for a user of n rows.
    """
    y, p = columns(true, predicted)
    codes = user_rows(users, len(y))
    order = np.argsort(codes, kind="stable")
    concordant = discordant = 0
    for rows in np.split(order, np.cumsum(np.bincount(codes))[:-1]):
        agree = np.sign(np.subtract.outer(y[rows], y[rows])) * np.sign(np.subtract.outer(p[rows], p[rows]))
        concordant += int((agree > 0).sum())
        discordant += int((agree < 0).sum())
    return concordant / (concordant + discordant) if concordant + discordant else float("nan")


def _user_means(values: NDArray[np.float64], users: ArrayLike | None) -> NDArray[np.float64]:
    codes = user_rows(users, len(values))
    return np.bincount(codes, values) / np.bincount(codes)
