"""The generated text: goldens of what a user reads, and that no name of theirs becomes code.

``GRAPHJIT_GOLDENS=1 pytest tests/test_emit.py`` writes the goldens anew; look at the difference
before you keep it.
"""

from __future__ import annotations

import ast
import linecache
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphjit
from graphjit import train
from graphjit.codegen.mathematics.describe import PLACES
from graphjit.flags import override
from graphjit.ir import TABLE, Builder, Origin, aval_of
from graphjit.ir.aval import DTYPES
from running import built
from zoo import ZOO, Animal

GOLDENS = Path(__file__).parent / "goldens"
MODEL = "model.py"
animals = pytest.mark.parametrize("animal", ZOO, ids=lambda animal: animal.name)


def defined(text: str, file: str = MODEL, name: str = "loss") -> Callable[..., Any]:
    """The function of a file that exists in memory only, so that its lines never move."""
    text = textwrap.dedent(text).strip() + "\n"
    linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
    namespace: dict[str, Any] = {"np": np}
    exec(compile(text, file, "exec"), namespace)
    function: Callable[..., Any] = namespace[name]
    return function


def gradient_source(text: str, *args: Any, argnums: Any = 0) -> str:
    """The program of a value and gradient."""
    with override(jit=False):
        return graphjit.value_and_grad(defined(text), argnums=argnums).source(*args)


def value_source(text: str, *args: Any) -> str:
    """The program of a function's value."""
    with override(jit=False):
        return graphjit.jit(defined(text)).source(*args)


def training_source() -> str:
    """The program of a training loop whose last batch is smaller."""
    loss = defined("""
        def loss(params, x, y):
            w, b = params
            return np.mean((x @ w + b - y) ** 2)
    """)
    fit = defined(
        """
        def fit(loss, train, data):
            optimizer = train.sgd(0.1, momentum=0.9)
            return train.minimize(loss, (np.ones(40), 0.5), data, optimizer, batch_size=16)
        """,
        "fit.py",
        "fit",
    )
    with override(jit=False):
        result = fit(loss, train, (np.ones((50, 40)), np.ones(50)))
    return str(result.source)


VECTOR, MATRIX = np.linspace(0.1, 1, 100), np.linspace(0, 1, 600).reshape(20, 30)
INDEX = np.array([0, 3, 3, 1])
SOURCES: dict[str, Callable[[], str]] = {
    "quiz": lambda: gradient_source("""
        def loss(x, z):
            return np.exp(x * z) + x * z / np.log(x) + np.sin(np.log(x)) / (x * z)
        """, 2.0, 3.0, argnums=(0, 1)),
    "one_loop": lambda: gradient_source("""
        def loss(x):
            a = np.tanh(x) * np.exp(-x**2)
            b = np.log1p(np.exp(x)) * np.sin(x)
            return np.sum(a + b)
        """, VECTOR),
    "logistic_regression": lambda: gradient_source("""
        def loss(w, x, y):
            p = 1 / (1 + np.exp(-(x @ w)))
            return -np.mean(y * np.log(p) + (1 - y) * np.log(1 - p))
        """, np.ones(30), MATRIX, np.ones(20)),
    "softmax": lambda: gradient_source("""
        def loss(logits, y):
            top = np.max(logits, axis=1, keepdims=True)
            e = np.exp(logits - top)
            p = e / np.sum(e, axis=1, keepdims=True)
            return -np.sum(y * np.log(p))
        """, MATRIX, MATRIX),
    "cross_entropy": lambda: gradient_source("""
        def loss(logits, y):
            logp = logits - np.log(np.sum(np.exp(logits), axis=1, keepdims=True))
            return -np.mean(logp[np.arange(len(y)), y])
        """, MATRIX, np.zeros(20, int)),
    "embedding": lambda: gradient_source("""
        def loss(table, tokens):
            return np.sum(np.tanh(table[tokens]))
        """, MATRIX, INDEX),
    "cumsum": lambda: value_source("""
        def loss(x):
            return np.cumsum(x, axis=0), np.cumsum(x[::-1], axis=1)
        """, MATRIX),
    "argmax": lambda: value_source("""
        def loss(x):
            return np.argmax(x, axis=1), np.any(x > 1), np.max(x)
        """, MATRIX),
    "concatenate": lambda: value_source("""
        def loss(x, y):
            return np.concatenate([x, y[::-1], 2 * x])
        """, VECTOR, VECTOR),
    "views": lambda: value_source("""
        def loss(x):
            return x[1:, ::2].T + x.reshape(30, 20)[:15, 1:].copy()[:, :19], np.sum(x, axis=0)
        """, MATRIX),
    "float32": lambda: gradient_source("""
        def loss(x, y):
            return np.mean((x * 2.5 - y.astype(np.float32)) ** 2)
        """, MATRIX.astype(np.float32), MATRIX),
    "small_products": lambda: gradient_source("""
        def loss(a, b):
            return np.sum((a @ b) ** 2)
        """, np.ones((3, 3)), np.ones((3, 3))),
    "training_loop": training_source,
}  # fmt: skip


