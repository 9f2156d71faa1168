"""Models of what items are like."""

from recsys.models.content.content_knn import ContentKNN

__all__ = ["ContentKNN"]
