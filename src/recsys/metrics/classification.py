"""Metrics of predicted probabilities (n,) of a 0/1 label (n,)."""

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from recsys.errors import DataError, ParameterError
from recsys.metrics.rating import columns, user_rows


def labeled(labels: ArrayLike, predicted: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Both as float64 (n,); labels other than 0 and 1 are refused."""
    y, p = columns(labels, predicted)
    wrong = (y != 0) & (y != 1)
    if wrong.any():
        raise DataError(f"{int(wrong.sum())} labels are neither 0 nor 1, first in row {int(np.argmax(wrong))}")
    return y, p


def probable(labels: ArrayLike, predicted: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Labels and probabilities; predictions outside [0, 1] are refused."""
    y, p = labeled(labels, predicted)
    wrong = (p < 0) | (p > 1)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise DataError(f"{int(wrong.sum())} predictions are no probabilities, first {p[row]:g} in row {row}")
    return y, p


def logloss(labels: ArrayLike, predicted: ArrayLike, *, eps: float = 1e-7) -> float:
    """-mean(y ln p + (1 - y) ln(1 - p)), p clipped to [eps, 1 - eps]."""
    y, p = probable(labels, predicted)
    p = np.clip(p, eps, 1 - eps)
    return float(-np.mean(y * np.log(p) + (1 - y) * np.log1p(-p)))


def auc(labels: ArrayLike, predicted: ArrayLike) -> float:
    """P(score of a positive row > score of a negative one), a tie counts half; NaN where one class is missing."""
    y, p = labeled(labels, predicted)
    return float(group_auc(y, p, np.zeros(len(y), np.int64))[0])


def gauc(
    labels: ArrayLike,
    predicted: ArrayLike,
    users: ArrayLike,
    *,
    weight: Literal["impressions", "positives", "equal"] = "impressions",
) -> float:
    """sum_u w_u AUC_u / sum_u w_u over the users who have both classes; NaN if nobody has.

    w_u is the number of the user's rows, or of the positive ones, or 1.
    """
    y, p = labeled(labels, predicted)
    codes = user_rows(users, len(y))
    figures = group_auc(y, p, codes)
    by = {
        "impressions": np.bincount(codes).astype(np.float64),
        "positives": np.bincount(codes, y),
        "equal": np.ones(len(figures)),
    }[weight]
    both = ~np.isnan(figures)
    return float(np.average(figures[both], weights=by[both])) if both.any() else float("nan")


def brier(labels: ArrayLike, predicted: ArrayLike) -> float:
    """Mean squared distance of the probability from the label."""
    y, p = probable(labels, predicted)
    return float(np.mean((y - p) ** 2))


def ece(labels: ArrayLike, predicted: ArrayLike, *, bins: int = 10) -> float:
    """Expected calibration error: |mean label - mean probability| of equal-width bins, weighted by their rows."""
    y, p = probable(labels, predicted)
    if bins < 1:
        raise ParameterError(f"bins={bins} is not allowed; give at least 1")
    place: NDArray[np.int64] = np.minimum((p * bins).astype(np.int64), bins - 1)
    gap = np.abs(np.bincount(place, y, bins) - np.bincount(place, p, bins))
    return float(gap.sum() / len(y))


def group_auc(y: NDArray[np.float64], p: NDArray[np.float64], groups: NDArray[np.int64]) -> NDArray[np.float64]:
    """AUC within each of groups 0, 1, ... (G,), NaN where one has a single class.

    sum of the positives' ranks, equal scores sharing their mean rank, less n+ (n+ + 1) / 2, over n+ n-.
    """
    order = np.lexsort((p, groups))
    new = np.append(True, (np.diff(p[order]) != 0) | (np.diff(groups[order]) != 0))
    starts = np.flatnonzero(new)
    stops = np.append(starts[1:], len(p))
    mean_place = ((starts + stops + 1) / 2)[np.cumsum(new) - 1]
    sizes = np.bincount(groups)
    ranks = mean_place - (np.cumsum(sizes) - sizes)[groups[order]]
    positives = np.bincount(groups, y)
    above = np.bincount(groups[order], ranks * y[order]) - positives * (positives + 1) / 2
    pairs = positives * (sizes - positives)
    return np.divide(above, pairs, out=np.full(len(sizes), np.nan), where=pairs > 0)
