"""Maps: one row an elementwise operation, with its partial derivatives.

Rules are NumPy expressions of the result ``y`` and the operands. Where a rule is left out, the
scalar operation has the row's name; where ``partials`` is left out, the operation is flat
(piecewise constant), and its derivative is zero.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from graphjit.ir.aval import Aval
from graphjit.ir.primitive import row
from graphjit.ir.table.rules import apply_row

LN2, LN10 = float(np.log(2.0)), float(np.log(10.0))
POSITIVE = (0.1, 3.0)


def boolean(*operands: Aval, **_: Any) -> Aval:
    """The aval of a comparison."""
    return Aval(operands[0].shape, np.dtype(bool))


def converted(x: Aval, dtype: Any) -> Aval:
    """The aval in another dtype."""
    return Aval(x.shape, np.dtype(dtype))


# -- arithmetic ------------------------------------------------------------------------------

row("add", "map", numpy=np.add, partials=lambda y, a, b: (1, 1), latex="{0} + {1}")
row("subtract", "map", numpy=np.subtract, partials=lambda y, a, b: (1, -1), latex="{0} - {1}")
row("multiply", "map", numpy=np.multiply, partials=lambda y, a, b: (b, a), latex="{0} {1}")
row(
    "divide",
    "map",
    numpy=np.true_divide,
    domain=((-3, 3), POSITIVE),
    pole=True,
    partials=lambda y, a, b: (1 / b, (-y, 1 / b)),
    latex=r"\frac{{{0}}}{{{1}}}",
)
row("negative", "map", numpy=np.negative, partials=lambda y, x: (-1,), latex="-{0}")
row(
    "positive",
    "map",
    numpy=np.positive,
    partials=lambda y, x: (1,),
    scalar=lambda k, x: x,
    latex="{0}",
)
row(
    "stop_gradient",
    "map",
    numpy=lambda x: x,
    scalar=lambda k, x: x,
    latex=r"\operatorname{{sg}}\left({0}\right)",
)
row(
    "reciprocal",
    "map",
    analytic=lambda e, x: 1 / x,
    numpy=np.reciprocal,
    domain=POSITIVE,
    pole=True,
    partials=lambda y, x: ((y, -y),),
    latex=r"\frac{{1}}{{{0}}}",
)
row(
    "square",
    "map",
    numpy=np.square,
    partials=lambda y, x: (2 * x,),
    scalar=lambda k, x: k.multiply(x, x),
    latex="{0}^2",
)
row(
    "power",
    "map",
    numpy=np.power,
    domain=(POSITIVE, (-3, 3)),
    pole=True,
    branch=True,
    partials=lambda y, a, b: (
        np.where(b == 0, 0, b * a ** (b - 1)),
        np.where(a == 0, 0, y * np.log(np.where(a == 0, 1, a))),
    ),
    latex="{0}^{{{1}}}",
    text="{0}**{1}",
)
row(
    "strong_multiply",
    "map",
    analytic=False,
    numpy=lambda a, b: np.where((a == 0) | (b == 0), np.zeros_like(a), a * b),
    partials=lambda y, a, b: (b, a),
    scalar=lambda k, a, b: k.strong_multiply(a, b),
    pole=True,
    branch=True,
    latex="{0} {1}",
)
row(
    "floor_divide",
    "map",
    numpy=np.floor_divide,
    domain=((-3, 3), POSITIVE),
    latex=r"\left\lfloor {0} / {1} \right\rfloor",
)
row(
    "remainder",
    "map",
    analytic=False,
    numpy=np.remainder,
    domain=((-3, 3), POSITIVE),
    partials=lambda y, a, b: (1, -np.floor_divide(a, b)),
    latex=r"\operatorname{{mod}}\left({0}, {1}\right)",
)
row(
    "fmod",
    "map",
    analytic=False,
    numpy=np.fmod,
    domain=((-3, 3), POSITIVE),
    partials=lambda y, a, b: (1, -np.trunc(a / b)),
)

# -- signs, rounding, extrema: at a kink the subgradient is the mean of both sides -----------------

row(
    "absolute",
    "map",
    analytic=False,
    numpy=np.absolute,
    partials=lambda y, x: (np.sign(x),),
    latex=r"\left|{0}\right|",
    text="abs({0})",
)
row(
    "fabs",
    "map",
    analytic=False,
    numpy=np.fabs,
    partials=lambda y, x: (np.sign(x),),
    scalar=lambda k, x: k.absolute(x),
    latex=r"\left|{0}\right|",
)
row("sign", "map", numpy=np.sign, latex=r"\operatorname{{sign}}\left({0}\right)")
row("floor", "map", numpy=np.floor, latex=r"\left\lfloor {0} \right\rfloor")
row("ceil", "map", numpy=np.ceil, latex=r"\left\lceil {0} \right\rceil")
for flat in (np.trunc, np.rint):
    row(flat.__name__, "map", numpy=flat)
row(
    "copysign",
    "map",
    analytic=False,
    numpy=np.copysign,
    partials=lambda y, a, b: (np.copysign(1, a) * np.copysign(1, b), 0),
)
row("heaviside", "map", numpy=np.heaviside)


def share(y: Any, a: Any, b: Any) -> tuple[Any, Any]:
    """The weights of the operand that won, NaN over numbers; a tie is split evenly."""
    return split((a == y) | np.isnan(a), y, a, b)


def share_numbers(y: Any, a: Any, b: Any) -> tuple[Any, Any]:
    """The same where numbers win over NaN."""
    return split(a == y, y, a, b)


def split(first: Any, y: Any, a: Any, b: Any) -> tuple[Any, Any]:
    """One for the winner, which ``first`` says is a; a half each where they are equal."""
    tie, won = 0.5 * (a == b).astype(y.dtype), first.astype(y.dtype)
    return np.where(a == b, tie, won), np.where(a == b, tie, 1 - won)


for extremum in (np.maximum, np.minimum):
    short = rf"\{extremum.__name__[:3]}\left({{0}}, {{1}}\right)"
    row(extremum.__name__, "map", numpy=extremum, analytic=False, partials=share, latex=short)
for tolerant in (np.fmax, np.fmin):
    row(
        tolerant.__name__,
        "map",
        numpy=tolerant,
        analytic=False,
        partials=share_numbers,
        pole=True,
        drops=True,
    )

# -- powers, exponentials, logarithms -----------------------------------------------------------


def slope(partial: Any) -> Any:
    """A slope that is positive wherever there is one, and NaN elsewhere.

    It vanishes only at infinity, where the value is infinite too, so that a zero would pass for
    independence; and it is negative only outside the domain, where the value is NaN.
    """
    return np.where(partial <= 0, np.nan, partial)


row(
    "sqrt",
    "map",
    numpy=np.sqrt,
    domain=POSITIVE,
    pole=True,
    branch=True,
    partials=lambda y, x: (slope(0.5 / y),),
    latex=r"\sqrt{{{0}}}",
)
row(
    "cbrt",
    "map",
    analytic=lambda e, x: e.exp(e.log(x) / 3),
    numpy=np.cbrt,
    domain=POSITIVE,
    pole=True,
    branch=True,
    partials=lambda y, x: (slope(1 / (3 * y * y)),),
    latex=r"\sqrt[3]{{{0}}}",
)
row("exp", "map", numpy=np.exp, partials=lambda y, x: (y,), pole=True, latex=r"e^{{{0}}}")
row(
    "exp2",
    "map",
    analytic=lambda e, x: e.exp(e.log(2) * x),
    numpy=np.exp2,
    partials=lambda y, x: (LN2 * y,),
    pole=True,
    latex="2^{{{0}}}",
)
row(
    "expm1",
    "map",
    numpy=np.expm1,
    partials=lambda y, x: (np.exp(x),),
    pole=True,
    latex="e^{{{0}}} - 1",
)
row(
    "log",
    "map",
    numpy=np.log,
    domain=POSITIVE,
    pole=True,
    partials=lambda y, x: (slope(1 / x),),
    latex=r"\log {0}",
)
row(
    "log2",
    "map",
    analytic=lambda e, x: e.log(x) / e.log(2),
    numpy=np.log2,
    domain=POSITIVE,
    pole=True,
    partials=lambda y, x: (slope(1 / (LN2 * x)),),
    latex=r"\log_2 {0}",
)
row(
    "log10",
    "map",
    numpy=np.log10,
    domain=POSITIVE,
    pole=True,
    partials=lambda y, x: (slope(1 / (LN10 * x)),),
    latex=r"\log_{{10}} {0}",
)
row(
    "log1p",
    "map",
    numpy=np.log1p,
    domain=(-0.9, 3),
    pole=True,
    partials=lambda y, x: (slope(1 / (1 + x)),),
    latex=r"\log\left(1 + {0}\right)",
)


def gap(a: Any, b: Any) -> Any:
    """The gap a - b, but 0 between equal infinities (its derivative must be 1 elsewhere)."""
    return np.where((a == b) & np.isinf(a), 0, a - b)


def binary_weight(y: Any, x: Any) -> Any:
    """2**(x - y), right also where both are the same infinity."""
    return np.exp2(gap(x, y))


def logistic(x: Any) -> Any:
    """1 / (1 + e⁻ˣ), by its own row."""
    return apply_row("expit", x)


row(
    "logaddexp",
    "map",
    analytic=lambda e, a, b: a + e.log1p(e.exp(b - a)),
    numpy=np.logaddexp,
    scalar=lambda k, a, b: k.logaddexp(a, b),
    partials=lambda y, a, b: (logistic(gap(a, b)), logistic(-gap(a, b))),
    latex=r"\log\left(e^{{{0}}} + e^{{{1}}}\right)",
)
row(
    "logaddexp2",
    "map",
    analytic=lambda e, a, b: a + e.log1p(e.exp(e.log(2) * (b - a))) / e.log(2),
    numpy=np.logaddexp2,
    partials=lambda y, a, b: (binary_weight(y, a), binary_weight(y, b)),
)

# -- trigonometric and hyperbolic functions and their inverses ----------------------------------

row("sin", "map", numpy=np.sin, partials=lambda y, x: (np.cos(x),), latex=r"\sin {0}")
row("cos", "map", numpy=np.cos, partials=lambda y, x: (-np.sin(x),), latex=r"\cos {0}")
row(
    "tan",
    "map",
    numpy=np.tan,
    domain=(-1, 1),
    partials=lambda y, x: (1 + y * y,),
    latex=r"\tan {0}",
)
row(
    "arcsin",
    "map",
    numpy=np.arcsin,
    domain=(-0.9, 0.9),
    pole=True,
    branch=True,
    partials=lambda y, x: (1 / np.sqrt((1 - x) * (1 + x)),),
    latex=r"\arcsin {0}",
)
row(
    "arccos",
    "map",
    numpy=np.arccos,
    domain=(-0.9, 0.9),
    pole=True,
    branch=True,
    partials=lambda y, x: (-1 / np.sqrt((1 - x) * (1 + x)),),
    latex=r"\arccos {0}",
)
row(
    "arctan", "map", numpy=np.arctan, partials=lambda y, x: (1 / (1 + x * x),), latex=r"\arctan {0}"
)
row(
    "sinh",
    "map",
    numpy=np.sinh,
    pole=True,
    partials=lambda y, x: (np.cosh(x),),
    latex=r"\sinh {0}",
)
row(
    "cosh",
    "map",
    numpy=np.cosh,
    pole=True,
    partials=lambda y, x: (np.sinh(x),),
    latex=r"\cosh {0}",
)
row("tanh", "map", numpy=np.tanh, partials=lambda y, x: (1 - y * y,), latex=r"\tanh {0}")
row(
    "arcsinh",
    "map",
    numpy=np.arcsinh,
    partials=lambda y, x: (slope(1 / np.hypot(1, x)),),
    latex=r"\operatorname{{arsinh}} {0}",
)
row(
    "arccosh",
    "map",
    numpy=np.arccosh,
    domain=(1.1, 4),
    pole=True,
    branch=True,
    partials=lambda y, x: (slope(1 / np.sqrt((x - 1) * (x + 1))),),
    latex=r"\operatorname{{arcosh}} {0}",
)
row(
    "arctanh",
    "map",
    numpy=np.arctanh,
    domain=(-0.9, 0.9),
    pole=True,
    partials=lambda y, x: (1 / ((1 - x) * (1 + x)),),
    latex=r"\operatorname{{artanh}} {0}",
)


def turned(a: Any, b: Any, radius: Any) -> tuple[Any, Any]:
    """The angle's slopes b / r² and -a / r², as factors that need no square."""
    return (1 / radius, b / radius), (1 / radius, -a / radius)


