"""Metrics: pure functions with one written definition each, and their names ("ndcg@10")."""

from recsys.metrics import beyond_accuracy, classification, ranking, rating
from recsys.metrics.names import Metric, parse
from recsys.metrics.rankings import Rankings

__all__ = ["Metric", "Rankings", "beyond_accuracy", "classification", "parse", "ranking", "rating"]
