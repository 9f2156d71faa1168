"""Neighbors around a baseline on MovieLens 100K, a random fifth held out, beside Surprise's KNNBaseline.

Users and items by the Pearson correlation around baselines, which its manual recommends and which predicts best: by its
default, the mean squared difference, many neighbors are equal, and which of them count is chance. 40 neighbors,
baselines by alternating least squares. Fitting and predicting are
timed together: what one does in the one, the other may do in the other. Surprise has one thread, and so has ours here.
The ratings are in each one's own form before the clock starts; the RMSE is by each one's own predictions, cut to the
scale.
"""

from collections.abc import Callable
from pathlib import Path

from speed import Bar, Contender, Measures

from tasks import common

TITLE = "Neighbors around a baseline on MovieLens 100K (80,000 ratings to fit, 20,000 to predict)"
NEIGHBORS = 40
FORMS = {"users": ("user", "pearson_baseline"), "items": ("item", "pearson_baseline")}


def prepare(data: Path, scratch: Path) -> None:
    common.save_ratings(scratch / "ratings.npz", common.movielens(data, "ml-100k"), 0.2)


def ours(side: str, similarity: str) -> Callable[[Path], Measures]:
    def run(scratch: Path) -> Measures:
        with common.compiling_first() as compiled:
            import recsys

            neighbors = {"user": recsys.UserKNN, "item": recsys.ItemKNN}[side]
            options = {"shrinkage": 100.0} if similarity == "pearson_baseline" else {}
            model = neighbors(
                n_neighbors=NEIGHBORS, prediction="baseline", baseline="als", similarity=similarity, n_jobs=1, **options
            )  # fmt: skip
            return common.our_ratings(scratch / "ratings.npz", model, compiled)

    return run


def surprise(side: str, similarity: str) -> Callable[[Path], Measures]:
    def run(scratch: Path) -> Measures:
        from surprise import KNNBaseline

        # Its shrinkage of the Pearson baseline is 100 unless told otherwise.
        options = {"name": similarity, "user_based": side == "user"}
        model = KNNBaseline(k=NEIGHBORS, sim_options=options, verbose=False)
        return common.surprise_ratings(scratch / "ratings.npz", model)

    return run


CONTENDERS: dict[str, Contender] = {}
BARS: list[Bar] = []
for group, (side, similarity) in FORMS.items():
    us, them = f"recsys, {group}", f"Surprise, {group}"
    CONTENDERS[us] = Contender(ours(side, similarity), group=group)
    CONTENDERS[them] = Contender(surprise(side, similarity), peer=True, group=group)
    BARS += [Bar(us, "fit and predict, s", 0.1, (them,)), Bar(us, "RMSE", common.NO_WORSE, (them,))]
