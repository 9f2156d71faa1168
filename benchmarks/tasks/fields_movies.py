"""Training of DeepFM and DCN (version 2, parallel) on MovieLens 1M with features, six fields; `fields` says what is timed."""

from pathlib import Path
from typing import Any

import numpy as np

from tasks import clicks, fields
from tasks.clicks import Field, Setting

TITLE = "DeepFM and DCN on MovieLens 1M: batches of 4,096, dense Adam, 2 threads"
MOVIES = Setting("ml-1m", embedding_dim=16, hidden_dims=(128, 128))


def prepare(data: Path, scratch: Path) -> None:
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
    coded_fields = [Field(name, int(codes.max()) + 1, 1) for name, codes in coded.items()]
    coded_fields.append(Field("genres", int(tags.max()) + 1, tags.shape[1]))
    coded |= {"genres": tags, "label": rows["label"].to_numpy()}
    parts = {"train": chance >= 0.2, "valid": (chance >= 0.1) & (chance < 0.2), "test": chance < 0.1}
    for part, chosen in parts.items():
        rows[chosen].to_parquet(scratch / f"ml-1m-{part}.parquet")
    arrays = {part: {name: codes[chosen] for name, codes in coded.items()} for part, chosen in parts.items()}
    clicks.save(scratch, MOVIES.data, coded_fields, **arrays)


def tag_codes(lists: list[list[str]]) -> np.ndarray:
    """Codes from 1 on, (n, longest list), 0 behind the last."""
    names = {name: code for code, name in enumerate(sorted({name for one in lists for name in one}), start=1)}
    codes = np.zeros((len(lists), max(len(one) for one in lists)), np.int64)
    for row, one in enumerate(lists):
        codes[row, : len(one)] = [names[name] for name in one]
    return codes


def movies(scratch: Path, part: str) -> Any:
    """Our data set of a part."""
    import pandas as pd

    from recsys import Dataset

    rows, users, items = (pd.read_parquet(scratch / f"{name}.parquet") for name in (f"ml-1m-{part}", "users", "items"))
    return Dataset(rows, user_features=users, item_features=items)


CONTENDERS = fields.both_models(MOVIES, movies, "MovieLens 1M", 6)
BARS = fields.bars(CONTENDERS)
