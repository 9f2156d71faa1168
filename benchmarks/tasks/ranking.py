"""What the tasks `bpr` and `warp` share: seconds of training to a Recall@20 on Gowalla's test interactions.

Every contender's factors, biases as one more column, are ranked by the same function. Those that train on from where
they are do so by a few epochs at a time in their first run, the clock stopped while recall is measured; ours is fitted
anew for each number of epochs tried. So the number of epochs that reaches the goal is found, and what is timed is one
fit from the start of just so many. A fit that misses the goal, since threads race, is made again with more.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from speed import Contender, Measures

from tasks import common

GOAL, DIM = 0.14, 64
RECALL = "Recall@20 (more is better)"
Factors = tuple[np.ndarray, np.ndarray]


def prepare(data: Path, scratch: Path) -> None:
    for name, matrix in zip(("train", "test"), common.gowalla(data), strict=True):
        sp.save_npz(scratch / f"{name}.npz", matrix)


def load(scratch: Path) -> tuple[Any, common.RecallGoal]:
    """Training interactions, csr (U, I), and the judge of factors."""
    seen = common.load_matrix(scratch / "train.npz")
    return seen, common.RecallGoal(seen, common.load_matrix(scratch / "test.npz"), GOAL)


def to_goal(
    remember: Path, goal: common.RecallGoal, epochs: Callable[[], int], fit: Callable[[int], Factors], first: float
) -> Measures:
    """Time a whole fit of so many epochs as reach the goal."""
    n_epochs = common.remembered(remember, epochs)
    while True:
        factors, seconds = common.timed(partial(fit, n_epochs))
        recall = goal.figure(*factors)
        if recall >= goal.goal:
            break
        n_epochs += max(1, n_epochs // 20)
    remember.write_text(str(n_epochs))
    return {
        f"to {GOAL}, s": seconds, "epochs": n_epochs, "an epoch, s": seconds / n_epochs, RECALL: recall,
        "first call, s": first,
    }  # fmt: skip


def never(remember: Path, watch: Callable[[], dict[str, float]], first: float) -> Measures:
    """The best figure of a contender that does not get there: measured once, since no time is claimed."""
    best = common.remembered(remember, watch)
    if best["reached"]:
        raise SystemExit(f"{remember.stem} reaches the goal: time it as the others are")
    return {
        f"to {GOAL}, s": float("inf"), "epochs": best["epochs"], "an epoch, s": best["seconds"] / best["epochs"],
        RECALL: best["figure"], "first call, s": first,
    }  # fmt: skip


def ours(name: str, most: int, **options: object) -> Callable[[Path], Measures]:
    """One of our models, by its name, with hyperparameters other than the epochs."""

    def run(scratch: Path) -> Measures:
        seen, goal = load(scratch)
        with common.compiling_first() as compiled:
            import recsys

            def fitted(epochs: int, data: recsys.Dataset) -> Factors:
                model = getattr(recsys, name)(n_factors=DIM, epochs=epochs, verbose=0, **options).fit(data)
                factors = model.user_factors_, model.item_factors_
                return common.with_bias(*factors, model.item_biases_) if model.item_bias else factors

            def needed() -> int:
                found = common.first_epoch(lambda n: goal.figure(*fitted(n, data)) >= GOAL, most)
                if found is None:
                    raise SystemExit(f"{name} does not reach {GOAL} in {most} epochs")
                return found

            data = recsys.Dataset(common.interactions(seen))
            some = recsys.Dataset(common.interactions(common.some_rows(seen)))
            first = common.seconds(lambda: fitted(1, some))
            compiled()
            return to_goal(scratch / f"{name}.json", goal, needed, lambda n: fitted(n, data), first)

    return run


def lightfm(loss: str, reaches: bool, every: int, cap: float, **options: float) -> Callable[[Path], Measures]:
    def run(scratch: Path) -> Measures:
        from lightfm import LightFM

        seen, goal = load(scratch)

        def model() -> LightFM:
            return LightFM(no_components=DIM, loss=loss, random_state=0, **options)

        def train(model: LightFM, epochs: int, matrix: Any) -> LightFM:
            return model.fit_partial(matrix.tocoo(), epochs=epochs, num_threads=common.N_JOBS)

        def factors(model: LightFM) -> Factors:
            bias, items = model.get_item_representations()
            return common.with_bias(model.get_user_representations()[1], items, bias)

        def watch() -> dict[str, float]:
            watched = model()
            return common.stepwise(
                lambda n: train(watched, n, seen), lambda: goal.figure(*factors(watched)), GOAL, every, cap
            )

        first = common.seconds(lambda: train(model(), 1, common.some_rows(seen)))
        remember = scratch / f"LightFM-{loss}.json"
        if not reaches:
            return never(remember, watch, first)
        return to_goal(
            remember, goal, lambda: int(watch()["epochs"]), lambda n: factors(train(model(), n, seen)), first
        )

    return run


def lightfm_contender(loss: str, reaches: bool, every: int, cap: float, **options: float) -> Contender:
    return Contender(lightfm(loss, reaches, every, cap, **options), peer=True, environment={"OMP_NUM_THREADS": "2"})
