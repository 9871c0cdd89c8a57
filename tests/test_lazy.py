"""What is imported when, and that the work of a compilation grows as the graph does."""

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from typing import Any

import networkx as nx
import numpy as np
import pytest

from graphjit.codegen.lower import lower
from graphjit.ir import Graph
from graphjit.ir.dag import depends_on, needed, topological
from graphjit.passes.adjoint import adjoint
from graphjit.passes.pipeline import OCCASIONS, PASSES, PRIMAL, PROGRAM, Step, run
from graphjit.tracing.trace import trace
from random_graphs import random_graph

HEAVY = ("networkx", "numba", "llvmlite", "scipy", "tqdm", "sympy", "mpmath", "matplotlib")
SEEN = f"print(*sorted({{name.partition('.')[0] for name in sys.modules}} & set({HEAVY})))"
GRADIENT = """
import graphjit, numpy as np
from graphjit.codegen.lower import lower
from graphjit.passes.pipeline import PROGRAM, run
from graphjit.passes.adjoint import adjoint
from graphjit.tracing.trace import trace
def f(w, x):
    h = 1 / (1 + np.exp(-(x @ w)))
    return np.mean(np.logaddexp(0, h) + np.log(1 + np.exp(h)))
graph = trace(f, (np.ones((3, 2)), np.ones((4, 3)))).graph
lower(run(adjoint(graph, (0,)), PROGRAM))
"""
SPECIAL = """
import graphjit, numpy as np
from scipy import special
from graphjit.tracing.trace import trace
def f(x):
    return special.erf(x) + special.logsumexp(x) + special.entr(x)
print({'erf', 'xlogy', 'max'} <= {node.op for node in trace(f, (np.ones(3),)).graph.nodes})
"""


def printed(program: str) -> str:
    """What a fresh process prints that runs the program."""
    command = [sys.executable, "-c", f"import sys\n{program}"]
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd="/").stdout


@pytest.mark.parametrize("program", ["import graphjit", GRADIENT], ids=["import", "gradient"])
def test_what_is_heavy_is_not_imported(program: str) -> None:
    assert printed(f"{program}\n{SEEN}").split() == []


def test_the_list_of_heavy_modules_is_seen() -> None:
    assert printed(f"import networkx\n{SEEN}").split() == ["networkx"]


def test_scipys_functions_are_known_once_they_are_called() -> None:
    assert printed(SPECIAL) == "True\n"


# -- questions about edges, compared with networkx ---------------------------------------------


@pytest.fixture(scope="module", params=range(6))
def graph(request: pytest.FixtureRequest) -> Graph:
    return random_graph(request.param, 60)


def test_what_a_node_needs_and_what_needs_it_are_networkxs(graph: Graph) -> None:
    for node in graph.nodes[::5]:
        above, below = nx.ancestors(graph.dag, node.id), nx.descendants(graph.dag, node.id)
        assert needed(graph, [node.id]) == {node.id, *above}
        assert depends_on(graph, [node.id]) == {node.id, *below}
    ends = graph.outputs
    assert needed(graph, ends) == set(ends).union(*(nx.ancestors(graph.dag, i) for i in ends))
    assert needed(graph, ()) == depends_on(graph, ()) == set()


KEYS: dict[str, Callable[[int], Any]] = {
    "id": lambda i: i,
    "reverse": lambda i: -i,
    "ties": lambda i: i % 3,
    "one": lambda _: (0, ""),
}


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
def test_the_order_is_networkxs(graph: Graph, key: Callable[[int], Any]) -> None:
    assert topological(graph, key) == list(nx.lexicographical_topological_sort(graph.dag, key=key))


# -- the work grows as the graph does ----------------------------------------------------------


def formula(steps: int) -> Callable[[float, float], Any]:
    """A plain loop, in which each value is used in the next few steps."""

    def f(x: Any, y: Any) -> Any:
        values = [x, y]
        for i in range(steps):
            a, b = values[-1], values[-2 - i % 5 if len(values) > 6 else 0]
            values.append(np.sin(a) * 0.5 + np.tanh(a - b) * b if i % 3 else np.exp(-a * a) / 2 + b)
        return sum(values[-4:])

    return f


def recurrent(steps: int) -> Callable[[Any, Any], Any]:
    """An unrolled recurrent net: products, slices and a state, each step like the one before."""

    def f(w: Any, x: Any) -> Any:
        h = x[0] * 0
        for t in range(steps):
            g = x[t % 4] + h @ w
            h = np.tanh(g[:3].sum() * g) + h * 0.5
        return np.sum(h * h)

    return f


def compiled(graph: Graph) -> int:
    """Take a graph through all passes to loops; the nodes that came out of each pass, added up."""
    count = 0

    def hook(step: Step, before: Graph, after: Graph, seconds: float) -> None:
        nonlocal count
        count += len(before) + len(after)

    gradient = adjoint(run(graph, PRIMAL, hook), (0,))
    lower(run(gradient, PROGRAM, hook))
    return count


def calls(work: Callable[[], Any]) -> int:
    """How many Python and C functions are called: work that is the same on every machine."""
    count = 0

    def profile(_frame: Any, event: str, _argument: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(profile)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


CASES = {
    "formula": (formula, (0.3, 0.7)),
    "recurrent": (recurrent, (np.eye(6) / 2, np.ones((4, 6)))),
}


@pytest.mark.parametrize("case", CASES)
def test_the_work_of_a_compilation_grows_as_the_graph(case: str) -> None:
    make, args = CASES[case]
    small, large = (trace(make(steps), args).graph for steps in (60, 240))
    growth = len(large) / len(small)
    assert compiled(large) < 1.1 * growth * compiled(small)
    assert calls(lambda: compiled(large)) < 1.15 * growth * calls(lambda: compiled(small))


@pytest.mark.parametrize("case", CASES)
def test_tracing_takes_the_same_work_for_each_node(case: str) -> None:
    make, args = CASES[case]
    small, large = (lambda n=n: trace(make(n), args) for n in (60, 240))
    assert calls(large) < 1.1 * 4 * calls(small)


@pytest.mark.parametrize("name", OCCASIONS)
def test_a_pass_is_skipped_only_where_it_would_do_nothing(name: str) -> None:
    skipped = 0
    for seed in range(120):
        graph = run(random_graph(seed, 15), PRIMAL)
        if not graph.count(OCCASIONS[name]):
            skipped += 1
            assert PASSES[name](graph) is graph
            assert Step(name)(graph) is graph
    assert skipped


def test_passes_that_a_graph_gives_no_occasion_for_are_not_loaded() -> None:
    script = """
        import sys, graphjit, numpy as np
        graphjit.grad(lambda x: np.sum(np.sin(x)))(np.ones(3))
        print(*sorted(n for n in sys.modules if n.rpartition(".")[2] in ("stitch", "arrange")))
        graphjit.grad(lambda x: np.sum((x[1:] - x[:-1]) ** 2))(np.ones(3))
        print(*sorted(n for n in sys.modules if n.rpartition(".")[2] in ("stitch", "arrange")))
    """
    environment = {**os.environ, "GRAPHJIT_CACHE": "off"}
    command = [sys.executable, "-c", textwrap.dedent(script)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.splitlines() == ["", "graphjit.passes.stitch"]
