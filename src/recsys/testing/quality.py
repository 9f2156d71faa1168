"""The check that a model learns: it beats the obvious on planted data of its own task shape."""

from typing import Any

import numpy as np

from recsys.base import Recommender
from recsys.data import Dataset
from recsys.evaluation import evaluate
from recsys.families import NeuralRecommender
from recsys.models.baseline import Popular
from recsys.testing.contract import Model, expect, reduced
from recsys.testing.planted import N_GROUPS, held_out

LIMITS = {"epochs": 50, "n_factors": 8, "embedding_dim": 32, "hidden_dims": 64, "batch_size": 32}
"""Largest values of hyperparameters on the planted data, which is small: real settings but for those."""


def check_learns_the_planted_tastes(model: Model) -> None:
    """Held-out planted data: lists beat `Popular`'s, ratings the mean, clicks the click rate."""
    one = able(model)
    train, rest = held_out(one.shape)
    validation, test = halves(rest)
    one.fit(train, validation_data=validation)
    if one.shape == "rating" and train.ratings is not None and test.ratings is not None:
        error, spread = evaluate(one, test, ["rmse"])["rmse"], float(np.std(test.ratings - train.ratings.mean()))
        expect(error < 0.9 * spread, model, f"RMSE {error:.3f} is not clearly below that of the mean, {spread:.3f}")
    elif one.shape == "click" and train.labels is not None and test.labels is not None:
        found = evaluate(one, test, ["logloss", "auc"])
        rate = float(train.labels.mean())
        chance = -float(np.mean(np.where(test.labels == 1, np.log(rate), np.log(1 - rate))))
        expect(found["auc"] > 0.6, model, f"AUC {found['auc']:.3f} is not clearly above chance")
        expect(
            found["logloss"] < chance, model, f"log loss {found['logloss']:.3f} is above the click rate's {chance:.3f}"
        )
    else:
        ours, theirs = (evaluate(each, test, ["ndcg@10"])["ndcg@10"] for each in (one, Popular().fit(train)))
        expect(ours > theirs + 0.1, model, f"NDCG@10 {ours:.3f} does not clearly beat that of Popular, {theirs:.3f}")


def able(model: Model) -> Recommender:
    """An unfitted clone with its own settings, but for those that suit large data: small batches, larger steps."""
    one = reduced(model, LIMITS)
    params = one.get_params()
    changes: dict[str, Any] = {"verbose": 0} if "verbose" in params else {}
    if "learning_rate" in params:
        # Steps of Adam have one length; those of plain descent are as small as the gradient.
        least = 0.005 if isinstance(one, NeuralRecommender) else 0.02
        changes["learning_rate"] = max(params["learning_rate"], least)
    if isinstance(one, NeuralRecommender) and one.patience is None:
        # A network learns so little data by heart; the best epoch is the model that is meant.
        changes["patience"] = 5
        changes["monitor"] = {"rating": "rmse", "click": "logloss"}.get(one.shape, one.monitor)
    return one.set_params(**changes)


def halves(data: Dataset) -> tuple[Dataset, Dataset]:
    """The data of half the users of every group, and of the other half."""
    first = (data.user_codes // N_GROUPS) % 2 == 0
    return data.subset(first), data.subset(~first)
