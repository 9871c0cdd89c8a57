"""The processors that code can be exported for."""

from __future__ import annotations

import llvmlite.binding as llvm

from graphjit.codegen.native import Host, this_one
from graphjit.exports.names import unknown

# What each level of x86-64 promises: https://gitlab.com/x86-psABIs/x86-64-ABI, section 3.1.1.
LEVELS = {
    "x86-64": (16, False),
    "x86-64-v2": (16, False),
    "x86-64-v3": (32, True),
    "x86-64-v4": (64, True),
}


def processor(cpu: str) -> Host:
    """The processor of a name.

    Args:
        cpu: ``host`` is this one with all its features, ``generic`` any of its family, and
            ``x86-64-v2`` to ``-v4`` are the levels of x86-64.

    Raises:
        CompileError: there is no such processor in this family.
    """
    if cpu == "host":
        return this_one()
    intel = llvm.get_default_triple().startswith(("x86_64", "amd64"))
    if cpu == "generic":
        return Host("x86-64" if intel else "generic", "", 16, fma=not intel)
    if not intel or cpu not in LEVELS:
        raise unknown("processor", cpu, ["host", "generic", *(LEVELS if intel else ())])
    return Host(cpu, "", *LEVELS[cpu])
