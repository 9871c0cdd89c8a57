"""Points where the formula of a derivative fails, with the derivatives that are right there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from scipy import special

import graphjit

Array = np.ndarray[Any, Any]
NAN, INF = np.nan, np.inf
E = float(np.e)
SIN, COS = float(np.sin(1)), float(np.cos(1))


class Case(NamedTuple):
    """A function of arrays at a point, its gradient and its Hessian (None: there is none).

    Both are over the elements of all arguments in turn; a Hessian of one axis is a diagonal.
    """

    name: str
    function: Callable[..., Any]
    args: tuple[Array, ...]
    gradient: Array
    hessian: Array | None

    def __str__(self) -> str:
        return self.name

    @property
    def narrow(self) -> bool:
        """Whether NumPy computes it in float32, and the point fits in."""
        with np.errstate(all="ignore"):
            args = [a.astype(np.float32) for a in self.args]
            fits = all(np.isfinite(a).all() or np.isnan(a).any() for a in args)
            return fits and bool(np.asarray(self.function(*args)).dtype == np.float32)


CASES: list[Case] = []


def case(name: str, function: Any, *args: Any, to: Any, hess: Any = None) -> None:
    """Add a point; ``to`` is the gradient there."""
    arrays = tuple(np.asarray(a, float) for a in args)
    count = sum(a.size for a in arrays)
    second = None if hess is None else np.asarray(hess, float)
    if second is not None and second.ndim < 2:
        second = np.diag(np.broadcast_to(second, count))
    CASES.append(Case(name, function, arrays, np.broadcast_to(to, count).astype(float), second))


def total(f: Any) -> Any:
    """The sum of an elementwise function."""
    return lambda *args: np.sum(f(*args))


def each(name: str, f: Any, *args: Any, to: Any, hess: Any = None) -> None:
    """Add a point of an elementwise function, summed."""
    case(name, total(f), *args, to=to, hess=hess)


# -- A1, A2: a singular branch that is not taken ---------------------------------------------------


def dead(name: str, f: Any, x: Any, *, to: Any, hess: Any, low: float = 0.0) -> None:
    """``f`` where x > low, else 0: only the last element takes the branch."""
    zeros = [0.0] * (len(x) - 1)
    each(f"where {name}", lambda v: np.where(v > low, f(v), 0), x, to=[*zeros, to],
         hess=[*zeros, hess])  # fmt: skip


dead("sqrt", np.sqrt, [0, -1, 4], to=0.25, hess=-1 / 32)
dead("cbrt", np.cbrt, [0, 8], to=1 / 12, hess=-1 / 144)
dead("log", np.log, [0, -1, 4], to=0.25, hess=-1 / 16)
dead("log2", np.log2, [0, -1, 4], to=0.25 / np.log(2), hess=-1 / 16 / np.log(2))
dead("log10", np.log10, [0, -1, 4], to=0.25 / np.log(10), hess=-1 / 16 / np.log(10))
dead("log1p", np.log1p, [-1, -2, 1], to=0.5, hess=-0.25, low=-0.5)
dead("1/x", lambda x: 1 / x, [0, 2], to=-0.25, hess=0.25)
dead("reciprocal", np.reciprocal, [0, 2], to=-0.25, hess=0.25)
dead("0/0", lambda x: np.sin(x) / x, [0, 1], to=COS - SIN, hess=SIN - 2 * COS)
dead("x log x", lambda x: x * np.log(x), [0, -1, 1], to=1, hess=1)
dead("xlogy", lambda x: special.xlogy(x, x), [0, -1, 1], to=1, hess=1)
dead("exp", lambda x: np.exp(-x), [-1000, 1], to=-1 / E, hess=1 / E)
dead("x exp x", lambda x: x * np.exp(-x), [-1000, 1], to=0, hess=-1 / E)
dead("exp of x²", lambda x: np.exp(-x) * np.exp(x**2), [-1000, 1], to=1, hess=3)
dead("sinh cosh", lambda x: np.sinh(x) * np.cosh(x), [-1000, 1], to=np.cosh(2),
     hess=2 * np.sinh(2))  # fmt: skip
dead("arcsin", lambda x: np.arcsin(1 - x), [0, -1, 0.5], to=-1 / np.sqrt(0.75),
     hess=0.5 / 0.75**1.5)  # fmt: skip
dead("arccos", lambda x: np.arccos(1 - x), [0, -1, 0.5], to=1 / np.sqrt(0.75),
     hess=-0.5 / 0.75**1.5)  # fmt: skip
dead("arccosh", np.arccosh, [1, 0, 2], to=1 / np.sqrt(3), hess=-2 / 3**1.5, low=1)
dead("arctanh", lambda x: np.arctanh(1 - x), [0, -1, 0.5], to=-4 / 3, hess=16 / 9)
dead("logit", special.logit, [0, -1, 0.25], to=16 / 3, hess=-(16**2) / 9 / 2)
dead("x**-1.5", lambda x: x**-1.5, [0, -1, 1], to=-1.5, hess=3.75)
dead("x**0.3", lambda x: x**0.3, [0, -1, 1], to=0.3, hess=-0.21)
dead("x**x", lambda x: x**x, [0, -1, 1], to=1, hess=2)
dead("x/|x|", lambda x: x / np.sqrt(x * x), [0, 1], to=0, hess=0)
dead("bump", lambda x: np.exp(-1 / x), [0, 1], to=1 / E, hess=-1 / E)
each("where x/y", lambda x, y: np.where(y != 0, x / y, 0), [0, 1, 3], [0, 2, 0],
     to=[0, 0.5, 0, 0, -0.25, 0],
     hess=0.25 * np.array([[0] * 6, [0, 0, 0, 0, -1, 0], [0] * 6, [0] * 6, [0, -1, 0, 0, 1, 0],
                           [0] * 6]))  # fmt: skip
each("where x**y", lambda x, y: np.where(x > 0, x**y, 0), [-1, 1], [2, -0.5],
     to=[0, -0.5, 0, 0],
     hess=[[0] * 4, [0, 0.75, 0, 1], [0] * 4, [0, 1, 0, 0]])  # fmt: skip
each("where arctan2", lambda x, y: np.where(x * y != 0, np.arctan2(x, y), 0), [0, 1], [0, 1],
     to=[0, 0.5, 0, -0.5], hess=[0, -0.5, 0, 0.5])  # fmt: skip
case("where x/|x| of vectors",
     lambda x: np.sum(np.where(np.sum(x * x) > 0, x / np.sqrt(np.sum(x * x)), 0)), [0, 0],
     to=0, hess=0)  # fmt: skip
MISSING, SEEN = np.array([NAN, 2.0]), np.array([False, True])
each("missing data", lambda w: np.where(SEEN, (MISSING - w) ** 2, 0), [1, 1], to=[0, -2],
     hess=[0, 2])  # fmt: skip
each("missing data weighed", lambda w: np.where(np.isnan(MISSING * w), 0, MISSING * w), [1, 1],
     to=[0, 2], hess=0)  # fmt: skip
each("an element left out", lambda x: (x * np.log(x))[1:], [0, 1], to=[0, 1], hess=[0, 1])
each("an element not picked", lambda x: (x * np.log(x))[[1, 1]], [0, 1], to=[0, 2], hess=[0, 2])
each("fmax over NaN", lambda w: np.fmax(MISSING * w, 1), [1, 1], to=[0, 2], hess=0)
each("masked by multiplying", lambda x: (x > 0) * np.sqrt(x), [0, 4], to=[0, 0.25],
     hess=[0, -1 / 32])  # fmt: skip

# -- A3: norms at 0 --------------------------------------------------------------------------------

ROWS = [[0.0, 0.0], [3.0, 4.0]]
for name, length in {
    "norm": np.linalg.norm,
    "sqrt(sum x²)": lambda x: np.sqrt(np.sum(x**2)),
    "sqrt(sum x x)": lambda x: np.sqrt(np.sum(x * x)),
    "sqrt(x @ x)": lambda x: np.sqrt(x @ x),
    "sqrt(einsum)": lambda x: np.sqrt(np.einsum("i,i->", x, x)),
    "(sum x²)**0.5": lambda x: np.sum(x**2) ** 0.5,
    "norm 3": lambda x: np.linalg.norm(x, 3),
    "hypot": lambda x: np.hypot(x[0], x[1]),
    "sum |x|": lambda x: np.linalg.norm(x, 1),
    "sqrt(sum |x|)": lambda x: np.sqrt(np.sum(abs(x))),
    "scan": lambda x: np.sqrt(graphjit.scan(lambda c, v: (c + v * v, None), 0 * x[0], x)[0]),
    "length in scan": lambda x: graphjit.scan(
        lambda c, v: (np.sqrt(c * c + v * v), None), 0 * x[0], x
    )[0],
    "root after cond": lambda x: np.sqrt(
        graphjit.cond(x[0] > -1, lambda x: np.sum(x * x), lambda x: 0 * x[0], x)
    ),
}.items():
    case(f"{name} at 0", length, [0, 0], to=0)
case("std of equal numbers", np.std, [1, 1, 1], to=0)
for name, length in {"norm": np.linalg.norm, "root": lambda x: np.sqrt(np.sum(x**2))}.items():
    case(f"{name}² at 0", lambda x, f=length: f(x) ** 2, [0, 0], to=0, hess=2)
    case(f"exp(-{name}²) at 0", lambda x, f=length: np.exp(-(f(x) ** 2)), [0, 0], to=0, hess=-2)
    case(f"{name}³ at 0", lambda x, f=length: f(x) ** 3, [0, 0], to=0, hess=0)
NORM_HESSIAN = np.full((4, 4), 0.0)
NORM_HESSIAN[:2, :2] = NAN  # of the norm at 0: there is none
NORM_HESSIAN[2:, 2:] = [[0.128, -0.096], [-0.096, 0.072]]
for name, lengths in {
    "norm(axis)": lambda x: np.linalg.norm(x, axis=1),
    "sqrt(sum(axis))": lambda x: np.sqrt(np.sum(x**2, axis=1)),
    "sqrt(einsum(axis))": lambda x: np.sqrt(np.einsum("ij,ij->i", x, x)),
    "scan over rows": lambda x: graphjit.scan(
        lambda c, v: (c + np.sqrt(np.sum(v * v)), None), 0 * x[0, 0], x
    )[0],
}.items():
    each(f"{name} with a row of zeros", lengths, ROWS, to=[0, 0, 0.6, 0.8], hess=NORM_HESSIAN)
case("distances", lambda x: np.sum(np.sqrt(np.sum((x[:, None] - x[None]) ** 2, axis=2))), ROWS,
     to=[-1.2, -1.6, 1.2, 1.6])  # fmt: skip
each("hypot with zeros", np.hypot, [0, 3], [0, 4], to=[0, 0.6, 0, 0.8])

# -- A4, A5, A6: powers ----------------------------------------------------------------------------

for exponent, first, second in ((0, 0, 0), (1, 1, 0), (2, 0, 2), (3, 0, 0), (4, 0, 0)):
    for n in (exponent, float(exponent)):
        each(f"x**{n} at 0", lambda x, n=n: x**n, [0], to=first,
             hess=second)  # fmt: skip
    each(f"power(x, {exponent}) at 0", lambda x, n=float(exponent): np.power(x, np.array([n])),
         [0], to=first, hess=second)  # fmt: skip
each("float_power(x, 2) at 0", lambda x: np.float_power(x, 2), [0], to=0, hess=2)
each("x**2.5 at 0", lambda x: x**2.5, [0], to=0, hess=0)
each("x**1.5 at 0", lambda x: x**1.5, [0], to=0, hess=INF)
each("x**y at 0, 2", np.power, [0], [2], to=[0, 0], hess=[2, 0])
each("x**y at 0, 0", np.power, [0], [0], to=[0, 0])
each("(-2)**3", lambda x: x ** np.array([3.0]), [-2], to=12, hess=-12)
each("(-2)**y", np.power, [-2], [3], to=[12, NAN])
each("x sqrt(x) at 0", lambda x: x * np.sqrt(x), [0], to=0, hess=INF)
each("x x**0.5 at 0", lambda x: x * x**0.5, [0], to=0, hess=INF)
each("sqrt(x)² at 0", lambda x: np.sqrt(x) ** 2, [0], to=1, hess=0)
each("sqrt(x²) at 0", lambda x: np.sqrt(x**2), [0], to=0)
each("sqrt(x⁴) at 0", lambda x: np.sqrt(x**4), [0], to=0, hess=2)
each("sqrt(x y)", lambda x, y: np.sqrt(x * y), [0, 4], [0, 1], to=[0, 0.25, 0, 1])
each("sqrt at 0", np.sqrt, [0], to=INF, hess=-INF)

# -- A7, A8: kinks and ties ------------------------------------------------------------------------

each("|x| at 0", abs, [0], to=0, hess=0)
each("|x|² at 0", lambda x: abs(x) ** 2, [0], to=0, hess=2)
each("x |x| at 0", lambda x: x * abs(x), [0], to=0)
each("relu at 0", lambda x: np.maximum(x, 0), [0], to=0.5, hess=0)
each("clip at its bounds", lambda x: np.clip(x, 0, 1), [0, 0.5, 1, 2], to=[0.5, 1, 0.5, 0], hess=0)
each("sign, floor, rint", lambda x: np.sign(x) + np.floor(x) + np.rint(x), [0, 1], to=0, hess=0)
each("maximum of equals", np.maximum, [1], [1], to=0.5, hess=0)
each("minimum of equals", np.minimum, [1], [1], to=0.5, hess=0)
each("fmin of equals", np.fmin, [1], [1], to=0.5, hess=0)
case("max of equals", np.max, [1, 3, 3], to=[0, 0.5, 0.5], hess=0)
case("min of equals", np.min, [1, 3, 1], to=[0.5, 0, 0.5], hess=0)
case("max² of equals", lambda x: np.max(x) ** 2, [1, 3, 3], to=[0, 3, 3])
case("peak to peak", np.ptp, [1, 3, 3], to=[-1, 0.5, 0.5], hess=0)
TIES, SHARES = [[1, 1], [2, 3]], [0.5, 0.5, 0, 1]
for name, greatest in {
    "axis": lambda x: np.max(x, axis=1),
    "keepdims": lambda x: np.max(x, axis=1, keepdims=True),
    "transposed": lambda x: np.max(x.T, axis=0),
    "reversed": lambda x: np.max(x[:, ::-1], axis=1),
    "negated": lambda x: -np.min(-x, axis=1),
    "fused": lambda x: np.max(x * 1.0 + 0 * x, axis=1),
}.items():
    each(f"ties, {name}", greatest, TIES, to=SHARES, hess=0)

# -- A9: products with zeros -----------------------------------------------------------------------

case("prod with a zero", np.prod, [2, 0, 3], to=[0, 6, 0], hess=[[0, 3, 0], [3, 0, 2], [0, 2, 0]])
case("prod with two zeros", np.prod, [0, 0, 3], to=0, hess=[[0, 3, 0], [3, 0, 0], [0, 0, 0]])
each("prod of rows", lambda x: np.prod(x, axis=1), [[2, 0, 3], [1, 1, 2]], to=[0, 6, 0, 2, 2, 1])
each("cumprod with a zero", np.cumprod, [2, 0, 3], to=[1, 8, 0],
     hess=[[0, 4, 0], [4, 0, 2], [0, 2, 0]])  # fmt: skip
each("cumprod with two zeros", np.cumprod, [0, 0, 3], to=[1, 0, 0],
     hess=[[0, 4, 0], [4, 0, 0], [0, 0, 0]])  # fmt: skip
case("geometric mean", lambda x: np.prod(x) ** (1 / 3), [1, 2, 4], to=[2 / 3, 1 / 3, 1 / 6])

# -- B1, B2, B3: where parts overflow --------------------------------------------------------------

FAR = [1000, -1000, 0]
for name, softplus in {
    "log(1 + exp)": lambda x: np.log(1 + np.exp(x)),
    "log(exp + 1)": lambda x: np.log(np.exp(x) + 1.0),
    "log1p(exp)": lambda x: np.log1p(np.exp(x)),
    "logaddexp": lambda x: np.logaddexp(0, x),
    "-log(1 / (1 + exp))": lambda x: -np.log(1 / (1 + np.exp(x))),
    "-log(1 - sigmoid)": lambda x: -np.log(1 - 1 / (1 + np.exp(-x))),
    "x - log(sigmoid)": lambda x: x - np.log(1 / (1 + np.exp(-x))),
    "where large": lambda x: np.where(x > 30, x, np.log1p(np.exp(x))),
    "logsumexp": lambda x: graphjit.special.logsumexp(np.stack([x, 0 * x]), axis=0),
}.items():
    each(f"softplus, {name}", softplus, FAR, to=[1, 0, 0.5], hess=[0, 0, 0.25])
each("softplus, max + log1p", lambda x: np.maximum(x, 0) + np.log1p(np.exp(-abs(x))), FAR[:2],
     to=[1, 0], hess=0)  # fmt: skip
each("softplus, base 2", lambda x: np.log2(1 + np.exp2(x)), [1100, -1100, 0], to=[1, 0, 0.5],
     hess=[0, 0, np.log(2) / 4])  # fmt: skip
for name, sigmoid in {
    "1 / (1 + exp)": lambda x: 1 / (1 + np.exp(-x)),
    "(1 + exp)**-1": lambda x: (1 + np.exp(-x)) ** -1,
    "reciprocal": lambda x: np.reciprocal(1 + np.exp(-x)),
    "exp / (1 + exp)": lambda x: np.exp(x) / (1 + np.exp(x)),
    "1 - sigmoid": lambda x: 1 - 1 / (1 + np.exp(x)),
    "expit": special.expit,
    "tanh": lambda x: 0.5 * (1 + np.tanh(x / 2)),
    "exp(-softplus)": lambda x: np.exp(-np.logaddexp(0, -x)),
    "exp(-log)": lambda x: np.exp(-np.log(1 + np.exp(-x))),
    "where": lambda x: np.where(x > 0, 1 / (1 + np.exp(-x)), np.exp(x) / (1 + np.exp(x))),
}.items():
    each(f"sigmoid, {name}", sigmoid, FAR, to=[0, 0, 0.25], hess=0)
for name, tanh in {
    "exp(2 x)": lambda x: (np.exp(2 * x) - 1) / (np.exp(2 * x) + 1),
    "exp(-2 x)": lambda x: (1 - np.exp(-2 * x)) / (1 + np.exp(-2 * x)),
    "exp(x), exp(-x)": lambda x: (np.exp(x) - np.exp(-x)) / (np.exp(x) + np.exp(-x)),
    "sinh / cosh": lambda x: np.sinh(x) / np.cosh(x),
    "2 sigmoid - 1": lambda x: 2 / (1 + np.exp(-2 * x)) - 1,
    "1 - 2 / (1 + exp)": lambda x: 1 - 2 / (np.exp(2 * x) + 1),
}.items():
    each(f"tanh, {name}", tanh, [400, -400, 1000, 0], to=[0, 0, 0, 1], hess=0)
each("x sigmoid(x)", lambda x: x / (1 + np.exp(-x)), FAR, to=[1, 0, 0.5], hess=[0, 0, 0.5])
each("x tanh(softplus)", lambda x: x * np.tanh(np.logaddexp(0, x)), FAR[:2], to=[1, 0], hess=0)
each("exp(-x²)", lambda x: np.exp(-(x**2)), [0, 50, 1e200], to=0, hess=[-2, 0, 0])
each("exp(-1/x²) at 0", lambda x: np.exp(-1 / x**2), [0], to=0, hess=0)
PAIR = [[0.25, -0.25], [-0.25, 0.25]]
case("logsumexp, shifted", lambda x: np.max(x) + np.log(np.sum(np.exp(x - np.max(x)))),
     [1000, 1000], to=0.5, hess=PAIR)  # fmt: skip
case("logsumexp", graphjit.special.logsumexp, [1000, 1000], to=0.5, hess=PAIR)
case(
    "logsumexp, far apart",
    graphjit.special.logsumexp,
    [1000, -1000],
    to=[1, 0],
    hess=0,
)
case(
    "logsumexp, masked",
    lambda x: graphjit.special.logsumexp(np.where(np.array([True, True, False]), x, -np.inf)),
    [1, 1, 7],
    to=[0.5, 0.5, 0],
)
each("logaddexp", np.logaddexp, [0, 0, 1000], [1000, -1000, 1000], to=[0, 1, 0.5, 1, 0, 0.5])
each("logaddexp2", np.logaddexp2, [0, 0, 2000], [2000, -2000, 2000], to=[0, 1, 0.5, 1, 0, 0.5])
case("softmax", lambda x: graphjit.special.softmax(x)[1], [1000, 1000], to=[-0.25, 0.25], hess=0)
case("exponentials that overflow", lambda x: np.log(np.sum(np.exp(x))), [1000, 0], to=NAN)

# -- B5 and the rest -------------------------------------------------------------------------------

each("expm1 near 0", np.expm1, [1e-20], to=1, hess=1)
each("log1p near 0", np.log1p, [1e-20], to=1, hess=-1)
each("cosh at -20", np.cosh, [-20], to=float(np.sinh(-20)), hess=float(np.cosh(20)))
each("sinc at 0", np.sinc, [0, 0.5], to=[0, -4 / np.pi])
each("xlogy at 0", lambda y: special.xlogy(np.zeros(1), y), [0], to=0, hess=0)
each("entropy", lambda p: -special.xlogy(p, p), [0, 1], to=[INF, -1])
each("arctan2 at 0", np.arctan2, [0], [0], to=NAN)
each("arctan2 of a zero", np.arctan2, [0, 1], [1, 0], to=[1, 0, 0, -1])
each("log below 0", np.log, [-1, 1], to=[NAN, 1])
each("sqrt below 0", np.sqrt, [-1, 1], to=[NAN, 0.5])
each("log at 0", np.log, [0], to=INF, hess=-INF)
each("0/x at 0", lambda x: 0 / x, [0], to=NAN)
each("NaN in, NaN out", lambda x: x * x, [NAN], to=NAN)
case("cond with a root", lambda x: graphjit.cond(x > 0, np.sqrt, lambda x: 0 * x, x), 0.0, to=0,
     hess=0)  # fmt: skip
case("scan with a branch",
     lambda x: graphjit.scan(
         lambda c, v: (c + np.where(v > 0, v * np.log(v), 0), None), 0 * x[0], x)[0],
     [0, -1, 1], to=[0, 0, 1], hess=[0, 0, 1])  # fmt: skip
case("fori_loop of roots",
     lambda x: graphjit.fori_loop(0, 3, lambda i, c: np.sqrt(c * c + x * x), 0 * x), 0.0,
     to=0)  # fmt: skip
