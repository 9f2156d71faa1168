"""The four neural bases: a family turns a data set into its examples, and its network's outputs into scores."""

from recsys.families.field import FieldRecommender
from recsys.families.neural import NeuralRecommender
from recsys.families.profile import ProfileRecommender
from recsys.families.sequence import SequenceRecommender
from recsys.families.vector import PairRecommender, VectorRecommender

__all__ = [
    "FieldRecommender",
    "NeuralRecommender",
    "PairRecommender",
    "ProfileRecommender",
    "SequenceRecommender",
    "VectorRecommender",
]
