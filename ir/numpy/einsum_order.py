"""In which order the operands of np.einsum are contracted, pair by pair."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

EXACT = 8  # terms of which all orders are looked at: 3,000 pairs of sets, 10 ms


def order(words: Sequence[str], output: str, sizes: Mapping[str, int]) -> Sequence[Sequence[int]]:
    """Which terms to contract at each step; a result goes to the end.

    The order of the fewest multiplications for up to ``EXACT`` terms, NumPy's greedy one for more.

    Args:
        words: The letters of each term's axes.
        output: Those of the result's.
        sizes: The length of each axis.
    """
    if len(words) < 3:
        return [range(len(words))][: len(words) - 1]
    if len(words) <= EXACT:
        return steps(cheapest(words, output, sizes), len(words))
    shapes = [np.broadcast_to(np.float64(0), [sizes[c] for c in word]) for word in words]
    spec = ",".join(words) + "->" + output
    return np.einsum_path(spec, *shapes, optimize="greedy")[0][1:]


def cheapest(words: Sequence[str], output: str, sizes: Mapping[str, int]) -> Mapping[int, int]:
    """For each product on the way, a set of terms as bits, the part that its first factor is.

    Dynamic programming over sets: Pfeifer, Haegeman and Verstraete, "Faster identification of
    optimal contraction sequences for tensor networks" (Phys. Rev. E 90, 2014).
    """
    whole = (1 << len(words)) - 1
    inside = [set[str]()] * (whole + 1)
    for s in range(1, whole + 1):
        inside[s] = inside[s & (s - 1)] | set(words[(s & -s).bit_length() - 1])
    # A product has the letters that are needed outside it too.
    kept = [inside[s] & (inside[whole ^ s] | set(output)) for s in range(whole + 1)]
    cost = [(0, 0)] * (whole + 1)
    chosen: dict[int, int] = {}
    for s in range(1, whole + 1):
        if s & (s - 1):
            ways = [(price(cost, kept, sizes, s, part), part) for part in parts(s)]
            cost[s], chosen[s] = min(ways)
    return chosen


def parts(s: int) -> Iterator[int]:
    """The subsets that have the lowest element, but for the set itself."""
    rest = s & (s - 1)
    part = rest
    while part:
        part = (part - 1) & rest
        yield part | (s & -s)


def price(
    cost: Sequence[tuple[int, int]], kept: Sequence[set[str]], sizes: Mapping[str, int],
    s: int, part: int,
) -> tuple[int, int]:  # fmt: skip
    """Multiplications, and elements of what lies between, of a product of two parts."""
    other = s ^ part
    work = math.prod(sizes[c] for c in kept[part] | kept[other])
    room = math.prod(sizes[c] for c in kept[s])
    return cost[part][0] + cost[other][0] + work, cost[part][1] + cost[other][1] + room


def steps(chosen: Mapping[int, int], count: int) -> list[tuple[int, int]]:
    """The same as positions in the list of what there is: a result goes to its end."""
    order, waiting = list[int](), [(1 << count) - 1]
    while waiting:  # parents before children
        s = waiting.pop()
        if s in chosen:
            order.append(s)
            waiting += [chosen[s], s ^ chosen[s]]
    present, found = [1 << i for i in range(count)], []
    for s in reversed(order):
        pair = sorted((present.index(chosen[s]), present.index(s ^ chosen[s])))
        found.append((pair[0], pair[1]))
        del present[pair[1]], present[pair[0]]
        present.append(s)
    return found
