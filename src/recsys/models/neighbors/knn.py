"""What user-based and item-based neighbors share: the measures, the forms of a rating and the rating baselines.

Herlocker et al., "An Algorithmic Framework for Performing Collaborative Filtering", SIGIR 1999; Koren, "Factor in the
Neighbors", TKDD 2010 (baselines, shrinkage); Deshpande & Karypis, "Item-Based Top-N Recommendation Algorithms", TOIS
2004 (implicit form, popularity discount).
"""

from abc import abstractmethod
from functools import cached_property
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from recsys.base import Query, Recommender
from recsys.data import Dataset, Features, Histories
from recsys.errors import DataError
from recsys.kernels.measures import CORATED, OVERLAP, Measure
from recsys.models.neighbors.baselines import Estimate, baselines, user_baselines
from recsys.models.neighbors.levels import row_deviations, row_means, with_data
from recsys.params import NonNegative, PositiveInt, UnitInterval

PAIR_BLOCK = 1 << 20
"""Pairs of user and item whose ratings are predicted at a time."""
RATING_KINDS = {
    "cosine": "corated_cosine",
    "pearson": "corated_pearson",
    "pearson_mean": "corated_cosine",
    "pearson_baseline": "corated_cosine",
    "adjusted_cosine": "corated_cosine",
    "msd": "msd",
    "euclidean": "euclidean",
    "jaccard": "corated_jaccard",
}
"""Measures of rows of ratings, some of which are first centered."""


