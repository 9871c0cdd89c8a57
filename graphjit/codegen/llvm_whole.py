"""Division and powers of whole numbers in LLVM IR, with NumPy's results."""

from __future__ import annotations

from graphjit.codegen.llvm_instructions import binary, compare, like, scalarised, select
from graphjit.codegen.llvm_text import Body, Operand, kind, suffix
from graphjit.ir.aval import DType

INTEGER_POWER = """
define internal {t} @{name}({t} %base, {t} %exponent) {{
entry:
  br label %test
test:
  %b = phi {t} [ %base, %entry ], [ %next, %turn ]
  %e = phi {t} [ %exponent, %entry ], [ %rest, %turn ]
  %r = phi {t} [ 1, %entry ], [ %taken, %turn ]
  %done = icmp eq {t} %e, 0
  br i1 %done, label %end, label %turn
turn:
  %bit = trunc {t} %e to i1
  %product = mul {t} %r, %b
  %taken = select i1 %bit, {t} %product, {t} %r
  %next = mul {t} %b, %b
  %rest = lshr {t} %e, 1
  br label %test
end:
  ret {t} %r
}}"""


def _divisor(body: Body, b: Operand) -> tuple[Operand, Operand]:
    """Whether it is zero, and a divisor that is not."""
    zero = compare(body, "eq", b, like(0, b))
    return zero, select(body, zero, like(1, b), b)


def floor_divide(body: Body, x: list[Operand], dtype: DType) -> Operand:
    """Whole numbers, rounded down; by zero it is zero, as in NumPy."""
    a, b = x
    zero, safe = _divisor(body, b)
    if dtype.kind != "i":
        return select(body, zero, like(0, a), binary(body, "udiv", a, safe))
    crosses = _crosses(body, binary(body, "srem", a, safe), safe)
    down = body.value(f"sext {crosses} to {a.kind}", dtype, a.lanes)
    quotient = binary(body, "add", binary(body, "sdiv", a, safe), down)
    return select(body, zero, like(0, a), quotient)


def remainder(body: Body, x: list[Operand], dtype: DType) -> Operand:
    """Whole numbers, with the divisor's sign; by zero it is zero, as in NumPy."""
    a, b = x
    zero, safe = _divisor(body, b)
    if dtype.kind != "i":
        return select(body, zero, like(0, a), binary(body, "urem", a, safe))
    rest = binary(body, "srem", a, safe)
    shifted = binary(body, "add", rest, safe)
    rest = select(body, _crosses(body, rest, safe), shifted, rest)
    return select(body, zero, like(0, a), rest)


def _crosses(body: Body, rest: Operand, b: Operand) -> Operand:
    """Whether a remainder has the sign that the divisor has not."""
    opposite = compare(body, "lt", binary(body, "xor", rest, b), like(0, rest))
    return binary(body, "and", compare(body, "ne", rest, like(0, rest)), opposite)


def power(body: Body, x: list[Operand], dtype: DType) -> Operand:
    """Whole numbers by repeated squaring; of floats the C library's."""
    if dtype.kind == "f":
        return scalarised(body, "pow", x, dtype)
    name = f"power_{suffix(dtype, 1)}"
    body.module.helpers[name] = INTEGER_POWER.format(name=name, t=kind(dtype, 1))
    parts = [
        body.value(f"call {kind(dtype, 1)} @{name}({a}, {b})", dtype)
        for a, b in ([body.element(o, i) for o in x] for i in range(x[0].lanes))
    ]
    return body.collected(parts)
