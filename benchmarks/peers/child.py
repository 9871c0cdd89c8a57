"""One fresh process: imports a peer, computes a first gradient, tells the seconds as JSON.

Nothing but NumPy is imported before the peer, for what it imports is measured.

python -m peers.child '{"package": "jax", "way": "", "problem": "quiz", "mode": "first"}'
"""

from __future__ import annotations

import os
import sys
import time


def clocks() -> tuple[float, float]:
    """Wall seconds, and processor seconds of this process and of compilers that it ran."""
    used = os.times()
    return time.perf_counter(), time.process_time() + used.children_user + used.children_system


class Clock:
    """Wall and processor seconds of named spans, one after the other."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.cpu: dict[str, float] = {}
        self.last = clocks()

    def lap(self, name: str) -> None:
        """The time since the lap before is this span's."""
        now = clocks()
        self.seconds[name] = now[0] - self.last[0]
        self.cpu[name] = now[1] - self.last[1]
        self.last = now


def main(order: dict) -> dict:
    """Modes: ``first`` is import to first gradient; ``compile`` has all loaded before it.

    What ``compile`` times is the second program of a workload in a process, made anew.
    """
    clock = Clock()
    import numpy as np

    clock.lap("import NumPy")
    module = __import__(f"peers.{order['package']}", fromlist=["PEERS"])
    clock.lap("import")
    from peers.problems import PROBLEMS

    problem = PROBLEMS[order["problem"]]
    args = problem.arguments()
    peer = module.PEERS[order["way"]]()
    if order["mode"] == "compile":
        peer.warm_up()
        peer.build(problem, args).compile()  # so that what such programs load once is loaded
        getattr(peer, "settle", lambda: None)()
    clock.lap("not counted")
    built = peer.build(problem, args)
    phases = built.compile() if order["mode"] == "compile" else {}
    clock.lap("compile")
    result = built.arrays(built.run())
    clock.lap("run")
    most = memory()
    if order.get("save"):
        np.savez(order["save"], *result)
    account = built.account() if hasattr(built, "account") else {"phases": phases}
    return {"seconds": clock.seconds, "cpu": clock.cpu, "megabytes": most, **account}


def memory() -> float:
    """The most that this process has had; NaN where the system does not say."""
    try:
        import resource
    except ImportError:
        return float("nan")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def pin(core: int | None) -> None:
    """Keep this process to one core, where the system can."""
    if core is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {core})


if __name__ == "__main__":
    import json

    given = json.loads(sys.argv[1])
    pin(given.get("core"))
    try:
        print("\n" + json.dumps(main(given)))
    except Exception as error:
        if type(error).__name__ == "Unsupported":
            print("\n" + json.dumps({"unsupported": str(error)}))
        else:
            raise
