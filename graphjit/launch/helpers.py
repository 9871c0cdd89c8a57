"""The parts of an entry that are the same in all: functions that are compiled once.

Code generation at its lowest level is enough for the text of an entry, which has no loops; these
have, so they are worth more.
"""

from __future__ import annotations

from functools import cache

from graphjit.cache.objects import object_code
from graphjit.codegen.code import Code
from graphjit.codegen.native import BEST, compiled
from graphjit.codegen.objects import WORD
from graphjit.launch import layout
from graphjit.launch.text import ATTRIBUTES, LIKELY, TAIL

# An array of exactly one class, dtype, shape, contiguous and aligned: its data, else null. A dtype
# that is not the very object may still mean the same: its scalar type and byte order say so.
ARRAY = """
define ptr @array(ptr %object, ptr %form) #0 {{
  %type_ = getelementptr i8, ptr %object, i64 {TYPE}
  %type = load ptr, ptr %type_
  %ndarray = load ptr, ptr %form
  %exact = icmp eq ptr %type, %ndarray
  br i1 %exact, label %typed, label %bad, {LIKELY}
typed:
  %dtype_ = getelementptr i8, ptr %object, i64 {DTYPE}
  %dtype = load ptr, ptr %dtype_
  %known_ = getelementptr ptr, ptr %form, i64 1
  %known = load ptr, ptr %known_
  %very = icmp eq ptr %dtype, %known
  br i1 %very, label %shape, label %similar, {LIKELY}
similar:
  %scalar_ = getelementptr i8, ptr %dtype, i64 {SCALAR_TYPE}
  %scalar = load ptr, ptr %scalar_
  %wanted_ = getelementptr ptr, ptr %form, i64 2
  %wanted = load ptr, ptr %wanted_
  %order_ = getelementptr i8, ptr %dtype, i64 {BYTE_ORDER}
  %order = load i8, ptr %order_
  %native_ = getelementptr ptr, ptr %form, i64 3
  %native__ = load i64, ptr %native_
  %native = trunc i64 %native__ to i8
  %means = icmp eq ptr %scalar, %wanted
  %ordered = icmp eq i8 %order, %native
  %same = and i1 %means, %ordered
  br i1 %same, label %shape, label %bad, {LIKELY}
shape:
  %rank_ = getelementptr i8, ptr %object, i64 {RANK}
  %rank__ = load i32, ptr %rank_
  %rank = sext i32 %rank__ to i64
  %axes_ = getelementptr ptr, ptr %form, i64 4
  %axes = load i64, ptr %axes_
  %flat = icmp eq i64 %rank, %axes
  br i1 %flat, label %sized, label %bad, {LIKELY}
sized:
  %extents_ = getelementptr i8, ptr %object, i64 {SHAPE}
  %extents = load ptr, ptr %extents_
  %needed = getelementptr ptr, ptr %form, i64 5
  br label %next
next:
  %i = phi i64 [ 0, %sized ], [ %following, %axis ]
  %done = icmp eq i64 %i, %axes
  br i1 %done, label %flagged, label %axis
axis:
  %extent_ = getelementptr i64, ptr %extents, i64 %i
  %extent = load i64, ptr %extent_
  %need_ = getelementptr i64, ptr %needed, i64 %i
  %need = load i64, ptr %need_
  %following = add i64 %i, 1
  %fits = icmp eq i64 %extent, %need
  br i1 %fits, label %next, label %bad, {LIKELY}
flagged:
  %flags_ = getelementptr i8, ptr %object, i64 {FLAGS}
  %flags = load i32, ptr %flags_
  %both = and i32 %flags, 257
  %good = icmp eq i32 %both, 257
  br i1 %good, label %found, label %bad, {LIKELY}
found:
  %data_ = getelementptr i8, ptr %object, i64 {DATA}
  %data = load ptr, ptr %data_
  ret ptr %data
bad:
  ret ptr null
}}
"""

# A NumPy scalar or an array without axes: its value, else null.
SCALAR = """
define ptr @scalar(ptr %object, ptr %form) #0 {{
  %type_ = getelementptr i8, ptr %object, i64 {TYPE}
  %type = load ptr, ptr %type_
  %wanted_ = getelementptr ptr, ptr %form, i64 2
  %wanted = load ptr, ptr %wanted_
  %exact = icmp eq ptr %type, %wanted
  br i1 %exact, label %found, label %other, {LIKELY}
found:
  %value = getelementptr i8, ptr %object, i64 {VALUE}
  ret ptr %value
other:
  %data = call ptr @array(ptr %object, ptr %form)
  ret ptr %data
}}
"""

# Whether two pieces of memory hold the same bytes.
SAME = """
define i1 @same(ptr %a, ptr %b, i64 %size) #0 {{
entry:
  %wide = and i64 %size, -8
  br label %words
words:
  %i = phi i64 [ 0, %entry ], [ %i_, %word ]
  %more = icmp ult i64 %i, %wide
  br i1 %more, label %word, label %bytes
word:
  %p = getelementptr i8, ptr %a, i64 %i
  %q = getelementptr i8, ptr %b, i64 %i
  %x = load i64, ptr %p, align 1
  %y = load i64, ptr %q, align 1
  %i_ = add i64 %i, 8
  %equal = icmp eq i64 %x, %y
  br i1 %equal, label %words, label %no, {LIKELY}
bytes:
  %j = phi i64 [ %i, %words ], [ %j_, %byte ]
  %left = icmp ult i64 %j, %size
  br i1 %left, label %byte, label %yes
byte:
  %r = getelementptr i8, ptr %a, i64 %j
  %s = getelementptr i8, ptr %b, i64 %j
  %u = load i8, ptr %r
  %v = load i8, ptr %s
  %j_ = add i64 %j, 1
  %alike = icmp eq i8 %u, %v
  br i1 %alike, label %bytes, label %no, {LIKELY}
yes:
  ret i1 true
no:
  ret i1 false
}}
"""

