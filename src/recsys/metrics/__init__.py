"""Metrics: pure functions with one written definition each, and their names ("ndcg@10").

Ranking metrics map `Rankings` and a cut-off to one figure a user; means over users are taken by `recsys.evaluate`.
"""

from recsys.metrics import beyond_accuracy, classification, ranking, rating
from recsys.metrics.beyond_accuracy import (
    Catalog,
    average_popularity,
    coverage,
    entropy,
    gini,
    intra_list_distance,
    novelty,
    personalization,
    serendipity,
)
from recsys.metrics.classification import auc, brier, ece, gauc, logloss
from recsys.metrics.names import Metric, greater_is_better, parse, parse_all
from recsys.metrics.ranking import (
    average_precision,
    f1,
    hit,
    mrr,
    ndcg,
    precision,
    r_precision,
    rank_of,
    ranking_auc,
    recall,
)
from recsys.metrics.rankings import Rankings
from recsys.metrics.rating import fcp, mae, rmse
from recsys.metrics.ties import TiedRankings

__all__ = [
    "Catalog",
    "Metric",
    "Rankings",
    "TiedRankings",
    "auc",
    "average_popularity",
    "average_precision",
    "beyond_accuracy",
    "brier",
    "classification",
    "coverage",
    "ece",
    "entropy",
    "f1",
    "fcp",
    "gauc",
    "gini",
    "greater_is_better",
    "hit",
    "intra_list_distance",
    "logloss",
    "mae",
    "mrr",
    "ndcg",
    "novelty",
    "parse",
    "parse_all",
    "personalization",
    "precision",
    "r_precision",
    "rank_of",
    "ranking",
    "ranking_auc",
    "rating",
    "recall",
    "rmse",
    "serendipity",
]
