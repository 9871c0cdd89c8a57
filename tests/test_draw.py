"""Pictures: what is in them, and that nothing in them lies on anything else."""

import re
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from graphjit.draw import save, to_dot, to_svg
from graphjit.draw.layout import Picture, Placed, Way, arranged
from graphjit.draw.scene import COMMUTATIVE, scene_of
from graphjit.draw.style import ADJOINT, FORWARD, PALETTE
from graphjit.ir import TABLE, Aval, Builder, Graph, Origin, Symbol
from graphjit.ir.text import parse
from graphjit.passes.adjoint import adjoint
from random_graphs import random_graph

SVG = "{http://www.w3.org/2000/svg}"
F64 = np.dtype(np.float64)

SMALL = """
graph(%0: f64[3], %1: f64[3]) -> (%6, %3)
%2: f64[] = constant(2.0)
%3: f64[3] = subtract(%0, %1)  # model.py:12
%4: f64[3] = broadcast(%2, shape=(3,))  # model.py:13
%5: f64[3] = multiply(%3, %4)  # model.py:13 adjoint
%6: f64[] = sum(%5, axes=(0,))  # model.py:14 adjoint
"""

FUSED = """
graph(%0: f64[9], %1: f64[9]) -> (%5, %3)
%2: (f64[9], f64[]) = fused(%0, %1, body=graph(%0: f64[9], %1: f64[9]) -> (%2, %3) {
    %2: f64[9] = divide(%0, %1)  # model.py:7
    %3: f64[] = sum(%2, axes=(0,))  # model.py:8
})
%3: f64[9] = item(%2, index=0)
%4: f64[] = item(%2, index=1)
%5: f64[] = sin(%4)
"""


def net(layers: int) -> Graph:
    """The loss of a net of sigmoid layers, with its gradient."""
    lines = count(10)
    builder = Builder(lambda: Origin("/home/ada/model.py", next(lines)))

    def symbol(*shape: int) -> Symbol:
        return Symbol(builder, builder.input(Aval(shape, F64)))

    hidden: Any = symbol(32, 16)
    for _ in range(layers):
        hidden = 1 / (1 + np.exp(-(hidden @ symbol(16, 16) + symbol(16))))
    graph = builder.graph([np.mean(hidden**2).id])
    return adjoint(graph, range(len(graph.inputs)))


def nested() -> Graph:
    inner = parse(FUSED)
    builder = Builder()
    x, y = builder.input(Aval((9,), F64)), builder.input(Aval((9,), F64))
    total, wide = builder.emit_call("fused", [x, y], inner)
    again, _ = builder.emit_call("fused", [wide, x], inner)
    return builder.graph([builder.emit("subtract", total, again), wide])


GRAPHS: dict[str, Callable[[], Graph]] = {
    "small": lambda: parse(SMALL),
    "fused": lambda: parse(FUSED),
    "nested": nested,
    "net": lambda: net(2),
    "deep net": lambda: net(6),
    "empty": lambda: parse("graph() -> ()"),
    "identity": lambda: parse("graph(%0: f64[]) -> (%0, %0)"),
    **{f"random {seed}": partial(random_graph, seed, 60) for seed in range(8)},
}
graphs = pytest.mark.parametrize("graph", [make() for make in GRAPHS.values()], ids=list(GRAPHS))


def document(graph: Graph) -> ET.Element:
    return ET.fromstring(to_svg(graph))


def group(graph: Graph, key: str) -> ET.Element:
    """The first thing drawn under a key."""
    return next(element for element in document(graph).iter(f"{SVG}g") if element.get("id") == key)


def words(element: ET.Element) -> list[str]:
    return [text.text or "" for text in element.iter(f"{SVG}text")]


def placed(picture: Picture, x: float = 0, y: float = 0) -> Iterator[tuple[Placed, float, float]]:
    """All boxes with their left and top in the whole picture."""
    for box in picture.boxes:
        left, top = x + box.x - box.width / 2, y + box.y
        yield box, left, top
        if box.inner:
            yield from placed(box.inner, left + 29, top)


