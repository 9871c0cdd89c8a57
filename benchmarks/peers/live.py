"""Live processes of the steady-state benchmark: started, asked for timings, ended."""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from peers.process import HERE, last_core, read, stop
from peers.registry import Competitor

Answer = dict[str, Any]
REST = 0.03  # seconds without processor time after which all threads of a process sleep
RESTLESS = 1.0  # and how long that may take


class Live:
    """One competitor with one workload, in a process of its own."""

    def __init__(self, competitor: Competitor, problem: str, folder: Path) -> None:
        self.competitor = competitor
        folder = folder / competitor.name.replace(" ", "_").replace(",", "")
        folder.mkdir(parents=True, exist_ok=True)
        self.saved = folder / "result.npz"
        order = {
            "package": competitor.package, "way": competitor.way, "problem": problem,
            "core": last_core() if competitor.pinned else None, "save": str(self.saved),
        }  # fmt: skip
        self.complaints = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115 - in close
        environment = competitor.environment(folder, cache=False)
        places = [str(HERE), *filter(None, [environment.get("PYTHONPATH")])]
        self.child = subprocess.Popen(
            [sys.executable, "-m", "peers.steady_child", json.dumps(order)], cwd=folder,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.complaints, text=True,
            env={**environment, "PYTHONPATH": os.pathsep.join(places)}, start_new_session=True,
        )  # fmt: skip

    def ready(self, limit: float) -> Answer:
        """What it tells when it has compiled; or why it will not."""
        return self.line(limit)

    def time(self, count: int, limit: float) -> Answer:
        """Seconds of one call; the next competitor has the cores for itself."""
        assert self.child.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # the reason is read below
            print(count, file=self.child.stdin, flush=True)
        answer = self.line(limit)
        self.rest()
        return answer

    def rest(self) -> None:
        """Wait until its threads sleep: those of OpenMP look for more to do before they do."""
        end, used = time.perf_counter() + RESTLESS, -1
        while used != (used := self.used()) and time.perf_counter() < end:
            time.sleep(REST)

    def used(self) -> int:
        """Its processor time, in ticks of the system; 0 where nobody says."""
        try:
            fields = Path(f"/proc/{self.child.pid}/stat").read_text(encoding="utf-8")
        except OSError:
            return 0
        return sum(map(int, fields.rpartition(")")[2].split()[11:13]))  # of it, and for it

    def line(self, limit: float) -> Answer:
        """Its next answer within so many seconds."""
        assert self.child.stdout is not None
        end = time.perf_counter() + limit
        while not select.select([self.child.stdout], [], [], max(0, end - time.perf_counter()))[0]:
            if time.perf_counter() >= end:
                return {"failed": f"> {limit:g} s", "limit": limit}
        text = self.child.stdout.readline()
        if text:
            return dict(json.loads(text))
        self.complaints.seek(0)
        return read(self.child.wait() or 1, "", self.complaints.read())

    def arrays(self) -> list[np.ndarray]:
        """What it computed."""
        with np.load(self.saved) as saved:
            return [saved[name] for name in saved.files]

    def close(self) -> None:
        """End it."""
        if self.child.poll() is None:
            stop(self.child)
        for pipe in (self.child.stdin, self.child.stdout):
            if pipe is not None and not pipe.closed:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
        self.complaints.close()
        self.saved.unlink(missing_ok=True)
