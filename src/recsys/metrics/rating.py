"""Metrics of predicted ratings."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from recsys.errors import DataError


def columns(true: ArrayLike, predicted: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Both as float64 (n,), of one length, without NaN."""
    y, p = np.asarray(true, np.float64), np.asarray(predicted, np.float64)
    if y.shape != p.shape or y.ndim != 1 or len(y) == 0:
        raise DataError(f"true values {y.shape} and predictions {p.shape} must be of one length, at least 1")
    if not (np.isfinite(y).all() and np.isfinite(p).all()):
        raise DataError("true values or predictions are NaN or infinite")
    return y, p


def rmse(true: ArrayLike, predicted: ArrayLike) -> float:
    """Root of the mean squared error over all pairs."""
    y, p = columns(true, predicted)
    return float(np.sqrt(np.mean((y - p) ** 2)))


def mae(true: ArrayLike, predicted: ArrayLike) -> float:
    """Mean absolute error over all pairs."""
    y, p = columns(true, predicted)
    return float(np.mean(np.abs(y - p)))


def fcp(true: ArrayLike, predicted: ArrayLike, users: ArrayLike) -> float:
    """Concordant / (concordant + discordant) pairs within a user, over all users; NaN where there are none."""
    y, p = columns(true, predicted)
    groups = np.asarray(users)
    order = np.argsort(groups, kind="stable")
    concordant = discordant = 0
    for rows in np.split(order, np.flatnonzero(np.diff(groups[order])) + 1):
        agree = np.sign(np.subtract.outer(y[rows], y[rows])) * np.sign(np.subtract.outer(p[rows], p[rows]))
        concordant += int((agree > 0).sum())
        discordant += int((agree < 0).sum())
    return concordant / (concordant + discordant) if concordant + discordant else float("nan")
