"""Autoencoders, linear models and neighbors on MovieLens 1M for users whom none of them was fitted on."""

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from reproduce import Row, best_of

import recsys
from recsys import CDAE, EASE, Dataset, ItemKNN, MultDAE, MultVAE, Popular, Recommender
from recsys.split import HeldOutUsers

TITLE = "Strong generalization on MovieLens 1M"
PROTOCOL = """Ratings of at least 4 are interactions; users with five or more stay. A tenth of the users are for testing
and a tenth of the others for validation, three times at random; 80% of a held-out user's interactions are given, at
random, and the others are to be found among all items that are not given. Options are picked by NDCG@100 on the
validation users of the first split; the best ones are fitted on the training users of each split, with a seed of its
own, and measured on its test users. Recall is divided by min(k, relevant). Mean and standard deviation over the three."""

METRICS = ("ndcg@100", "recall@20(cap=True)", "recall@50(cap=True)")
SEEDS = 3

DAE: Mapping[str, object] = {"batch_size": 250, "verbose": 0}
GRIDS: Mapping[str, Sequence[Recommender]] = {
    "Popular": [Popular()],
    "ItemKNN": [
        ItemKNN(weighting=weighting, n_neighbors=n, shrinkage=shrinkage)
        for weighting in ("none", "tfidf")
        for n in (50, 100)
        for shrinkage in (0.0, 50.0)
    ],
    "EASE": [EASE(regularization=value) for value in (250.0, 500.0, 750.0, 1000.0)],
    "MultDAE": [
        MultDAE(**DAE, dropout=dropout, weight_decay=decay, epochs=epochs)
        for dropout, decay, epochs in ((0.5, 4e-4, 75), (0.5, 1e-3, 75), (0.5, 1e-3, 150), (0.7, 4e-4, 100))
    ],
    "MultVAE": [
        MultVAE(**DAE, hidden_dims=dims, dropout=dropout, weight_decay=decay, kl_cap=cap, kl_steps=2000, epochs=epochs)
        for dims, dropout, decay, cap, epochs in (
            ((600,), 0.5, 0.0, 0.2, 50), ((600,), 0.7, 0.0, 0.05, 100), ((), 0.5, 4e-4, 0.05, 100),
            ((), 0.5, 4e-4, 0.05, 200), ((), 0.5, 1e-3, 0.05, 200),
        )
    ],
    "MultVAE, composite prior": [
        MultVAE(
            **DAE, hidden_dims=(), weight_decay=4e-4, prior="composite", kl_per_item=weight, epochs=epochs
        )
        for weight, epochs in ((0.0005, 100), (0.001, 100), (0.001, 200), (0.002, 200))
    ],
    "CDAE": [
        CDAE(user_node=node, epochs=epochs, verbose=0) for node, epochs in ((True, 50), (False, 100), (False, 200))
    ],
}  # fmt: skip


def run() -> Iterator[Row]:
    ratings = pd.read_parquet(Path(os.environ["RECSYS_DATA"], "ml-1m", "ratings.parquet"))
    data = Dataset(ratings.loc[ratings["rating"] >= 4, ["user_id", "item_id"]]).filter(min_user_interactions=5)
    splits = [parts(data, seed) for seed in range(SEEDS)]
    train, validation, _ = splits[0]
    for name, options in GRIDS.items():
        start = time.perf_counter()
        best = best_of(options, train, validation.targets, "ndcg@100", history=validation.history)
        middle = time.perf_counter()
        found = np.array([measured(best, seed, *split) for seed, split in enumerate(splits)])
        cells = [f"{mean:.4f} ± {spread:.4f}" for mean, spread in zip(found.mean(0), found.std(0), strict=True)]
        yield {
            "model": name,
            **dict(zip(("NDCG@100", "Recall@20", "Recall@50"), cells, strict=True)),
            "options": repr(best),
            "picked": round(middle - start),
            "fit": round((time.perf_counter() - middle) / SEEDS, 1),
        }


def parts(data: Dataset, seed: int) -> tuple[Dataset, HeldOutUsers, HeldOutUsers]:
    """Training data, validation users and test users."""
    test = recsys.split.by_user(data, 0.1, random_state=seed)
    validation = recsys.split.by_user(test.train, 0.1, random_state=seed)
    return validation.train, validation, test


def measured(
    model: Recommender, seed: int, train: Dataset, validation: HeldOutUsers, test: HeldOutUsers
) -> list[float]:
    """Figures on the test users, of a model fitted on the training users."""
    seeded = {"random_state": seed} if "random_state" in model.get_params() else {}
    fitted = model.clone(**seeded).fit(train)
    found = recsys.evaluate(fitted, test.targets, metrics=METRICS, history=test.history)
    return [found[name] for name in METRICS]
