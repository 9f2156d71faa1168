"""What the C library does with the memory of blocks that are made and freed again and again."""

import numpy as np

KEPT_BYTES = 31 * 2**20
"""Just below the largest block that glibc ever keeps."""


def keep_freed_blocks() -> None:
    """Have the C library keep the memory of freed blocks up to 32 MB, and give it out again.

    As it starts, glibc returns larger ones to the system, which hands out every new block page by page, filled with
    zeros: on a network's blocks that takes more time than its products. It raises the limit to the largest block that
    it has seen freed.
    """
    np.empty(KEPT_BYTES, np.uint8)