# -- what is in a picture ----------------------------------------------------------------------


def test_a_box_has_the_operation_the_aval_and_the_place() -> None:
    graph = parse(SMALL)
    assert words(group(graph, "n3")) == ["1", "2", "subtract", "%3: f64[3]", "model.py:12"]
    assert words(group(graph, "n5")) == ["multiply", "%5: f64[3]", "model.py:13"]
    assert words(group(graph, "n6")) == ["sum axes=(0,)", "%6: f64[]", "model.py:14"]
    assert words(group(graph, "n2")) == ["2.0", "%2: f64[]"]
    assert words(group(graph, "out1")) == ["output 1", "%3: f64[3]"]


def test_pointing_at_a_box_shows_the_users_line(tmp_path: Path) -> None:
    model = tmp_path / "model.py"
    model.write_text("y = np.where(x < 0, 'a & b', x)\n", encoding="utf-8")
    builder = Builder()
    x = builder.input(Aval((), F64))
    graph = builder.graph([builder.emit("sin", x, origin=Origin(str(model), 1))])
    (title,) = group(graph, "n1").iter(f"{SVG}title")
    assert title.text == (
        f"%1: f64[] = sin(%0)  # model.py:1\n{model}:1\ny = np.where(x < 0, 'a & b', x)"
    )


@pytest.mark.parametrize(
    ("key", "shape", "colours"),
    [
        ("n0", "rect", PALETTE["input"]),
        ("n2", "polygon", PALETTE["constant"]),
        ("n3", "rect", FORWARD),
        ("n5", "rect", ADJOINT),
        ("out0", "rect", PALETTE["output"]),
    ],
)
def test_forward_adjoint_inputs_constants_and_outputs_differ(
    key: str, shape: str, colours: tuple[str, str]
) -> None:
    outline = next(group(parse(SMALL), key).iter(f"{SVG}{shape}"))
    assert (outline.get("fill"), outline.get("stroke")) == colours
    legend = [w for w in words(document(parse(SMALL))) if w in {"input", "forward", "adjoint"}]
    assert legend[:3] == ["input", "forward", "adjoint"]


def test_the_legend_names_only_what_is_there() -> None:
    text = words(document(parse("graph(%0: f64[]) -> (%1)\n%1: f64[] = sin(%0)")))
    assert text[:3] == ["input", "forward", "output"]
    assert not {"adjoint", "constant", "fused", "refers to"} & set(text)


@pytest.mark.parametrize("op", sorted(COMMUTATIVE))
def test_operands_without_an_order_have_no_numbers(op: str) -> None:
    assert op in TABLE
    values = np.array([-1.5, 0.0, 2.0, 3.0]), np.array([2.0, 0.0, -1.0, 0.5])
    if "bitwise" in op:
        values = values[0].astype(int), values[1].astype(int)
    one, other = TABLE[op].numpy(*values), TABLE[op].numpy(*values[::-1])
    np.testing.assert_array_equal(one, other)


def test_a_group_is_a_box_around_its_operations() -> None:
    picture = arranged(scene_of(parse(FUSED), repeat_constants=True))
    boxes = {box.box.key: (box, left, top) for box, left, top in placed(picture)}
    outer, left, top = boxes["n2"]
    assert outer.box.lines == ("%2 fused · 2 operations",)
    for key in ("n2.2", "n2.3"):
        box, inner_left, inner_top = boxes[key]
        assert left < inner_left
        assert inner_left + box.width < left + outer.width
        assert top < inner_top
        assert inner_top + box.height < top + outer.height
    assert "stroke-dasharray" in to_svg(parse(FUSED))
    assert words(group(parse(FUSED), "n2.2"))[:3] == ["1", "2", "divide"]


def test_a_constant_is_drawn_beside_each_reader() -> None:
    graph = parse(
        "graph(%0: f64[]) -> (%3)\n%1: f64[] = constant(2.0)\n"
        "%2: f64[] = multiply(%0, %1)\n%3: f64[] = add(%2, %1)"
    )
    assert to_svg(graph).count('<g id="n1">') == 2
    assert to_dot(graph).count('"n1" [') == 1


