"""Interactions, their roles and features: where ids become codes."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from html import escape
from typing import Any, Literal

import narwhals as nw
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from recsys.data import frames
from recsys.data.encoders import Encoder, check_encoders
from recsys.data.features import Features, encode_column, encode_table, table_ids
from recsys.data.histories import Histories, taken
from recsys.data.parquet import ParquetTable, Paths
from recsys.data.report import Report, report
from recsys.data.roles import AUTO, STRANGE, Roles
from recsys.data.streamed import RowStream, StreamedRows, check_buffer
from recsys.data.vocabulary import Vocabulary, read_ids
from recsys.errors import DataError

Values = Literal["ones", "rating", "weight"]


class Dataset:
    """Interactions of users with items, and what is known of both.

    `interactions` is a pandas, polars or pyarrow frame. Columns with the names of roles take them: `user_id`,
    `item_id`, `rating` (an explicit value), `label` (0/1, a click), `weight` (a confidence), `timestamp`. Pass another
    name to rename a role and None to switch it off; `user_col=None, item_col=None` is pure field data, which can be
    predicted only. Context and feature columns are categories (strings, booleans, integers), numbers (floats and
    `numeric_cols`), tags (lists) or vectors (lists of floats of one length); `encoders` names columns that are to be
    encoded otherwise, by `Categories(...)` or `Numbers(...)`, fitted to this data. Ids are integers or strings. Ids that only
    a feature frame or `social` (the user column, `friend_id` and perhaps `weight`) names join the vocabularies.

    `session_col` says which of a user's events belong together; where a session is all that is known of anybody, it is
    the user: `user_col="session_id"`.

    Rows are held by user, then time, then item; without a timestamp a user's rows keep the frame's order. Wrong data
    raises a `DataError` that names the column, the count and the first row. The frames given are never changed.
    """

    def __init__(
        self,
        interactions: Any,
        *,
        user_col: str | None = "user_id",
        item_col: str | None = "item_id",
        rating_col: str | None = AUTO,
        label_col: str | None = AUTO,
        weight_col: str | None = AUTO,
        timestamp_col: str | None = AUTO,
        session_col: str | None = None,
        context_cols: Sequence[str] = (),
        numeric_cols: Sequence[str] = (),
        encoders: Mapping[str, Encoder] | None = None,
        user_features: Any = None,
        item_features: Any = None,
        social: Any = None,
    ):
        frame = frames.read(interactions)
        self.frame_kind = frames.kind_of(frame)
        if len(frame) == 0:
            raise DataError("the frame of interactions is empty; give at least one row")
        values = (rating_col, label_col, weight_col, timestamp_col)
        tables = (user_features, item_features, social)
        roles = Roles.find(frame.columns, (user_col, item_col), values, (context_cols, numeric_cols), tables)
        self.roles = replace(roles, session_col=session_col, encoders=dict(encoders or {}))
        self.user_col, self.item_col = user_col, item_col
        self._check_names()
        self._read_roles(frame)
        self._read_context(frame)
        self._read_ids(frame)
        self._sort(frame)

    @classmethod
    def from_parquet(
        cls,
        path: Paths,
        *,
        user_col: str | None = "user_id",
        item_col: str | None = "item_id",
        rating_col: str | None = AUTO,
        label_col: str | None = AUTO,
        weight_col: str | None = AUTO,
        timestamp_col: str | None = AUTO,
        context_cols: Sequence[str] = (),
        numeric_cols: Sequence[str] = (),
        encoders: Mapping[str, Encoder] | None = None,
        user_features: Any = None,
        item_features: Any = None,
        social: Any = None,
        shuffle_buffer: int = 262_144,
        shard: tuple[int, int] = (0, 1),
    ) -> "StreamedDataset":
        """Interactions that stay in Parquet files: a file, a folder, a pattern such as "clicks/*.parquet", or a list.

        Roles are as in `Dataset`. One pass over the columns that have one finds vocabularies, means and deviations; it
        holds the distinct values and one row group, and checks the rows as `Dataset` does. Timestamps are not read.
        Field models train from it: row groups in random order, then rows by a buffer of `shuffle_buffer` rows (0 keeps
        the order of the files). `shard=(rank, world)` trains on every `world`-th row group from the `rank`-th on; what
        the pass finds is of all rows. A context column cannot hold lists. What serves frames serves pandas ones.
        """
        table = ParquetTable(path, shard)
        values = (rating_col, label_col, weight_col, timestamp_col)
        tables = (user_features, item_features, social)
        roles = Roles.find(table.names, (user_col, item_col), values, (context_cols, numeric_cols), tables)
        return StreamedDataset(table, replace(roles, encoders=dict(encoders or {})), shuffle_buffer)

    # -- reading -----------------------------------------------------------------------------------------------------

    def _check_names(self) -> None:
        """Refuse what would be ignored without a word."""
        roles = self.roles
        tables = {"user_features": roles.user_features, "item_features": roles.item_features, "social": roles.social}
        given = [name for name, table in tables.items() if table is not None]
        if roles.user_col is None and given:
            raise DataError(f"{given[0]} needs users and items, and this data set has user_col=None, item_col=None")
        features = [name for table in list(tables.values())[:2] if table is not None for name in table.columns]
        unused = [name for name in roles.numeric_cols if name not in roles.context_cols and name not in features]
        if unused:
            raise DataError(
                f"numeric_cols: {unused[0]!r} is no column of the features and not among "
                f"context_cols={roles.context_cols!r}; name it there too"
            )
        columns = [*roles.context_cols, *(n for n in features if n not in (roles.user_col, roles.item_col))]
        check_encoders(roles.encoders, columns, roles.numeric_cols)

    def _read_roles(self, frame: nw.DataFrame[Any]) -> None:
        roles = self.roles
        found = {"rating": roles.rating_col, "label": roles.label_col, "weight": roles.weight_col}

        def role(name: str) -> NDArray[np.float32] | None:
            column = found[name]
            return None if column is None else frames.numbers(frames.column(frame, column, name), column, name)

        self.ratings, self.labels, self.weights = role("rating"), role("label"), role("weight")
        given = {"label": self.labels, "weight": self.weights}
        for one, what, test in STRANGE:
            values = given[one]
            if values is not None:
                frames.refuse(test(values), values, str(found[one]), what)
        name = roles.timestamp_col
        self.timestamps = None if name is None else read_times(frames.column(frame, name, "timestamp"), name)
        name = roles.session_col
        self.sessions = None if name is None else read_sessions(frames.column(frame, name, "sessions"), name)

    def _read_ids(self, frame: nw.DataFrame[Any]) -> None:
        roles = self.roles
        self.user_codes: NDArray[np.int64] | Any = None
        self.item_codes: NDArray[np.int64] | Any = None
        self._know_nothing()
        if roles.user_col is None or roles.item_col is None:
            return
        user_ids = read_ids(frames.column(frame, roles.user_col, "users"), roles.user_col)
        item_ids = read_ids(frames.column(frame, roles.item_col, "items"), roles.item_col)
        self._know(user_ids, item_ids)
        self.user_codes, self.item_codes = self.users.encode(user_ids), self.items.encode(item_ids)

    def _know_nothing(self) -> None:
        self.users: Vocabulary | Any = None
        self.items: Vocabulary | Any = None
        self.user_features: Features | None = None
        self.item_features: Features | None = None
        self.social_edges: NDArray[np.int64] | None = None
        self.social_weights: NDArray[np.float32] | None = None

    def _know(self, user_ids: NDArray[Any], item_ids: NDArray[Any]) -> None:
        """Vocabularies of these ids and of those that features and friends name; features in their order."""
        roles = self.roles
        user_col, item_col = str(roles.user_col), str(roles.item_col)
        social = None if roles.social is None else read_social(roles.social, user_col)
        self.users = union(user_col, user_ids, roles.user_features, *(social[:2] if social else ()))
        self.items = union(item_col, item_ids, roles.item_features)
        if roles.user_features is not None:
            self.user_features = encode_table(
                roles.user_features, user_col, self.users, roles.numeric_cols, roles.encoders
            )
        if roles.item_features is not None:
            self.item_features = encode_table(
                roles.item_features, item_col, self.items, roles.numeric_cols, roles.encoders
            )
        if social:
            self.social_edges = np.stack([self.users.encode(social[0]), self.users.encode(social[1])], 1)
            self.social_weights = social[2]

    def _sort(self, frame: nw.DataFrame[Any]) -> None:
        order = np.arange(len(frame))
        if self.user_codes is not None:
            order = held_order(self.user_codes, self.item_codes, self.timestamps)
            for name in ("user_codes", "item_codes", "ratings", "labels", "weights", "timestamps", "sessions"):
                values = getattr(self, name)
                setattr(self, name, None if values is None else values[order])
            self.context = None if self.context is None else self.context.take(order)
        # Rows are taken even where they are in order: the caller may change the frame later.
        self._frame = frame[order]

    def _read_context(self, frame: nw.DataFrame[Any]) -> None:
        numeric, names = self.roles.numeric_cols, self.roles.context_cols
        encoders = self.roles.encoders
        series = [frames.column(frame, name, "context") for name in names]
        columns = [encode_column(s, n, n in numeric, None, encoders.get(n)) for s, n in zip(series, names, strict=True)]
        self.context = Features(tuple(columns), len(frame)) if columns else None

    @classmethod
    def wrap(cls, data: Any) -> "Dataset":
        """The data set itself, or a frame as one with the canonical column names."""
        return data if isinstance(data, Dataset) else cls(data)

    # -- looking -----------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._frame)

    @property
    def n_users(self) -> int:
        """Users of the vocabulary."""
        return 0 if self.users is None else len(self.users)

    @property
    def n_items(self) -> int:
        """Items of the vocabulary: the catalog."""
        return 0 if self.items is None else len(self.items)

    @property
    def positive(self) -> NDArray[np.bool_]:
        """Rows that are part of a user's history: those labeled 1 where there are labels, else all."""
        return np.ones(len(self), bool) if self.labels is None else self.labels == 1

    def histories(self, *, events: bool = False) -> Histories:
        """Each user's items in time order, (U rows); with labels, only the rows labeled 1.

        With `events`, the session and the context of each beside it, where the data has them.
        """
        self._need_ids("histories")
        rows = self.positive
        columns = {"ratings": self.ratings, "weights": self.weights, "times": self.timestamps}
        columns |= {"sessions": self.sessions, "context": self.context} if events else {}
        kept: dict[str, Any] = {name: taken(values, rows) for name, values in columns.items()}
        return Histories.from_rows(self.user_codes[rows], self.item_codes[rows], self.n_users, **kept)

    def to_csr(self, values: Values = "ones") -> Any:
        """Users x items, (U, I) float32: ones, ratings (repeated ones averaged) or weights (repeated ones summed).

        With labels, only the rows labeled 1 are in it.
        """
        column = {"ones": True, "rating": self.ratings is not None, "weight": self.weights is not None}
        if values not in column or not column[values]:
            raise DataError(f"to_csr({values!r}): there is no such column in this data set")
        return self.histories().matrix(self.n_items, values)

    def to_frame(self) -> Any:
        """The interactions with the caller's columns, in the held order, as the kind of frame that was given."""
        return self._frame.to_native()

    def _need_ids(self, what: str) -> None:
        if self.users is None:
            raise DataError(f"{what} needs users and items, and this data set has user_col=None, item_col=None")

    # -- making others -----------------------------------------------------------------------------------------------

    def subset(self, rows: NDArray[Any]) -> "Dataset":
        """The data set of some held rows, a mask or row numbers: same roles and features, vocabularies of what is left.

        Users and items that a feature frame names stay, as they would in a data set made of those rows.
        """
        at = row_numbers(rows, len(self))
        roles = self.roles
        return Dataset(
            self._frame[at],
            user_col=roles.user_col,
            item_col=roles.item_col,
            rating_col=roles.rating_col,
            label_col=roles.label_col,
            weight_col=roles.weight_col,
            timestamp_col=roles.timestamp_col,
            session_col=roles.session_col,
            context_cols=roles.context_cols,
            numeric_cols=roles.numeric_cols,
            encoders=roles.encoders,
            user_features=roles.user_features,
            item_features=roles.item_features,
            social=roles.social,
        )

    def filter(self, *, min_user_interactions: int = 1, min_item_interactions: int = 1) -> "Dataset":
        """Only users and items with at least so many interactions, repeated until all that is left has them."""
        self._need_ids("filter")
        keep = np.ones(len(self), bool)
        while True:
            users = np.bincount(self.user_codes[keep], minlength=self.n_users)
            items = np.bincount(self.item_codes[keep], minlength=self.n_items)
            enough = users[self.user_codes] >= min_user_interactions
            enough &= items[self.item_codes] >= min_item_interactions
            if np.array_equal(keep & enough, keep):
                break
            keep &= enough
        if not keep.any():
            raise DataError(f"filter({min_user_interactions=}, {min_item_interactions=}) leaves no interaction")
        return self.subset(keep)

    def report(self) -> Report:
        """Counts that show whether the data is what it seems: repeats, density, single interactions, equal times."""
        self._need_ids("report")
        return report(self.user_codes, self.item_codes, self.n_users, self.n_items, self.timestamps)

    def __repr__(self) -> str:
        roles = {role: getattr(self.roles, f"{role}_col") for role in ("rating", "label", "weight", "timestamp")}
        named = ", ".join(f"{role}={name!r}" for role, name in roles.items() if name is not None)
        counts = f"{len(self):,} interactions"
        if self.users is not None:
            counts += f" of {self.n_users:,} users with {self.n_items:,} items"
        return f"Dataset({counts}{', ' if named else ''}{named})"

    def _repr_html_(self) -> str:
        return f"<code>{escape(repr(self))}</code>"


