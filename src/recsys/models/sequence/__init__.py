"""Next-item models over users' histories."""

from recsys.models.sequence.sasrec import SASRec

__all__ = ["SASRec"]
