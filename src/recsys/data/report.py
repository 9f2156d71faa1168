"""What a data set looks like, in figures."""

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Report:
    """Figures that show whether the data is what it seems."""

    interactions: int
    users: int
    items: int
    density: float
    """Share of user-item pairs that have an interaction."""
    repeated: int
    """Interactions beyond the first of their user and item."""
    single_users: int
    """Users with one interaction: nothing of theirs can be held out."""
    single_items: int
    cold_users: int
    """Users known by features or friends alone."""
    cold_items: int
    equal_times: float
    """Share of a user's consecutive interactions with equal timestamps: their order means nothing; NaN without times."""

    def __repr__(self) -> str:
        return "\n".join(
            f"{name.replace('_', ' '):<14}{value:,.4g}"
            if isinstance(value, float)
            else f"{name.replace('_', ' '):<14}{value:,}"
            for name, value in asdict(self).items()
        )


def report(
    user_codes: NDArray[np.int64],
    item_codes: NDArray[np.int64],
    n_users: int,
    n_items: int,
    times: NDArray[np.int64] | None,
) -> Report:
    """The figures of interactions that are held by user and time: codes (n,), times (n,) or None."""
    pairs = user_codes * np.int64(n_items) + item_codes
    users = np.bincount(user_codes, minlength=n_users)
    items = np.bincount(item_codes, minlength=n_items)
    distinct = len(np.unique(pairs))
    equal = float("nan")
    if times is not None:
        same_user = user_codes[1:] == user_codes[:-1]
        equal = float(np.mean(times[1:][same_user] == times[:-1][same_user])) if same_user.any() else 0.0
    return Report(
        interactions=len(pairs),
        users=n_users,
        items=n_items,
        density=distinct / (n_users * n_items),
        repeated=len(pairs) - distinct,
        single_users=int((users == 1).sum()),
        single_items=int((items == 1).sum()),
        cold_users=int((users == 0).sum()),
        cold_items=int((items == 0).sum()),
        equal_times=equal,
    )
