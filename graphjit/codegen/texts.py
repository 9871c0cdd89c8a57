"""Generated Python text as modules: real files, so that a debugger shows them."""

from __future__ import annotations

import atexit
import itertools
import linecache
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from graphjit.errors import CompileError, GraphJITError
from graphjit.flags import current

COUNTER = itertools.count()


def compiled(source: str, name: str) -> Callable[[Any], None]:
    """Execute the text as a module of its own, from a real file, so that a debugger shows it."""
    if current().debug >= 3:
        sys.stderr.write(source)
    path = folder() / f"program_{next(COUNTER)}.py"
    path.write_text(source)
    linecache.checkcache(str(path))
    namespace: dict[str, Any] = {"__name__": path.stem, "__file__": str(path)}
    try:
        exec(compile(source, str(path), "exec"), namespace)  # noqa: S102 - our own text
    except GraphJITError:
        raise
    except Exception as error:
        raise CompileError(
            f"the program of {name} could not be compiled", hint=f"Its source is {path}."
        ) from error
    return namespace["run"]  # type: ignore[no-any-return]


_FOLDERS: dict[int, Path] = {}


def folder() -> Path:
    """This process's folder of generated sources, removed when it ends."""
    pid = os.getpid()
    if pid not in _FOLDERS:
        _FOLDERS[pid] = path = Path(tempfile.mkdtemp(prefix="graphjit-"))
        atexit.register(_remove, pid, path)
    return _FOLDERS[pid]


def _remove(pid: int, path: Path) -> None:
    """Remove a folder, unless this is a fork of the process that made it."""
    if os.getpid() == pid:
        shutil.rmtree(path, ignore_errors=True)