@pytest.mark.parametrize("name", SOURCES)
def test_the_text_is_what_it_was(name: str) -> None:
    path, found = GOLDENS / f"{name}.py.txt", SOURCES[name]()
    if os.environ.get("GRAPHJIT_GOLDENS") == "1":
        path.parent.mkdir(exist_ok=True)
        path.write_text(found)
    assert path.exists(), "run with GRAPHJIT_GOLDENS=1 to write it"
    assert found == path.read_text(), "run with GRAPHJIT_GOLDENS=1 to write the golden anew"


def test_every_golden_is_of_a_program_here() -> None:
    assert {path.name.partition(".")[0] for path in GOLDENS.iterdir()} == set(SOURCES)


@pytest.mark.parametrize("name", SOURCES)
def test_the_text_is_the_same_each_time(name: str) -> None:
    assert SOURCES[name]() == SOURCES[name]()


def test_the_text_does_not_depend_on_hashing() -> None:
    script = (
        "import sys; sys.path.insert(0, 'tests'); from test_emit import SOURCES;"
        "print(*(SOURCES[n]() for n in ('quiz', 'softmax', 'training_loop')))"
    )
    texts = {
        subprocess.run(
            [sys.executable, "-c", script], env={**os.environ, "PYTHONHASHSEED": seed}, check=True,
            capture_output=True, text=True, cwd=Path(__file__).parent.parent,
        ).stdout
        for seed in ("1", "77")
    }  # fmt: skip
    assert len(texts) == 1
    assert "def run(args):" in texts.pop()


@pytest.mark.parametrize("name", SOURCES)
def test_the_users_lines_stand_beside_the_statements(name: str) -> None:
    text = SOURCES[name]()
    assert re.search(r"# .*model\.py:\d+ .*(return|=)", text)
    assert max(map(len, text.splitlines())) <= 140


# -- no name becomes code --------------------------------------------------------------------------

NODES = (
    ast.Module, ast.Expr, ast.Import, ast.ImportFrom, ast.alias, ast.FunctionDef, ast.arguments,
    ast.arg, ast.While,
    ast.Assign, ast.Name, ast.Load, ast.Store, ast.Constant, ast.Attribute, ast.Call, ast.keyword,
    ast.Subscript, ast.Slice, ast.For, ast.If, ast.IfExp, ast.Break, ast.Pass, ast.BinOp,
    ast.UnaryOp, ast.BoolOp,
    ast.Compare, ast.operator, ast.unaryop, ast.boolop, ast.cmpop, ast.Tuple,
)  # fmt: skip
PLAIN = re.compile(
    r"(in|out|arg|captured|joined|t|v|c)\d+(_\d+)?(_element)?|p\d+_[a-z]+|work_[a-z]+\d*|[i-w]|status|args|run|"
    r"control|monitor|losses|order|step|row|turn|at|count|loss|mean|settled|best|place"
)
CALLED = {
    "range",
    "abs",
    "kernel",
    "part",
    "gemm",
    "gemv",
    "hide",
    "bool",
    "min",
    "max",
    "float",
    "int",
}
CALLED |= set(PLACES)
CALLED |= {f"{kind}_{short}" for kind in ("array", "scalar") for short in DTYPES}
MODULES = {"np", "math", "numpy"}
IMPORTED = re.compile(r"graphjit\.codegen\.runtime_(python|numba)|math|numpy")


