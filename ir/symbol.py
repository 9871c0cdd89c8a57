"""Symbols: what a traced function holds in place of arrays.

A symbol is a node of a graph under construction. NumPy's protocols send every ufunc and function
called on one to ``graphjit.ir.dispatch``; what those protocols cannot see raises, with the user's
line and the way out. Derivative rules are NumPy expressions too, and build graphs through the
same symbols.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from graphjit.errors import GraphJITError, MissingRule, TraceError
from graphjit.ir.aval import Aval, DType
from graphjit.ir.builder import Builder
from graphjit.ir.operators import Operators

IF_HINT = "Use np.where(condition, a, b) for a choice between values, np.maximum for max()."
NUMBER_HINT = (
    "Its value is known only when the compiled program runs. Use NumPy's own function "
    "(np.sin for math.sin), keep it an array (no float(), int() or .item()), or pass what must be "
    "a plain number as a Python int or through static_argnames."
)
ARRAY_HINT = (
    "np.array and np.asarray cannot hold a traced value: use np.stack or np.concatenate to join "
    "values, drop a np.asarray around one, and pass an array that a traced value indexes in as an "
    "argument."
)
SPECIAL_HINT = "Import {0} from graphjit.special: it takes arrays and traced values alike."
ASSIGN_HINT = "Build the result with np.where, np.concatenate or np.stack instead of assigning."


class Symbol(Operators):
    """A traced array: has the shape, dtype, operators and methods of an ``ndarray``.

    ``weak`` marks what came from a Python float and so takes the dtype of the arrays it meets.
    """

    __slots__ = ("builder", "id", "weak")
    __array_priority__ = 1000.0

    def __init__(self, builder: Builder, ident: int, *, weak: bool = False) -> None:
        self.builder, self.id, self.weak = builder, ident, weak

    @property
    def aval(self) -> Aval:
        """The shape and dtype."""
        return self.builder.nodes[self.id].aval

    @property
    def shape(self) -> tuple[int, ...]:
        """The length of each axis."""
        return self.aval.shape

    @property
    def dtype(self) -> DType:
        """As ndarray has it."""
        return self.aval.dtype

    @property
    def ndim(self) -> int:
        """How many axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """How many elements."""
        return self.aval.size

    @property
    def T(self) -> Any:  # noqa: N802 - NumPy's name
        """With its axes in reverse order."""
        return np.transpose(self)

    @property
    def mT(self) -> Any:  # noqa: N802 - NumPy's name
        """With its last two axes exchanged."""
        return np.swapaxes(self, -1, -2)

    @property
    def real(self) -> Symbol:
        """Itself."""
        return self

    @property
    def imag(self) -> Any:
        """Zeros."""
        return np.zeros_like(self)

    @property
    def itemsize(self) -> int:
        """Bytes an element."""
        return self.dtype.itemsize

    @property
    def nbytes(self) -> int:
        """Bytes of all elements."""
        return self.size * self.itemsize

    def as_weak(self) -> Symbol:
        """The same value, which takes the dtype of the arrays it meets."""
        return Symbol(self.builder, self.id, weak=True)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        from graphjit.ir.dispatch import call_ufunc

        return call_ufunc(ufunc, method, inputs, kwargs)

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        from graphjit.ir.dispatch import call_function

        return call_function(func, args, kwargs)

    def __getitem__(self, key: Any) -> Any:
        from graphjit.ir.numpy.indexing import getitem

        return getitem(self, key)

    def __len__(self) -> int:
        if not self.shape:
            raise self.error("a traced scalar has no len()")
        return self.shape[0]

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self)))

    def __copy__(self) -> Symbol:
        return self

    def __deepcopy__(self, memo: Any) -> Symbol:
        return self

    def __repr__(self) -> str:
        return f"Symbol(%{self.id}: {self.aval})"

    def __format__(self, spec: str) -> str:
        if spec:
            raise self.error(f"a traced value has no digits to format as {spec!r}", NUMBER_HINT)
        return repr(self)

    def shares(self) -> bool:
        """Whether NumPy's array would share memory with another name's array."""
        nodes = self.builder.nodes
        later = nodes[self.id + 1 :]
        viewed = any(self.id in node.inputs for node in later if node.op in VIEWS)
        return viewed or nodes[self.id].op in {"input", "constant", *VIEWS}

    def error(self, fact: str, hint: str = "") -> TraceError:
        """The error for something a graph cannot hold, at the user's line."""
        if self.builder.closed:
            return leaked(self)
        made = self.builder.nodes[self.id].origin
        return TraceError(
            fact,
            origin=self.builder.origin() or made,
            operands=(f"%{self.id}: {self.aval}",),
            hint=hint,
        )

    def __bool__(self) -> bool:
        fact = "`if`, `while`, `and`, `or`, `not` or `in` needs the truth of a traced value"
        raise self.error(fact, IF_HINT)

    def __float__(self) -> float:
        raise self.error("a traced value was to become a Python float", NUMBER_HINT)

    def __int__(self) -> int:
        raise self.error("a traced value was to become a Python int", NUMBER_HINT)

    def __index__(self) -> int:
        fact = "a traced value was used as a Python index, a size or a range"
        hint = "Pass sizes as Python ints; index with x[i] on a traced array x."
        raise StaticIntNeeded(fact, origin=self.error(fact).origin, operands=(self,), hint=hint)

    def __complex__(self) -> complex:
        raise self.error("a traced value was to become a Python complex", NUMBER_HINT)

    def __array__(self, *_args: Any, **_kwargs: Any) -> Any:
        caller = scipy_function()
        if not caller:
            raise self.error("a traced value was to be stored in a NumPy array", ARRAY_HINT)
        module, _, name = caller.rpartition(".")
        special = module == "scipy.special" and name in {"logsumexp", "softmax", "log_softmax"}
        hint = SPECIAL_HINT.format(name) if special else "Write it with NumPy's own functions."
        raise self.error(f"{caller} takes no traced value", hint)

    def __setitem__(self, key: Any, value: Any) -> None:
        raise self.error("a traced array cannot be assigned to", ASSIGN_HINT)

    def item(self, *_: Any) -> Any:
        """Raises: the value is not known yet."""
        raise self.error("a traced value was to become a Python number", NUMBER_HINT)

    def tolist(self) -> Any:
        """Raises: the values are not known yet."""
        raise self.error("a traced value was to become a Python list", NUMBER_HINT)

    def astype(self, dtype: Any, **_: Any) -> Symbol:
        """In another dtype."""
        from graphjit.ir.dispatch import cast

        symbol: Symbol = cast(self, dtype)
        return symbol

    def copy(self, *_: Any) -> Any:
        """Under a name of its own."""
        return np.copy(self)

    def reshape(self, *shape: Any, **kwargs: Any) -> Any:
        """In another shape."""
        return np.reshape(self, shape[0] if len(shape) == 1 else shape, **kwargs)

    def transpose(self, *axes: Any) -> Any:
        """With its axes permuted."""
        axes = axes[0] if len(axes) == 1 else axes
        return np.transpose(self, axes or None)

    def flatten(self, *args: Any, **kwargs: Any) -> Any:
        """As a new array of one axis."""
        return np.copy(np.ravel(self, *args, **kwargs))

    def __getattr__(self, name: str) -> Any:
        function = METHODS.get(name)
        if function is None:
            if name.startswith("__") or not hasattr(np.ndarray, name):
                raise AttributeError(name)
            hint = "Methods that work: " + ", ".join(sorted(METHODS)) + "."
            fact = f"ndarray.{name} has no primitive"
            raise MissingMethod(fact, origin=self.builder.origin(), hint=hint)
        return lambda *args, **kwargs: function(self, *args, **kwargs)


