"""Archives of official sites, verified by their published checksums and kept in a cache folder."""

import hashlib
import os
import tempfile
import urllib.request
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import IO

from recsys.errors import DataError

CHUNK = 1 << 20
TIMEOUT = 60
"""Seconds without an answer after which a site counts as silent."""


@dataclass(frozen=True)
class Archive:
    """A file of an official site; `md5` is the checksum that the site publishes beside it."""

    url: str
    md5: str

    @property
    def name(self) -> str:
        """The file's own name, under which it is kept."""
        return self.url.rsplit("/", 1)[-1]


def cache_folder() -> Path:
    """Where downloads are kept: `recsys` in the folder that `XDG_CACHE_HOME` names, by default in `~/.cache`."""
    root = os.environ.get("XDG_CACHE_HOME")
    return (Path(root) if root else Path.home() / ".cache") / "recsys"


def cached(archive: Archive) -> Path | None:
    """The archive in the cache; None where it is not there."""
    path = cache_folder() / archive.name
    return path if path.exists() else None


def download(archive: Archive) -> Path:
    """Fetch an archive into the cache, where it appears whole and verified or not at all."""
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    way_out = f"set RECSYS_DATA to a folder that holds {archive.name}, fetched in another way"
    with tempfile.TemporaryDirectory(dir=folder, prefix=f".{archive.name}-") as part:
        path = Path(part) / archive.name
        try:
            with urllib.request.urlopen(archive.url, timeout=TIMEOUT) as source, path.open("wb") as target:
                found = copy(source, target)
        except (OSError, HTTPException) as error:
            raise DataError(
                f"{archive.url} could not be downloaded ({error}); try again later, or {way_out}"
            ) from error
        if found != archive.md5:
            raise DataError(
                f"{archive.url} was not kept: its MD5 checksum should be {archive.md5} and is {found}; "
                f"try again, or {way_out}"
            )
        return path.replace(folder / archive.name)


def copy(source: IO[bytes], target: IO[bytes]) -> str:
    """Copy a stream in pieces; returns the MD5 of what went through."""
    digest = hashlib.md5(usedforsecurity=False)
    while piece := source.read(CHUNK):
        digest.update(piece)
        target.write(piece)
    return digest.hexdigest()
