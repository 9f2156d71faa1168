"""Matrix factorization of ratings on MovieLens 100K."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from reproduce import Row, best_of

import recsys
from recsys import SVD, Dataset, Recommender, SVDpp

TITLE = "SVD and SVD++ on MovieLens 100K, 5-fold cross-validation"
PROTOCOL = """Five random folds, RMSE and MAE over the held-out ratings. Default options are those of the published
figure (SVD: 100 factors, learning rate 0.005; SVD++: 20 factors, 0.007; both 20 epochs, penalty 0.02), nothing is
tuned, and what is shown is the mean over five seeds, which matter as much as a thousandth. Where options are tuned,
each fold picks its own on a tenth of its training ratings and is fitted anew on all of them."""

GRIDS: Mapping[str, Sequence[Recommender]] = {
    "SVD": [
        SVD(learning_rate=0.01, regularization=penalty, epochs=epochs, verbose=0)
        for penalty in (0.05, 0.07, 0.1)
        for epochs in (20, 40)
    ],
    "SVDpp": [
        SVDpp(n_factors=n, learning_rate=0.01, regularization=penalty, epochs=epochs, verbose=0)
        for n in (20, 50)
        for penalty in (0.05, 0.07, 0.1)
        for epochs in (20, 40)
    ],
}


SEEDS = 5
FIGURES = ("RMSE", "MAE", "spread over folds")


def run() -> Iterator[Row]:
    yield from rows("100k", {"SVD": "0.934", "SVDpp": "0.919"})


def rows(name: str, published: dict[str, str]) -> Iterator[Row]:
    """A row for the default options and one for tuned options of each model, on one of the MovieLens data sets."""
    data = recsys.datasets.movielens(name)
    for default in (SVD(verbose=0), SVDpp(verbose=0)):
        cls = type(default).__name__
        seeded = [cross_validated(data, [default.clone(random_state=seed)]) for seed in range(SEEDS)]
        mean = {name: float(np.mean([row[name] for row in seeded])) for name in FIGURES}
        theirs = f"{published[cls]} (Surprise, its own folds)"
        yield {"model": cls, "options": "default", **mean, "picked": "", "published RMSE": theirs}
        yield {"model": cls, "options": "tuned", **cross_validated(data, GRIDS[cls])}


def cross_validated(data: Dataset, options: Sequence[Recommender]) -> dict[str, Any]:
    """Mean figures over five folds, each with the best of the options on its own validation ratings."""
    found: list[list[float]] = []
    picked: list[str] = []
    for train, test in recsys.split.folds(data, 5, random_state=0):
        model = options[0].clone()
        if len(options) > 1:
            model = best_of(options, *recsys.split.random(train, test_size=0.1), "rmse")
            picked.append(repr(model))
        result = recsys.evaluate(model.fit(train), test, metrics=["rmse", "mae"])
        found.append([result["rmse"], result["mae"]])
    mean, spread = np.mean(found, axis=0), np.std(found, axis=0)
    figures = dict(zip(FIGURES, map(float, (mean[0], mean[1], spread[0])), strict=True))
    return {**figures, "picked": "; ".join(dict.fromkeys(picked))}
