"""The splits of the LightGCN paper."""

from recsys.data import Dataset
from recsys.datasets.sources import required_table


def gowalla() -> tuple[Dataset, Dataset]:
    """Gowalla check-ins, (train, test): 29,858 users, 40,981 items, 810,128 and 217,242 interactions. Research use only."""
    return _split("gowalla-lightgcn")


def yelp2018() -> tuple[Dataset, Dataset]:
    """Yelp 2018, (train, test): 31,668 users, 38,048 items, 1,237,259 and 324,147 interactions. Research use only."""
    return _split("yelp2018-lightgcn")


def _split(folder: str) -> tuple[Dataset, Dataset]:
    frame = required_table(folder, "interactions")
    columns = ["user_id", "item_id"]
    return Dataset(frame.loc[frame.split == "train", columns]), Dataset(frame.loc[frame.split == "test", columns])
