"""Time a task beside its peers: `python benchmarks/speed.py TASK [--peers-python PYTHON] [--data FOLDER] [--runs 5]`.

The peers live in an environment of their own, `.peers`, which the first task that needs them builds from `peers.txt`
(with Python 3.11), and builds anew when that file has changed. A contender may name another list, as `peers-fields`.

A task is a module `tasks/TASK.py` with `TITLE`, `prepare(data folder, scratch folder)`, which leaves the contenders'
input in the scratch folder, `CONTENDERS` and, where the project promises something, `BARS`. Every run of a contender is
a process of its own, and the contenders take turns, so that a busy minute hits all of them. Reported is the median of
each measure, on the screen and in `results/speed-TASK.md`; a bar is held against the median, over the turns, of the
ratio within a turn. `--only` runs some contenders and keeps no page.
"""

import argparse
import datetime
import importlib
import importlib.metadata
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import venv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = (
    "numpy", "scipy", "torch", "numba", "implicit", "rectools", "scikit-learn", "scikit-surprise", "cornac", "lenskit",
    "rectools-lightfm", "fuxictr", "deepctr-torch", "recbole", "torchrec", "fbgemm-gpu-cpu", "pyarrow", "triton",
)  # fmt: skip

STAMP = "built-from.txt"
"""The list that an environment was built from, kept in its folder."""
ALONE = "  # alone"

Measures = dict[str, float]
Runs = Mapping[str, Sequence[Measures]]
"""Measures of every turn by contender."""


@dataclass(frozen=True)
class Contender:
    """One way to do a task: `run(scratch folder)` returns measures, of which less is better unless the name says else.

    What contenders leave in the scratch folder can be read by those after them, for instance to compare answers.
    """

    run: Callable[[Path], Measures]
    peer: bool = False
    """Needs the interpreter of --peers-python."""
    listed: str = "peers"
    """Its interpreter is that of `.LISTED`, built from `LISTED.txt`."""
    environment: Mapping[str, str] = field(default_factory=dict)
    group: str = ""
    """Heading of the table it stands in; the first of a group that is no peer is ours, which the others are set against."""


@dataclass(frozen=True)
class Bar:
    """A promise: `ours`' measure is at most this many times that of the best of some others, or this much by itself.

    Up to `slack` more counts as no more.
    """

    ours: str
    measure: str
    at_most: float
    of: tuple[str, ...] = ()
    slack: float = 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task")
    parser.add_argument("--peers-python", help="interpreter that has all peers; by default that of .peers or such")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data", help="folder of the data sets")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks" / "results", help="folder of the pages")
    parser.add_argument("--only", nargs="+", metavar="CONTENDER", help="run these alone and write no page")
    parser.add_argument("--contender", help=argparse.SUPPRESS)
    parser.add_argument("--scratch", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    task = importlib.import_module(f"tasks.{options.task}")
    if options.contender:
        measures = task.CONTENDERS[options.contender].run(options.scratch)
        print(json.dumps({"measures": measures, "versions": versions()}))
        return
    contenders = chosen(task.CONTENDERS, options.only)
    lists = dict.fromkeys(contender.listed for contender in contenders.values() if contender.peer)
    options.pythons = {listed: options.peers_python or peers_python(listed) for listed in lists}
    with tempfile.TemporaryDirectory() as scratch:
        task.prepare(options.data, Path(scratch))
        runs, used = take_turns(contenders, options, scratch)
    bars = [bar for bar in getattr(task, "BARS", ()) if {bar.ours, *bar.of} <= runs.keys()]
    report = page(task.TITLE, contenders, runs, used, bars)
    print(report)
    if options.only is None:
        options.results.mkdir(exist_ok=True)
        (options.results / f"speed-{options.task}.md").write_text(report)


def chosen(contenders: Mapping[str, Contender], only: Sequence[str] | None) -> dict[str, Contender]:
    """The contenders named, in the task's order; all where none is."""
    unknown = set(only or ()) - contenders.keys()
    if unknown:
        raise SystemExit(f"no contender {sorted(unknown)}; there are {list(contenders)}")
    return {name: contender for name, contender in contenders.items() if only is None or name in only}


def peers_python(name: str) -> str:
    """The interpreter of the peers' environment, built where it is not there yet or was built from another list."""
    folder, listed = ROOT / f".{name}", ROOT / "benchmarks" / f"{name}.txt"
    python = folder / "bin" / "python"
    if not is_built(folder, listed):
        shutil.rmtree(folder, ignore_errors=True)
        venv.create(folder, with_pip=True)
        for arguments in installation(listed):
            subprocess.run([str(python), "-m", "pip", "--quiet", *arguments], check=True)
        # Last of all, so that an environment half built is none.
        call_built(folder, listed)
    return str(python)


def is_built(folder: Path, listed: Path) -> bool:
    stamp = folder / STAMP
    return stamp.exists() and stamp.read_text() == listed.read_text()


def call_built(folder: Path, listed: Path) -> None:
    (folder / STAMP).write_text(listed.read_text())


def installation(listed: Path) -> list[list[str]]:
    """What pip is asked for, in turn. Lines that end in `ALONE` come last, without what they ask for."""
    lines = listed.read_text().splitlines()
    alone = [line.removesuffix(ALONE) for line in lines if line.endswith(ALONE)]
    if alone:
        wanted = [line for line in lines if line and not line.startswith("#") and not line.endswith(ALONE)]
        return [["install", *wanted], ["install", "--no-deps", *alone]]
    implicit = next((line for line in lines if line.startswith("implicit==")), None)
    if implicit is None:
        return [["install", "-r", str(listed)]]
    return [
        ["install", "-r", str(listed)],
        # RecTools brings a repackaged copy of implicit, whose compiled parts hide implicit's own and are slower.
        ["uninstall", "--yes", "pm-implicit"],
        ["install", "--force-reinstall", "--no-deps", implicit],
    ]


def take_turns(
    contenders: Mapping[str, Contender], options: argparse.Namespace, scratch: str
) -> tuple[dict[str, list[Measures]], dict[str, str]]:
    """Measures of every run by contender, and the versions of the packages in play."""
    runs: dict[str, list[Measures]] = {name: [] for name in contenders}
    used: dict[str, str] = {}
    for turn in range(options.runs):
        for name, contender in contenders.items():
            answer = in_process(name, contender, options, scratch)
            runs[name].append(answer["measures"])
            where = f" ({contender.listed})" if contender.peer else ""
            used.update({package + where: version for package, version in answer["versions"].items()})
            print(f"{turn + 1}/{options.runs} {name}: {answer['measures']}", file=sys.stderr, flush=True)
    return runs, used


def in_process(name: str, contender: Contender, options: argparse.Namespace, scratch: str) -> dict:
    python = options.pythons[contender.listed] if contender.peer else sys.executable
    command = [python, __file__, options.task, "--contender", name, "--scratch", scratch]
    path = os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path, **contender.environment}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{name} failed with status {done.returncode}")
    return json.loads(done.stdout.splitlines()[-1])


