"""Sums of products over a scan's steps: one large product after the loop."""

from __future__ import annotations

from collections.abc import Sequence

from graphjit.ir.builder import Builder
from graphjit.ir.dag import depends_on
from graphjit.ir.graph import Graph, Node
from graphjit.ir.table.contract import terms
from graphjit.passes.batch import LETTERS
from graphjit.passes.control_scan import Parts, Scan, held, swapped
from graphjit.passes.rewrite import Rebuild, reached
from graphjit.records import NamedTuple

ROOM = 2  # elements of operands that may be stacked for each element of the sum


def total(graph: Graph) -> Graph:
    """Add up products over all steps of a scan at once, after it.

    The gradient of a layer's weights is a sum over the steps of a scan, ``dw = dw + h.T @ g``, of
    thin products. Their operands are stacked, where they are not slices already, and the sum is
    one product that also runs over the steps.

    Safe, because nothing in the loop reads the sum; it is added up in another order, which changes
    its rounding alone.

    Before: a carry ``dw`` with the step ``dw + h.T @ g``, ``h`` a slice; after: the stack of ``g``,
    and ``einsum("thi,thj->ij", hs, gs)`` after the loop.
    """
    return swapped(graph, totalled) if graph.count("scan") else graph


class Sum(NamedTuple):
    """A carry that only adds up: which one, and the products that it adds."""

    carry: int
    products: tuple[Node, ...]


def totalled(new: Rebuild, scan: Scan) -> Sequence[int] | None:
    """The results of the scan without such carries, or None where it has none."""
    sums = [s for i in range(scan.carry) if (s := summed(scan, i)) is not None]
    if not scan.length or not sums or held(new, scan):
        return None
    builder, own = new.builder, scan.parts(new.operands(scan.node))
    gone = {s.carry for s in sums}
    left = [i for i in range(scan.carry) if i not in gone]
    operands = Parts(own.consts, tuple(own.carry[i] for i in left), own.slices)
    items = scan.emitted(builder, operands, stepped(scan, sums, left))
    found, after = dict(zip(left, items, strict=False)), items[len(left) :]
    stacks = dict(zip((*scan.stacked, *missing(scan, sums)), after, strict=True))
    stacks |= dict(zip(scan.inputs.slices, own.slices, strict=True))
    for s in sums:
        found[s.carry] = added(builder, s, own.carry[s.carry], stacks)
    return [*(found[i] for i in range(scan.carry)), *after[: len(scan.stacked)]]


def added(builder: Builder, total: Sum, start: int, stacks: dict[int, int]) -> int:
    """What the carry began with, and the products over all steps."""
    found = None if zero(builder, start) else start
    for node in total.products:
        spec = node.params["spec"]
        (a, b, result), step = terms(spec), next(c for c in LETTERS if c not in spec)
        operands = [stacks[i] for i in node.inputs]
        product = builder.emit(
            "contract", *operands, spec=f"{step}{a},{step}{b}->{result}", origin=node.origin
        )
        found = product if found is None else builder.emit("add", found, product)
    return start if found is None else found


def zero(builder: Builder, ident: int) -> bool:
    """Whether a value is known to be zeros."""
    node = builder.nodes[ident]
    while node.op == "broadcast":
        node = builder.nodes[node.inputs[0]]
    return node.op == "constant" and not node.params["value"].any()


def summed(scan: Scan, carry: int) -> Sum | None:
    """The carry as a sum of products, if that is all it is, and stacking their operands pays."""
    step, own = scan.step, scan.inputs.carry[carry]
    products, pending = list[Node](), [step.outputs[carry]]
    while pending:
        node = step.nodes[pending.pop()]
        if node.op == "contract":
            products.append(node)
        elif node.op == "add" and alone(step, node.id, step.outputs[carry]):
            pending += node.inputs
        elif node.id != own:
            return None
    found = Sum(carry, tuple(products))
    once = own not in step.outputs and len(step.users[own]) == 1
    return found if once and pays(scan, found) else None


def alone(step: Graph, ident: int, end: int) -> bool:
    """Whether a value is read once: as the carry's next value, or on the way there."""
    return len(step.users[ident]) + step.outputs.count(ident) == 1 and (
        ident == end or ident not in step.outputs
    )


def pays(scan: Scan, total: Sum) -> bool:
    """Whether the products have operands that move, and small enough ones."""
    step, own = scan.step, scan.inputs
    moving = depends_on(step, (*own.carry, *own.slices))
    read = {i for n in total.products for i in n.inputs}
    more = sum(step.nodes[i].aval.size for i in missing(scan, [total]))
    room = ROOM * sum(n.aval.size for n in total.products)
    return bool(read) and read <= moving and more <= room


def missing(scan: Scan, sums: Sequence[Sum]) -> list[int]:
    """The operands that are neither slices nor stacks, once each: they have to be stacked."""
    read = dict.fromkeys(i for s in sums for n in s.products for i in n.inputs)
    return [i for i in read if i not in scan.inputs.slices and i not in scan.stacked]


def stepped(scan: Scan, sums: Sequence[Sum], left: Sequence[int]) -> Graph:
    """The step with the carries that are left, and the operands of the sums after its stacks."""
    own, step = scan.inputs, scan.step
    inputs = (*own.consts, *(own.carry[i] for i in left), *own.slices)
    outputs = (*(step.outputs[i] for i in left), *scan.stacked, *missing(scan, sums))
    return reached(Graph(step.nodes, inputs, outputs))
