"""The order of the examples: permutations as NumPy draws them, in a quarter of its time.

NumPy asks the generator for one number at a time, and a processor guesses wrong again and again
whether it is small enough. Here one that is too large exchanges an element with itself.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from functools import cache, cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphjit.codegen.epoch import Epoch
from graphjit.flags import current
from graphjit.records import NamedTuple

OFTEN = 1 << 20  # examples that NumPy orders in the time that it takes to make the code
SAMPLES = 1, 2, 3, 64, 65, 1000
LARGEST = 1 << 31  # from which on NumPy draws numbers of 64 bits
LANES = 16  # numbers that are written at once
GIVEN = np.random.Generator, np.random.BitGenerator, np.random.RandomState
HALF = (1 << 64) - 1

# M. E. O'Neill, "PCG: a family of simple fast space-efficient statistically good algorithms for
# random number generation" (2014), the member of 128 bits that NumPy has: XSL RR. Of each number
# the lower half is taken first. R. Durstenfeld, "Algorithm 235: random permutation" (CACM 7, 1964):
# for each place from the last one down a number up to it is drawn, the bits above the highest of
# the place cleared, and again where that is too much. What is chosen goes to its place, and what
# stood there to where the choice came from, in the copy of half as many bytes.
TEXT = """
declare i32 @llvm.ctlz.i32(i32, i1)
declare i64 @llvm.fshr.i64(i64, i64, i64)
define internal i128 @advanced(i128 %state, i128 %step) alwaysinline {
  %product = mul i128 %state, 47026247687942121848144207491837523525
  %next = add i128 %product, %step
  ret i128 %next
}
define internal i64 @number(i128 %state) alwaysinline {
  %low = trunc i128 %state to i64
  %upper = lshr i128 %state, 64
  %high = trunc i128 %upper to i64
  %mixed = xor i64 %high, %low
  %turn = lshr i64 %high, 58
  %number = call i64 @llvm.fshr.i64(i64 %mixed, i64 %mixed, i64 %turn)
  ret i64 %number
}
define internal i64 @filled(ptr %order, ptr %left, i64 %place, i64 %number, i64 %mask)
    alwaysinline {
  %drawn = and i64 %number, %mask
  %over = icmp ult i64 %place, %drawn
  %from = select i1 %over, i64 %place, i64 %drawn
  %from_ = getelementptr i32, ptr %left, i64 %from
  %last_ = getelementptr i32, ptr %left, i64 %place
  %place_ = getelementptr i64, ptr %order, i64 %place
  %last = load i32, ptr %last_
  %chosen = load i32, ptr %from_
  %wide = zext i32 %chosen to i64
  store i64 %wide, ptr %place_
  store i32 %last, ptr %from_
  %one = zext i1 %over to i64
  %down = add i64 %place, -1
  %next = add i64 %down, %one
  ret i64 %next
}
define void @shuffle(ptr %orders, i64 %n, i64 %count, ptr %left, ptr %generator) {
entry:
  %step_ = getelementptr i64, ptr %generator, i64 2
  %has_ = getelementptr i64, ptr %generator, i64 4
  %held_ = getelementptr i64, ptr %generator, i64 5
  %state_0 = load i128, ptr %generator, align 8
  %step = load i128, ptr %step_, align 8
  %has_0 = load i64, ptr %has_
  %held_0 = load i64, ptr %held_
  %last = sub i64 %n, 1
  br label %order
order:
  %index = phi i64 [ 0, %entry ], [ %index_next, %ordered ]
  %state_1 = phi i128 [ %state_0, %entry ], [ %state_2, %ordered ]
  %has_1 = phi i64 [ %has_0, %entry ], [ %has_2, %ordered ]
  %held_1 = phi i64 [ %held_0, %entry ], [ %held_2, %ordered ]
  %begin = mul i64 %index, %n
  %own = getelementptr i64, ptr %orders, i64 %begin
  br label %numbered
numbered:
  %i = phi i64 [ 0, %order ], [ %i_next, %numbered ]
  %numbers = phi <16 x i32> [ FIRST, %order ], [ %numbers_next, %numbered ]
  %i_ = getelementptr i32, ptr %left, i64 %i
  store <16 x i32> %numbers, ptr %i_, align 4
  %i_next = add i64 %i, 16
  %numbers_next = add <16 x i32> %numbers, splat (i32 16)
  %i_more = icmp slt i64 %i_next, %n
  br i1 %i_more, label %numbered, label %octave
octave:
  %place_2 = phi i64 [ %last, %numbered ], [ %place_3, %old ],
    [ %place_5, %odd ], [ %place_6, %new ]
  %state_2 = phi i128 [ %state_1, %numbered ], [ %state_2, %old ],
    [ %state_5, %odd ], [ %state_6, %new ]
  %has_2 = phi i64 [ %has_1, %numbered ], [ 0, %old ], [ 0, %odd ], [ 1, %new ]
  %held_2 = phi i64 [ %held_1, %numbered ], [ 0, %old ], [ 0, %odd ], [ %held_6, %new ]
  %open = icmp sgt i64 %place_2, 0
  br i1 %open, label %masked, label %ordered
masked:
  %short = trunc i64 %place_2 to i32
  %zeros = call i32 @llvm.ctlz.i32(i32 %short, i1 false)
  %mask_short = lshr i32 -1, %zeros
  %mask = zext i32 %mask_short to i64
  %below = lshr i64 %mask, 1
  %two_below = add i64 %below, 1
  %has = icmp ne i64 %has_2, 0
  br i1 %has, label %old, label %even
old:
  %place_3 = call i64 @filled(ptr %own, ptr %left, i64 %place_2, i64 %held_2, i64 %mask)
  %stays = icmp ugt i64 %place_3, %below
  br i1 %stays, label %even, label %octave
even:
  %place_even = phi i64 [ %place_2, %masked ], [ %place_3, %old ]
  %some = icmp ugt i64 %place_even, %two_below
  br i1 %some, label %pair, label %odd
pair:
  %place_4 = phi i64 [ %place_even, %even ], [ %place_next, %pair ]
  %state_4 = phi i128 [ %state_2, %even ], [ %state_next, %pair ]
  %state_next = call i128 @advanced(i128 %state_4, i128 %step)
  %number = call i64 @number(i128 %state_next)
  %place_half = call i64 @filled(ptr %own, ptr %left, i64 %place_4, i64 %number, i64 %mask)
  %high = lshr i64 %number, 32
  %place_next = call i64 @filled(ptr %own, ptr %left, i64 %place_half, i64 %high, i64 %mask)
  %more = icmp ugt i64 %place_next, %two_below
  br i1 %more, label %pair, label %odd
odd:
  %place_5 = phi i64 [ %place_even, %even ], [ %place_next, %pair ]
  %state_5 = phi i128 [ %state_2, %even ], [ %state_next, %pair ]
  %single = icmp ugt i64 %place_5, %below
  br i1 %single, label %new, label %octave
new:
  %state_6 = call i128 @advanced(i128 %state_5, i128 %step)
  %number_6 = call i64 @number(i128 %state_6)
  %place_6 = call i64 @filled(ptr %own, ptr %left, i64 %place_5, i64 %number_6, i64 %mask)
  %held_6 = lshr i64 %number_6, 32
  br label %octave
ordered:
  %rest = load i32, ptr %left
  %rest_wide = zext i32 %rest to i64
  store i64 %rest_wide, ptr %own
  %index_next = add i64 %index, 1
  %orders_more = icmp slt i64 %index_next, %count
  br i1 %orders_more, label %order, label %end
end:
  store i128 %state_2, ptr %generator, align 8
  store i64 %has_2, ptr %has_
  store i64 %held_2, ptr %held_
  ret void
}
""".replace("FIRST", f"<{', '.join(f'i32 {i}' for i in range(LANES))}>")
_ordered = [0]  # examples, in this process


class Drawn(NamedTuple):
    """The order of the examples in the epochs ``first`` to ``last - 1``.

    Attributes:
        first: The epoch at which it begins.
        last: The epoch before which it ends.
        numbers: Those of the examples, then as many as a batch has, to look ahead at.
    """

    first: int
    last: int
    numbers: NDArray[np.int64]


class Order:
    """The order of the examples, epoch after epoch, drawn or as they come."""

    def __init__(self, epoch: Epoch, draws: Draws | None) -> None:
        self.epoch, self.draws = epoch, draws
        self.drawn = Drawn(0, 0, np.empty(0, np.int64))
        self.spare = self.drawn.numbers  # of the time before the last, which nobody needs any more

    def between(self, first: int, last: int) -> Drawn:
        """That of these epochs: new ones, or those of the last time or some of them."""
        if last > self.drawn.last:
            self.drawn = Drawn(first, last, self.numbers(last - first))
        return self.drawn

    def leave(self, epochs: int) -> None:
        """Let a generator of the user's stand where it does once so many epochs have begun."""
        if self.draws is not None and epochs < self.drawn.last:
            self.draws.back(epochs - self.drawn.first, self.epoch.examples)

    def numbers(self, count: int) -> NDArray[np.int64]:
        """The order of the next epochs."""
        n, more = self.epoch.examples, self.epoch.batch
        numbers, self.spare = self.spare, self.drawn.numbers
        fresh = len(numbers) != count * n + more
        if self.draws is None:
            return np.resize(np.arange(n), count * n + more) if fresh else numbers
        if fresh:
            numbers = np.empty(count * n + more, np.int64)
            numbers[count * n :] = 0
        self.draws.fill(numbers[: count * n].reshape(count, n))
        return numbers


