"""EASE on MovieLens 1M: fitting, beside RecTools and the bare sparse Gram matrix with its inverse by Cholesky.

Every rating is an interaction. The bare forms make a dense inverse of X'X + regularization I and nothing else. The
weights of RecTools, which inverts in float32, are compared with ours; those of the bare forms are made from their
inverse off the clock. The interactions are in each one's own form before the clock starts, and BLAS has both cores.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from speed import Bar, Contender, Measures

from tasks import common

TITLE = "EASE on MovieLens 1M (6,040 users, 3,706 items, 1,000,209 interactions)"
REGULARIZATION = 500.0


def prepare(data: Path, scratch: Path) -> None:
    users, items, _ = common.movielens(data, "ml-1m")
    sp.save_npz(scratch / "seen.npz", common.ones(users, items, (int(users.max()) + 1, int(items.max()) + 1)))


def report(scratch: Path, fit: float, first: float, weights: np.ndarray) -> Measures:
    """The first to report, ours, leaves the weights that the others' are set against."""
    answer = scratch / "weights.npy"
    if not answer.exists():
        np.save(answer, weights)
    difference = np.abs(np.load(answer, mmap_mode="r") - weights)
    return {"fit, s": fit, "largest difference of a weight from ours": float(difference.max()), "first call, s": first}


def ours(scratch: Path) -> Measures:
    seen = common.load_matrix(scratch / "seen.npz")
    with common.compiling_first() as compiled:
        import recsys

        model = recsys.EASE(regularization=REGULARIZATION)
        data = recsys.Dataset(common.interactions(seen))
        some = recsys.Dataset(common.interactions(common.some_rows(seen)))
        first = common.seconds(lambda: model.fit(some))
        compiled()
        fit = common.seconds(lambda: model.fit(data))
    return report(scratch, fit, first, model.weights_)


def rectools(scratch: Path) -> Measures:
    import pandas as pd
    from rectools.dataset import Dataset
    from rectools.models import EASEModel

    def data(matrix: Any) -> Dataset:
        coo = matrix.tocoo()
        frame = pd.DataFrame({"user_id": coo.row, "item_id": coo.col, "weight": coo.data, "datetime": "2000-01-01"})
        return Dataset.construct(frame)

    seen = common.load_matrix(scratch / "seen.npz")
    some, every = data(common.some_rows(seen)), data(seen)
    first = common.seconds(lambda: EASEModel(regularization=REGULARIZATION).fit(some))
    model, fit = common.timed(lambda: EASEModel(regularization=REGULARIZATION).fit(every))
    # Its codes follow the order of first appearance.
    place = np.empty(seen.shape[1], np.int64)
    place[every.item_id_map.external_ids.astype(np.int64)] = np.arange(seen.shape[1])
    return report(scratch, fit, first, model.weight[np.ix_(place, place)])


def bare(dtype: type, name: str) -> Callable[[Path], Measures]:
    """The Gram matrix as SciPy makes it, and its inverse in place by LAPACK, whose routines begin with `name`."""

    def run(scratch: Path) -> Measures:
        import scipy.linalg.lapack

        factor, invert = (getattr(scipy.linalg.lapack, name + end) for end in ("potrf", "potri"))

        def inverse(matrix: Any) -> np.ndarray:
            gram = np.asarray((matrix.T @ matrix).toarray(), dtype, order="F")
            gram[np.diag_indices_from(gram)] += REGULARIZATION
            found, _ = factor(gram, lower=True, overwrite_a=True)
            found, _ = invert(found, lower=True, overwrite_c=True)
            return found

        seen = common.load_matrix(scratch / "seen.npz")
        first = common.seconds(lambda: inverse(common.some_rows(seen)))
        triangle, fit = common.timed(lambda: inverse(seen))
        p = triangle + np.tril(triangle, -1).T
        weights = p / -np.diag(p)
        np.fill_diagonal(weights, 0)
        return report(scratch, fit, first, weights)

    return run


CONTENDERS = {
    "recsys": Contender(ours),
    "RecTools": Contender(rectools, peer=True),
    "bare Gram matrix and Cholesky, float64": Contender(bare(np.float64, "d")),
    "bare Gram matrix and Cholesky, float32": Contender(bare(np.float32, "s")),
}
BARS = [
    Bar("recsys", "fit, s", 0.45, ("RecTools",)),
    Bar("recsys", "fit, s", 1.3, ("bare Gram matrix and Cholesky, float64",)),
]
