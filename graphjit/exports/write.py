"""A compiled function as files: a Python module, and object code with a header for C."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from graphjit.codegen.loops import (
    LoopProgram,
    Tape,
)
from graphjit.codegen.native import host, made_for, object_file
from graphjit.codegen.render_llvm import Rendered
from graphjit.codegen.walks import walk
from graphjit.errors import CompileError
from graphjit.exports.declare import header
from graphjit.exports.entry import plain, render
from graphjit.exports.form import Form, form_of
from graphjit.exports.loops import dense, none, written_by_us
from graphjit.exports.names import checked_name, unknown
from graphjit.exports.processors import processor
from graphjit.exports.render_module import render_module
from graphjit.tracing.origin import user_line

FORMS = {"py": ("py",), "object": ("o", "h")}
CBLAS = re.compile(r"^declare void @graphjit_(\w+)\((.*)\)$", re.MULTILINE)


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        module: The Python file, or None.
        object: The object code, or None.
        header: The header for C, or None.
        signature: The function as C declares it.
    """

    module: Path | None
    object: Path | None
    header: Path | None
    signature: str


def export(
    f: Callable[..., Any], args: Sequence[Any], name: str, folder: str | Path = ".", *,
    kwargs: Mapping[str, Any] | None = None, forms: Sequence[str] = ("py", "object"),
    cpu: str = "host", blas: bool = False,
) -> Exported:  # fmt: skip
    """Write a function as files that need no GraphJIT.

    ``name.py`` needs NumPy and Numba; ``name.o`` and ``name.h`` need a C compiler or linker and the
    C library, with its mathematics (``-lm``). The function takes the traced leaves of the
    arguments as arrays, and numbers where their shape is (), and gives the leaves of the result.
    Arrays that the function has from elsewhere are written into the files, as they are now.

    Args:
        f: A NumPy function, or one that ``jit``, ``grad`` and the like return.
        args: The positional arguments that it is to be compiled for, as a tuple.
        name: What the function and the files are called.
        folder: Where the files go; those of the same names are replaced.
        kwargs: The arguments by name.
        forms: ``"py"``, ``"object"`` or both.
        cpu: The processor that the object code is for: ``"host"``, ``"generic"`` or a level of
            x86-64, as ``"x86-64-v3"``.
        blas: Whether large matrix products call a BLAS: ``np.dot`` in Python, which needs SciPy
            then, and ``cblas_dgemm`` and the like in the object code, which is to be linked with a
            BLAS of 32-bit integers. Otherwise they are code of the file's own.

    Returns:
        Where the files are.

    Raises:
        CompileError: a name, form or processor that cannot be, a folder that cannot be written, or
            a result that is no container of arrays.
        TraceError: ``args`` is no tuple, or nothing of the result is computed.
        GraphJITError: the function cannot be traced or differentiated.
    """
    checked_name(name)
    forms = (forms,) if isinstance(forms, str) else forms
    for kind in forms:
        if kind not in FORMS:
            raise unknown("form", kind, FORMS)
    target = processor(cpu)
    form, files = form_of(f, args, kwargs or {}), {}
    if "py" in forms:
        files["py"] = render_module(form.plain(dense if blas else none), name).encode()
    text = ""
    if "object" in forms:
        with made_for(target):
            files["o"], files["h"], text = object_files(form, name, cpu, blas=blas)
    paths = written(Path(folder), name, files)
    return Exported(paths.get("py"), paths.get("o"), paths.get("h"), text)


def object_files(form: Form, name: str, cpu: str, *, blas: bool) -> tuple[bytes, bytes, str]:
    """The object code, the header, and the function as C declares it."""
    chosen = form if blas else form.plain(written_by_us)
    entries = [plain(chosen, name), plain(chosen, f"{name}_on", work=True)]
    rendered = render(chosen, entries, by_address=False, blas=blas)
    text, routines = standard_blas(rendered)
    about = [f"Made for {host().cpu}; cpu={cpu!r}. Link with -lm."]
    if routines:
        about += [f"It calls {', '.join(routines)}, of a BLAS of 32-bit integers: link with that."]
    top = header(chosen, name, about, tapes=has_tapes(chosen.program))
    content = object_file(text, passes="always-inliner")
    return content, top.encode(), declaration_in(top, name)


def declaration_in(top: str, name: str) -> str:
    """The line of the header that declares the function."""
    found = re.search(rf"^int {name}\([^;]*;", top, re.MULTILINE)
    return re.sub(r"\s+", " ", found[0]) if found else ""


def has_tapes(program: LoopProgram) -> bool:
    """Whether a program allocates memory for loops of unknown length."""
    return any(isinstance(s, Tape) for k in program.kernels for s in walk(k.statements))


def standard_blas(rendered: Rendered) -> tuple[str, list[str]]:
    """The text with calls of the routines by their standard names, and these names."""
    routines: list[str] = []

    def forwarded(match: re.Match[str]) -> str:
        routines.append(f"cblas_{match[1]}")
        return forwarding(match[1], match[2].split(", "))

    return CBLAS.sub(forwarded, rendered.text), routines


def forwarding(routine: str, kinds: Sequence[str]) -> str:
    """A function that calls a routine of a BLAS with integers of 32 bits."""
    narrow = ["i32" if kind == "i64" else kind for kind in kinds]
    lines = [f"  %n{i} = trunc i64 %a{i} to i32" for i, kind in enumerate(kinds) if kind == "i64"]
    given = [f"i32 %n{i}" if kind == "i64" else f"{kind} %a{i}" for i, kind in enumerate(kinds)]
    head = ", ".join(f"{kind} %a{i}" for i, kind in enumerate(kinds))
    return "\n".join(
        [
            f"declare void @cblas_{routine}({', '.join(narrow)})",
            f"define internal void @graphjit_{routine}({head}) alwaysinline {{",
            *lines,
            f"  call void @cblas_{routine}({', '.join(given)})",
            "  ret void",
            "}",
        ]
    )


def written(folder: Path, name: str, files: Mapping[str, bytes]) -> dict[str, Path]:
    """Write the files, each whole or not at all.

    Raises:
        CompileError: the folder does not take them.
    """
    paths = {ending: folder / f"{name}.{ending}" for ending in files}
    parts = {ending: folder / f".{name}.{ending}.{os.getpid()}" for ending in files}
    try:
        for ending, part in parts.items():
            part.write_bytes(files[ending])
        for ending, part in parts.items():
            part.replace(paths[ending])
    except OSError as error:
        for part in parts.values():
            with suppress(OSError):
                part.unlink()
        raise CompileError(
            f"the files cannot be written: {error.strerror}", origin=user_line(),
            operands=(error.filename,), hint="Give a folder that exists and can be written.",
        ) from error  # fmt: skip
    return paths
