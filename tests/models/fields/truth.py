"""Rows of fields whose label no field tells by itself."""

import itertools
from typing import Any

import numpy as np
import pandas as pd

from recsys import Dataset, Recommender


def truth_table(fields: int, copies: int = 60) -> pd.DataFrame:
    """All settings of binary fields, each with the parity of its ones as the label: no field alone says anything."""
    rows = np.array(list(itertools.product((0, 1), repeat=fields)) * copies)
    frame = pd.DataFrame(rows, columns=[f"field{i}" for i in range(fields)])
    return frame.assign(label=rows.sum(1) % 2)


def as_data(frame: pd.DataFrame, **roles: Any) -> Dataset:
    columns = [name for name in frame.columns if name not in ("label", "weight", "rating")]
    return Dataset(frame, user_col=None, item_col=None, context_cols=columns, **roles)


def log_loss(model: Recommender, frame: pd.DataFrame) -> float:
    p = model.predict(frame).astype(float)
    return float(-np.mean(np.log(np.where(frame["label"] == 1, p, 1 - p))))
