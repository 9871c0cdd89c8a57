"""From NumPy calls on symbols to nodes: NumPy 2's dtype rules, then one ``emit``."""

from __future__ import annotations

from functools import cache
from operator import attrgetter
from typing import Any

import numpy as np

from graphjit.errors import DTypeError, GraphJITError, TraceError
from graphjit.ir.aval import NATIVE, Aval, DType, supported
from graphjit.ir.builder import Builder
from graphjit.ir.primitive import BY_UFUNC
from graphjit.ir.registry import FUNCTIONS, OUT_HINT, composition, given, missing, refuse, title
from graphjit.ir.symbol import Symbol, leaked

Traced = Any  # a Symbol: NumPy's annotations know nothing of what its protocols let through

REDUCTIONS: dict[Any, Any] = {
    np.add: np.sum,
    np.multiply: np.prod,
    np.maximum: np.max,
    np.minimum: np.min,
    np.logical_and: np.all,
    np.logical_or: np.any,
}
SYMBOLS, LEVEL = frozenset({Symbol}), attrgetter("level")
ACCUMULATIONS: dict[Any, Any] = {np.add: np.cumsum, np.multiply: np.cumprod}


def builder_of(*values: Any) -> Builder:
    """The innermost trace among the symbols, which may sit in lists and tuples.

    Raises:
        TraceError: a symbol of a trace that is over.
    """
    symbols = _symbols(values)
    if not symbols:
        message = "no symbol among the operands"
        raise TypeError(message)
    for symbol in symbols:
        if symbol.builder.closed:
            raise leaked(symbol)
    return max([symbol.builder for symbol in symbols], key=LEVEL)


def _symbols(values: Any) -> list[Symbol]:
    found = []
    for value in values:
        if isinstance(value, Symbol):
            found.append(value)
        elif isinstance(value, (list, tuple)):  # not a union, which is slower to ask
            found += _symbols(value)
    return found


def lift(builder: Builder, value: Any, dtype: DType | None = None) -> Traced:
    """Any operand as a symbol of this trace, in the given dtype.

    Raises:
        TraceError: a symbol of a trace that is over.
        DTypeError: an operand that is no array of numbers.
    """
    if isinstance(value, Symbol):
        symbol = value if value.builder is builder else _enter(builder, value)
    elif isinstance(value, bool | int | float | np.generic):
        symbol = _number(builder, value, dtype)
    else:
        symbol = _array(builder, value)
    if dtype is None or symbol.dtype == dtype:
        return symbol
    return Symbol(builder, builder.cast(symbol.id, dtype))


def _enter(builder: Builder, symbol: Symbol) -> Traced:
    """A symbol of an outer trace as a hidden input of this one."""
    if symbol.builder.closed or symbol.builder.level >= builder.level:
        raise leaked(symbol)
    return Symbol(builder, builder.capture(symbol, symbol.aval), weak=symbol.weak)


def _number(builder: Builder, value: Any, dtype: DType | None) -> Traced:
    """A concrete number as a constant.

    Raises:
        DTypeError: a kind of number that no graph can hold, or an integer too large for its dtype.
    """
    readable(builder, np.asarray(value).dtype if isinstance(value, np.generic) else None)
    try:
        return Symbol(builder, builder.constant(value, dtype))
    except (OverflowError, DTypeError):
        fact = f"the integer {value} does not fit into {dtype or 'int64'}"
        raise DTypeError(fact, origin=builder.origin(), hint="Write it as a float.") from None


def _array(builder: Builder, value: Any) -> Traced:
    """A concrete array as a hidden input, a list of numbers as a constant, of symbols a stack."""
    if isinstance(value, list | tuple) and _symbols(value):
        return lift(builder, np.stack([lift(builder, v) for v in value]))
    if isinstance(value, np.ma.MaskedArray | np.matrix):
        fact = f"a {type(value).__name__} cannot be used in a traced function"
        hint = "Pass a plain array: np.asarray(matrix), masked.filled(0)."
        raise DTypeError(fact, origin=builder.origin(), operands=(repr(value),), hint=hint)
    if isinstance(value, np.ndarray):
        aval = Aval(value.shape, readable(builder, value.dtype))
        return Symbol(builder, builder.capture(value, aval))
    try:
        array = np.asarray(value)
    except ValueError:
        fact = "a list whose rows differ in length is no array"
        raise DTypeError(fact, origin=builder.origin(), operands=(repr(value),)) from None
    readable(builder, array.dtype)
    return Symbol(builder, builder.constant(array))


