"""The pool of worker threads as LLVM IR: how many share one task, and how they wait.

There is one job at a time. Its caller works too; a caller that finds the pool taken, or is the only
one asked for, runs all blocks of its task by itself. Workers are POSIX threads with all signals
blocked, started by the first job that has room for them. One that has nothing to do looks
again and again for a short time, and then sleeps on a condition variable.

A job is published as one word, the *gate*: its number, and how many workers it still has room for.
A worker enters by taking one from that; the caller closes the gate when no block is left, and waits
for those that entered. Blocks are handed out from both ends, to the caller the first that is left
and to workers the last: what two threads wrote in one job they mostly find in their own caches in
the next. Who runs which block differs from run to run, what a block computes does not.

On a busy machine a worker may lose its processor in the middle of a block, and the caller waits for
milliseconds. Where that made a job slower than the caller alone would have been, jobs run alone for
twenty times as long as was lost: so waiting in vain costs a twentieth of the time at the most.
"""

from __future__ import annotations

import os
import sys

from graphjit.codegen.llvm_threads_text import TEXT

ENTRY = "graphjit_parallel"  # run(task, context, blocks, threads); 0 threads: as many as usual
STATE = "graphjit_workers"
CALLS = 1 << 32  # added to ``threads`` where a task calls the BLAS, which must not use its own
DOWNWARDS = -(1 << 32)  # to the word of blocks that are left: the first, and after the last
PATIENCE = 20  # times what waiting cost, for which a busy machine's pool is left alone
MOST = 256  # workers
SPIN = 4000  # looks for something to do before a thread goes to sleep: some 120 microseconds
# At which byte of the state a word begins; those that several threads write have a cache line each.
PLACES = {
    "busy": 0,
    "gate": 64,
    "next": 128,
    "left": 192,
    "task": 256,
    "context": 264,
    "sleepers": 320,
    "waiting": 384,
    "stop": 392,
    "started": 400,
    "job": 408,
    "usual": 416,
    "limit": 424,
    "resume": 432,  # when threads are tried again
    "mutex": 448,  # this and the next two are on no system larger than 128 bytes
    "work": 576,
    "done": 704,
    "get": 832,  # functions of the BLAS, for how many threads it uses by itself
    "set": 840,
    "handles": 896,
}
SIZE = PLACES["handles"] + 8 * MOST
# CLOCK_MONOTONIC, and CLOCK_THREAD_CPUTIME_ID: the processor time of the thread that asks.
CLOCKS = (6, 16) if sys.platform == "darwin" else (1, 3)
PAUSES = {"x86_64": "llvm.x86.sse2.pause", "i686": "llvm.x86.sse2.pause"}  # by processor


def text() -> str:
    """The module: ``ENTRY``, and functions that make the state ready and stop the workers."""
    places = {n: f"getelementptr (i8, ptr @{STATE}, i64 {at})" for n, at in PLACES.items()}
    name = PAUSES.get(os.uname().machine)
    return TEXT.format(
        state=STATE, entry=ENTRY, size=SIZE, most=MOST, spin=SPIN, mask=CALLS - 1,
        patience=PATIENCE, downwards=DOWNWARDS, clock=CLOCKS[0], own_clock=CLOCKS[1],
        setmask=3 if sys.platform == "darwin" else 2,
        declare_pause=f"declare void @{name}()" if name else "",
        pause=f"call void @{name}()" if name else "fence seq_cst", **places,
    )  # fmt: skip
