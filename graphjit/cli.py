"""The command line: ``graphjit cache info``, ``clear``, ``verify``; ``graphjit bench``."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from graphjit.cache.folder import Unusable, location
from graphjit.cache.store import MEGABYTE, File, Store, existing
from graphjit.errors import GraphJITError
from graphjit.flags import current

Command = Callable[[], int]


def cache_info() -> int:
    """Print where the cache is and what it holds."""
    store = existing()
    files = store.files() if store else []
    rows = [
        ("folder", f"{location()}{'' if store else ' (not made yet)'}"),
        ("state", "on" if current().cache else "off (GRAPHJIT_CACHE)"),
        ("entries", str(len(files))),
        ("size", f"{megabytes(sum(f.size for f in files))} of {current().cache_size} MB"),
    ]
    if files:
        rows += [("last used", ago(files[-1])), ("longest unused", ago(files[0]))]
    for name, value in rows:
        print(f"{name:<15} {value}")
    return 0


def cache_clear() -> int:
    """Remove all entries."""
    store = existing()
    count = store.clear() if store else 0
    print(f"{entries(count)} removed from {location()}")
    return 0


def cache_verify() -> int:
    """Read every entry and report damaged ones; 1 where there are some."""
    store = existing()
    checked, faults = check(store) if store else (0, 0)
    print(f"{entries(checked)} read, {faults} damaged")
    if faults:
        print(
            "A damaged entry is built again when it is needed; 'graphjit cache clear' removes all."
        )
    return 1 if faults else 0


def check(store: Store) -> tuple[int, int]:
    """How many entries were read, and how many of them are damaged; each of those is printed."""
    checked = faults = 0
    for file, fault in store.verify():
        checked += 1
        if fault:
            faults += 1
            print(f"{file.path}: {fault}")
    return checked, faults


def entries(count: int) -> str:
    """A number of entries in words."""
    return "1 entry" if count == 1 else f"{count} entries"


def megabytes(size: int) -> str:
    """A number of bytes for a person."""
    return f"{size / MEGABYTE:.1f}"


def ago(file: File) -> str:
    """How long an entry was not used, for a person."""
    seconds = max(0.0, time.time() - file.used)
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit} ago"
    return "within two minutes"


def bench() -> int:
    """Print what a few small programs take on this machine."""
    from graphjit.calibrate.bench import bench  # what compiles, for those who measure

    return printed(bench())


def calibrate(*, dry: bool) -> int:
    """Measure the numbers that code is made by, and keep them unless ``dry``."""
    from graphjit.calibrate.run import calibrate  # as above

    return printed(calibrate(dry=dry))


def printed(lines: Iterable[str]) -> int:
    """Print lines as they come."""
    for line in lines:
        print(line, flush=True)
    return 0


CACHE: dict[str, tuple[Command, str]] = {
    "info": (cache_info, "where the cache is, and what it holds"),
    "clear": (cache_clear, "remove all entries"),
    "verify": (cache_verify, "read every entry; exit code 1 where one is damaged"),
}


def parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    main_parser = argparse.ArgumentParser("graphjit", description="Compiled NumPy functions.")
    version = f"graphjit {sys.modules['graphjit'].__version__}"
    main_parser.add_argument("--version", action="version", version=version)
    commands = main_parser.add_subparsers(required=True, metavar="command")
    cache = commands.add_parser("cache", help="the programs kept on disk for later processes")
    actions = cache.add_subparsers(required=True, metavar="action")
    for name, (command, text) in CACHE.items():
        actions.add_parser(name, help=text, description=text).set_defaults(command=command)
    add_bench(commands)
    return main_parser


def add_bench(commands: Any) -> None:
    """The command that measures, with its options."""
    text = "what a few small programs take on this machine"
    measure = commands.add_parser("bench", help=text, description=f"Print {text}.")
    measure.set_defaults(command=bench)
    for option, dry, meaning in (
        ("--calibrate", False, "measure the numbers that code is made by, and keep them in a file"),
        ("--dry-run", True, "the same, but only print them"),
    ):
        measure.add_argument(
            option, dest="command", action="store_const", const=partial(calibrate, dry=dry),
            help=meaning,
        )  # fmt: skip


def main(words: Sequence[str] | None = None) -> int:
    """Run a command; its exit code."""
    chosen: Command = parser().parse_args(words).command
    try:
        return chosen()
    except Unusable as fault:
        print(f"{fault.fact}\n{fault.hint}", file=sys.stderr)
    except (GraphJITError, OSError) as error:
        print(error, file=sys.stderr)
    return 2
