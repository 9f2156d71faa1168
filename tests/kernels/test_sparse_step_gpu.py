"""The step in Triton against plain loops: on a GPU where there is one, else in Triton's interpreter, on the CPU."""

import numpy as np
import pytest
import torch

from recsys.kernels import sparse_step
from tests.kernels.test_sparse_step import RULES, TWINS, Problem

pytest.importorskip("triton")

from recsys.kernels import sparse_step_gpu
from recsys.kernels.sparse_step_gpu import Cut

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
SHORT = Cut(length=8, numbers=1 << 14, few=8, block=2)
"""Short chunks, side by side: what is cut in many places needs few steps of the interpreter."""


def step(rule, rows, values, weight, state, constants, decay=0.0, *, lowest=0, cut=SHORT, seed=None):
    """Weight and state after the step, NumPy arrays in and out; weights in the precision of a tensor given."""
    table = [torch.as_tensor(part).to(DEVICE, copy=True) for part in (weight, *state)]
    given = torch.as_tensor(rows).to(DEVICE), torch.as_tensor(values).to(DEVICE)
    number = getattr(sparse_step, rule)
    sparse_step_gpu.step_rows(
        number, *given, table[0], table[1:], constants, decay, lowest=lowest, seed=seed, cut=cut
    )  # fmt: skip
    return [part.float().cpu().numpy() for part in table]


def step_of(problem, decay=0.0, **options):
    return step(
        problem.rule, problem.rows, problem.values, problem.weight, problem.state, problem.constants, decay, **options
    )  # fmt: skip


@pytest.mark.parametrize("rule, decay", [*((rule, 0.3) for rule in RULES), ("ADAM", 0.0)])
def test_a_step_is_that_of_the_formula_row_by_row(rule, decay):
    wanted, problem = Problem(rule).twin(decay), Problem(rule, np.float32)
    idle = np.setdiff1d(np.arange(40), problem.rows)
    before = [problem.weight.copy(), *(part.copy() for part in problem.state)]
    for got, want, old in zip(step_of(problem, decay), wanted, before, strict=True):
        np.testing.assert_allclose(got, want, rtol=3e-5, atol=3e-5)
        np.testing.assert_array_equal(got[idle], old[idle])


@pytest.mark.parametrize("rule", ["ADAGRAD", "FTRL"])
def test_a_step_is_that_of_the_kernel_on_the_cpu(rule):
    problem = Problem(rule, np.float32, 700)
    got = step_of(problem, 0.3, cut=Cut())
    for one, other in zip(got, problem.step(0.3), strict=True):
        np.testing.assert_allclose(one, other, rtol=3e-5, atol=3e-5)


@pytest.mark.parametrize("dim", [1, 10, 64, 100])
@pytest.mark.parametrize("rule", ["ADAM", "ROWWISE_ADAGRAD", "MOMENTUM_ADAGRAD"])
def test_vectors_of_any_length_are_stepped(rule, dim):
    rng = np.random.default_rng(dim)
    rows, values, weight = rng.integers(0, 9, 150), rng.normal(size=(150, dim)), rng.normal(size=(9, dim))
    state = [rng.random((9, 1 if width == 1 else dim)) for width in RULES[rule][0]]
    single = [part.astype(np.float32) for part in (values, weight, *state)]
    got = step(rule, rows, single[0], single[1], single[2:], RULES[rule][1])
    for row in range(9):
        before = [part[row] for part in state]
        wanted, after = TWINS[rule](weight[row], values[rows == row].sum(0), *before, *RULES[rule][1])
        for one, want in zip(got, [wanted, *after], strict=True):
            np.testing.assert_allclose(one[row], want, rtol=3e-5, atol=3e-5)


def test_a_table_of_numbers_is_one_of_vectors_of_one_number():
    rows, values, weight = np.array([3, 1, 3]), np.float32([1, 2, 4]), np.float32([0, 1, 2, 3])
    got = step("SGD", rows, values, weight, [], (0.5,))[0]
    np.testing.assert_array_equal(got, [0, 0, 2, 0.5])


# -- how the list is cut ------------------------------------------------------------------------------------------------

