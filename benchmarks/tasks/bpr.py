"""Seconds of training to a Recall@20 of 0.14 on Gowalla by BPR with 64 factors; the tale is told in `ranking`.

Each with the best options of a small grid. `implicit` draws negatives by popularity and LightFM steps by Adagrad;
neither gets there, and their best within the cap on training time is shown.
"""

from pathlib import Path
from typing import Any

from speed import Bar, Contender, Measures

from tasks import common, ranking
from tasks.ranking import DIM, GOAL, prepare

__all__ = ["prepare"]

TITLE = f"BPR on Gowalla: seconds to Recall@20 = {GOAL}, {DIM} factors, 2 threads"
CAP = 90.0
"""Seconds of training after which a contender that has not got there is stopped."""


def cornac(scratch: Path) -> Measures:
    from cornac.data import Dataset
    from cornac.models import BPR

    seen, goal = ranking.load(scratch)

    def data(matrix: Any) -> Dataset:
        coo = matrix.tocoo()
        return Dataset.from_uir(list(zip(coo.row.tolist(), coo.col.tolist(), coo.data.tolist(), strict=True)))

    def model(epochs: int) -> BPR:
        return BPR(k=DIM, max_iter=epochs, learning_rate=0.07, lambda_reg=0.002, num_threads=common.N_JOBS)

    def factors(model: BPR) -> ranking.Factors:
        # The rows were in the order of the codes, the columns were not.
        place = [every.iid_map[item] for item in range(seen.shape[1])]
        return common.with_bias(model.u_factors, model.i_factors[place], model.i_biases[place])

    def needed() -> int:
        # Fitting again goes on from the factors that are there.
        watched = model(5)
        found = common.stepwise(
            lambda _: watched.fit(every), lambda: goal.figure(*factors(watched)), GOAL, watched.max_iter, 4 * CAP
        )
        if not found["reached"]:
            raise SystemExit(f"Cornac's BPR does not reach {GOAL}")
        return int(found["epochs"])

    some, every = data(common.some_rows(seen)), data(seen)
    first = common.seconds(lambda: model(1).fit(some))
    return ranking.to_goal(scratch / "Cornac.json", goal, needed, lambda n: factors(model(n).fit(every)), first)


def implicit(scratch: Path) -> Measures:
    from implicit.cpu.bpr import BayesianPersonalizedRanking

    seen, goal = ranking.load(scratch)

    def model(epochs: int) -> BayesianPersonalizedRanking:
        return BayesianPersonalizedRanking(
            factors=DIM, iterations=epochs, learning_rate=0.1, regularization=0.005, num_threads=common.N_JOBS
        )  # fmt: skip

    def watch() -> dict[str, float]:
        watched = model(10)

        def figure() -> float:
            return goal.figure(watched.user_factors, watched.item_factors)

        return common.stepwise(lambda _: watched.fit(seen, show_progress=False), figure, GOAL, watched.iterations, CAP)

    first = common.seconds(lambda: model(1).fit(common.some_rows(seen), show_progress=False))
    return ranking.never(scratch / "implicit.json", watch, first)


CONTENDERS = {
    "recsys": Contender(
        ranking.ours(
            "BPR", 400, learning_rate=0.1, regularization=0.03, item_regularization=0.001, item_bias=False,
            init_std=0.03, hardest_of=8, n_jobs=common.N_JOBS,
        )
    ),
    "Cornac": Contender(cornac, peer=True),
    "implicit": Contender(implicit, peer=True, environment=common.ONE_BLAS),
    "LightFM": ranking.lightfm_contender("bpr", False, 10, CAP, learning_rate=0.05),
}  # fmt: skip
BARS = [Bar("recsys", f"to {GOAL}, s", 0.4, ("Cornac",))]
