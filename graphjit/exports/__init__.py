"""Compiled functions outside of GraphJIT: called from elsewhere, or written to files.

>>> import numpy as np, graphjit
>>> square = graphjit.native(graphjit.grad(lambda x: x * x), (1.0,))
>>> square.signature
'int lambda_(double x, double *out)'
>>> square.numba(3.0)
6.0
"""

from __future__ import annotations

from graphjit.exports.function import NativeFunction, native
from graphjit.exports.write import Exported, export

__all__ = ["Exported", "NativeFunction", "export", "native"]
