"""What ``show`` prints, ``parse`` reads back: the same graph to the bit."""

import dataclasses
import string
import time
from typing import Any

import numpy as np
import pytest

from graphjit.errors import GraphJITError, ParseError
from graphjit.ir import Aval, Builder, Graph, Node, Origin, Symbol
from graphjit.ir.graph import key
from graphjit.ir.text import excerpt, file_labels, parse, show, show_node
from random_graphs import random_graph

F64 = np.dtype(np.float64)
VECTOR = Aval((3,), F64)

GOLDEN = """\
graph(%0: f64[3], %3: f64[]) -> (%6, %5)
%1: f64[3] = tanh(%0)  # model.py:3
%2: f64[] = constant(2.0)
%4: f64[3] = broadcast(%2, shape=(3,))  # model.py:4 adjoint
%5: f64[3] = power(%1, %4)  # model.py:4 adjoint
%6: f64[] = sum(%5, axes=(0,))  # <stdin>:1
file model.py = '/home/ada/model.py'
"""

NESTED = """\
graph(%0: f64[3]) -> (%2, %3)
%1: (f64[3], f64[]) = fused(%0, body=graph(%0: f64[3]) -> (%1, %2) {
    %1: f64[3] = sin(%0)  # model.py:7
    %2: f64[] = sum(%1, axes=(0,))
}, name='group # 1')  # model.py:8
%2: f64[3] = item(%1, index=0)
%3: f64[] = item(%1, index=1)
file model.py = '/home/ada/model.py'
"""


def holding(**params: Any) -> Graph:
    """A graph of one node that has these params."""
    return Graph((Node(0, "thing", (), VECTOR, params),), (), (0,))


def constant(value: Any) -> Graph:
    builder = Builder()
    return builder.graph([builder.constant(value)])


