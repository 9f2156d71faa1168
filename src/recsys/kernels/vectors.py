"""Vectors in registers: the LLVM instructions that the kernels' inner loops are made of.

LLVM is given vectors of 64 bytes and splits them into what the processor has. Addresses `data` are pointers to numbers
and offsets `at` count numbers; nothing is checked.
"""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.extending import intrinsic

inline_ir: Any = intrinsic  # to the type checker: a call leaves out the first argument, which Numba adds
INDEX = ir.IntType(64)
FLOATS, DOUBLES = ir.VectorType(ir.FloatType(), 16), ir.VectorType(ir.DoubleType(), 8)
"""The two vectors of 64 bytes."""
_BYTES = {ir.FloatType(): 4, ir.DoubleType(): 8, ir.IntType(8): 1, ir.IntType(16): 2}


def array_of(context: Any, builder: Any, signature: Any, args: Any, i: int) -> Any:
    """Argument i of an intrinsic, an array: its `data` and its `shape`."""
    return context.make_array(signature.args[i])(context, builder, args[i])


def load(builder: Any, data: Any, at: Any, vector: Any) -> Any:
    """The vector that starts at an offset."""
    address = builder.bitcast(builder.gep(data, [at]), vector.as_pointer())
    return builder.load(address, align=_BYTES[vector.element])


def store(builder: Any, value: Any, data: Any, at: Any) -> None:
    """Write a vector to an offset."""
    address = builder.bitcast(builder.gep(data, [at]), value.type.as_pointer())
    builder.store(value, address, align=_BYTES[value.type.element])


def in_order(builder: Any, at: Any) -> Any:
    """The same offset, of which the compiler is told nothing: what is read from there is not read before.

    Left alone, LLVM works on all parts of a loop's body at once and has more in hand than there are registers.
    """
    same = ir.FunctionType(at.type, [at.type])
    return builder.asm(same, "", "=r,0,~{memory}", [at], side_effect=True)


def fetch(builder: Any, data: Any, at: Any, to_write: bool = False) -> None:
    """Have the line of the cache at an offset brought near; nothing waits for it, and it need not be there."""
    number, byte = ir.IntType(32), ir.IntType(8).as_pointer()
    kind = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
    prefetch = builder.module.declare_intrinsic("llvm.prefetch.p0", (), kind)
    builder.call(
        prefetch, [builder.bitcast(builder.gep(data, [at]), byte), number(int(to_write)), number(3), number(1)]
    )


def shuffle(builder: Any, a: Any, b: Any, lanes: list[int]) -> Any:
    """Lanes of two vectors, those of b numbered after those of a."""
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(ir.IntType(32), len(lanes)), lanes))


def spread(builder: Any, value: Any, vector: Any) -> Any:
    """One number in all lanes."""
    nothing = ir.Constant(vector, ir.Undefined)
    first = builder.insert_element(nothing, value, ir.IntType(32)(0))
    return shuffle(builder, first, nothing, [0] * vector.count)


def multiply_add(builder: Any, total: Any, a: Any, b: Any) -> Any:
    """total + a b, in one rounding where the processor can."""
    return builder.fadd(total, builder.fmul(a, b, flags=("contract",)), flags=("contract",))


