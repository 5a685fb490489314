"""Small matrix products and transposes for compiled code, from LLVM's vector instructions.

The networks are so small that a BLAS spends more time on packing and dispatch than on
arithmetic: this is 3x as fast on their shapes, and needs no scipy. Each element of a
product is one chain of multiply-adds in the order of the inner index, whatever the shapes,
so that a sample's result has the same bits alone as in any batch.
"""

from __future__ import annotations

from typing import Any

import llvmlite.binding
import numba.core.cgutils
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, register_jitable
from numpy.typing import NDArray

from p2p.core.jit import compiled

Array = NDArray[Any]
cgutils: Any = numba.core.cgutils


def _vector_bytes() -> int:
    """Return the width of this machine's vector registers."""
    has = llvmlite.binding.get_host_cpu_features()
    return 64 if has.get("avx512f") else 32 if has.get("avx") else 16


VECTOR_BYTES = _vector_bytes()
PAD = VECTOR_BYTES // 4  # columns come in multiples of this: one vector of float32, two of float64
# Sums that a tile keeps in registers, of which AVX2 has 16 and the others 32. Fewer than 8
# would wait for each other: a multiply-add takes 4 cycles and two start in each.
WIDE_ROWS, WIDE = 4, 2 if VECTOR_BYTES == 32 else 4
NARROW_ROWS = 8


