"""Data whose answer is known by construction: users in taste groups, who like the items of their own group.

One data set a task shape, each with features of users and items, social edges within the groups, a user and an item
that only the features know, and, for each user, two events at one time.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from recsys.data import Dataset

Shape = Literal["rating", "top-n", "click", "next-item"]

USER, ITEM = "user_id", "item_id"
N_GROUPS, N_USERS, N_ITEMS = 4, 48, 40
"""Taste groups, and users and items with interactions; user u is of group u % 4 and item i of group i // 10."""
IN_GROUP = N_ITEMS // N_GROUPS
NOBODY, NOTHING = 1, 2
"""Ids that no planted data has."""


def user_ids(n_users: int = N_USERS) -> NDArray[np.int64]:
    """Ids of all users, ascending; the last is the idle one."""
    return 100 + 3 * np.arange(n_users + 1)


def item_ids() -> NDArray[np.int64]:
    """Ids of all items, ascending; the last is the idle one."""
    return 1000 + 7 * np.arange(N_ITEMS + 1)


IDLE_USER, IDLE_ITEM = int(user_ids()[-1]), int(item_ids()[-1])
"""The user and the item that have features and no interaction."""


@dataclass(frozen=True, eq=False)
class Tables:
    """Frames of a data set: interactions, features of users and of items, social edges."""

    interactions: pd.DataFrame
    users: pd.DataFrame
    items: pd.DataFrame
    social: pd.DataFrame

    def dataset(self, kind: str = "pandas") -> Dataset:
        """The frames, as those of a kind, in one data set; a column `device` is context."""
        return Dataset(
            as_kind(self.interactions, kind),
            context_cols=("device",) if "device" in self.interactions else (),
            user_features=as_kind(self.users, kind),
            item_features=as_kind(self.items, kind),
            social=as_kind(self.social, kind),
        )

    def relabeled(self) -> "Tables":
        """The same with ids that are strings, in the order of the integers that they replace."""
        return self._each(lambda frame: frame.assign(**{c: frame[c].map(label) for c in IDS if c in frame}))

    def narrow(self) -> "Tables":
        """The same with ids of 32 bits."""
        return self._each(lambda frame: frame.astype({c: "int32" for c in IDS if c in frame}))

    def shuffled(self) -> "Tables":
        """The same with the rows of every frame in another order."""
        return self._each(lambda frame: frame.sample(frac=1, random_state=1).reset_index(drop=True))

    def features(self) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
        """All frames but the interactions."""
        return self.users, self.items, self.social

    def rows(self, mask: Any) -> "Tables":
        """The same with some interactions alone."""
        return Tables(self.interactions[mask].reset_index(drop=True), *self.features())

    def bare(self, mask: Any) -> Dataset:
        """Some interactions, and of features those of their users and items alone: nobody and nothing else is known."""
        kept = self.rows(mask)
        users = self.users[self.users[USER].isin(kept.interactions[USER])]
        items = self.items[self.items[ITEM].isin(kept.interactions[ITEM])]
        return Tables(kept.interactions, users, items, self.social.iloc[:0]).dataset()

    def _each(self, change: Any) -> "Tables":
        return Tables(*(change(frame) for frame in (self.interactions, *self.features())))


IDS = (USER, ITEM, "friend_id")


def label(identifier: Any) -> str:
    """The string that stands for an integer id; strings sort as the integers do."""
    return f"id{int(identifier):06d}"


def as_kind(frame: pd.DataFrame, kind: str) -> Any:
    """A pandas frame as one of another kind, "polars" or "pyarrow"; itself for "pandas"."""
    if kind == "pandas":
        return frame
    if kind == "polars":
        import polars  # noqa: PLC0415 (optional)

        return polars.from_pandas(frame)
    import pyarrow  # noqa: PLC0415 (optional)

    return pyarrow.Table.from_pandas(frame, preserve_index=False)