def readable(builder: Builder, dtype: DType | None) -> DType:
    """The dtype of a concrete operand in native byte order.

    Raises:
        DTypeError: with the user's line, for a dtype that no graph can hold.
    """
    try:
        return supported(np.dtype(float) if dtype is None else dtype)
    except DTypeError as error:
        raise DTypeError(error.fact, origin=builder.origin(), hint=error.hint) from None


def emit(op: str, *operands: Symbol, **params: Any) -> Traced:
    """Add a node on symbols of one trace."""
    builder = operands[0].builder
    if builder.closed:
        raise leaked(operands[0])
    return Symbol(builder, builder.emit(op, *[o.id for o in operands], **params))


def cast(symbol: Symbol, dtype: Any) -> Traced:
    """The symbol in another dtype, as ``astype`` does."""
    builder = builder_of(symbol)
    return Symbol(builder, builder.cast(symbol.id, checked(builder, np.dtype(dtype))))


def checked(builder: Builder, dtype: DType) -> DType:
    """The dtype, if graphs can hold it.

    Raises:
        DTypeError: with the user's line.
    """
    try:
        return supported(dtype)
    except DTypeError as error:
        hint = "Convert with .astype(np.float32) or .astype(np.float64) first."
        raise DTypeError(
            f"the result would have dtype {dtype}, which cannot be compiled",
            origin=builder.origin(),
            hint=hint,
        ) from error


def promotion(value: Any) -> Any:
    """What NumPy's promotion needs to know of an operand: a dtype, or a Python type when weak."""
    if isinstance(value, Symbol):
        return float if value.weak else value.dtype
    if isinstance(value, bool):
        return np.dtype(bool)
    if type(value) in (int, float):
        return type(value)
    return np.asarray(value).dtype


def unify(builder: Builder, *values: Any) -> list[Traced]:
    """The operands in their common dtype, as ``np.result_type`` has it."""
    values = arrays(builder, values)
    kinds = [promotion(v) for v in values]
    try:
        dtype = np.result_type(*(kind(0) if isinstance(kind, type) else kind for kind in kinds))
    except TypeError:
        fact, shown = "the operands have no common dtype", tuple(map(described, values))
        raise DTypeError(fact, origin=builder.origin(), operands=shown) from None
    return [lift(builder, v, checked(builder, dtype)) for v in values]


def joint(builder: Builder, *values: Any) -> list[Traced]:
    """As ``unify``, where NumPy makes arrays of Python numbers, so that these count as float64."""
    whole = [lift(builder, v) for v in values]
    return unify(builder, *(Symbol(builder, s.id) for s in whole))


def arrays(builder: Builder, values: tuple[Any, ...]) -> tuple[Any, ...]:
    """The operands, with lists as the arrays that NumPy makes of them."""
    if SYMBOLS.issuperset(map(type, values)):
        return values
    for value in values:
        if isinstance(value, np.ndarray | np.generic):
            readable(builder, value.dtype)
    return tuple(lift(builder, v) if isinstance(v, list | tuple) else v for v in values)


def described(value: Any) -> Any:
    """An operand as an error shows it."""
    return value.aval if isinstance(value, Symbol) else getattr(value, "dtype", None) or repr(value)


def promoted(ufunc: Any, *operands: Any) -> list[Any]:
    """The operands as symbols of the dtypes in which NumPy's ufunc would compute."""
    builder = builder_of(*operands)
    operands = arrays(builder, operands)
    try:
        dtypes = resolve(ufunc, tuple(map(promotion, operands)))
    except TypeError:
        fact = f"{title(ufunc)} has no meaning for these dtypes"
        shown = tuple(map(described, operands))
        raise DTypeError(fact, origin=builder.origin(), operands=shown) from None
    if not NATIVE.issuperset(dtypes):
        for dtype in dtypes:
            checked(builder, dtype)
    return [lift(builder, o, d) for o, d in zip(operands, dtypes, strict=False)]


