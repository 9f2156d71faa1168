from typing import Any

import pytest
from tests.models.fields.truth import as_data, truth_table

from recsys import DCN, DLRM, FM, DeepFM, WideDeep


@pytest.mark.parametrize("cls", [FM, DeepFM, WideDeep, DCN, DLRM])
def test_vectors_start_with_the_deviation_that_is_asked_for(cls: Any) -> None:
    def start(std: float) -> float:
        model = cls(embedding_dim=500, init_std=std, epochs=1, learning_rate=1e-12, verbose=0, device="cpu")
        net = model.fit(as_data(truth_table(2))).module_
        table = (net.deep if cls is WideDeep else net).embedding.table
        return float(table.vectors.detach().std())

    assert start(0.0) < 1e-9
    assert start(0.3) == pytest.approx(0.3, rel=0.05)


@pytest.mark.parametrize("cls", [DeepFM, DCN])
def test_vectors_start_by_the_size_of_their_table(cls: Any) -> None:
    net = (
        cls(embedding_dim=500, epochs=1, learning_rate=1e-12, verbose=0, device="cpu")
        .fit(as_data(truth_table(2)))
        .module_
    )
    vectors = net.embedding.table.vectors.detach()
    assert float(vectors.std()) == pytest.approx((2 / sum(vectors.shape)) ** 0.5, rel=0.05)
