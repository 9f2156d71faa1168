"""Linear item-to-item models."""

from recsys.models.linear.ease import EASE
from recsys.models.linear.slim import SLIM

__all__ = ["EASE", "SLIM"]
