"""The store: entries by key in one folder, bounded in size, the least recently used out first.

Reading and writing never raise for what the disk does: an entry that cannot be read is a miss, one
that cannot be written is not kept, and one warning a process says so. Entries appear by renaming a
finished file, so processes need no locks: of two that write the same key the later one stays.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from graphjit.cache.container import Damaged, Entry, OtherVersion, packed, unpacked
from graphjit.cache.folder import Unusable, check_private, location, make_private, trusted, warn
from graphjit.flags import current
from graphjit.records import NamedTuple

SUFFIX, UNFINISHED = ".entry", ".unfinished"
KEY = re.compile(r"[0-9a-f]{64}")
MEGABYTE = 2**20
FRESH = 60.0  # seconds within which a hit does not note the time again
ABANDONED = 3600.0  # seconds after which an unfinished file has no writer any more
SHARE = 64  # the part of the limit after which a process looks whether there is too much,
OFTEN = 8  # and in how many of 256 cases else: looking takes 10 microseconds an entry
ROOM = 0.9  # how full the store may be after it was too full
PLAIN = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
# Opening a named pipe must not wait for its other end.
OPENING = os.O_RDONLY | PLAIN | getattr(os, "O_NONBLOCK", 0)
CREATING = os.O_WRONLY | os.O_CREAT | os.O_EXCL | PLAIN


class File(NamedTuple):
    """One entry's file."""

    path: Path
    size: int
    used: float

    @property
    def key(self) -> str:
        """The key that its name says."""
        return self.path.name.removesuffix(SUFFIX)


class Counts:
    """What happened in this process."""

    def __init__(self) -> None:
        self.hits = self.misses = self.written = self.damaged = self.removed = 0


class Store:
    """Entries in a folder.

    Args:
        folder: A folder that ``folder.check_private`` accepts.
        limit: The most bytes that the entries together may take.

    Attributes:
        counts: What happened in this process.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self.folder, self.limit, self.counts = folder, limit, Counts()
        self._unseen = 0  # bytes written since the folder was last looked through

    def get(self, key: str) -> Entry | None:
        """The entry of a key, or None. A damaged one is removed."""
        path = self._path(key)
        try:
            entry = unpacked(read(path), key)
        except FileNotFoundError:
            entry = None
        except Damaged as fault:
            self.counts.damaged += 1
            discard(path)
            warn(f"the cache entry {path} was damaged and is removed: {fault}", "")
            entry = None
        except OSError as error:
            warn(f"the cache folder {self.folder} cannot be read ({error})")
            entry = None
        if entry is None:
            self.counts.misses += 1
            return None
        self.counts.hits += 1
        touch(path)
        return entry

    def put(self, key: str, manifest: Mapping[str, Any], blobs: Mapping[str, bytes]) -> bool:
        """Keep an entry; whether that was possible.

        Raises:
            TypeError, ValueError: the manifest is nothing that JSON can hold.
        """
        data, path = packed(key, manifest, blobs), self._path(key)
        if len(data) > self.limit:
            return False
        try:
            replace(path, data)
            self._unseen += len(data)
            if self._unseen > self.limit / SHARE or os.urandom(1)[0] < OFTEN:
                self.shrink()
        except OSError as error:
            warn(f"the cache folder {self.folder} cannot be written ({error})")
            return False
        self.counts.written += 1
        return True

    def files(self) -> list[File]:
        """The entries' files, the least recently used first."""
        return sorted_by_use(scan(self.folder, SUFFIX))

    def shrink(self) -> None:
        """Remove the least recently used entries if there is too much, and abandoned files."""
        self._unseen, now = 0, time.time()
        found = list(scan(self.folder, SUFFIX, UNFINISHED))
        for file in found:
            if file.path.name.endswith(UNFINISHED) and abs(now - file.used) > ABANDONED:
                discard(file.path)
        files = sorted_by_use(f for f in found if f.path.name.endswith(SUFFIX))
        total = sum(file.size for file in files)
        if total <= self.limit:
            return
        for file in files[:-1]:  # the newest was just written
            discard(file.path)
            self.counts.removed += 1
            total -= file.size
            if total <= ROOM * self.limit:
                return

    def clear(self) -> int:
        """Remove all entries; how many there were."""
        files = self.files()
        for file in (*files, *scan(self.folder, UNFINISHED)):
            discard(file.path)
        return len(files)

    def verify(self) -> Iterator[tuple[File, str]]:
        """Each entry with what is wrong with it, or with an empty string."""
        for file in self.files():
            try:
                unpacked(read(file.path), file.key)
            except OtherVersion:  # left by another version: never asked for, and the first to go
                yield file, ""
            except (Damaged, OSError) as fault:
                yield file, str(fault)
            else:
                yield file, ""

    def _path(self, key: str) -> Path:
        if not KEY.fullmatch(key):
            raise ValueError(f"a key is a digest in hexadecimal digits, not {key!r}")
        return self.folder / f"{key}{SUFFIX}"


