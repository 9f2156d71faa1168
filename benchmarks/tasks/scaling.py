"""Time and memory of `fit`, and of `recommend` for some users, as the world grows: 1, 3 and 10 times.

A world of n has 10,000 n users with 20 interactions each and 5,000 n items, so users, items and interactions grow alike
and neither a user's nor an item's mean number of them changes; items are drawn with chances that fall as the power -0.8
of their rank, half of them from the user's one of 50 n groups of items. A rating is a function of the pair plus noise. What is
shown is divided by n, so that the bracket is the ratio to linear growth. A list costs the catalog by itself,
so lists are made for 1,000 users everywhere, and 1,000 lists are to grow with the items. Memory is the most held above
what was held before the call.
"""

import ctypes
import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from speed import Contender, Measures

from tasks import common

TITLE = "Growth of time and memory with the data: users, items and interactions 1, 3 and 10 times"
SIZES = (1, 3, 10)
USERS, ITEMS, EACH, GROUPS, SERVED = 10_000, 5_000, 20, 50, 1000
MODELS: dict[str, dict[str, object]] = {
    "ItemKNN": {"n_neighbors": 100},
    "RP3Beta": {"n_neighbors": 100},
    "SLIM": {"n_neighbors": 100},
    "ALS": {"epochs": 3, "device": "cpu", "verbose": 0},
    "BPR": {"epochs": 3, "verbose": 0},
    "WARP": {"epochs": 3, "verbose": 0},
    "SVD": {"epochs": 3, "verbose": 0},
}


def prepare(data: Path, scratch: Path) -> None:
    """Nothing is read from files."""


def world(n: int) -> Any:
    """A frame of user_id, item_id and rating: users of n times `USERS`, items of n times `ITEMS`."""
    import pandas as pd

    rng = np.random.default_rng(n)
    users = np.repeat(np.arange(USERS * n), EACH)
    weight = np.arange(1, ITEMS * n + 1) ** -0.8
    everywhere = np.searchsorted(np.cumsum(weight / weight.sum()), rng.random(len(users)))
    # Group g has the items g, g + 50 n, g + 100 n, ..., so that each holds popular and rare ones.
    own = rng.integers(GROUPS * n, size=USERS * n)[users]
    chance = np.arange(1, ITEMS // GROUPS + 1) ** -0.8
    inside = np.searchsorted(np.cumsum(chance / chance.sum()), rng.random(len(users))) * GROUPS * n + own
    items = np.where(rng.random(len(users)) < 0.5, inside, np.minimum(everywhere, ITEMS * n - 1))
    ratings = 1 + (own + items) % 4 + rng.integers(2, size=len(users))
    frame = pd.DataFrame({"user_id": users, "item_id": items, "rating": ratings})
    return frame.drop_duplicates(["user_id", "item_id"])


def held(function: Callable[[], object]) -> tuple[float, float]:
    """Seconds of a call, and the most memory in MB that it held above what was held before."""
    gc.collect()
    # What earlier calls have freed goes back to the system first, or this one would find it there and seem to need nothing.
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    common.forget_peak()
    before = common.peak_memory()
    seconds = common.seconds(function)
    return seconds, common.peak_memory() - before


def growing(name: str, options: dict[str, object], n: int) -> Callable[[Path], Measures]:
    def run(scratch: Path) -> Measures:
        import recsys

        model = getattr(recsys, name)(**options)
        columns = ["user_id", "item_id"] + (["rating"] if model.shape == "rating" else [])
        frame = world(n)[columns]
        # Kernels are compiled, or read from their cache, before anything is measured.
        model.fit(frame[frame["user_id"] < 300]).recommend(k=common.K)
        data = recsys.Dataset(frame)
        fit, memory = held(lambda: model.fit(data))
        some = model.users_.ids[:: len(model.users_) // SERVED][:SERVED]
        served, served_memory = held(lambda: model.recommend(some, k=common.K))
        return {
            "interactions": len(frame),
            "fit, s": fit,
            "fit, s / n": fit / n,
            "fit, MB": memory,
            "fit, MB / n": memory / n,
            "1,000 lists, s": served,
            "1,000 lists, s / n": served / n,
            "1,000 lists, MB": served_memory,
        }

    return run


CONTENDERS = {
    f"n = {n}, {name}": Contender(growing(name, options, n), group=name)
    for name, options in MODELS.items()
    for n in SIZES
}
