"""Seconds of a whole `ALS` fit on Gowalla to the value of the objective that `implicit` reaches in 15 iterations.

All minimize sum c (p - u.v)^2 + regularization (|u|^2 + |v|^2) with confidence alpha for seen pairs and 1 for the
others. One function computes the value that each contender's factors leave. `implicit`'s conjugate gradients, its
default, set the target; how many epochs the others need is found in their first run, off the clock, and the fits that
are timed make just so many. The interactions are in each one's own form before the clock starts, and `implicit`'s BLAS
keeps to one thread, as it asks for.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import scipy.sparse as sp
from speed import Bar, Contender, Measures

from tasks import common

TITLE = "ALS on Gowalla (29,858 users, 40,981 items, 810,128 interactions): seconds to one value of the objective"
ALPHA, REGULARIZATION = 40.0, 1.0
"""The confidence of the paper, and the penalty of a coarse grid with the best Recall@20 of `implicit`."""
DIMS, ITERATIONS, MOST = (64, 128), 15, 20


def prepare(data: Path, scratch: Path) -> None:
    for name, matrix in zip(("train", "test"), common.gowalla(data), strict=True):
        sp.save_npz(scratch / f"{name}.npz", matrix)


class Race:
    """The interactions, the value to reach, and what a run reports."""

    def __init__(self, scratch: Path, dim: int):
        self.scratch, self.dim = scratch, dim
        self.seen = common.load_matrix(scratch / "train.npz")
        self.target_file = scratch / f"target-{dim}.json"

    def value(self, users: np.ndarray, items: np.ndarray) -> float:
        return common.confidence_objective(self.seen, users, items, ALPHA, REGULARIZATION)

    def target(self) -> float:
        return common.remembered(self.target_file, self._no_target)

    def _no_target(self) -> float:
        raise SystemExit("run implicit's conjugate gradients too: they set the target")

    def report(self, seconds: float, first: float, epochs: int, users: np.ndarray, items: np.ndarray) -> Measures:
        goal = common.RecallGoal(self.seen, common.load_matrix(self.scratch / "test.npz"), 0.0)
        value = self.value(users, items)
        common.remembered(self.target_file, lambda: value)
        return {
            "fit, s": seconds,
            "epochs": epochs,
            "objective / target": value / self.target(),
            "Recall@20 of 4,000 users (more is better)": goal.recall(users, items, goal.some),
            "first call, s": first,
        }


def ours(dim: int) -> Callable[[Path], Measures]:
    def run(scratch: Path) -> Measures:
        race = Race(scratch, dim)
        with common.compiling_first() as compiled:
            import recsys

            def fitted(epochs: int, data: recsys.Dataset) -> recsys.ALS:
                return recsys.ALS(
                    n_factors=dim, objective="confidence", alpha=ALPHA, regularization=REGULARIZATION, epochs=epochs,
                    device="cpu", n_jobs=common.N_JOBS, verbose=0,
                ).fit(data)  # fmt: skip

            def needed() -> int:
                """By the log of a long fit; the users' last solve may have spared an epoch."""
                losses = fitted(MOST, data).training_log_["loss"].to_numpy()
                epochs = int(np.argmax(losses <= race.target())) + 1 if losses.min() <= race.target() else MOST
                while epochs > 1:
                    model = fitted(epochs - 1, data)
                    if race.value(model.user_factors_, model.item_factors_) > race.target():
                        break
                    epochs -= 1
                return epochs

            data = recsys.Dataset(common.interactions(race.seen))
            some = recsys.Dataset(common.interactions(common.some_rows(race.seen)))
            first = common.seconds(lambda: fitted(1, some))
            compiled()
            epochs = common.remembered(scratch / f"ours-{dim}.json", needed)
            model, seconds = common.timed(lambda: fitted(epochs, data))
        return race.report(seconds, first, epochs, model.user_factors_, model.item_factors_)

    return run


def implicit(dim: int, use_cg: bool) -> Callable[[Path], Measures]:
    def run(scratch: Path) -> Measures:
        from implicit.cpu.als import AlternatingLeastSquares

        race = Race(scratch, dim)

        def model(iterations: int) -> AlternatingLeastSquares:
            return AlternatingLeastSquares(
                factors=dim, alpha=ALPHA, regularization=REGULARIZATION, iterations=iterations, use_cg=use_cg,
                num_threads=common.N_JOBS, random_state=0,
            )  # fmt: skip

        def needed() -> int:
            values: list[float] = []
            watched = model(ITERATIONS)

            def look(*_: object) -> None:
                values.append(race.value(watched.user_factors, watched.item_factors))

            watched.fit(race.seen, show_progress=False, callback=look)
            return next((n for n, value in enumerate(values, 1) if value <= race.target()), ITERATIONS)

        iterations = ITERATIONS if use_cg else common.remembered(scratch / f"exact-{dim}.json", needed)
        first = common.seconds(lambda: model(1).fit(common.some_rows(race.seen), show_progress=False))
        fitted = model(iterations)
        seconds = common.seconds(lambda: fitted.fit(race.seen, show_progress=False))
        return race.report(seconds, first, iterations, fitted.user_factors, fitted.item_factors)

    return run


CONTENDERS: dict[str, Contender] = {}
BARS: list[Bar] = []
for dim in DIMS:
    group = f"{dim} factors"
    peers = (f"implicit, conjugate gradients, {group}", f"implicit, exact, {group}")
    for name, use_cg in zip(peers, (True, False), strict=True):
        CONTENDERS[name] = Contender(implicit(dim, use_cg), peer=True, environment=common.ONE_BLAS, group=group)
    CONTENDERS[f"recsys, {group}"] = Contender(ours(dim), group=group)
    BARS += [Bar(f"recsys, {group}", "fit, s", 0.6, peers), Bar(f"recsys, {group}", "objective / target", 1.0)]
