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


class Scalars:
    """Emits one scalar statement an operation; Python numbers take the other operands' dtype."""

    def __init__(self, let: Callable[..., Scalar]) -> None:
        self._let = let

    def __getattr__(self, op: str) -> Callable[..., Scalar]:
        return lambda *operands: self.op(op, *operands)

    def op(self, op: str, *operands: Any, dtype: DType | None = None) -> Scalar:
        """``op`` on values; the result has their dtype, or is a bool for a test."""
        kind = next(o.dtype for o in reversed(operands) if not isinstance(o, bool | int | float))
        scalars = tuple(
            o if not isinstance(o, bool | int | float) else Constant(o, kind) for o in operands
        )
        return self._let(op, scalars, dtype or (np.dtype(bool) if op in BOOLEAN else kind))

    def cast(self, x: Scalar, dtype: Any) -> Scalar:
        return x if x.dtype == dtype else self.op("cast", x, dtype=np.dtype(dtype))

    def select(self, condition: Scalar, a: Any, b: Any) -> Scalar:
        return self.op("select", condition, a, b)

    def strong_multiply(self, a: Scalar, b: Scalar) -> Scalar:
        """a b, and 0 where either is 0, whatever the other."""
        dead = self.logical_or(self.equal(a, 0), self.equal(b, 0))
        return self.select(dead, 0, self.multiply(a, b))

    def logaddexp(self, a: Scalar, b: Scalar) -> Scalar:
        """The larger plus log1p(exp(-|a - b|)); equal infinities stay what they are."""
        gap = self.negative(self.absolute(self.subtract(a, b)))
        high = self.maximum(a, b)
        return self.select(
            self.equal(a, b),
            self.add(a, float(np.log(2.0))),
            self.add(high, self.log1p(self.exp(gap))),
        )

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
        """With the sign of the dividend."""
        return self._whole("fmod", a, b, 0)

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

    def expit(self, x: Scalar) -> Scalar:
        """1 / (1 + exp(-x)): where exp overflows the quotient is the right 0."""
        return self.divide(1, self.add(1, self.exp(self.negative(x))))

    def log_expit(self, x: Scalar) -> Scalar:
        """-(max(-x, 0) + log1p(exp(-|x|))), which neither overflows nor cancels."""
        tail = self.log1p(self.exp(self.negative(self.absolute(x))))
        return self.negative(self.add(self.maximum(self.negative(x), self._like(0, x)), tail))

    def logit(self, x: Scalar) -> Scalar:
        """log(x / (1 - x)); around 1/2, where that cancels, in terms of 2x - 1."""
        shifted = self.subtract(self.multiply(2, x), 1)
        near = self.subtract(self.log1p(shifted), self.log1p(self.negative(shifted)))
        far = self.log(self.divide(x, self.subtract(1, x)))
        middle = self.logical_and(self.greater(x, 0.3), self.less(x, 0.65))
        return self.select(middle, near, far)

    def xlogy(self, a: Scalar, b: Scalar) -> Scalar:
        """a log b, and 0 where a is 0 and b is a number."""
        dead = self.logical_and(self.equal(a, 0), self.equal(b, b))
        return self.select(dead, 0, self.multiply(a, self.log(b)))
