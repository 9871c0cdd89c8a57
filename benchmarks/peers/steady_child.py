"""One live process of the steady-state benchmark: builds one workload, then times it when asked.

python -m peers.steady_child '{"package": "jax", "way": "", "problem": "quiz", "core": 1}'

It prints a line when it is ready. Then each line that it reads is a number of calls, and it prints
the seconds of one, by the clock and of the processor.
"""

from __future__ import annotations

import itertools
import json
import math
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

ROUND = 0.012  # seconds of one timing, at least
# Timings that go before each: one core needs its memory in the caches again; several, after a rest,
# take some 30 ms of work until the system runs all of them.
AGAIN, AGAIN_ALL = 0.125, 3.0
WARM = 24  # calls before the first timing, where they take no longer than a second


def main(order: dict[str, Any], answer: TextIO) -> None:
    import numpy as np
    from peers.steady import STEADY

    problem = STEADY[order["problem"]]
    args = problem.arguments()
    peer = __import__(f"peers.{order['package']}", fromlist=["PEERS"]).PEERS[order["way"]]()
    peer.warm_up()
    start = time.perf_counter()
    built = peer.build(problem, args)
    built.compile()
    if hasattr(built, "on_device"):
        built.on_device()
    result = built.run()
    compiled = time.perf_counter() - start
    np.savez(order["save"], *built.arrays(result))
    del result
    call = built.call() if hasattr(built, "call") else built.run
    warm_up(call)
    count = calls_within(call)
    tell(answer, {"compile": compiled, "megabytes": peak_memory(), "count": count})
    again = AGAIN_ALL if order["core"] is None else AGAIN
    for line in sys.stdin:
        count = int(line)
        timed(call, max(1, int(count * again)))
        used = time.process_time()
        seconds = timed(call, count)
        cpu = (time.process_time() - used) / count
        tell(answer, {"seconds": seconds, "cpu": cpu})


def tell(answer: TextIO, value: Any) -> None:
    print(json.dumps(value), file=answer, flush=True)


def timed(call: Callable[[], Any], count: int) -> float:
    """Seconds a call."""
    repeats = itertools.repeat(None, count)
    start = time.perf_counter()
    for _ in repeats:
        call()
    return (time.perf_counter() - start) / count


def warm_up(call: Callable[[], Any]) -> None:
    """What a library does in its first calls is no step compiled already."""
    end = time.perf_counter() + 1
    for _ in range(WARM):
        if time.perf_counter() < end:
            call()


def calls_within(call: Callable[[], Any]) -> int:
    """How many calls take a round's time, after warming up for several.

    By the best timing: one that was interrupted would say far too few.
    """
    count, best, end = 1, math.inf, time.perf_counter() + 5 * ROUND
    while best * count < ROUND / 2 or time.perf_counter() < end:
        best = min(best, timed(call, count))
        count = max(1, min(count * 8, round(ROUND / max(best, 1e-9))))
    return count


def peak_memory() -> float:
    """Megabytes that the process has had at most; NaN where nobody says."""
    status = Path("/proc/self/status")
    if not status.exists():
        return float("nan")
    lines = (line.split() for line in status.read_text(encoding="ascii").splitlines())
    return next(int(words[1]) / 1024 for words in lines if words[0] == "VmHWM:")


def pin(core: int | None) -> None:
    """Keep this process to one core, where the system can."""
    if core is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {core})


if __name__ == "__main__":
    # Compilers that a peer starts may print: they get the channel of complaints.
    own = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    given = json.loads(sys.argv[1])
    pin(given.get("core"))
    try:
        main(given, own)
    except Exception as error:
        if type(error).__name__ != "Unsupported":
            raise
        tell(own, {"unsupported": str(error)})
