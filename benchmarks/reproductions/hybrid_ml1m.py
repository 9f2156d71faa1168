"""BPR and WARP with item features on MovieLens 1M, for items that nobody has rated yet."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pandas as pd
from reproduce import Row

import recsys
from recsys import BPR, WARP, Dataset, Popular, Random, Recommender

TITLE = "Cold items on MovieLens 1M, known by genres and year alone"
PROTOCOL = """Every rating is an interaction. A fifth of the rated movies, drawn at random, are cold: all their ratings
are the test data, and what is known of them in training are their genres and their year. Every test user's cold movies
are ranked among all cold ones. Options are picked by NDCG@10 on another fifth of the movies, made cold in the same way;
the best ones are fitted on all but the test data and measured once. Popular sees no rating of any candidate, so
that its list is the catalog's order."""
METRICS = ("recall@10", "ndcg@10")

GRIDS: dict[str, Iterable[Recommender]] = {
    "Popular": [Popular()],
    "Random": [Random()],
    "BPR": [
        BPR(features="items", epochs=10, learning_rate=rate, optimizer=optimizer, verbose=0)
        for optimizer in ("sgd", "adagrad")
        for rate in (0.02, 0.05)
    ],
    "WARP": [
        WARP(features="items", epochs=10, n_factors=dim, regularization=penalty, verbose=0)
        for dim in (32, 64)
        for penalty in (0.0, 0.03)
    ],
}


def run() -> Iterator[Row]:
    ratings: pd.DataFrame = recsys.datasets.movielens("1m").to_frame()[["user_id", "item_id"]]
    movies = recsys.datasets.movielens_items("1m")[["item_id", "genres", "year"]]
    rated = np.random.default_rng(0).permutation(np.unique(ratings["item_id"]))
    test, validation = rated[: len(rated) // 5], rated[len(rated) // 5 : 2 * len(rated) // 5]
    known = ratings[~ratings["item_id"].isin(test)]
    for grid in GRIDS.values():
        trials = [(figures(model.clone(), known, movies, validation)["ndcg@10"], model) for model in grid]
        model = max(trials, key=lambda trial: trial[0])[1]
        found = figures(model, ratings, movies, test)
        low, high = found.ci()["ndcg@10"]
        yield {
            "model": repr(model),
            "Recall@10": found["recall@10"],
            "NDCG@10": found["ndcg@10"],
            "95% interval": f"{low:.4f} to {high:.4f}",
        }


def figures(model: Recommender, ratings: pd.DataFrame, movies: pd.DataFrame, cold: np.ndarray) -> Any:
    """How well a model that has seen no rating of the cold movies ranks them."""
    held = ratings["item_id"].isin(cold)
    wanted = ratings[held]
    model.fit(Dataset(ratings[~held], item_features=movies))
    lists = model.recommend(np.unique(wanted["user_id"]), k=10, items=cold, on_unknown="skip")
    return recsys.evaluate_lists(lists, wanted, metrics=METRICS)
