"""Write expressions: one text for each, operands first, and names for what is used again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import count

from graphjit.symbolic.expression import BASES, DEEP, UNIT, Atom, Call, Let, Product, Sum, operands
from graphjit.symbolic.notation import Notation
from graphjit.symbolic.numbers import ONE, Number, split
from graphjit.symbolic.pieces import ATOM, Piece, written
from graphjit.symbolic.pool import Pool

Term = tuple[list[tuple[int, Number]], list[tuple[int, Number]]]


class Shown:
    """The formulas as they will be written.

    Attributes:
        order: Everything that is written, operands first.
        definitions: The names that are worth a line of their own, in the order of their lines.
    """

    def __init__(self, pool: Pool, roots: Sequence[int], keep: int = -1) -> None:
        self.pool, self.roots = pool, tuple(roots)
        self._terms: dict[int, Term] = {}
        self.order = self._ordered()
        self.definitions = self._defined(keep)

    def term(self, ident: int) -> Term:
        """A product's factors above and below the fraction line, in the order of writing."""
        if ident not in self._terms:
            factors = folded(self.pool, ident)
            factors.sort(key=lambda pair: (rank_of(self.pool, pair[0]), self.pool.ranks[pair[0]]))
            above = [(b, e) for b, e in factors if e > 0]
            self._terms[ident] = above, [(b, -e) for b, e in factors if e < 0]
        return self._terms[ident]

    def below(self, ident: int) -> list[int]:
        """What an expression is written with."""
        item = self.pool.items[ident]
        if isinstance(item, Sum):
            return [b for _, i in item.terms for b in self._inside(i)]
        return self._inside(ident) if isinstance(item, Product) else list(operands(item))

    def _inside(self, ident: int) -> list[int]:
        above, under = self.term(ident)
        return [b for b, _ in (*above, *under)]

    def _ordered(self) -> list[int]:
        """All that is written, operands first: a depth-first walk with a stack of its own."""
        order, seen = list[int](), set[int]()
        stack = [(root, False) for root in reversed(self.roots)]
        while stack:
            ident, done = stack.pop()
            if done:
                order.append(ident)
            elif ident not in seen:
                seen.add(ident)
                stack.append((ident, True))
                stack += [(i, False) for i in reversed(self.below(ident)) if i not in seen]
        return order

    def _uses(self) -> dict[int, int]:
        """How often each expression would be written if all names with one use were not."""
        uses = dict.fromkeys(self.order, 0)
        for root in self.roots:
            uses[root] += 1
        for ident in reversed(self.order):
            once = isinstance(self.pool.items[ident], Let)
            for i in self.below(ident):
                uses[i] = min(uses[i] + (1 if once else uses[ident]), 2)
        return uses

    def _defined(self, keep: int) -> list[int]:
        """The names that stay: of what is used twice, or would nest too deeply."""
        uses, depths, kept = self._uses(), dict[int, int](), list[int]()
        for ident in self.order:
            below = max((depths[i] for i in self.below(ident)), default=-1)
            if not isinstance(self.pool.items[ident], Let):
                depths[ident] = below + 1
            elif uses[ident] > 1 or below > DEEP or ident == keep:
                kept.append(ident)
                depths[ident] = 0
            else:
                depths[ident] = below
        return kept


def folded(pool: Pool, ident: int) -> list[tuple[int, Number]]:
    """A product's factors with the bases eᵘ and aᵘ written as e^(3u) and a^(u - 1)."""
    factors = dict(pool.factors(ident))
    result = list[tuple[int, Number]]()
    for base, exponent in list(factors.items()):
        item = pool.items[base]
        if not isinstance(item, Call) or item.op not in BASES:
            continue
        del factors[base]
        inside = pool.scaled(item.operands[-1], exponent)
        if item.op == "power" and item.operands[0] in factors:
            inside = pool.add(inside, pool.number(factors.pop(item.operands[0])))
        result.append((pool.call(item.op, *item.operands[:-1], inside), ONE))
    return [*factors.items(), *result]


