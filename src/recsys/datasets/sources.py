"""Where data sets are looked for."""

import os
from pathlib import Path

import pandas as pd

from recsys.errors import DataError


def local_table(folder: str, table: str) -> pd.DataFrame | None:
    """A table of the folder that `RECSYS_DATA` names, `<folder>/<table>.parquet`; None where it is not there."""
    root = os.environ.get("RECSYS_DATA")
    path = Path(root, folder, f"{table}.parquet") if root else None
    return pd.read_parquet(path) if path is not None and path.exists() else None


def required_table(folder: str, table: str) -> pd.DataFrame:
    """A local table, or an error that says where it should be."""
    found = local_table(folder, table)
    if found is None:
        raise DataError(f"{folder}/{table}.parquet was not found; set RECSYS_DATA to a folder that holds {folder}/")
    return found
