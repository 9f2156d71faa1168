"""Half-steps of alternating least squares on a GPU, in torch: rows of like length side by side.

The same equations as on the CPU, in float32. All of it but the device runs on the CPU too, where the tests hold it to
the exact solver.
"""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recsys.models.factorization.least_squares import Factors, Half, gramian

BATCH_BYTES = 256 * 2**20
"""Size of the gathered vectors, or of the equations, of the rows that are solved at a time."""


def solve_on(device: torch.device, half: Half, factors: Factors, start: Factors, steps: int | None) -> Factors:
    """Vectors of the rows (n, D): `steps` conjugate gradients from `start`, or by Cholesky for None."""
    v = torch.from_numpy(np.ascontiguousarray(factors)).to(device)
    shared = torch.from_numpy((half.share * gramian(factors)).astype(np.float32)).to(device)
    penalty, extra, target = (torch.from_numpy(part).to(device) for part in (half.penalty, half.extra, half.target))
    columns = torch.from_numpy(half.matrix.indices.astype(np.int64)).to(device)
    found = np.zeros_like(start)
    for rows, places in batches(half.matrix.indptr, factors.shape[1]):
        at = torch.from_numpy(places).to(device)
        real, entries = at >= 0, at.clamp(min=0)
        near = v[columns[entries]]  # (B, L, D)
        w, t = extra[entries] * real, target[entries] * real
        p = penalty[torch.from_numpy(rows).to(device)]
        if steps is None:
            x = by_cholesky(shared, p, near, w, t)
        else:
            x = by_gradients(shared, p, near, w, t, torch.from_numpy(start[rows]).to(device), steps)
        found[rows] = x.cpu().numpy()
    return found


def batches(indptr: NDArray[np.integer], dim: int) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Rows with entries (B,), longest first, and the places of their entries (B, L), padded with -1."""
    lengths = np.diff(indptr)
    order = np.argsort(-lengths, kind="stable")
    order = order[lengths[order] > 0]
    at = 0
    while at < len(order):
        longest = int(lengths[order[at]])
        rows = order[at : at + max(1, BATCH_BYTES // (4 * dim * max(longest, dim)))]
        steps = np.arange(longest)
        places = np.where(steps < lengths[rows][:, None], indptr[rows][:, None] + steps, -1)
        yield rows, places.astype(np.int64)
        at += len(rows)


def by_cholesky(shared: Tensor, penalty: Tensor, near: Tensor, w: Tensor, t: Tensor) -> Tensor:
    """Solve the equations (B, D, D) of the rows: (B, D)."""
    equations = shared + near.mT @ (w[..., None] * near)
    equations.diagonal(dim1=1, dim2=2).add_(penalty[:, None])
    right = (near.mT @ t[..., None]).squeeze(-1)
    return torch.cholesky_solve(right[..., None], torch.linalg.cholesky(equations)).squeeze(-1)


def by_gradients(
    shared: Tensor, penalty: Tensor, near: Tensor, w: Tensor, t: Tensor, x: Tensor, steps: int
) -> Tensor:  # fmt: skip
    """Conjugate gradients from x (B, D), preconditioned by the diagonal that all rows share."""

    def curve(p: Tensor) -> Tensor:
        seen = w * (near @ p[..., None]).squeeze(-1)
        return p @ shared + penalty[:, None] * p + (near.mT @ seen[..., None]).squeeze(-1)

    diagonal = shared.diagonal() + penalty[:, None]
    r = (near.mT @ t[..., None]).squeeze(-1) - curve(x)
    z = r / diagonal
    p, left = z, (r * z).sum(1)
    for _ in range(steps):
        q = curve(p)
        # A row that has arrived stays where it is.
        length = left / (p * q).sum(1).clamp(min=torch.finfo(p.dtype).tiny)
        x = x + length[:, None] * p
        r = r - length[:, None] * q
        z = r / diagonal
        before, left = left, (r * z).sum(1)
        p = z + (left / before.clamp(min=torch.finfo(p.dtype).tiny))[:, None] * p
    return x
