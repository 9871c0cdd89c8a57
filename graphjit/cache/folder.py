"""The folder of the cache: where it is, and whether what lies in it can be trusted.

What the cache holds is executed, so nobody else may be able to write to it.
"""

from __future__ import annotations

import os
import stat
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path

from graphjit.errors import CacheWarning
from graphjit.flags import current

OTHERS = stat.S_IWGRP | stat.S_IWOTH
AWAY = "Set GRAPHJIT_CACHE_DIR to a folder of your own, or GRAPHJIT_CACHE=off."

_warned = False


class Unusable(Exception):  # noqa: N818 - never leaves this package
    """Why there can be no cache, and the way out."""

    def __init__(self, fact: str, hint: str = AWAY) -> None:
        super().__init__(fact)
        self.fact, self.hint = fact, hint


def warn(fact: str, hint: str = AWAY) -> None:
    """Say once in a process that the cache does not work; the program runs on."""
    global _warned  # noqa: PLW0603 - once a process is what is meant
    if not _warned:
        _warned = True
        text = f"{fact}; programs are compiled anew in each process. {hint}"
        warnings.warn(text, CacheWarning, stacklevel=3)


def location() -> Path:
    """The folder that the flags name, or the user's own.

    Raises:
        Unusable: the user has no home folder.
    """
    named = current().cache_dir
    try:
        return Path(named).expanduser().absolute() if named else usual(os.environ, sys.platform)
    except (RuntimeError, OSError) as error:
        raise Unusable(f"no folder for the cache was found ({error})") from None


def usual(environment: Mapping[str, str], platform: str) -> Path:
    """The user's cache folder by the rule of the platform.

    ``XDG_CACHE_HOME`` or ``~/.cache`` (XDG Base Directory Specification, which has relative
    paths ignored); ``~/Library/Caches`` on macOS; ``LOCALAPPDATA`` on Windows.

    Raises:
        RuntimeError: there is no home folder.
    """
    if platform == "win32":
        local = environment.get("LOCALAPPDATA")
        return (Path(local) if local else Path.home() / "AppData" / "Local") / "graphjit" / "Cache"
    if platform == "darwin":
        return Path.home() / "Library" / "Caches" / "graphjit"
    base = Path(environment.get("XDG_CACHE_HOME", ""))
    return (base if base.is_absolute() else Path.home() / ".cache") / "graphjit"


def make_private(folder: Path) -> None:
    """Make the folder if need be, for this user alone, and check it.

    Raises:
        Unusable: it cannot be made, or somebody else could write to it.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
    except (OSError, ValueError) as error:
        raise Unusable(f"the cache folder {folder} cannot be made ({error})") from None
    check_private(folder)


def check_private(folder: Path) -> None:
    """Check that this user alone can write to the folder.

    Raises:
        Unusable: saying who else can, and what to do.
    """
    try:
        found = (folder.lstat(), folder.stat())
    except OSError as error:
        raise Unusable(f"the cache folder {folder} cannot be read ({error})") from None
    if not stat.S_ISDIR(found[1].st_mode):
        raise Unusable(f"the cache folder {folder} is no folder")
    if not hasattr(os, "geteuid"):  # Windows: the user's folders are private by their own rights
        return
    if any(status.st_uid != os.geteuid() for status in found):
        raise Unusable(f"the cache folder {folder} belongs to another user, so it is not used")
    if found[1].st_mode & OTHERS:
        fact = f"the cache folder {folder} can be written by others, so it is not used"
        shared = found[1].st_mode & stat.S_ISVTX  # meant for everybody, as /tmp is
        raise Unusable(fact, AWAY if shared else f"Run chmod 700 {folder}. {AWAY}")


def trusted(status: os.stat_result) -> bool:
    """Whether an opened file is a plain one that this user alone could have written."""
    if not stat.S_ISREG(status.st_mode):
        return False
    if not hasattr(os, "geteuid"):
        return True
    alone = status.st_nlink <= 1  # none, where another process replaced it since it was opened
    return status.st_uid == os.geteuid() and not status.st_mode & OTHERS and alone
