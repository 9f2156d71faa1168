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

KINDS = {"string": "strings", "integer": "integers", "boolean": "booleans", "floating": "floats"}


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """Distinct ids; an id's code is its place. They ascend, but for those that a model learned later.

    Integers keep their dtype, strings are Python strings in an object array.
    """

    ids: NDArray[Any]

    @classmethod
    def of(cls, *arrays: NDArray[Any]) -> "Vocabulary":
        """The union of arrays of clean ids of one kind."""
        distinct = [np.asarray(pd.unique(array)) for array in arrays if len(array)]
        if not distinct:
            return cls(np.empty(0, np.int64))
        if len({array.dtype == object for array in distinct}) > 1:
            raise DataError("ids are integers in one place and strings in another; give one type")
        if distinct[0].dtype != object and np.result_type(*distinct).kind not in "iu":
            # NumPy joins uint64 and signed integers as floats, which cannot tell large ids apart.
            distinct = [as_signed(array) for array in distinct]
        return cls(np.sort(pd.unique(np.concatenate(distinct))))

    def grown(self, more: "Vocabulary") -> "Vocabulary":
        """The known ids, each with its code, and after them the new ones of another vocabulary."""
        new = more.ids[self.encode(more.ids) < 0]
        if len(new) == 0:
            return self
        if np.array_equal(new.astype(self.ids.dtype), new):
            new = new.astype(self.ids.dtype)
        elif np.result_type(new, self.ids).kind not in "iu":
            return Vocabulary(np.concatenate([as_signed(self.ids), as_signed(new)]))
        return Vocabulary(np.concatenate([self.ids, new]))

    def __len__(self) -> int:
        return len(self.ids)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and len(self) == len(other) and bool(np.all(self.ids == other.ids))

    __hash__ = None  # type: ignore[assignment]

    @cached_property
    def _index(self) -> pd.Index:
        return pd.Index(self.ids, dtype=self.ids.dtype)

    @property
    def kind(self) -> str:
        """ "strings" or "integers"."""
        return "strings" if self.ids.dtype == object else "integers"

    def encode(self, ids: Any) -> NDArray[np.int64]:
        """Codes of ids (n,), -1 where unknown or missing; ids of the other kind raise a `DataError`."""
        array = as_array(ids)
        if len(array) == 1 and kind_of(array) == self.kind:
            # One user's list is waited for, and what follows takes ten times as long as this.
            return np.array([self._place(array.item())])
        codes = np.full(len(array), -1, np.int64)
        known = ~np.asarray(pd.isna(array)) if array.dtype == object else np.ones(len(array), bool)
        array = array[known]
        if len(array) == 0 or len(self) == 0:
            return codes
        given = kind_of(array)
        if given != self.kind:
            example, first = frames.show(self.ids[0]), frames.show(array[0])
            raise DataError(f"the known ids are {self.kind}, such as {example}; got {given}, such as {first}")
        if given == "integers" and array.dtype == object:
            array = np.asarray(array.tolist())
        if given == "strings":
            # One pass of hashing, then a look-up of the distinct ones: strings are slow to compare.
            places, distinct = pd.factorize(array)
            codes[known] = self._places(np.asarray(distinct))[places]
            return codes
        codes[known] = self._places(array)
        return codes

    def _places(self, ids: NDArray[Any]) -> NDArray[np.int64]:
        if ids.dtype.kind not in "iu" or ids.dtype == self.ids.dtype:
            return self._places_of_own(ids)
        # Of another integer type the whole index would be cast, at every call; an id that does not fit is not known.
        cast = ids.astype(self.ids.dtype)
        places = self._places_of_own(cast)
        places[(cast != ids) | ((cast < 0) != (ids < 0))] = -1
        return places

    def _places_of_own(self, ids: NDArray[Any]) -> NDArray[np.int64]:
        """Places of ids of the known ones' type."""
        return self._index.get_indexer(pd.Index(ids, dtype=ids.dtype))

    def _place(self, one: int | str) -> int:
        """Place of an id of the known ones' kind."""
        try:
            return int(self._index.get_loc(one))
        except KeyError:
            return -1

    def decode(self, codes: NDArray[np.integer]) -> NDArray[Any]:
        """Ids of codes, in the dtype they had."""
        return self.ids[codes]


def as_array(ids: Any) -> NDArray[Any]:
    """Ids given as a list, an array or a series of any library, as an array of numbers or objects."""
    if isinstance(ids, nw.Series):
        return frames.to_array(ids)
    # NumPy would turn a list of 1 and "a" into two strings.
    array = np.array(ids, dtype=object) if isinstance(ids, list | tuple) else np.asarray(ids)
    return array.astype(object) if array.dtype.kind in "UT" else array


def kind_of(array: NDArray[Any]) -> str:
    """What ids are, in words."""
    inferred = pd.api.types.infer_dtype(array, skipna=False)
    return KINDS.get(inferred, "mixed types" if inferred.startswith("mixed") else inferred)


def as_signed(array: NDArray[Any]) -> NDArray[np.int64]:
    """Integers as int64; unsigned ones beyond its range are refused."""
    if int(array.max()) > np.iinfo(np.int64).max:
        raise DataError(f"the id {int(array.max())} does not fit the signed integers of another frame; give one type")
    return array.astype(np.int64)


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
        raise DataError(f"column {name!r} holds {series.dtype}; ids are integers or strings, so cast it")
    frames.refuse(np.asarray(pd.isna(array)), array, name, "missing ids")
    inferred = pd.api.types.infer_dtype(array, skipna=False)
    if inferred in ("string", "empty"):
        return array
    if inferred != "integer":
        refuse_mixed(array, name)
    limits = np.iinfo(np.int64)
    large = np.fromiter((not limits.min <= value <= limits.max for value in array), bool, len(array))
    frames.refuse(large, array, name, "ids beyond the range of int64 (give them as strings)")
    return array.astype(np.int64)


def refuse_mixed(array: NDArray[Any], name: str) -> None:
    """Raise for ids that are not all integers or all strings, naming the first that is to blame."""
    strings = np.fromiter((isinstance(v, str) for v in array), bool, len(array))
    integers = np.fromiter(
        (isinstance(v, int | np.integer) and not isinstance(v, bool) for v in array), bool, len(array)
    )
    frames.refuse(~(strings | integers), array, name, "ids that are neither integers nor strings")
    other = "ids of another type than the first row's (strings beside integers)"
    frames.refuse(strings != strings[0], array, name, other)


def first_bad_float(array: NDArray[np.floating]) -> str:
    """The first row that keeps floats from being integers, in words."""
    bad = ~np.isfinite(array) | (array != np.floor(array))
    return f"{int(np.argmax(bad))} ({int(bad.sum())} in all)" if bad.any() else "none, every value is whole"