# Work memory; the pool is empty while a run has what was in it.
TAKE = """
define ptr @take(ptr %pool, ptr %allocate, ptr %refuse, i64 %size) #0 {{
  %kept = load ptr, ptr %pool
  store ptr null, ptr %pool
  %missing = icmp eq ptr %kept, null
  br i1 %missing, label %none, label %some
some:
  ret ptr %kept
none:
  %made = call ptr %allocate(i64 %size)
  %failed = icmp eq ptr %made, null
  br i1 %failed, label %full, label %new
new:
  ret ptr %made
full:
  %null = call ptr %refuse()
  ret ptr null
}}
"""

GIVE = """
define void @give(ptr %pool, ptr %free, ptr %memory) #0 {{
  %other = load ptr, ptr %pool
  store ptr %memory, ptr %pool
  call void %free(ptr %other)
  ret void
}}
"""

ALIGNED = """
define ptr @aligned(ptr %memory) #0 {{
  %number = ptrtoint ptr %memory to i64
  %up = add i64 %number, 63
  %even = and i64 %up, -64
  %step = sub i64 %even, %number
  %place = getelementptr i8, ptr %memory, i64 %step
  ret ptr %place
}}
"""

PARTS = {
    "array": ARRAY, "scalar": SCALAR, "same": SAME, "take": TAKE, "give": GIVE, "aligned": ALIGNED,
}  # fmt: skip

# All conditions of one kind, a row each. What follows is how one row is compared.
LOOP = """
define i1 @{name}(ptr %context, ptr %lookup, ptr %rows, i64 %count) #0 {{
entry:
  br label %next
next:
  %i = phi i64 [ 0, %entry ], [ %i_, %end ]
  %more = icmp ult i64 %i, %count
  br i1 %more, label %row, label %yes
row:
  %place = mul i64 %i, {stride}
  %a_ = getelementptr i8, ptr %rows, i64 %place
  %a = load ptr, ptr %a_
  %b_ = getelementptr i8, ptr %a_, i64 8
  %b = load ptr, ptr %b_
{body}
end:
  %i_ = add i64 %i, 1
  br i1 %holds, label %next, label %no, {LIKELY}
yes:
  ret i1 true
no:
  ret i1 false
}}
"""

ENTRIES = """
  %c_ = getelementptr i8, ptr %a_, i64 16
  %c = load ptr, ptr %c_
  %found = call ptr %lookup(ptr %a, ptr %b)
  %holds = icmp eq ptr %found, %c
  br label %end
"""

ABSENT = """
  %found = call ptr %lookup(ptr %a, ptr %b)
  %holds = icmp eq ptr %found, null
  br label %end
"""

ELEMENTS = """
  %c_ = getelementptr i8, ptr %a_, i64 16
  %c = load ptr, ptr %c_
  %index = ptrtoint ptr %b to i64
  %size_ = getelementptr i8, ptr %a, i64 {SIZE}
  %size = load i64, ptr %size_
  %inside = icmp ult i64 %index, %size
  br i1 %inside, label %inner, label %no
inner:
  %items_ = getelementptr i8, ptr %a, i64 {ITEMS}
  %items = load ptr, ptr %items_
  %item_ = getelementptr ptr, ptr %items, i64 %index
  %item = load ptr, ptr %item_
  %holds = icmp eq ptr %item, %c
  br label %end
"""

CELLS = """
  %inside_ = getelementptr i8, ptr %a, i64 {CELL}
  %inside = load ptr, ptr %inside_
  %holds = icmp eq ptr %inside, %b
  br label %end
"""

SIZES = """
  %size_ = getelementptr i8, ptr %a, i64 {SIZE}
  %size = load ptr, ptr %size_
  %holds = icmp eq ptr %size, %b
  br label %end
"""

CONTENTS = """
  %form_ = ptrtoint ptr %b to i64
  %form = getelementptr i8, ptr %context, i64 %form_
  %c_ = getelementptr i8, ptr %a_, i64 16
  %c = load ptr, ptr %c_
  %d_ = getelementptr i8, ptr %a_, i64 24
  %d = load i64, ptr %d_
  %data = call ptr @array(ptr %a, ptr %form)
  %formed = icmp ne ptr %data, null
  br i1 %formed, label %inner, label %no
inner:
  %holds = call i1 @same(ptr %data, ptr %c, i64 %d)
  br label %end
"""

BODIES = {
    "cells": CELLS, "elements": ELEMENTS, "sizes": SIZES, "contents": CONTENTS,
    "entries": ENTRIES, "absent": ABSENT,
}  # fmt: skip
COLUMNS = {"cells": 2, "elements": 3, "sizes": 2, "contents": 4, "entries": 3, "absent": 2}


@cache
def addresses() -> dict[str, int]:
    """Where each helper begins."""
    code = helpers()
    return {name: code.address(name) for name in (*PARTS, *BODIES)}


@cache
def helpers() -> Code:
    """The code of all helpers; never freed."""
    text = module()
    content, _ = object_code(text, lambda: compiled(text, BEST), BEST)
    return Code(content, {})


def module() -> str:
    """The text of all helpers."""
    known = {**vars(layout), "LIKELY": LIKELY}
    loops = [loop(name) for name in BODIES]
    return "\n".join([*(part.format(**known) for part in PARTS.values()), *loops, ATTRIBUTES, TAIL])


def loop(name: str) -> str:
    """The loop over all conditions of one kind."""
    body = BODIES[name].format(**vars(layout))
    return LOOP.format(name=name, stride=WORD * COLUMNS[name], body=body, LIKELY=LIKELY)
