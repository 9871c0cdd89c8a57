"""Matrix products as plain loops, where no BLAS is to be called."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count

from graphjit.codegen.llvm_kernel import KernelWriter
from graphjit.codegen.llvm_text import Module
from graphjit.codegen.loops import (
    Address,
    Constant,
    For,
    Gemm,
    Gemv,
    If,
    Kernel,
    Let,
    Load,
    LoopProgram,
    Statement,
    Store,
    Value,
    While,
)
from graphjit.ir.aval import DType

Steps = tuple[tuple[str, int], ...]
Keep = Callable[[Gemm | Gemv], bool]


def none(_: Gemm | Gemv) -> bool:
    """Keep no product."""
    return False


def without_blas(program: LoopProgram, keep: Keep = none) -> LoopProgram:
    """The program with loops in place of matrix products, in the same memory.

    Args:
        program: The program; it is not changed.
        keep: Which products to leave as they are.
    """
    names = count()
    kernels = [
        Kernel(k.title, expanded(k.statements, names, keep), k.origin) for k in program.kernels
    ]
    return replace(program, kernels=kernels)


def expanded(statements: list[Statement], names: Iterator[int], keep: Keep) -> list[Statement]:
    """The statements with products written out."""
    found: list[Statement] = []
    for s in statements:
        match s:
            case For():
                found.append(replace(s, body=expanded(s.body, names, keep)))
            case While():
                test, body = (expanded(b, names, keep) for b in (s.test, s.body))
                found.append(s._replace(test=test, body=body))
            case If():
                then, rest = (expanded(b, names, keep) for b in (s.then, s.otherwise))
                found.append(s._replace(then=then, otherwise=rest))
            case Gemm() if not keep(s):
                found += product(s, names)
            case Gemv() if not keep(s):
                found += matrix_vector(s, names)
            case _:
                found.append(s)
    return found


def dense(s: Gemm | Gemv) -> bool:
    """Whether it is a product of matrices whose rows follow one another."""
    if isinstance(s, Gemv):
        return False
    a, b = (s.m if s.transpose_a else s.k), (s.k if s.transpose_b else s.n)
    return (s.lda, s.ldb, s.ldc) == (a, b, s.n)


def written_by_us(s: Gemm | Gemv) -> bool:
    """Whether the renderer has machine code for it, for the processor that code is now made for."""
    module = Module(blas=False)
    addresses = {name: a for name, a in s._asdict().items() if isinstance(a, Address)}
    bare = {n: Address(a.buffer._replace(role="input", start=()), 0) for n, a in addresses.items()}
    KernelWriter(module, LoopProgram([], [], [])).statement(s._replace(**bare))  # type: ignore[arg-type]
    return not module.symbols  # none of a BLAS


def moved(address: Address, steps: Steps) -> Address:
    """The element that is so many steps further."""
    return Address(address.buffer, address.offset, address.terms + steps)


def product(s: Gemm, names: Iterator[int]) -> list[Statement]:
    """Row by row; along the rows of B where it lies so, else each element as one sum."""
    i, j, p = (f"p{next(names)}" for _ in range(3))
    row, column = (1, s.lda) if s.transpose_a else (s.lda, 1)
    down, right = (1, s.ldb) if s.transpose_b else (s.ldb, 1)
    a = moved(s.a, ((i, row), (p, column)))
    b = moved(s.b, ((p, down), (j, right)))
    c = moved(s.c, ((i, s.ldc), (j, 1)))
    if s.transpose_b:
        return [For(i, s.m, [For(j, s.n, summed(a, b, c, For(p, s.k, []), s))])]
    return [For(i, s.m, [cleared(c, j, s.n), For(p, s.k, spread(a, b, c, For(j, s.n, []), s))])]


def matrix_vector(s: Gemv, names: Iterator[int]) -> list[Statement]:
    """Each row as one sum; or, transposed, the rows added up."""
    i, j = (f"p{next(names)}" for _ in range(2))
    a = moved(s.a, ((i, s.lda), (j, 1)))
    if s.transpose:
        x, y = moved(s.x, ((i, s.incx),)), moved(s.y, ((j, s.incy),))
        rows = For(i, s.rows, spread(x, a, y, For(j, s.columns, []), s))
        return [cleared(y, j, s.columns), rows]
    x, y = moved(s.x, ((j, s.incx),)), moved(s.y, ((i, s.incy),))
    return [For(i, s.rows, summed(a, x, y, For(j, s.columns, []), s))]


def cleared(target: Address, index: str, extent: int) -> For:
    """Zeros along an index."""
    return For(index, extent, [Store(target, Constant(0.0, target.buffer.dtype))])


def values(loop: For, dtype: DType) -> tuple[Value, ...]:
    """Names for two factors, their product and a sum, told apart by the loop's index."""
    return tuple(Value(f"{word}_{loop.index}", dtype) for word in ("x", "y", "xy", "sum"))


def summed(a: Address, b: Address, c: Address, loop: For, s: Gemm | Gemv) -> list[Statement]:
    """``c = sum of a b`` over a loop."""
    dtype = c.buffer.dtype
    left, right, both, total = values(loop, dtype)
    loop.body.extend(
        [
            Load(left, a, s.origin),
            Load(right, b, s.origin),
            Let(both, "multiply", (left, right), origin=s.origin),
            Let(total, "add", (total, both), origin=s.origin),
        ]
    )
    start = Let(total, "copy", (Constant(0.0, dtype),))
    return [start, loop, Store(c, total, origin=s.origin)]


def spread(a: Address, b: Address, c: Address, loop: For, s: Gemm | Gemv) -> list[Statement]:
    """``c += a b`` along a loop, where a stays."""
    left, right, both, _ = values(loop, c.buffer.dtype)
    loop.body.extend(
        [
            Load(right, b, s.origin),
            Let(both, "multiply", (left, right), origin=s.origin),
            Store(c, both, "add", s.origin),
        ]
    )
    return [Load(left, a, s.origin), loop]
