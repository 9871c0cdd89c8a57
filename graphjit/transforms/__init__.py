"""Transformations of functions: compile one, differentiate one."""

from graphjit.transforms.compiled import Compiled
from graphjit.transforms.decorators import grad, jit, value_and_grad

__all__ = ["Compiled", "grad", "jit", "value_and_grad"]
