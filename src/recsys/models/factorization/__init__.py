"""Matrix factorization."""

from recsys.models.factorization.als import ALS
from recsys.models.factorization.bpr import BPR
from recsys.models.factorization.fpmc import FPMC
from recsys.models.factorization.pmf import PMF
from recsys.models.factorization.svd import SVD
from recsys.models.factorization.svdpp import SVDpp
from recsys.models.factorization.warp import WARP

__all__ = ["ALS", "BPR", "FPMC", "PMF", "SVD", "WARP", "SVDpp"]
