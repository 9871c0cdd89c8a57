"""The text of a graph: one typed line a node, which ``parse`` reads back exactly.

    graph(%0: f64[3]) -> (%2)
    %1: f64[3] = sin(%0)  # model.py:12
    %2: f64[] = sum(%1, axes=(0,))  # model.py:12
    file model.py = '/home/me/model.py'

An input has a line of its own only if that says more than the header does. The last lines hold
what would make the others long: the full names of files, and the bytes of large arrays.
"""

from __future__ import annotations

import base64
import math
import re
import zlib
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from graphjit.ir.aval import DTYPES, Aval, dtype_name
from graphjit.ir.cursor import bits_of, quiet_nan
from graphjit.ir.graph import Graph, Node, key
from graphjit.ir.parse import parse

__all__ = ["excerpt", "parse", "show", "show_node", "show_params"]

INDENT = "    "
INLINE = 16  # elements of the largest array that is written where it is used


def show(graph: Graph) -> str:
    """The text of a graph; ``parse(show(graph)) == graph`` for every graph that is valid.

    Params without a text of their own (functions, say) print as ``<...>``, which ``parse``
    refuses.
    """
    labels = file_labels(node.origin.file for node in _walk(graph) if node.origin)
    printer = _Printer(labels)
    lines = [_header(graph), *printer.nodes(graph, "")]
    lines += [f"file {label} = {file!r}" for file, label in labels.items() if label != file]
    lines += [f"data {n} = {text!r}" for n, text in enumerate(printer.data.values())]
    return "\n".join(lines) + "\n"


def show_node(node: Node) -> str:
    """The node's line; what would need more than one line is cut short."""
    labels = {node.origin.file: _ends(node.origin.file)[0]} if node.origin else {}
    return _Printer(labels, brief=True).node(node, "")


def show_params(node: Node) -> str:
    """The node's params alone, cut short as in ``show_node``."""
    return ", ".join(_Printer({}, brief=True).params(node, ""))


def excerpt(graph: Graph, position: int, around: int = 5) -> str:
    """The lines of the node at a position, marked, and of its neighbours."""
    first, last = max(0, position - around), min(len(graph), position + around + 1)
    mark = {position: "> "}
    return "\n".join(mark.get(i, "  ") + show_node(graph.nodes[i]) for i in range(first, last))


def file_labels(files: Iterable[str]) -> dict[str, str]:
    """For each file the shortest end of its path that no other file has."""
    names = tuple(dict.fromkeys(files))
    ends = Counter(end for name in names for end in _ends(name))
    labels: dict[str, str] = {}
    for number, name in enumerate(names):
        label = next((end for end in _ends(name) if ends[end] == 1), name)
        labels[name] = label if label.isprintable() else _unused(f"<file {number}>", ends)
    return labels


def _unused(label: str, taken: Mapping[str, int]) -> str:
    while label in taken:
        label = f"<{label}>"
    return label


def _ends(path: str) -> list[str]:
    """The ends of a path, shortest first: ``c.py``, ``b/c.py``, ``/a/b/c.py``."""
    cuts = [m.end() for m in re.finditer(r"[/\\](?=[^/\\])", path)]
    return [path[cut:] for cut in reversed(cuts)] + [path]


def _walk(graph: Graph) -> Iterator[Node]:
    """All nodes, those of body graphs too."""
    for node in graph.nodes:
        yield node
        for body in node.bodies:
            yield from _walk(body)


def _header(graph: Graph) -> str:
    size = len(graph)
    avals = (str(graph.nodes[i].aval) if 0 <= i < size else "?" for i in graph.inputs)
    inputs = ", ".join(f"%{i}: {aval}" for i, aval in zip(graph.inputs, avals, strict=True))
    return f"graph({inputs}) -> ({_ids(graph.outputs)})"


def _ids(ids: Iterable[int]) -> str:
    return ", ".join([f"%{i}" for i in ids])


def _aval(aval: Aval) -> str:
    try:
        return _hashed_aval(aval)
    except TypeError:  # an aval that verify refuses must still be shown
        return str(aval)


@lru_cache(maxsize=4096)
def _hashed_aval(aval: Aval) -> str:
    return str(aval)


def _type(node: Node) -> str:
    """What the node gives: an aval, or several in parentheses."""
    if not node.results:
        return _aval(node.aval)
    several = f"({', '.join(map(_aval, node.results))})"
    return several if node.aval == node.results[0] else f"{_aval(node.aval)} {several}"