def opened() -> Store | None:
    """The store that the flags name, its folder made and checked; None where there is none.

    Warns:
        CacheWarning: once a process, where the folder cannot be used.
    """
    if not current().cache:
        return None
    try:
        folder = location()
        make_private(folder)
    except Unusable as fault:
        warn(fault.fact, fault.hint)
        return None
    return store_at(folder)


def store_at(folder: Path) -> Store:
    """The one store object for a folder, as the flags bound it."""
    store = _stores.get(folder)
    if store is None:
        store = _stores[folder] = Store(folder, 0)
    store.limit = current().cache_size * MEGABYTE
    return store


_stores: dict[Path, Store] = {}


def existing() -> Store | None:
    """The store if its folder exists already; nothing is made, and the flag is not asked.

    Raises:
        Unusable: the folder must not be used.
    """
    folder = location()
    if not os.path.lexists(folder):
        return None
    check_private(folder)
    return store_at(folder)


# -- files ---------------------------------------------------------------------------------------


def read(path: Path) -> bytes:
    """The bytes of a file that this user alone could have written.

    Raises:
        Damaged: it is not such a file.
        OSError: it is not there, or cannot be read.
    """
    try:
        descriptor = os.open(path, OPENING)
    except OSError:
        if path.is_symlink():
            raise Damaged("it is a symbolic link") from None
        raise
    with open(descriptor, "rb") as file:  # noqa: PTH123 - a descriptor is no path
        if not trusted(os.fstat(descriptor)):
            raise Damaged("it is no plain file of this user alone")
        return file.read()


def replace(path: Path, data: bytes) -> None:
    """Write a file so that others see all of it or nothing.

    It is not forced to the disk: what a power failure leaves is found by its checksums.

    Raises:
        OSError: it could not be written; what was there before is as it was.
    """
    name = path.with_name(f"{os.getpid()}-{os.urandom(8).hex()}{UNFINISHED}")
    descriptor = os.open(name, CREATING, 0o600)
    try:
        with open(descriptor, "wb") as file:  # noqa: PTH123 - a descriptor is no path
            file.write(data)
        name.replace(path)
    except BaseException:
        discard(name)
        raise


def discard(path: Path) -> None:
    """Remove a file, if it is there and can be removed."""
    with contextlib.suppress(OSError):
        path.unlink()


def touch(path: Path) -> None:
    """Note that an entry was used now."""
    with contextlib.suppress(OSError):
        if abs(time.time() - path.stat().st_mtime) > FRESH:
            os.utime(path)


def sorted_by_use(files: Iterable[File]) -> list[File]:
    """The least recently used first."""
    return sorted(files, key=lambda file: (file.used, file.path))


def scan(folder: Path, *suffixes: str) -> Iterator[File]:
    """The files of some kinds that are in the folder now."""
    try:
        with os.scandir(folder) as found:
            for item in found:
                if item.name.endswith(suffixes):
                    with contextlib.suppress(OSError):  # another process removed it
                        status = item.stat(follow_symlinks=False)
                        yield File(Path(item.path), status.st_size, status.st_mtime)
    except FileNotFoundError:
        return
