"""Special functions of SciPy as maps."""

from __future__ import annotations

import numpy as np

from graphjit.ir.primitive import SciPyUfunc, row
from graphjit.ir.table.rules import apply_row

TWO_OVER_SQRT_PI = float(2 / np.sqrt(np.pi))
UNIT = (0.05, 0.95)
POLYGAMMA = SciPyUfunc("polygamma")

row(
    "expit",
    "map",
    analytic=lambda e, x: 1 / (1 + e.exp(-x)),
    numpy=SciPyUfunc("expit"),
    partials=lambda y, x: (y * (1 - y),),
    latex=r"\sigma\left({0}\right)",
)
row(
    "logit",
    "map",
    analytic=lambda e, x: e.log(x / (1 - x)),
    numpy=SciPyUfunc("logit"),
    domain=UNIT,
    pole=True,
    partials=lambda y, x: (1 / (x * (1 - x)),),
    latex=r"\operatorname{{logit}} {0}",
)
row(
    "erf",
    "map",
    numpy=SciPyUfunc("erf"),
    partials=lambda y, x: (TWO_OVER_SQRT_PI * np.exp(-x * x),),
    latex=r"\operatorname{{erf}} {0}",
)
row(
    "erfc",
    "map",
    numpy=SciPyUfunc("erfc"),
    partials=lambda y, x: (-TWO_OVER_SQRT_PI * np.exp(-x * x),),
    latex=r"\operatorname{{erfc}} {0}",
)
row(
    "gammaln",
    "map",
    analytic=False,
    numpy=SciPyUfunc("gammaln"),
    domain=(0.3, 4),
    pole=True,
    partials=lambda y, x: (apply_row("digamma", x),),
    latex=r"\log \left|\Gamma\left({0}\right)\right|",
)
row(
    "digamma",
    "map",
    numpy=SciPyUfunc("digamma"),
    domain=(0.3, 4),
    pole=True,
    partials=lambda y, x: (apply_row("polygamma", x, order=1),),
    latex=r"\psi\left({0}\right)",
)
# Each order's derivative is the next order, so one row has all that gammaln leads to.
row(
    "polygamma",
    "map",
    analytic=False,
    numpy=lambda x, order: POLYGAMMA(order, x).astype(x.dtype),
    domain=(0.3, 4),
    pole=True,
    scalar=lambda k, x, order: k.polygamma(x, order),
    partials=lambda y, x, order: (apply_row("polygamma", x, order=order + 1),),
)
row(
    "log_expit",
    "map",
    analytic=lambda e, x: -e.log1p(e.exp(-x)),
    numpy=SciPyUfunc("log_expit"),
    partials=lambda y, x: (apply_row("expit", -x),),
    latex=r"\log \sigma\left({0}\right)",
)
row(
    "xlogy",
    "map",
    analytic=lambda e, a, b: a * e.log(b),
    numpy=SciPyUfunc("xlogy"),
    domain=((0.1, 3), (0.1, 3)),
    pole=True,
    partials=lambda y, a, b: (np.log(b), np.where(a == 0, 0, a / b)),
    latex=r"{0} \log {1}",
)
