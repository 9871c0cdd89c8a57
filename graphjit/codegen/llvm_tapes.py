"""Tapes in LLVM IR: memory for as many rounds of a loop as there are, which grows meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphjit.codegen.llvm_instructions import binary, compare
from graphjit.codegen.llvm_text import I64, constant
from graphjit.codegen.loops import ROUNDS, Tape, Value

if TYPE_CHECKING:
    from graphjit.codegen.llvm_kernel import KernelWriter as Writer


def tape(w: Writer, s: Tape) -> None:
    """Allocate the tapes, make room on them, or free them."""
    room = Value(s.room, I64)
    if s.action == "open":
        w.slot(room)
        w.assign(room, constant(ROUNDS, I64))
        for b in s.buffers:
            place = w.tapes[b.name] = w.fresh()
            w.head.append(f"  {place} = alloca ptr")
            size = ROUNDS * w.bytes_of(b)
            w.put(f"store ptr {w.memory_call('malloc', f'i64 {size}')}, ptr {place}")
    elif s.action == "ensure":
        ensure(w, s, room)
    else:
        for b in s.buffers:
            old = w.let(f"load ptr, ptr {w.tapes[b.name]}")
            w.module.declare("free", "void", ["ptr"])
            w.put(f"call void @free(ptr {old})")


def ensure(w: Writer, s: Tape, room: Value) -> None:
    """Twice the room where the tape is full."""
    longer, after = w.label(), w.label()
    full = compare(w, "ge", w.known[s.count], w.read(room))
    w.put(f"br {full}, label %{longer}, label %{after}")
    w.begin(longer)
    twice = binary(w, "shl", w.read(room), constant(1, I64))
    w.assign(room, twice)
    for b in s.buffers:
        size = binary(w, "mul", twice, constant(w.bytes_of(b), I64))
        old = w.let(f"load ptr, ptr {w.tapes[b.name]}")
        fresh = w.memory_call("realloc", f"ptr {old}, {size}")
        w.put(f"store ptr {fresh}, ptr {w.tapes[b.name]}")
    w.put(f"br label %{after}")
    w.begin(after)
