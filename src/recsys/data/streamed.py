"""Rows that stay in their Parquet files: read and encoded a piece at a time, as often as they are asked for."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NoReturn

import narwhals as nw
import numpy as np
from numpy.typing import NDArray

from recsys.data.columns import Column, Features
from recsys.data.features import codes_of, encode_numbers
from recsys.data.histories import Histories
from recsys.data.parquet import ParquetTable, Piece, arrow
from recsys.data.roles import Roles
from recsys.data.scan import Scan, coded, to_floats, to_ids
from recsys.data.vocabulary import Vocabulary
from recsys.errors import ParameterError, UnsupportedError
from recsys.kernels.lookup import TextTable

CHUNK_ROWS = 16_384
"""Rows that are handed out at a time."""
ROLES = ("rating", "label", "weight")
WAY_OUT = "rows that fit into memory can be read into a frame for Dataset"


@dataclass(frozen=True)
class Rows:
    """Some encoded rows, under the names that they have in a `Dataset`; each (n,), or None without the role."""

    user_codes: NDArray[np.int32] | None
    item_codes: NDArray[np.int32] | None
    ratings: NDArray[np.float32] | None
    labels: NDArray[np.float32] | None
    weights: NDArray[np.float32] | None
    context: Features | None
    n_rows: int

    def __len__(self) -> int:
        return self.n_rows

    def cut(self, rows: slice) -> "Rows":
        """Consecutive rows, as views."""
        columns = (self.user_codes, self.item_codes, self.ratings, self.labels, self.weights)
        context = None if self.context is None else tuple(cut_column(one, rows) for one in self.context.columns)
        n_rows = len(range(self.n_rows)[rows])
        return Rows(
            *(None if values is None else values[rows] for values in columns),  # type: ignore[arg-type]
            context=None if context is None else Features(context, n_rows),
            n_rows=n_rows,
        )


class RowStream:
    """The encoded rows of Parquet files, with what one pass over them found.

    `ids` are the distinct users and items that the files name, `context` the columns without rows, `ranges` the mean,
    the least and the largest number of each role there is: "rating", "label", "weight". Texts of vocabularies are
    hashed at the first rows, in their bytes and 16 to 32 more each.
    """

    def __init__(self, table: ParquetTable, roles: Roles):
        self.table, self.roles = table, roles
        found = Scan(table, roles)
        self.names, self.ids = found.names, found.ids
        self.context = Features(found.context, 0) if found.context else None
        self._tables: dict[str, TextTable] = {}
        self.ranges = {role: (one.summary.mean, one.low, one.high) for role, one in found.values.items()}

    def __len__(self) -> int:
        return sum(piece.n_rows for piece in self.table.shard_pieces)

    def rows(self, piece: Piece, users: Vocabulary | None, items: Vocabulary | None) -> Iterator[Rows]:
        """Encoded rows of a piece, at most `CHUNK_ROWS` at a time."""
        table = self.table.read(piece, self.names)
        named = [getattr(self.roles, f"{role}_col") for role in ROLES]
        values = [None if name is None else to_floats(table.column(name)).astype(np.float32) for name in named]
        both = ((self.roles.user_col, users), (self.roles.item_col, items))
        codes = [self._encode(table, name, known) for name, known in both if known is not None]
        context = None
        if self.context is not None:
            columns = (self._column(table, column) for column in self.context.columns)
            context = Features(tuple(columns), piece.n_rows)
        rows = Rows(*(codes or (None, None)), *values, context, piece.n_rows)  # type: ignore[arg-type]
        for start in range(0, piece.n_rows, CHUNK_ROWS):
            yield rows.cut(slice(start, start + CHUNK_ROWS))

    def pairs(self, users: Vocabulary, items: Vocabulary) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Distinct pairs of users and items over all files, by user, then item; with labels, of rows labeled 1.

        8 bytes a row are held while they are read and up to 24 bytes a row at the end.
        """
        keys, filled = np.empty(self.table.n_rows, np.int64), 0
        label = self.roles.label_col
        names = [self.roles.user_col, self.roles.item_col, *([label] if label is not None else [])]
        for piece in self.table.pieces:
            table = self.table.read(piece, list(dict.fromkeys(names)))
            found = self._encode(table, names[0], users) * np.int64(len(items)) + self._encode(table, names[1], items)
            found = found if label is None else found[to_floats(table.column(label)) == 1]
            keys[filled : filled + len(found)] = found
            filled += len(found)
        keys = keys[:filled]
        keys.sort()
        keys = keys[np.append(True, keys[1:] != keys[:-1])[:filled]]
        return keys // len(items), keys % len(items)

    def _encode(self, table: Any, name: str, vocabulary: Vocabulary) -> NDArray[np.int32]:
        """Codes of ids or categories of a piece (n,); only the distinct ones are looked up."""
        values, places = coded(table.column(name))
        if vocabulary.kind == "strings":
            if name not in self._tables:
                self._tables[name] = TextTable(*texts(arrow().array(vocabulary.ids, arrow().large_string())))
            return spread(self._tables[name].find(*texts(values)), places)
        return spread(vocabulary.encode(to_ids(values)), places)

    def _column(self, table: Any, like: Column) -> Column:
        """A context column of a piece, encoded by what the pass over all of them found."""
        column = table.column(like.name)
        if like.source == "numeric":
            floats = arrow().chunked_array([to_floats(column)])
            return encode_numbers(nw.from_native(floats, series_only=True), like.name, like, None)
        if like.vocabulary is not None and len(like.vocabulary) == like.size:
            codes = self._encode(table, like.name, like.vocabulary)
        else:
            values, places = coded(column)
            codes = spread(codes_of(to_ids(values), like), places)
        absent = None if like.absent is None else column.is_null().to_numpy()
        return replace(like, codes=codes, absent=absent)

    @cached_property
    def fingerprint(self) -> bytes:
        """Digest of the files' footers, which hold places, sizes and ranges of all columns, and of the roles and shard."""
        roles = [getattr(self.roles, f"{role}_col") for role in ("user", "item", *ROLES)]
        encoders = sorted((name, repr(one)) for name, one in self.roles.encoders.items())
        settings = [roles, self.roles.context_cols, self.roles.numeric_cols, encoders, self.table.shard]
        digest = hashlib.sha256(json.dumps(settings).encode())
        for file in self.table.files:
            digest.update(file.footer_bytes())
        return digest.digest()


