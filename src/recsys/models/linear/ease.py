"""EASE: a linear item-to-item model with a closed form.

Steck, "Embarrassingly Shallow Autoencoders for Sparse Data", WWW 2019.
"""

import logging
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from recsys.errors import DataError
from recsys.item_weights import LinearRecommender
from recsys.kernels.gram import MOST_PACKED, invert_packed, packed_gram, packed_weights
from recsys.params import Positive
from recsys.training import pick_device

PACKED_BYTES, FULL_BYTES = 8, 24
"""Memory of a fit for each pair of items: half a matrix of float64 and the weights, or torch's three matrices."""
ROWS = 4096
"""Users whose rows are dense on the device at a time."""


class EASE(LinearRecommender):
    """min ||X - X B||^2 + regularization ||B||^2 with diag(B) = 0: B = I - P diag(1 / diag P), P = (X'X + regularization I)^-1.

    O(I^3) time and 8 I^2 bytes: 41,000 items on 13 GiB. A GPU, and more than 46,340 items, take 24 I^2. What is needed
    is logged, and a catalog that cannot fit is refused, before anything is allocated. All arithmetic is in float64.
    """

    regularization: Positive = 250.0
    """Penalty on the weights, in interactions an item."""
    device: str = "auto"
    """Where to invert: "cpu", "cuda", or the GPU if there is one that it fits on."""
    n_jobs: int = -1
    """Threads that fill the matrices; -1 is all processors. BLAS inverts with its own."""

    weights_: NDArray[np.float32]

    def _learn(self, x: Any) -> None:
        n_items = x.shape[1]
        device = self._device(n_items)
        if device.type == "cpu" and n_items <= MOST_PACKED:
            check_memory(n_items, PACKED_BYTES, available_memory(), "this machine")
            packed = packed_gram(x, self.regularization, self.n_jobs)
            inverted = invert_packed(packed, n_items)
            weights = packed_weights(packed, n_items, self.n_jobs) if inverted else None
        else:
            check_memory(n_items, FULL_BYTES, memory_of(device), f"the device {device}")
            weights = torch_weights(x, self.regularization, device)
        if weights is None:
            raise DataError(
                f"EASE: the Gram matrix cannot be inverted with regularization={self.regularization}; raise it"
            )
        self.weights_ = weights

    def _device(self, n_items: int) -> torch.device:
        device = pick_device(self.device)
        fits = FULL_BYTES * n_items**2 <= memory_of(device)
        return device if fits or self.device != "auto" else torch.device("cpu")


def torch_weights(x: Any, regularization: float, device: torch.device) -> NDArray[np.float32] | None:
    """B with B_ij = -P_ij / P_jj and B_jj = 0 on a device, (I, I); None where X'X + regularization I is not definite."""
    gram = torch.zeros(x.shape[1], x.shape[1], dtype=torch.float64, device=device)
    for start in range(0, x.shape[0], ROWS):
        rows = torch.from_numpy(x[start : start + ROWS].toarray()).to(device, torch.float64)
        gram.addmm_(rows.T, rows)
    gram.diagonal().add_(regularization)
    factor, failed = torch.linalg.cholesky_ex(gram)
    if failed.item():
        return None
    torch.cholesky_inverse(factor, out=gram)
    del factor
    gram.div_(-gram.diagonal().clone()).fill_diagonal_(0)
    return gram.float().cpu().numpy()


def check_memory(n_items: int, bytes_a_pair: int, available: float, where: str) -> None:
    """Log what a fit needs; refuse a catalog that does not fit."""
    needed = bytes_a_pair * n_items**2
    have = f"EASE needs {needed / 2**30:,.1f} GiB for {n_items:,} items and {where} has {available / 2**30:,.1f} free"
    logging.getLogger(__name__).info(have)
    if needed > available:
        raise DataError(
            f"{have}; filter rare items (Dataset.filter(min_item_interactions=...)) or use SLIM(n_neighbors=100)"
        )


def memory_of(device: torch.device) -> float:
    """Free memory of a device, in bytes."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else available_memory()


def available_memory(root: Path = Path("/")) -> float:
    """Memory that can be had without swapping, in bytes: what Linux and a container's limit say, else the machine's."""
    meminfo, group = root / "proc/meminfo", root / "sys/fs/cgroup"
    found = np.inf
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        found = float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    if meminfo.exists():
        lines = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
        found = 1024.0 * int(lines["MemAvailable"].split()[0])
    if (group / "memory.max").exists() and (limit := (group / "memory.max").read_text().strip()) != "max":
        found = min(found, float(limit) - float((group / "memory.current").read_text()))
    return found
