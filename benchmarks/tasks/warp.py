"""Seconds of training to a Recall@20 of 0.14 on Gowalla by WARP with 64 factors; the tale is told in `ranking`.

Each with the best options of a small grid.
"""

from speed import Bar, Contender

from tasks import common, ranking
from tasks.ranking import DIM, GOAL, prepare

__all__ = ["prepare"]

TITLE = f"WARP on Gowalla: seconds to Recall@20 = {GOAL}, {DIM} factors, 2 threads"

CONTENDERS = {
    "recsys": Contender(
        ranking.ours("WARP", 100, max_sampled=30, regularization=2.0, item_regularization=0.5, n_jobs=common.N_JOBS)
    ),
    "LightFM": ranking.lightfm_contender("warp", True, 1, 300.0, learning_rate=0.05, max_sampled=30),
}
BARS = [Bar("recsys", f"to {GOAL}, s", 0.5, ("LightFM",)), Bar("recsys", "an epoch, s", 1.0, ("LightFM",))]
