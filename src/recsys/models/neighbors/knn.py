"""What user-based and item-based neighbors share: the measures, the weightings and the rating baselines.

Herlocker et al., "An Algorithmic Framework for Performing Collaborative Filtering", SIGIR 1999; Koren, "Factor in the
Neighbors", TKDD 2010 (baselines, shrinkage); Deshpande & Karypis, "Item-Based Top-N Recommendation Algorithms", TOIS
2004 (implicit
form).
"""

from abc import abstractmethod
from typing import Any, ClassVar, Literal, Self

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recsys.base import Query, Recommender
from recsys.data import Dataset, Features, Histories
from recsys.errors import DataError
from recsys.kernels.similarity import CORATED, OVERLAP, Measure, Rows, top_k_similar
from recsys.params import NonNegative, PositiveInt, UnitInterval

PAIR_BLOCK = 1 << 20
"""Pairs of user and item whose ratings are predicted at a time."""
RATING_KINDS = {"pearson": "corated_pearson", "pearson_mean": "corated_cosine", "adjusted_cosine": "corated_cosine"}


class NeighborRecommender(Recommender):
    """Neighbors by similarity. Data with ratings gets the rating form, other data the implicit one, unless `feedback`
    says which."""

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
        "adjusted_cosine",
        "msd",
    ] = "auto"
    """Similarity of two rows; "auto" is "msd" for ratings and the cosine otherwise. For ratings all read common entries
    only: "pearson" centers on their mean, "pearson_mean" on the overall mean, "adjusted_cosine" on the users' means;
    "dice", "asymmetric" and "tversky" are implicit only."""
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
    weighting: Literal["none", "tfidf", "bm25"] = "none"
    """Weights of interactions before the implicit cosines: the rarer what two rows share, the more it counts; "bm25"
    also damps long rows, which only "asymmetric" and `shrinkage` can tell."""
    alpha: UnitInterval = 0.5
    """S_ij = n_ij / (n_i^alpha n_j^(1 - alpha)) for "asymmetric", i the user served or the item of the history; first
    weight of "tversky"."""
    beta: NonNegative = 0.5
    """Second weight of "tversky"."""
    n_jobs: int = -1
    """Threads; -1 is all processors."""

    explicit_: bool
    mean_: float

    def set_params(self, **parameters: Any) -> Self:
        """Change hyperparameters by name; what scoring made from the old ones is made anew."""
        super().set_params(**parameters)
        for name in ("_users", "_rows", "_given", "_levels"):
            self.__dict__.pop(name, None)
        return self

    def _measure(self) -> Measure:
        auto = "msd" if self.explicit_ else "cosine"
        name = auto if self.similarity == "auto" else self.similarity
        if self.explicit_:
            corated = RATING_KINDS.get(name, name if name == "msd" else f"corated_{name}")
            if corated not in CORATED:
                raise DataError(
                    f"{type(self).__name__}: similarity={name!r} is for implicit data; this data set has ratings"
                )
            kind = CORATED[corated]
            # Jaccard is an overlap measure: its shrinkage is in the denominator for both forms.
        elif name in OVERLAP:
            kind = OVERLAP[name]
        else:
            raise DataError(f"{type(self).__name__}: similarity={name!r} is for ratings; this data is implicit")
        return Measure(kind, self.shrinkage, self.significance, self.min_support, self.alpha, self.beta)

    def _fit_form(self, data: Dataset) -> None:
        self.explicit_ = data.ratings is not None if self.feedback == "auto" else self.feedback == "explicit"
        if self.explicit_ and data.ratings is None:
            raise DataError(f"{type(self).__name__}: feedback='explicit' needs a rating column")
        self._measure()
        self.mean_, self.low_, self.high_ = 0.0, 0.0, 0.0
        if self.explicit_:
            ratings = data.to_csr("rating")
            self.mean_, self.low_, self.high_ = (
                float(ratings.data.mean()),
                float(ratings.data.min()),
                float(ratings.data.max()),
            )
            self.item_base_, _ = baselines(ratings, self.mean_)

    def _matrix(self, history: Histories) -> Any:
        """Users x items of what the model reads: ratings, or ones."""
        if self.explicit_ and history.ratings is None:
            raise DataError(f"{type(self).__name__} was fitted on ratings; give the history a 'rating' column")
        return history.matrix(len(self.items_), "rating" if self.explicit_ else "ones").astype(np.float64)

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
        item_base = np.where(items >= 0, self.item_base_[np.maximum(items, 0)], 0)
        fallback = self.mean_ + item_base + user_base
        levels = {"raw": 0 * fallback, "centered": means, "zscore": means, "baseline": fallback}
        known = np.isfinite(parts) & (items >= 0)
        found = np.where(known, levels[self.prediction] + spread * np.nan_to_num(parts), fallback)
        return found.astype(np.float32)

    def _similarities(self, queries: Any, rows: Rows) -> NDArray[np.float32]:
        """Similarity of each row of a CSR matrix to all rows that it is compared with, (B, n)."""
        n = len(rows.counts)
        near, values = top_k_similar(queries, rows, n, self._measure(), exclude_self=False, n_jobs=self.n_jobs)
        # Places without a neighbor point at the last column, which is dropped.
        table = np.zeros((queries.shape[0], n + 1), np.float32)
        np.put_along_axis(table, near, values, axis=1)
        return table[:, :-1].copy()

    def _link(self, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.clip(scores, self.low_, self.high_).astype(np.float32) if self.explicit_ else scores


def row_means(matrix: Any, default: float) -> NDArray[np.float64]:
    """Mean of each row's entries; the default for an empty row."""
    n = np.diff(matrix.indptr)
    sums = (
        np.add.reduceat(np.append(matrix.data, 0.0), np.minimum(matrix.indptr[:-1], len(matrix.data)))
        if len(n)
        else np.zeros(0)
    )
    return np.where(n > 0, sums / np.maximum(n, 1), default)


def row_deviations(matrix: Any, means: NDArray[np.float64]) -> NDArray[np.float64]:
    """Standard deviation of each row's entries; 1 where there is none."""
    squares = centered(matrix, means)
    squares.data = squares.data**2
    deviation = np.sqrt(row_means(squares, 1.0))
    return np.where(deviation > 0, deviation, 1.0)


def centered(matrix: Any, means: NDArray[np.float64]) -> Any:
    """Entries minus their row's mean, entries that become 0 kept."""
    levels = np.repeat(means, np.diff(matrix.indptr))
    data = matrix.data - levels
    # The mean of equal numbers can be off them by rounding.
    data[np.abs(data) < 1e-12 * np.abs(levels)] = 0
    return sp.csr_matrix((data, matrix.indices, matrix.indptr), shape=matrix.shape)


def baselines(
    ratings: Any,
    mean: float,
    item_base: NDArray[np.float64] | None = None,
    damping: tuple[float, float] = (25, 10),
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """b_i = sum (r - mean) / (25 + n_i) and b_u = sum (r - mean - b_i) / (10 + n_u) (Koren, 2010): items (I,), users
    (U,)."""
    if item_base is None:
        n_items = np.bincount(ratings.indices, minlength=ratings.shape[1])
        item_base = np.bincount(ratings.indices, ratings.data - mean, ratings.shape[1]) / (damping[0] + n_items)
    n_users = np.diff(ratings.indptr)
    rows = np.repeat(np.arange(len(n_users)), n_users)
    left = ratings.data - mean - item_base[ratings.indices]
    return item_base, np.bincount(rows, left, len(n_users)) / (damping[1] + n_users)


def weigh(rows: Any, column_counts: NDArray[np.int64], n_rows: int, weighting: str) -> Any:
    """Ones by how rare their column is (TF-IDF), and by how long their row is too (BM25 with its usual 1.2 and 0.75).

    Columns have `column_counts` (m,) entries over the `n_rows` rows of the training data, of which `rows` may be others.
    """
    if weighting == "none":
        return rows
    weighed: Any = rows @ sp.diags(np.log((1 + n_rows) / (1 + column_counts)) + 1)
    if weighting == "bm25":
        lengths = np.diff(rows.indptr) * n_rows / max(int(column_counts.sum()), 1)
        weighed = sp.diags(2.2 / (1 + 1.2 * (0.25 + 0.75 * lengths))) @ weighed
    return weighed.tocsr()
