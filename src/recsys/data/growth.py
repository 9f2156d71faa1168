"""Columns that take in values that were not there when they were fitted; the codes of the others stay as they are."""

from copy import copy
from dataclasses import replace
from typing import Any

import numpy as np

from recsys.data.columns import Column, Features
from recsys.data.dataset import Dataset
from recsys.data.features import encode_features, encode_rows
from recsys.data.vocabulary import Vocabulary


def grown_columns(fitted: Features, more: Features) -> Features:
    """The fitted columns, with codes for the categories and tags that only `more` has, behind those they have.

    A column in which unknown values share a code keeps its codes, and so do numbers, vectors and hashed columns.
    """
    return Features(tuple(_grown(column, more[column.name]) for column in fitted.columns), len(fitted))


def _grown(column: Column, more: Column) -> Column:
    listed = column.vocabulary is not None and len(column.vocabulary) == column.size
    if not listed or column.unknown or column.vocabulary is None or more.vocabulary is None:
        return column
    if len(column.vocabulary) == 0:
        return replace(column, vocabulary=more.vocabulary)
    return replace(column, vocabulary=column.vocabulary.grown(more.vocabulary))


def grown_features(
    fitted: Features | None, vocabulary: Vocabulary, id_col: str, frame: Any = None, more: Features | None = None
) -> Features | None:
    """Features in the order of a vocabulary that has grown: ids that a new frame describes have its rows.

    Others keep theirs; those of new ids are missing in every column. `more` is the new frame as encoded by itself.
    """
    if fitted is None:
        return None
    rows = np.arange(len(vocabulary))
    fitted = fitted.take(np.where(rows < len(fitted), rows, -1))
    if frame is None or more is None:
        return fitted
    like = grown_columns(fitted, more)
    fresh = encode_features(frame, id_col, vocabulary, like)
    both = Features(like.columns, len(fitted)).followed(fresh)
    described = vocabulary.encode(frame[id_col])
    rows[described[described >= 0]] += len(vocabulary)
    return both.take(rows)


def recoded(data: Dataset, users: Any, items: Any, context: Features | None) -> Dataset:
    """The same rows, with ids by these vocabularies (None for data without ids) and contexts as these columns have them."""
    same = copy(data)
    if users is not None:
        same.user_codes = users.encode(data.users.ids)[data.user_codes]
        same.item_codes = items.encode(data.items.ids)[data.item_codes]
    same.users, same.items = users, items
    same.context = None if context is None else encode_rows(data.to_frame(), context)
    return same
