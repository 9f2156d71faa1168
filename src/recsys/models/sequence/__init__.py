"""Next-item models over users' histories."""

from recsys.models.sequence.bert4rec import BERT4Rec
from recsys.models.sequence.gru4rec import GRU4Rec
from recsys.models.sequence.sasrec import SASRec

__all__ = ["BERT4Rec", "GRU4Rec", "SASRec"]
