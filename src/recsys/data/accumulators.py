"""What an encoder learns of a column, gathered over pieces of it and then made a column without rows."""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from recsys.data.columns import Column, Kind
from recsys.data.encoders import Categories, Numbers, bin_starts, quantiles
from recsys.data.hashing import mixed
from recsys.data.vocabulary import Vocabulary
from recsys.errors import DataError

MAX_CATEGORIES = 10_000_000
"""Distinct categories that are counted at a time, of a column that is not held as a whole."""
SAMPLE = 1_000_000
"""Numbers of which the quantiles of such a column are taken."""
PENDING = 1 << 16
"""Distinct values of single pieces that are gathered before they are made one, at least."""


class CategoryCounts:
    """How often each category of a column occurs, and whether any is missing.

    Held are the distinct categories alone; with `hash_buckets` nothing is. Beyond `limit` distinct ones a column with
    `min_count` above 1 forgets its rarest, as in Manku & Motwani, "Approximate Frequency Counts over Data Streams",
    VLDB 2002: a count is then too small by at most `lost`, which stays below `min_count`. Where that cannot be, and
    for any other column, more are refused.
    """

    def __init__(self, name: str, kind: Kind, encoder: Categories | None, limit: int | None = None):
        self.name, self.kind, self.encoder, self.limit = name, kind, encoder, limit
        self.min_count = 1 if encoder is None else encoder.min_count
        self.strings: bool | None = None
        self.values: NDArray[Any] = np.empty(0, np.int64)
        self.counts = np.empty(0, np.int64)
        self.parts: list[tuple[NDArray[Any], NDArray[np.int64]]] = []
        self.pending = self.n_missing = self.lost = 0
        self.rare = False

    def add(self, distinct: NDArray[Any], places: NDArray[np.integer]) -> None:
        """Take in a piece: its distinct categories, integers or objects that are strings, and each row's place there.

        Place -1 is missing.
        """
        counts = np.bincount(places + 1, minlength=len(distinct) + 1)
        self.n_missing += int(counts[0])
        if len(distinct) == 0:
            return
        strings = distinct.dtype == object
        if self.strings is not None and self.strings != strings:
            raise DataError(f"column {self.name!r} holds integers in one place and strings in another; give one type")
        self.strings = strings
        if self.encoder is not None and self.encoder.hash_buckets is not None:
            return
        self.parts.append((distinct, counts[1:]))
        self.pending += len(distinct)
        # Only once as much is new as was known, so that every value is gone over a logarithmic number of times.
        if self.pending > max(len(self.values), PENDING if self.limit is None else min(self.limit, PENDING)):
            self._merge()

    def _merge(self) -> None:
        pieces = [*([(self.values, self.counts)] if len(self.values) else []), *self.parts]
        if len(pieces) == 1:
            self.values, self.counts = pieces[0]
        elif pieces:
            places, values = pd.factorize(np.concatenate([values for values, _ in pieces]))
            # In floats, which are exact up to 2^53 rows.
            self.counts = np.bincount(places, np.concatenate([counts for _, counts in pieces])).astype(np.int64)
            self.values = np.asarray(values)
        self.parts, self.pending = [], 0
        self._forget()

    def _forget(self) -> None:
        """Bring the distinct categories below the limit."""
        if self.limit is None or len(self.values) <= self.limit:
            return
        if self.min_count == 1:
            raise DataError(
                f"column {self.name!r} holds more than {self.limit:,} distinct categories; give it "
                "Categories(hash_buckets=...), or Categories(min_count=...) to leave out the rare ones"
            )
        # Half of the room is made free, so that this is not done at every piece.
        at = len(self.counts) - max(self.limit // 2, 1)
        level = int(np.partition(self.counts, at)[at])
        self.lost += level
        if self.lost >= self.min_count:
            raise DataError(
                f"column {self.name!r} holds too many distinct categories to count those of {self.min_count} rows among "
                f"{self.limit:,} at a time; give it Categories(hash_buckets=...), or a larger min_count"
            )
        kept = self.counts > level
        self.values, self.counts, self.rare = self.values[kept], self.counts[kept], True

    def finish(self) -> Column:
        """The column without rows, which holds what it takes to encode some."""
        self._merge()
        frequent = self.counts >= self.min_count
        none = np.empty(0, object if self.strings else np.int64)
        vocabulary = Vocabulary.of(self.values[frequent]) if frequent.any() else Vocabulary(none)
        unknown = self.rare or not bool(frequent.all())
        missing = self.n_missing > 0 and (self.encoder is None or self.encoder.missing == "own")
        return Column(
            self.name,
            self.kind,
            vocabulary,
            np.empty(0, np.int64),
            np.zeros(1, np.int64) if self.kind == "tags" else None,
            encoder=self.encoder,
            unknown=unknown,
            missing=missing and self.kind == "categorical",
            absent=np.empty(0, bool) if self.kind == "categorical" and (unknown or missing) else None,
        )


class NumberSummary:
    """Mean, deviation and quantiles of a column of numbers, and whether any is missing.

    Means are merged as in Chan, Golub & LeVeque, "Updating Formulae and a Pairwise Algorithm for Computing Sample
    Variances", 1979. Quantiles are exact up to `limit` numbers, and beyond it those of a uniform sample of so many: the
    rows whose numbers have the smallest hashes, which are the same whatever the pieces.
    """

    def __init__(self, name: str, encoder: Numbers | None, limit: int | None = None):
        self.name, self.limit = name, limit
        self.encoder = encoder
        self.n_rows = self.n_known = self.n_summed = 0
        self.mean = self.squares = 0.0
        self.sample, self.keys = np.empty(0), np.empty(0, np.uint64)

    def add(self, values: NDArray[np.float64]) -> None:
        """Take in a piece (n,), NaN where a number is missing."""
        there = ~np.isnan(values)
        rows = np.flatnonzero(there) + self.n_rows
        self.n_rows += len(values)
        self.n_known += len(rows)
        if len(rows) == 0:
            return
        if self.encoder is not None and self.encoder.by_rank:
            self._sample(values[there], rows)
        if self.encoder is None or self.encoder.transform == "standardize":
            self._merge(values[there])

    def _merge(self, known: NDArray[np.float64]) -> None:
        # Sums in ascending order: the order of the rows must not reach the last bit of the mean.
        known = np.sort(known)
        mean, n = float(known.mean()), self.n_summed + len(known)
        step = mean - self.mean
        self.squares += float(np.square(known - mean).sum()) + step * step * self.n_summed * len(known) / n
        self.mean += step * (len(known) / n)
        self.n_summed = n

    def _sample(self, known: NDArray[np.float64], rows: NDArray[np.int64]) -> None:
        self.sample = np.concatenate([self.sample, known])
        if self.limit is None:
            return
        self.keys = np.concatenate([self.keys, mixed(rows.astype(np.uint64))])
        if len(self.keys) > self.limit:
            kept = np.argpartition(self.keys, self.limit - 1)[: self.limit]
            self.sample, self.keys = self.sample[kept], self.keys[kept]

    def finish(self) -> Column:
        """The column without rows, which holds what it takes to encode some."""
        encoder, mean, scale, cuts = self.encoder, 0.0, 1.0, None
        binned = encoder is not None and encoder.transform == "buckets"
        if encoder is None or encoder.transform == "standardize":
            mean, scale = self.mean, float(np.sqrt(self.squares / max(self.n_summed, 1))) or 1.0
        elif encoder.by_rank:
            ascending = np.sort(self.sample) if len(self.sample) else np.zeros(1)
            cuts = (bin_starts if binned else quantiles)(ascending, encoder.n_bins)
        missing = self.n_rows > self.n_known and (encoder is None or encoder.missing == "own")
        return Column(
            self.name,
            "categorical" if binned else "numeric",
            codes=np.empty(0, np.int64) if binned else None,
            values=None if binned else np.empty(0, np.float32),
            mean=mean,
            scale=scale,
            encoder=encoder,
            quantiles=cuts,
            missing=missing,
            absent=np.empty(0, bool) if missing else None,
        )