@cache
def resolve(ufunc: Any, kinds: tuple[Any, ...]) -> tuple[DType, ...]:
    """NumPy's own choice of loop: operand dtypes, then result dtypes."""
    return tuple(ufunc.resolve_dtypes((*kinds, *[None] * ufunc.nout)))


def call_ufunc(ufunc: Any, method: str, operands: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Trace ``ufunc(*operands)`` or one of its methods."""
    builder = builder_of(*operands, *kwargs.values())
    if not kwargs and method == "__call__" and ufunc in BY_UFUNC and ufunc not in FUNCTIONS:
        return apply(builder, ufunc, operands)
    options = {k: v for k, v in kwargs.items() if given(k, v)}
    if any(target is not None for target in options.pop("out", ())):
        fact = f"{title(ufunc)} was to write a traced value into an array (by out= or +=)"
        raise TraceError(fact, origin=builder.origin(), hint=OUT_HINT)
    if method != "__call__":
        return _ufunc_method(builder, ufunc, method, operands, options)
    implementation = composition(ufunc)
    if implementation is not None:
        return implementation(*operands, **options)
    if ufunc not in BY_UFUNC:
        raise missing(builder, ufunc)
    dtype = options.pop("dtype", None)
    refuse(builder, ufunc, **options)
    if dtype is None:
        return apply(builder, ufunc, operands)
    return in_dtype(builder, ufunc, operands, checked(builder, np.dtype(dtype)))


def in_dtype(builder: Builder, ufunc: Any, operands: tuple[Any, ...], dtype: DType) -> Traced:
    """A ufunc told to compute in a dtype.

    Raises:
        DTypeError: an operand that NumPy would not convert to it.
        MissingRule: a ufunc whose result has another dtype.
    """
    symbols = [lift(builder, o) for o in operands]
    for symbol in symbols:
        if not np.can_cast(symbol.dtype, dtype, "same_kind"):
            fact = f"{title(ufunc)} with dtype={dtype} takes no {symbol.dtype}"
            raise DTypeError(fact, origin=builder.origin(), operands=(symbol.aval,))
    result = apply(builder, ufunc, tuple(cast(symbol, dtype) for symbol in symbols))
    if result.dtype != dtype:
        refuse(builder, ufunc, dtype=dtype)
    return result


def apply(builder: Builder, ufunc: Any, operands: tuple[Any, ...]) -> Traced:
    """Emit the row of a ufunc on its operands, promoted as NumPy would."""
    if len(operands) != ufunc.nin:
        fact = f"{title(ufunc)} takes {ufunc.nin} operands, not {len(operands)}"
        raise TraceError(fact, origin=builder.origin(), hint=OUT_HINT)
    return emit(BY_UFUNC[ufunc].name, *promoted(ufunc, *operands))


def _ufunc_method(
    builder: Builder, ufunc: Any, method: str, operands: tuple[Any, ...], options: dict[str, Any]
) -> Any:
    if method == "reduce" and ufunc in REDUCTIONS:
        options.setdefault("axis", 0)
        return REDUCTIONS[ufunc](*operands, **options)
    if method == "accumulate" and ufunc in ACCUMULATIONS:
        options.setdefault("axis", 0)
        return ACCUMULATIONS[ufunc](*operands, **options)
    if method == "outer" and not options:
        first, second = (lift(builder, o) for o in operands)
        return ufunc(first.reshape((*first.shape, *[1] * second.ndim)), second)
    raise missing(builder, ufunc, f".{method}")


def call_function(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Trace a NumPy function that is no ufunc."""
    builder = builder_of(*args, *kwargs.values())
    implementation = FUNCTIONS.get(function)
    if implementation is None:
        raise missing(builder, function)
    try:
        return implementation(*args, **kwargs)
    except GraphJITError:
        raise
    except (TypeError, ValueError, IndexError, OverflowError) as error:
        raise TraceError(
            f"{title(function)}: {error}",
            origin=builder.origin(),
            hint="Check the arguments of the call.",
        ) from error
