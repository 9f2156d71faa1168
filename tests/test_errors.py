import ast
import inspect
from pathlib import Path

import pytest

from recsys import errors
from recsys.errors import RecsysError

SOURCE = Path(errors.__file__).parent
KINDS = {
    "NotFittedError": (ValueError, AttributeError),
    "DataError": (ValueError,),
    "ParameterError": (ValueError,),
    "UnsupportedError": (TypeError,),
    "TrainingError": (ArithmeticError,),
    "LoadError": (ValueError,),
}
"""What Python's own exceptions each error is one of, so that callers may catch those."""
ELSEWHERE = {
    "params.py": {"TypeError"},  # a class body that is wrong, as Python itself says it
    "item_weights.py": {"ValueError"},  # of a damaged file, which `load` turns into a LoadError
    "persistence.py": {"ValueError"},  # of a damaged file, which `read` turns into a LoadError
    "testing/hyperparameters.py": {"ValueError"},  # of a model's repr, which a check reports
}
CLASSES = [one for one in vars(errors).values() if inspect.isclass(one)]
FILES = sorted(SOURCE.rglob("*.py"))


@pytest.mark.parametrize("name", KINDS)
def test_an_error_is_one_of_the_librarys_and_one_of_pythons(name: str) -> None:
    error = getattr(errors, name)
    assert issubclass(error, RecsysError)
    assert all(issubclass(error, kind) for kind in KINDS[name])


def test_every_error_is_listed() -> None:
    assert {one.__name__ for one in CLASSES} == {*KINDS, "RecsysError"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_what_is_raised_on_purpose_is_an_error_of_the_library(path: Path) -> None:
    own = {one.__name__ for one in CLASSES} | ELSEWHERE.get(str(path.relative_to(SOURCE)), set())
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and isinstance(node.exc.func, ast.Name):
            name = node.exc.func.id
            # A function that makes the error is named in lower case; the suite of checks has an error of its own.
            assert name in own or name.lstrip("_").islower() or name == "ConformanceError", (
                f"line {node.lineno}: {name}"
            )
