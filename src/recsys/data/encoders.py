"""How columns become codes and numbers: what a caller can ask for, column by column."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from recsys.data import frames
from recsys.errors import DataError, ParameterError

Missing = Literal["own", "nothing"]
Transform = Literal["standardize", "log1p", "quantile", "powers", "buckets", "none"]
MAX_BUCKETS = 2**31 - 1
"""Buckets and bins are codes of tables: more rows than any of them can have is a slip."""


@dataclass(frozen=True)
class Categories:
    """A column of categories or tags: strings, booleans, integers and floats that are all whole.

    With `min_count` above 1, rarer categories share one code, and one that was not there at `fit` takes it too; without
    such a code it is nothing. With `hash_buckets` there is no vocabulary and no unknown category.
    """

    min_count: int = 1
    """Rows (or tags) of a category from which on it has a code of its own."""
    hash_buckets: int | None = None
    """Codes that a published hash shares out to any number of categories: `recsys.data.hashing` has its definition."""
    missing: Missing = "own"
    """"own": a code for missing values, where the column had any at `fit`; "nothing": they add nothing to a score."""

    def __post_init__(self):
        check_whole(self, "min_count", 1)
        if self.hash_buckets is not None:
            check_whole(self, "hash_buckets", 1)
            if self.min_count > 1:
                raise ParameterError(
                    f"Categories: min_count={self.min_count} counts categories and hash_buckets={self.hash_buckets} "
                    "knows none; give one of them"
                )
        check_choice(self, "missing", get_args(Missing))


@dataclass(frozen=True)
class Numbers:
    """A column of numbers: integers, booleans and floats.

    "standardize": (x - mean) / deviation. "log1p": log(1 + max(x, 0)). "none": x. "quantile": the share of the training
    data below x, by linear interpolation between `n_bins` + 1 quantiles, (i - 1) / (n - 1) at the i-th of n; a value
    that is several of them is in their middle, and x beyond the data is 0 or 1 (Cheng et al., "Wide & Deep Learning
    for Recommender Systems", DLRS 2016). "powers": that share, its square and its root (Covington et al., "Deep Neural
    Networks for YouTube Recommendations", RecSys 2016). "buckets": a category for each of up to `n_bins` bins of
    equally many training rows.
    """

    transform: Transform = "standardize"
    """What is done to a number."""
    n_bins: int = 100
    """Bins of "quantile", "powers" and "buckets"."""
    missing: Missing = "own"
    """"own": a code for missing numbers, where the column had any at `fit`; "nothing": they add nothing to a score."""

    def __post_init__(self):
        check_choice(self, "transform", get_args(Transform))
        check_whole(self, "n_bins", 2)
        check_choice(self, "missing", get_args(Missing))

    @property
    def by_rank(self) -> bool:
        """Whether the transform reads quantiles of the column."""
        return self.transform in ("quantile", "powers", "buckets")


Encoder = Categories | Numbers


def check_whole(encoder: Any, name: str, low: int) -> None:
    """Refuse anything but an integer from `low` to what a table can hold."""
    value = getattr(encoder, name)
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= MAX_BUCKETS:
        raise ParameterError(
            f"{type(encoder).__name__}: {name}={value!r} is no integer from {low} to {MAX_BUCKETS:,}; give one"
        )


def check_choice(encoder: Any, name: str, choices: Sequence[str]) -> None:
    """Refuse anything but one of the choices."""
    value = getattr(encoder, name)
    if value not in choices:
        listed = ", ".join(map(repr, choices))
        raise ParameterError(f"{type(encoder).__name__}: {name}={value!r} is none of {listed}")


def check_encoders(encoders: Mapping[str, Any], columns: Sequence[str], numeric_cols: Sequence[str]) -> None:
    """Refuse encoders of columns that there are not, that are no encoders, or that `numeric_cols` contradicts."""
    for name, encoder in encoders.items():
        if name not in columns:
            raise DataError(
                f"encoders: {name!r} is no column of the features and not among context_cols; there are "
                f"{frames.listed(columns)}"
            )
        if not isinstance(encoder, Encoder):
            raise DataError(f"encoders: {name!r} has {encoder!r}; give Categories(...) or Numbers(...) of recsys.data")
        if isinstance(encoder, Categories) and name in numeric_cols:
            raise DataError(f"column {name!r} has the encoder Categories and is among numeric_cols; choose one")


def quantiles(ascending: NDArray[np.float64], n_bins: int) -> NDArray[np.float64]:
    """Quantiles 0, 1 / n_bins, ..., 1 of n ascending numbers, (n_bins + 1,), by linear interpolation."""
    # In integers, so that a quantile that is one of the numbers is that number to the last bit.
    below, rest = np.divmod(np.arange(n_bins + 1) * (len(ascending) - 1), n_bins)
    low, high = ascending[below], ascending[np.minimum(below + 1, len(ascending) - 1)]
    return low + (high - low) * (rest / n_bins)


def ranks(values: NDArray[np.float64], quantiles: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share of the data below values (n,), in [0, 1], by linear interpolation between ascending quantiles."""
    distinct, first, ties = np.unique(quantiles, return_index=True, return_counts=True)
    return np.interp(values, distinct, (first + (ties - 1) / 2) / max(len(quantiles) - 1, 1))


def bin_starts(ascending: NDArray[np.float64], n_bins: int) -> NDArray[np.float64]:
    """First numbers of all bins but the first, when n ascending numbers are cut into bins of n / n_bins.

    Equal numbers are in one bin and every bin has one of the numbers, so that there can be fewer than `n_bins`.
    """
    n = len(ascending)
    starts = np.unique(ascending[np.minimum(-(-np.arange(1, n_bins) * n // n_bins), n - 1)])
    return starts[starts > ascending[0]]


def powers(share: NDArray[np.floating]) -> NDArray[np.floating]:
    """Shares x (n,) as x, x^2 and sqrt(x), (n, 3)."""
    return np.stack([share, share**2, np.sqrt(share)], 1)
