"""NeuMF, Mult-VAE and EASE on MovieLens 1M, the split of the ∞-AE paper."""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from reproduce import Row

import recsys
from recsys import EASE, Dataset, MultVAE, NeuMF, Popular, Recommender
from reproductions.ml1m_ncf import BOTH, n_fits, seed, trial

TITLE = "MovieLens 1M, the split of the ∞-AE paper"
PROTOCOL = """Every rating is an interaction; parts for training, validation and testing as published (791,718, 99,692 and
108,799 interactions, drawn at random). Options and epochs are picked by NDCG@10 on the validation part, epochs by early
stopping; the best ones are fitted to the training and validation parts together and measured on the test part, over all
items of neither, users known. Networks: mean and standard deviation over three seeds."""
METRICS = ("ndcg@10", "recall@10")

COMMON: Mapping[str, object] = {"epochs": 100, "patience": 5, "monitor": "ndcg@10", "verbose": 0}
GRIDS: Mapping[str, tuple[Sequence[Recommender], str]] = {
    "Popular": ([Popular()], "0.1384"),
    "EASE": ([EASE(regularization=value) for value in (250.0, 500.0, 1000.0, 2000.0)], "0.2988"),
    "NeuMF": (
        [
            NeuMF(**COMMON, **BOTH, batch_size=4096, n_negatives=n, learning_rate=rate, weight_decay=decay)
            for n, rate, decay in ((4, 0.001, 0.0), (4, 0.003, 1e-5), (16, 0.001, 0.0))
        ],
        "0.2444",
    ),
    "MultVAE": (
        [
            MultVAE(**COMMON, batch_size=250, kl_cap=cap, kl_steps=2000, dropout=dropout)
            for cap, dropout in ((0.2, 0.5), (0.5, 0.5), (0.2, 0.7))
        ],
        "0.2214",
    ),
}
"""Options of each model, and its published NDCG@10."""


class Parts(NamedTuple):
    """The parts for picking, and those for measuring."""

    fit: Dataset
    validation: Dataset
    train: Dataset
    test: Dataset


def run() -> Iterator[Row]:
    parts = read(Path(os.environ["RECSYS_DATA"], "ml-1m"))
    for name, (options, published) in GRIDS.items():
        trials = [trial(option, parts.fit, parts.validation) for option in options]
        best = max(trials, key=lambda found: found[0])[1]
        found = [measured(best, number, parts) for number in range(n_fits(best))]
        yield {"model": name, **figures(found), "published NDCG@10": published, "options": repr(best)}


def read(folder: Path) -> Parts:
    ratings = pd.read_parquet(folder / "ratings.parquet")[["user_id", "item_id", "infae_split"]]
    catalog = pd.DataFrame({"item_id": np.sort(ratings["item_id"].unique())})

    def part(*numbers: int) -> Dataset:
        rows = ratings.loc[ratings["infae_split"].isin(numbers), ["user_id", "item_id"]]
        return Dataset(rows, item_features=catalog)

    return Parts(part(0), part(1), part(0, 1), part(2))


def measured(best: Recommender, number: int, parts: Parts) -> list[float]:
    """Figures of one fit on the test part."""
    found = recsys.evaluate(best.clone(**seed(best, number)).fit(parts.train), parts.test, METRICS)
    return [found[metric] for metric in METRICS]


def figures(found: Sequence[Sequence[float]]) -> Row:
    cells = zip(("NDCG@10", "Recall@10"), np.mean(found, axis=0), np.std(found, axis=0), strict=True)
    return {name: f"{mean:.4f}" + (f" ± {spread:.4f}" if len(found) > 1 else "") for name, mean, spread in cells}
