"""Training of DeepFM and DCN (version 2, parallel) on Frappe, ten fields, and on MovieLens 1M with features, six.

Every contender has the same sizes, batches of 4,096 rows, dense Adam and 2 threads. The first of three epochs warms up,
the others are timed; training then goes on off the clock, and the test rows are scored with the epoch that has the best
AUC of the validation rows, two epochs after which it ends. Ours and RecBole's are there in mixed precision too, which
helps on processors that multiply bfloat16 numbers; what is promised in full precision is held against peers in full
precision, and in mixed precision against all. Beside them stand the bare products of the matrices of a step, forward
and backward, on random numbers: nothing is looked up, added or moved there.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from speed import Contender

from tasks import click_peers, clicks
from tasks.clicks import Field, Setting

TITLE = "DeepFM and DCN on Frappe and MovieLens 1M: batches of 4,096, dense Adam, 2 threads"
FRAPPE = Setting("frappe", embedding_dim=10, hidden_dims=(400, 400, 400))
MOVIES = Setting("ml-1m", embedding_dim=16, hidden_dims=(128, 128))
TITLES = {FRAPPE.data: "Frappe", MOVIES.data: "MovieLens 1M"}
CONTEXT = ("daytime", "weekday", "isweekend", "homework", "cost", "weather", "country", "city")


def prepare(data: Path, scratch: Path) -> None:
    prepare_frappe(data, scratch)
    prepare_movies(data, scratch)


def prepare_frappe(data: Path, scratch: Path) -> None:
    """Its own split."""
    import pandas as pd

    frame = pd.read_parquet(data / "frappe" / "frappe_x1.parquet").astype({"split": str})
    names = ("user", "item", *CONTEXT)
    fields = [Field(name, int(frame[name].max()) + 1, 1) for name in names]
    parts = {part: frame.loc[frame.split == part, [*names, "label"]] for part in ("train", "valid", "test")}
    for part, rows in parts.items():
        rows.to_parquet(scratch / f"frappe-{part}.parquet")
    clicks.save(scratch, FRAPPE.data, fields, **{part: columns(rows) for part, rows in parts.items()})


def columns(frame: Any) -> dict[str, np.ndarray]:
    return {name: frame[name].to_numpy(np.int64) for name in frame.columns}


def prepare_movies(data: Path, scratch: Path) -> None:
    """Ratings of at least 4 are clicks; of all, at random, a tenth is for validation and a tenth for testing."""
    import pandas as pd

    ratings = pd.read_parquet(data / "ml-1m" / "ratings.parquet")
    users = pd.read_parquet(data / "ml-1m" / "users.parquet")[["user_id", "gender", "age", "occupation"]]
    items = pd.read_parquet(data / "ml-1m" / "items.parquet")[["item_id", "genres"]]
    items["genres"] = items["genres"].str.split("|")
    users.to_parquet(scratch / "users.parquet")
    items.to_parquet(scratch / "items.parquet")
    rows = ratings[["user_id", "item_id"]].assign(label=(ratings.rating >= 4).astype(int))
    chance = np.random.default_rng(0).random(len(rows))
    every = rows.merge(users, on="user_id", how="left", sort=False)
    coded = {name: np.unique(every[name], return_inverse=True)[1] for name in (*every.columns.drop("label"),)}
    tags = tag_codes(items.set_index("item_id")["genres"].reindex(rows["item_id"]).tolist())
    fields = [Field(name, int(codes.max()) + 1, 1) for name, codes in coded.items()]
    fields.append(Field("genres", int(tags.max()) + 1, tags.shape[1]))
    coded |= {"genres": tags, "label": rows["label"].to_numpy()}
    parts = {"train": chance >= 0.2, "valid": (chance >= 0.1) & (chance < 0.2), "test": chance < 0.1}
    for part, chosen in parts.items():
        rows[chosen].to_parquet(scratch / f"ml-1m-{part}.parquet")
    arrays = {part: {name: codes[chosen] for name, codes in coded.items()} for part, chosen in parts.items()}
    clicks.save(scratch, MOVIES.data, fields, **arrays)


def tag_codes(lists: list[list[str]]) -> np.ndarray:
    """Codes from 1 on, (n, longest list), 0 behind the last."""
    names = {name: code for code, name in enumerate(sorted({name for one in lists for name in one}), start=1)}
    codes = np.zeros((len(lists), max(len(one) for one in lists)), np.int64)
    for row, one in enumerate(lists):
        codes[row, : len(one)] = [names[name] for name in one]
    return codes


def frappe(scratch: Path, part: str) -> Any:
    """Our data set of a part."""
    import pandas as pd

    from recsys import Dataset

    frame = pd.read_parquet(scratch / f"frappe-{part}.parquet")
    return Dataset(frame, user_col="user", item_col="item", context_cols=CONTEXT)


def movies(scratch: Path, part: str) -> Any:
    """Our data set of a part."""
    import pandas as pd

    from recsys import Dataset

    rows, users, items = (pd.read_parquet(scratch / f"{name}.parquet") for name in (f"ml-1m-{part}", "users", "items"))
    return Dataset(rows, user_features=users, item_features=items)


def contenders(
    setting: Setting, dataset: Callable[[Path, str], Any], kind: str, n_fields: int, **options: Any
) -> dict[str, Contender]:
    """Ours, the bare products and the peers, for one model and one data set."""
    group = f"{kind} on {TITLES[setting.data]}"
    half = clicks.ours(setting, kind, dataset, precision="bf16", **options)
    return {
        f"recsys, {group}": Contender(clicks.ours(setting, kind, dataset, **options), group=group),
        f"recsys, bf16, {group}": Contender(half, group=group),
        f"bare products, {group}": Contender(clicks.bare_products(setting, kind, n_fields), group=group),
        **click_peers.contenders(setting, kind, group),
    }


CROSS = {"version": 2, "structure": "parallel", "n_layers": clicks.CROSS_LAYERS}
CONTENDERS = {
    **contenders(FRAPPE, frappe, "DeepFM", 10),
    **contenders(FRAPPE, frappe, "DCN", 10, **CROSS),
    **contenders(MOVIES, movies, "DeepFM", 6),
    **contenders(MOVIES, movies, "DCN", 6, **CROSS),
}
BARS = [
    bar
    for group in dict.fromkeys(one.group for one in CONTENDERS.values())
    for bar in [
        *clicks.bars(f"recsys, {group}", f"bare products, {group}", [f"{name}, {group}" for name in click_peers.FULL]),
        *clicks.bars(
            f"recsys, bf16, {group}", f"bare products, {group}", [f"{name}, {group}" for name in click_peers.PEERS]
        ),
    ]
]
