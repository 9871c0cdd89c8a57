"""SciPy's special functions that a trace cannot see, for arrays and traced values alike.

``scipy.special``'s own ``logsumexp``, ``softmax`` and ``log_softmax`` are Python functions that
turn their operands into NumPy arrays first, so a traced value cannot pass through them. Its
ufuncs, such as ``expit`` and ``erf``, can: import those from SciPy.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from scipy import special

from graphjit.ir.registry import FUNCTIONS, with_scipy
from graphjit.ir.symbol import Symbol

__all__ = ["log_softmax", "logsumexp", "softmax"]


def either(function: Callable[..., Any]) -> Callable[..., Any]:
    """SciPy's function, which takes traced values too."""

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if any(isinstance(value, Symbol) for value in (*args, *kwargs.values())):
            return FUNCTIONS[function](*args, **kwargs)
        return function(*args, **kwargs)

    return call


with_scipy()
logsumexp = either(special.logsumexp)
softmax = either(special.softmax)
log_softmax = either(special.log_softmax)