def test_many_long_edges_become_references() -> None:
    builder = Builder()
    x = builder.input(Aval((3,), F64))
    chain = [x]
    for _ in range(150):
        chain.append(builder.emit("sin", chain[-1]))
    back = chain[-1]
    for value in reversed(chain):
        back = builder.emit("multiply", back, value)
    text = to_svg(builder.graph([back]))
    assert '<a href="#n1">' in text
    assert ">↑ %1</text>" in text
    assert ">refers to</text>" in text


# -- text that is hard to write ----------------------------------------------------------------


@pytest.mark.parametrize(
    "file", ["<stdin>", 'a"b&c<d>.py', "new\nline.py", "nul\0.py", "\ud800.py", "é\\n.py", "]]>.py"]
)
def test_any_file_name_gives_a_sound_document(file: str, tmp_path: Path) -> None:
    builder = Builder(lambda: Origin(file, 1))
    graph = builder.graph([builder.emit("sin", builder.input(Aval((), F64)))])
    assert len(list(document(graph).iter(f"{SVG}g"))) == 3
    assert save(graph, tmp_path / "picture.svg").stat().st_size > 0
    lines = to_dot(graph).splitlines()
    assert save(graph, tmp_path / "picture.dot").stat().st_size > 0
    assert sum(line.count('"') - line.count('\\"') for line in lines) % 2 == 0
    assert sum("label=" in line for line in lines) == 3


# -- how it is laid out ------------------------------------------------------------------------


@graphs
def test_no_boxes_overlap_and_all_are_inside(graph: Graph) -> None:
    picture = arranged(scene_of(graph, repeat_constants=True))
    found = list(placed(picture))
    for number, (box, left, top) in enumerate(found):
        assert left >= -0.01
        assert left + box.width <= picture.width + 0.01
        assert top + box.height <= picture.height + 3.01
        for other, other_left, other_top in found[:number]:
            if box.box.key.startswith(other.box.key + ".") or other.box.key.startswith(
                box.box.key + "."
            ):
                continue  # a group and what is in it
            beside = left + box.width <= other_left or other_left + other.width <= left
            above = top + box.height <= other_top or other_top + other.height <= top
            assert beside or above, (box.box.key, other.box.key)


@graphs
def test_no_edge_goes_through_a_box(graph: Graph) -> None:
    check_edges(arranged(scene_of(graph, repeat_constants=True)))


def check_edges(picture: Picture) -> None:
    for way in picture.ways:
        for box in picture.boxes:
            if box.box.kind != "port":
                check_edge(way, box)
    for box in picture.boxes:
        if box.inner:
            check_edges(box.inner)


def check_edge(way: Way, box: Placed) -> None:
    """Straight pieces pass beside a box; between ``leave`` and ``arrive`` no box stands."""
    assert way.y <= way.leave <= way.arrive <= way.end_y + 3.01
    for x, top, bottom in ((way.x, way.y, way.leave), (way.end_x, way.arrive, way.end_y)):
        beside = abs(x - box.x) > box.width / 2
        assert beside or bottom <= box.y + 0.01 or top >= box.y + box.height - 0.01, box.box.key
    assert way.leave >= box.y + box.height - 0.01 or way.arrive <= box.y + 0.01


@graphs
def test_no_text_is_cut_off(graph: Graph) -> None:
    for box, _, _ in placed(arranged(scene_of(graph, repeat_constants=True))):
        sizes = zip(box.box.lines, (12.0, 10.5, 10.0), strict=False)
        room = box.height if box.inner else box.width
        assert all(len(line) * size * 0.602 <= room for line, size in sizes)


@graphs
def test_edges_lead_down_in_the_order_of_the_data(graph: Graph) -> None:
    picture = arranged(scene_of(graph, repeat_constants=True))
    assert all(way.end_y > way.y for way in picture.ways)
    assert sum(way.arrow for way in picture.ways) == len(
        scene_of(graph, repeat_constants=True).edges
    )


