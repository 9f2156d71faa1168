"""Propagation over the bipartite graph of users and items."""

import warnings
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor


def normalized_adjacency(interactions: Any) -> Tensor:
    """D^-1/2 A D^-1/2 of the graph, without self-loops: interactions (U, I) to a sparse CSR tensor (U + I, U + I)."""
    n_users, n_items = interactions.shape
    a = sp.bmat([[None, interactions], [interactions.T, None]], format="csr")
    a.resize((n_users + n_items, n_users + n_items))
    degree = np.asarray(a.sum(1)).ravel()
    scale = np.where(degree > 0, 1 / np.sqrt(np.maximum(degree, 1e-12)), 0)
    a = (sp.diags(scale) @ a @ sp.diags(scale)).tocsr().astype(np.float32)
    parts = (torch.from_numpy(a.indptr).long(), torch.from_numpy(a.indices).long(), torch.from_numpy(a.data))
    with warnings.catch_warnings():
        # torch announces, once a process, that its CSR layout is young.
        warnings.filterwarnings("ignore", "Sparse CSR tensor support", UserWarning)
        return torch.sparse_csr_tensor(*parts, size=a.shape, check_invariants=False)


class _SymmetricProduct(torch.autograd.Function):
    """A x for a symmetric A: its gradient is the same product, so nothing is transposed."""

    @staticmethod
    def forward(ctx: Any, adjacency: Tensor, x: Tensor) -> Tensor:
        ctx.adjacency = adjacency
        return _product(adjacency, x)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        return None, _product(ctx.adjacency, grad_outputs[0].contiguous())


def _product(adjacency: Tensor, x: Tensor) -> Tensor:
    # Sparse products have no half precision.
    with torch.autocast(x.device.type, enabled=False):
        return adjacency @ x


def propagate(adjacency: Tensor, x: Tensor, n_layers: int) -> Tensor:
    """Mean of x, A x, ..., A^n x for a symmetric A: (n, n) and (n, D) to (n, D) (He et al., LightGCN, 2020)."""
    total = x
    for _ in range(n_layers):
        x = _SymmetricProduct.apply(adjacency, x)  # type: ignore[assignment]
        total = total + x
    return total / (n_layers + 1)
