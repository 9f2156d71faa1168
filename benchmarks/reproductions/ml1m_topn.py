"""EASE, Mult-VAE, item neighbors and LightGCN on MovieLens 1M, top-n."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import pandas as pd
from reproduce import Row, best_of

import recsys
from recsys import EASE, Dataset, ItemKNN, LightGCN, MultVAE, Popular, Recommender

TITLE = "Top-n on MovieLens 1M"
PROTOCOL = """Every rating is an interaction; each user's are split 80/10/10 at random, by the published split of the
infinite-autoencoder paper. Options are picked by NDCG@10 on the validation part; the best ones are fitted on the
training and validation parts together and measured once on the test part, over the whole catalog without the items
fitted on."""
METRICS = ("ndcg@10", "recall@20")

GRIDS: dict[str, tuple[str, Iterable[Recommender]]] = {
    "Popular": ("0.1384", [Popular()]),
    "ItemKNN": (
        "",
        [
            ItemKNN(weighting=weighting, n_neighbors=n, shrinkage=shrinkage)
            for weighting in ("none", "tfidf")
            for n in (50, 100, 200)
            for shrinkage in (0.0, 50.0)
        ],
    ),
    "EASE": ("0.2988", [EASE(regularization=value) for value in (100.0, 250.0, 500.0, 1000.0, 2000.0)]),
    "MultVAE": (
        "0.2214",
        [
            MultVAE(kl_cap=cap, kl_steps=5000, epochs=epochs, batch_size=250, verbose=0)
            for cap in (0.05, 0.2)
            for epochs in (60, 120)
        ],
    ),
    "LightGCN": ("0.2885", [LightGCN(epochs=20, learning_rate=0.005, batch_size=8192, n_layers=2, verbose=0)]),
}


def run() -> Iterator[Row]:
    ratings = pd.read_parquet(Path(os.environ["RECSYS_DATA"], "ml-1m", "ratings.parquet"))
    part = {name: ratings.infae_split == code for code, name in enumerate(("train", "validation", "test"))}
    fit, validation, test = (Dataset(ratings.loc[rows, ["user_id", "item_id"]]) for rows in part.values())
    both = Dataset(ratings.loc[~part["test"], ["user_id", "item_id"]])
    for published, grid in GRIDS.values():
        model = best_of(grid, fit, validation, "ndcg@10")
        found = recsys.evaluate(model.fit(both), test, metrics=METRICS)
        low, high = found.ci()["ndcg@10"]
        yield {
            "model": repr(model),
            "NDCG@10": found["ndcg@10"],
            "95% interval": f"{low:.4f} to {high:.4f}",
            "Recall@20": found["recall@20"],
            "published NDCG@10": published,
        }
