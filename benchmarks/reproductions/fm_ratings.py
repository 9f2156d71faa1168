"""Factorization machines of ratings on MovieLens, by Gibbs sampling, beside matrix factorization."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from reproduce import Row, best_of

import recsys
from recsys import FM, Dataset, Recommender
from reproductions.svd_ml100k import GRIDS

TITLE = "Factorization machines on MovieLens ratings"
PROTOCOL = """ml-100k: the official split u1, 80,000 ratings to learn from and 20,000 to predict. ml-1m: 90/10 at random.
Nothing of the machines is tuned: 16 factors, 200 draws, of which 40 are kept. "features" are age, gender and occupation
of users, genres and year of movies, all categories. "who rated what" adds the movies that a user rated, and the users
that rated a movie, in the training data, without their ratings. SVD picks its options on a tenth of the training ratings
and is fitted anew on all of them."""

MACHINE = FM(solver="mcmc", embedding_dim=16, epochs=200, n_draws=40, device="cpu", verbose=0)
PUBLISHED = {"features": "0.905 (GC-MC with features)"}
Tables = tuple[pd.DataFrame, pd.DataFrame]


def run() -> Iterator[Row]:
    ratings = table("ml-100k", "ratings")
    test = ratings["u1_test"]
    yield from rows("ml-100k u1", "100k", ratings[~test], ratings[test], PUBLISHED)
    ratings = table("ml-1m", "ratings")
    train = ratings.sample(frac=0.9, random_state=0)
    yield from rows("ml-1m", "1m", train, ratings.drop(train.index), {})


def table(folder: str, name: str) -> pd.DataFrame:
    return pd.read_parquet(Path(os.environ["RECSYS_DATA"], folder, f"{name}.parquet"))


def rows(name: str, size: Any, train: pd.DataFrame, test: pd.DataFrame, published: Mapping[str, str]) -> Iterator[Row]:
    """A row for SVD, and one for the machine with ids alone, with features, and with who rated what."""
    columns = ["user_id", "item_id", "rating"]
    train, test = train[columns], test[columns]
    bare = Dataset(train)
    svd = best_of(GRIDS["SVD"], *recsys.split.random(bare, test_size=0.1), "rmse")
    yield {"data": name, "model": "SVD", "knows": "ids", **figures(svd, bare, test), "picked": repr(svd)}
    users = table(f"ml-{size}", "users")[["user_id", "age", "gender", "occupation"]].astype({"age": str})
    items = recsys.datasets.movielens_items(size)[["item_id", "genres", "year"]]
    items["year"] = items["year"].astype("Int64").astype(str)
    known = {"ids": bare, "features": Dataset(train, user_features=users, item_features=items)}
    if size == "100k":
        more = with_history(train, users, items)
        known["features, who rated what"] = Dataset(train, user_features=more[0], item_features=more[1])
    for knows, data in known.items():
        yield {
            "data": name, "model": "FM", "knows": knows, **figures(MACHINE, data, test),
            "published RMSE": published.get(knows, ""),
        }  # fmt: skip


def figures(model: Recommender, train: Dataset, test: pd.DataFrame) -> dict[str, float]:
    result = recsys.evaluate(model.clone().fit(train), test, metrics=["rmse", "mae"])
    return {"RMSE": result["rmse"], "MAE": result["mae"]}


def with_history(train: pd.DataFrame, users: pd.DataFrame, items: pd.DataFrame) -> Tables:
    """The feature tables with a column of tags: the movies of each user, and the users of each movie."""
    rated = train.groupby("user_id")["item_id"].agg(list).rename("rated")
    raters = train.groupby("item_id")["user_id"].agg(list).rename("raters")
    return tuple(  # type: ignore[return-value]
        table.join(lists, on=key).assign(**{lists.name: lambda one, lists=lists: one[lists.name].map(listed)})
        for table, lists, key in ((users, rated, "user_id"), (items, raters, "item_id"))
    )


def listed(value: Any) -> list[int]:
    return value if isinstance(value, list) else []