CUTS = {
    "shortest": Cut(length=2, length_of_parts=3, numbers=1 << 12, few=4, block=4),
    "no power of 2": Cut(length=5, length_of_parts=7, numbers=1 << 12, few=8, block=4),
    "two chunks at a time": Cut(length=16, numbers=8, few=3, block=1),
    "as by default": Cut(),
}


def exact_step(rows, n_rows, cut, dim=4):
    """Weights after a step whose sums are whole numbers, exact in any order, and those that the rows should give."""
    rng = np.random.default_rng(1)
    values = rng.integers(-8, 9, (len(rows), dim)).astype(np.float32)
    weight = rng.integers(-8, 9, (n_rows, dim)).astype(np.float32)
    wanted = weight.copy()
    np.subtract.at(wanted, rows, 0.5 * values)
    return step("SGD", rows, values, weight, [], (0.5,), cut=cut)[0], wanted


@pytest.mark.parametrize("cut", CUTS.values(), ids=CUTS)
def test_the_sums_of_rows_are_exact_however_the_list_is_cut(cut):
    for n in (1, 131):
        rng = np.random.default_rng(n)
        got, wanted = exact_step((30 * rng.random(n) ** 3).astype(np.int64), 30, cut)
        np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize("seed", range(3))
def test_a_row_may_begin_and_end_anywhere_in_a_chunk(seed):
    # Lengths of up to five chunks of 8.
    lengths = np.random.default_rng(seed).permutation(41)
    got, wanted = exact_step(np.repeat(np.arange(41), lengths), 41, SHORT)
    np.testing.assert_array_equal(got, wanted)


def test_a_row_named_thousands_of_times_lies_in_chunks_of_several_kinds():
    rng = np.random.default_rng(5)
    rows = rng.permutation(np.concatenate([np.full(5000, 17), np.full(900, 3), rng.integers(0, 40, 500)]))
    got, wanted = exact_step(rows, 40, SHORT)
    np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize("n", [64, 1000])
def test_one_row_may_be_all_of_the_list(n):
    got, wanted = exact_step(np.full(n, 4), 6, SHORT)
    np.testing.assert_array_equal(got, wanted)


def test_the_values_of_a_row_are_added_up_in_the_order_in_which_they_came():
    scale = 10.0 ** np.arange(-3, 3).repeat(10)
    values = (np.random.default_rng(2).normal(size=(60, 3)) * scale[:, None]).astype(np.float32)
    rows = np.tile([0, 1], 30)
    one_chunk = Cut(length=60)
    got = step("SGD", rows, values, np.zeros((2, 3), np.float32), [], (1.0,), cut=one_chunk)[0]
    for row in (0, 1):
        wanted = np.zeros(3, np.float32)
        for value in values[rows == row]:
            wanted += value
        np.testing.assert_array_equal(got[row], -wanted)


@pytest.mark.cuda
@pytest.mark.skipif(DEVICE == "cpu", reason="needs a CUDA device")
@pytest.mark.parametrize("dim, dtype", [(64, torch.float32), (10, torch.bfloat16), (1, torch.float32)])
@pytest.mark.parametrize("rule", RULES)
def test_a_step_is_bitwise_the_same_each_time(rule, dim, dtype):
    rng = np.random.default_rng(0)
    # Every other row is in several chunks.
    rows = rng.permutation(np.repeat(np.arange(5000), np.where(np.arange(5000) % 2, 3, 97)))
    values, weight = (torch.as_tensor(rng.normal(size=(n, dim))).to(dtype) for n in (len(rows), 5000))
    widths, constants = RULES[rule]
    state = [rng.random((5000, 1 if width == 1 else dim)).astype(np.float32) for width in widths]
    seed = torch.ones(1, dtype=torch.int32, device=DEVICE)
    first, *others = [step(rule, rows, values, weight, state, constants, 0.3, cut=Cut(), seed=seed) for _ in range(6)]
    for again in others:
        for one, other in zip(first, again, strict=True):
            np.testing.assert_array_equal(one, other)