class Draws:
    """Permutations of the generator that a seed begins, one after the other.

    Args:
        seed: For ``numpy.random.default_rng``. A generator of the user's is used as it is.

    Attributes:
        state: Where the generator stands once our own code draws; None before.
        before: Where one that was given stood before the last orders; None where none was.
    """

    def __init__(self, seed: Any) -> None:
        self.seed = seed
        self.given = isinstance(seed, GIVEN)  # it is to stand where NumPy would leave it
        self.own = not self.given and sys.byteorder == "little"
        self.state: NDArray[np.uint64] | None = None
        self.before: Any = None

    @cached_property
    def generator(self) -> np.random.Generator:
        """NumPy's; where our own code has drawn it stands where that began."""
        return np.random.default_rng(self.seed)

    def fill(self, orders: NDArray[np.int64]) -> None:
        """Write what ``generator.permutation(n)`` gives into each row of ``n``, in C order."""
        _ordered[0] += orders.size
        often = self.own and orders.shape[1] < LARGEST and _ordered[0] >= OFTEN
        shuffle = made() if self.state is not None else often and shuffler()
        if shuffle:
            self.shuffle(orders, shuffle)
            return
        if self.given:
            self.before = self.generator.bit_generator.state
        for order in orders:
            order[:] = self.generator.permutation(len(order))

    def back(self, count: int, n: int) -> None:
        """Let a given generator stand where it did after ``count`` of the last orders of ``n``."""
        if self.before is not None:
            self.generator.bit_generator.state = self.before
            for _ in range(count):
                self.generator.permutation(n)

    def shuffle(self, orders: NDArray[np.int64], shuffle: Callable[..., None]) -> None:
        """The same by our own code, from where the generator stands."""
        if self.state is None:
            fresh = type(self.seed) is int and "generator" not in vars(self)
            self.state = begun(self.seed).copy() if fresh else state_of(self.generator)
        count, n = orders.shape
        left = np.empty(n + LANES, np.uint32)
        shuffle(orders.ctypes.data, n, count, left.ctypes.data, self.state.ctypes.data)


