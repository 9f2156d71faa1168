"""The official MovieLens archives, read into tables of ratings, movies and users."""

import csv
import io
import zipfile
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from recsys.datasets.download import Archive
from recsys.errors import DataError

ARCHIVES = {
    "100k": Archive("https://files.grouplens.org/datasets/movielens/ml-100k.zip", "0e33842e24a9c977be4e0107933c0723"),
    "1m": Archive("https://files.grouplens.org/datasets/movielens/ml-1m.zip", "c4d9eecfca2ab87c1945afe126590906"),
}


class Tables(NamedTuple):
    """Ratings (user_id, item_id, rating, timestamp), movies (item_id, title, genres joined by "|"), users or None."""

    ratings: pd.DataFrame
    movies: pd.DataFrame
    users: pd.DataFrame | None


def read_archive(path: Path, size: str) -> Tables:
    """Tables of an official archive, "100k" or "1m"."""
    try:
        with zipfile.ZipFile(path) as archive:
            return read_100k(archive) if size == "100k" else read_1m(archive)
    except (zipfile.BadZipFile, KeyError) as error:
        raise DataError(f"{path} is not the official MovieLens {size} archive ({error}); remove it") from error


def read_100k(archive: zipfile.ZipFile) -> Tables:
    """u.data is separated by tabs, the others by "|"; a movie has a 0/1 column for each genre of u.genre."""
    ratings = read_table(archive, "ml-100k/u.data", "\t", ["user_id", "item_id", "rating", "timestamp"])
    users = read_table(archive, "ml-100k/u.user", "|", ["user_id", "age", "gender", "occupation", "zip"])
    genres = read_table(archive, "ml-100k/u.genre", "|", ["genre", "number"])["genre"].to_numpy()
    columns = ["item_id", "title", "release_date", "video_release_date", "imdb_url", *genres]
    movies = read_table(archive, "ml-100k/u.item", "|", columns)
    flags = movies[genres].to_numpy() == 1
    movies = movies[["item_id", "title"]].assign(genres=["|".join(genres[row]) for row in flags])
    return Tables(ratings, movies, users)


def read_1m(archive: zipfile.ZipFile) -> Tables:
    """Three files whose columns are separated by "::"."""
    ratings = read_table(archive, "ml-1m/ratings.dat", "::", ["user_id", "item_id", "rating", "timestamp"])
    movies = read_table(archive, "ml-1m/movies.dat", "::", ["item_id", "title", "genres"])
    users = read_table(archive, "ml-1m/users.dat", "::", ["user_id", "gender", "age", "occupation", "zip"])
    return Tables(ratings, movies, users)


def read_table(archive: zipfile.ZipFile, member: str, separator: str, columns: list[str]) -> pd.DataFrame:
    """A file without a header; zip codes stay text."""
    content = archive.read(member)
    if separator == "::":
        # The fast parser takes one character; no file of the archive holds a tab.
        content, separator = content.replace(b"::", b"\t"), "\t"
    return pd.read_csv(
        io.BytesIO(content),
        sep=separator,
        names=columns,
        encoding="latin-1",
        quoting=csv.QUOTE_NONE,
        dtype={name: str for name in columns if name == "zip"},
    )
