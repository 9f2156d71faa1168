"""Optimizers with state and without, and training of tables on given batches."""

import torch

from recsys.embedding import FTRL, SGD, Adagrad, MomentumAdagrad, RowwiseAdagrad, SparseAdam

OPTIMIZERS = [SparseAdam, RowwiseAdagrad, Adagrad, SGD, FTRL, MomentumAdagrad]


def decay(optimizer, weight_decay):
    """The option that draws weights to 0, by the name that the optimizer has for it."""
    return {"l2" if optimizer is FTRL else "weight_decay": weight_decay}


def batches(n, dim, rows=60, steps=5, dtype=torch.float32):
    """Batches of codes with many duplicates and some -1, and vectors that they shall be near to."""
    return [
        ((n * torch.rand(rows) ** 3).long() - (torch.rand(rows) < 0.1).long(), torch.randn(rows, dim, dtype=dtype))
        for _ in range(steps)
    ]


def train(table, optimizer, given):
    """The vectors that the table gives for each batch before its step."""
    seen = []
    for codes, aim in given:
        optimizer.zero_grad()
        vectors = table(codes)
        ((vectors - aim) ** 2).sum().backward()
        seen.append(vectors.detach().clone())
        optimizer.step()
    return seen
