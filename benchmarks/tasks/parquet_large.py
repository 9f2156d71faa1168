"""`parquet` with 50 million rows, more than fit into the memory of most machines as a frame: from the files alone.

Writing them takes some ten minutes and 6 GB of the folder for temporary files, an epoch half an hour: `--runs 1`.
"""

from pathlib import Path

from speed import Bar, Contender

from tasks import parquet

ROWS = 50_000_000
TITLE = f"DLRM from Parquet, {ROWS:,} rows of 13 numbers and 26 categories, one epoch, 2 threads"


def prepare(data: Path, scratch: Path) -> None:
    parquet.write_all(scratch, ROWS)


CONTENDERS = {parquet.STREAMED: Contender(parquet.training(parquet.streamed))}
BARS = [Bar(parquet.STREAMED, parquet.PEAK, 1500.0)]
