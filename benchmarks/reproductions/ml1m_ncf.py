"""GMF, NCFMLP and NeuMF on MovieLens 1M, by the protocol of their paper, and the same test items among the whole catalog."""

import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from reproduce import Row

import recsys
from recsys import ALS, EASE, GMF, NCFMLP, Dataset, ItemKNN, NeuMF, Popular, Recommender
from recsys.evaluation import Candidates
from recsys.families import NeuralRecommender

TITLE = "Neural collaborative filtering on MovieLens 1M"
PROTOCOL = """Every rating is an interaction, and each user's last one, as the paper's files name it, the test item
(6,040 of them). HR@10 and NDCG@10 are those of its rank among the 99 items that come with it, ties against it, and
beside them those of its rank among all items that the user has not rated. Options and epochs are picked on each user's
last item of the training data: options by NDCG@10 among 99 drawn items, epochs by NDCG@100 of the whole catalog, with
early stopping. The best options are then fitted to all training data for as many epochs, and the test items are read
once a fit; mean and standard deviation over three seeds. The paper has picked epochs on the test items."""
SEEDS = 3
CUT = 10

COMMON: Mapping[str, object] = {
    "batch_size": 4096, "epochs": 60, "patience": 4, "monitor": "ndcg@100", "verbose": 0,
}  # fmt: skip
BOTH: Mapping[str, object] = {"embedding_dim": 64, "tower_dim": 64, "hidden_dims": (128, 64, 32)}
STEPS = [{"learning_rate": rate, "weight_decay": decay} for rate, decay in ((0.001, 0.0), (0.003, 1e-5))]
TOWER: Mapping[str, object] = {**STEPS[1], "n_negatives": 8}

GRIDS: Mapping[str, tuple[Sequence[Recommender], str]] = {
    "Popular": ([Popular()], ""),
    "ItemKNN": (
        [ItemKNN(weighting="tfidf", n_neighbors=n, shrinkage=s) for n in (50, 100, 200) for s in (0.0, 50.0)],
        "0.6694 / 0.3979",
    ),
    "EASE": ([EASE(regularization=value) for value in (250.0, 500.0, 1000.0, 2000.0)], "0.7192 / 0.4494"),
    "ALS": (
        [
            ALS(objective="unobserved", n_factors=192, unobserved_weight=weight, regularization=penalty, verbose=0)
            for weight, penalty in ((0.3, 0.007), (0.3, 0.015), (0.1, 0.007))
        ],
        "0.7109 / 0.4382",
    ),
    "GMF": ([GMF(**COMMON, embedding_dim=64, **steps) for steps in STEPS], "0.708 / 0.429"),
    "NCFMLP": (
        [
            NCFMLP(**COMMON, **TOWER, embedding_dim=64, hidden_dims=(128, 64, 32), dropout=dropout)
            for dropout in (0.0, 0.2)
        ],
        "0.692 / 0.425",
    ),
    "NeuMF": ([NeuMF(**COMMON, **TOWER, **BOTH, dropout=dropout) for dropout in (0.2, 0.5)], "0.701 / 0.425"),
    "NeuMF, pre-trained": (
        [NeuMF(**COMMON, **TOWER, **BOTH, dropout=0.2, pretrain=True, descent_rate=rate) for rate in (0.01, 0.03, 0.1)],
        "0.726 / 0.445",
    ),
}
"""Options of each model, and its published HR@10 / NDCG@10 by the same protocol."""


class Parts(NamedTuple):
    """The training data, the same without each user's last item, those items, and the test items with their 99 others."""

    train: Dataset
    fit: Dataset
    validation: Dataset
    test: pd.DataFrame


def run() -> Iterator[Row]:
    parts = read(Path(os.environ["RECSYS_DATA"], "ml-1m"))
    for name, (options, published) in GRIDS.items():
        yield {"model": name, **row(picked(options, parts), parts, published)}


def row(best: Recommender, parts: Parts, published: str) -> Row:
    """Figures of a model fitted to all training data, a network several times."""
    given, full = zip(*(ranks(best, number, parts) for number in range(n_fits(best))), strict=True)
    return {
        **figures(given, "among 99"),
        **figures(full, "in full"),
        "published among 99": published,
        "options": repr(best),
    }


def ranks(best: Recommender, number: int, parts: Parts) -> tuple[np.ndarray, np.ndarray]:
    """Ranks of the test items among their 99 and among all, of one fit to all training data."""
    fitted = best.clone(**seed(best, number)).fit(parts.train)
    return given_ranks(fitted, parts.test), full_ranks(fitted, parts.test)


def n_fits(model: Recommender) -> int:
    """One, or several of a network, each with a seed of its own."""
    return SEEDS if isinstance(model, NeuralRecommender) else 1


