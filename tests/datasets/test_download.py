import hashlib
from pathlib import Path

import pytest

from recsys.datasets.download import Archive, cache_folder, cached, download
from recsys.errors import DataError

CONTENT = b"ratings" * 1000


def published(url: str, content: bytes = CONTENT) -> Archive:
    return Archive(url, hashlib.md5(content).hexdigest())


def test_a_download_is_kept_whole_under_its_own_name(site: tuple[Path, str]) -> None:
    folder, address = site
    (folder / "set.zip").write_bytes(CONTENT)
    archive = published(f"{address}/set.zip")
    assert cached(archive) is None
    path = download(archive)
    assert path == cache_folder() / "set.zip" == cached(archive)
    assert path.read_bytes() == CONTENT
    assert [one.name for one in cache_folder().iterdir()] == ["set.zip"]


def test_a_wrong_checksum_is_named_and_leaves_nothing_behind(site: tuple[Path, str]) -> None:
    folder, address = site
    (folder / "set.zip").write_bytes(CONTENT + b"!")
    archive = published(f"{address}/set.zip")
    with pytest.raises(DataError) as raised:
        download(archive)
    found = hashlib.md5(CONTENT + b"!").hexdigest()
    for part in (archive.url, archive.md5, found, "RECSYS_DATA", "set.zip"):
        assert part in str(raised.value)
    assert list(cache_folder().iterdir()) == []


def test_a_wrong_checksum_leaves_an_older_file_as_it_was(site: tuple[Path, str]) -> None:
    folder, address = site
    (folder / "set.zip").write_bytes(b"changed")
    cache_folder().mkdir(parents=True)
    (cache_folder() / "set.zip").write_bytes(CONTENT)
    with pytest.raises(DataError, match="checksum"):
        download(published(f"{address}/set.zip"))
    assert (cache_folder() / "set.zip").read_bytes() == CONTENT


@pytest.mark.parametrize("address", ["http://127.0.0.1:9/set.zip", "file:///nowhere/set.zip"])
def test_a_site_that_does_not_answer_is_named_with_a_way_out(address: str) -> None:
    with pytest.raises(DataError) as raised:
        download(published(address))
    assert address in str(raised.value)
    assert "RECSYS_DATA" in str(raised.value)
    assert list(cache_folder().iterdir()) == []


def test_a_file_that_the_site_has_not_is_an_error(site: tuple[Path, str]) -> None:
    with pytest.raises(DataError, match="404"):
        download(published(f"{site[1]}/set.zip"))


def test_without_a_cache_home_downloads_go_to_the_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "recsys"
