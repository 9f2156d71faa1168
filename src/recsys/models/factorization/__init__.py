"""Matrix factorization."""

from recsys.models.factorization.als import ALS
from recsys.models.factorization.bpr import BPR
from recsys.models.factorization.svd import SVD

__all__ = ["ALS", "BPR", "SVD"]
