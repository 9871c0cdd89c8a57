"""To SymPy and back, for checking."""

from __future__ import annotations

import functools
import inspect
import operator
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from scipy import special

from graphjit.errors import GraphJITError, MissingRule
from graphjit.symbolic.expression import Atom, Call, Let, Product, Sum, operands
from graphjit.symbolic.numbers import Number
from graphjit.symbolic.pool import Pool

INSTALL = "Install it with: pip install 'graphjit[symbolic]'."
# Functions with the same name, arguments and meaning in SymPy.
SAME = ("sin", "cos", "tan", "sinh", "cosh", "tanh", "sign", "exp", "erf", "erfc", "log")
RENAMED = {
    "absolute": "Abs", "fabs": "Abs", "arcsin": "asin", "arccos": "acos", "arctan": "atan",
    "arctan2": "atan2", "arcsinh": "asinh", "arccosh": "acosh", "arctanh": "atanh",
    "floor": "floor", "ceil": "ceiling", "maximum": "Max", "minimum": "Min", "fmax": "Max",
    "fmin": "Min", "heaviside": "Heaviside", "less": "Lt", "less_equal": "Le", "greater": "Gt",
    "greater_equal": "Ge", "equal": "Eq", "not_equal": "Ne", "logical_and": "And",
    "logical_or": "Or", "logical_not": "Not", "logical_xor": "Xor", "power": "Pow",
    "remainder": "Mod",
}  # fmt: skip


def sympy_module() -> Any:
    """SymPy.

    Raises:
        GraphJITError: it is not installed.
    """
    try:
        import sympy
    except ImportError:
        raise GraphJITError("SymPy is not installed", hint=INSTALL) from None
    return sympy


def to_sympy(pool: Pool, roots: Sequence[int]) -> list[Any]:
    """Expressions as SymPy has them; names are real symbols, an array's is one of its elements.

    Raises:
        MissingRule: SymPy has no such operation, or it is one of whole arrays.
    """
    sympy = sympy_module()
    rules = meanings(sympy)
    needed, stack = set[int](), list(roots)
    while stack:
        ident = stack.pop()
        if ident not in needed:
            needed.add(ident)
            stack += operands(pool.items[ident])
    made: dict[int, Any] = {}
    for ident in sorted(needed):
        made[ident] = converted(sympy, rules, pool.items[ident], made)
    return [made[root] for root in roots]


def converted(sympy: Any, rules: dict[str, Any], item: Any, made: dict[int, Any]) -> Any:
    """One expression, from its operands."""
    match item:
        case Atom("pi"):
            return sympy.pi
        case Atom(name):
            return rules.get(name, sympy.Symbol(name, real=True))
        case Let(value):
            return made[value]
        case Sum(terms):
            return sympy.Add(*(to_number(sympy, c) * made[i] for c, i in terms))
        case Product(factors):
            return sympy.Mul(*(made[b] ** to_number(sympy, e) for b, e in factors))
        case Call(op, inputs):
            if op not in rules:
                raise MissingRule(
                    f"{op} has no counterpart in SymPy",
                    hint="Conversion is for formulas of numbers, not of whole arrays.",
                )
            return rules[op](*(made[i] for i in inputs))
    raise AssertionError


def to_number(sympy: Any, number: Number) -> Any:
    """A number, exact where it is."""
    if isinstance(number, Fraction):
        return sympy.Rational(number.numerator, number.denominator)
    return sympy.Float(number)


def meanings(sympy: Any) -> dict[str, Any]:
    """What each operation is in SymPy."""
    one = sympy.Integer(1)
    return {
        **{name: getattr(sympy, name) for name in SAME},
        **{name: getattr(sympy, other) for name, other in RENAMED.items()},
        "True": sympy.true,
        "False": sympy.false,
        "nan": sympy.nan,
        "inf": sympy.oo,
        "cbrt": lambda x: sympy.sign(x) * sympy.Abs(x) ** sympy.Rational(1, 3),
        "exp2": lambda x: 2**x,
        "expm1": lambda x: sympy.exp(x) - 1,
        "log1p": lambda x: sympy.log(1 + x),
        "log2": lambda x: sympy.log(x) / sympy.log(2),
        "log10": lambda x: sympy.log(x) / sympy.log(10),
        "logaddexp": lambda a, b: sympy.log(sympy.exp(a) + sympy.exp(b)),
        "logaddexp2": lambda a, b: sympy.log(2**a + 2**b) / sympy.log(2),
        "expit": lambda x: one / (1 + sympy.exp(-x)),
        "logit": lambda x: sympy.log(x / (1 - x)),
        "log_expit": lambda x: -sympy.log(1 + sympy.exp(-x)),
        "xlogy": lambda a, b: a * sympy.log(b),
        "where": lambda c, a, b: sympy.Piecewise((a, c), (b, True)),
        "trunc": lambda x: sympy.sign(x) * sympy.floor(sympy.Abs(x)),
    }


