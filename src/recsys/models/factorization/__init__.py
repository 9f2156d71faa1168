"""Matrix factorization."""

from recsys.models.factorization.als import ALS
from recsys.models.factorization.bpr import BPR
from recsys.models.factorization.pmf import PMF
from recsys.models.factorization.svd import SVD
from recsys.models.factorization.svdpp import SVDpp

__all__ = ["ALS", "BPR", "PMF", "SVD", "SVDpp"]
