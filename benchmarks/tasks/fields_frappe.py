"""Training of DeepFM and DCN (version 2, parallel) on Frappe, ten fields; `fields` says what is timed."""

from pathlib import Path
from typing import Any

import numpy as np

from tasks import clicks, fields
from tasks.clicks import Field, Setting

TITLE = "DeepFM and DCN on Frappe: batches of 4,096, dense Adam, 2 threads"
FRAPPE = Setting("frappe", embedding_dim=10, hidden_dims=(400, 400, 400))
CONTEXT = ("daytime", "weekday", "isweekend", "homework", "cost", "weather", "country", "city")


def prepare(data: Path, scratch: Path) -> None:
    """Its own split."""
    import pandas as pd

    frame = pd.read_parquet(data / "frappe" / "frappe_x1.parquet").astype({"split": str})
    names = ("user", "item", *CONTEXT)
    every = [Field(name, int(frame[name].max()) + 1, 1) for name in names]
    parts = {part: frame.loc[frame.split == part, [*names, "label"]] for part in ("train", "valid", "test")}
    for part, rows in parts.items():
        rows.to_parquet(scratch / f"frappe-{part}.parquet")
    clicks.save(scratch, FRAPPE.data, every, **{part: columns(rows) for part, rows in parts.items()})


def columns(frame: Any) -> dict[str, np.ndarray]:
    return {name: frame[name].to_numpy(np.int64) for name in frame.columns}


def frappe(scratch: Path, part: str) -> Any:
    """Our data set of a part."""
    import pandas as pd

    from recsys import Dataset

    frame = pd.read_parquet(scratch / f"frappe-{part}.parquet")
    return Dataset(frame, user_col="user", item_col="item", context_cols=CONTEXT)


CONTENDERS = fields.both_models(FRAPPE, frappe, "Frappe", 10)
BARS = fields.bars(CONTENDERS)
