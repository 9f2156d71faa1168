"""One module a result of `reproduce.py`."""
