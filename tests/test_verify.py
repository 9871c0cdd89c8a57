"""Graphs broken by hand: each fault is found, named and placed."""

import dataclasses
import time
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest

from graphjit.errors import GraphJITError, VerifyError
from graphjit.ir import TABLE, Aval, Builder, Graph, Node, Origin, aval_of, evaluate
from graphjit.ir.text import parse
from graphjit.ir.verify import verify
from random_graphs import random_arguments, random_graph
from zoo import ZOO, Animal

F64 = np.dtype(np.float64)
VECTOR = Aval((3,), F64)

CALL = """
graph(%0: f64[3]) -> (%2, %3)
%1: (f64[3], f64[]) = fused(%0, body=graph(%0: f64[3]) -> (%1, %2) {
    %1: f64[3] = sin(%0)
    %2: f64[] = sum(%1, axes=(0,))
})
%2: f64[3] = item(%1, index=0)
%3: f64[] = item(%1, index=1)
"""


def changed(graph: Graph, position: int, **fields: Any) -> Graph:
    """The graph with one node's fields replaced."""
    nodes = list(graph.nodes)
    nodes[position] = dataclasses.replace(nodes[position], **fields)
    return Graph(tuple(nodes), graph.inputs, graph.outputs)


def oddly_shaped(shape: Any) -> Aval:
    return Aval(shape, F64)


def message(graph: Graph) -> str:
    with pytest.raises(VerifyError) as caught:
        verify(graph)
    assert isinstance(caught.value, GraphJITError)
    return str(caught.value)


@pytest.mark.parametrize("smooth", [False, True])
@pytest.mark.parametrize("seed", range(40))
def test_random_graphs_are_right(seed: int, smooth: bool) -> None:
    graph = random_graph(seed, 60, smooth=smooth)
    assert verify(graph) is graph
    assert graph.dag.number_of_nodes() == len(graph)
    assert verify(graph) is graph


@pytest.mark.parametrize("smooth", [False, True])
@pytest.mark.parametrize("seed", range(40))
def test_random_graphs_keep_their_promise(seed: int, smooth: bool) -> None:
    graph = random_graph(seed, 60, smooth=smooth)
    everything = Graph(graph.nodes, graph.inputs, tuple(range(len(graph))))
    values = evaluate(everything, *random_arguments(graph, seed))
    assert [aval_of(value) for value in values] == [node.aval for node in graph.nodes]
    assert all(np.isfinite(value).all() for value in values)
    assert all(abs(value.astype(float)).max(initial=0) < 1e6 for value in values)
    assert not smooth or graph.nodes[graph.outputs[0]].aval == Aval((), F64)


def test_random_graphs_reach_the_whole_table() -> None:
    found = {node.op for seed in range(60) for node in random_graph(seed, 200).nodes}
    carriers = {name for name, row in TABLE.items() if row.kind in {"call", "control"}}
    assert set(TABLE) - found <= {"item", "hold", "stop_gradient", *carriers}


@pytest.mark.parametrize("animal", ZOO, ids=lambda animal: animal.name)
def test_what_is_traced_is_right(animal: Animal) -> None:
    graph, _ = animal.trace()
    assert verify(graph) is graph


def test_a_call_is_right() -> None:
    graph = parse(CALL)
    assert verify(graph) is graph


ONE = "graph(%0: f64[2,3], %1: f64[3], %2: i64[4], %3: bool[2,3]) -> (%4)\n%4: "


