"""Data sets: ids to codes once, at this boundary; below it there are codes alone, and -1 means nothing."""

from recsys.data.dataset import Dataset, StreamedDataset
from recsys.data.encoders import Categories, Numbers
from recsys.data.features import Column, Features
from recsys.data.histories import Histories
from recsys.data.vocabulary import Vocabulary

__all__ = [
    "Categories",
    "Column",
    "Dataset",
    "Features",
    "Histories",
    "Numbers",
    "StreamedDataset",
    "Vocabulary",
]
