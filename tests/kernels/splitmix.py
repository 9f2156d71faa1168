"""The kernels' random numbers, in Python's own integers."""


def drawn(seed, n, bound):
    """Number n of the stream `seed`, in 0, ..., bound - 1: SplitMix64."""
    whole = 2**64 - 1
    z = (seed + (n + 1) * 0x9E3779B97F4A7C15) & whole
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & whole
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & whole
    return (((z ^ (z >> 31)) >> 32) * bound) >> 32
