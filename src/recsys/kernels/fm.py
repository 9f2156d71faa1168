"""Exact steps on one coordinate at a time of a factorization machine, in blocks of rows that share their features.

A row of the data is one entity of each block (its user, its item, its context), and a block has a feature's value once
an entity, however many rows that entity has. While the features of a block are stepped on, what the other blocks add to
a row is fixed, and a few sums an entity say all that a step needs to know of its rows.

Rendle, "Scaling Factorization Machines to Relational Data", VLDB 2013.

With prediction p, error e = y - p of weight s, factor f and entity k of a row: p changes by h = x_kj (g_k + z) times the
change of v_jf, where g_k = sum of x_kl v_lf over the entity's other features l and z is the same sum over the row's
other blocks. The sums of an entity are over its rows: s, s z, s z^2, s e and s e z.
"""

# pyright: reportMissingParameterType=false
# Numba infers what the kernels take.

from numba import njit

from recsys.kernels.parallel import FAST

N_SUMS = 5
"""Sums an entity: of s, s z, s z^2, s e and s e z over its rows."""


@njit(cache=True, nogil=True)
def add_products(indptr, entities, values, v, q):  # pragma: no cover
    """Add x v to the entities (E,) for the features' numbers v (n,): feature j has entities[indptr[j]:indptr[j + 1]]."""
    for j in range(len(v)):
        for p in range(indptr[j], indptr[j + 1]):
            q[entities[p]] += values[p] * v[j]


@njit(cache=True, nogil=True)
def add_squares(indptr, entities, values, v, q):  # pragma: no cover
    """Add (x v)^2 to the entities, as `add_products` adds x v."""
    for j in range(len(v)):
        for p in range(indptr[j], indptr[j + 1]):
            product = values[p] * v[j]
            q[entities[p]] += product * product


@njit(cache=True, nogil=True, **FAST)
def sum_rows(entity, weights, total, error, q, sums):  # pragma: no cover
    """Sums (E, 5) of the entities over their rows: row n is of entity[n], and z = total[n] - q[entity[n]]."""
    sums[:] = 0.0
    for n in range(len(entity)):
        k = entity[n]
        z, s = total[n] - q[k], weights[n]
        sums[k, 0] += s
        sums[k, 1] += s * z
        sums[k, 2] += s * z * z
        sums[k, 3] += s * error[n]
        sums[k, 4] += s * error[n] * z


@njit(cache=True, nogil=True, **FAST)
def step_features(
    indptr, entities, values, group, means, precisions, alpha, noise, own, v, q, shift, sums
):  # pragma: no cover  # fmt: skip
    """Put each v_j at its conditional mean plus noise[j] of its deviations, where all other numbers stay.

    The precision of the data is `alpha`, that of v_j's own prior is `precisions` at its group; without noise that is the
    minimum of alpha s e^2 + precision (v_j - mean)^2. `own` is 1 for factors, and 0 for the weights of the features,
    which do not meet each other. Moves `q` (E,), the sums, and `shift` (E,), the change of the entities' own part.
    """
    for j in range(len(v)):
        first, stop = indptr[j], indptr[j + 1]
        mean, precision = means[group[j]], precisions[group[j]]
        square, product = 0.0, 0.0
        for p in range(first, stop):
            k, x = entities[p], values[p]
            g = own * (q[k] - x * v[j])
            # x times a float64 first: x x would be a float32.
            square += x * (x * (g * (g * sums[k, 0] + 2.0 * sums[k, 1]) + sums[k, 2]))
            product += x * (g * sums[k, 3] + sums[k, 4])
        whole = alpha * square + precision
        wanted = mean
        if whole > 0.0:
            wanted = (alpha * (product + v[j] * square) + precision * mean) / whole + noise[j] / whole**0.5
        step = wanted - v[j]
        for p in range(first, stop):
            k, x = entities[p], values[p]
            g, change = own * (q[k] - x * v[j]), x * step
            sums[k, 3] -= change * (g * sums[k, 0] + sums[k, 1])
            sums[k, 4] -= change * (g * sums[k, 1] + sums[k, 2])
            shift[k] += change * g
            q[k] += change
        v[j] = wanted


@njit(cache=True, nogil=True, **FAST)
def spread_steps(entity, old, q, shift, total, error):  # pragma: no cover
    """Bring to the rows what steps changed on their entities: the error, and the total of all blocks' sums."""
    for n in range(len(entity)):
        k = entity[n]
        change = q[k] - old[k]
        error[n] -= shift[k] + change * (total[n] - old[k])
        total[n] += change
