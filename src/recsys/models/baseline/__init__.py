"""Models that know no one: what every other model has to beat."""

from recsys.models.baseline.popular import Popular
from recsys.models.baseline.random import Random

__all__ = ["Popular", "Random"]
