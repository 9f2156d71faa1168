"""Metrics of predicted probabilities of a 0/1 label."""

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

from recsys.metrics.rating import columns


def logloss(labels: ArrayLike, predicted: ArrayLike, *, eps: float = 1e-7) -> float:
    """-mean(y ln p + (1 - y) ln(1 - p)), p clipped to [eps, 1 - eps]."""
    y, p = columns(labels, predicted)
    p = np.clip(p, eps, 1 - eps)
    return float(-np.mean(y * np.log(p) + (1 - y) * np.log1p(-p)))


def auc(labels: ArrayLike, predicted: ArrayLike) -> float:
    """P(score of a positive > score of a negative), a tie counts half; NaN where one class is missing."""
    y, p = columns(labels, predicted)
    positives = np.count_nonzero(y == 1)
    negatives = len(y) - positives
    if positives == 0 or negatives == 0:
        return float("nan")
    ranks = rankdata(p)
    return float((ranks[y == 1].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def gauc(
    labels: ArrayLike,
    predicted: ArrayLike,
    users: ArrayLike,
    *,
    weight: Literal["impressions", "positives", "equal"] = "impressions",
) -> float:
    """Weighted mean over users of their AUC; users with one class are left out."""
    y, p = columns(labels, predicted)
    groups = np.asarray(users)
    order = np.argsort(groups, kind="stable")
    figures: list[float] = []
    weights: list[float] = []
    for rows in np.split(order, np.flatnonzero(groups[order][1:] != groups[order][:-1]) + 1):
        figures.append(auc(y[rows], p[rows]))
        weights.append({"impressions": len(rows), "positives": float(y[rows].sum()), "equal": 1.0}[weight])
    values, by = np.array(figures), np.array(weights)
    known = ~np.isnan(values)
    return float(np.average(values[known], weights=by[known])) if known.any() else float("nan")


def brier(labels: ArrayLike, predicted: ArrayLike) -> float:
    """Mean squared distance of the probability from the label."""
    y, p = columns(labels, predicted)
    return float(np.mean((y - p) ** 2))


def ece(labels: ArrayLike, predicted: ArrayLike, *, bins: int = 10) -> float:
    """Expected calibration error: |mean label - mean probability| of equal-width bins, weighted by their rows."""
    y, p = columns(labels, predicted)
    place: NDArray[np.int64] = np.minimum((p * bins).astype(np.int64), bins - 1)
    gap = np.abs(np.bincount(place, y, bins) - np.bincount(place, p, bins))
    return float(gap.sum() / len(y))
