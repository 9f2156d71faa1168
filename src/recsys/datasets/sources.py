"""The folder of the caller's own data sets, which the environment variable `RECSYS_DATA` names."""

import os
from pathlib import Path

import pandas as pd

from recsys.errors import DataError


def local_file(name: str) -> Path | None:
    """A file of the `RECSYS_DATA` folder; None where it is not there."""
    root = os.environ.get("RECSYS_DATA")
    path = Path(root, name) if root else None
    return path if path is not None and path.exists() else None


def local_table(folder: str, table: str) -> pd.DataFrame | None:
    """The table `<folder>/<table>.parquet` of the `RECSYS_DATA` folder; None where it is not there."""
    path = local_file(f"{folder}/{table}.parquet")
    if path is None:
        return None
    try:
        return pd.read_parquet(path)
    except ImportError as error:
        raise DataError(f'reading {path.name} of {folder} needs pip install "recsys[datasets]"') from error


def required_table(folder: str, table: str) -> pd.DataFrame:
    """A local table, or an error that says where it should be."""
    found = local_table(folder, table)
    if found is None:
        root = os.environ.get("RECSYS_DATA")
        where = f"in RECSYS_DATA={root!r}" if root else "because RECSYS_DATA is not set"
        raise DataError(
            f"{folder}/{table}.parquet was not found {where}; set RECSYS_DATA to a folder that holds {folder}/"
        )
    return found
