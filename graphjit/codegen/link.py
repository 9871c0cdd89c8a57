"""Links an object file of ELF for x86-64 into an image: bytes that run wherever they are put.

A program is a few functions and their constants, which find one another by their distance, and
calls of a few functions of the C library and the BLAS, whose addresses the loader fills in. That
takes a fraction of the time of LLVM's own linker, and an image from the disk runs without LLVM.
What is in any other format, or refers to anything in another way, LLVM links (see ``code``).

The format is that of the System V ABI, AMD64 supplement, sections 4.3 (symbols) and 4.4
(relocations).
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import numpy as np

from graphjit.codegen.image import Image

ELF = b"\x7fELF\x02\x01\x01"  # 64 bits, the lower byte first
RELOCATABLE_X86 = (1, 62)

SECTION = np.dtype(
    [("name", "<u4"), ("type", "<u4"), ("flags", "<u8"), ("address", "<u8"), ("offset", "<u8"),
     ("size", "<u8"), ("link", "<u4"), ("info", "<u4"), ("align", "<u8"), ("each", "<u8")]
)  # fmt: skip
SYMBOL = np.dtype(
    [("name", "<u4"), ("info", "u1"), ("other", "u1"), ("section", "<u2"), ("value", "<u8"),
     ("size", "<u8")]
)  # fmt: skip
RELOCATION = np.dtype(
    [("offset", "<u8"), ("kind", "<u4"), ("symbol", "<u4"), ("addend", "<i8")]
)  # fmt: skip
PROGRAM_BITS, SYMBOLS, RELOCATIONS, UNWINDING = 1, 2, 4, 0x70000001
WRITABLE, ALLOCATED = 1, 2
DISTANCE, CALL = 2, 4  # R_X86_64_PC32, R_X86_64_PLT32: the distance to a symbol in 32 bits
SLOTS = (9, 41, 42)  # R_X86_64_GOTPCREL, GOTPCRELX, REX_GOTPCRELX: to the slot of its address
GLOBAL = 1
UNDEFINED, RESERVED = 0, 0xFF00  # sections of symbols: of imported ones, and of special ones
NOWHERE = -(2**62)
JUMP, JUMP_SIZE, SLOT_SIZE = b"\xff\x25", 8, 8  # through the slot of an address


class Unknown(Exception):  # noqa: N818 - never leaves this module
    """The object file has something that only LLVM links."""


def linked(content: bytes) -> bytes:
    """The image of an object file; the object file itself where it is of another kind."""
    try:
        return image(content).written()
    except Unknown:
        return content


def image(content: bytes) -> Image:
    """Link an object file.

    Raises:
        Unknown: it has something else than code, constants and distances.
    """
    sections = sections_of(content)
    places, laid = laid_out(content, sections)
    symbols, name = symbols_of(content, sections)
    imported = np.flatnonzero((symbols["section"] == UNDEFINED) & (symbols["name"] > 0))
    jumps = with_jumps(laid, len(imported))
    where = symbols["value"].astype(np.int64)
    where += np.where(
        symbols["section"] < RESERVED, places[symbols["section"] % len(places)], NOWHERE
    )
    where[imported] = jumps
    slots = np.full(len(symbols), NOWHERE, np.int64)
    slots[imported] = jumps + JUMP_SIZE * len(jumps)
    for section in sections[sections["type"] == RELOCATIONS]:
        if places[section["info"]] >= 0:
            rows = table(content, section, RELOCATION)
            resolve(laid, rows, places[section["info"]], where, slots)
    own = (symbols["info"] >> 4 == GLOBAL) & (symbols["section"] != UNDEFINED)
    return Image(
        bytes(laid),
        {name(i): int(where[i]) for i in np.flatnonzero(own)},
        {name(i): int(slots[i]) for i in imported},
    )


def sections_of(content: bytes) -> Any:
    """The table of sections.

    Raises:
        Unknown: this is no object file of ELF for x86-64.
    """
    if not content.startswith(ELF) or struct.unpack_from("<HH", content, 16) != RELOCATABLE_X86:
        raise Unknown
    (start,) = struct.unpack_from("<Q", content, 40)
    (count,) = struct.unpack_from("<H", content, 60)
    if not count:  # it stands elsewhere where there are more than 65,279
        raise Unknown
    return np.frombuffer(content, SECTION, count, start)


def laid_out(content: bytes, sections: Any) -> tuple[Any, bytearray]:
    """Where each section comes to lie, and the bytes of all of them, one after another.

    Raises:
        Unknown: there are variables, or something else that takes memory.
    """
    places, laid = np.full(len(sections), NOWHERE, np.int64), bytearray()
    taken = (sections["flags"] & ALLOCATED > 0) & (sections["type"] != UNWINDING)
    for number in np.flatnonzero(taken & (sections["size"] > 0)):
        section = sections[number]
        if section["type"] != PROGRAM_BITS or section["flags"] & WRITABLE:
            raise Unknown
        start = places[number] = extended(laid, int(section["align"]))
        laid[start:] = content[section["offset"] : section["offset"] + section["size"]]
    return places, laid


def extended(laid: bytearray, align: int) -> int:
    """Where the next piece begins; zeros are put up to there."""
    laid.extend(bytes(-len(laid) % max(align, 1)))
    return len(laid)


def table(content: bytes, section: Any, form: Any) -> Any:
    """The rows of a section."""
    return np.frombuffer(content, form, int(section["size"]) // form.itemsize, section["offset"])


def symbols_of(content: bytes, sections: Any) -> tuple[Any, Callable[[Any], str]]:
    """The table of symbols, and what tells their names.

    Raises:
        Unknown: there is not one such table.
    """
    found = sections[sections["type"] == SYMBOLS]
    if len(found) != 1:
        raise Unknown
    rows, start = table(content, found[0], SYMBOL), int(sections[found[0]["link"]]["offset"])

    def name(number: Any) -> str:
        first = start + int(rows["name"][number])
        return content[first : content.index(0, first)].decode()

    return rows, name


def with_jumps(laid: bytearray, count: int) -> Any:
    """Where the jumps to imported functions lie; the slots that they go through follow them."""
    first = extended(laid, JUMP_SIZE)
    jumps = first + JUMP_SIZE * np.arange(count, dtype=np.int64)
    to_slot = JUMP + struct.pack("<i", JUMP_SIZE * count - 6)  # from the end of six bytes
    laid.extend(to_slot.ljust(JUMP_SIZE, b"\x90") * count + bytes(SLOT_SIZE * count))
    return jumps


def resolve(laid: bytearray, rows: Any, start: int, where: Any, slots: Any) -> None:
    """Write the distances that the relocations of one section stand for.

    Args:
        laid: The image.
        rows: The relocations.
        start: Where the section lies.
        where: Where each symbol lies.
        slots: Where the address of each symbol lies; those that have none are nowhere.

    Raises:
        Unknown: one of them is no distance in 32 bits, or leads to what is not in the image.
    """
    through = np.isin(rows["kind"], SLOTS)
    target = np.where(through, slots[rows["symbol"]], where[rows["symbol"]]) + rows["addend"]
    if (
        not (through | np.isin(rows["kind"], (DISTANCE, CALL))).all()
        or (target < NOWHERE // 2).any()
    ):
        raise Unknown
    at = start + rows["offset"].astype(np.int64)
    distances = (target - at).astype("<i4").view(np.uint8).reshape(-1, 4)
    np.frombuffer(laid, np.uint8)[at[:, None] + np.arange(4)] = distances