class StreamedRows:
    """The half of a streamed data set that stands in for rows in memory: it counts them, and refuses to hold them."""

    stream: RowStream
    users: Any
    items: Any

    def __len__(self) -> int:
        return len(self.stream)

    def rows(self, piece: Piece) -> Iterator[Rows]:
        """Encoded rows of one of `stream.table.shard_pieces`, some ten thousand at a time."""
        return self.stream.rows(piece, self.users, self.items)

    @property
    def no_rows(self) -> Rows:
        """Rows as those of `rows`, none of them."""
        codes = None if self.users is None else np.empty(0, np.int32)
        values = (np.empty(0, np.float32) if role in self.stream.ranges else None for role in ROLES)
        return Rows(codes, codes, *values, self.stream.context, 0)  # type: ignore[arg-type]

    @cached_property
    def seen(self) -> Histories:
        """Each user's distinct items in ascending order, without times or values; read once more, when first asked for.

        Up to 24 bytes a row are held while it is made and 8 bytes a distinct pair afterwards.
        """
        users, items = self.stream.pairs(self.users, self.items)
        indptr = np.zeros(len(self.users) + 1, np.int64)
        np.cumsum(np.bincount(users, minlength=len(self.users)), out=indptr[1:])
        return Histories(indptr, items)

    @property
    def user_codes(self) -> Any:
        """Refused, as everything that would hold all rows."""
        self._refuse("user_codes")

    @property
    def item_codes(self) -> Any:
        """Refused."""
        self._refuse("item_codes")

    @property
    def positive(self) -> Any:
        """Refused."""
        self._refuse("positive")

    def histories(self, *, events: bool = False) -> Any:
        """Refused: in the order of time, histories would take all rows."""
        self._refuse("histories()")

    def to_csr(self, values: Any = "ones") -> Any:
        """Refused."""
        self._refuse("to_csr()")

    def to_frame(self) -> Any:
        """Refused."""
        self._refuse("to_frame()")

    def subset(self, rows: Any) -> Any:
        """Refused."""
        self._refuse("subset()")

    def filter(self, *, min_user_interactions: int = 1, min_item_interactions: int = 1) -> Any:
        """Refused."""
        self._refuse("filter()")

    def report(self) -> Any:
        """Refused."""
        self._refuse("report()")

    def _refuse(self, what: str) -> NoReturn:
        raise UnsupportedError(f"a Dataset.from_parquet holds no rows, so it has no {what}; {WAY_OUT}")


def check_buffer(size: object) -> int:
    """A number of rows for the shuffle buffer."""
    if isinstance(size, bool) or not isinstance(size, int | np.integer) or size < 0:
        raise ParameterError(
            f"Dataset.from_parquet: shuffle_buffer={size!r} is not allowed; give a number of rows, 0 to keep their order"
        )
    return int(size)


# -- encoding ----------------------------------------------------------------------------------------------------------


def texts(values: Any) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Bytes of texts one after the other, and where each begins (D + 1,)."""
    values = values.cast(arrow().large_string())
    if len(values) == 0:
        return np.empty(0, np.uint8), np.zeros(1, np.int64)
    _, offsets, text = values.buffers()
    starts = np.frombuffer(offsets, np.int64)[values.offset : values.offset + len(values) + 1]
    return np.frombuffer(text or b"", np.uint8), starts


def spread(codes: NDArray[np.int64], places: NDArray[np.int32]) -> NDArray[np.int32]:
    """Codes of the rows (n,) from those of distinct values (D,)."""
    # One more code, the last, is where place -1 points: missing.
    return np.append(codes, -1).astype(np.int32)[places]


def cut_column(column: Column, rows: slice) -> Column:
    """Consecutive rows of a column of categories or numbers, as a view."""
    codes, values, absent = (None if one is None else one[rows] for one in (column.codes, column.values, column.absent))
    return replace(column, codes=codes, values=values, absent=absent)
