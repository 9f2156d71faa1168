"""One module a task of `speed.py`."""
