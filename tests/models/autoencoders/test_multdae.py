from typing import Any

import numpy as np
import pytest
from tests.models.autoencoders.tastes import taste_frame

from recsys import Dataset, MultDAE, Popular


def quick(**parameters: Any) -> MultDAE:
    small = {"embedding_dim": 16, "epochs": 60, "batch_size": 20, "learning_rate": 0.01}
    return MultDAE(verbose=0, device="cpu", **(small | parameters))


def test_scores_are_those_of_two_layers_on_the_unit_profile() -> None:
    frame = taste_frame(30)
    model = quick(epochs=3).fit(frame)
    weights = {name: value.numpy().astype(float) for name, value in model.module_.state_dict().items()}
    x = Dataset(frame).to_csr().toarray()
    x /= np.sqrt((x**2).sum(1, keepdims=True))
    code = np.tanh(x @ weights["first.table.weight"][1:] + weights["first.bias"])
    wanted = code @ weights["output.weight"].T + weights["output.bias"]
    users, items = np.indices(x.shape).reshape(2, -1)
    np.testing.assert_allclose(model.predict(users, items).reshape(x.shape), wanted, atol=1e-4)


def test_a_profile_is_restored_from_half_of_it() -> None:
    train, others = taste_frame(80), taste_frame(40, first_user=1000, seed=1)
    given = others[others.groupby("user_id").cumcount() < 3]
    lists = [one.fit(train).recommend(history=given, k=6) for one in (quick(), Popular())]
    right, popular = ((found["item_id"] // 10 == found["user_id"] % 4).mean() for found in lists)
    assert right > 0.95
    assert popular < 0.5


def test_without_dropout_it_learns_small_data_by_heart() -> None:
    model = quick(epochs=300, dropout=0.0, weight_decay=0.0, learning_rate=0.02).fit(taste_frame(8))
    # The least -sum of ln softmax over 6 items is 6 ln 6, all probability on them.
    least = 6 * np.log(6)
    assert least <= model.training_log_["loss"].iloc[-10:].mean() < 1.05 * least


def test_weight_decay_keeps_the_weights_small() -> None:
    norms = [
        sum(
            float(one.detach().square().sum())
            for one in quick(weight_decay=decay).fit(taste_frame(40)).module_.parameters()
        )
        for decay in (0.0, 0.1)
    ]
    assert norms[1] < 0.5 * norms[0]


def test_scores_of_a_profile_do_not_depend_on_how_often_its_items_are_named() -> None:
    model = quick(epochs=3).fit(taste_frame(30))
    once, twice = (model.recommend(history=[items], k=5) for items in ([1, 2, 3], [3, 1, 1, 2, 2, 3]))
    assert once["item_id"].tolist() == twice["item_id"].tolist()
    np.testing.assert_allclose(once["score"], twice["score"], rtol=1e-6)


def test_the_best_epoch_is_picked_by_ndcg_at_100() -> None:
    assert MultDAE().monitor == "ndcg@100"
    with pytest.raises(Exception, match="patience=2 needs fit"):
        quick(patience=2).fit(taste_frame(20))
