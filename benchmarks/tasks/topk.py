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

TITLE = "Top 20 for every user of Gowalla (29,858 users, 40,981 items, 64 factors, training items left out)"
K, DIM = 20, 64


def prepare(data: Path, scratch: Path) -> None:
    """Leave the training interactions, csr (U, I), for all contenders; not every one can read parquet."""
    import pyarrow.parquet as pq

    table = pq.read_table(data / "gowalla-lightgcn" / "interactions.parquet", columns=["user_id", "item_id", "split"])
    kept = np.array(table["split"].to_pylist()) == "train"
    users, items = (np.unique(table[name].to_numpy()[kept], return_inverse=True)[1] for name in ("user_id", "item_id"))
    sp.save_npz(scratch / "seen.npz", sp.csr_matrix((np.ones(len(users), np.float32), (users, items))))


def load(scratch: Path) -> tuple[Any, np.ndarray, np.ndarray]:
    """Training interactions as csr (U, I), and random factors (U, D), (I, D)."""
    seen = sp.load_npz(scratch / "seen.npz").tocsr()
    seen.sort_indices()
    rng = np.random.default_rng(0)
    return seen, *(rng.normal(size=(n, DIM)).astype(np.float32) for n in seen.shape)


def measure(recommend: Callable[[np.ndarray], np.ndarray], n_users: int, scratch: Path) -> Measures:
    """Time of everyone at once and of one user, memory of the former, and how many listed items are not ours."""
    recommend(np.arange(300))
    forget_peak()
    before = peak_memory()
    start = time.perf_counter()
    lists = recommend(np.arange(n_users))
    seconds = time.perf_counter() - start
    memory = peak_memory() - before
    answer = scratch / "lists.npy"
    if not answer.exists():
        np.save(answer, lists)
    one = [timed(recommend, np.array([user])) for user in range(300)]
    return {
        "all users, s": seconds,
        "one user, ms": 1000 * statistics.median(one),
        "extra memory, MB": memory,
        "different items, %": 100 * float(np.mean(lists != np.load(answer))),
    }


def timed(function: Callable[[np.ndarray], np.ndarray], users: np.ndarray) -> float:
    start = time.perf_counter()
    function(users)
    return time.perf_counter() - start


def peak_memory() -> float:
    """Most memory held since `forget_peak`, in MB (Linux)."""
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1024


def forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


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
        return {"all users, s": time.perf_counter() - start}

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


ONE = {"OPENBLAS_NUM_THREADS": "1"}
CONTENDERS = {
    "recsys": Contender(ours),
    "bare product, threads of Python": Contender(bare_product(2, 256, 1024), environment=ONE),
    "bare product, threads of BLAS": Contender(bare_product(1, 256, 1024)),
    "torch: matmul, topk": Contender(torch_blocks),
    "implicit, BLAS on 1 thread": Contender(implicit_recommend, peer=True, environment=ONE),
    "implicit": Contender(implicit_recommend, peer=True),
}
