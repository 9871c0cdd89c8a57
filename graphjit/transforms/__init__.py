"""Transformations of functions: compile one, differentiate one, batch one."""

from graphjit.transforms.batching import vmap
from graphjit.transforms.compiled import Compiled
from graphjit.transforms.decorators import grad, jit, value_and_grad
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
