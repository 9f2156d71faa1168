"""SVD++ on MovieLens 100K, a random fifth held out, beside Surprise's.

20 factors, 20 epochs, the same penalty. Surprise has its default steps of 0.007 and a start of deviation 0.03, with
which it predicts better than with its 0.1; ours has the options of a small grid that predict a tenth of the training
ratings best. Surprise has one thread, and so has ours here. The ratings are in each one's own
form before the clock starts; the RMSE is by each one's own predictions, cut to the scale.
"""

from pathlib import Path

from speed import Bar, Contender, Measures

from tasks import common

TITLE = "SVD++ on MovieLens 100K (80,000 ratings to fit, 20,000 to predict), 20 factors, 20 epochs"
DIM, EPOCHS, PENALTY = 20, 20, 0.02


def prepare(data: Path, scratch: Path) -> None:
    common.save_ratings(scratch / "ratings.npz", common.movielens(data, "ml-100k"), 0.2)


def ours(scratch: Path) -> Measures:
    with common.compiling_first() as compiled:
        import recsys

        model = recsys.SVDpp(
            n_factors=DIM, epochs=EPOCHS, learning_rate=0.008, regularization=PENALTY, init_std=0.04, n_jobs=1, verbose=0
        )  # fmt: skip
        return common.our_ratings(scratch / "ratings.npz", model, compiled)


def surprise(scratch: Path) -> Measures:
    from surprise import SVDpp

    model = SVDpp(
        n_factors=DIM, n_epochs=EPOCHS, lr_all=0.007, reg_all=PENALTY, init_std_dev=0.03, random_state=0
    )  # fmt: skip
    return common.surprise_ratings(scratch / "ratings.npz", model)


CONTENDERS = {"recsys": Contender(ours), "Surprise": Contender(surprise, peer=True)}
BARS = [Bar("recsys", "fit, s", 0.1, ("Surprise",)), Bar("recsys", "RMSE", common.NO_WORSE, ("Surprise",))]
