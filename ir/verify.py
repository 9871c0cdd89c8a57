"""The rules of the IR, checked: what every pass may rely on and must leave intact."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import chain
from typing import Any

from graphjit.errors import VerifyError
from graphjit.ir.aval import DTYPES, Aval, DType, dtype_name
from graphjit.ir.fits import misfits
from graphjit.ir.graph import Graph, Node
from graphjit.ir.primitive import TABLE
from graphjit.ir.text import excerpt, show_node

EXCERPTS = 3  # faults that are shown with the lines around them
SHOWN = 20  # faults that are shown


def verify(graph: Graph) -> Graph:
    """Return the graph, if it obeys the rules of the IR.

    Ids are positions; operands exist and come before their readers; every operation has a row,
    and the aval that the row's rule gives; operands fit their operation and its params; a node
    with several results is read through items only; body graphs obey the same rules, and their
    inputs and outputs are the node's operands and results.

    Raises:
        VerifyError: with all that is wrong, each with the node's line and the user's.
    """
    faults = list(_graph_faults(graph, ""))
    if faults:
        places = "1 place" if len(faults) == 1 else f"{len(faults)} places"
        blocks = [fault.block(i < EXCERPTS) for i, fault in enumerate(faults[:SHOWN])]
        rest = [f"\n... and {len(faults) - SHOWN} more"] if len(faults) > SHOWN else []
        text = "\n".join([f"the graph breaks the rules of the IR in {places}", *blocks, *rest])
        error = VerifyError(text)
        error.origin = next((f.node.origin for f in faults if f.node and f.node.origin), None)
        raise error
    return graph


@dataclass(frozen=True)
class _Fault:
    """What is wrong, and where: ``within`` names the nodes whose body graph it is."""

    fact: str
    graph: Graph
    position: int | None = None
    within: str = ""

    @property
    def node(self) -> Node | None:
        return None if self.position is None else self.graph.nodes[self.position]

    def block(self, lines_around: bool) -> str:
        """The fault as a paragraph: the fact, the user's line, the nodes."""
        if self.node is None or self.position is None:
            return f"\n{self.within}{self.fact}"
        shown = excerpt(self.graph, self.position) if lines_around else f"> {show_node(self.node)}"
        return f"\n{self.within}%{self.position} {self.fact}\n{_place(self.node)}{shown}"


def _place(node: Node) -> str:
    if node.origin is None:
        return ""
    return f"  at {node.origin.file}:{node.origin.line}\n" + (
        f"      {node.origin.source}\n" if node.origin.source else ""
    )


def _graph_faults(graph: Graph, within: str) -> Iterator[_Fault]:
    for fact in chain(_interface_faults(graph), _dag_faults(graph)):
        yield _Fault(fact, graph, within=within)
    for position, node in enumerate(graph.nodes):
        for fact in _node_faults(graph, position, node):
            yield _Fault(fact, graph, position, within)
        for body in node.bodies:
            yield from _graph_faults(body, f"{within}in the body of %{position}: ")


def _interface_faults(graph: Graph) -> Iterator[str]:
    """What is wrong with the graph's inputs and outputs."""
    size, nodes = len(graph), graph.nodes
    for kind, ids in (("input", graph.inputs), ("output", graph.outputs)):
        lost = [ident for ident in ids if not _in_range(ident, size)]
        yield from (f"{kind} %{i} does not exist: the graph has {size} nodes" for i in lost)
    given = Counter(ident for ident in graph.inputs if _in_range(ident, size))
    for ident in sorted(given.keys() | {i for i in range(size) if nodes[i].op == "input"}):
        if nodes[ident].op != "input":
            yield f"input %{ident} is a node of the operation {nodes[ident].op}"
        elif given[ident] != 1:
            yield f"the inputs have %{ident} {given[ident]} times: each input node is there once"
    for ident in graph.outputs:
        if _in_range(ident, size) and nodes[ident].results:
            yield f"output %{ident} has several results: only an item of them can be an output"


def _in_range(ident: Any, size: int) -> bool:
    return type(ident) is int and 0 <= ident < size


def _dag_faults(graph: Graph) -> Iterator[str]:
    """Where the networkx view, if it was looked at, says something else than the nodes."""
    if "dag" not in vars(graph):
        return
    from graphjit.ir.dag import edges  # networkx is loaded already, since there is a view

    said: dict[tuple[int, int], tuple[int, ...]] = {}
    for node in graph.nodes:
        for position, operand in enumerate(node.inputs):
            said[operand, node.id] = (*said.get((operand, node.id), ()), position)
    found = edges(graph)
    for pair in sorted(said.keys() | found.keys()):
        if said.get(pair) != found.get(pair):
            yield (
                f"the dag has the edge %{pair[0]} -> %{pair[1]} for the operands "
                f"{found.get(pair, ())}, the nodes for {said.get(pair, ())}"
            )