def planted(shape: Shape, seed: int = 0, n_users: int = N_USERS) -> Tables:
    """Data of a task shape: integer ids, timestamps, features and social edges.

    "rating": 4 or 5 for items of the user's group, 1 or 2 for others. "top-n": items of the group, and one other.
    "click": a `label` that is mostly 1 for items of the group, more so where `device` is "phone". "next-item": a walk
    around the group's ring of items, so that the last item says what comes next.
    """
    rng = np.random.default_rng(seed)
    rows = pd.concat([events(shape, user, rng) for user in range(n_users)], ignore_index=True)
    rows[USER], rows[ITEM] = user_ids(n_users)[rows[USER]], item_ids()[rows[ITEM]]
    return Tables(rows, *features(n_users, rng), friends(n_users))


def events(shape: Shape, user: int, rng: np.random.Generator) -> pd.DataFrame:
    """What one user does, in codes, by time."""
    group = user % N_GROUPS
    own = IN_GROUP * group + rng.permutation(IN_GROUP)
    others = rng.permutation(np.setdiff1d(np.arange(N_ITEMS), own))
    if shape == "next-item":
        items = IN_GROUP * group + (own[0] + np.arange(7)) % IN_GROUP
    else:
        n_others = {"rating": 5, "top-n": 1, "click": 6}[shape]
        items = rng.permutation(np.concatenate([own[:7], others[:n_others]]))
    liked = items // IN_GROUP == group
    # The first two events are at one time: a data set puts the smaller item first.
    steps = np.maximum(np.arange(len(items)), 1)
    rows = pd.DataFrame({USER: user, ITEM: items, "timestamp": 10_000 + 100 * steps + user})
    if shape == "rating":
        rows["rating"] = np.where(liked, 4.0, 1.0) + rng.integers(2, size=len(items))
    if shape == "click":
        phone = rng.random(len(items)) < 0.5
        chance = np.where(liked, 0.75, 0.0) + np.where(phone, 0.2, 0.0)
        rows["device"] = np.where(phone, "phone", "television")
        rows["label"] = (rng.random(len(items)) < chance).astype(np.int64)
    return rows


def features(n_users: int, rng: np.random.Generator) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Features of all users and of all items, the idle ones among them."""
    tastes = [f"taste {user % N_GROUPS}" for user in range(n_users + 1)]
    users = pd.DataFrame({USER: user_ids(n_users), "taste": tastes, "age": rng.random(n_users + 1)})
    item_group = np.minimum(np.arange(N_ITEMS + 1) // IN_GROUP, N_GROUPS - 1)
    items = pd.DataFrame(
        {
            ITEM: item_ids(),
            "tags": [[f"group {g}", f"tag {i % 3}"] for i, g in enumerate(item_group)],
            "size": rng.random(N_ITEMS + 1),
            "sound": [list(row) for row in np.eye(N_GROUPS)[item_group] + 0.1 * rng.random((N_ITEMS + 1, N_GROUPS))],
        }
    )
    return users, items


def friends(n_users: int) -> pd.DataFrame:
    """Social edges: every user knows the next two of the group."""
    users = np.repeat(np.arange(n_users), 2)
    steps = np.tile([N_GROUPS, 2 * N_GROUPS], n_users)
    ids = user_ids(n_users)
    return pd.DataFrame({USER: ids[users], "friend_id": ids[(users + steps) % n_users]})


def held_out(shape: Shape, seed: int = 0, n_users: int = 120) -> tuple[Dataset, Dataset]:
    """The planted data in two, (train, test): each user's newest event for "next-item", else a quarter of the rows."""
    tables = planted(shape, seed, n_users)
    rows = tables.interactions
    if shape == "next-item":
        test = rows[USER] != rows[USER].shift(-1)
    else:
        test = pd.Series(np.random.default_rng(seed).random(len(rows)) < 0.25)
    return tables.rows(~test).dataset(), tables.rows(test).dataset()
