"""The scalar operations that rows are stated in: ``k`` in ``scalar=lambda k, x: ...``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from graphjit.codegen.loops import Constant, Scalar
from graphjit.ir.aval import DType

BOOLEAN = frozenset({
    "less", "less_equal", "greater", "greater_equal", "equal", "not_equal", "isnan", "isinf",
    "isfinite", "signbit", "logical_and", "logical_or", "logical_xor", "logical_not",
})  # fmt: skip
# What a comparison is when its operands change places.
MIRRORED = {
    "less": "greater", "less_equal": "greater_equal", "greater": "less",
    "greater_equal": "less_equal", "equal": "equal", "not_equal": "not_equal",
}  # fmt: skip
# What AVX-512's fixupimm calls classes of numbers, and what it puts in their place.
CLASSES = {"zero": 1 << 8, "minus_infinity": 1 << 16, "infinity": 1 << 20}
RESULTS = {"x": 1, "-inf": 4}
NUMBERS = (bool, int, float)
BOOL = np.dtype(bool)


class Scalars:
    """Emits one scalar statement an operation; Python numbers take the other operands' dtype.

    Attributes:
        fused: Whether ``fma`` may round once; else it is a product and a sum.
        scaling: Whether there are the operations of ``llvm_scaling``.
    """

    def __init__(
        self, let: Callable[..., Scalar], *, fused: bool = True, scaling: bool = False
    ) -> None:
        self._let = let
        self.fused = fused
        self.scaling = scaling
        self._negated: dict[Scalar, Scalar] = {}

    def __getattr__(self, op: str) -> Callable[..., Scalar]:
        return lambda *operands: self.op(op, *operands)

    def op(self, op: str, *operands: Any, dtype: DType | None = None) -> Scalar:
        """``op`` on values; the result has their dtype, or is a bool for a test."""
        kind = [o.dtype for o in operands if not isinstance(o, NUMBERS)][-1]
        scalars = tuple([Constant(o, kind) if isinstance(o, NUMBERS) else o for o in operands])
        if op in MIRRORED and scalars[0].dtype != scalars[1].dtype:
            return self._compare(op, *scalars)
        return self._let(op, scalars, dtype or (BOOL if op in BOOLEAN else kind))

    def _compare(self, op: str, a: Scalar, b: Scalar) -> Scalar:
        """A test of int64 with uint64, exact as NumPy's: what is below 0 is the smaller."""
        if a.dtype.kind == "u":
            return self._compare(MIRRORED[op], b, a)
        test = self.op(op, self.cast(a, b.dtype), b)
        if op in ("less", "less_equal", "not_equal"):
            return self.logical_or(self.less(a, 0), test)
        return self.logical_and(self.greater_equal(a, 0), test)

    def cast(self, x: Scalar, dtype: Any) -> Scalar:
        """The value in another dtype; no statement where it has it already."""
        return x if x.dtype == dtype else self.op("cast", x, dtype=np.dtype(dtype))

    def negative(self, x: Scalar) -> Scalar:
        """-x; ``absolute`` looks through it."""
        result = self.op("negative", x)
        self._negated[result] = x
        return result

    def absolute(self, x: Scalar) -> Scalar:
        """The magnitude; that of a negated value is found from the value itself."""
        return self.op("absolute", self.signless(x))

    def signless(self, x: Scalar) -> Scalar:
        """The value that x is, or that it is the negative of."""
        return self._negated.get(x, x)

    def fma(self, a: Any, b: Any, c: Any) -> Scalar:
        """A b + c, in one rounding where the processor has it and ``fused`` allows it."""
        return self.op("fma", a, b, c) if self.fused else self.add(self.multiply(a, b), c)

    def select(self, condition: Scalar, a: Any, b: Any) -> Scalar:
        """A where the condition holds, else b."""
        return self.op("select", condition, a, b)

    def bits(self, x: Scalar) -> Scalar:
        """The bits of a float as a signed integer of its width."""
        return self.op("bits", x, dtype=np.dtype(f"i{x.dtype.itemsize}"))

    def from_bits(self, x: Scalar) -> Scalar:
        """The float that has the bits of a signed integer."""
        return self.op("from_bits", x, dtype=np.dtype(f"f{x.dtype.itemsize}"))

    def rare(self, condition: Scalar, usual: Scalar, function: str, *x: Scalar) -> Scalar:
        """``usual``, but where the condition holds what the C library's function gives for x."""
        return self._let("rare", (condition, usual, *x), usual.dtype, (function,))

    def lookup(self, table: tuple[float, ...], x: Scalar) -> Scalar:
        """The entry of a table, as long as two registers, at the last bits of x."""
        return self._let("lookup", (x,), x.dtype, table)

    def special(self, value: Scalar, x: Scalar, **replaced: str) -> Scalar:
        """``value``, but what belongs to an x of a class, as ``zero="-inf"`` or ``"x"``."""
        codes = [CLASSES[name] * RESULTS[what] for name, what in replaced.items()]
        return self._let("special", (value, x), x.dtype, (sum(codes),))

    def strong_multiply(self, a: Scalar, b: Scalar) -> Scalar:
        """A b, and 0 where either is 0, whatever the other."""
        live = self.logical_and(self.not_equal(a, 0), self.not_equal(b, 0))
        return self.select(live, self.multiply(a, b), 0)

    def logaddexp(self, a: Scalar, b: Scalar) -> Scalar:
        """The larger plus log1p(exp(-|a - b|)); the same infinity twice has no gap."""
        return self.add(self.maximum(a, b), self.log1p(self._tail(self._gap(a, b))))

    def logaddexp2(self, a: Scalar, b: Scalar) -> Scalar:
        """The larger plus log2(1 + 2**-|a - b|)."""
        tail = self.exp2(self.negative(self.absolute(self._gap(a, b))))
        return self.add(self.maximum(a, b), self.multiply(1 / np.log(2), self.log1p(tail)))

    def _gap(self, a: Scalar, b: Scalar) -> Scalar:
        """The size of a - b matters only, and it is a number where one of them is known to be."""
        if isinstance(a, Constant) and a.value == 0:
            return b
        if any(isinstance(x, Constant) and np.isfinite(x.value) for x in (a, b)):
            return self.subtract(a, b)
        same = self.logical_and(self.equal(a, b), self.isinf(a))
        return self.select(same, 0, self.subtract(a, b))

    def _tail(self, x: Scalar) -> Scalar:
        """exp(-|x|), which logaddexp and its derivative share."""
        return self.exp(self.negative(self.absolute(x)))

    def sign(self, x: Scalar) -> Scalar:
        """-1, 0 or 1; NaN stays, and a negative zero loses its sign."""
        negative = self.select(self.less(x, 0), -1, self.select(self.equal(x, 0), 0, x))
        return self.select(self.greater(x, 0), 1, negative)

    def heaviside(self, x: Scalar, middle: Scalar) -> Scalar:
        """0 below zero, 1 above, ``middle`` at zero; NaN stays."""
        right = self.select(self.greater(x, 0), 1, x)
        return self.select(self.equal(x, 0), middle, self.select(self.less(x, 0), 0, right))

    def _whole(self, op: str, a: Scalar, b: Scalar, by_minus_one: Any) -> Scalar:
        """A division of integers that cannot trap: the least one by -1 overflows."""
        if a.dtype.kind != "i":
            return self.op(op, a, b)
        minus = self.equal(b, -1)
        return self.select(minus, by_minus_one, self.op(op, a, self.select(minus, 1, b)))

    def fmod(self, a: Scalar, b: Scalar) -> Scalar:
        """With the sign of the dividend; whole numbers from the remainder, as Numba's is wrong."""
        if a.dtype.kind == "f":
            return self.op("fmod", a, b)
        rest = self.remainder(a, b)
        opposite = self.logical_xor(self.less(a, 0), self.less(b, 0))
        crosses = self.logical_and(self.not_equal(rest, 0), opposite)
        return self.select(crosses, self.subtract(rest, b), rest)

    def reciprocal(self, x: Scalar) -> Scalar:
        """1 / x; of whole numbers only 1 and -1 have one that is not 0."""
        if x.dtype.kind == "f":
            return self.op("reciprocal", x)
        one = self.equal(x, 1)
        unit = one if x.dtype.kind == "u" else self.logical_or(one, self.equal(x, -1))
        return self.select(unit, x, 0)

    def left_shift(self, a: Scalar, b: Scalar) -> Scalar:
        """0 once all bits are shifted out."""
        return self._shift("left_shift", a, b, 0)

    def right_shift(self, a: Scalar, b: Scalar) -> Scalar:
        """The sign once all bits are shifted out."""
        sign = 0 if a.dtype.kind == "u" else self.select(self.less(a, 0), -1, self._like(0, a))
        return self._shift("right_shift", a, b, sign)

    def _shift(self, op: str, a: Scalar, b: Scalar, beyond: Any) -> Scalar:
        """A shift by any number; the processor's own takes only what is less than the width."""
        width = 8 * a.dtype.itemsize
        if isinstance(b, Constant) and 0 <= b.value < width:
            return self.op(op, a, b)
        fits = self.less(b, width)
        if b.dtype.kind == "i":
            fits = self.logical_and(fits, self.greater_equal(b, 0))
        return self.select(fits, self.op(op, a, self.select(fits, b, 0)), beyond)

    def logical_and(self, a: Scalar, b: Scalar) -> Scalar:
        """Whether both are true, which is what is not 0."""
        return self.op("logical_and", self._truth(a), self._truth(b))

    def logical_or(self, a: Scalar, b: Scalar) -> Scalar:
        """Whether one is true."""
        return self.op("logical_or", self._truth(a), self._truth(b))

    def logical_xor(self, a: Scalar, b: Scalar) -> Scalar:
        """Whether exactly one is true."""
        return self.op("logical_xor", self._truth(a), self._truth(b))

    def logical_not(self, x: Scalar) -> Scalar:
        """Whether it is not true."""
        return self.op("logical_not", self._truth(x))

    def _truth(self, x: Scalar) -> Scalar:
        return x if x.dtype == np.bool_ else self.not_equal(x, 0)

    def invert(self, x: Scalar) -> Scalar:
        """The complement; of a truth value the other one."""
        return self.op("logical_not" if x.dtype == bool else "invert", x)

    def add(self, a: Any, b: Any) -> Scalar:
        """The sum; of truth values the logical one."""
        return self.op("logical_or" if _truths(a, b) else "add", a, b)

    def multiply(self, a: Any, b: Any) -> Scalar:
        """The product; of truth values the logical one."""
        return self.op("logical_and" if _truths(a, b) else "multiply", a, b)

    def remainder(self, a: Scalar, b: Scalar) -> Scalar:
        """With the sign of the divisor, zeros too."""
        if a.dtype.kind != "f":
            return self._whole("remainder", a, b, 0)
        rest, crosses = self._rest(a, b)
        shifted = self.select(crosses, self.add(rest, b), rest)
        return self.select(self.equal(shifted, 0), self.copysign(self._like(0, b), b), shifted)

    def floor_divide(self, a: Scalar, b: Scalar) -> Scalar:
        """The nearest whole quotient below, found from the exact remainder as NumPy does."""
        if a.dtype.kind != "f":
            return self._whole("floor_divide", a, b, self.negative(a))
        rest, crosses = self._rest(a, b)
        near = self.divide(self.subtract(a, rest), b)
        near = self.select(crosses, self.subtract(near, 1), near)
        low = self.floor(near)
        low = self.select(self.greater(self.subtract(near, low), 0.5), self.add(low, 1), low)
        quotient = self.divide(a, b)
        zero = self.copysign(self._like(0, b), quotient)
        whole = self.select(self.equal(near, 0), zero, low)
        return self.select(self.equal(b, 0), quotient, whole)

    def _rest(self, a: Scalar, b: Scalar) -> tuple[Scalar, Scalar]:
        """fmod(a, b), and whether it has to move to the divisor's sign."""
        rest = self.fmod(a, b)
        opposite = self.logical_xor(self.less(b, 0), self.less(rest, 0))
        return rest, self.logical_and(self.not_equal(rest, 0), opposite)

    def _like(self, value: float, x: Scalar) -> Scalar:
        return Constant(value, x.dtype)

    def log_expit(self, x: Scalar) -> Scalar:
        """-(max(-x, 0) + log1p(exp(-|x|))), which neither overflows nor cancels."""
        tail = self.log1p(self._tail(x))
        return self.negative(self.add(self.maximum(self.negative(x), self._like(0, x)), tail))

    def polygamma(self, x: Scalar, order: int) -> Scalar:
        """The derivative of digamma of an order: a described function for each."""
        from graphjit.codegen.mathematics.gamma import polygamma_of  # which is made of these

        return self.op(polygamma_of(order), x)

    def xlogy(self, a: Scalar, b: Scalar) -> Scalar:
        """A log b, and 0 where a is 0 and b is a number."""
        dead = self.logical_and(self.equal(a, 0), self.equal(b, b))
        return self.select(dead, 0, self.multiply(a, self.log(b)))


def _truths(*operands: Any) -> bool:
    return all(getattr(o, "dtype", None) == np.bool_ for o in operands)