@lru_cache
def begun(seed: int) -> NDArray[np.uint64]:
    """Where the generator of a seed begins."""
    return state_of(np.random.default_rng(seed))


def state_of(generator: np.random.Generator) -> NDArray[np.uint64]:
    """State and step in halves, the lower first, and the half of a number not asked for yet."""
    found = generator.bit_generator.state
    wide = [n for name in ("state", "inc") for n in divmod(found["state"][name], HALF + 1)[::-1]]
    return np.array([*wide, found["has_uint32"], found["uinteger"]], np.uint64)


def shuffler() -> Callable[..., None] | None:
    """Our own code, if it gives what this version of NumPy does."""
    flags = current()
    return made() if flags.jit and flags.renderer == "llvm" else None


@cache
def made() -> Callable[..., None] | None:
    """The code, compiled or from the disk."""
    from graphjit.codegen.build import native  # what compiles, for those who train for long
    from graphjit.codegen.render_llvm import Rendered

    code, _ = native(Rendered(TEXT, {}))
    shuffle = code.function("shuffle", *[ctypes.c_size_t] * 5)
    ours, theirs = Draws(0), np.random.default_rng(0)
    if type(theirs.bit_generator) is not np.random.PCG64:
        return None
    for n in SAMPLES:
        orders = np.zeros((2, n), np.int64)
        ours.shuffle(orders, shuffle)
        if not all(np.array_equal(order, theirs.permutation(n)) for order in orders):
            return None
    return shuffle
