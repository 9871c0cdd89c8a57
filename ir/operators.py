"""The operators of a traced array: each is a NumPy ufunc."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from graphjit.errors import ShapeError

WEAK = (bool, int, float)
FOREIGN = (str, bytes, complex, type(None), dict, set)
IN_PLACE_HINT = "Write x = x + t in place of x += t."


def is_weak(value: Any) -> bool:
    """Whether a value takes the dtype of the arrays it meets, as Python's numbers do."""
    if isinstance(value, np.generic):  # np.float64 is a float, but a strong one
        return False
    return isinstance(value, WEAK) or getattr(value, "weak", False)


def _operator(ufunc: Any, *, reflected: bool = False) -> Callable[..., Any]:
    """The method of a Python operator; between Python floats it keeps a Python float's weakness."""

    def method(self: Any, *others: Any) -> Any:
        operands = (*others, self) if reflected else (self, *others)
        for other in others:
            if isinstance(other, FOREIGN) and ufunc not in (np.equal, np.not_equal):
                fact = f"{other!r} is no operand of np.{ufunc.__name__}"
                raise self.error(fact, "Use real numbers and arrays of them.")
            if not isinstance(other, (Operators, *WEAK, list, tuple, np.ndarray, np.generic)):
                return NotImplemented
        result = ufunc(*operands)
        weak = self.weak and all(is_weak(other) for other in others)
        return result.as_weak() if weak and result.dtype.kind == "f" else result

    return method


def _in_place(ufunc: Any) -> Callable[..., Any]:
    """The method of ``+=`` and its like: all names of the array see the change, as in NumPy.

    A scalar is rebound, as NumPy's scalars are. What else shares memory in NumPy (an argument
    of the function, a view or what has views) is refused, so that no change is ever lost.
    """
    operator = _operator(ufunc)

    def method(self: Any, other: Any) -> Any:
        result = operator(self, other)
        if result is NotImplemented or not self.shape:
            return result
        if result.shape != self.shape:
            fact = f"{result.aval} does not fit into {self.aval}, which is to be changed in place"
            raise ShapeError(fact, origin=self.builder.origin(), hint=IN_PLACE_HINT)
        if not np.can_cast(result.dtype, self.dtype, "same_kind"):
            fact = f"a {result.dtype} result was to be stored in a {self.dtype} array"
            raise self.error(fact, IN_PLACE_HINT)
        if result.builder is not self.builder or self.shares():
            fact = "an array that is an argument, a view or has a view was to be changed in place"
            raise self.error(fact, IN_PLACE_HINT)
        self.id = result.astype(self.dtype).id
        return self

    return method


def _to_the(self: Any, exponent: Any) -> Any:
    """``**``, which NumPy makes a square for the number 2: of booleans that is an int8."""
    if self.dtype == bool and self.shape and type(exponent) is int and exponent == 2:
        return np.square(self)
    return _power(self, exponent)


_power = _operator(np.power)


class Operators:
    """The methods that Python calls for ``+``, ``+=``, ``<`` and so on."""

    __slots__ = ()

    __add__, __radd__ = _operator(np.add), _operator(np.add, reflected=True)
    __sub__, __rsub__ = _operator(np.subtract), _operator(np.subtract, reflected=True)
    __mul__, __rmul__ = _operator(np.multiply), _operator(np.multiply, reflected=True)
    __truediv__, __rtruediv__ = _operator(np.true_divide), _operator(np.true_divide, reflected=True)
    __floordiv__, __rfloordiv__ = (
        _operator(np.floor_divide),
        _operator(np.floor_divide, reflected=True),
    )
    __mod__, __rmod__ = _operator(np.remainder), _operator(np.remainder, reflected=True)
    __pow__, __rpow__ = _to_the, _operator(np.power, reflected=True)
    __matmul__, __rmatmul__ = _operator(np.matmul), _operator(np.matmul, reflected=True)
    __iadd__, __isub__, __imul__ = _in_place(np.add), _in_place(np.subtract), _in_place(np.multiply)
    __itruediv__, __ifloordiv__ = _in_place(np.true_divide), _in_place(np.floor_divide)
    __imod__, __ipow__, __imatmul__ = (
        _in_place(np.remainder),
        _in_place(np.power),
        _in_place(np.matmul),
    )
    __iand__, __ior__, __ixor__ = (
        _in_place(np.bitwise_and),
        _in_place(np.bitwise_or),
        _in_place(np.bitwise_xor),
    )
    __and__, __rand__ = _operator(np.bitwise_and), _operator(np.bitwise_and, reflected=True)
    __or__, __ror__ = _operator(np.bitwise_or), _operator(np.bitwise_or, reflected=True)
    __xor__, __rxor__ = _operator(np.bitwise_xor), _operator(np.bitwise_xor, reflected=True)
    __lshift__, __rlshift__ = _operator(np.left_shift), _operator(np.left_shift, reflected=True)
    __rshift__, __rrshift__ = _operator(np.right_shift), _operator(np.right_shift, reflected=True)
    __neg__, __pos__ = _operator(np.negative), _operator(np.positive)
    __abs__, __invert__ = _operator(np.absolute), _operator(np.invert)
    __lt__, __le__ = _operator(np.less), _operator(np.less_equal)
    __gt__, __ge__ = _operator(np.greater), _operator(np.greater_equal)
    __eq__ = _operator(np.equal)
    __ne__ = _operator(np.not_equal)

    def __divmod__(self, other: Any) -> tuple[Any, Any]:
        return self // other, self % other

    def __rdivmod__(self, other: Any) -> tuple[Any, Any]:
        return other // self, other % self

    def __hash__(self) -> int:
        return id(self)
