"""Fresh processes, one after the other: started, limited in time, and their answers read."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from peers.registry import Competitor

HERE = Path(__file__).resolve().parent.parent


def last_core() -> int | None:
    """The core for processes on one core, where the system lets us choose."""
    return max(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None


def run(
    competitor: Competitor, order: dict[str, Any], folder: Path, *, cache: bool, limit: float,
    module: str = "peers.child",
) -> dict[str, Any]:  # fmt: skip
    """Run one child process.

    Returns:
        Its answer, with ``process``: seconds from start to end. Where there is none, ``failed``
        says why; ``unsupported`` is the peer's own word.
    """
    folder.mkdir(parents=True, exist_ok=True)
    core = last_core() if competitor.pinned else None
    order = {**order, "package": competitor.package, "way": competitor.way, "core": core}
    command = [sys.executable, "-m", module, json.dumps(order)]
    environment = competitor.environment(folder, cache=cache)
    start = time.perf_counter()
    # Run in the folder, for some leave files where they run; with whom they start, they end.
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=folder,
        env={**environment, "PYTHONPATH": str(HERE)}, start_new_session=True,
    ) as child:  # fmt: skip
        try:
            printed, complaints = child.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            stop(child)
            return {"failed": f"> {limit:g} s", "limit": limit}
        except BaseException:  # Ctrl-C does not reach another session
            stop(child)
            raise
    answer = read(child.returncode, printed, complaints)
    return {**answer, "process": time.perf_counter() - start}


def stop(child: subprocess.Popen[str]) -> None:
    """End a process with the compilers that it started."""
    if hasattr(os, "killpg"):
        os.killpg(child.pid, signal.SIGKILL)  # its session is its own, so is the group
    else:
        child.kill()
    child.communicate()


def read(status: int, printed: str, complaints: str) -> dict[str, Any]:
    """The last line of what it printed, or of what it complained."""
    lines = printed.splitlines()
    if status == 0 and lines:
        return dict(json.loads(lines[-1]))
    said = [line for line in complaints.splitlines() if line.strip() and not line.startswith(" ")]
    return {"failed": said[-1] if said else f"exit status {status}"}
