"""Training of DLRM from Parquet files beside the same rows in memory: 13 numbers and 26 categories a row, as of clicks.

Categories are texts, by a power law from vocabularies of 10 to 200,000; some numbers are missing; labels follow from
hidden weights of the categories and of one number. The peak of memory is that of the whole process, packages included;
set apart from it are the tables with what their optimizer remembers. The AUC is that of rows held out.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from speed import Bar, Contender, Measures

from tasks import clicks, common

N_NUMBERS, N_CATEGORIES = 13, 26
NUMBERS = [f"number{i}" for i in range(N_NUMBERS)]
CATEGORIES = [f"category{i}" for i in range(N_CATEGORIES)]
SIZES = np.geomspace(10, 200_000, N_CATEGORIES).astype(int)
GROUP_ROWS, N_HELD_OUT, N_FIRST = 65_536, 200_000, 20_000
EXPONENT = 1.1
ROWS = 2_000_000
TITLE = f"DLRM from Parquet and from memory, {ROWS:,} rows of 13 numbers and 26 categories, one epoch, 2 threads"
PEAK, SCAN = "peak above the tables, MB", "data set, s"


def prepare(data: Path, scratch: Path) -> None:
    write_all(scratch, ROWS)


def write_all(scratch: Path, n_rows: int) -> None:
    """Rows for training, some of the same kind for testing, and some to call every kernel once."""
    for name, rows, seed in (("train", n_rows, 0), ("test", N_HELD_OUT, 1), ("first", N_FIRST, 2)):
        write(scratch / f"{name}.parquet", rows, seed)


def write(path: Path, n_rows: int, seed: int) -> None:
    """One file of row groups, one of which is held at a time."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng = np.random.default_rng(seed)
    texts = [pa.array([f"{i * 2_654_435_761 % 2**32:08x}" for i in range(size)]) for size in SIZES]
    writer = None
    for start in range(0, n_rows, GROUP_ROWS):
        group = drawn(rng, min(GROUP_ROWS, n_rows - start), texts)
        writer = writer or pq.ParquetWriter(path, group.schema)
        writer.write_table(group)
    if writer is not None:
        writer.close()


def drawn(rng: np.random.Generator, n: int, texts: list[Any]) -> Any:
    """A table of n rows: label, numbers, categories."""
    import pyarrow as pa

    numbers = np.exp(rng.normal(size=(n, N_NUMBERS))).astype(np.float32)
    logits = np.log(numbers[:, 0]) - 1
    columns: dict[str, Any] = {}
    for name, values in zip(NUMBERS, numbers.T, strict=True):
        columns[name] = pa.array(values, mask=rng.random(n) < 0.1)
    for i, name in enumerate(CATEGORIES):
        power = 1 - EXPONENT
        codes = ((float(SIZES[i]) ** power - 1) * rng.random(n) + 1) ** (1 / power)
        codes = np.minimum(codes.astype(np.int32) - 1, SIZES[i] - 1)
        logits += 0.4 * np.sin(codes * 12.9898 + i)
        columns[name] = pa.DictionaryArray.from_arrays(pa.array(codes, pa.int32()), texts[i]).cast(pa.string())
    columns["label"] = (rng.random(n) < 1 / (1 + np.exp(-logits))).astype(np.int8)
    return pa.table(columns)


ROLES: dict[str, Any] = {
    "user_col": None, "item_col": None, "label_col": "label", "context_cols": [*NUMBERS, *CATEGORIES],
    "numeric_cols": NUMBERS,
}  # fmt: skip


def streamed(path: Path) -> Any:
    from recsys import Dataset

    return Dataset.from_parquet(path, **ROLES)


def in_memory(path: Path) -> Any:
    import pandas as pd

    from recsys import Dataset

    return Dataset(pd.read_parquet(path), **ROLES)


def training(read: Callable[[Path], Any]) -> Callable[[Path], Measures]:
    """One epoch by the public call, after a fit on a few rows that calls every kernel once."""

    def run(scratch: Path) -> Measures:
        import pandas as pd

        import recsys

        clicks.threads()
        model = recsys.DLRM(
            epochs=1, batch_size=4096, optimizer="rowwise_adagrad", learning_rate=0.01, device="cpu", verbose=0
        )
        model.fit(read(scratch / "first.parquet"))
        common.forget_peak()
        data, seconds = common.timed(lambda: read(scratch / "train.parquet"))
        model.fit(data)
        peak = common.peak_memory()
        test = pd.read_parquet(scratch / "test.parquet")
        error = 1 - clicks.auc(test["label"].to_numpy(), model.predict(test))
        above = {PEAK: peak - table_bytes(model) / 2**20}
        epoch = clicks.cost(float(model.training_log_["seconds"].iloc[0]), len(data))
        return {**epoch, SCAN: seconds, **above, "peak, MB": peak, clicks.ERROR: error}

    return run


def table_bytes(model: Any) -> int:
    """Of a table's rows, and of the one number that row-wise Adagrad keeps a row."""
    table = model.module_.embedding.table.weight
    return table.element_size() * (table.numel() + len(table))


STREAMED, MEMORY = "from_parquet", "in memory"
CONTENDERS = {STREAMED: Contender(training(streamed)), MEMORY: Contender(training(in_memory))}
BARS = [
    Bar(STREAMED, clicks.COST, 1.25, (MEMORY,)),
    Bar(STREAMED, PEAK, 1500.0),
    Bar(STREAMED, clicks.ERROR, 1.0, (MEMORY,), slack=0.001),
]
