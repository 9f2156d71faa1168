import numpy as np
import pytest
import torch
from torch import Tensor

from recsys.training import Negatives, SharedNegatives, seeded
from recsys.training.negatives import PairsAndDrawn

N_USERS, N_ITEMS = 30, 20


def positives(seed: int = 0) -> tuple[Tensor, Tensor, set[tuple[int, int]]]:
    """Pairs, some of them repeated; user u has about u / 30 of the items, nobody all, the last one all but one."""
    rng = np.random.default_rng(seed)
    liked = rng.random((N_USERS, N_ITEMS)) < np.linspace(0, 1, N_USERS)[:, None]
    liked[-1] = True
    liked[liked.all(1), 13] = False
    users, items = np.nonzero(liked)
    again = rng.permutation(len(users))
    users, items = np.append(users, users[again[:50]]), np.append(items, items[again[:50]])
    order = rng.permutation(len(users))
    pairs = set(zip(users.tolist(), items.tolist(), strict=True))
    return torch.from_numpy(users[order]), torch.from_numpy(items[order]), pairs


def chi_square(counts: np.ndarray, shares: np.ndarray) -> float:
    """Pearson's statistic over its standard deviation around its mean, the degrees of freedom."""
    expected = counts.sum() * shares
    degrees = len(counts) - 1
    return float((((counts - expected) ** 2 / expected).sum() - degrees) / np.sqrt(2 * degrees))


def weights_of_items() -> Tensor:
    weights = torch.arange(N_ITEMS, dtype=torch.float32)
    weights[5] = 0
    return weights


@pytest.mark.parametrize("weights", [None, weights_of_items()], ids=["uniform", "weighted"])
def test_a_negative_is_never_a_positive(weights: Tensor | None) -> None:
    users, items, pairs = positives()
    with seeded(0):
        drawn = Negatives(users, items, N_ITEMS, weights).draw(torch.arange(N_USERS), 400)
    assert drawn.shape == (N_USERS, 400)
    assert drawn.dtype == torch.int64
    assert not any((user, item) in pairs for user, row in enumerate(drawn.tolist()) for item in row)
    assert int(drawn.min()) >= 0
    assert int(drawn.max()) < N_ITEMS


def test_each_item_that_is_no_positive_is_drawn_as_often() -> None:
    users, items, pairs = positives()
    asked = torch.tensor([0, 7, 15, 22])
    with seeded(1):
        drawn = Negatives(users, items, N_ITEMS).draw(asked, 20_000).numpy()
    for user, row in zip(asked.tolist(), drawn, strict=True):
        free = [item for item in range(N_ITEMS) if (user, item) not in pairs]
        counts = np.bincount(row, minlength=N_ITEMS)[free]
        assert len(free) > 1
        assert counts.sum() == 20_000
        assert abs(chi_square(counts, np.full(len(free), 1 / len(free)))) < 4


def test_weighted_negatives_follow_their_weights() -> None:
    weights = weights_of_items()
    with seeded(2):
        nobody = torch.empty(0, dtype=torch.int64)
        drawn = Negatives(nobody, nobody, N_ITEMS, weights).draw(torch.zeros(1, dtype=torch.int64), 40_000)
    counts = np.bincount(drawn.numpy()[0], minlength=N_ITEMS)
    weighted = weights.numpy() > 0
    assert counts[~weighted].sum() == 0
    assert abs(chi_square(counts[weighted], weights.numpy()[weighted] / weights.numpy().sum())) < 4


def test_weighted_negatives_of_a_user_follow_the_weights_of_what_is_left() -> None:
    weights = torch.tensor([5.0, 1.0, 3.0, 1.0])
    with seeded(3):
        drawn = Negatives(torch.tensor([0]), torch.tensor([0]), 4, weights).draw(torch.tensor([0]), 40_000)
    counts = np.bincount(drawn.numpy()[0], minlength=4)
    assert counts[0] == 0
    assert abs(chi_square(counts[1:], np.array([0.2, 0.6, 0.2]))) < 4


@pytest.mark.parametrize("weights", [None, torch.ones(N_ITEMS)], ids=["uniform", "weighted"])
def test_a_user_with_all_items_but_one_gets_that_one(weights: Tensor | None) -> None:
    users, items, _ = positives()
    with seeded(0):
        drawn = Negatives(users, items, N_ITEMS, weights).draw(torch.tensor([N_USERS - 1]), 200)
    assert drawn.unique().tolist() == [13]


@pytest.mark.parametrize("weights", [None, torch.ones(3)], ids=["uniform", "weighted"])
def test_a_user_with_every_item_gets_any_item(weights: Tensor | None) -> None:
    negatives = Negatives(torch.tensor([0, 0, 0, 1]), torch.tensor([0, 1, 2, 1]), 3, weights)
    with seeded(0):
        drawn = negatives.draw(torch.tensor([0, 1]), 100)
    assert drawn[0].unique().tolist() == [0, 1, 2]
    assert drawn[1].unique().tolist() == [0, 2]


