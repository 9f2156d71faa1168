"""Lists of codes: the best items of scores that are made a bounded block of users at a time."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recsys.data import Histories, Vocabulary, frames
from recsys.kernels.memory import keep_freed_blocks
from recsys.kernels.topk import Lists, empty_lists, top_k_scores

BLOCK_BYTES = 64 * 2**20
"""Size of the largest block of scores, users x items x 4 bytes, that is held at a time."""


class Seen(NamedTuple):
    """What must not be listed: row b's items, ascending, are indices[indptr[b]:indptr[b + 1]]."""

    indptr: NDArray[np.int64]
    indices: NDArray[np.int32]

    @classmethod
    def of(cls, history: Histories, n_items: int, allowed: NDArray[np.int64] | None) -> "Seen":
        """What each row's history holds, by code or by position among the allowed items."""
        if len(history) == 1 and allowed is None:
            # One user's list is waited for, and to the kernels an item that is there twice is one.
            return cls(history.indptr, np.sort(history.items.astype(np.int32)))
        indptr, indices = history.distinct
        if allowed is not None:
            part = history.matrix(n_items)[:, allowed].sorted_indices()
            indptr, indices = part.indptr, part.indices
        return cls(indptr.astype(np.int64, copy=False), indices.astype(np.int32, copy=False))

    def rows(self, rows: slice) -> dict[str, Any]:
        """Some rows as the top-k kernels take them."""
        indptr = self.indptr[rows.start : rows.stop + 1]
        return {"seen_indptr": indptr - indptr[0], "seen_items": self.indices[indptr[0] : indptr[-1]]}


def seen_rows(seen: Seen | None, rows: slice) -> dict[str, Any]:
    """Rows of what was seen as the top-k kernels take them; nothing where nothing is left out."""
    return {} if seen is None else seen.rows(rows)


def block_rows(n_items: int) -> int:
    """Users in a block of scores."""
    return max(1, BLOCK_BYTES // (4 * max(1, n_items)))


def best_of(
    score: Callable[[slice], NDArray[np.float32]],
    n_rows: int,
    n_items: int,
    k: int,
    seen: Seen | None = None,
    n_jobs: int = -1,
) -> Lists:
    """The k best of each row of a table (n_rows, n_items), of which `score` makes the rows of a slice; none is `seen`."""
    keep_freed_blocks()
    codes, scores = empty_lists(n_rows, k)
    block = block_rows(n_items)
    for start in range(0, n_rows, block):
        rows = slice(start, min(start + block, n_rows))
        codes[rows], scores[rows] = top_k_scores(score(rows), k, n_jobs=n_jobs, **seen_rows(seen, rows))
    return codes, scores


def spread(lists: Lists, rows: NDArray[np.bool_], others: Lists) -> Lists:
    """Lists of the rows that are True, in their order, and in all other rows that of `others` (1, k)."""
    codes, scores = (np.repeat(other, len(rows), axis=0) for other in others)
    codes[rows], scores[rows] = lists
    return codes, scores


def list_frame(heads: tuple[str, str], ids: NDArray[Any], vocabulary: Vocabulary, lists: Lists, kind: str) -> Any:
    """A frame of the lists of `ids`: two id columns, `score` and `rank` (from 1)."""
    codes, scores = lists
    listed = codes >= 0
    row, place = listed.nonzero()
    columns = {
        heads[0]: ids[row],
        heads[1]: vocabulary.decode(codes[listed]),
        "score": scores[listed],
        "rank": place + 1,
    }
    return frames.build(columns, kind)
