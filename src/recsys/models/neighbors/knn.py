"""What user-based and item-based neighbors share: the measures, the weightings and the rating baselines.

Herlocker et al., "An Algorithmic Framework for Performing Collaborative Filtering", SIGIR 1999; Koren, "Factor in the
Neighbors", TKDD 2010 (baselines, shrinkage); Deshpande & Karypis, "Item-Based Top-N Recommendation Algorithms", TOIS
2004 (implicit
form).
"""

from typing import Any, ClassVar, Literal

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recsys.base import Recommender
from recsys.data import Dataset, Histories
from recsys.errors import DataError
from recsys.kernels.similarity import CORATED, OVERLAP, Measure
from recsys.params import NonNegative, PositiveInt, UnitInterval

RATING_KINDS = {"pearson": "corated_pearson", "pearson_mean": "corated_cosine", "adjusted_cosine": "corated_cosine"}


class NeighborRecommender(Recommender):
    """Neighbors by similarity. Data with ratings gets the rating form, other data the implicit one, unless `feedback`
    says which."""

    reads_history: ClassVar[bool] = True

    n_neighbors: PositiveInt = 40
    """Nearest neighbors that a score is made of; those with a similarity of 0 or less never count."""
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
    """Similarity of two rows; "auto" is the cosine. For ratings all read common entries only: "pearson" centers on their mean,
    "pearson_mean" on the overall mean, "adjusted_cosine" on the users' means; "dice", "asymmetric" and "tversky" are
    implicit only."""
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
    prediction: Literal["raw", "centered", "zscore", "baseline"] = "centered"
    """What is averaged over neighbors: ratings, or their deviations from means, in standard deviations, or from
    baselines."""
    weighting: Literal["none", "tfidf", "bm25"] = "none"
    """Weights of interactions before the implicit similarity."""
    alpha: UnitInterval = 0.5
    """Exponent of the "asymmetric" cosine and first weight of "tversky"."""
    beta: NonNegative = 0.5
    """Second weight of "tversky"."""
    n_jobs: int = -1
    """Threads; -1 is all processors."""

    explicit_: bool
    mean_: float

    def _measure(self) -> Measure:
        name = "cosine" if self.similarity == "auto" else self.similarity
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

    def _for_similarity(self, matrix: Any) -> Any:
        """The users x items matrix as its rows or columns are compared: centered, or weighted."""
        if not self.explicit_:
            return weigh(matrix, self.item_counts_, len(self.users_), self.weighting)
        if self.similarity == "adjusted_cosine":
            return centered(matrix, row_means(matrix, self.mean_))
        return matrix

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
    return np.where(deviation > 1e-9, deviation, 1.0)


def centered(matrix: Any, means: NDArray[np.float64]) -> Any:
    """Entries minus their row's mean, entries that become 0 kept."""
    data = matrix.data - np.repeat(means, np.diff(matrix.indptr))
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


def weigh(matrix: Any, item_counts: NDArray[np.int64], n_users: int, weighting: str) -> Any:
    """Interactions weighed by how rare their item is (TF-IDF), and by how long their user's row is too (BM25)."""
    if weighting == "none":
        return matrix
    rarity = np.log((1 + n_users) / (1 + item_counts)) + 1
    weighed: Any = matrix @ sp.diags(np.sqrt(rarity))
    if weighting == "bm25":
        lengths = np.diff(matrix.indptr)
        k1, b, mean = 1.2, 0.75, max(float(lengths[lengths > 0].mean()) if (lengths > 0).any() else 1.0, 1.0)
        weighed = sp.diags(np.sqrt((k1 + 1) / (1 + k1 * (1 - b + b * lengths / mean)))) @ weighed
    return weighed.tocsr()
