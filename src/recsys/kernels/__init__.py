"""Numba kernels: fast twins of plain NumPy code that the tests hold beside them."""
