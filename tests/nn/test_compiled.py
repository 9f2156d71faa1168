from collections.abc import Callable
from typing import Any

import pytest
import torch

from recsys import DCN, DLRM, FM, DeepFM, WideDeep
from recsys.errors import UnsupportedError
from recsys.nn.compiled import compiled
from tests.families.toys import clicks

# Torch's own way of looking at what it traces.
pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of what is compiled; traced as for a GPU, but run as it is, which needs no compiler."""
    names: list[str] = []
    compile_ = torch.compile

    def spy(function: Callable[..., Any], **options: Any) -> Any:
        assert options == {"mode": "reduce-overhead", "dynamic": False}
        names.append(function.__name__)
        return compile_(function, backend="eager", dynamic=False)

    monkeypatch.setattr(torch, "compile", spy)
    return names


def small(cls: Any, **parameters: Any) -> Any:
    options = {"embedding_dim": 4, "epochs": 2, "batch_size": 16, "verbose": 0, "device": "cpu", **parameters}
    return cls(**options, **({} if cls is FM else {"hidden_dims": (8,)}))


@pytest.mark.parametrize("cls", [FM, DeepFM, WideDeep, DCN, DLRM])
def test_a_compiled_head_trains_to_the_same_weights(cls: Any, traced: list[str]) -> None:
    rows = clicks()
    plain = small(cls).fit(rows)
    assert not traced
    fast = small(cls, compiled=True).fit(rows)
    assert traced == ["head"]
    for one, other in zip(plain.module_.parameters(), fast.module_.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-7)


def test_nothing_of_it_is_left_behind(traced: list[str], tmp_path: Any) -> None:
    model = small(DeepFM, compiled=True, dropout=0.3).fit(clicks())
    assert "head" not in model.module_.__dict__
    model.save(tmp_path / "model")


class Squares(torch.nn.Module):
    def head(self, x: torch.Tensor) -> torch.Tensor:
        return x * x


def test_outside_of_training_the_method_runs_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[int] = []

    def instead(function: Any, **options: Any) -> Any:
        return lambda x: called.append(len(x)) or function(x)

    monkeypatch.setattr(torch, "compile", instead)
    net = Squares()
    with compiled(net, "head"):
        net.head(torch.ones(3))
        net.eval()
        net.head(torch.ones(4))
    net.train()
    net.head(torch.ones(5))
    assert called == [3]


def test_what_cannot_be_compiled_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def instead(function: Any, **options: Any) -> Any:
        def fail(*args: Any) -> None:
            raise torch._dynamo.exc.InternalTorchDynamoError("no compiler")

        return fail

    monkeypatch.setattr(torch, "compile", instead)
    model = small(DeepFM, compiled=True)
    with pytest.raises(UnsupportedError, match=r"no compiler.*compiled=False"):
        model.fit(clicks())
    assert not model.is_fitted


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("cls", [DeepFM, WideDeep, DCN, DLRM])
def test_on_a_gpu_it_learns_as_it_does_without(cls: Any) -> None:
    plain, fast = (small(cls, device="cuda", compiled=one).fit(clicks()) for one in (False, True))
    for one, other in zip(plain.module_.parameters(), fast.module_.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)
