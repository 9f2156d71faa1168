"""Reproduce an accuracy figure: `python benchmarks/reproduce.py NAME [--data FOLDER] [--checkpoints FOLDER]`, or `all`.

A reproduction is a module `reproductions/NAME.py` with `TITLE`, `PROTOCOL` (how data is split, tuned and measured, in
words) and `run()`, which yields a row of figures a model. Options are picked on a validation split cut from the
training data; the test split is read once a model. Rows are on the screen and in `results/NAME.md` as soon as they
are there.
"""

import argparse
import importlib
import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from speed import provenance, versions

import recsys
from recsys import Dataset, Recommender

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
Row = Mapping[str, object]


def main() -> None:
    names = sorted(path.stem for path in (ROOT / "benchmarks" / "reproductions").glob("[a-z]*.py"))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=[*names, "all"])
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data", help="folder of the data sets")
    parser.add_argument("--checkpoints", type=Path, help="folder from which a long training goes on that was cut off")
    options = parser.parse_args()
    os.environ["RECSYS_DATA"] = str(options.data)
    if options.checkpoints is not None:
        options.checkpoints.mkdir(parents=True, exist_ok=True)
        os.environ["RECSYS_CHECKPOINTS"] = str(options.checkpoints)
    for name in names if options.name == "all" else [options.name]:
        reproduce(name)


def reproduce(name: str) -> None:
    task = importlib.import_module(f"reproductions.{name}")
    RESULTS.mkdir(exist_ok=True)
    rows: list[Row] = []
    for row in timed(task.run()):
        rows.append(row)
        report = page(task.TITLE, task.PROTOCOL, rows)
        (RESULTS / f"{name}.md").write_text(report)
        print(row, file=sys.stderr, flush=True)
    print(report)


def timed(rows: Iterable[Row]) -> Iterator[Row]:
    """The rows, each with the seconds that it took."""
    start = time.perf_counter()
    for row in rows:
        yield {**row, "seconds": round(time.perf_counter() - start)}
        start = time.perf_counter()


def page(title: str, protocol: str, rows: Sequence[Row]) -> str:
    """The rows as Markdown, with what made them."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    lines = [f"| {' | '.join(columns)} |", f"|{' --- |' * len(columns)}"]
    lines += [f"| {' | '.join(cell(row.get(name, '')) for name in columns)} |" for row in rows]
    about = " ".join(protocol.split())
    return "\n".join([f"# {title}", "", about, "", *lines, "", provenance(versions()), ""])


def cell(value: object) -> str:
    text = f"{value:.4f}" if isinstance(value, float) else str(value)
    return text.replace("|", "\\|")


def best_of(
    models: Iterable[Recommender], train: Dataset, validation: Dataset, metric: str, history: Dataset | None = None
) -> Recommender:
    """The unfitted model with the best figure on the validation data; every trial is shown. One alone needs none.

    With a `history` the validation users are known by that alone.
    """
    models = list(models)
    if len(models) == 1:
        return models[0]
    sign = 1 if recsys.metrics.parse(metric).greater_is_better else -1
    values = [sign * trial(model, train, validation, metric, history) for model in models]
    return models[max(range(len(models)), key=values.__getitem__)]


def trial(
    model: Recommender, train: Dataset, validation: Dataset, metric: str, history: Dataset | None = None
) -> float:
    """The figure of one model on the validation data."""
    start = time.perf_counter()
    value = recsys.evaluate(model.clone().fit(train), validation, metrics=[metric], history=history)[metric]
    seconds = time.perf_counter() - start
    print(f"  validation {metric} {value:.4f} in {seconds:.0f} s: {model!r}", file=sys.stderr, flush=True)
    return value


if __name__ == "__main__":
    # The reproductions import this file: let them find this very module.
    sys.modules["reproduce"] = sys.modules["__main__"]
    main()
