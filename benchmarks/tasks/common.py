"""What tasks share: the data sets as arrays of codes, ids in frames, clocks, the memory held, and figures of quality.

Peers import this too, so nothing here needs more than NumPy and SciPy until it is called.
"""

import contextlib
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import scipy.sparse as sp

K = 20
N_JOBS = 2
ONE_BLAS = {"OPENBLAS_NUM_THREADS": "1"}
"""For contenders that make threads of their own, on which BLAS's would only wait."""
NO_WORSE = 1.0
"""Times another's that an error may be and be no worse."""
T = TypeVar("T")


# -- data --------------------------------------------------------------------------------------------------------------


def gowalla(data: Path) -> tuple[Any, Any]:
    """Training and test interactions, csr (U, I) of ones."""
    import pandas as pd

    frame = pd.read_parquet(data / "gowalla-lightgcn" / "interactions.parquet")
    users, items = (np.unique(frame[name], return_inverse=True)[1] for name in ("user_id", "item_id"))
    shape = int(users.max()) + 1, int(items.max()) + 1
    parts = (frame["split"] == name for name in ("train", "test"))
    return tuple(ones(users[part], items[part], shape) for part in parts)  # type: ignore[return-value]


def movielens(data: Path, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Users, items and ratings of "ml-1m" or "ml-100k", (n,) each, users and items as codes."""
    import pandas as pd

    frame = pd.read_parquet(data / name / "ratings.parquet")
    users, items = (np.unique(frame[column], return_inverse=True)[1] for column in ("user_id", "item_id"))
    return users, items, frame["rating"].to_numpy(np.float64)


def save_ratings(path: Path, ratings: tuple[np.ndarray, np.ndarray, np.ndarray], test_size: float) -> None:
    """Leave a random part for training and the rest for testing, each in the order of the data set."""
    held_out = np.random.default_rng(0).random(len(ratings[0])) < test_size
    parts = {"train": ~held_out, "test": held_out}
    names = ("users", "items", "values")
    np.savez(
        path,
        **{f"{part}_{name}": a[rows] for part, rows in parts.items() for name, a in zip(names, ratings, strict=True)},
    )


def load_ratings(path: Path, part: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    with np.load(path) as found:
        return found[f"{part}_users"], found[f"{part}_items"], found[f"{part}_values"]


def ones(users: np.ndarray, items: np.ndarray, shape: tuple[int, int]) -> Any:
    """Csr of ones, sorted, in the float32 and int32 that peers read without a copy."""
    matrix = sp.csr_matrix((np.ones(len(users), np.float32), (users, items)), shape=shape)
    matrix.sort_indices()
    return matrix


def load_matrix(path: Path) -> Any:
    matrix = sp.load_npz(path).tocsr()
    matrix.sort_indices()
    return matrix


def some_rows(matrix: Any, n: int = 300) -> Any:
    """The first users with the items they have, renumbered: enough to call every kernel once."""
    part = matrix[:n].tocoo()
    items = np.unique(part.col, return_inverse=True)[1]
    return ones(part.row, items, (n, int(items.max()) + 1))


def interactions(matrix: Any) -> Any:
    """A frame of user_id and item_id."""
    import pandas as pd

    coo = matrix.tocoo()
    return pd.DataFrame({"user_id": coo.row, "item_id": coo.col})


def ratings_frame(users: np.ndarray, items: np.ndarray, values: np.ndarray) -> Any:
    import pandas as pd

    return pd.DataFrame({"user_id": users, "item_id": items, "rating": values})


# -- clocks and memory -------------------------------------------------------------------------------------------------


def seconds(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def timed(function: Callable[[], T]) -> tuple[T, float]:
    start = time.perf_counter()
    value = function()
    return value, time.perf_counter() - start


@contextlib.contextmanager
def compiling_first() -> Iterator[Callable[[], None]]:
    """Start with no compiled kernels; the function given says that from here on nothing may be compiled any more.

    To be entered before the package is imported: Numba reads the folder of its cache when it is.
    """
    with tempfile.TemporaryDirectory() as folder:
        os.environ["NUMBA_CACHE_DIR"] = folder
        compiled: list[int] = []
        yield lambda: compiled.append(n_kernels(folder))
        late = n_kernels(folder) - compiled[-1]
        if late:
            raise SystemExit(f"{late} kernels were compiled on the clock: the first call must make them all")


def n_kernels(folder: str) -> int:
    """Compiled kernels in a folder of Numba's cache."""
    return sum(1 for _ in Path(folder).rglob("*.nbc"))


def peak_memory() -> float:
    """Most memory held since `forget_peak`, in MB (Linux)."""
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1024


def forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


# -- quality -----------------------------------------------------------------------------------------------------------


def rmse(predicted: Any, values: np.ndarray) -> float:
    return float(np.sqrt(np.mean((np.asarray(predicted, np.float64) - values) ** 2)))


def list_recall(lists: np.ndarray, wanted: Any) -> float:
    """Mean Recall@K of lists (U, K) of items, -1 where short, over the users with something in `wanted`, csr (U, I)."""
    sizes = np.diff(wanted.indptr)
    rows = np.flatnonzero(sizes)
    keys = np.repeat(np.arange(len(sizes)), sizes) * wanted.shape[1] + wanted.indices
    hits = np.isin(rows[:, None] * wanted.shape[1] + lists[rows], keys) & (lists[rows] >= 0)
    return float(np.mean(hits.sum(1) / sizes[rows]))


def frame_lists(frame: Any, n_users: int, k: int = K) -> np.ndarray:
    """Lists (U, K) from a frame of user_id, item_id and rank whose ids are codes."""
    lists = np.full((n_users, k), -1)
    lists[frame["user_id"].to_numpy(), frame["rank"].to_numpy() - 1] = frame["item_id"].to_numpy()
    return lists


def factor_lists(users: np.ndarray, items: np.ndarray, seen: Any, k: int = K) -> np.ndarray:
    """The best k items by the dot product of factors (U, D), (I, D), without those seen, csr (U, I); in no order."""
    lists = np.empty((len(users), k), np.int64)
    for start in range(0, len(users), 512):
        rows = slice(start, min(start + 512, len(users)))
        scores = users[rows] @ items.T
        part = seen[rows].tocoo()
        scores[part.row, part.col] = -np.inf
        lists[rows] = np.argpartition(scores, -k, axis=1)[:, -k:]
    return lists


class RecallGoal:
    """Whether factors reach a Recall@20: told from a sample of the users where that is plain, else from all."""

    SAMPLE, MARGIN = 4000, 0.008

    def __init__(self, seen: Any, wanted: Any, goal: float):
        self.seen, self.wanted, self.goal = seen, wanted, goal
        with_items = np.flatnonzero(np.diff(wanted.indptr))
        self.some = np.sort(np.random.default_rng(0).permutation(with_items)[: self.SAMPLE])

    def recall(self, users: np.ndarray, items: np.ndarray, rows: np.ndarray | slice = slice(None)) -> float:
        lists = factor_lists(np.asarray(users[rows], np.float32), np.asarray(items, np.float32), self.seen[rows])
        return list_recall(lists, self.wanted[rows])

    def figure(self, users: np.ndarray, items: np.ndarray) -> float:
        """The recall; that of the sample alone where it is far below the goal."""
        guess = self.recall(users, items, self.some)
        return guess if guess < self.goal - self.MARGIN else self.recall(users, items)


def with_bias(users: np.ndarray, items: np.ndarray, bias: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Factors with the items' biases as one more column against ones."""
    return np.column_stack([users, np.ones(len(users), users.dtype)]), np.column_stack([items, bias])


def confidence_objective(seen: Any, users: np.ndarray, items: np.ndarray, alpha: float, regularization: float) -> float:
    """sum c (p - u.v)^2 + regularization (|u|^2 + |v|^2), exact: seen pairs have p = 1, c = alpha, others p = 0, c = 1.

    The squared scores of all pairs sum to <U'U, V'V>, so only the seen ones are visited.
    """
    u, v = users.astype(np.float64), items.astype(np.float64)
    coo = seen.tocoo()
    scores = np.concatenate([
        np.einsum("nd,nd->n", u[coo.row[start : start + 100_000]], v[coo.col[start : start + 100_000]])
        for start in range(0, coo.nnz, 100_000)
    ])  # fmt: skip
    every = float(((u.T @ u) * (v.T @ v)).sum())
    confidence = alpha * coo.data.astype(np.float64)
    fit = every + float((confidence * (1 - scores) ** 2 - scores**2).sum())
    return fit + regularization * float((u**2).sum() + (v**2).sum())


# -- how long to train -------------------------------------------------------------------------------------------------


def remembered(path: Path, find: Callable[[], T]) -> T:
    """What the first run of a contender found, read again by the later ones; a number, or a dict of them."""
    if not path.exists():
        path.write_text(json.dumps(find()))
    return json.loads(path.read_text())


def first_epoch(reaches: Callable[[int], bool], most: int) -> int | None:
    """The fewest epochs up to `most` with which a fit reaches its goal: steps that grow by half, then halving.

    For models that say nothing on the way: each trial is a fit of its own. None where even `most` do not.
    """
    low, high = 0, 4
    while not reaches(high):
        if high >= most:
            return None
        low, high = high, min(high + high // 2, most)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if reaches(middle) else (middle, high)
    return high


def stepwise(
    step: Callable[[int], object], figure: Callable[[], float], goal: float, every: int, cap: float
) -> dict[str, float]:
    """Train by `every` epochs until the figure reaches the goal or the clock, which stops for the figure, the cap.

    Returns the best figure, the epochs and the seconds of training by then, and whether the goal was reached.
    """
    best, epochs, spent = {"figure": -np.inf}, 0, 0.0
    while spent < cap:
        spent += seconds(lambda: step(every))
        epochs += every
        value = figure()
        if value > best["figure"]:
            best = {"figure": value, "epochs": epochs, "seconds": spent}
        if value >= goal:
            break
    return {**best, "reached": float(best["figure"] >= goal)}


# -- ratings -----------------------------------------------------------------------------------------------------------


def our_ratings(path: Path, model: Any, compiled: Callable[[], None]) -> dict[str, float]:
    """Fit our model on the training ratings, and predict the others, by the clock."""
    import recsys

    parts = {part: ratings_frame(*load_ratings(path, part)) for part in ("train", "test")}
    some = recsys.Dataset(parts["train"][:10_000])
    data = recsys.Dataset(parts["train"])
    first = seconds(lambda: model.fit(some).predict(parts["test"][:100]))
    compiled()
    fit = seconds(lambda: model.fit(data))
    predicted, predict = timed(lambda: model.predict(parts["test"]))
    return ratings_report(fit, predict, rmse(predicted, parts["test"]["rating"].to_numpy()), first)


def surprise_ratings(path: Path, model: Any) -> dict[str, float]:
    """The same for a model of Surprise, whose `test` makes one prediction at a time."""
    import pandas as pd
    from surprise import Dataset, Reader

    def data(n: int | None) -> Any:
        columns = (column[:n] for column in load_ratings(path, "train"))
        frame = pd.DataFrame(dict(zip(("user", "item", "rating"), columns, strict=True)))
        return Dataset.load_from_df(frame, Reader(rating_scale=(1, 5))).build_full_trainset()

    some, every = data(10_000), data(None)
    test = [column.tolist() for column in load_ratings(path, "test")]
    asked = list(zip(*test, strict=True))
    first = seconds(lambda: model.fit(some))
    fit = seconds(lambda: model.fit(every))
    predicted, predict = timed(lambda: model.test(asked))
    return ratings_report(fit, predict, rmse([one.est for one in predicted], np.array(test[2])), first)


def ratings_report(fit: float, predict: float, error: float, first: float) -> dict[str, float]:
    return {"fit, s": fit, "fit and predict, s": fit + predict, "RMSE": error, "first call, s": first}
