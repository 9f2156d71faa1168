"""The worked examples of SLIM and EASE."""

import numpy as np
import pandas as pd
import pytest
import scipy.linalg
import scipy.sparse as sp
from tests.models.worked import Golden, near

from recsys import EASE, SLIM
from recsys.kernels.gram import invert_packed, packed_gram


def as_frame(x: np.ndarray) -> pd.DataFrame:
    users, items = np.nonzero(x)
    return pd.DataFrame({"user_id": users, "item_id": items})


def unpacked(packed: np.ndarray, n: int) -> np.ndarray:
    lower, _ = scipy.linalg.lapack.dtfttr(n, packed, transr="N", uplo="L")
    return np.tril(lower) + np.tril(lower, -1).T


@pytest.mark.parametrize("n_neighbors", [None, 3])
def test_05_slim(golden: Golden, n_neighbors: int | None) -> None:
    g = golden("05_slim")
    x, l1, l2 = np.array(g["inputs"]["X"]), g["inputs"]["l1"], g["inputs"]["l2"]
    model = SLIM(l1_regularization=l1, regularization=l2, n_neighbors=n_neighbors, tolerance=1e-9).fit(as_frame(x))
    w = model.weights_.toarray().astype(float)
    near(w, g["expected"]["W"])
    near(0.5 * ((x - x @ w) ** 2).sum() + 0.5 * l2 * (w**2).sum() + l1 * w.sum(), g["expected"]["objective"])
    users, items = np.indices(x.shape).reshape(2, -1)
    near(model.predict(users, items).reshape(x.shape), g["expected"]["scores"])


def test_05_a_column_depends_on_its_target_and_the_table_alone(golden: Golden) -> None:
    g = golden("05_slim")
    x = np.array(g["inputs"]["X"])
    order = np.array([2, 0, 3, 1])
    how = {"l1_regularization": g["inputs"]["l1"], "regularization": g["inputs"]["l2"], "tolerance": 1e-9}
    turned = SLIM(**how).fit(as_frame(x[:, order])).weights_.toarray()
    near(turned, np.array(g["expected"]["W"])[np.ix_(order, order)])


def test_06_the_inverse_of_ease(golden: Golden) -> None:
    g = golden("06_ease")
    x = sp.csr_matrix(np.array(g["inputs"]["X"], np.float32))
    packed = packed_gram(x, g["inputs"]["lam"])
    near(unpacked(packed, 4), np.array(g["expected"]["G"]) + g["inputs"]["lam"] * np.eye(4))
    assert invert_packed(packed, 4)
    near(unpacked(packed, 4), g["expected"]["P"])


def test_06_ease_of_weights_that_are_all_alike_is_ease_of_a_scaled_penalty(golden: Golden) -> None:
    g = golden("06_ease")
    frame = as_frame(np.array(g["inputs"]["X"])).assign(weight=3.0)
    near(EASE(regularization=9 * g["inputs"]["lam"]).fit(frame).weights_, g["expected"]["B"])
