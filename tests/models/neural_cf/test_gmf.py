import numpy as np
import pytest
import torch
from tests.models.neural_cf.tastes import gmf_logit, quick, taste_frame, weights

from recsys import GMF, Dataset
from recsys.embedding import Embedding
from recsys.models.neural_cf.gmf import GMFNet
from recsys.training import seeded


@pytest.fixture(scope="module")
def model() -> GMF:
    return quick(GMF, epochs=15, embedding_dim=8).fit(taste_frame())


def test_items_of_the_own_group_come_first(model: GMF) -> None:
    lists = model.recommend(k=4)
    assert (lists["item_id"] // 10 == lists["user_id"] % 4).mean() > 0.95


def test_a_score_is_the_weighted_product_and_the_bias(model: GMF) -> None:
    w = weights(model)
    users, items = np.repeat(np.arange(40), 40), np.tile(np.arange(40), 40)
    wanted = [gmf_logit(w, user, item) for user, item in zip(users, items, strict=True)]
    np.testing.assert_allclose(model.predict(users, items), wanted, rtol=1e-4, atol=1e-5)
    assert abs(float(w["head.bias"][0])) > 0.1


def test_lists_hold_the_best_scores(model: GMF) -> None:
    lists = model.recommend([7], k=5, filter_seen=False)
    scores = model.predict(np.full(40, 7), np.arange(40))
    assert lists["item_id"].tolist() == np.argsort(-scores, kind="stable")[:5].tolist()


def test_what_is_unknown_scores_as_nothing(model: GMF) -> None:
    assert model.predict([999, 0, 999], [0, 999, 999]).tolist() == [0, 0, 0]


def test_similar_items_are_compared_by_their_vectors_alone(model: GMF) -> None:
    q = weights(model)["items.weight"]
    found = model.similar_items([3], k=39).set_index("similar_item_id")["score"].sort_index()
    others = np.delete(np.arange(40), 3)
    wanted = q[others] @ q[3] / np.linalg.norm(q[others], axis=1) / np.linalg.norm(q[3])
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_similar_users_are_compared_by_what_their_scores_are_made_of(model: GMF) -> None:
    w = weights(model)
    vectors = w["users.weight"] * w["head.weight"][0]
    found = model.similar_users([3], k=39).set_index("similar_user_id")["score"].sort_index()
    others = np.delete(np.arange(40), 3)
    wanted = vectors[others] @ vectors[3] / np.linalg.norm(vectors[others], axis=1) / np.linalg.norm(vectors[3])
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_the_loss_and_its_gradient_are_those_of_a_loop() -> None:
    data = Dataset(taste_frame())
    model = quick(GMF, n_negatives=3, embedding_dim=4).fit(data)
    with seeded(3):
        batch = model._examples(data).batch(torch.tensor([5, 0, 9, 6]))
    assert batch.items.shape == (4, 1 + 3)
    w = weights(model)
    loss = model._loss(model.module_, batch)
    found = dict(
        zip(
            ("users.weight", "items.weight", "head.weight", "head.bias"),
            torch.autograd.grad(loss, list(model.module_.parameters())),
            strict=True,
        )
    )
    total, wanted = 0.0, {name: np.zeros_like(one) for name, one in w.items()}
    h = w["head.weight"][0]
    for user, (positive, *others) in zip(batch.users, batch.items, strict=True):
        for item, sign in ((positive, 1), *((other, -1) for other in others)):
            p, q, logit = w["users.weight"][user], w["items.weight"][item], gmf_logit(w, int(user), int(item))
            total += np.log1p(np.exp(-sign * logit))
            slope = -sign / (1 + np.exp(sign * logit))
            wanted["users.weight"][user] += slope * h * q
            wanted["items.weight"][item] += slope * h * p
            wanted["head.weight"][0] += slope * p * q
            wanted["head.bias"] += slope
    assert loss.item() == pytest.approx(total / 4, rel=1e-5)
    for name, one in found.items():
        dense = one.to_dense().numpy()
        np.testing.assert_allclose(dense[1:] if "s.weight" in name else dense, wanted[name] / 4, atol=1e-6)


def test_negatives_are_drawn_anew_every_epoch_and_are_no_items_of_the_user() -> None:
    data = Dataset(taste_frame())
    model = quick(GMF).fit(data)
    examples, matrix = model._examples(data), data.to_csr()
    with seeded(0):
        users, one = examples.batch(torch.arange(100))
        examples.start_epoch()
        _, other = examples.batch(torch.arange(100))
    assert one.shape == (100, 1 + 4)
    assert torch.equal(one[:, 0], other[:, 0])
    assert not torch.equal(one[:, 1:], other[:, 1:])
    for items in (one, other):
        seen = np.array([[matrix[int(u), int(i)] for i in row] for u, row in zip(users, items, strict=True)])
        assert (seen[:, 0] > 0).all()
        assert (seen[:, 1:] == 0).all()


def test_vectors_start_near_zero_and_the_logit_with_variance_1_over_its_inputs() -> None:
    with seeded(0):
        net = GMFNet(Embedding(3000, 400), Embedding(2000, 400))
    assert float(net.users.vectors.detach().std()) == pytest.approx(0.01, rel=0.01)
    assert float(net.items.vectors.detach().std()) == pytest.approx(0.01, rel=0.01)
    weight = net.head.weight.detach()
    assert float(weight.var()) == pytest.approx(1 / 400, rel=0.15)
    assert float(weight.abs().max()) <= np.sqrt(3 / 400)
    assert float(net.head.bias.detach()[0]) == 0
