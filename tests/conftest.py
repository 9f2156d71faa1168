import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"


def pytest_configure() -> None:
    torch.set_num_threads(1)
    # Read when Triton is imported: without a GPU its kernels run in its interpreter.
    if not torch.cuda.is_available():
        os.environ.setdefault("TRITON_INTERPRET", "1")


def load_golden(name: str) -> dict[str, Any]:
    """One worked example, its "nan" strings turned into NaN; skips where the examples are not beside the checkout."""
    path = SHARED / "golden" / f"{name}.json"
    if not path.exists():
        pytest.skip(f"the worked example {name} is not beside this checkout")
    return json.loads(path.read_text().replace('"nan"', "NaN"))


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    """What a test draws from torch is the same each time, and nobody else's."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


@pytest.fixture(scope="session")
def golden() -> Callable[[str], dict[str, Any]]:
    return load_golden


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the real data sets; skips where they are not beside the checkout."""
    path = SHARED / "data"
    if not path.exists():
        pytest.skip("the benchmark data sets are not beside this checkout")
    return path
