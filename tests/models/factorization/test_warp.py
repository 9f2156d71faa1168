from typing import Any

import numpy as np
import pandas as pd
import pytest
from tests.models.factorization.triples import all_scores, in_own_group, taste_frame, well_ordered

from recsys import WARP
from recsys.errors import RecsysError
from recsys.kernels.ranking_sgd import bpr_epoch, warp_epoch
from recsys.kernels.rows import new_table
from recsys.models.factorization.warp import rank_weights


def quick(**parameters: Any) -> WARP:
    return WARP(verbose=0, **({"n_factors": 8, "epochs": 30} | parameters))


def test_a_weight_is_of_the_rank_that_the_number_of_draws_tells() -> None:
    log, harmonic = (rank_weights(500, 40, how) for how in ("log", "harmonic"))
    for trial in range(1, 41):
        rank = int(499 / trial)
        assert log[trial - 1] == pytest.approx(np.log(rank), rel=1e-6)
        assert harmonic[trial - 1] == pytest.approx(sum(1 / k for k in range(1, rank + 1)), rel=1e-6)


@pytest.mark.parametrize("how", ["log", "harmonic"])
def test_weights_fall_with_every_draw_and_end_at_nothing(how: Any) -> None:
    weights = rank_weights(10**6, 200, how)
    assert (np.diff(weights) <= 0).all()
    assert weights[0] == 10  # the cap
    few = rank_weights(5, 10, how)
    # After 5 draws and more, fewer than one item is estimated to rank as high.
    assert few[0] > 1
    assert (few[4:] == 0).all()


@pytest.mark.parametrize("optimizer, rate", [("sgd", 0.01), ("adagrad", 0.05)])
@pytest.mark.parametrize("rank_weight", ["log", "harmonic"])
@pytest.mark.parametrize("negatives", ["uniform", "popularity"])
def test_what_users_have_is_ranked_above_what_they_have_not(
    optimizer: Any, rate: float, rank_weight: Any, negatives: Any
) -> None:
    frame = taste_frame(n_users=200)
    options = {"n_factors": 3, "optimizer": optimizer, "rank_weight": rank_weight, "negatives": negatives}
    model = quick(epochs=30, learning_rate=rate, **options).fit(frame)
    # Groups alone put 1 - 4 / 24 / 2 of the pairs in order: four of the 24 others are of the user's own.
    assert well_ordered(model, frame) > 0.92
    assert in_own_group(model) > 0.95


def test_threads_without_locks_learn_too() -> None:
    frame = taste_frame(n_users=400)
    model = quick(n_jobs=2).fit(frame)
    assert well_ordered(model, frame) > 0.95
    assert in_own_group(model) > 0.95


def test_items_that_are_a_margin_ahead_of_all_others_are_left_alone() -> None:
    # Two users with an item each, which end more than 1 apart: from then on no draw makes a step.
    frame = pd.DataFrame({"user_id": [0, 1], "item_id": [0, 1]})
    some, more = (quick(epochs=n, learning_rate=0.5, rank_weight="harmonic").fit(frame) for n in (300, 600))
    scores = all_scores(some)
    assert (scores[[0, 1], [0, 1]] > scores[[0, 1], [1, 0]] + 1).all()
    np.testing.assert_array_equal(some.item_factors_, more.item_factors_)
    assert some.training_log_["loss"].iloc[-1] == 0


def pushes(kernel: Any, last: Any) -> np.ndarray:
    """How much 20,000 tiny steps of one user lift two items of the 1002, which 5 and 500 others are far above."""
    p, q = new_table(1, 1, 1), new_table(1002, 2, 1)
    p[0, 0, 0] = 1
    q[2:, 0, 0] = -10 * np.arange(1000)
    q[:2, 0, 0] = -45, -4995
    plain = np.empty(0, np.int64), np.empty(0, np.int32), np.empty(0, np.float32)
    none = np.empty(0, np.int32)
    data = none, np.zeros(2, np.int32), np.array([0, 2]), np.arange(2, dtype=np.int32), none, 1002
    numbers = np.float32(1e-11), np.float32(0), np.float32(0)
    kernel(0, 20_000, np.uint64(0), *data, p, *plain, q, *plain, 1, *numbers, last)
    return q[:2, 0, 1]


def test_what_is_nearly_at_the_top_is_pushed_like_what_is_far_down() -> None:
    # Even pairs push by the number of items above, 1 to 100; the weights of estimated ranks by its logarithm.
    even = pushes(bpr_epoch, 1)
    assert 60 < even[1] / even[0] < 160
    for how in ("log", "harmonic"):
        weighted = pushes(warp_epoch, rank_weights(1002, 1000, how))
        assert 2 < weighted[1] / weighted[0] < 5
    # With few draws, what is nearly at the top is often passed over.
    few = pushes(warp_epoch, rank_weights(1002, 10, "log"))
    assert few[1] / few[0] > 10


def test_a_rate_that_diverges_is_named() -> None:
    with pytest.raises(RecsysError, match="WARP: the loss became NaN; lower learning_rate="):
        quick(optimizer="sgd", learning_rate=1e30, regularization=1.0).fit(taste_frame())