# -- the way back ---------------------------------------------------------------------------------

NUMPY: dict[str, Callable[..., Any]] = {
    "Add": lambda *xs: functools.reduce(operator.add, xs),
    "Mul": lambda *xs: functools.reduce(operator.mul, xs),
    "Pow": lambda a, b: np.sqrt(a) if isinstance(b, float) and b == 0.5 else a**b,
    "Max": lambda *xs: functools.reduce(np.maximum, xs),
    "Min": lambda *xs: functools.reduce(np.minimum, xs),
    "And": lambda *xs: functools.reduce(np.logical_and, xs),
    "Or": lambda *xs: functools.reduce(np.logical_or, xs),
    "Not": np.logical_not,
    "Abs": np.abs,
    "asin": np.arcsin,
    "acos": np.arccos,
    "atan": np.arctan,
    "atan2": np.arctan2,
    "asinh": np.arcsinh,
    "acosh": np.arccosh,
    "atanh": np.arctanh,
    "ceiling": np.ceil,
    "floor": np.floor,
    "erf": special.erf,
    "erfc": special.erfc,
    "Mod": np.remainder,
    "Heaviside": lambda x, half=0.5: np.where(x == 0, half, np.where(x > 0, 1.0, 0.0)),
    "StrictLessThan": np.less,
    "LessThan": np.less_equal,
    "StrictGreaterThan": np.greater,
    "GreaterThan": np.greater_equal,
    "Equality": np.equal,
    "Unequality": np.not_equal,
    "ExprCondPair": lambda value, condition: (value, condition),
    "Piecewise": lambda *pairs: chosen(pairs),
    **{name: getattr(np, name) for name in ("sin", "cos", "tan", "sinh", "cosh", "tanh")},
    **{name: getattr(np, name) for name in ("exp", "log", "sign")},
}


def chosen(pairs: Sequence[tuple[Any, Any]]) -> Any:
    """The value of the first condition that holds, NaN if none does."""
    result: Any = np.nan
    for value, condition in reversed(pairs):
        result = value if condition is True else np.where(condition, value, result)
    return result


def from_sympy(expr: Any, symbols: Any) -> Callable[..., Any]:
    """A SymPy expression as a NumPy function, which can be traced, differentiated and compiled.

    >>> import sympy
    >>> x, z = sympy.symbols("x z")
    >>> print(from_sympy(x * sympy.exp(z) + sympy.Rational(1, 2), (x, z))(2.0, 0.0))
    2.5

    Args:
        expr: The expression. Equal parts of it are computed once.
        symbols: The symbols in the order of the function's parameters; or the only one.

    Raises:
        MissingRule: the expression holds a function that has no counterpart in NumPy.
        GraphJITError: it holds a symbol that is no parameter.
    """
    sympy = sympy_module()
    parameters = tuple(symbols) if isinstance(symbols, Sequence) else (symbols,)
    expr = sympy.sympify(expr)
    missing = expr.free_symbols - set(parameters)
    if missing:
        names = ", ".join(sorted(map(str, missing)))
        raise GraphJITError(f"the expression holds {names}, which is no parameter")
    steps = [step(sympy, node) for node in operands_first(expr) if node not in parameters]

    def function(*args: Any) -> Any:
        values = dict(zip(parameters, args, strict=True))
        for node, meaning, inputs in steps:
            values[node] = meaning(*(values[i] for i in inputs))
        return values[expr]

    function.__signature__ = signature(parameters)  # type: ignore[attr-defined]
    return function


def signature(symbols: Sequence[Any]) -> inspect.Signature:
    """Parameters called like the symbols, as far as those are names in Python."""
    names = [str(s) if str(s).isidentifier() else f"x{i}" for i, s in enumerate(symbols)]
    kind = inspect.Parameter.POSITIONAL_ONLY
    return inspect.Signature([inspect.Parameter(name, kind) for name in names])


def step(sympy: Any, node: Any) -> tuple[Any, Callable[..., Any], tuple[Any, ...]]:
    """A part of an expression, what it means in NumPy, and its operands."""
    if not node.args:
        value = constant(sympy, node)
        return node, lambda: value, ()
    name = type(node).__name__
    if name not in NUMPY:
        raise MissingRule(f"SymPy's {name} has no counterpart in NumPy here", operands=(node,))
    return node, NUMPY[name], node.args


def constant(sympy: Any, node: Any) -> Any:
    """A number of Python: whole numbers stay ints, so that powers of them are exact."""
    if node in (sympy.true, sympy.false):
        return bool(node)
    if node.is_Integer:
        return int(node)
    return float(node)


def operands_first(expr: Any) -> list[Any]:
    """All parts of an expression, each once and after its own parts."""
    order, seen, stack = list[Any](), set[Any](), [(expr, False)]
    while stack:
        node, done = stack.pop()
        if done:
            order.append(node)
        elif node not in seen:
            seen.add(node)
            stack.append((node, True))
            stack += [(part, False) for part in node.args]
    return order