def sum_products(
    builder: Any, rows: int, left: Any, left_step: Any, right: Any, right_step: Any, depth: Any, left_row: Any = None
) -> Any:
    """The tile left.T @ right, one vector a row: sums over k < depth of left[k, row] times the vector right[k].

    `left` and `right` are (address, offset) of k = 0, the steps lead to the next k. `right` names its vector type too.
    `left_row` leads to the next row, which is beside its neighbor without it.
    """
    (left_data, left_at), (right_data, right_at, vector) = left, right
    start, loop, done = builder.block, builder.append_basic_block("add"), builder.append_basic_block("done")
    builder.cbranch(builder.icmp_signed("<", INDEX(0), depth), loop, done)

    builder.position_at_end(loop)
    zero = ir.Constant(vector, [0.0] * vector.count)
    k = builder.phi(INDEX)
    sums = [builder.phi(vector) for _ in range(rows)]
    values = load(builder, right_data, builder.add(right_at, builder.mul(k, right_step)), vector)
    base = builder.add(left_at, builder.mul(k, left_step))
    added = []
    for row, total in enumerate(sums):
        along = INDEX(row) if left_row is None else builder.mul(INDEX(row), left_row)
        factor = builder.load(builder.gep(left_data, [builder.add(base, along)]))
        added.append(multiply_add(builder, total, spread(builder, factor, vector), values))
        total.add_incoming(zero, start)
        total.add_incoming(added[-1], loop)
    following = builder.add(k, INDEX(1))
    k.add_incoming(INDEX(0), start)
    k.add_incoming(following, loop)
    builder.cbranch(builder.icmp_signed("<", following, depth), loop, done)

    builder.position_at_end(done)
    totals = [builder.phi(vector) for _ in range(rows)]
    for total, value in zip(totals, added, strict=True):
        total.add_incoming(zero, start)
        total.add_incoming(value, loop)
    return totals


def on_lanes(builder: Any, name: str, lanes: Any, returns: Any, *takes: Any) -> Any:
    """LLVM's function of this name for a vector type."""
    bits = 32 if isinstance(lanes.element, ir.FloatType) else 64
    kind = ir.FunctionType(returns, [*takes, lanes])
    return builder.module.declare_intrinsic(f"llvm.{name}.v{lanes.count}f{bits}", (), kind)


def sum_lanes(builder: Any, values: Any) -> Any:
    """The sum of a vector's lanes."""
    number = values.type.element
    add_up = on_lanes(builder, "vector.reduce.fadd", values.type, number, number)
    return builder.call(add_up, [ir.Constant(number, 0.0), values], fastmath=("reassoc",))


def each(builder: Any, size: Any, body: Callable[..., Any], total: Any = None, step: int = 16) -> Any:
    """Run `body(at)` for at = 0, step, ... below `size`, at least once.

    With a `total` it is `body(at, total)`, which gives the next one; the last one is returned.
    """
    start, loop, done = builder.block, builder.append_basic_block("each"), builder.append_basic_block("done")
    builder.branch(loop)

    builder.position_at_end(loop)
    at = builder.phi(INDEX)
    at.add_incoming(INDEX(0), start)
    if total is None:
        result = body(at)
    else:
        carried = builder.phi(total.type)
        carried.add_incoming(total, start)
        result = body(at, carried)
        carried.add_incoming(result, loop)
    following = builder.add(at, INDEX(step))
    at.add_incoming(following, loop)
    builder.cbranch(builder.icmp_signed("<", following, size), loop, done)

    builder.position_at_end(done)
    return result


def in_pieces(builder: Any, size: Any, body: Callable[[Any, int], None], largest: int = 16) -> None:
    """Run `body(at, lanes)` on pieces that cover `size` numbers: of `largest`, a power of 2, as long as they fit, and
    then at most one of a half of it, one of a quarter, and so on."""
    full = builder.and_(size, INDEX(-largest))
    start, loop, rest = builder.block, builder.append_basic_block("pieces"), builder.append_basic_block("rest")
    builder.cbranch(builder.icmp_signed("<", INDEX(0), full), loop, rest)

    builder.position_at_end(loop)
    at = builder.phi(INDEX)
    at.add_incoming(INDEX(0), start)
    body(at, largest)
    following = builder.add(at, INDEX(largest))
    at.add_incoming(following, builder.block)
    builder.cbranch(builder.icmp_signed("<", following, full), loop, rest)

    builder.position_at_end(rest)
    at, lanes = full, largest // 2
    while lanes:
        some = builder.and_(size, INDEX(lanes))
        with builder.if_then(builder.icmp_signed("!=", some, INDEX(0))):
            body(at, lanes)
        at, lanes = builder.add(at, some), lanes // 2