# -- rows that are left out ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", ["ADAM", "ROWWISE_ADAGRAD"])
def test_row_0_stands_still_where_rows_begin_at_1(rule):
    problem = Problem(rule, np.float32, 300)
    problem.rows[::3] = 0
    got = step_of(problem, 0.3, lowest=1)
    kept = Problem(rule, np.float64, 300)
    kept.rows, kept.values = problem.rows[problem.rows > 0], kept.values[problem.rows > 0]
    for new, want, old in zip(got, kept.twin(0.3), [problem.weight, *problem.state], strict=True):
        np.testing.assert_array_equal(new[0], old[0])
        np.testing.assert_allclose(new, want, rtol=3e-5, atol=3e-5)


def test_row_0_is_stepped_where_rows_begin_at_0():
    got, wanted = exact_step(np.array([0, 3, 0, 0, 1]), 5, SHORT)
    np.testing.assert_array_equal(got, wanted)


def test_rows_outside_the_table_are_neither_read_nor_written():
    rows, values = np.array([2, 9, 1, 4, -1, 9]), np.ones((6, 2), np.float32)
    # The table lies in the middle of a larger one, which a wrong row would change.
    whole = torch.ones(20, 2, device=DEVICE)
    given = torch.as_tensor(rows).to(DEVICE), torch.as_tensor(values).to(DEVICE)
    sparse_step_gpu.step_rows(sparse_step.SGD, *given, whole[8:12], [], (1.0,), cut=SHORT)
    assert whole[:, 0].tolist() == [1] * 9 + [0, 0] + [1] * 9


@pytest.mark.parametrize("shape", [(0, 5), (3, 0)])
def test_a_gradient_of_nothing_moves_nothing(shape):
    weight = np.ones((4, shape[1]), np.float32)
    got = step("SGD", np.arange(shape[0]), np.zeros(shape, np.float32), weight, [], (1.0,), 0.5)[0]
    np.testing.assert_array_equal(got, weight)


# -- bfloat16 ------------------------------------------------------------------------------------------------------------


def low_step(weight, values, rows, seed, rate=1.0):
    """A step of SGD of a bfloat16 table, weights as float32."""
    low = torch.as_tensor(weight).bfloat16()
    seed = torch.tensor([seed], dtype=torch.int32, device=DEVICE)
    return step("SGD", rows, torch.as_tensor(values).bfloat16(), low, [], (rate,), cut=SHORT, seed=seed)[0]


def test_low_precision_is_rounded_to_a_neighbor_so_that_the_mean_is_right():
    n, dim = 200, 64
    got = low_step(np.ones((n, dim)), np.full((n, dim), -(2.0**-10)), np.arange(n), 3)
    # Bfloat16 has 1 and 1 + 2^-7 and nothing between; the step is an eighth of the way.
    assert set(np.unique(got)) == {1, 1 + 2**-7}
    share = (got > 1).mean()
    assert abs(share - 1 / 8) < 5 * (1 / 8 * 7 / 8 / got.size) ** 0.5


def test_the_seed_decides_all_of_the_rounding():
    values = np.random.default_rng(0).normal(size=(64, 10))
    first, again, other = (low_step(np.ones((64, 10)), values, np.arange(64), seed, 0.001) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_values_that_bfloat16_holds_stay_as_they_are_and_what_is_not_finite_stays_so():
    weight = np.array([[0.0, 1.0, -2.5, 2.0**-126, 1.0, 1.0, 1.0]])
    gradient = np.array([[0.0, 0.0, 0.0, 0.0, -np.inf, np.inf, np.nan]])
    wanted = [[0.0, 1.0, -2.5, 2.0**-126, np.inf, -np.inf, np.nan]]
    for seed in range(3):
        np.testing.assert_array_equal(low_step(weight, gradient, np.array([0]), seed), wanted)


def test_state_of_a_low_precision_table_is_that_of_the_formula():
    problem = Problem("ADAM", np.float32)
    low = [torch.as_tensor(part).bfloat16() for part in (problem.weight, problem.values)]
    problem.weight, problem.values = low
    seed = torch.ones(1, dtype=torch.int32, device=DEVICE)
    got = step_of(problem, 0.3, seed=seed)
    exact = Problem("ADAM")
    exact.weight, exact.values = (part.double().numpy() for part in low)
    wanted = exact.twin(0.3)
    for one, want in zip(got[1:], wanted[1:], strict=True):
        np.testing.assert_allclose(one, want, rtol=3e-5, atol=3e-5)
    np.testing.assert_allclose(got[0], wanted[0], rtol=2**-7)
