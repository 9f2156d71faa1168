"""Features that a row names twice: for products of distinct features they are one, with the sum of their values."""

from dataclasses import replace

import numpy as np

from recsys.families.slots import Slots


def merged(slots: Slots) -> Slots:
    """Slots (n, S) in which a row has every feature once: its value is the sum of its slots', the other slots are empty."""
    fields = np.array(slots.fields, np.int64)
    if len(np.unique(fields)) == len(fields):
        return slots
    features = np.where(slots.codes >= 0, slots.codes + np.cumsum([0, *slots.sizes])[fields], -1)
    order = np.argsort(features, axis=1, kind="stable")
    ordered = np.take_along_axis(features, order, 1)
    again = np.zeros(ordered.shape, bool)
    again[:, 1:] = (ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)
    if not again.any():
        return slots
    first = np.maximum.accumulate(np.where(again, 0, np.arange(len(fields))), axis=1)
    rows, places = np.nonzero(again)
    codes, values = slots.codes.copy(), slots.values.copy()
    slot = order[rows, places]
    np.add.at(values, (rows, order[rows, first[rows, places]]), values[rows, slot])
    codes[rows, slot], values[rows, slot] = -1, 0
    return replace(slots, codes=codes, values=values)
