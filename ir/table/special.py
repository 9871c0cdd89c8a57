"""Special functions of SciPy as maps."""

from __future__ import annotations

import numpy as np
from scipy import special

from graphjit.ir.primitive import row

TWO_OVER_SQRT_PI = float(2 / np.sqrt(np.pi))
UNIT = (0.05, 0.95)

row(
    "expit",
    "map",
    analytic=lambda e, x: 1 / (1 + e.exp(-x)),
    numpy=special.expit,
    partials=lambda y, x: (y * (1 - y),),
    latex=r"\sigma\left({0}\right)",
)
row(
    "logit",
    "map",
    analytic=lambda e, x: e.log(x / (1 - x)),
    numpy=special.logit,
    domain=UNIT,
    pole=True,
    partials=lambda y, x: (1 / (x * (1 - x)),),
    latex=r"\operatorname{{logit}} {0}",
)
row(
    "erf",
    "map",
    numpy=special.erf,
    partials=lambda y, x: (TWO_OVER_SQRT_PI * np.exp(-x * x),),
    latex=r"\operatorname{{erf}} {0}",
)
row(
    "erfc",
    "map",
    numpy=special.erfc,
    partials=lambda y, x: (-TWO_OVER_SQRT_PI * np.exp(-x * x),),
    latex=r"\operatorname{{erfc}} {0}",
)
row(
    "log_expit",
    "map",
    analytic=lambda e, x: -e.log1p(e.exp(-x)),
    numpy=special.log_expit,
    partials=lambda y, x: (special.expit(-x),),
    latex=r"\log \sigma\left({0}\right)",
)
row(
    "xlogy",
    "map",
    analytic=lambda e, a, b: a * e.log(b),
    numpy=special.xlogy,
    domain=((0.1, 3), (0.1, 3)),
    pole=True,
    partials=lambda y, a, b: (np.log(b), np.where(a == 0, 0, a / b)),
    latex=r"{0} \log {1}",
)