def rank_of(pool: Pool, ident: int) -> int:
    """Where a factor stands in a product: variables, powers, sums, functions, great sums."""
    item = pool.items[ident]
    if isinstance(item, Call):
        if item.op in ("sum", "prod", "matmul", "einsum", "outer"):
            return 5
        return 2 if item.op in BASES else 4
    if isinstance(item, Sum) and pool.value(ident) is None:
        return 3
    return 1 if isinstance(item, Atom | Let | Product) and item != Atom("pi") else 0


def in_order(pool: Pool, terms: Sequence[tuple[Number, int]]) -> list[tuple[Number, int]]:
    """Terms in the order of appearance of what they hold; no sum starts with a minus if it can."""

    def place(term: tuple[Number, int]) -> list[tuple[tuple[int, str], float]]:
        return sorted(((pool.ranks[b], float(-e)) for b, e in pool.factors(term[1])), reverse=True)

    found = sorted((t for t in terms if t[1] != UNIT), key=place)
    constant = [t for t in terms if t[1] == UNIT]
    last = not found or (found[0][0] > 0 and polynomial(pool, found[0][1]))
    last = last or any(c < 0 for c, _ in constant)
    found = found + constant if last else constant + found
    first = next((t for t in found if t[0] > 0), found[0]) if found else None
    return [first, *(t for t in found if t is not first)] if first else []


def polynomial(pool: Pool, ident: int) -> bool:
    """Whether a term is a product of variables alone."""
    return all(isinstance(pool.items[b], Atom | Let) and e > 0 for b, e in pool.factors(ident))


class Writer:
    """Writes what is shown in one notation, each expression once."""

    def __init__(self, shown: Shown, notation: Notation, names: dict[int, str]) -> None:
        self.shown, self.pool, self.notation, self.names = shown, shown.pool, notation, names
        self.pieces: dict[int, Piece] = {}
        for ident in shown.order:
            self.pieces[ident] = self.piece(ident)

    def piece(self, ident: int) -> Piece:
        """The text of one expression, from those of its operands."""
        found = self._piece(ident)
        return found._replace(shape=self.pool.shapes[ident])

    def _piece(self, ident: int) -> Piece:
        match self.pool.items[ident]:
            case Atom(name):
                return Piece(self.notation.name(name), ATOM)
            case Let(value):
                if ident in self.names:
                    return Piece(self.notation.name(self.names[ident]), ATOM)
                return self.pieces[value]
            case Sum(terms):
                return self._sum(terms)
            case Product():
                return self._term(ONE, ident)
            case Call() as call:
                inputs = [self.pieces[i] for i in call.operands]
                return self.notation.call(written(call, inputs, self.pool.shapes[ident]))
        raise AssertionError

    def _sum(self, terms: Sequence[tuple[Number, int]]) -> Piece:
        if not terms:
            return Piece("0", ATOM)
        ordered = in_order(self.pool, terms)
        return self.notation.sum([(c < 0, self._term(max(c, -c), i)) for c, i in ordered])

    def _term(self, coefficient: Number, ident: int) -> Piece:
        above, below = self.shown.term(ident)
        if not above and not below:
            return self.notation.number(coefficient)
        top, bottom = split(coefficient)
        over = [self._number(top)] if top else []
        under = [self._number(bottom)] if bottom else []
        over += [self._power(b, e) for b, e in above]
        under += [self._power(b, e) for b, e in below]
        return self.notation.fraction(over, under) if under else self.notation.product(over)

    def _number(self, text: str) -> Piece:
        return self.notation.number(Fraction(text))

    def _power(self, base: int, exponent: Number) -> Piece:
        piece = self.pieces[base]
        if exponent == 1:
            return piece
        return self.notation.power(piece, exponent)._replace(shape=piece.shape)


def fresh_names(taken: set[str], needed: int) -> Iterator[str]:
    """Names for shared parts: u, v, w, or where there are more of them u1, u2, ..."""
    letters = [name for name in ("u", "v", "w") if name not in taken]
    if needed <= len(letters):
        return iter(letters)
    root = next(name for name in ("u", "v", "w", "t", "q_", "part") if not_used(name, taken))
    return (f"{root}{number}" for number in count(1))


def not_used(root: str, taken: set[str]) -> bool:
    """Whether no variable is called so, with or without a number."""
    return not any(name.startswith(root) and (name[len(root) :] or "0").isdigit() for name in taken)