@graphs
def test_the_same_graph_gives_the_same_picture(graph: Graph) -> None:
    assert to_svg(graph) == to_svg(graph)
    assert to_dot(graph) == to_dot(graph)


def test_a_chain_is_a_straight_line() -> None:
    graph = parse("graph(%0: f64[]) -> (%2)\n%1: f64[] = sin(%0)\n%2: f64[] = cos(%1)")
    picture = arranged(scene_of(graph))
    assert len({round(box.x, 3) for box in picture.boxes}) == 1


@pytest.mark.parametrize("shape", ["chain", "net", "fan"])
def test_two_thousand_nodes_take_seconds(shape: str) -> None:
    builder = Builder()
    x = builder.input(Aval((3,), F64))
    if shape == "chain":
        for step in range(2000):
            x = builder.emit(("sin", "exp")[step % 2], x)
        graph = builder.graph([x])
    elif shape == "net":
        graph = net(90)
    else:
        made = [builder.emit("sin", x) for _ in range(1000)]
        for value in made:
            x = builder.emit("add", x, value)
        graph = builder.graph([x])
    assert len(graph) > 1500
    start = time.process_time()
    to_svg(graph)
    assert time.process_time() - start < 20


# -- DOT ---------------------------------------------------------------------------------------


DOT = r"""
  "n0" [label="input\n%0: f64[]" shape="ellipse" tooltip="%0: f64[] = input()" \
fillcolor="#dcfce7" color="#16a34a"]
  "n1" [label="subtract\n%1: f64[]\nm.py:3" shape="box" \
tooltip="%1: f64[] = subtract(%0, %0)  # m.py:3 adjoint\nm.py:3" \
fillcolor="#ffedd5" color="#ea580c"]
  "out0" [label="output 0\n%1: f64[]" shape="doubleoctagon" \
tooltip="output 0: %1: f64[]" fillcolor="#ede9fe" color="#7c3aed"]
  "n0" -> "n1" [headlabel="1"]
  "n0" -> "n1" [headlabel="2"]
  "n1" -> "out0"
}
"""


def test_dot_reads_like_this() -> None:
    graph = parse("graph(%0: f64[]) -> (%1)\n%1: f64[] = subtract(%0, %0)  # m.py:3 adjoint")
    assert to_dot(graph).startswith("digraph {\n  node [")
    assert to_dot(graph).endswith(DOT.replace("\\\n", ""))


def test_dot_has_a_cluster_for_each_group() -> None:
    text = to_dot(nested())
    assert re.findall(r'subgraph "(\S+)"', text) == [
        "cluster_n2", "cluster_n2.2", "cluster_n5", "cluster_n5.2",
    ]  # fmt: skip
    assert '"n0" -> "n2.in0"' in text
    assert '"n2.in0" -> "n2.2.in0"' in text
    assert '"n2.out1" -> "n5.in0"' in text
    assert text.count("{") == text.count("}")


@graphs
def test_dot_joins_only_what_it_declares(graph: Graph) -> None:
    text = to_dot(graph)
    declared = set(re.findall(r'^ *"([^"]+)" \[', text, re.MULTILINE))
    joined = set(re.findall(r'"([^"]+)" -> "([^"]+)"', text))
    assert {end for edge in joined for end in edge} <= declared


# -- files -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "write"), [("a.svg", to_svg), ("a.SVG", to_svg), ("a.dot", to_dot)]
)
@pytest.mark.parametrize("kind", [str, Path])
def test_the_suffix_says_what_is_saved(name: str, write: Any, kind: Any, tmp_path: Path) -> None:
    graph = parse(FUSED)
    assert save(graph, kind(tmp_path / name)) == tmp_path / name
    assert (tmp_path / name).read_text(encoding="utf-8") == write(graph)


@pytest.mark.parametrize("name", ["a.png", "a", "svg"])
def test_another_suffix_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"end it in \.svg or \.dot"):
        save(parse(SMALL), tmp_path / name)
    assert not list(tmp_path.iterdir())
