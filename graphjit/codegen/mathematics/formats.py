"""What descriptions need to know of float32 and float64."""

from __future__ import annotations

import numpy as np

from graphjit.codegen.loops import Constant, Scalar
from graphjit.ir.aval import DType
from graphjit.records import NamedTuple


class Format(NamedTuple):
    """A binary format of IEEE 754.

    Attributes:
        dtype: The float.
        integer: The signed integer of its width.
        unsigned: The unsigned one.
        digits: How many bits its fraction has, without the hidden one.
        bias: What the exponent's field holds for 1.
    """

    dtype: DType
    integer: DType
    unsigned: DType
    digits: int
    bias: int

    @property
    def shifter(self) -> float:
        """A number so large that adding it rounds to whole numbers, left in the lowest bits."""
        return 1.5 * 2.0**self.digits

    @property
    def least(self) -> float:
        """The least normal number."""
        return float(2.0 ** (1 - self.bias))

    @property
    def tiny(self) -> float:
        """Below it, f(x) = x + O(x²) is x to the last bit."""
        return 2.0 ** -(self.digits + 2)

    def whole(self, value: int) -> Constant:
        """A constant of the integer's type."""
        return Constant(value, self.integer)

    def real(self, value: float) -> Constant:
        """A constant of the float."""
        return Constant(value, self.dtype)

    def bits(self, value: float) -> int:
        """The bits of a number."""
        return int(self.dtype.type(value).view(self.integer))


FORMATS = {
    np.dtype(np.float64): Format(
        np.dtype(np.float64), np.dtype(np.int64), np.dtype(np.uint64), 52, 1023
    ),
    np.dtype(np.float32): Format(
        np.dtype(np.float32), np.dtype(np.int32), np.dtype(np.uint32), 23, 127
    ),
}


def format_of(x: Scalar) -> Format:
    """The format of a value."""
    return FORMATS[x.dtype]