def chain(length: int) -> Graph:
    builder = Builder(lambda: Origin("/home/ada/model.py", 3))
    x = builder.input(VECTOR)
    for _ in range(length // 2):
        x = builder.emit("broadcast", builder.emit("sum", x, axes=(0,)), shape=(3,))
    return builder.graph([x])


def test_a_small_graph_reads_like_this() -> None:
    front, back = Origin("/home/ada/model.py", 3), Origin("/home/ada/model.py", 4, adjoint=True)
    builder = Builder()
    x = builder.input(VECTOR)
    y = builder.emit("tanh", x, origin=front)
    two = builder.constant(2.0)
    builder.input(Aval((), F64))
    wide = builder.emit("broadcast", two, shape=(3,), origin=back)
    z = builder.emit("power", y, wide, origin=back)
    total = builder.emit("sum", z, axes=(0,), origin=Origin("<stdin>", 1))
    graph = builder.graph([total, z])
    assert show(graph) == str(graph) == GOLDEN
    assert parse(GOLDEN) == graph


def test_a_body_is_indented_and_reads_back() -> None:
    graph = parse(NESTED)
    assert show(graph) == NESTED
    (body,) = graph.nodes[1].bodies
    assert body.nodes[1] == Node(1, "sin", (0,), VECTOR, {}, Origin("/home/ada/model.py", 7))
    assert graph.nodes[1].results == (VECTOR, Aval((), F64))


def test_bodies_nest_and_there_can_be_several() -> None:
    one = parse(NESTED)
    graph = holding(branches=(one, holding(body=one)), axis=1)
    assert parse(show(graph)) == graph


@pytest.mark.parametrize("smooth", [False, True])
@pytest.mark.parametrize("seed", range(40))
def test_random_graphs_read_back(seed: int, smooth: bool) -> None:
    graph = random_graph(seed, 60, smooth=smooth)
    text = show(graph)
    assert parse(text) == graph
    assert show(parse(text)) == text


@pytest.mark.parametrize(
    "dtype", ["bool", "int8", "uint8", "int32", "int64", "uint64", "float32", "float64"]
)
@pytest.mark.parametrize("shape", [(), (1,), (5,), (2, 3), (1, 1, 2), (0,), (0, 3), (3, 0), (9, 9)])
def test_constants_read_back(dtype: str, shape: tuple[int, ...]) -> None:
    numbers = np.random.default_rng(0).integers(0, 250, shape) / np.array(3.0)
    graph = constant(numbers.astype(dtype))
    assert parse(show(graph)) == graph
    value = parse(show(graph)).nodes[0].params["value"]
    assert (value.shape, value.dtype) == (shape, np.dtype(dtype))
    assert not value.flags.writeable


@pytest.mark.parametrize(("floats", "ints"), [("f4", "u4"), ("f8", "u8")])
@pytest.mark.parametrize("size", [8, 40], ids=["inline", "row"])
def test_every_bit_of_a_float_reads_back(floats: str, ints: str, size: int) -> None:
    tiny = np.finfo(floats).smallest_subnormal
    special = np.array([np.nan, -np.nan, np.inf, -np.inf, -0.0, 0.0, tiny, -tiny], floats)
    payloads = special.view(ints) | np.array([5, 7, 0, 0, 0, 0, 0, 0], ints)
    anything = np.random.default_rng(0).integers(0, 2**63, 500).astype(ints)
    for bits in (special.view(ints), payloads, *anything.reshape(-1, 10)):
        graph = constant(np.resize(bits, size).view(floats))
        back = parse(show(graph)).nodes[0].params["value"]
        np.testing.assert_array_equal(back.view(ints), np.resize(bits, size))


@pytest.mark.parametrize(
    "value",
    [
        0, -7, 10**30, True, False, None, 1.0, -0.0, 0.1, 1e-310, 1e300, float("nan"), float("inf"),
        (), (1,), (1, (2.5, None)), [], [1, [2]], {}, {"a": 1, "b": (2,)}, slice(None, 3, -1),
        "", "ij,jk->ik", "it's \"quoted\" \\ # \n {", b"\x00'\"", F64, np.dtype(bool), VECTOR,
        np.float32(0.1), np.int64(3), np.bool_(True), np.float64("-nan"), np.arange(3),
        np.zeros((2, 0), np.float32), np.linspace(0, 1, 50), np.array(2.5), np.array([True, False]),
    ],
    ids=repr,
)  # fmt: skip
def test_params_read_back(value: Any) -> None:
    graph = holding(first=value, second=(value,))
    assert parse(show(graph)) == graph
    assert len(show(graph).split("\n")) <= 4


def test_large_arrays_are_written_once_and_below() -> None:
    value = np.arange(1000.0)
    text = show(holding(first=value, second=value.copy(), third=value.astype(np.float32)))
    assert text.count("data 0") == 3
    assert max(map(len, text.split("\n")[:2])) < 100


def test_what_has_no_text_is_shown_and_refused() -> None:
    text = show(holding(rule=string.capwords, shape=(3,)))
    assert "rule=<function capwords" in text
    with pytest.raises(ParseError, match=r"line 2: a param in <\.\.\.> has no text"):
        parse(text)


@pytest.mark.parametrize(
    ("files", "labels"),
    [
        (["/a/model.py"], ["model.py"]),
        (["/a/model.py", "/b/model.py"], ["a/model.py", "b/model.py"]),
        (["/x/a/m.py", "/y/a/m.py", "/y/n.py"], ["x/a/m.py", "y/a/m.py", "n.py"]),
        (["m.py", "/a/m.py"], ["m.py", "a/m.py"]),
        ([r"C:\work\model.py", "<stdin>"], ["model.py", "<stdin>"]),
        (["/a/odd\nname.py", "<file 0>"], ["<<file 0>>", "<file 0>"]),
    ],
)
def test_files_have_the_shortest_name_that_is_their_own(
    files: list[str], labels: list[str]
) -> None:
    assert list(file_labels(files).values()) == labels


@pytest.mark.parametrize(
    "files",
    [
        ["/a/model.py", "/b/model.py", "model.py"],
        ["", "/a/b c # d:7.py", "/a/x = 'y'", '/a/x = "y', "/a/odd\nname.py", "/a/x:3 adjoint"],
        ["<ipython-input-3-ab>", "C:\\work\\model.py", "/a/émile.py", "/a/\udcff.py"],
    ],
)
@pytest.mark.parametrize("adjoint", [False, True])
def test_origins_read_back(files: list[str], adjoint: bool) -> None:
    builder = Builder()
    x = builder.input(VECTOR, Origin(files[0], 1))
    for line, file in enumerate(files):
        x = builder.emit("sin", x, origin=Origin(file, line, adjoint))
    graph = builder.graph([x])
    assert parse(show(graph)) == graph


def test_an_input_without_a_line_stands_in_the_header_alone() -> None:
    text = "graph(%1: f64[], %0: f64[3]) -> (%1)\n"
    assert show(parse(text)) == text
    assert [node.aval for node in parse(text).nodes] == [VECTOR, Aval((), F64)]


def test_blank_lines_and_indentation_mean_nothing() -> None:
    spaced = "\n\n   ".join(NESTED.split("\n"))
    assert parse(spaced) == parse(NESTED)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: there is no graph"),
        ("grph() -> ()", "line 1: expected 'graph', found 'grph"),
        ("graph(%0: f64[3]) (%0)", r"line 1: expected '\) -> '"),
        ("graph(%0: f63[3]) -> (%0)", "line 1: no dtype is called f63; there are bool, i8"),
        ("graph(%1: f64[3]) -> (%1)", "line 1: node %0 is missing"),
        ("graph() -> (%0)\n%0: f64 = iota()", "line 2: expected a type"),
        ("graph() -> (%0)\n%0 = iota()", "line 2: expected a node"),
        ("graph() -> (%0)\n%1: f64[] = iota()", "line 2: node %0 is missing"),
        ("graph(%0: f64[]) -> ()\n%0: f64[3] = input()", "line 2: the header says that %0 is f64"),
        ("graph() -> ()\n%0: f64[] = a()\n%0: f64[] = a()", "line 3: expected node %1, found %0"),
        ("graph() -> ()\n%0: f64[] = a(%1", r"line 2: expected a param"),
        ("graph() -> ()\n%0: f64[] = a(n=)", r"line 2: expected a value, found '\)'"),
        ("graph() -> ()\n%0: f64[] = a(n=1 2)", r"line 2: expected '\)', found ' 2\)'"),
        ("graph() -> ()\n%0: f64[] = a(n=(1, 2]", r"line 2: expected '\)', found '\]'"),
        (
            "graph() -> ()\n%0: f64[] = a() rest",
            "line 2: expected the end of the line, found 'rest'",
        ),
        (
            "graph() -> ()\n%0: f64[2] = constant([1.0])",
            r"line 2: .* have shape \(1,\), not \(2,\)",
        ),
        ("graph() -> ()\n%0: f64[2] = constant([[1.0], []])", "line 2: .* differ in length"),
        ("graph() -> ()\n%0: i8[] = constant(1.5)", r"line 2: 1.5 cannot be held by i8\[\]"),
        ("graph() -> ()\n%0: i8[] = constant(300)", r"line 2: 300 cannot be held by i8\[\]"),
        ("graph() -> ()\n%0: bool[] = constant(1)", r"line 2: 1 cannot be held by bool\[\]"),
        ("graph() -> ()\n%0: f64[] = constant(data 3)", "line 2: data 3 does not hold the bytes"),
        ("graph() -> ()\n%0: f64[] = constant(data 0)\ndata 0 = 'zz'", "line 3: .* damaged"),
        (
            "graph() -> ()\n%0: f64[] = a(b=graph() -> () {",
            "line 2: the body graph has no closing }",
        ),
        ("graph() -> ()\n}", "line 2: expected a node"),
        ("graph() -> ()\n%0: f64[] = a(n=" + "1" * 5000 + ")", "line 2: .* too many digits"),
        ("graph() -> ()\n%0: f64[] = a(n={[]: 1})", r"line 2: \[\] cannot be a key"),
    ],
)
def test_an_error_names_the_line(text: str, message: str) -> None:
    with pytest.raises(ParseError, match=message) as caught:
        parse(text)
    assert isinstance(caught.value, GraphJITError)


