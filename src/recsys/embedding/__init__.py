"""Embedding tables in plain torch, whose update costs the rows of the batch; usable in anyone's own `nn.Module`."""

from recsys.embedding.bags import EmbeddingBag
from recsys.embedding.fields import FieldEmbedding
from recsys.embedding.optim import FTRL, SGD, Adagrad, RowwiseAdagrad, SparseAdam
from recsys.embedding.table import Embedding

__all__ = ["FTRL", "SGD", "Adagrad", "Embedding", "EmbeddingBag", "FieldEmbedding", "RowwiseAdagrad", "SparseAdam"]
