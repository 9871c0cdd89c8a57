"""Permutations of a seeded generator, the same that NumPy draws, in a third of its time.

NumPy asks the generator for one number at a time, and a processor guesses wrong again and again
whether it is small enough. Here the numbers come by the thousand, and those that are too large are
written over by the next.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphjit.flags import current

OFTEN = 1 << 21  # examples that NumPy orders in the time that it takes to make the code
SAMPLES = 1, 2, 3, 64, 65, 1000
LARGEST = 1 << 31  # from which on NumPy draws numbers of 64 bits
GIVEN = np.random.Generator, np.random.BitGenerator, np.random.RandomState

# R. Durstenfeld, "Algorithm 235: random permutation" (CACM 7, 1964). For each place from the last
# one down a number up to it: 32 bits, those above the highest of the place cleared, and again where
# that is too much. The first loops find the numbers, the last one exchanges.
TEXT = """
declare i32 @llvm.ctlz.i32(i32, i1)
define void @shuffle(ptr %order, i64 %n, ptr %words, i64 %count, ptr %numbers, ptr %used) {
entry:
  %last = sub i64 %n, 1
  br label %octave
octave:
  %place_0 = phi i64 [ %last, %entry ], [ %place, %seen ]
  %word_0 = phi i64 [ 0, %entry ], [ %word, %seen ]
  %open = icmp sgt i64 %place_0, 0
  %known = icmp slt i64 %word_0, %count
  %goes_on = and i1 %open, %known
  br i1 %goes_on, label %masked, label %found
masked:
  %short = trunc i64 %place_0 to i32
  %zeros = call i32 @llvm.ctlz.i32(i32 %short, i1 false)
  %mask = lshr i32 -1, %zeros
  %half = lshr i32 %mask, 1
  %below = zext i32 %half to i64
  br label %number
number:
  %place_1 = phi i64 [ %place_0, %masked ], [ %place, %number ]
  %word_1 = phi i64 [ %word_0, %masked ], [ %word, %number ]
  %word_ = getelementptr i32, ptr %words, i64 %word_1
  %bits = load i32, ptr %word_
  %drawn = and i32 %bits, %mask
  %drawn_ = getelementptr i32, ptr %numbers, i64 %place_1
  store i32 %drawn, ptr %drawn_
  %wide = zext i32 %drawn to i64
  %fits = icmp ule i64 %wide, %place_1
  %one = zext i1 %fits to i64
  %place = sub i64 %place_1, %one
  %word = add i64 %word_1, 1
  %same = icmp ugt i64 %place, %below
  %more = icmp slt i64 %word, %count
  %again = and i1 %same, %more
  br i1 %again, label %number, label %seen
seen:
  br label %octave
found:
  %all = select i1 %open, i64 -1, i64 %word_0
  store i64 %all, ptr %used
  br i1 %open, label %end, label %filled
filled:
  %i = phi i64 [ 0, %found ], [ %i_next, %filled ]
  %i_ = getelementptr i64, ptr %order, i64 %i
  store i64 %i, ptr %i_
  %i_next = add i64 %i, 1
  %i_more = icmp slt i64 %i_next, %n
  br i1 %i_more, label %filled, label %exchanges
exchanges:
  %k = phi i64 [ %last, %filled ], [ %k_next, %exchange ]
  %k_more = icmp sgt i64 %k, 0
  br i1 %k_more, label %exchange, label %end
exchange:
  %k_ = getelementptr i64, ptr %order, i64 %k
  %j_ = getelementptr i32, ptr %numbers, i64 %k
  %j = load i32, ptr %j_
  %j_wide = zext i32 %j to i64
  %other_ = getelementptr i64, ptr %order, i64 %j_wide
  %mine = load i64, ptr %k_
  %other = load i64, ptr %other_
  store i64 %other, ptr %k_
  store i64 %mine, ptr %other_
  %k_next = sub i64 %k, 1
  br label %exchanges
end:
  ret void
}
"""
_ordered = [0]  # examples, in this process


class Draws:
    """Permutations of the generator that a seed begins, one after the other.

    Args:
        seed: For ``numpy.random.default_rng``. A generator of the user's is used as it is.
    """

    def __init__(self, seed: Any) -> None:
        self.generator = np.random.default_rng(seed)
        given = isinstance(seed, GIVEN)  # which is to stand afterwards where NumPy would leave it
        plain = type(self.generator.bit_generator) is np.random.PCG64 and not given
        self.own = plain and sys.byteorder == "little"
        self.words: NDArray[np.uint32] | None = None

    def permutation(self, n: int, more: int = 0) -> NDArray[np.int64]:
        """What ``generator.permutation(n)`` gives, then so many zeros."""
        _ordered[0] += n
        often = self.own and n < LARGEST and _ordered[0] >= OFTEN
        shuffle = made() if self.words is not None else often and shuffler()
        order = np.empty(n + more, np.int64)
        order[n:] = 0
        if shuffle:
            self.shuffle(order[:n], shuffle)
        else:
            order[:n] = self.generator.permutation(n)
        return order

    def shuffle(self, order: NDArray[np.int64], shuffle: Callable[..., None]) -> None:
        """The same by our own code, from the words that the generator gives next."""
        words = left_over(self.generator) if self.words is None else self.words
        n, numbers = len(order), np.empty(len(order), np.uint32)
        used, wanted = np.full(1, -1), n + n // 2 + 64  # it takes 1.47 n of them at most, or so
        while used[0] < 0:
            missing = max(wanted - len(words), 0)
            more = self.generator.bit_generator.random_raw(-(-missing // 2))
            words = np.concatenate([words, more.view(np.uint32)])
            places = order, n, words, len(words), numbers, used
            shuffle(*(a.ctypes.data if isinstance(a, np.ndarray) else a for a in places))
            wanted += wanted
        self.words = words[used[0] :]


def left_over(generator: np.random.Generator) -> NDArray[np.uint32]:
    """The half of a number of 64 bits that was not asked for yet."""
    state = generator.bit_generator.state
    return np.array([state["uinteger"]][: state["has_uint32"]], np.uint32)


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
    shuffle = code.function("shuffle", *[ctypes.c_size_t] * 6)
    ours, theirs = Draws(0), np.random.default_rng(0)
    for n in SAMPLES:
        order = np.zeros(n, np.int64)
        ours.shuffle(order, shuffle)
        if not np.array_equal(order, theirs.permutation(n)):
            return None
    return shuffle