@pytest.mark.parametrize(
    ("line", "fact"),
    [
        ("f64[3] = sine(%1)", "%4 has the operation 'sine', which no row of the table has"),
        ("f64[3] = sin(%9)", "%4 reads %9, which does not exist: the graph has 5 nodes"),
        ("f64[3] = sin(%4)", "%4 reads %4, which does not come before it"),
        ("f64[4] = sin(%1)", "%4 is f64[4], but the rule of sin says f64[3]"),
        ("f32[3] = sin(%1)", "%4 is f32[3], but the rule of sin says f64[3]"),
        ("f64[3] = sin(%1, axis=0)", "has the params {'axis': 0}, but np.sin has none"),
        ("f64[2,3] = add(%0, %1)", "is a map of operands of different shapes (f64[2,3], f64[3])"),
        ("f64[3] = add(%1)", "params that add cannot take"),
        ("i64[4] = sin(%2)", "NumPy goes from float64 to float64"),
        ("bool[2,3] = add(%0, %3)", "NumPy goes from float64, float64 to float64"),
        ("f64[2,3] = less(%0, %0)", "the rule of less says bool[2,3]"),
        ("f64[2,3] = where(%0, %0, %0)", "chooses by f64[2,3], which is not bool"),
        ("bool[2,3] = where(%3, %0, %3)", "has operands of different dtypes (f64[2,3], bool[2,3])"),
        ("bool[2,3] = strong_multiply(%0, %3)", "has operands of different dtypes"),
        ("f64[3] = wrap_index(%1, size=3)", "is an index of f64[3], which is not an integer"),
        ("f64[2] = sum(%0, axes=(2,))", "has the axes (2,) of an array of 2 dimensions"),
        ("f64[2] = sum(%0, axes=(-1,))", "has the axes (-1,)"),
        ("f64[2] = sum(%0, axes=(1, 1))", "has the axes (1, 1)"),
        ("f64[3] = sum(%0, axes=(1,))", "is f64[3], but the rule of sum says f64[2]"),
        ("f64[] = sum(%0)", "params that sum cannot take (TypeError: reduced() missing"),
        ("i64[] = argmax(%0, axes=(0, 1))", "finds a place along one axis, not along (0, 1)"),
        ("f64[3] = cumsum(%1, axis=1, reverse=False)", "has the axes (1,) of an array of 1"),
        ("f64[3] = recurrence(%0, %1, axis=0, reverse=True)", "scans operands that differ"),
        ("f64[2] = contract(%0, %1, spec='ij,i->j')", "has the axis 'i' with two sizes, 2 and 3"),
        ("f64[2] = contract(%0, %1, spec='ij,k->i')", "sums over ['j', 'k'], which only one"),
        ("f64[2] = contract(%0, %1, spec='ijk,k->i')", "params that contract cannot take"),
        ("f64[2,2] = contract(%0, %1, spec='ij,j->ii')", "repeats a letter within a term"),
        ("f64[2,3] = contract(%0, %3, spec='ij,ij->ij')", "has operands of different dtypes"),
        *(
            (f"f64[2,3] = convolve({given}, of='y', window={window}, sizes=(2,))", fact)
            for given, window, fact in (
                (
                    "%0, %0, spec='Hg,Hg->Hg'",
                    "((0, 1, 0),)",
                    "by the steps ((0, 1, 0),), which are not",
                ),
                ("%0, %0, spec='Hg,Hg->Hg'", "()", "other windows than the upper-case letters of"),
                ("%0, %0, spec='Hg,gH->Hg'", "((1, 1, 0),)", "'g' with two sizes, 3 and 2"),
                ("%0, %3, spec='Hg,Hg->Hg'", "((1, 1, 0),)", "operands of different dtypes"),
                ("%0, %0, spec='Hc,Ho->Ho'", "((1, 1, 0),)", "has ['c'], which only one term of"),
                ("%0, %1, spec='Hg,Hg->Hg'", "((1, 1, 0),)", "params that convolve cannot take"),
            )
        ),
        ("f64[4,3] = gather(%0, %1, axes=(0,))", "indexes by (f64[3]): indices are integers"),
        ("f64[4] = gather(%0, %2, axes=(0, 1))", "indexes the axes (0, 1) by (i64[4])"),
        ("f64[4,2,3] = gather(%0, %2, axes=(5,))", "has the axes (5,) of an array of 2"),
        (
            "f64[4] = scatter_add(%1, %2, axes=(0,), shape=(4,))",
            "adds f64[3] where updates of shape (4,) belong",
        ),
        ("f64[3,2] = broadcast(%1, shape=(3, 2))", "broadcasts f64[3] to (3, 2)"),
        ("f64[3] = broadcast(%0, shape=(3,))", "broadcasts f64[2,3] to (3,)"),
        ("f64[5] = reshape(%0, shape=(5,))", "reshapes f64[2,3] to (5,), which has another size"),
        ("f64[2,2] = transpose(%0, axes=(0, 0))", "by (0, 0), which is no order of its axes"),
        (
            "f64[2] = slice(%1, start=(2,), step=(1,), sizes=(2,))",
            "picks 2 elements from 2 in steps of 1, out of 3",
        ),
        ("f64[4] = embed(%1, shape=(4,), start=(0,), step=(2,))", "picks 3 elements from 0"),
        ("f64[4] = embed(%1, shape=(4,), start=(0,), step=(0,))", "in steps of 0, out of 4"),
        ("f64[5,3] = concatenate(%0, %1, axis=0)", "joins (f64[2,3], f64[3]) along axis 0"),
        ("f64[4,3] = concatenate(%0, %3, axis=0)", "has operands of different dtypes"),
        ("f64[2] = constant(value=f64[3]([1.0, 2.0, 3.0]))", "the rule of constant says f64[3]"),
        ("f64[] = constant(value=2.0)", "holds a float, not an array"),
        ("f64[] = item(%1, index=0)", "is an item, but does not read one node with several"),
        ("f64[3] = input(%1)", "is an input, and has operands, params or results"),
    ],
)
def test_a_node_that_is_wrong_is_named(line: str, fact: str) -> None:
    text = message(parse(ONE + line))
    assert "breaks the rules of the IR" in text
    assert fact in text
    assert f"> %4: {line[:8]}" in text


