"""Object code by the text that it was made from: a text is compiled once on a machine."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from graphjit.cache.environment import environment
from graphjit.cache.store import opened
from graphjit.digests import hexadecimal

CODE = "object"


def key_of(kind: str, *parts: Any) -> str:
    """The key of an entry: a digest of what JSON can hold, and of this machine."""
    text = json.dumps([kind, parts, dict(environment())], sort_keys=True)
    return hexadecimal(text.encode())


def object_code(
    text: str, make: Callable[[], bytes], level: int = 0, passes: str = ""
) -> tuple[bytes, str]:
    """The object code of a module of LLVM IR, and the key that it is kept under, or nothing.

    Args:
        text: The module.
        make: Compiles it, where it is not on disk.
        level: How hard the code generator tries.
        passes: The passes of LLVM that run before.
    """
    store = opened()
    if store is None:
        return make(), ""
    key = key_of("text", text, level, passes)
    known = kept_code(key)
    if known is not None:
        return known, key
    made = make()
    return made, key if store.put(key, {}, {CODE: made}) else ""


def kept_code(key: str) -> bytes | None:
    """The object code under a key, or None."""
    store = opened()
    entry = None if store is None else store.get(key)
    return None if entry is None else entry.blobs.get(CODE)
