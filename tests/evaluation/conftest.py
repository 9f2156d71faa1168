import numpy as np
import pandas as pd
import pytest

from tests.evaluation.planted import Given, table


@pytest.fixture(scope="module")
def planted() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Training and test pairs with string users, seen pairs, repeated pairs, unknown users and items, users without a
    relevant item."""
    rng = np.random.default_rng(0)
    train = table(rng.integers(0, [40, 25], (400, 2)))
    test = table(rng.integers(0, [46, 30], (300, 2)), rating=rng.integers(1, 6, 300).astype(float))
    seen_only = train[train["user_id"] == 3].assign(rating=5.0)
    test = pd.concat([test[test["user_id"] != 3], seen_only, test.iloc[:9]], ignore_index=True)
    for frame in (train, test):
        frame["user_id"] = "u" + frame["user_id"].astype(str)
    return train, test


@pytest.fixture(scope="module")
def model(planted: tuple[pd.DataFrame, pd.DataFrame]) -> Given:
    return Given().fit(planted[0])