@pytest.mark.parametrize(
    ("fields", "fact"),
    [
        ({"id": 7}, "%2 has the id 7: ids are positions"),
        ({"inputs": (-1,)}, "%2 reads %-1, which does not exist"),
        ({"inputs": (1, 1)}, "%2 is an item, but does not read one node with several results"),
        ({"params": {"index": 2}}, "%2 is item 2 of a node with 2 results"),
        ({"params": {"index": -1}}, "%2 is item -1 of a node with 2 results"),
        ({"params": {}}, "%2 is an item, and its only param is an int index, not {}"),
        ({"params": {"index": 1}}, "%2 has the aval f64[3], but result 1 is f64[]"),
        ({"op": "sin", "params": {}}, "%2 reads %1, which has several results, without an item"),
        ({"aval": oddly_shaped([3])}, "%2 has the shape [3], which is no tuple"),
        ({"aval": Aval((-3,), F64)}, "%2 has the shape (-3,): sizes are ints from 0 on"),
        ({"aval": oddly_shaped((3.0,))}, "%2 has the shape (3.0,): sizes are ints from 0 on"),
        ({"aval": Aval((3,), np.dtype("c16"))}, "dtype('complex128'), which no graph can hold"),
        ({"aval": Aval((3,), np.dtype(">f8"))}, "dtype('>f8'), which no graph can hold"),
    ],
)
def test_an_item_that_is_wrong_is_named(fields: dict[str, Any], fact: str) -> None:
    assert fact in message(changed(parse(CALL), 2, **fields))


@pytest.mark.parametrize(
    ("old", "new", "fact"),
    [
        ("index=1", "index=0", "%3 has the aval f64[], but result 0 is f64[3]"),
        ("-> (%2, %3)", "-> (%2, %1)", "output %1 has several results"),
        ("-> (%2, %3)", "-> (%4)", "output %4 does not exist: the graph has 4 nodes"),
        ("(f64[3], f64[]) =", "(f64[3], f64[3]) =", "its body gives (f64[3], f64[])"),
        ("(f64[3], f64[]) =", "f64[] (f64[3], f64[]) =", "but its first result is f64[3]"),
        ("body=graph(%0: f64[3])", "body=graph(%0: f64[2])", "to a body that takes (f64[2])"),
        ("fused(%0, body", "fused(%0, %0, body", "passes (f64[3], f64[3]) to a body that"),
        ("sin(%0)", "sin(%2)", "in the body of %1: %1 reads %2, which does not come before"),
        ("-> (%1, %2) {", "-> (%1, %5) {", "in the body of %1: output %5 does not exist"),
    ],
)
def test_a_call_that_is_wrong_is_named(old: str, new: str, fact: str) -> None:
    assert CALL.count(old) == 1
    assert fact in message(parse(CALL.replace(old, new)))


