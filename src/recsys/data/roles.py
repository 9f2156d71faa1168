"""Which column plays which role."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys.data import frames
from recsys.data.encoders import Encoder
from recsys.errors import DataError

STRANGE: tuple[tuple[str, str, Callable[[NDArray[np.float32]], NDArray[np.bool_]]], ...] = (
    ("label", "labels other than 0 and 1", lambda values: ~np.isin(values, (0, 1))),
    ("weight", "negative weights", lambda values: values < 0),
)
"""What a role refuses of finite numbers, in words and as a test."""
AUTO = "auto"
"""Stands for the column with the role's own name, if there is one."""


@dataclass(frozen=True)
class Roles:
    """What a data set was made with, to make others like it: columns by role, and the feature frames."""

    user_col: str | None
    item_col: str | None
    rating_col: str | None
    label_col: str | None
    weight_col: str | None
    timestamp_col: str | None
    context_cols: tuple[str, ...]
    numeric_cols: tuple[str, ...]
    user_features: Any
    item_features: Any
    social: Any
    session_col: str | None = None
    encoders: Mapping[str, Encoder] = field(default_factory=dict)

    @classmethod
    def find(
        cls,
        names: Sequence[str],
        ids: tuple[str | None, str | None],
        values: tuple[str | None, str | None, str | None, str | None],
        columns: tuple[Sequence[str], Sequence[str]],
        tables: tuple[Any, Any, Any],
    ) -> "Roles":
        """The roles that columns of these names take, in the order of the fields; "auto" is the role's own name."""
        if (ids[0] is None) != (ids[1] is None):
            raise DataError(f"user_col={ids[0]!r}, item_col={ids[1]!r}: give both, or None for both (field data)")
        asked = zip(("rating", "label", "weight", "timestamp"), values, strict=True)
        found = [(role if role in names else None) if name == AUTO else name for role, name in asked]
        read = [None if table is None else frames.read(table).clone() for table in tables]
        return cls(*ids, *found, *map(tuple, columns), *read)
