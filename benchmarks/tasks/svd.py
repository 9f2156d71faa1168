"""SVD on MovieLens 1M, a random tenth held out: 20 epochs of 100 factors, beside Surprise's SVD and Cornac's MF.

All minimize the same squared error with biases by stochastic gradient descent, with the same step, penalty and start:
those of Cornac, which fixes its start, and with which all three predict better than with Surprise's defaults. Surprise
has one thread; ours is shown on one, where the same seed gives the same model, and on two, as Cornac's. The ratings are
in each one's own form before the clock starts; the RMSE is by each one's own predictions, cut to the scale.
"""

from collections.abc import Callable
from pathlib import Path

from speed import Bar, Contender, Measures

from tasks import common

TITLE = "SVD on MovieLens 1M (900,000 ratings to fit, 100,000 to predict), 100 factors, 20 epochs"
DIM, EPOCHS, STEP, PENALTY, START = 100, 20, 0.01, 0.02, 0.01


def prepare(data: Path, scratch: Path) -> None:
    common.save_ratings(scratch / "ratings.npz", common.movielens(data, "ml-1m"), 0.1)


def ours(n_jobs: int) -> Callable[[Path], Measures]:
    def run(scratch: Path) -> Measures:
        with common.compiling_first() as compiled:
            import recsys

            model = recsys.SVD(
                n_factors=DIM, epochs=EPOCHS, learning_rate=STEP, regularization=PENALTY, init_std=START, n_jobs=n_jobs,
                verbose=0,
            )  # fmt: skip
            return common.our_ratings(scratch / "ratings.npz", model, compiled)

    return run


def surprise(scratch: Path) -> Measures:
    from surprise import SVD

    model = SVD(
        n_factors=DIM, n_epochs=EPOCHS, lr_all=STEP, reg_all=PENALTY, init_std_dev=START, random_state=0
    )  # fmt: skip
    return common.surprise_ratings(scratch / "ratings.npz", model)


def cornac(scratch: Path) -> Measures:
    from cornac.data import Dataset
    from cornac.models import MF

    def fitted(data: Dataset) -> MF:
        return MF(k=DIM, max_iter=EPOCHS, learning_rate=STEP, lambda_reg=PENALTY, num_threads=common.N_JOBS).fit(data)

    users, items, values = common.load_ratings(scratch / "ratings.npz", "train")
    rows = list(zip(users.tolist(), items.tolist(), values.tolist(), strict=True))
    some, data = Dataset.from_uir(rows[:10_000]), Dataset.from_uir(rows)
    first = common.seconds(lambda: fitted(some))
    model, fit = common.timed(lambda: fitted(data))
    users, items, values = common.load_ratings(scratch / "ratings.npz", "test")
    code = {"user": data.uid_map, "item": data.iid_map}
    # An unknown one has a code past the last, for which Cornac predicts by the rest.
    rated, predict = common.timed(lambda: [
        model.rate(code["user"].get(u, len(code["user"])), code["item"].get(i, len(code["item"])))
        for u, i in zip(users.tolist(), items.tolist(), strict=True)
    ])  # fmt: skip
    return common.ratings_report(fit, predict, common.rmse(rated, values), first)


CONTENDERS = {
    "recsys, 2 threads": Contender(ours(2)),
    "recsys, 1 thread": Contender(ours(1)),
    "Surprise": Contender(surprise, peer=True),
    "Cornac, 2 threads": Contender(cornac, peer=True),
}
BARS = [
    Bar("recsys, 2 threads", "fit, s", 0.3, ("Surprise",)),
    Bar("recsys, 2 threads", "fit, s", 0.8, ("Cornac, 2 threads",)),
    Bar("recsys, 2 threads", "RMSE", common.NO_WORSE, ("Surprise",)),
    Bar("recsys, 2 threads", "RMSE", common.NO_WORSE, ("Cornac, 2 threads",)),
]
