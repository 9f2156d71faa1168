"""Matrix factorization for pairwise ranking.

Rendle et al., "BPR: Bayesian Personalized Ranking from Implicit Feedback", UAI 2009. The hardest of several negatives:
Zhang et al., "Optimizing Top-N Collaborative Filtering via Dynamic Negative Item Sampling", SIGIR 2013.
"""

from typing import Any

import numpy as np

from recsys.kernels.ranking_sgd import bpr_epoch
from recsys.models.factorization.pairwise import PairwiseRecommender
from recsys.params import NonNegative, PositiveInt


class BPR(PairwiseRecommender):
    """-ln sigmoid(x_ui - x_uj) with x = p . q + b_i, for an interaction (u, i) and an item j that u has not, by SGD.

    An epoch is as many draws of interactions, with replacement, as there are distinct ones. The same seed gives bitwise
    the same model, unless `n_jobs` says otherwise.
    """

    epochs = 100
    regularization: NonNegative = 0.01
    """Penalty on a user's vector in each of the user's steps."""
    hardest_of: PositiveInt = 1
    """Negatives drawn a step, of which the one with the highest score is taken; more learn the top of the lists in fewer
    epochs."""

    def _steps(self, steps: range, seed: np.uint64, state: tuple[Any, ...]) -> tuple[float, int]:
        return bpr_epoch(steps.start, steps.stop, seed, *state, self.hardest_of)
