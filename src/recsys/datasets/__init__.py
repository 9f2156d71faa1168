"""Public data sets: found in a local folder, in an installed package, or downloaded from their official site."""

from recsys.datasets.lightgcn import gowalla, yelp2018
from recsys.datasets.movielens import movielens, movielens_items

__all__ = ["gowalla", "movielens", "movielens_items", "yelp2018"]
