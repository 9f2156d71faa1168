"""Top 20 of all 40,981 items for all 29,858 users of Gowalla by 64 random factors, training items left out.

Beside the peers stands the bare product of the factors in blocks: nothing is ranked there, so no exact method that
leaves the product to this BLAS can be faster.
"""

import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from speed import Contender, Measures

from tasks import common

TITLE = "Top 20 for every user of Gowalla (29,858 users, 40,981 items, 64 factors, training items left out)"
K, DIM = 20, 64


def prepare(data: Path, scratch: Path) -> None:
    seen, _ = common.gowalla(data)
    rng = np.random.default_rng(0)
    save(scratch, seen, *(rng.normal(size=(n, DIM)).astype(np.float32) for n in seen.shape))


def save(scratch: Path, seen: Any, users: np.ndarray, items: np.ndarray) -> None:
    """Leave training interactions, csr (U, I), and factors (U, D), (I, D) for all contenders."""
    sp.save_npz(scratch / "seen.npz", seen)
    np.savez(scratch / "factors.npz", users=users, items=items)


def load(scratch: Path) -> tuple[Any, np.ndarray, np.ndarray]:
    with np.load(scratch / "factors.npz") as factors:
        return common.load_matrix(scratch / "seen.npz"), factors["users"], factors["items"]


def measure(recommend: Callable[[np.ndarray], np.ndarray], n_users: int, scratch: Path) -> Measures:
    """Time of everyone at once and of one user, memory of the former, and how many listed items are not ours."""
    recommend(np.arange(300))
    common.forget_peak()
    before = common.peak_memory()
    lists, seconds = common.timed(lambda: recommend(np.arange(n_users)))
    memory = common.peak_memory() - before
    answer = scratch / "lists.npy"
    if not answer.exists():
        np.save(answer, lists)
    return {
        "all users, s": seconds,
        "one user, ms": median_ms(recommend),
        "extra memory, MB": memory,
        "different items, %": 100 * float(np.mean(lists != np.load(answer))),
    }


def median_ms(recommend: Callable[[np.ndarray], object]) -> float:
    """Median time for one user at a time, over 300 of them."""
    one = [common.seconds(lambda user=user: recommend(np.array([user]))) for user in range(300)]
    return 1000 * statistics.median(one)


def ours(scratch: Path) -> Measures:
    from recsys.kernels.topk import top_k_dot

    seen, users, items = load(scratch)

    def recommend(rows: np.ndarray) -> np.ndarray:
        part = seen[rows] if len(rows) < len(users) else seen
        return top_k_dot(users[rows], items, K, seen_indptr=part.indptr, seen_items=part.indices)[0]

    return measure(recommend, len(users), scratch)


def bare_product(n_threads: int, n_users: int, n_items: int) -> Callable[[Path], Measures]:
    """Blocks of the product, made on threads of Python (BLAS then told to keep to one) or by BLAS's own."""

    def run(scratch: Path) -> Measures:
        _, users, items = load(scratch)

        def multiply(low: int, high: int) -> None:
            buffer = np.empty(n_users * n_items, np.float32)
            for u in range(low, high, n_users):
                some = users[u : min(u + n_users, high)]
                for i in range(0, len(items), n_items):
                    block = items[i : i + n_items]
                    np.matmul(some, block.T, out=buffer[: len(some) * len(block)].reshape(len(some), -1))

        multiply(0, n_users)
        edges = np.linspace(0, len(users), 8 * n_threads + 1).astype(int)
        start = time.perf_counter()
        with ThreadPoolExecutor(n_threads) as pool:
            list(pool.map(multiply, edges[:-1], edges[1:]))
        seconds = time.perf_counter() - start
        return {"all users, s": seconds, "one user, ms": median_ms(lambda rows: users[rows] @ items.T)}

    return run


def torch_blocks(scratch: Path) -> Measures:
    import torch

    seen, users, items = load(scratch)
    factors = torch.from_numpy(items).T.contiguous()

    def recommend(rows: np.ndarray) -> np.ndarray:
        lists = np.empty((len(rows), K), np.int64)
        for start in range(0, len(rows), 1024):
            some = rows[start : start + 1024]
            scores = torch.from_numpy(users[some]) @ factors
            part = seen[some].tocoo()
            scores[torch.from_numpy(part.row).long(), torch.from_numpy(part.col).long()] = -torch.inf
            lists[start : start + len(some)] = scores.topk(K).indices.numpy()
        return lists

    with torch.inference_mode():
        return measure(recommend, len(users), scratch)


def implicit_recommend(scratch: Path) -> Measures:
    from implicit.cpu.als import AlternatingLeastSquares

    seen, users, items = load(scratch)
    model = AlternatingLeastSquares(factors=DIM)
    model.user_factors, model.item_factors = users, items

    def recommend(rows: np.ndarray) -> np.ndarray:
        return model.recommend(rows, seen[rows], N=K)[0]

    return measure(recommend, len(users), scratch)


CONTENDERS = {
    "recsys": Contender(ours),
    "bare product, threads of Python": Contender(bare_product(2, 256, 1024), environment=common.ONE_BLAS),
    "bare product, threads of BLAS": Contender(bare_product(1, 256, 1024)),
    "torch: matmul, topk": Contender(torch_blocks),
    "implicit, BLAS on 1 thread": Contender(implicit_recommend, peer=True, environment=common.ONE_BLAS),
    "implicit": Contender(implicit_recommend, peer=True),
}
