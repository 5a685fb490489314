"""Integers that compiled code of two threads reads and writes at once."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

WORD = 8  # bytes, to which an address must be aligned


def _load(typing: Any, address: Any) -> Any:
    """Return the int64 at an address, and see all that was written before it."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = builder.inttoptr(args[0], ir.IntType(64).as_pointer())
        return builder.load_atomic(pointer, "acquire", WORD)

    return types.int64(types.int64), generate


def _store(typing: Any, address: Any, value: Any) -> Any:
    """Write an int64 to an address, after all that was written before it."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = builder.inttoptr(args[0], ir.IntType(64).as_pointer())
        builder.store_atomic(args[1], pointer, "release", WORD)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), generate


load_shared: Any = intrinsic(_load)
store_shared: Any = intrinsic(_store)