class StreamedDataset(StreamedRows, Dataset):
    """What `Dataset.from_parquet` gives: a data set without rows, whose `stream` reads them from the files.

    Of ratings, labels, weights and timestamps it has empty arrays where the files have the column.
    """

    def __init__(self, table: ParquetTable, roles: Roles, shuffle_buffer: int):
        self.frame_kind, self.roles, self.shuffle_buffer = "pandas", roles, check_buffer(shuffle_buffer)
        self.user_col, self.item_col = roles.user_col, roles.item_col
        self._check_names()
        self.stream = RowStream(table, roles)
        self.ratings, self.labels, self.weights = (
            np.empty(0, np.float32) if role in self.stream.ranges else None for role in ("rating", "label", "weight")
        )
        self.timestamps = None if roles.timestamp_col is None else np.empty(0, np.int64)
        self.sessions = None
        self.context = self.stream.context
        self._know_nothing()
        if self.stream.ids:
            self._know(*self.stream.ids)


def held_order(
    users: NDArray[np.int64], items: NDArray[np.int64], times: NDArray[np.int64] | None
) -> NDArray[np.int64]:
    """Rows by user, then time, then item; rows alike in all that keep their order, as all of a user do without times."""
    if times is None:
        return np.argsort(users, kind="stable")
    start, n_items = int(times.min()), int(items.max()) + 1
    span = int(times.max()) - start + 1
    if (int(users.max()) + 1) * span * n_items >= 2**63:
        return np.lexsort((items, times, users))
    # All three fit into one integer, which sorts several times faster.
    return np.argsort((users * span + (times - start)) * n_items + items, kind="stable")