row(
    "arctan2",
    "map",
    analytic=lambda e, a, b: 2 * e.arctan(a / (b + e.sqrt(a * a + b * b))),
    numpy=np.arctan2,
    pole=True,
    domain=(POSITIVE, (-3, 3)),
    partials=lambda y, a, b: turned(a, b, np.hypot(a, b)),
    latex=r"\operatorname{{atan2}}\left({0}, {1}\right)",
)


def unit(y: Any, x: Any) -> Any:
    """X / y, and 0 where the length y is 0."""
    return np.where(y == 0, 0, x / np.where(y == 0, 1, y))


row(
    "hypot",
    "map",
    analytic=lambda e, a, b: e.sqrt(a * a + b * b),
    numpy=np.hypot,
    pole=True,
    partials=lambda y, a, b: (unit(y, a), unit(y, b)),
    latex=r"\sqrt{{{0}^2 + {1}^2}}",
)

# -- comparisons, logic, bits: flat -----------------------------------------------------------

for compare, sign, python in (
    (np.less, "<", "<"), (np.less_equal, r"\leq", "<="), (np.greater, ">", ">"),
    (np.greater_equal, r"\geq", ">="), (np.equal, "=", "=="), (np.not_equal, r"\neq", "!="),
):  # fmt: skip
    row(
        compare.__name__, "map", numpy=compare, aval=boolean,
        latex=f"{{0}} {sign} {{1}}", text=f"{{0}} {python} {{1}}",
    )  # fmt: skip
