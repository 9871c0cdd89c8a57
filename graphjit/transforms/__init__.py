"""Transformations of functions: compile one, differentiate one, batch one.

Those that only some programs use are imported when they are first asked for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from graphjit.transforms.compiled import Compiled
from graphjit.transforms.decorators import grad, jit, value_and_grad

if TYPE_CHECKING:
    from graphjit.transforms.batching import vmap
    from graphjit.transforms.forward import jvp
    from graphjit.transforms.hessians import hessian, hvp
    from graphjit.transforms.jacobians import jacfwd, jacobian, jacrev
    from graphjit.transforms.reverse import vjp
    from graphjit.transforms.stop import stop_gradient

__all__ = [
    "Compiled",
    "grad",
    "hessian",
    "hvp",
    "jacfwd",
    "jacobian",
    "jacrev",
    "jit",
    "jvp",
    "stop_gradient",
    "value_and_grad",
    "vjp",
    "vmap",
]

HOMES = {
    "hessian": "hessians",
    "hvp": "hessians",
    "jacfwd": "jacobians",
    "jacobian": "jacobians",
    "jacrev": "jacobians",
    "jvp": "forward",
    "stop_gradient": "stop",
    "vjp": "reverse",
    "vmap": "batching",
}


def __getattr__(name: str) -> Any:
    if name not in HOMES:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    home = importlib.import_module(f"graphjit.transforms.{HOMES[name]}")
    value = globals()[name] = getattr(home, name)
    return value
