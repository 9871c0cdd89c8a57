"""Second thoughts on loop groups: merging two of them, and computing again what is cheap."""

from __future__ import annotations

from collections.abc import Iterable

from graphjit.ir.graph import Graph
from graphjit.passes.costs import computing, elementwise, storing
from graphjit.passes.group import LIMIT, Group, Placement

# What a member of each role may read: see the roles in ``group``.
READS = {
    "each": {"each", "row", "outside"},
    "row": {"row", "outside"},
    "fold": {"each", "outside"},
    "spill": {"each", "outside"},
    "after": {"scalar", "outside"},
}
CONE = 12  # members that are computed again for one value, at most

Unit = Group | int


def merged(placement: Placement, one: Group, two: Group) -> Group | None:
    """One group with the members of both, if the loops can be shared."""
    if len(one.space) < len(two.space):
        one, two = two, one
    if one.space != two.space:
        wider = two.widened(one.space)
        if wider is None:
            return None
        two = wider
    if None not in (one.rows, two.rows) and one.rows != two.rows:
        return None
    if len(one.roles) + len(two.roles) > LIMIT:
        return None
    group = Group(one.space, None, {**one.roles, **two.roles}, {**one.folds, **two.folds})
    rows = one.rows if one.rows is not None else two.rows
    if rows is not None:
        group.fix_rows(rows)
    return group if consistent(placement, group) else None


def consistent(placement: Placement, group: Group) -> bool:
    """Whether every member reads the group in a way that its role allows."""
    for ident, role in group.roles.items():
        node = placement.graph.nodes[ident]
        if node.op == "gather" and placement.views[node.inputs[0]][0] in group.roles:
            return False
        parts = placement.parts(node, group)
        if role == "total":
            if not (parts <= READS["fold"] or parts <= READS["row"]):
                return False
        elif not parts <= READS[role]:
            return False
    return True


def sink(graph: Graph, placement: Placement, units: list[Unit], unit_of: dict[int, int]) -> None:
    """Compute members in the groups that read them, where that costs less than to store them.

    ``y (1 - y)`` of a sigmoid's derivative moves from the forward loop, where y is known, to the
    backward loop, where it is used: y is stored anyway, and one array less is written and read.
    ``costs`` says what is cheaper.
    """
    kept = fixed_reads(graph, placement, unit_of, units)
    users = reading_groups(graph, placement, unit_of, units)
    for ident, readers in users.items():
        home = units[unit_of[ident]]
        found = cone(graph, placement, ident, home, kept)
        if found is None or not pays(graph, placement, ident, found, readers):
            continue
        if all(_takes(placement, reader, home, found) for reader in readers):
            for reader in readers:
                reader.roles.update(dict.fromkeys(found, "each"))


def pays(
    graph: Graph, placement: Placement, ident: int, found: set[int], readers: list[Group]
) -> bool:
    """Whether all readers together compute a value sooner than they read what is stored of it."""
    value, nodes = graph.nodes[ident].aval, [graph.nodes[i] for i in found]
    leaves = operands(graph, placement, found) - found
    again = 0.0
    for reader in readers:
        fresh = leaves - operands(graph, placement, reader.roles) - reader.roles.keys()
        read = [graph.nodes[i] for i in fresh]
        arrays = [n.aval for n in read if n.op not in ("constant", "iota")]
        again += computing(nodes, value, arrays)
    return again < storing(value, len(readers))


def operands(graph: Graph, placement: Placement, idents: Iterable[int]) -> set[int]:
    """What nodes read, through any layout."""
    return {placement.views[i][0] for ident in idents for i in graph.nodes[ident].inputs}


def _takes(placement: Placement, reader: Group, home: Unit, cone: set[int]) -> bool:
    """Whether the cone can be computed in the reader: not where that reads it transposed, say."""
    same = isinstance(home, Group) and reader.space == home.space
    if not same or len(reader.roles) + len(cone) > LIMIT:
        return False
    roles = {**reader.roles, **dict.fromkeys(cone, "each")}
    return consistent(placement, Group(reader.space, reader.rows, roles, reader.folds))


def fixed_reads(
    graph: Graph, placement: Placement, unit_of: dict[int, int], units: list[Unit]
) -> set[int]:
    """What must be stored whatever the groups do: it is an output, or no loop group reads it."""
    found = {placement.views[i][0] for i in graph.outputs}
    for node in graph.nodes:
        if node.id in unit_of and not isinstance(units[unit_of[node.id]], Group):
            found |= {placement.views[i][0] for i in node.inputs}
    return found


def reading_groups(
    graph: Graph, placement: Placement, unit_of: dict[int, int], units: list[Unit]
) -> dict[int, list[Group]]:
    """For each member of a group the other groups that read it."""
    found: dict[int, dict[int, Group]] = {}
    for node in graph.nodes:
        index = unit_of.get(node.id)
        group = units[index] if index is not None else None
        if index is None or not isinstance(group, Group):
            continue
        for operand in node.inputs:
            base = placement.views[operand][0]
            if unit_of.get(base, index) != index:
                found.setdefault(base, {})[index] = group
    return {
        base: list(groups.values())
        for base, groups in found.items()
        if isinstance(units[unit_of[base]], Group)
    }


def cone(
    graph: Graph, placement: Placement, ident: int, home: Unit, kept: set[int]
) -> set[int] | None:
    """The members to compute again for ``ident``: maps, from what is stored anyway."""
    if not isinstance(home, Group) or ident in kept:
        return None
    found, pending = set[int](), [ident]
    while pending:
        at = pending.pop()
        if at in found:
            continue
        if not elementwise(graph.nodes[at]) or home.roles[at] != "each" or len(found) == CONE:
            return None
        found.add(at)
        inside = operands(graph, placement, [at])
        pending += [b for b in inside if b in home.roles and b not in kept and b not in found]
    return found