def seed(model: Recommender, number: int) -> Mapping[str, int]:
    return {"random_state": number} if isinstance(model, NeuralRecommender) else {}


def read(folder: Path) -> Parts:
    """The test items are the paper's; of the rest the last one by time is for validation. All items are known."""
    ratings = pd.read_parquet(folder / "ratings.parquet")[["user_id", "item_id", "time_rank"]]
    test = pd.read_parquet(folder / "ncf_test.parquet")[["user_id", "item_id", "negatives"]]
    tested = pd.MultiIndex.from_frame(test[["user_id", "item_id"]])
    train = ratings[~pd.MultiIndex.from_frame(ratings[["user_id", "item_id"]]).isin(tested)]
    last = train["time_rank"] == train.groupby("user_id")["time_rank"].transform("max")
    catalog = pd.DataFrame({"item_id": np.sort(ratings["item_id"].unique())})

    def dataset(rows: pd.DataFrame) -> Dataset:
        return Dataset(rows[["user_id", "item_id"]], item_features=catalog)

    return Parts(dataset(train), dataset(train[~last]), dataset(train[last]), test)


# -- picking -----------------------------------------------------------------------------------------------------------


def picked(options: Sequence[Recommender], parts: Parts) -> Recommender:
    """The best of the options on the validation items, to be fitted for as many epochs as were best there."""
    trials = [trial(model, parts.fit, parts.validation, ("sampled", 99)) for model in options]
    return max(trials, key=lambda found: found[0])[1]


def trial(
    model: Recommender, fit: Dataset, validation: Dataset, candidates: Candidates = "full"
) -> tuple[float, Recommender]:
    """NDCG@10 of an option on the validation items, among all others or some, and the option with its epochs."""
    start = time.perf_counter()
    # A network picks its epoch on the validation items, which others do not read.
    fitted = model.clone().fit(fit, validation_data=validation)
    found = recsys.evaluate(fitted, validation, ["ndcg@10"], candidates=candidates)
    value, chosen = next(iter(found.values())), at_its_best(fitted)
    seconds = time.perf_counter() - start
    print(f"  validation NDCG@10 {value:.4f} in {seconds:.0f} s: {chosen!r}", file=sys.stderr, flush=True)
    return value, chosen


def at_its_best(fitted: Recommender) -> Recommender:
    """An unfitted clone that trains, without validation, for the epochs that were best with it."""
    if not isinstance(fitted, NeuralRecommender):
        return fitted.clone()
    monitor = fitted.monitor
    changes: dict[str, object] = {"epochs": best_epoch(fitted.training_log_, monitor), "patience": None}
    if isinstance(fitted, NeuMF) and fitted.pretraining_log_ is not None:
        logs = dict(iter(fitted.pretraining_log_.groupby("part")))
        changes["pretrain_epochs"] = (best_epoch(logs["GMF"], monitor), best_epoch(logs["NCFMLP"], monitor))
    return fitted.clone(**changes)


def best_epoch(log: pd.DataFrame, monitor: str) -> int:
    return int(log["epoch"].iloc[int(log[monitor].argmax())])


# -- figures -----------------------------------------------------------------------------------------------------------


def given_ranks(model: Recommender, test: pd.DataFrame) -> np.ndarray:
    """Rank of each test item among its 99, from 0, ties against it.

    Where the item itself is among them, as for 156 users in the paper's files, it counts once, as in the paper's code.
    """
    others = np.stack(test["negatives"].tolist())
    users = np.repeat(test["user_id"].to_numpy(), 1 + others.shape[1])
    items = np.column_stack([test["item_id"], others])
    scores = model.predict(users, items.ravel()).reshape(items.shape)
    return ((scores[:, 1:] >= scores[:, :1]) & (items[:, 1:] != items[:, :1])).sum(1)


def full_ranks(model: Recommender, test: pd.DataFrame) -> np.ndarray:
    """Rank of each test item among all that the user has not rated, from 0; CUT where it is behind the list."""
    lists = model.recommend(test["user_id"].to_numpy(), k=CUT)
    found = lists.merge(test[["user_id", "item_id"]], on=["user_id", "item_id"])
    return test["user_id"].map(found.set_index("user_id")["rank"] - 1).fillna(CUT).to_numpy()


def figures(ranks: Sequence[np.ndarray], where: str) -> Row:
    """HR and NDCG, mean and standard deviation over fits."""
    hits = [float((one < CUT).mean()) for one in ranks]
    gains = [float(np.where(one < CUT, 1 / np.log2(one + 2), 0).mean()) for one in ranks]
    shown = (f"{np.mean(one):.4f}" + (f" ± {np.std(one):.4f}" if len(one) > 1 else "") for one in (hits, gains))
    return {f"{name}@{CUT} {where}": text for name, text in zip(("HR", "NDCG"), shown, strict=True)}
