"""Gradients of plain NumPy functions, compiled to one native program.

>>> import numpy as np, graphjit
>>> slope = graphjit.grad(lambda x: np.sum(np.sin(x) ** 2))
>>> slope(np.zeros(3))
array([0., 0., 0.])
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from graphjit.garbage import uncollected

with uncollected():  # which would go through all modules several times
    from graphjit.transforms import grad, jit, value_and_grad

if TYPE_CHECKING:
    from graphjit.certificate import certify
    from graphjit.checkpoints import checkpoint, remat
    from graphjit.codegen.workers import threads
    from graphjit.control import cond, fori_loop, scan, while_loop
    from graphjit.custom import custom_jvp, custom_vjp
    from graphjit.exports import export, native
    from graphjit.symbolic import SymbolicModule
    from graphjit.testing import check_grads
    from graphjit.transforms import (
        hessian,
        hvp,
        jacfwd,
        jacobian,
        jacrev,
        jvp,
        stop_gradient,
        vjp,
        vmap,
    )

    symbolic: SymbolicModule

__version__ = "0.1.0"
__all__ = [
    "__version__",
    "certify",
    "check_grads",
    "checkpoint",
    "cond",
    "custom_jvp",
    "custom_vjp",
    "draw",
    "errors",
    "export",
    "fori_loop",
    "grad",
    "hessian",
    "hvp",
    "jacfwd",
    "jacobian",
    "jacrev",
    "jit",
    "jvp",
    "native",
    "nn",
    "remat",
    "scan",
    "sparse",
    "special",
    "stop_gradient",
    "symbolic",
    "threads",
    "train",
    "value_and_grad",
    "vjp",
    "vmap",
    "while_loop",
]

# What is loaded when it is first used: `import graphjit` stays fast.
_LAZY = {
    "certify": "graphjit.certificate",
    "check_grads": "graphjit.testing",
    "checkpoint": "graphjit.checkpoints",
    "cond": "graphjit.control",
    "custom_jvp": "graphjit.custom",
    "custom_vjp": "graphjit.custom",
    "export": "graphjit.exports",
    "fori_loop": "graphjit.control",
    "hessian": "graphjit.transforms",
    "hvp": "graphjit.transforms",
    "jacfwd": "graphjit.transforms",
    "jacobian": "graphjit.transforms",
    "jacrev": "graphjit.transforms",
    "jvp": "graphjit.transforms",
    "native": "graphjit.exports",
    "remat": "graphjit.checkpoints",
    "scan": "graphjit.control",
    "stop_gradient": "graphjit.transforms",
    "threads": "graphjit.codegen.workers",
    "vjp": "graphjit.transforms",
    "vmap": "graphjit.transforms",
    "while_loop": "graphjit.control",
}
_MODULES = ("draw", "errors", "nn", "sparse", "special", "symbolic", "train")


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"graphjit.{name}")
    if name not in _LAZY:
        message = f"module 'graphjit' has no attribute {name!r}"
        raise AttributeError(message)
    value = globals()[name] = getattr(importlib.import_module(_LAZY[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