@pytest.mark.parametrize("seed", range(300))
def test_damaged_text_never_ends_otherwise_than_in_a_parse_error(seed: int) -> None:
    rng = np.random.default_rng(seed)
    text = list(NESTED + show(holding(a=np.arange(3), b="x", c={"d": slice(1)}, e=1.5)))
    text = text[: len(NESTED)] if seed % 2 else text[len(NESTED) :]
    for place in rng.integers(0, len(text), 3):
        text[place] = str(rng.choice([*"%()[]{}:=, #'\"\\\n1aif<", ""]))
    try:
        graph = parse("".join(text))
    except ParseError as error:
        message = str(error)
    else:
        message = "line by line the same" if parse(show(graph)) == graph else "lost"
    assert message.startswith("line ")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (0.0, -0.0), (1, True), (1, 1.0), (1.0, np.float64(1.0)), ((1,), [1]), (None, False),
        (np.zeros(2), np.zeros(2, np.float32)), (np.zeros(2), -np.zeros(2)), ("1", b"1"),
        (np.zeros((1, 2)), np.zeros((2, 1))), ({"a": 1}, {"a": 2}), (slice(1), slice(1, None)),
    ],
)  # fmt: skip
def test_params_that_differ_in_type_or_bits_are_not_equal(one: Any, other: Any) -> None:
    assert key(one) != key(other)
    assert holding(value=one) != holding(value=other)


