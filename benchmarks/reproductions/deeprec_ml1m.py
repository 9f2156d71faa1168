"""DeepRec on MovieLens 1M split by time, with and without re-feeding, beside AutoRec and matrix factorization."""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from reproduce import Row

from recsys import SVD, AutoRec, Dataset, DeepRec, Recommender
from recsys.metrics import rmse
from reproductions.autoencoder_ratings import ADAM, SEEDS, USERS, figures, picked

TITLE = "DeepRec on MovieLens 1M, the last tenth of each user's ratings held out"
PROTOCOL = """The newest tenth of each user's ratings is for testing. Options and the number of epochs are picked by RMSE on
the newest tenth of what is left of each, without re-feeding and with it; the best ones are fitted on all training
ratings with three seeds and measured on the test ratings, predictions being clipped to the scale. Mean and standard
deviation over the seeds. "curve" is the RMSE on the validation ratings after epochs 1, 2, 5 and so on."""

DEEP: Mapping[str, object] = {"epochs": 120, "patience": 10, "verbose": 0}
STEPS: Sequence[Mapping[str, object]] = (
    {"optimizer": "sgd", "learning_rate": 0.02},
    {"optimizer": "adam", "learning_rate": 0.0003},
)
OTHERS: Mapping[str, Sequence[Recommender]] = {
    "AutoRec, users": [AutoRec(**ADAM, **USERS, regularization=penalty) for penalty in (100.0, 200.0, 300.0)],
    "SVD": [SVD(n_factors=100, epochs=60, regularization=0.07, verbose=0)],
}


def run() -> Iterator[Row]:
    columns = ["user_id", "item_id", "rating", "time_rank"]
    ratings = pd.read_parquet(Path(os.environ["RECSYS_DATA"], "ml-1m", "ratings.parquet"))[columns]
    train, test = newest_held_out(ratings)
    parts = tuple(map(as_data, newest_held_out(train)))
    yield {"model": "(user mean + item mean) / 2", "RMSE": f"{rmse(test['rating'], means(train, test)):.4f}"}
    splits = [(as_data(train), as_data(test))] * SEEDS
    for name, options in OTHERS.items():
        yield {"model": name, **figures(picked(options, *parts)[0], splits)}
    for refeeds, name in ((0, "DeepRec"), (1, "DeepRec, re-fed")):
        best, errors = picked([DeepRec(**DEEP, **steps, refeeds=refeeds) for steps in STEPS], *parts)
        yield {"model": name, **figures(best, splits), "curve": curve(errors)}


def newest_held_out(ratings: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """All but the newest tenth of each user's ratings, and that tenth."""
    ordered = ratings.sort_values(["user_id", "time_rank"], kind="stable")
    place, count = ordered.groupby("user_id").cumcount(), ordered.groupby("user_id")["item_id"].transform("size")
    held = place >= np.ceil(0.9 * count)
    return ordered[~held], ordered[held]


def as_data(ratings: pd.DataFrame) -> Dataset:
    return Dataset(ratings[["user_id", "item_id", "rating"]])


def means(train: pd.DataFrame, test: pd.DataFrame) -> np.ndarray:
    """Half the user's mean and half the item's; the mean of all ratings for an item without any."""
    sides = [test[name].map(train.groupby(name)["rating"].mean()) for name in ("user_id", "item_id")]
    return sum(side.fillna(train["rating"].mean()).to_numpy() for side in sides) / 2


def curve(errors: Sequence[float]) -> str:
    epochs = [epoch for epoch in (1, 2, 5, 10, 20, 40, 80, 120) if epoch <= len(errors)]
    return ", ".join(f"{epoch}: {errors[epoch - 1]:.4f}" for epoch in epochs)
