"""Tables of vectors for tests."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from recsys.kernels.rows import new_table


def as_table(vectors: ArrayLike) -> NDArray[np.float64]:
    """Vectors (n, D) as the table that kernels step, in double precision."""
    rows = np.asarray(vectors)
    table = new_table(*rows.shape, 1, np.float64)
    table[:, 0, : rows.shape[1]] = rows
    return table