def row_numbers(rows: Any, n_rows: int) -> NDArray[np.int64]:
    """Row numbers from row numbers or from a mask; what points outside the data is refused."""
    at = np.asarray(rows)
    if at.dtype == bool:
        if at.shape != (n_rows,):
            raise DataError(f"subset: the mask has shape {at.shape} and the data set {n_rows} rows")
        at = np.flatnonzero(at)
    if len(at) == 0:
        raise DataError("subset: no row is left")
    if at.dtype.kind not in "iu" or at.min() < 0 or at.max() >= n_rows:
        raise DataError(f"subset: give a mask or row numbers from 0 to {n_rows - 1}; got {at.dtype} such as {at[0]}")
    return at.astype(np.int64)


def read_times(series: nw.Series[Any], name: str) -> NDArray[np.int64]:
    """Times as integers: numbers as they are, dates in their own resolution."""
    array = frames.to_array(series)
    if array.dtype.kind in "mM":
        frames.refuse(np.isnat(array), array, name, "missing timestamps")
        return array.astype(np.int64)
    if array.dtype.kind in "iu":
        return array.astype(np.int64)
    if array.dtype.kind == "f":
        frames.refuse(~np.isfinite(array), array, name, "missing timestamps")
        frames.refuse(array != np.floor(array), array, name, "fractional timestamps (give whole numbers or dates)")
        return array.astype(np.int64)
    frames.refuse(np.fromiter((frames.missing(v) for v in array), bool, len(array)), array, name, "missing timestamps")
    raise DataError(f"column {name!r} holds {series.dtype}; timestamps are numbers or dates, so cast it")


def read_sessions(series: nw.Series[Any], name: str) -> NDArray[np.int64]:
    """Sessions by number, from ids of any kind."""
    return np.asarray(pd.factorize(read_ids(series, name))[0], np.int64)


def read_social(frame: nw.DataFrame[Any], user_col: str) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.float32]]:
    """Edges of a social frame: users, friends and weights."""
    users = read_ids(frames.column(frame, user_col, "users of the social edges"), user_col)
    friends = read_ids(frames.column(frame, "friend_id", "friends"), "friend_id")
    if "weight" not in frame.columns:
        return users, friends, np.ones(len(users), np.float32)
    return users, friends, frames.numbers(frame["weight"], "weight", "weight")


def union(name: str, ids: NDArray[Any], features: Any, *more: NDArray[Any]) -> Vocabulary:
    """All ids that the interactions, the features and the social edges name."""
    arrays = [ids, *more]
    if features is not None:
        arrays.append(table_ids(features, name))
    kinds = {array.dtype == object for array in arrays if len(array)}
    if len(kinds) > 1:
        raise DataError(f"column {name!r} holds integers in one frame and strings in another; give one type")
    return Vocabulary.of(*arrays)
