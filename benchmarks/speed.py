"""Time a task beside its peers: `python benchmarks/speed.py TASK [--peers-python PYTHON] [--data FOLDER] [--runs 5]`.

The peers live in an environment of their own, `.peers`, which the first task that needs them builds from `peers.txt`.

A task is a module `tasks/TASK.py` with `TITLE`, `prepare(data folder, scratch folder)`, which leaves the contenders'
input in the scratch folder, and `CONTENDERS`, the first of them ours. Every run of a contender is a process of its
own, and
the contenders take turns, so that a busy minute hits all of them. Reported is the median of each measure, on the
screen
and in `results/speed-TASK.md`.
"""

import argparse
import datetime
import importlib
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import venv
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("numpy", "scipy", "torch", "numba", "implicit", "rectools", "scikit-learn")

Measures = dict[str, float]


@dataclass(frozen=True)
class Contender:
    """One way to do a task: `run(scratch folder)` returns measures, of which less is better.

    What contenders leave in the scratch folder can be read by those after them, for instance to compare answers.
    """

    run: Callable[[Path], Measures]
    peer: bool = False
    """Needs the interpreter of --peers-python."""
    environment: Mapping[str, str] = field(default_factory=dict)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task")
    parser.add_argument("--peers-python", help="interpreter that has the peers installed; by default that of .peers")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data", help="folder of the data sets")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--contender", help=argparse.SUPPRESS)
    parser.add_argument("--scratch", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    task = importlib.import_module(f"tasks.{options.task}")
    if options.contender:
        measures = task.CONTENDERS[options.contender].run(options.scratch)
        print(json.dumps({"measures": measures, "versions": versions()}))
        return
    if options.peers_python is None and any(contender.peer for contender in task.CONTENDERS.values()):
        options.peers_python = peers_python()
    with tempfile.TemporaryDirectory() as scratch:
        task.prepare(options.data, Path(scratch))
        runs, used = take_turns(task.CONTENDERS, options, scratch)
    report = page(task.TITLE, runs, used, options.runs)
    print(report)
    target = ROOT / "benchmarks" / "results" / f"speed-{options.task}.md"
    target.parent.mkdir(exist_ok=True)
    target.write_text(report)


def peers_python() -> str:
    """The interpreter of the peers' environment, which is built where it is not there yet."""
    folder = ROOT / ".peers"
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
        command = [str(python), "-m", "pip", "install", "--quiet", "-r", str(ROOT / "benchmarks" / "peers.txt")]
        subprocess.run(command, check=True)
    return str(python)


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
            where = " (peers)" if contender.peer else ""
            used.update({package + where: version for package, version in answer["versions"].items()})
            print(f"{turn + 1}/{options.runs} {name}: {answer['measures']}", file=sys.stderr, flush=True)
    return runs, used


def in_process(name: str, contender: Contender, options: argparse.Namespace, scratch: str) -> dict:
    python = options.peers_python if contender.peer else sys.executable
    command = [python, __file__, options.task, "--contender", name, "--scratch", scratch]
    path = os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path, **contender.environment}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{name} failed with status {done.returncode}")
    return json.loads(done.stdout.splitlines()[-1])


def page(title: str, runs: Mapping[str, list[Measures]], used: Mapping[str, str], n_runs: int) -> str:
    """The results as Markdown: the median of each measure, and how many times ours it is."""
    medians = {
        name: {measure: statistics.median(run[measure] for run in measured) for measure in measured[0]}
        for name, measured in runs.items()
    }
    ours = next(iter(medians.values()))
    rows = [f"| contender | {' | '.join(ours)} |", "| --- |" + " ---: |" * len(ours)]
    for name, values in medians.items():
        rows.append(f"| {name} | {' | '.join(cell(values.get(measure), ours[measure]) for measure in ours)} |")
    about = f"Median of {n_runs} runs, each in a process of its own, contenders in turn; in brackets, times ours."
    return "\n".join([f"# {title}", "", about, "", *rows, "", provenance(used), ""])


def provenance(used: Mapping[str, str]) -> str:
    """Date, machine and versions of the packages in play, for the foot of a page."""
    machine = f"{processor()}, {len(os.sched_getaffinity(0))} cores, Python {platform.python_version()}"
    packages = ", ".join(f"{package} {version}" for package, version in sorted(used.items()))
    return f"{datetime.datetime.now(datetime.UTC).date()}; {machine}; {packages}."


def cell(value: float | None, ours: float) -> str:
    if value is None:
        return ""
    return f"{value:.4g} ({value / ours:.2f}x)" if ours else f"{value:.4g}"


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
    return installed


if __name__ == "__main__":
    # The tasks import this file for `Contender`: let them find this very module.
    sys.modules["speed"] = sys.modules["__main__"]
    main()
