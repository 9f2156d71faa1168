"""Kernels, in Numba and, for GPUs, in Triton: fast twins of plain NumPy code that the tests hold beside them."""
