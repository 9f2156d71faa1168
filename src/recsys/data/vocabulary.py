"""Ids and their codes."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from recsys.data import frames
from recsys.errors import DataError


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """Distinct ids in ascending order; an id's code is its place. Integers keep their dtype, strings are Python strings."""

    ids: NDArray[Any]

    @classmethod
    def of(cls, *arrays: NDArray[Any]) -> "Vocabulary":
        """The union of arrays of clean ids of one kind."""
        given = [array for array in arrays if len(array)]
        if not given:
            return cls(np.empty(0, np.int64))
        if given[0].dtype == object:
            return cls(np.array(sorted(set().union(*(set(pd.unique(array)) for array in given))), dtype=object))
        return cls(np.sort(pd.unique(np.concatenate(given))))

    def __len__(self) -> int:
        return len(self.ids)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and len(self) == len(other) and bool(np.all(self.ids == other.ids))

    __hash__ = None  # type: ignore[assignment]

    @cached_property
    def _index(self) -> pd.Index:
        return pd.Index(self.ids)

    @property
    def kind(self) -> str:
        """ "strings" or "integers"."""
        return "strings" if self.ids.dtype == object else "integers"

    def encode(self, ids: Any) -> NDArray[np.int64]:
        """Codes of ids (n,), -1 where unknown; ids of the other kind raise a `DataError`."""
        array = ids if isinstance(ids, np.ndarray) else frames.to_array(ids) if isinstance(ids, nw.Series) else np.asarray(ids)
        if array.dtype.kind in "UT":
            array = array.astype(object)
        if len(array) == 0 or len(self) == 0:
            return np.full(len(array), -1, np.int64)
        given = "strings" if array.dtype == object and isinstance(array[0], str) else "integers"
        if array.dtype.kind not in "iuO" or given != self.kind:
            raise DataError(f"the known ids are {self.kind}, such as {self.ids[0]!r}; got {array.dtype} such as {array[0]!r}")
        return self._index.get_indexer(pd.Index(array)).astype(np.int64)

    def decode(self, codes: NDArray[np.integer]) -> NDArray[Any]:
        """Ids of codes, in the dtype they had."""
        return self.ids[codes]


def read_ids(series: nw.Series[Any], name: str) -> NDArray[Any]:
    """A column of ids, all integers or all strings, none missing."""
    array = frames.to_array(series)
    if array.dtype.kind in "iu":
        return array
    if array.dtype.kind == "f":
        raise DataError(
            f"column {name!r} holds floats, which are no ids (missing ids turn integers into floats); first missing or "
            f"fractional row: {first_bad_float(array)}; drop missing rows and cast to an integer"
        )
    if array.dtype != object:
        raise DataError(f"column {name!r} holds {series.dtype}; ids are integers or strings")
    frames.refuse(np.fromiter((frames.missing(v) for v in array), bool, len(array)), array, name, "missing ids")
    kinds = np.fromiter((isinstance(v, str) for v in array), bool, len(array))
    integers = np.fromiter((isinstance(v, int | np.integer) and not isinstance(v, bool) for v in array), bool, len(array))
    frames.refuse(~(kinds | integers), array, name, "ids that are neither integers nor strings")
    if kinds.any() and not kinds.all():
        frames.refuse(kinds != kinds[0], array, name, "ids of another type than the first row's (strings beside integers)")
    return array if kinds.all() else array.astype(np.int64)


def first_bad_float(array: NDArray[np.floating]) -> str:
    """The first row that keeps floats from being integers, in words."""
    bad = ~np.isfinite(array) | (array != np.floor(array))
    return f"{int(np.argmax(bad))} ({int(bad.sum())} in all)" if bad.any() else "none, every value is whole"
