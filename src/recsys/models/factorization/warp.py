"""Matrix factorization by the weighted approximate-rank pairwise loss.

Weston, Bengio & Usunier, "WSABIE: Scaling Up To Large Vocabulary Image Annotation", IJCAI 2011; with features: Kula,
"Metadata Embeddings for User and Item Cold-start Recommendations", CBRecSys 2015.
"""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from recsys.kernels.ranking_sgd import warp_epoch
from recsys.models.factorization.pairwise import PairwiseRecommender
from recsys.params import PositiveInt

LARGEST_WEIGHT = 10.0
"""A step is never longer, however early in the catalog's ranking an item was passed."""


class WARP(PairwiseRecommender):
    """L(r) max(0, 1 - x_ui + x_uj) with x = p . q + b_i, for an interaction (u, i), by SGD.

    Items that u has not are drawn until one, j, has x_uj > x_ui - 1. If that took N draws, about r = floor((I - 1) / N)
    items rank as high, and L(r) weighs the step: where i is near the top it takes many draws, and L is small. After
    `max_sampled` draws in vain no step is made.
    """

    epochs = 30
    optimizer = "adagrad"
    init_std = 0.01
    max_sampled: PositiveInt = 10
    """Draws before a step is given up; one that is the user's own counts and is skipped."""
    rank_weight: Literal["log", "harmonic"] = "log"
    """L(r): ln(max(1, r)), or 1 + 1/2 + ... + 1/r as in the paper."""

    def _steps(self, steps: range, seed: np.uint64, state: tuple[Any, ...]) -> tuple[float, int]:
        weights = rank_weights(np.count_nonzero(self.item_counts_), self.max_sampled, self.rank_weight)
        return warp_epoch(steps.start, steps.stop, seed, *state, weights)[0], len(steps)


def rank_weights(n_items: int, max_sampled: int, how: Literal["log", "harmonic"]) -> NDArray[np.float32]:
    """L(r) for the rank r that is estimated after 1, ..., max_sampled draws among n_items, at most 10."""
    ranks = (n_items - 1) // np.arange(1, max_sampled + 1)
    harmonic = np.append(0, np.cumsum(1 / np.arange(1, n_items)))
    weights = np.log(np.maximum(ranks, 1)) if how == "log" else harmonic[ranks]
    return np.minimum(weights, LARGEST_WEIGHT).astype(np.float32)