def check_allowed(text: str) -> None:
    """The text has nothing but plain loops over names that are counters."""
    for node in ast.walk(ast.parse(text)):
        assert isinstance(node, NODES), ast.dump(node)
        match node:
            case ast.Name(name):
                assert PLAIN.fullmatch(name) or name in CALLED | MODULES, name
            case ast.Attribute(ast.Name(module), name):
                assert module in MODULES, name
                known = {
                    *TABLE,
                    *(d.name for d in DTYPES.values()),
                    "nan",
                    "inf",
                    "bool_",
                    "arange",
                }
                assert name in known or hasattr(np, name), name
                assert not name.startswith("_"), name
            case ast.Attribute():
                raise AssertionError(ast.dump(node))
            case ast.ImportFrom(module) if module is not None:
                assert IMPORTED.fullmatch(module), module
            case ast.Import(names):
                assert all(IMPORTED.fullmatch(alias.name) for alias in names)
            case ast.FunctionDef(name):
                assert name == "run"


@pytest.mark.parametrize("name", SOURCES)
def test_the_goldens_hold_plain_loops_only(name: str) -> None:
    check_allowed((GOLDENS / f"{name}.py.txt").read_text())


@animals
def test_the_zoos_programs_hold_plain_loops_only(animal: Animal) -> None:
    graph, _ = animal.trace()
    check_allowed(built(graph).source)


HOSTILE = [
    "x);import os#", "x'''+__import__('os').abort()+'''", 'x"""\nimport os\nos.abort()\n"""',
    "x\nimport os\n",
    "x\\", "\u2028import os", "x\rimport os\r", "ñandú", "𝔁", "\x00", "{0}", "%s", "#",
    "run", "args",
    "\x0cimport os", "\x85import os", "a" * 10_000, "\u202eevil", "'", '"', "range", "\udc80",
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_no_name_of_the_users_becomes_code(text: str) -> None:
    """As the name of the program, of its file, of an input, and as the line in its source."""
    linecache.cache[text] = (1, None, [f"{text}\n"], text)
    try:
        origin = Origin(text, 1)
        builder = Builder(lambda: origin)
        x = builder.input(aval_of(np.ones(3)))
        wrapped = builder.emit("wrap_index", builder.input(aval_of(np.arange(3))), size=3)
        graph = builder.graph([builder.emit("gather", builder.emit("sin", x), wrapped, axes=(0,))])
        with override(jit=False):
            from graphjit.codegen.build import build

            program = build(graph, text, [text, text])
    finally:
        del linecache.cache[text]
    check_allowed(program.source)
    assert len(program.source) < 20_000 + 2 * len(text)
    (found,) = program(np.arange(3.0), np.array([2, 0, -1]))
    np.testing.assert_allclose(found, np.sin([2.0, 0.0, 2.0]))


@pytest.mark.parametrize(
    "text", [t for t in HOSTILE if "\x00" not in t and "\udc80" not in t], ids=ascii
)
def test_no_name_of_a_function_or_of_its_keys_becomes_code(text: str) -> None:
    def loss(params: Any, data: Any) -> Any:
        return np.mean((params[text] * data) ** 2)

    loss.__name__ = loss.__qualname__ = text
    with override(jit=False):
        compiled = graphjit.value_and_grad(loss)
        source = compiled.source({text: np.ones(3)}, np.ones(3))
        value, gradient = compiled({text: np.ones(3)}, np.ones(3))
        result = train.minimize(
            loss, {text: np.ones(3)}, np.ones((4, 3)), train.sgd(0.1), batch_size=3
        )
    check_allowed(source)
    check_allowed(result.source)
    assert value == 1
    np.testing.assert_allclose(gradient[text], np.full(3, 2 / 3))
