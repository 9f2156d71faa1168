"""Top 20 for every user of Gowalla, and for one user at a time, by the public call of a fitted model.

Ours is `model.recommend` of an `ALS` of 64 factors, saved and loaded, which returns a frame of the caller's ids, scores
and ranks; the peers rank codes by the same factors. The bare product multiplies those factors and ranks nothing.
"""

from pathlib import Path

import numpy as np
from speed import Bar, Contender, Measures

from tasks import common, topk

TITLE = "`recommend` for all users of Gowalla and for one (29,858 users, 40,981 items, 64 factors, k = 20)"


def prepare(data: Path, scratch: Path) -> None:
    import recsys

    seen, _ = common.gowalla(data)
    model = recsys.ALS(n_factors=topk.DIM, epochs=5, alpha=40.0, regularization=1.0, device="cpu", verbose=0)
    model.fit(common.interactions(seen)).save(scratch / "model")
    topk.save(scratch, seen, model.user_factors_, model.item_factors_)


def ours(scratch: Path) -> Measures:
    with common.compiling_first() as compiled:
        import recsys

        model = recsys.load(scratch / "model")

        def recommend(rows: np.ndarray) -> np.ndarray:
            # None asks for everyone, who are the users in the order of their codes.
            found = model.recommend(None if len(rows) == len(model.users_) else rows, k=topk.K)
            return found["item_id"].to_numpy().reshape(-1, topk.K)

        first = common.seconds(lambda: (recommend(np.arange(300)), recommend(np.arange(1))))
        compiled()
        return {**topk.measure(recommend, len(model.users_), scratch), "first call, s": first}


def rectools(scratch: Path) -> Measures:
    from rectools.models.rank import Distance, TorchRanker

    seen, users, items = topk.load(scratch)
    ranker = TorchRanker(
        distance=Distance.DOT, device="cpu", subjects_factors=users, objects_factors=items, batch_size=1024
    )  # fmt: skip

    def recommend(rows: np.ndarray) -> np.ndarray:
        found = ranker.rank(rows, k=topk.K, filter_pairs_csr=seen[rows])[1]
        return np.asarray(found).reshape(-1, topk.K)

    return topk.measure(recommend, len(users), scratch)


PRODUCTS = {"bare product, threads of Python": 2, "bare product, threads of BLAS": 1}
CONTENDERS = {
    "recsys": Contender(ours),
    **{
        name: Contender(topk.bare_product(n, 256, 1024), environment=common.ONE_BLAS if n > 1 else {})
        for name, n in PRODUCTS.items()
    },
    "implicit, BLAS on 1 thread": Contender(topk.implicit_recommend, peer=True, environment=common.ONE_BLAS),
    "implicit": Contender(topk.implicit_recommend, peer=True),
    "RecTools' torch ranker": Contender(rectools, peer=True),
}
BARS = [
    Bar("recsys", "all users, s", 0.45, ("implicit, BLAS on 1 thread", "implicit")),
    Bar("recsys", "all users, s", 1.6, tuple(PRODUCTS)),
    Bar("recsys", "one user, ms", 0.5),
]
