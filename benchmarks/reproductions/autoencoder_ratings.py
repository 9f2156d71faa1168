"""AutoRec on MovieLens 1M, in both its forms, beside matrix factorization."""

import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from reproduce import Row

import recsys
from recsys import SVD, AutoRec, Dataset, Recommender
from recsys.errors import TrainingError

TITLE = "AutoRec on MovieLens 1M, a tenth of the ratings held out at random"
PROTOCOL = """90/10 at random, three times. Options and the number of epochs are picked by RMSE on a tenth of the
training ratings of the first split, drawn at random; the best ones are fitted on all training ratings of each split and
measured on its test ratings, predictions being clipped to the scale. Mean and standard deviation over the three.
"picked" are seconds of the picking, "fit" those of one last fit. An epoch of L-BFGS is ten of its steps."""

SEEDS = 3
LBFGS: Mapping[str, object] = {"optimizer": "lbfgs", "epochs": 20, "patience": 3, "verbose": 0}
ADAM: Mapping[str, object] = {"optimizer": "adam", "epochs": 300, "patience": 8, "verbose": 0}

GRIDS: Mapping[str, tuple[Sequence[Recommender], str]] = {
    "AutoRec, items, Adam": (
        [AutoRec(**ADAM, regularization=penalty) for penalty in (200.0, 400.0, 800.0)],
        "0.831",
    ),
    "AutoRec, users, Adam": (
        [AutoRec(**ADAM, axis="user", regularization=penalty) for penalty in (200.0, 500.0, 1000.0, 2000.0)],
        "0.874",
    ),
    "SVD": ([SVD(n_factors=100, epochs=60, regularization=penalty, verbose=0) for penalty in (0.05, 0.07)], "0.845"),
    "AutoRec, items, L-BFGS": ([AutoRec(**LBFGS, regularization=400.0)], "0.831"),
}  # fmt: skip
"""Options of each model, and the RMSE of the AutoRec paper."""


def run() -> Iterator[Row]:
    ratings = pd.read_parquet(Path(os.environ["RECSYS_DATA"], "ml-1m", "ratings.parquet"))
    ratings = ratings[["user_id", "item_id", "rating"]]
    splits = [recsys.split.random(ratings, 0.1, random_state=seed) for seed in range(SEEDS)]
    parts = recsys.split.random(splits[0][0], 0.1, random_state=SEEDS)
    for name, (options, published) in GRIDS.items():
        start = time.perf_counter()
        best, _ = picked(options, *parts)
        seconds = round(time.perf_counter() - start)
        yield {"model": name, **figures(best, splits), "picked": seconds, "published RMSE": published}


def picked(options: Sequence[Recommender], fit: Dataset, validation: Dataset) -> tuple[Recommender, Sequence[float]]:
    """The unfitted option with the lowest RMSE on the validation data, for as many epochs as it took to get there.

    Beside it, its RMSE after each epoch of that fit.
    """
    trials: list[tuple[float, Recommender, Sequence[float]]] = []
    for option in options:
        start = time.perf_counter()
        try:
            errors = option.clone().fit(fit, validation_data=validation).training_log_["rmse"].tolist()
        except TrainingError as error:
            print(f"  {error}: {option!r}", file=sys.stderr, flush=True)
            continue
        epochs, seconds = int(np.argmin(errors)) + 1, time.perf_counter() - start
        text = f"  validation RMSE {min(errors):.4f} at {epochs} of {len(errors)} in {seconds:.0f} s: {option!r}"
        print(text, file=sys.stderr, flush=True)
        patience = {"patience": None} if "patience" in option.get_params() else {}
        trials.append((min(errors), option.clone(epochs=epochs, **patience), errors))
    return min(trials, key=lambda trial: trial[0])[1:]


def figures(model: Recommender, splits: Sequence[tuple[Dataset, Dataset]]) -> Row:
    """Figures of fits on the splits, one seed each."""
    start, results = time.perf_counter(), []
    for seed, (train, test) in enumerate(splits):
        results.append(recsys.evaluate(model.clone(random_state=seed).fit(train), test, metrics=["rmse", "mae"]))
    found = np.array([[result["rmse"], result["mae"]] for result in results])
    return {
        "RMSE": f"{found[:, 0].mean():.4f} ± {found[:, 0].std():.4f}",
        "MAE": f"{found[:, 1].mean():.4f} ± {found[:, 1].std():.4f}",
        "options": repr(model),
        "fit": round((time.perf_counter() - start) / len(splits)),
    }
