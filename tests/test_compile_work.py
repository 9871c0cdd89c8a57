"""The work of compiling, counted: it grows with the graph, and says where it went."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

import graphjit
from graphjit.codegen.build import INLINE, passes_for
from graphjit.codegen.lower import lower
from graphjit.codegen.native import BEST, compiled
from graphjit.codegen.render_llvm import render
from graphjit.ir import Graph, evaluate
from graphjit.passes.pipeline import PROGRAM, run

FUNCTION = re.compile(r"^define .*?^}", re.MULTILINE | re.DOTALL)


def formula(count: int) -> Any:
    """A function of about five times ``count`` operations."""

    def f(x: Any) -> Any:
        y = x
        for i in range(count):
            y = np.sin(y) * x + y / (1 + i)
        return np.sum(y)

    return f


def rendered(count: int, x: Any) -> str:
    graph = graphjit.grad(formula(count)).graph(x, stage="adjoint")
    return render(lower(run(graph, PROGRAM)), "formula").text


@pytest.mark.parametrize("x", [1.3, np.linspace(0.5, 1.5, 24)], ids=["scalar", "array"])
def test_the_text_grows_with_the_graph_and_its_functions_do_not(x: Any) -> None:
    small, large = rendered(100, x), rendered(400, x)
    lines = [text.count("\n") for text in (small, large)]
    assert 3.5 <= lines[1] / lines[0] <= 4.5
    assert max(f.count("\n") for f in FUNCTION.findall(large) if "@run(" not in f) <= 2500


def test_a_graph_of_ten_thousand_nodes_compiles() -> None:
    def f(x: Any) -> Any:
        y = x
        for i in range(2500):
            y = np.cos(y) * x + i
        return y

    gradient = graphjit.grad(f)
    graph = gradient.graph(0.7, stage="adjoint")
    assert len(graph) >= 10_000
    assert gradient(0.7) == pytest.approx(float(evaluate(graph, 0.7)[0]), rel=1e-10)


def test_a_graph_of_a_hundred_thousand_nodes_is_evaluated() -> None:
    def f(x: Any) -> Any:
        y = x
        for _ in range(50_000):
            y = y * 0.5 + x
        return y

    graph: Graph = graphjit.jit(f).graph(1.0, stage="traced")
    assert len(graph) >= 100_000
    assert float(evaluate(graph, 1.0)[0]) == 2.0


def test_the_report_says_what_each_phase_cost_and_how_much_there_was() -> None:
    gradient = graphjit.grad(formula(10))
    report = gradient.explain_compile(np.ones(5))
    assert list(report.seconds) == ["trace", "adjoint", "passes", "lower", "render", "compile"]
    assert report.total == sum(report.seconds.values()) > 0
    assert {"prune", "simplify", "merge", "fuse"} <= {record.step for record in report.passes}
    assert isinstance(gradient.graph(np.ones(5)), Graph)
    assert report.work["nodes fused"] == len(gradient.graph(np.ones(5)))
    assert report.work["kernels"] == 1
    assert gradient.stats.calls == 0
    text = str(report)
    assert re.search(r"formula|f: +[\d.]+ ms", text)
    assert re.search(r"^ +fuse +[\d.]+ ms", text, re.MULTILINE)
    assert "nodes with derivatives" in text


def test_the_report_of_another_call_is_that_of_its_own_program() -> None:
    gradient = graphjit.grad(lambda x: np.sum(x**2) if x.ndim == 1 else np.sum(x @ x))
    one, two = (gradient.explain_compile(np.ones(s)) for s in ((3,), (3, 3)))
    assert one.work["kernels"] < two.work["kernels"]
    assert gradient.stats.specialisations == 2


def test_the_sine_and_the_cosine_of_one_argument_share_work() -> None:
    def text_of(f: Any) -> str:
        graph = graphjit.jit(f).graph(np.ones(100), stage="traced")
        return render(lower(run(graph, PROGRAM)), "both").text

    assert passes_for(text_of(lambda x: (np.sin(x), np.tanh(x)))) == INLINE
    text = text_of(lambda x: (np.sin(x), np.cos(x)))
    assert len(compiled(text, BEST, passes_for(text))) < len(compiled(text, BEST, INLINE))
