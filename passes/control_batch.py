"""How control flow is batched: a scan over batched carries, a branch for each example."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from graphjit.ir.builder import Builder
from graphjit.ir.dag import depends_on
from graphjit.ir.graph import Graph, Node

if TYPE_CHECKING:
    from graphjit.passes.batch import Batching


def moved(builder: Builder, ident: int, source: int, target: int) -> int:
    """The value with one axis moved."""
    order = [a for a in range(builder.nodes[ident].aval.ndim) if a != source]
    order.insert(target, source)
    return builder.emit("transpose", ident, axes=tuple(order))


def reached(graph: Graph, batched: Sequence[int]) -> set[int]:
    """Positions of the outputs that depend on these inputs."""
    found = depends_on(graph, [graph.inputs[i] for i in batched])
    return {at for at, ident in enumerate(graph.outputs) if ident in found}


def wide_carries(graph: Graph, consts: int, carry: int, batched: set[int]) -> set[int]:
    """The batched inputs of a step, once every carry that becomes batched counts as one."""
    while True:
        more = {consts + i for i in reached(graph, sorted(batched)) if i < carry} - batched
        if not more:
            return batched
        batched = batched | more


def batched_graph(graph: Graph, batched: set[int], size: int, wide: set[int]) -> Graph:
    """The graph batched, with the new axis on the ``wide`` outputs only."""
    from graphjit.passes.batch import batch  # which calls these rules

    single = [i for i in range(len(graph.outputs)) if i not in wide]
    return batch(graph, sorted(batched), size, single)


def batch_scan(b: Batching, node: Node) -> dict[int, tuple[int, bool]]:
    """Carries get the axis in front, slices and stacks behind the scan's own."""
    params, builder = node.params, b.builder
    step, consts, carry = params["step"], params["consts"], params["carry"]
    start = {i for i, ident in enumerate(node.inputs) if ident in b.wide}
    batched = wide_carries(step, consts, carry, start)
    wide = reached(step, sorted(batched)) | {
        i - consts for i in batched if consts <= i < consts + carry
    }
    inputs = []
    for i, ident in enumerate(node.inputs):
        place = b.widened(ident) if i in batched else b.place[ident]
        inputs.append(
            moved(builder, place, 0, 1) if i in batched and i >= consts + carry else place
        )
    graph = batched_graph(step, batched, b.size, wide)
    items = builder.emit_control("scan", inputs, **{**params, "step": graph})
    placed = {}
    for i, item in enumerate(items):
        stacked = i in wide and i >= carry
        placed[i] = (moved(builder, item, 1, 0) if stacked else item, i in wide)
    return placed


def batch_cond(b: Batching, node: Node) -> dict[int, tuple[int, bool]]:
    """One condition: one branch for all examples; one each: both, and a choice."""
    which, *rest = node.inputs
    branches = node.params["branches"]
    batched = {i for i, ident in enumerate(rest) if ident in b.wide}
    count = range(len(node.results))
    wide = set.union(*(reached(g, sorted(batched)) for g in branches)) if batched else set()
    if which not in b.wide:
        graphs = tuple(batched_graph(g, batched, b.size, wide) for g in branches)
        inputs = [b.place[which], *(b.place[i] for i in rest)]
        items = b.builder.emit_control("cond", inputs, branches=graphs)
        return {i: (items[i], i in wide) for i in count}
    sides = []
    for graph in branches:
        full = batched_graph(graph, batched, b.size, set(count))
        place = b.builder.inline(full, [b.place[i] for i in rest])
        sides.append([place[i] for i in full.outputs])
    yes, no = sides
    return {i: (chosen(b.builder, b.place[which], yes[i], no[i]), True) for i in count}


def chosen(builder: Builder, which: int, yes: int, no: int) -> int:
    """For each example one of two values."""
    aval = builder.nodes[yes].aval
    shape = (aval.shape[0], *(1,) * (aval.ndim - 1))
    if builder.nodes[which].aval.shape != shape:
        which = builder.emit("reshape", which, shape=shape)
    return builder.emit("where", which, yes, no)


