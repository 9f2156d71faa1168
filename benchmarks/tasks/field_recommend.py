"""`recommend` of the field models beside `predict` on every pair, on MovieLens 1M with features.

1,000 users and all 3,706 items with ratings, k = 10. A bar says that a ranking costs less than scoring the pairs one by
one, the frame of which is made off the clock or, in a column of its own, on it. That both say the same is checked on
100 users, all items, nothing left out. The models have learned for one epoch: how much they know is nothing to the clock.
Networks have the sizes of the task `fields` on this data. What a ranking saves are the first layers: where later ones are
the wider, it saves little.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from speed import Bar, Contender, Measures

from tasks import clicks, common, fields_movies

TITLE = (
    "`recommend` of field models beside `predict` on all pairs (MovieLens 1M with features, 1,000 users, 3,706 items)"
)
N_USERS, N_COMPARED, K = 1000, 100, 10
RATIO, DIFFERENCE = "recommend, times predict", "largest difference"
OPTIONS: dict[str, dict[str, Any]] = {
    "FM": {"embedding_dim": 16},
    "DeepFM": {"embedding_dim": 16, "hidden_dims": fields_movies.MOVIES.hidden_dims},
    "DCN": {"embedding_dim": 16, "hidden_dims": fields_movies.MOVIES.hidden_dims},
    "DLRM": {"embedding_dim": 16, "hidden_dims": fields_movies.MOVIES.hidden_dims},
}


def prepare(data: Path, scratch: Path) -> None:
    import recsys

    fields_movies.prepare(data, scratch)
    train = fields_movies.movies(scratch, "train")
    for name, options in OPTIONS.items():
        model = getattr(recsys, name)(epochs=1, batch_size=4096, device="cpu", verbose=0, **options)
        model.fit(train).save(scratch / name)


def serving(name: str) -> Callable[[Path], Measures]:
    def run(scratch: Path) -> Measures:
        import recsys

        clicks.threads()
        model = recsys.load(scratch / name)
        users = model.users_.ids[:N_USERS]
        model.recommend(users[:10], k=K)
        model.predict(all_pairs(model, users[:1]))
        recommend = common.seconds(lambda: model.recommend(users, k=K))
        pairs, frame = common.timed(lambda: all_pairs(model, users))
        predict = common.seconds(lambda: model.predict(pairs))
        return {
            "recommend, s": recommend, "predict, s": predict, "predict and its frame, s": predict + frame,
            RATIO: recommend / predict, DIFFERENCE: difference(model, users[:N_COMPARED]),
        }  # fmt: skip

    return run


def all_pairs(model: Any, users: np.ndarray) -> Any:
    """A frame of each of the users with every item."""
    import pandas as pd

    items = model.items_.ids
    return pd.DataFrame({"user_id": np.repeat(users, len(items)), "item_id": np.tile(items, len(users))})


def difference(model: Any, users: np.ndarray) -> float:
    """The largest between the scores of whole lists and those of the same pairs, one by one."""
    lists = model.recommend(users, k=len(model.items_), filter_seen=False)
    assert len(lists) == len(users) * len(model.items_)
    return float(np.abs(lists["score"].to_numpy() - model.predict(lists[["user_id", "item_id"]])).max())


CONTENDERS = {name: Contender(serving(name), group=name) for name in OPTIONS}
BARS = [Bar(name, RATIO, 1 / 20 if name == "FM" else 1 / 1.5) for name in OPTIONS] + [
    Bar(name, DIFFERENCE, 1e-5) for name in OPTIONS
]