def test_users_without_positives_get_any_item() -> None:
    users, items = torch.tensor([1, 1]), torch.tensor([0, 2])
    with seeded(0):
        drawn = Negatives(users, items, 3).draw(torch.tensor([0, 2, 99]), 100)
    assert [row.unique().tolist() for row in drawn] == [[0, 1, 2]] * 3


def test_no_positives_at_all_leave_every_item() -> None:
    nobody = torch.empty(0, dtype=torch.int64)
    with seeded(0):
        drawn = Negatives(nobody, nobody, 3).draw(torch.tensor([0, 5]), 100)
    assert [row.unique().tolist() for row in drawn] == [[0, 1, 2]] * 2


def test_membership_is_that_of_the_pairs() -> None:
    users, items, pairs = positives()
    negatives = Negatives(users, items, N_ITEMS)
    every = torch.arange(N_USERS)[:, None], torch.arange(N_ITEMS)[None]
    expected = [[(user, item) in pairs for item in range(N_ITEMS)] for user in range(N_USERS)]
    assert negatives.is_positive(*every).tolist() == expected
    nobody = torch.empty(0, dtype=torch.int64)
    assert not Negatives(nobody, nobody, N_ITEMS).is_positive(*every).any()


def test_bits_of_all_pairs_are_kept_where_they_take_no_more_than_the_pairs() -> None:
    users, items, pairs = positives()
    marks = np.unpackbits(Negatives(users, items, N_ITEMS).marks, axis=1, bitorder="little")
    assert {(int(u), int(i)) for u, i in np.argwhere(marks)} == pairs
    few = Negatives(torch.tensor([100]), torch.tensor([3]), 9)
    assert few.marks.size == 0
    with seeded(0):
        assert few.draw(torch.tensor([100]), 200).unique().tolist() == [0, 1, 2, 4, 5, 6, 7, 8]


def test_large_codes_do_not_overflow() -> None:
    users, items = torch.tensor([3_000_000, 3_000_000]), torch.tensor([0, 2_000_000])
    negatives = Negatives(users, items, 2_000_001)
    assert negatives.is_positive(users, items).tolist() == [True, True]
    assert negatives.is_positive(users - 1, items).tolist() == [False, False]


def test_a_seed_gives_the_same_negatives_again() -> None:
    users, items, _ = positives()
    negatives = Negatives(users, items, N_ITEMS)
    drawn = []
    for seed in (0, 0, 1):
        with seeded(seed):
            drawn.append(negatives.draw(torch.arange(N_USERS), 5))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("weights", [None, weights_of_items()], ids=["uniform", "weighted"])
def test_a_gpu_draws_no_positives_either(weights: Tensor | None) -> None:
    users, items, pairs = positives()
    device = torch.device("cuda")
    negatives = Negatives(users, items, N_ITEMS, weights).to(device)
    with seeded(0, device):
        drawn = negatives.draw(torch.arange(N_USERS, device=device), 400)
    assert drawn.is_cuda
    assert not any((user, item) in pairs for user, row in enumerate(drawn.tolist()) for item in row)


def test_pairs_come_with_drawn_items_beside_them() -> None:
    users, items, pairs = positives()
    examples = PairsAndDrawn(users.numpy(), items.numpy(), N_ITEMS, 3)
    rows = torch.tensor([4, 0, 4, 7])
    with seeded(2):
        examples.start_epoch()
        found = examples.batch(rows)
        examples.start_epoch()
        again = examples.batch(rows)
    assert torch.equal(found.users, users[rows])
    assert torch.equal(found.items[:, 0], items[rows])
    assert found.items.shape == (4, 1 + 3)
    assert not torch.equal(found.items[:, 1:], again.items[:, 1:])
    assert not any((int(u), int(i)) in pairs for u, row in zip(*found, strict=True) for i in row[1:])


# -- shared by a batch -------------------------------------------------------------------------------------------------


def test_shared_negatives_follow_their_weights_and_say_how_often_each_is_expected() -> None:
    weights = torch.arange(N_ITEMS).double()
    shared = SharedNegatives(weights)
    with seeded(3):
        drawn, log_expected = shared.draw(100_000)
    counts = np.bincount(drawn.numpy(), minlength=N_ITEMS)
    assert counts[0] == 0
    assert abs(chi_square(counts[1:], (weights[1:] / weights.sum()).numpy())) < 5
    torch.testing.assert_close(log_expected.exp(), (100_000 * weights[drawn] / weights.sum()).float())


def test_shared_negatives_of_one_seed_are_the_same_again() -> None:
    shared = SharedNegatives(torch.ones(N_ITEMS))
    found = []
    for _ in range(2):
        with seeded(3):
            found.append(shared.draw(50)[0])
    assert torch.equal(*found)