@pytest.mark.parametrize(
    "make",
    [
        lambda: float("nan"), lambda: np.array([np.nan, 1.0]), lambda: {"a": (np.ones(3), [1])},
        lambda: slice(1, None), lambda: np.float32("nan"), lambda: parse(NESTED), lambda: F64,
    ],
)  # fmt: skip
def test_params_of_the_same_bits_are_equal_and_hash_alike(make: Any) -> None:
    one, other = holding(value=make()), holding(value=make())
    assert one == other
    assert hash(one) == hash(other)
    assert hash(key(make())) == hash(key(make()))


@pytest.mark.parametrize(
    "change",
    [
        {"id": 1}, {"op": "other"}, {"inputs": (0,)}, {"aval": Aval((4,), F64)},
        {"params": {"n": 2}}, {"origin": Origin("m.py", 3)}, {"results": (VECTOR,)},
    ],
)  # fmt: skip
def test_nodes_that_differ_in_one_field_are_not_equal(change: dict[str, Any]) -> None:
    node = Node(0, "thing", (), VECTOR, {"n": 1})
    assert dataclasses.replace(node, **change) != node
    assert node != "a string"


def test_a_node_prints_its_line() -> None:
    graph = parse(NESTED)
    assert str(graph.nodes[2]) == "%2: f64[3] = item(%1, index=0)"
    assert show_node(graph.nodes[1]) == (
        "%1: (f64[3], f64[]) = fused(%0, body=<3 nodes>, name='group # 1')  # model.py:8"
    )
    assert show_node(constant(np.arange(99)).nodes[0]) == "%0: i64[99] = constant(<99 elements>)"


def test_an_excerpt_marks_the_line() -> None:
    lines = excerpt(chain(40), 20, around=1).split("\n")
    assert [line[:5] for line in lines] == ["  %19", "> %20", "  %21"]


def test_what_is_traced_reads_back() -> None:
    builder = Builder()
    x = Symbol(builder, builder.input(VECTOR))
    held = np.arange(3.0)
    graph = builder.graph([np.sum(np.tanh(x * held) ** 2).id])
    assert parse(show(graph)) == graph
    assert graph.inputs == (0, 1)


def test_a_hundred_thousand_nodes_take_seconds() -> None:
    graph = chain(100_000)
    start = time.process_time()
    assert parse(show(graph)) == graph
    assert time.process_time() - start < 20
