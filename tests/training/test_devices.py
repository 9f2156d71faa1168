import pytest
import torch

from recsys.errors import ParameterError
from recsys.training import pick_device, seeded

GPU = torch.cuda.is_available()
cuda = [pytest.mark.cuda, pytest.mark.skipif(not GPU, reason="needs a CUDA device")]
DEVICES = [pytest.param("cpu", id="cpu"), pytest.param("cuda", id="cuda", marks=cuda)]


def test_auto_is_the_gpu_where_there_is_one() -> None:
    assert pick_device("auto").type == ("cuda" if GPU else "cpu")
    assert pick_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("name", ["gpu", "", "cuda:x", "mps", "meta", "xpu"])
def test_a_device_of_another_kind_is_refused(name: str) -> None:
    with pytest.raises(ParameterError, match=rf"device='{name}' is not allowed; give \"auto\", \"cpu\", \"cuda\""):
        pick_device(name)


@pytest.mark.skipif(GPU, reason="a CUDA device is here")
@pytest.mark.parametrize("name", ["cuda", "cuda:0"])
def test_a_gpu_is_refused_where_there_is_none(name: str) -> None:
    with pytest.raises(ParameterError, match=rf"device='{name}', but torch sees no CUDA device; give \"auto\" or"):
        pick_device(name)


@pytest.mark.cuda
@pytest.mark.skipif(not GPU, reason="needs a CUDA device")
def test_a_gpu_beyond_the_last_is_refused() -> None:
    assert pick_device("cuda:0") == torch.device("cuda:0")
    with pytest.raises(ParameterError, match="device='cuda:99', but torch sees"):
        pick_device("cuda:99")


@pytest.mark.parametrize("name", DEVICES)
def test_a_seeded_block_leaves_the_callers_random_state(name: str) -> None:
    device = torch.device(name)
    with torch.random.fork_rng():
        torch.manual_seed(5)
        expected = [torch.rand(3, device=device), torch.rand(3)]
    with torch.random.fork_rng():
        torch.manual_seed(5)
        with seeded(0, device):
            torch.rand(10, device=device), torch.rand(10)
        found = [torch.rand(3, device=device), torch.rand(3)]
    assert all(map(torch.equal, found, expected))


@pytest.mark.parametrize("name", DEVICES)
def test_a_seed_gives_the_same_numbers_again(name: str) -> None:
    device = torch.device(name)
    drawn = []
    for seed in (3, 3, 4):
        with seeded(seed, device):
            drawn.append(torch.cat([torch.rand(4, device=device).cpu(), torch.rand(4)]))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0][:4], drawn[2][:4])
    assert not torch.equal(drawn[0][4:], drawn[2][4:])


def test_a_block_that_fails_leaves_the_callers_random_state_too() -> None:
    before = torch.get_rng_state()

    def fail() -> None:
        with seeded(0):
            torch.rand(10)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("seed", [2**32 + 1, 2**63 - 1, 2**63 + 5, 10**40 + 1])
def test_seeds_of_any_size_are_seeds(seed: int) -> None:
    drawn = []
    for one in (seed, seed, 0):
        with seeded(one):
            drawn.append(torch.rand(4))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
