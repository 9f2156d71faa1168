"""Neural collaborative filtering: a network of a user's and an item's vector says how likely the pair is."""

from recsys.models.neural_cf.gmf import GMF
from recsys.models.neural_cf.mlp import NCFMLP
from recsys.models.neural_cf.neumf import NeuMF

__all__ = ["GMF", "NCFMLP", "NeuMF"]
