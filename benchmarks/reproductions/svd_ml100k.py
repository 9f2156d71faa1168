"""Biased matrix factorization on MovieLens 100K."""

from collections.abc import Iterator

import numpy as np
from reproduce import Row

import recsys
from recsys import SVD

TITLE = "SVD on MovieLens 100K, 5-fold cross-validation"
PROTOCOL = """Five random folds, RMSE and MAE over the held-out ratings, default options: those of the published
figure (100 factors, 20 epochs, learning rate 0.005, penalty 0.02), so nothing is tuned."""


def run() -> Iterator[Row]:
    data = recsys.datasets.movielens("100k")
    found = []
    for train, test in recsys.split.folds(data, 5, random_state=0):
        model = SVD(verbose=0).fit(train)
        found.append([recsys.evaluate(model, test, metrics=["rmse", "mae"])[name] for name in ("rmse", "mae")])
    mean, spread = np.mean(found, axis=0), np.std(found, axis=0)
    yield {
        "model": repr(SVD()),
        "RMSE": float(mean[0]),
        "MAE": float(mean[1]),
        "spread of RMSE over folds": float(spread[0]),
        "published RMSE / MAE": "0.934 / 0.737 (Surprise, its own folds)",
    }