def _node_faults(graph: Graph, position: int, node: Node) -> Iterator[str]:
    """What is wrong with a node; what rests on what is wrong already is not looked at."""
    if node.id != position:
        yield f"has the id {node.id}: ids are positions"
    if node.op not in TABLE:
        yield f"has the operation {node.op!r}, which no row of the table has"
        return
    lost = list(_operand_faults(graph, position, node))
    yield from lost
    if not lost:
        yield from _aval_faults(graph, node)


def _operand_faults(graph: Graph, position: int, node: Node) -> Iterator[str]:
    """What is wrong with where the node reads from."""
    for operand in node.inputs:
        if not _in_range(operand, len(graph)):
            yield f"reads %{operand}, which does not exist: the graph has {len(graph)} nodes"
        elif operand >= position:
            yield f"reads %{operand}, which does not come before it"
        elif graph.nodes[operand].results and node.op != "item":
            yield f"reads %{operand}, which has several results, without an item"


def _aval_faults(graph: Graph, node: Node) -> Iterator[str]:
    for aval in (node.aval, *node.results[1:]):
        yield from _form_faults(aval)
    if node.results and node.aval != node.results[0]:
        yield f"has the aval {node.aval}, but its first result is {node.results[0]}"
    operands = graph.avals(node.inputs)
    if node.op == "input":
        yield from _input_faults(node)
    elif node.op == "item":
        yield from _item_faults(graph, node)
    elif "body" in node.params:
        yield from _body_faults(node, operands)
    else:
        yield from _rule_faults(node, operands)


def _form_faults(aval: Aval) -> Iterator[str]:
    """What makes this no aval at all."""
    shape: Any = aval.shape
    if not isinstance(shape, tuple):
        yield f"has the shape {shape!r}, which is no tuple"
    elif not all(type(size) is int and size >= 0 for size in shape):
        yield f"has the shape {shape!r}: sizes are ints from 0 on"
    if not _is_known(aval.dtype):
        yield f"has the dtype {aval.dtype!r}, which no graph can hold"


@cache
def _is_known(dtype: DType) -> bool:
    return DTYPES.get(dtype_name(dtype)) == dtype


def _input_faults(node: Node) -> Iterator[str]:
    if node.inputs or node.params or node.results:
        yield "is an input, and has operands, params or results"


def _item_faults(graph: Graph, node: Node) -> Iterator[str]:
    """What is wrong with a node that reads one of several results."""
    results = graph.nodes[node.inputs[0]].results if len(node.inputs) == 1 else ()
    index = node.params.get("index")
    if not results:
        yield "is an item, but does not read one node with several results"
    elif set(node.params) != {"index"} or type(index) is not int:
        yield f"is an item, and its only param is an int index, not {dict(node.params)}"
    elif not 0 <= index < len(results):
        yield f"is item {index} of a node with {len(results)} results"
    elif node.aval != results[index]:
        yield f"has the aval {node.aval}, but result {index} is {results[index]}"


def _body_faults(node: Node, operands: tuple[Aval, ...]) -> Iterator[str]:
    """What is wrong between a node and the graph that it carries as ``body``."""
    body = node.params["body"]
    if not isinstance(body, Graph):
        yield "has a body that is no graph"
        return
    size = len(body)
    if not all(_in_range(ident, size) for ident in (*body.inputs, *body.outputs)):
        return  # is said of the body itself
    takes, gives = body.avals(body.inputs), body.avals(body.outputs)
    if takes != operands:
        yield f"passes {_list(operands)} to a body that takes {_list(takes)}"
    if gives != node.results:
        yield f"has the results {_list(node.results)}, but its body gives {_list(gives)}"


def _list(avals: tuple[Aval, ...]) -> str:
    return f"({', '.join(map(str, avals))})"


def _rule_faults(node: Node, operands: tuple[Aval, ...]) -> Iterator[str]:
    """Where the node is not what its row says of these operands."""
    primitive = TABLE[node.op]
    try:
        said: Any = primitive.aval(*operands, **node.params)
        wrong = list(misfits(primitive, operands, node.params, node.aval))
    except Exception as error:  # noqa: BLE001 - a rule of any row, on operands it was not made for
        text = f"{type(error).__name__}: {error}"
        yield f"has operands {_list(operands)} or params that {node.op} cannot take ({text})"
        return
    given = node.results or (node.aval,)
    expected = said if isinstance(said, tuple) else (said,)
    yield from wrong
    if given != expected:
        yield f"is {_bare(given)}, but the rule of {node.op} says {_bare(expected)}"


def _bare(avals: tuple[Aval, ...]) -> str:
    return str(avals[0]) if len(avals) == 1 else _list(avals)
