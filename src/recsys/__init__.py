"""Recommender systems behind one `fit`, `predict`, `recommend`."""

from recsys import datasets, metrics, plot, split, testing
from recsys.base import Recommender, load
from recsys.compare import compare
from recsys.data import Categories, Dataset, Numbers
from recsys.evaluation import evaluate, evaluate_lists
from recsys.models.autoencoders import CDAE, AutoRec, DeepRec, MultDAE, MultVAE
from recsys.models.baseline import Popular, Random
from recsys.models.content import ContentKNN
from recsys.models.factorization import ALS, BPR, FPMC, PMF, SVD, WARP, SVDpp
from recsys.models.fields import DCN, DLRM, FM, DeepFM, WideDeep
from recsys.models.graph import LightGCN
from recsys.models.linear import EASE, SLIM
from recsys.models.neighbors import ItemKNN, RP3Beta, UserKNN
from recsys.models.neural_cf import GMF, NCFMLP, NeuMF
from recsys.models.sequence import BERT4Rec, GRU4Rec, SASRec
from recsys.pipeline import Blend

__version__ = "0.1.0"

__all__ = [
    "ALS",
    "BPR",
    "CDAE",
    "DCN",
    "DLRM",
    "EASE",
    "FM",
    "FPMC",
    "GMF",
    "NCFMLP",
    "PMF",
    "SLIM",
    "SVD",
    "WARP",
    "AutoRec",
    "BERT4Rec",
    "Blend",
    "Categories",
    "ContentKNN",
    "Dataset",
    "DeepFM",
    "DeepRec",
    "GRU4Rec",
    "ItemKNN",
    "LightGCN",
    "MultDAE",
    "MultVAE",
    "NeuMF",
    "Numbers",
    "Popular",
    "RP3Beta",
    "Random",
    "Recommender",
    "SASRec",
    "SVDpp",
    "UserKNN",
    "WideDeep",
    "compare",
    "datasets",
    "evaluate",
    "evaluate_lists",
    "load",
    "metrics",
    "plot",
    "split",
    "testing",
]
