"""What the names in a formula's text mean."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphjit.ir.primitive import TABLE

SOURCES = ("input", "item", "constant", "broadcast", "contract")

# Where the text has NumPy's own form of a call, the name means NumPy's own function.
FUNCTIONS: dict[str, Any] = {
    **{name: row.numpy for name, row in TABLE.items() if name not in SOURCES},
    **{
        name: getattr(np, name)
        for name in (
            *("sum", "prod", "max", "min", "any", "all", "argmax", "argmin", "abs", "arange"),
            *("reshape", "transpose", "concatenate", "broadcast_to", "einsum", "outer"),
            *("pad", "full"),
        )
    },
    "pi": np.pi,
    "nan": np.nan,
    "inf": np.inf,
}
