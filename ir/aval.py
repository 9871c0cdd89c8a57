"""Abstract values: the shape and dtype of an array that does not exist yet."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from graphjit.errors import DTypeError
from graphjit.records import dataclass

DType = np.dtype[Any]

DTYPE_NAMES = {
    "bool": "bool",
    **{f"int{bits}": f"i{bits}" for bits in (8, 16, 32, 64)},
    **{f"uint{bits}": f"u{bits}" for bits in (8, 16, 32, 64)},
    "float32": "f32",
    "float64": "f64",
}
DTYPES = {short: np.dtype(name) for name, short in DTYPE_NAMES.items()}
SHORT = {dtype: short for short, dtype in DTYPES.items()}
NATIVE = frozenset(DTYPES.values())


def dtype_name(dtype: DType) -> str:
    """The short name of a dtype, as in ``f64``; others keep NumPy's name."""
    short = SHORT.get(dtype)
    return DTYPE_NAMES.get(dtype.name, dtype.name) if short is None else short


def extreme(dtype: DType, *, largest: bool) -> Any:
    """The largest or the least value of a dtype: of floats an infinity."""
    if dtype.kind == "f":
        return np.inf if largest else -np.inf
    if dtype.kind == "b":
        return largest
    limits = np.iinfo(dtype)
    return limits.max if largest else limits.min


def supported(dtype: DType) -> DType:
    """The dtype in native byte order.

    Raises:
        DTypeError: for a dtype that no graph can hold (object, string, datetime, complex, ...).
    """
    if dtype in NATIVE:
        return dtype
    if dtype.name not in DTYPE_NAMES:
        hint = "Use an array of bool, integers, float32 or float64."
        raise DTypeError(f"arrays of dtype {dtype} cannot be compiled", hint=hint)
    return dtype.newbyteorder("=")


@dataclass(frozen=True, slots=True)
class Aval:
    """An abstract value: ``shape`` in elements, ``dtype`` in native byte order."""

    shape: tuple[int, ...]
    dtype: DType

    @property
    def ndim(self) -> int:
        """How many axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """How many elements."""
        return math.prod(self.shape)

    @property
    def inexact(self) -> bool:
        """Whether derivatives with respect to it mean anything."""
        return self.dtype.kind == "f"

    def __str__(self) -> str:
        return f"{dtype_name(self.dtype)}[{','.join(map(str, self.shape))}]"


def aval_of(value: Any) -> Aval:
    """The abstract value of an array or NumPy scalar."""
    array = np.asarray(value)
    return Aval(array.shape, supported(array.dtype))
