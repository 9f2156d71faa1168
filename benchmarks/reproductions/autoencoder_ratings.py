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
USERS: Mapping[str, object] = {"axis": "user", "n_factors": 100, "learning_rate": 0.0003}
"""Of the user form: shorter codes than the paper's 500 are better on the validation ratings at every penalty."""

GRIDS: Mapping[str, tuple[Sequence[Recommender], str]] = {
    "AutoRec, items, Adam": (
        [AutoRec(**ADAM, regularization=penalty) for penalty in (200.0, 400.0, 800.0)],
        "0.831",
    ),
    "AutoRec, users, Adam": (
        [AutoRec(**ADAM, **USERS, regularization=penalty) for penalty in (100.0, 200.0, 300.0)],
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
    trials = [trial(option, fit, validation) for option in options]
    return min(trials, key=lambda found: min(found[1]))


def trial(option: Recommender, fit: Dataset, validation: Dataset) -> tuple[Recommender, Sequence[float]]:
    """An option with the epochs that were best on the validation data, and its RMSE there after each of them."""
    start = time.perf_counter()
    try:
        errors = option.clone().fit(fit, validation_data=validation).training_log_["rmse"].tolist()
    except TrainingError as error:
        print(f"  {error}: {option!r}", file=sys.stderr, flush=True)
        return option, [np.inf]
    epochs, seconds = int(np.argmin(errors)) + 1, time.perf_counter() - start
    text = f"  validation RMSE {min(errors):.4f} at {epochs} of {len(errors)} in {seconds:.0f} s: {option!r}"
    print(text, file=sys.stderr, flush=True)
    patience = {"patience": None} if "patience" in option.get_params() else {}
    return option.clone(epochs=epochs, **patience), errors


def figures(model: Recommender, splits: Sequence[tuple[Dataset, Dataset]]) -> Row:
    """Figures of fits on the splits, one seed each."""
    start = time.perf_counter()
    found = np.array([measured(model, seed, *split) for seed, split in enumerate(splits)])
    return {
        "RMSE": f"{found[:, 0].mean():.4f} ± {found[:, 0].std():.4f}",
        "MAE": f"{found[:, 1].mean():.4f} ± {found[:, 1].std():.4f}",
        "options": repr(model),
        "fit": round((time.perf_counter() - start) / len(splits)),
    }


def measured(model: Recommender, seed: int, train: Dataset, test: Dataset) -> tuple[float, float]:
    """RMSE and MAE of one fit."""
    found = recsys.evaluate(model.clone(random_state=seed).fit(train), test, metrics=["rmse", "mae"])
    return found["rmse"], found["mae"]
