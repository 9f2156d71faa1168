"""Matrix factorization of ratings on MovieLens 1M."""

from collections.abc import Iterator

from reproduce import Row

from reproductions import svd_ml100k

TITLE = "SVD and SVD++ on MovieLens 1M, 5-fold cross-validation"
PROTOCOL = svd_ml100k.PROTOCOL


def run() -> Iterator[Row]:
    yield from svd_ml100k.rows("1m", {"SVD": "0.873", "SVDpp": "0.862"})