def batch_while(b: Batching, node: Node) -> dict[int, tuple[int, bool]]:
    """Rounds go on until no example wants one; those that are done keep their carry."""
    params, builder = node.params, b.builder
    test, step, tests, consts = (params[k] for k in ("test", "step", "tests", "consts"))
    flags = [ident in b.wide for ident in node.inputs]
    own = {i for i in range(consts) if flags[tests + i]}
    carry = len(step.inputs) - consts
    own |= {consts + i for i in range(carry) if flags[tests + consts + i]}
    batched = wide_carries(step, consts, carry, own)
    asked = {i for i in range(tests) if flags[i]} | {
        tests + i - consts for i in batched if i >= consts
    }
    if reached(test, sorted(asked)):
        batched = batched | {consts + i for i in range(carry)}
        asked |= {tests + i for i in range(carry)}
    many = bool(reached(test, sorted(asked)))
    wide = {i - consts for i in batched if i >= consts}
    question = batched_graph(test, asked, b.size, {0} if many else set())
    body = batched_graph(step, batched, b.size, wide)
    inputs = [b.place[i] for i in node.inputs]
    for i in wide:
        at = tests + consts + i
        inputs[at] = b.widened(node.inputs[at])
    if many:
        body = masked(question, body, tests, consts)
        question = any_of(question)
        inputs = [*inputs[:tests], *inputs[:tests], *inputs[tests:]]
        consts += tests
    items = builder.emit_control(
        "while", inputs, test=question, step=body, tests=tests, consts=consts
    )
    return {i: (item, i in wide) for i, item in enumerate(items)}


def batch_unwind(b: Batching, node: Node) -> dict[int, tuple[int, bool]]:
    """Everything gets the axis; an example that was done pulls back through idle rounds."""
    params, builder = node.params, b.builder
    test, step, pull, tests, consts = (
        params[k] for k in ("test", "step", "pull", "tests", "consts")
    )
    asked = {i for i in range(tests) if node.inputs[i] in b.wide}
    fixed = {i for i in range(consts) if node.inputs[tests + i] in b.wide}
    carries = set(range(consts, len(step.inputs)))
    asked |= set(range(tests, len(test.inputs)))
    back = set(range(len(step.inputs), len(pull.inputs)))
    question = batched_graph(test, asked, b.size, {0})
    body = batched_graph(step, fixed | carries, b.size, set(range(len(step.outputs))))
    every = set(range(len(pull.outputs)))
    pulled = batched_graph(pull, fixed | carries | back, b.size, every)
    inputs = [
        b.widened(ident) if i >= tests + consts else b.place[ident]
        for i, ident in enumerate(node.inputs)
    ]
    inputs = [*inputs[:tests], *inputs[:tests], *inputs[tests:]]
    items = builder.emit_control(
        "unwind", inputs, test=any_of(question), step=masked(question, body, tests, consts),
        pull=masked_pull(question, pulled, tests, (consts, len(step.inputs), params["sums"])),
        tests=tests, consts=consts + tests, sums=params["sums"],
    )  # fmt: skip
    return {i: (item, True) for i, item in enumerate(items)}


def masked_pull(question: Graph, pull: Graph, tests: int, counts: tuple[int, int, int]) -> Graph:
    """The pullback for the examples that made the round; for the others that of doing nothing."""
    consts, first, sums = counts
    builder = Builder()
    asked = [builder.input(a) for a in question.avals(question.inputs)[:tests]]
    own = [builder.input(a) for a in pull.avals(pull.inputs)]
    wants = builder.inline(question, [*asked, *own[consts:first]])[question.outputs[0]]
    place = builder.inline(pull, own)
    after = [place[i] for i in pull.outputs]
    nothing = [
        *(
            builder.broadcast_to(builder.constant(0, a.dtype), a.shape)
            for a in pull.avals(pull.outputs[:sums])
        ),
        *own[first:],
    ]
    pairs = zip(after, nothing, strict=True)
    return builder.graph([chosen(builder, wants, new, old) for new, old in pairs])


def any_of(question: Graph) -> Graph:
    """Whether any example wants another round."""
    builder = Builder()
    inputs = [builder.input(a) for a in question.avals(question.inputs)]
    place = builder.inline(question, inputs)
    return builder.graph([builder.emit("any", place[question.outputs[0]], axes=(0,))])


def masked(question: Graph, body: Graph, tests: int, consts: int) -> Graph:
    """The body for the examples that want another round; the others keep what they have.

    Its inputs: what the question asks with, the body's constants, the carries.
    """
    builder = Builder()
    asked = [builder.input(a) for a in question.avals(question.inputs)[:tests]]
    own = [builder.input(a) for a in body.avals(body.inputs)]
    carries = own[consts:]
    wants = builder.inline(question, [*asked, *carries])[question.outputs[0]]
    place = builder.inline(body, own)
    after = [place[i] for i in body.outputs]
    pairs = zip(after, carries, strict=True)
    return builder.graph([chosen(builder, wants, new, old) for new, old in pairs])


BATCH = {
    "scan": batch_scan,
    "cond": batch_cond,
    "while": batch_while,
    "unwind": batch_unwind,
}