for test in (np.isnan, np.isinf, np.isfinite, np.signbit):
    row(test.__name__, "map", numpy=test, aval=boolean)
for logic, latex in (
    (np.logical_and, r"{0} \wedge {1}"), (np.logical_or, r"{0} \vee {1}"),
    (np.logical_xor, r"{0} \oplus {1}"), (np.logical_not, r"\neg {0}"),
):  # fmt: skip
    row(logic.__name__, "map", numpy=logic, aval=boolean, latex=latex)
for bits in (
    np.bitwise_and,
    np.bitwise_or,
    np.bitwise_xor,
    np.invert,
    np.left_shift,
    np.right_shift,
):
    row(bits.__name__, "map", numpy=bits)

# -- choice and conversion ----------------------------------------------------------------------

row(
    "where",
    "map",
    numpy=np.where,
    drops=True,
    scalar=lambda k, c, a, b: k.select(c, a, b),
    transpose=lambda ct, c, a, b: (None, np.where(c, ct, 0), np.where(c, 0, ct)),
    latex=r"\begin{{cases}} {1} & {0} \\ {2} & \mathrm{{otherwise}} \end{{cases}}",
)
row(
    "cast",
    "map",
    analytic=lambda e, x, dtype: x,
    numpy=lambda x, dtype: x.astype(dtype),
    aval=converted,
    scalar=lambda k, x, dtype: k.cast(x, dtype),
    transpose=lambda ct, x, dtype: (ct.astype(x.dtype),),
    latex="{0}",
)