@pytest.mark.parametrize(
    ("inputs", "fact"),
    [
        ((), "the inputs have %0 0 times: each input node is there once"),
        ((0, 0), "the inputs have %0 2 times"),
        ((0, 1), "input %1 is a node of the operation sin"),
        ((0, 2), "input %2 does not exist: the graph has 2 nodes"),
        ((0, -1), "input %-1 does not exist"),
    ],
)
def test_inputs_that_are_wrong_are_named(inputs: tuple[int, ...], fact: str) -> None:
    nodes = (Node(0, "input", (), VECTOR), Node(1, "sin", (0,), VECTOR))
    assert fact in message(Graph(nodes, inputs, (1,)))


@pytest.mark.parametrize(
    ("edges", "fact"),
    [
        ([], "the dag has the edge %0 -> %1 for the operands (), the nodes for (0, 1)"),
        ([(0, 1, (0,))], "for the operands (0,), the nodes for (0, 1)"),
        ([(0, 1, (0, 1)), (1, 0, (0,))], "%1 -> %0 for the operands (0,), the nodes for ()"),
    ],
)
def test_a_dag_that_says_something_else_is_named(
    edges: list[tuple[int, int, Any]], fact: str
) -> None:
    graph = parse("graph(%0: f64[]) -> (%1)\n%1: f64[] = multiply(%0, %0)")
    dag: nx.DiGraph[int] = nx.DiGraph()
    for source, target, args in edges:
        dag.add_edge(source, target, args=args)
    graph.__dict__["dag"] = dag
    assert fact in message(graph)


def test_all_faults_are_raised_together_with_the_users_lines(tmp_path: Path) -> None:
    model = tmp_path / "model.py"
    model.write_text("import numpy as np\ny = np.sin(x)\nz = np.sum(y)\n", encoding="utf-8")
    builder = Builder()
    x = builder.input(VECTOR)
    y = builder.emit("sin", x, origin=Origin(str(model), 2))
    z = builder.emit("sum", y, axes=(0,), origin=Origin(str(model), 3))
    graph = changed(builder.graph([z]), 1, inputs=(2,))
    graph = changed(graph, 2, aval=VECTOR)
    assert (
        message(graph)
        == f"""\
the graph breaks the rules of the IR in 2 places

%1 reads %2, which does not come before it
  at {model}:2
      y = np.sin(x)
  %0: f64[3] = input()
> %1: f64[3] = sin(%2)  # model.py:2
  %2: f64[3] = sum(%1, axes=(0,))  # model.py:3

%2 is f64[3], but the rule of sum says f64[]
  at {model}:3
      z = np.sum(y)
  %0: f64[3] = input()
  %1: f64[3] = sin(%2)  # model.py:2
> %2: f64[3] = sum(%1, axes=(0,))  # model.py:3"""
    )
    with pytest.raises(VerifyError) as caught:
        verify(graph)
    assert caught.value.origin == Origin(str(model), 2)


def chain(length: int) -> Graph:
    builder = Builder()
    x = builder.input(VECTOR)
    for _ in range(length):
        x = builder.emit("sin", x)
    return builder.graph([x])


def test_ten_lines_around_a_fault_are_shown() -> None:
    text = message(changed(chain(30), 15, aval=Aval((4,), F64)))
    first = text.split("\n\n")[1].split("\n")[1:]
    assert [line[:5] for line in first] == [
        "> %15" if n == 15 else f"  %{n}" for n in range(10, 21)
    ]


def test_of_very_many_faults_some_are_counted_only() -> None:
    graph = chain(1000)
    nodes = tuple(dataclasses.replace(node, op="sine") for node in graph.nodes)
    text = message(Graph(nodes, (), (3,)))
    assert "in 1001 places" in text
    assert text.endswith("... and 981 more")


def test_a_hundred_thousand_nodes_take_seconds() -> None:
    graph = chain(100_000)
    start = time.process_time()
    verify(graph)
    assert time.process_time() - start < 10