def leaked(symbol: Symbol) -> TraceError:
    """The error for a symbol used after its trace, with the line that made it."""
    return TraceError(
        "a traced value was used after its trace had ended",
        origin=symbol.builder.nodes[symbol.id].origin,
        operands=(symbol.aval,),
        hint="The line shown made it. Return it from the traced function instead of keeping "
        "it in a global, a list, an attribute or a closure.",
    )


class StaticIntNeeded(GraphJITError, RuntimeError):  # noqa: N818 - says what is needed
    """A Python int was needed. It is no TypeError, since NumPy replaces those with its own."""


class MissingMethod(MissingRule, AttributeError):  # noqa: N818 - as MissingRule
    """A method or attribute of ndarray that has no primitive; ``hasattr`` says no."""


def scipy_function() -> str:
    """The public name of the SciPy function that is asking for an array, if it is one."""
    frame, found = inspect.currentframe(), ""
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        if module.startswith("scipy."):
            public = [part for part in module.split(".") if not part.startswith("_")]
            found = ".".join((*public, frame.f_code.co_name))
        elif found or not module.startswith("graphjit."):
            return found
        frame = frame.f_back
    return found


VIEWS = {"slice", "reshape", "transpose", "broadcast"}
METHODS: dict[str, Callable[..., Any]] = {
    name: getattr(np, name)
    for name in (
        "all", "any", "argmax", "argmin", "clip", "conj", "conjugate", "cumprod", "cumsum",
        "diagonal", "dot", "max", "mean", "min", "prod", "ravel", "repeat",
        "round", "squeeze", "std", "sum", "swapaxes", "take", "trace", "var",
    )
}  # fmt: skip
