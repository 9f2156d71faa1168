"""Neighborhood models."""

from recsys.models.neighbors.item_knn import ItemKNN
from recsys.models.neighbors.rp3beta import RP3Beta
from recsys.models.neighbors.user_knn import UserKNN

__all__ = ["ItemKNN", "RP3Beta", "UserKNN"]
