"""Gowalla and Yelp 2018 in the splits of the LightGCN paper, which many later papers report on.

He et al., "LightGCN: Simplifying and Powering Graph Convolution Network for Recommendation", SIGIR 2020.
"""

from recsys.data import Dataset
from recsys.datasets.sources import required_table


def gowalla() -> tuple[Dataset, Dataset]:
    """Check-ins of the location network Gowalla, as (train, test): who was at which place, without times.

    29,858 users, 40,981 items, 810,128 training and 217,242 test interactions, each pair once.
    Columns: user_id, item_id.

    Read from `gowalla-lightgcn/interactions.parquet` (user_id, item_id, split) of the folder that `RECSYS_DATA` names;
    there is no download, since the authors publish no checksum. The source states no license: research use. Cite Cho,
    Myers & Leskovec, "Friendship and Mobility: User Movement in Location-Based Social Networks", KDD 2011.
    """
    return _split("gowalla-lightgcn")


def yelp2018() -> tuple[Dataset, Dataset]:
    """Reviews of local businesses from the 2018 edition of the Yelp challenge, as (train, test), without ratings or times.

    31,668 users, 38,048 items, 1,237,259 training and 324,147 test interactions, each pair
    once. Columns: user_id, item_id.

    Read from `yelp2018-lightgcn/interactions.parquet` (user_id, item_id, split) of the folder that `RECSYS_DATA` names;
    there is no download, since the authors publish no checksum. License: the Yelp Dataset Terms of Use, which allow
    academic, non-commercial use and no redistribution. Cite the Yelp Open Dataset.
    """
    return _split("yelp2018-lightgcn")


def _split(folder: str) -> tuple[Dataset, Dataset]:
    frame = required_table(folder, "interactions")
    columns = ["user_id", "item_id"]
    train, test = (frame.loc[frame["split"] == name, columns] for name in ("train", "test"))
    return Dataset(train), Dataset(test)