def page(
    title: str, contenders: Mapping[str, Contender], runs: Runs, used: Mapping[str, str], bars: Sequence[Bar]
) -> str:
    """The results as Markdown: a table a group, and which bars are held."""
    n_runs = max(len(measured) for measured in runs.values())
    about = f"Median of {n_runs} runs, each in a process of its own, contenders in turn; in brackets, times ours."
    lines = [f"# {title}", "", about, ""]
    for group in dict.fromkeys(contender.group for contender in contenders.values()):
        lines += [f"## {group}", ""] if group else []
        lines += [*table({name: c for name, c in contenders.items() if c.group == group}, runs), ""]
    lines += [verdict(bar, runs) for bar in bars] + ([""] if bars else [])
    return "\n".join([*lines, provenance(used), ""])


def table(contenders: Mapping[str, Contender], runs: Runs) -> list[str]:
    """The median of each measure of one group, and how many times ours it is."""
    medians = {name: median(runs[name]) for name in contenders}
    ours = medians[next((name for name, contender in contenders.items() if not contender.peer), next(iter(medians)))]
    measures = list(dict.fromkeys(measure for values in medians.values() for measure in values))
    rows = [f"| contender | {' | '.join(measures)} |", "| --- |" + " ---: |" * len(measures)]
    for name, values in medians.items():
        cells = " | ".join(cell(values.get(one), ours.get(one)) for one in measures)
        rows.append(f"| {name.removesuffix(f', {contenders[name].group}')} | {cells} |")
    return rows


def median(measured: Sequence[Measures]) -> Measures:
    return {name: statistics.median(run[name] for run in measured) for name in measured[0]}


def cell(value: float | None, ours: float | None) -> str:
    if value is None:
        return ""
    if value == float("inf"):
        return "never"
    return f"{value:.4g} ({value / ours:.2f}x)" if ours else f"{value:.4g}"


def verdict(bar: Bar, runs: Runs) -> str:
    """A line that says what was promised, what was measured, and whether that holds."""
    turns = [
        (run[bar.measure] - bar.slack) / min((runs[other][turn][bar.measure] for other in bar.of), default=1.0)
        for turn, run in enumerate(runs[bar.ours])
    ]
    found = statistics.median(turns)
    others = f" times {' or '.join(bar.of)}" if bar.of else ""
    slack = f", less {bar.slack:g}" if bar.slack else ""
    spread = f"turns from {min(turns):.4g} to {max(turns):.4g}"
    held = "held" if found <= bar.at_most else "NOT HELD"
    return (
        f"- {bar.ours}, {bar.measure}{slack}: at most {bar.at_most:g}{others}; measured {found:.4g} ({spread}): {held}"
    )


def provenance(used: Mapping[str, str]) -> str:
    """Date, machine and versions of the packages in play, for the foot of a page."""
    machine = f"{processor()}, {len(os.sched_getaffinity(0))} cores, Python {platform.python_version()}"
    packages = ", ".join(f"{package} {version}" for package, version in sorted(used.items()))
    return f"{datetime.datetime.now(datetime.UTC).date()}; {machine}; {packages}."


def processor() -> str:
    """Name of the processor, where the system tells it."""
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def versions() -> dict[str, str]:
    installed = {}
    for package in PACKAGES:
        try:
            installed[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        installed["GPU"] = torch.cuda.get_device_name()
    return installed


if __name__ == "__main__":
    # The tasks import this file for `Contender`: let them find this very module.
    sys.modules["speed"] = sys.modules["__main__"]
    main()