@register_jitable
def padded(length: int) -> int:
    """Return `length` rounded up to whole vectors."""
    return -(-length // PAD) * PAD


class _Emitter:
    """Writes a function's LLVM code, in vectors of one element type."""

    def __init__(self, context: Any, builder: Any, signature: Any, args: Any, scalar: Any) -> None:
        self.context, self.builder = context, builder
        self.arrays = dict(zip(args, signature.args, strict=True))
        self.lanes = VECTOR_BYTES * 8 // scalar.bitwidth
        self.align = scalar.bitwidth // 8
        self.type = ir.VectorType(context.get_value_type(scalar), self.lanes)
        binary = ir.FunctionType(self.type, (self.type,) * 3)
        name = f"llvm.fmuladd.v{self.lanes}f{scalar.bitwidth}"
        self._fma = cgutils.get_or_insert_function(builder.module, binary, name)

    def at(self, array: Any, *index: Any) -> Any:
        """Return the address of array[index]."""
        kind = self.arrays[array]
        struct = self.context.make_array(kind)(self.context, self.builder, array)
        return cgutils.get_item_pointer(self.context, self.builder, kind, struct, index)

    def plus(self, index: Any, offset: int) -> Any:
        """Return index + offset."""
        return self.builder.add(index, ir.Constant(index.type, offset))

    def load(self, address: Any) -> Any:
        """Return the vector at `address`."""
        vector = self.builder.load(self.builder.bitcast(address, self.type.as_pointer()))
        vector.align = self.align
        return vector

    def store(self, vector: Any, address: Any) -> None:
        """Write `vector` to `address`."""
        address = self.builder.bitcast(address, self.type.as_pointer())
        self.builder.store(vector, address).align = self.align

    def shuffle(self, first: Any, second: Any, lanes: list[int]) -> Any:
        """Return the vector that picks `lanes` of the two vectors laid end to end."""
        index = ir.Constant(ir.VectorType(ir.IntType(32), self.lanes), lanes)
        return self.builder.shuffle_vector(first, second, index)

    def splat(self, address: Any) -> Any:
        """Return a vector of the number at `address`."""
        none, zero = ir.Constant(self.type, ir.Undefined), ir.Constant(ir.IntType(32), 0)
        first = self.builder.insert_element(none, self.builder.load(address), zero)
        return self.shuffle(first, none, [0] * self.lanes)

    def fma(self, a: Any, b: Any, c: Any) -> Any:
        """Return a * b + c."""
        return self.builder.call(self._fma, (a, b, c))


def _tile(rows: int, vectors: int, *, across: bool = False) -> Any:
    """Return a function that computes one tile of a product, keeping its sums in registers.

    tile(a, x, start, out, i, j, depth) sets, over `rows` rows from i and `vectors` vectors of
    columns from j, out[i, j] = start[i] + sum over k < depth of a[i, k] x[k, j].

    Args:
        across: start[j] instead.
    """

    def tile(typing: Any, a: Any, x: Any, start: Any, out: Any, i: Any, j: Any, depth: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            emit = _Emitter(context, builder, signature, args, out.dtype)
            a, x, start, to, i, j, depth = args
            across_columns = [emit.plus(j, v * emit.lanes) for v in range(vectors)]
            down = [emit.plus(i, r) for r in range(rows)]
            # Stack slots to LLVM's front, which it promotes to registers.
            sums = [[cgutils.alloca_once(builder, emit.type) for _ in across_columns] for _ in down]
            for row, slots in zip(down, sums, strict=True):
                for slot, column in zip(slots, across_columns, strict=True):
                    first = (
                        emit.load(emit.at(start, column))
                        if across
                        else emit.splat(emit.at(start, row))
                    )
                    builder.store(first, slot)
            with cgutils.for_range(builder, depth) as loop:
                xs = [emit.load(emit.at(x, loop.index, column)) for column in across_columns]
                for row, slots in zip(down, sums, strict=True):
                    factor = emit.splat(emit.at(a, row, loop.index))
                    for slot, value in zip(slots, xs, strict=True):
                        builder.store(emit.fma(factor, value, builder.load(slot)), slot)
            for row, slots in zip(down, sums, strict=True):
                for slot, column in zip(slots, across_columns, strict=True):
                    emit.store(builder.load(slot), emit.at(to, row, column))
            return context.get_dummy_value()

        size = types.intp
        return types.void(a, x, start, out, size, size, size), generate

    return intrinsic(tile)


_wide, _wide_row = _tile(WIDE_ROWS, WIDE), _tile(1, WIDE)
_narrow, _narrow_row = _tile(NARROW_ROWS, 1), _tile(1, 1)
_few_wide, _two_wide, _one_wide = (_tile(n, WIDE, across=True) for n in (WIDE_ROWS, 2, 1))
_few_narrow, _two_narrow, _one_narrow = (_tile(n, 1, across=True) for n in (NARROW_ROWS, 2, 1))


def _block(typing: Any, a: Any, out: Any, i: Any, j: Any) -> Any:
    """Set out[j:j+lanes, i:i+lanes] to the transpose of a[i:i+lanes, j:j+lanes]."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        emit = _Emitter(context, builder, signature, args, a.dtype)
        source, to, i, j = args
        lanes = range(emit.lanes)
        rows = [emit.load(emit.at(source, emit.plus(i, k), j)) for k in lanes]
        half = emit.lanes // 2
        while half:  # swap the off-diagonal quarters of the block, then of each quarter, ...
            low = [k + emit.lanes - half if k & half else k for k in lanes]
            high = [k + emit.lanes if k & half else k + half for k in lanes]
            for k in (k for k in lanes if not k & half):
                pair = rows[k], rows[k + half]
                rows[k], rows[k + half] = emit.shuffle(*pair, low), emit.shuffle(*pair, high)
            half //= 2
        for k in lanes:
            emit.store(rows[k], emit.at(to, emit.plus(j, k), i))
        return context.get_dummy_value()

    return types.void(a, out, types.intp, types.intp), generate


_transpose_block: Any = intrinsic(_block)


@compiled
def affine(a: Array, x: Array, start: Array, out: Array, depth: int, columns: int) -> None:
    """Set out[:, :columns] = start[:, None] + a[:, :depth] @ x[:depth, :columns].

    Args:
        a: [M, >= depth], or the transpose of such.
        x: [>= depth, >= columns].
        start: [>= M], what each row starts from: a bias, or zeros.
        out: [M, >= columns].
        columns: a multiple of PAD.
    """
    rows, lanes = len(out), VECTOR_BYTES // out.itemsize
    wide_rows, narrow_rows = rows // WIDE_ROWS * WIDE_ROWS, rows // NARROW_ROWS * NARROW_ROWS
    wide_columns = columns // (WIDE * lanes) * (WIDE * lanes)
    for j in range(0, wide_columns, WIDE * lanes):
        for i in range(0, wide_rows, WIDE_ROWS):
            _wide(a, x, start, out, i, j, depth)
        for i in range(wide_rows, rows):
            _wide_row(a, x, start, out, i, j, depth)
    for j in range(wide_columns, columns, lanes):
        for i in range(0, narrow_rows, NARROW_ROWS):
            _narrow(a, x, start, out, i, j, depth)
        for i in range(narrow_rows, rows):
            _narrow_row(a, x, start, out, i, j, depth)


@compiled
def affine_rows(a: Array, x: Array, start: Array, out: Array, depth: int, columns: int) -> None:
    """Set out[:, :columns] = start[:columns] + a[:, :depth] @ x[:depth, :columns].

    The same chains as `affine` of the transposes, so the same bits, and faster for few rows.

    Args:
        a: [M, >= depth].
        x: [>= depth, >= columns].
        start: [>= columns], what each column starts from: a bias.
        out: [M, >= columns].
        columns: a multiple of PAD.
    """
    rows, lanes = len(out), VECTOR_BYTES // out.itemsize
    wide_columns = columns // (WIDE * lanes) * (WIDE * lanes)
    for j in range(0, wide_columns, WIDE * lanes):
        few = rows // WIDE_ROWS * WIDE_ROWS
        two = few + (rows - few) // 2 * 2
        for i in range(0, few, WIDE_ROWS):
            _few_wide(a, x, start, out, i, j, depth)
        for i in range(few, two, 2):
            _two_wide(a, x, start, out, i, j, depth)
        for i in range(two, rows):
            _one_wide(a, x, start, out, i, j, depth)
    for j in range(wide_columns, columns, lanes):
        few = rows // NARROW_ROWS * NARROW_ROWS
        two = few + (rows - few) // 2 * 2
        for i in range(0, few, NARROW_ROWS):
            _few_narrow(a, x, start, out, i, j, depth)
        for i in range(few, two, 2):
            _two_narrow(a, x, start, out, i, j, depth)
        for i in range(two, rows):
            _one_narrow(a, x, start, out, i, j, depth)


@compiled
def transpose(a: Array, rows: int, columns: int, out: Array) -> None:
    """Set out[:columns, :rows] to the transpose of a[:rows, :columns]."""
    lanes = VECTOR_BYTES // out.itemsize
    for i in range(0, rows, lanes):
        for j in range(0, columns, lanes):
            if i + lanes <= rows and j + lanes <= columns:
                _transpose_block(a, out, i, j)
            else:
                for p in range(i, min(i + lanes, rows)):
                    for q in range(j, min(j + lanes, columns)):
                        out[q, p] = a[p, q]