class NeighborRecommender(Recommender):
    """Neighbors by similarity. Data with ratings gets the rating form, other data the implicit one, unless `feedback`
    says which; a similarity of the other form is a `DataError` at the fit.

    Ratings are predicted as level + spread sum s x / sum |s| over the `n_neighbors` most similar rows that have one,
    where x is a neighbor's rating less its own level, over its own spread; without `min_k` such rows as the baseline
    mean + b_u + b_i. Implicit scores are sums of similarities.
    """

    reads_history: ClassVar[bool] = True

    n_neighbors: PositiveInt = 40
    """Nearest neighbors that a score is made of."""
    similarity: Literal[
        "auto",
        "cosine",
        "jaccard",
        "dice",
        "asymmetric",
        "tversky",
        "pearson",
        "pearson_mean",
        "pearson_baseline",
        "adjusted_cosine",
        "msd",
        "euclidean",
    ] = "auto"
    """Similarity of two rows; "auto" is "msd" for ratings and the cosine otherwise. For ratings all read common entries
    only: "pearson" centers on their mean, "pearson_mean" on the overall mean, "adjusted_cosine" on the users' means,
    "pearson_baseline" on the baselines (use it with a `shrinkage` of about 100); "msd" is 1 / (1 + mean squared
    difference), "euclidean" 1 / (1 + distance), so that rows at a distance of 0 weigh 1. "dice", "asymmetric" and
    "tversky" are implicit only."""
    feedback: Literal["auto", "explicit", "implicit"] = "auto"
    """Whether to predict ratings or to rank by plain interactions; "auto" goes by the data's columns."""
    shrinkage: NonNegative = 0.0
    """Ratings: similarity times n / (n + shrinkage) for n common entries. Implicit: added to the denominator."""
    significance: NonNegative = 0.0
    """Similarity times min(n, significance) / significance; 0 switches it off."""
    min_support: PositiveInt = 1
    """Common entries below which the similarity is 0."""
    min_k: PositiveInt = 1
    """Neighbors below which a rating is predicted by the baseline alone."""
    negative_neighbors: bool = False
    """Whether neighbors with a negative similarity count in a rating: sum s x / sum |s| over the largest |s|. With "raw"
    this leaves the scale before the clip; implicit scores never read them."""
    prediction: Literal["raw", "centered", "zscore", "baseline"] = "centered"
    """What is averaged over neighbors: ratings, or their deviations from means, in standard deviations, or from
    baselines."""
    baseline: Estimate = "decoupled"
    """How b_u and b_i of a rating's baseline mean + b_u + b_i are estimated. "decoupled": items first, damped by 25, then
    users, damped by 10. "als": ten rounds of that, damped by 10 and 15. "sgd": 20 epochs of gradient steps on both, at a
    rate of 0.005 with a penalty of 0.02, in the order of the ids; a user's are those that the same steps lead to around
    the items' final ones."""
    weighting: Literal["none", "tfidf", "bm25"] = "none"
    """Weights of interactions before the implicit cosines: the rarer what two rows share, the more it counts; "bm25"
    also damps long rows, which only "asymmetric" and `shrinkage` can tell."""
    alpha: UnitInterval = 0.5
    """S_ij = n_ij / (n_i^alpha n_j^(1 - alpha)) for "asymmetric", i the user served or the item of the history; first
    weight of "tversky"."""
    beta: NonNegative = 0.5
    """Second weight of "tversky"."""
    popularity_discount: NonNegative = 0.0
    """Exponent of an item's number of users, which divides its implicit scores; 0 switches it off. With "asymmetric" and
    `alpha` 1 these are Deshpande and Karypis' conditional probabilities."""
    n_jobs: int = -1
    """Threads; -1 is all processors."""

    explicit_: bool
    mean_: float
    low_: float
    high_: float

    def set_params(self, **parameters: Any) -> Self:
        """Change hyperparameters by name; what scoring made from the old ones is made anew."""
        super().set_params(**parameters)
        for name in [name for name in vars(self) if name.startswith("_")]:
            del self.__dict__[name]
        return self

    # -- fitting -----------------------------------------------------------------------------------------------------

    def _fit(self, data: Dataset, validation: Dataset | None) -> None:
        self.explicit_ = data.ratings is not None if self.feedback == "auto" else self.feedback == "explicit"
        if self.explicit_ and data.ratings is None:
            raise DataError(f"{type(self).__name__}: feedback='explicit' needs a rating column")
        self._measure()
        self._read_scale()

    def _partial_fit(self, data: Dataset) -> None:
        self._read_scale()

    def _read_scale(self) -> None:
        ratings = self._seen.data if self.explicit_ and self._seen.nnz else np.zeros(1)
        self.mean_, self.low_, self.high_ = float(ratings.mean()), float(ratings.min()), float(ratings.max())

    def _measure(self) -> Measure:
        name = self.similarity if self.similarity != "auto" else "msd" if self.explicit_ else "cosine"
        kinds = {one: CORATED[kind] for one, kind in RATING_KINDS.items()} if self.explicit_ else OVERLAP
        if name not in kinds:
            what = ("implicit data", "data set has ratings") if self.explicit_ else ("ratings", "data is implicit")
            raise DataError(f"{type(self).__name__}: similarity={name!r} is for {what[0]}; this {what[1]}")
        return Measure(kinds[name], self.shrinkage, self.significance, self.min_support, self.alpha, self.beta)

    # -- what is made of histories; attributes are made once, when they are needed, and not saved --------------------

    @cached_property
    def _seen(self) -> Any:
        """Users x items of the training data."""
        return self._matrix(self.history_)

    @cached_property
    def _item_base(self) -> NDArray[np.float64]:
        """b_i of the items."""
        return baselines(self._seen, self.mean_, self.baseline)[0]

    def _matrix(self, history: Histories) -> Any:
        """Users x items of what the model reads: ratings, or ones."""
        if self.explicit_ and history.ratings is None:
            raise DataError(f"{type(self).__name__} was fitted on ratings; give the history a 'rating' column")
        return history.matrix(len(self.items_), "rating" if self.explicit_ else "ones").astype(np.float64)

    def _user_base(self, ratings: Any) -> NDArray[np.float64]:
        """b_u of the users whose ratings (n, I) are given."""
        return user_baselines(ratings, self.mean_, self._item_base, self.baseline)

    def _beyond_baselines(self, ratings: Any) -> Any:
        """Users' ratings (n, I) less mean + b_u + b_i."""
        users = np.repeat(self._user_base(ratings), np.diff(ratings.indptr))
        return with_data(ratings, ratings.data - self.mean_ - users - self._item_base[ratings.indices])

    def _levels(self, rows: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean and standard deviation of the ratings of users or items, those to divide by where that is asked for."""
        means = row_means(rows, self.mean_)
        return means, row_deviations(rows, means) if self.prediction == "zscore" else np.ones(len(means))

    def _popularity(self) -> NDArray[np.float32]:
        """What the implicit scores of items are multiplied by, (I,)."""
        return (np.maximum(self.item_counts_, 1) ** -float(self.popularity_discount)).astype(np.float32)

    # -- ratings -----------------------------------------------------------------------------------------------------

    @abstractmethod
    def _score_ratings(self, query: Query, rows: NDArray[np.int64], items: NDArray[np.int64]) -> NDArray[np.float32]:
        """Predicted ratings of (row of the query, item) pairs that come by the side that is compared."""

    @abstractmethod
    def _compared(self, users: NDArray[np.int64], items: NDArray[np.int64]) -> NDArray[np.int64]:
        """Of each pair, the side whose similarities its rating needs."""

    def score_codes(
        self, users: NDArray[np.int64], items: NDArray[np.int64], context: Features | None = None
    ) -> NDArray[np.float32]:
        """Scores of pairs of codes: ratings by what is compared, so that its similarities are made once."""
        if not self.explicit_:
            return super().score_codes(users, items, context)
        scores = np.empty(len(users), np.float32)
        order = np.argsort(self._compared(users, items), kind="stable")
        for start in range(0, len(order), PAIR_BLOCK):
            pairs = order[start : start + PAIR_BLOCK]
            asked, rows = np.unique(users[pairs], return_inverse=True)
            scores[pairs] = self._score_ratings(Query(asked, self._history_of(asked)), rows, items[pairs])
        return scores

    def _assembled(
        self,
        parts: NDArray[np.float64],
        items: NDArray[np.int64],
        user_base: NDArray[np.float64],
        means: NDArray[np.float64],
        spread: NDArray[np.float64],
    ) -> NDArray[np.float32]:
        """Ratings of pairs (n,) from what neighbors gave on average, NaN where there is nobody to ask.

        `user_base` is the baseline of each pair's user, `means` and `spread` are those of the side that is compared.
        """
        item_base = np.where(items >= 0, self._item_base[np.maximum(items, 0)], 0)
        fallback = self.mean_ + item_base + user_base
        levels = {"raw": 0 * fallback, "centered": means, "zscore": means, "baseline": fallback}
        known = np.isfinite(parts) & (items >= 0)
        found = np.where(known, levels[self.prediction] + spread * np.nan_to_num(parts), fallback)
        return found.astype(np.float32)

    def _shares(self, similarity: NDArray[np.float32], given: NDArray[np.float64]) -> NDArray[np.float64]:
        """What each neighbor adds to one rating, (n,): s x / sum |s| for the nearest, 0 for the others."""
        strength = np.abs(similarity) if self.negative_neighbors else similarity
        near = np.argsort(-strength, kind="stable")[: self.n_neighbors]
        near = near[strength[near] > 0]
        shares = np.zeros(len(similarity))
        if len(near) >= self.min_k:
            shares[near] = similarity[near] * given[near] / np.abs(similarity[near]).sum()
        return shares

    def _link(self, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.clip(scores, self.low_, self.high_).astype(np.float32) if self.explicit_ else scores
