"""Baselines of ratings: b_ui = mean + b_u + b_i, what a rating is like before tastes are looked at.

Koren, "Factor in the Neighbors", TKDD 2010: the decoupled estimate, and the squared error with a penalty that the other
two bring down, by alternating least squares or by gradient steps.
"""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from recsys.kernels.rating_sgd import bias_epoch

Estimate = Literal["decoupled", "als", "sgd"]
DAMPING = {"decoupled": (25, 10), "als": (10, 15)}
"""What an item's and a user's number of ratings is raised by in the denominators."""
SWEEPS = {"decoupled": 1, "als": 10}
"""Times that items and then users are solved for, each from what the others are."""
RATE, PENALTY, EPOCHS = 0.005, 0.02, 20
"""Step size and penalty of the gradient steps, and passes over the ratings."""


def baselines(
    ratings: Any, mean: float, estimate: Estimate = "decoupled"
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """b_i (I,) and b_u (U,) of ratings CSR (U, I): sum (r - mean - b) / (damping + n), b being the other side's.

    "decoupled" takes items first, as if users had none; "als" repeats that ten times; "sgd" takes gradient steps on both
    at once, a user's ratings after another's.
    """
    item_base, user_base = np.zeros(ratings.shape[1]), np.zeros(ratings.shape[0])
    if estimate == "sgd":
        item_base = _descended(ratings, mean)
        return item_base, user_baselines(ratings, mean, item_base, estimate)
    n_items = np.bincount(ratings.indices, minlength=len(item_base))
    for _ in range(SWEEPS[estimate]):
        left = ratings.data - mean - np.repeat(user_base, np.diff(ratings.indptr))
        item_base = np.bincount(ratings.indices, left, len(item_base)) / (DAMPING[estimate][0] + n_items)
        user_base = user_baselines(ratings, mean, item_base, estimate)
    return item_base, user_base


def user_baselines(
    ratings: Any, mean: float, item_base: NDArray[np.float64], estimate: Estimate = "decoupled"
) -> NDArray[np.float64]:
    """b_u (n,) of users' ratings CSR (n, I) around the items' baselines: for users of the training data and for others.

    With "sgd", where the same steps lead that are taken for this user alone, the items' baselines staying as they are.
    """
    lengths = np.diff(ratings.indptr)
    rows = np.repeat(np.arange(len(lengths)), lengths)
    left = ratings.data - mean - item_base[ratings.indices]
    if estimate != "sgd":
        return np.bincount(rows, left, len(lengths)) / (DAMPING[estimate][1] + lengths)
    # A step is b <- keep b + RATE x: what a rating adds has shrunk by the later ratings, and once more by each epoch.
    keep = 1 - RATE * (1 + PENALTY)
    later = ratings.indptr[1:][rows] - 1 - np.arange(len(rows))
    a_pass = np.bincount(rows, RATE * keep**later * left, len(lengths))
    shrunk = keep**lengths
    return a_pass * np.where(lengths > 0, (1 - shrunk**EPOCHS) / np.where(lengths > 0, 1 - shrunk, 1), 0)


def _descended(ratings: Any, mean: float) -> NDArray[np.float64]:
    """The items' baselines by gradient steps on both sides at once."""
    by_user = ratings.indptr.astype(np.int64), ratings.indices.astype(np.int32), ratings.data.astype(np.float32)
    user_base, item_base = (np.zeros(n, np.float32) for n in ratings.shape)
    for _ in range(EPOCHS):
        bias_epoch(*by_user, np.float32(mean), user_base, item_base, np.float32(RATE), np.float32(PENALTY))
    return item_base.astype(np.float64)
