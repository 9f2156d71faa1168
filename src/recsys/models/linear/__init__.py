"""Linear item-to-item models."""

from recsys.models.linear.ease import EASE

__all__ = ["EASE"]