class _Printer:
    """Prints nodes and values; collects the large arrays that it meets.

    Attributes:
        labels: The short name of each file.
        data: The bytes of large arrays as text, once each, in the order of their numbers.
    """

    def __init__(self, labels: Mapping[str, str], *, brief: bool = False) -> None:
        self.labels, self.brief = labels, brief
        self.data: dict[Hashable, str] = {}
        self.numbers: dict[Hashable, int] = {}

    def nodes(self, graph: Graph, indent: str) -> list[str]:
        """The lines of a graph, without those that would only repeat its header."""
        declared = set(graph.inputs)
        return [
            self.node(node, indent)
            for node in graph.nodes
            if node.id not in declared or not _is_bare_input(node)
        ]

    def node(self, node: Node, indent: str) -> str:
        arguments = _ids(node.inputs)
        if node.params:
            arguments = ", ".join([*([arguments] if arguments else []), *self.params(node, indent)])
        line = f"{indent}%{node.id}: {_type(node)} = {node.op}({arguments})"
        if node.origin is None:
            return line
        adjoint = " adjoint" if node.origin.adjoint else ""
        return f"{line}  # {self.labels[node.origin.file]}:{node.origin.line}{adjoint}"

    def params(self, node: Node, indent: str) -> list[str]:
        value = node.params.get("value")
        if node.op == "constant" and len(node.params) == 1 and _holds(node.aval, value):
            return [self.elements(value)]
        return [f"{name}={self.value(param, indent)}" for name, param in node.params.items()]

    def value(self, value: Any, indent: str) -> str:
        for kind, write in WRITERS:
            if isinstance(value, kind):
                text = write(self, value, indent)
                return text if text is not None else _opaque(value)
        return _opaque(value)

    def write_tuple(self, items: tuple[Any, ...], indent: str) -> str | None:
        if type(items) is not tuple:
            return None
        inside = ", ".join(self.value(item, indent) for item in items)
        return f"({inside},)" if len(items) == 1 else f"({inside})"

    def write_list(self, items: list[Any], indent: str) -> str:
        return f"[{', '.join(self.value(item, indent) for item in items)}]"

    def write_dict(self, items: Mapping[Any, Any], indent: str) -> str:
        pairs = (f"{self.value(k, indent)}: {self.value(v, indent)}" for k, v in items.items())
        return f"{{{', '.join(pairs)}}}"

    def write_slice(self, value: slice, indent: str) -> str:
        parts = (self.value(part, indent) for part in (value.start, value.stop, value.step))
        return f"slice({', '.join(parts)})"

    def body(self, graph: Graph, indent: str) -> str:
        if self.brief:
            return f"<{len(graph)} nodes>"
        lines = [f"{_header(graph)} {{", *self.nodes(graph, indent + INDENT), f"{indent}}}"]
        return "\n".join(lines)

    def array(self, value: Any, _: str) -> str | None:
        if type(value) is not np.ndarray or not _holds(Aval(value.shape, value.dtype), value):
            return None
        return f"{Aval(value.shape, value.dtype)}({self.elements(value)})"

    def scalar(self, value: np.generic, _: str) -> str | None:
        name = dtype_name(value.dtype)
        return f"{name}({_texts(np.asarray(value))[0]})" if name in DTYPES else None

    def elements(self, array: Any) -> str:
        """The elements of an array in nested lists, or the number of the row that holds them."""
        if array.size > INLINE:
            return f"<{array.size} elements>" if self.brief else f"data {self.row(array)}"
        return _nested(_texts(array), array.shape)

    def row(self, array: Any) -> int:
        ident = key(array)
        if ident not in self.data:
            self.numbers[ident] = len(self.data)
            self.data[ident] = base64.b85encode(zlib.compress(array.tobytes())).decode()
        return self.numbers[ident]


def _is_bare_input(node: Node) -> bool:
    said_more = node.origin or node.params or node.inputs or node.results
    return node.op == "input" and not said_more


def _holds(aval: Aval, value: Any) -> bool:
    """Whether the value is a plain array of this aval, with a dtype that has a text."""
    plain = type(value) is np.ndarray and value.shape == aval.shape
    return plain and value.dtype == aval.dtype == DTYPES.get(dtype_name(value.dtype))


def _nested(texts: list[str], shape: tuple[int, ...]) -> str:
    """Elements as nested lists: ``2.0``, ``[1.0, 2.0]``, ``[[1.0], [2.0]]``."""
    if not texts:
        return "[]"
    for size in reversed(shape):
        starts = range(0, len(texts), size)
        texts = [f"[{', '.join(texts[start : start + size])}]" for start in starts]
    return texts[0]


def _texts(array: Any) -> list[str]:
    """Each element as a text that gives it back to the bit."""
    flat = array.reshape(-1)
    if flat.dtype.kind != "f":
        return [str(item) for item in flat.tolist()]
    write = repr if flat.dtype.itemsize == 8 else _short
    values = zip(flat.tolist(), bits_of(flat).tolist(), strict=True)
    return [_nan(bits, flat.dtype.itemsize) if math.isnan(x) else write(x) for x, bits in values]


def _short(x: float) -> str:
    """The shortest text of a float32, unless reading it as a float64 first would round twice."""
    text = str(np.float32(x))
    return text if np.float32(float(text)) == x else repr(x)


def _nan(bits: int, size: int) -> str:
    quiet, sign = quiet_nan(size), 1 << (8 * size - 1)
    return {quiet: "nan", quiet | sign: "-nan"}.get(bits, f"nan:{bits:0{2 * size}x}")


def _opaque(value: Any) -> str:
    """What stands for a value that has no text of its own."""
    return f"<{' '.join(repr(value).split()).strip('<>')}>"


def _dtype(_: _Printer, value: Any, __: str) -> str | None:
    name = dtype_name(value)
    return name if DTYPES.get(name) == value else None


def _exact(kind: type) -> Callable[[_Printer, Any, str], str | None]:
    """Values that are written as Python does; not those of a subclass, which has its own repr."""
    return lambda _, value, __: repr(value) if type(value) is kind else None


WRITERS: tuple[tuple[type, Callable[[_Printer, Any, str], str | None]], ...] = (
    (Graph, _Printer.body),
    (np.ndarray, _Printer.array),
    (np.generic, _Printer.scalar),
    (tuple, _Printer.write_tuple),
    (list, _Printer.write_list),
    (Mapping, _Printer.write_dict),
    (slice, _Printer.write_slice),
    (np.dtype, _dtype),
    (Aval, lambda _, value, __: str(value)),
    (float, lambda _, value, __: _texts(np.array(value))[0] if type(value) is float else None),
    *((kind, _exact(kind)) for kind in (bool, int, str, bytes, type(None))),
)
