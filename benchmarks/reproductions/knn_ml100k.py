"""Neighbors of ratings on MovieLens 100K."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import product

from reproduce import Row

import recsys
from recsys import ItemKNN, Recommender, UserKNN
from reproductions.svd_ml100k import cross_validated

TITLE = "UserKNN and ItemKNN on MovieLens 100K, 5-fold cross-validation"
PROTOCOL = """Five random folds, RMSE and MAE over the held-out ratings, 40 neighbors. For users, "basic", "centered" and
"baseline" are the forms of the published figures; the fourth form is the one that its library's manual recommends in
place of the third. Nothing of these is tuned. Where options are tuned, each fold picks its own on a tenth of its
training ratings and is fitted anew on all of them."""

PEARSON = {"similarity": "pearson_baseline", "shrinkage": 100.0, "prediction": "baseline", "baseline": "als"}
FORMS: Mapping[str, Mapping[str, str | float]] = {
    "basic": {"similarity": "msd", "prediction": "raw"},
    "centered": {"similarity": "msd", "prediction": "centered"},
    "baseline": {"similarity": "msd", "prediction": "baseline", "baseline": "als"},
    "baseline, Pearson around it": PEARSON,
}
PUBLISHED = {"basic": 0.980, "centered": 0.951, "baseline": 0.931}
"""RMSE of Surprise on its own folds."""


def tuned(model: type[UserKNN] | type[ItemKNN]) -> Sequence[Recommender]:
    """Options to pick from: neighbors, shrinkage, baselines, and whether opposite neighbors count."""
    grid = product((20, 40, 80), (30.0, 100.0, 300.0), ("als", "sgd"), (False, True))
    return [
        model(**{**PEARSON, "n_neighbors": k, "shrinkage": h, "baseline": estimate, "negative_neighbors": opposite})
        for k, h, estimate, opposite in grid
    ]


def run() -> Iterator[Row]:
    data = recsys.datasets.movielens("100k")
    for model in (UserKNN, ItemKNN):
        for form, options in FORMS.items():
            published = PUBLISHED.get(form) if model is UserKNN else None
            yield {
                "model": model.__name__,
                "options": form,
                **cross_validated(data, [model(**options)]),
                "published RMSE": "" if published is None else f"{published:.3f} (Surprise, its own folds)",
            }
        yield {"model": model.__name__, "options": "tuned", **cross_validated(data, tuned(model))}
