"""Algebra."""

from __future__ import annotations

from graphjit.ir.graph import Graph
from graphjit.passes.addends import ADDENDS
from graphjit.passes.algebra import ALGEBRA
from graphjit.passes.choices import CHOICES
from graphjit.passes.factors import FACTORS
from graphjit.passes.fold import FOLD
from graphjit.passes.layouts import LAYOUT
from graphjit.passes.rewrite import Rules, rewrite
from graphjit.passes.saturate import SATURATE
from graphjit.passes.selections import SELECTIONS
from graphjit.passes.sums import SUMS
from graphjit.passes.turned import TURNED


def simplify(graph: Graph) -> Graph:
    """Apply the rules of algebra: ``layouts`` to layouts, the other tables to maps.

    Safe, because each rule states how far it may differ: not at all, by the rounding of one
    operation, or, in the backward pass alone, in the sign of a zero. Constants that come together
    are folded on the way. One sweep suffices: operands are simple when a node is looked at, and
    what a rule makes goes through the rules too.

    Before: ``%1 = multiply(%0, 1)``, ``%2 = negative(%1)``, ``%3 = negative(%2)``; after: ``%0``.
    """
    return rewrite(graph, RULES)


def joined(*tables: Rules) -> Rules:
    """The rules of several tables, those of the first tried first."""
    names = dict.fromkeys(name for table in tables for name in table)
    return {name: tuple(r for table in tables for r in table.get(name, ())) for name in names}


RULES = joined(ALGEBRA, FACTORS, SATURATE, CHOICES, LAYOUT, SELECTIONS, ADDENDS, SUMS, TURNED, FOLD)
