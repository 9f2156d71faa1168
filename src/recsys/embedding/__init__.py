"""Embedding tables in plain torch, whose update costs the rows of the batch; usable in anyone's own `nn.Module`."""

from recsys.embedding.bags import EmbeddingBag
from recsys.embedding.fields import FieldEmbedding
from recsys.embedding.hashed import HashEmbedding, QREmbedding
from recsys.embedding.mixed import MixedEmbedding, mixed_dims
from recsys.embedding.optim import FTRL, SGD, Adagrad, MomentumAdagrad, RowwiseAdagrad, SparseAdam
from recsys.embedding.placement import CachedEmbedding, place
from recsys.embedding.row_optimizer import RowOptimizer
from recsys.embedding.table import Embedding

__all__ = [
    "FTRL",
    "SGD",
    "Adagrad",
    "CachedEmbedding",
    "Embedding",
    "EmbeddingBag",
    "FieldEmbedding",
    "HashEmbedding",
    "MixedEmbedding",
    "MomentumAdagrad",
    "QREmbedding",
    "RowOptimizer",
    "RowwiseAdagrad",
    "SparseAdam",
    "mixed_dims",
    "place",
]
