"""Loops that threads share: the same results for any number of threads, in any order."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphjit
from graphjit.codegen import duration, workers
from graphjit.codegen.build import Program, build
from graphjit.codegen.code import Code
from graphjit.codegen.native import compiled as machine_code
from graphjit.errors import IndexRangeError, TraceError
from graphjit.flags import override
from graphjit.ir import Graph, evaluate
from random_graphs import random_arguments, random_graph
from running import conforming
from zoo import ZOO, Animal

Array = np.ndarray[Any, Any]
pytestmark = pytest.mark.skipif(not workers.supported(), reason="no POSIX threads")
RNG = np.random.default_rng(0)
LONG = RNG.standard_normal(300_001)

# In place of the pool: the last block first, by one thread. What rests on the order of blocks, or
# on what an earlier one left behind, comes out differently.
BACKWARDS = """define void @run(ptr %task, ptr %context, i64 %blocks, i64 %threads) {
entry:
  br label %turn
turn:
  %i = phi i64 [ %blocks, %entry ], [ %block, %turn ]
  %block = sub i64 %i, 1
  call void %task(ptr %context, i64 %block)
  %more = icmp ugt i64 %block, 0
  br i1 %more, label %turn, label %end
end:
  ret void
}"""


@pytest.fixture
def everything(monkeypatch: pytest.MonkeyPatch) -> None:
    """Share every loop that can be."""
    monkeypatch.setattr(duration, "SHARED", 0.0)
    monkeypatch.setattr(duration, "CALLED", 0.0)


@pytest.fixture(scope="module")
def backwards() -> Callable[[], int]:
    """A pool that runs the last block first."""
    code = Code(machine_code(BACKWARDS), {})
    return lambda: code.address("run")


def outputs(program: Program, args: list[Any], count: int) -> list[Any]:
    with graphjit.threads(count):
        return list(program(*args))


def same_bits(a: list[Any], b: list[Any]) -> bool:
    return all(
        np.asarray(x).tobytes() == np.asarray(y).tobytes() for x, y in zip(a, b, strict=True)
    )


def check(
    graph: Graph, values: Any, backwards: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> int:
    """The program by one thread, two and three, and with its blocks in reverse order."""
    args = conforming(values)
    with override(threads=3):
        program = build(graph, "f")
    alone = outputs(program, args, 1)
    for count in (2, 3, 2):
        assert same_bits(alone, outputs(program, args, count)), f"{count} threads"
    with monkeypatch.context() as patch:
        patch.setattr(workers, "entry", backwards)
        assert same_bits(alone, build(graph, "f")(*args)), "in reverse order"
    for expected, found in zip(evaluate(graph, *args), alone, strict=True):
        close = 1e-4 if np.asarray(found).dtype == np.float32 else 1e-7
        np.testing.assert_allclose(found, expected, rtol=close, atol=close)
    return program.shared


@pytest.mark.usefixtures("everything")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("seed", range(0, 40, 4))
def test_random_programs_do_not_depend_on_the_number_of_threads_nor_on_the_order(
    seed: int, backwards: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = 0
    for each in range(seed, seed + 4):
        graph = random_graph(each, 30, smooth=each % 2 == 0)
        shared += check(graph, random_arguments(graph, each), backwards, monkeypatch)
    assert shared


@pytest.mark.usefixtures("everything")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("animal", ZOO, ids=lambda animal: animal.name)
def test_the_zoo_and_its_gradients(
    animal: Animal, backwards: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    check(*animal.trace(), backwards, monkeypatch)
    try:
        function = graphjit.value_and_grad(animal.function)
        arguments = function._arguments(animal.args(), {})
        derived = function._derive(arguments)
    except graphjit.errors.GraphJITError:
        return
    leaves = [arguments.leaves[i] for i in arguments.traced]
    check(derived.graph, [*leaves, *derived.traced.captured], backwards, monkeypatch)


# -- what is shared --------------------------------------------------------------------------------


def shared(function: Callable[..., Any], *args: Any) -> int:
    """How many loops of a function threads share."""
    return graphjit.jit(function).explain_compile(*args).work["loops that threads share"]


def chain(x: Any) -> Any:
    return np.sum(np.tanh(x) * np.exp(-(x**2)))


def rows(x: Any) -> Any:
    shifted = x - np.max(x, axis=1, keepdims=True)
    return shifted - np.log(np.sum(np.exp(shifted), axis=1, keepdims=True))


def columns(x: Any) -> Any:
    return np.sum(np.exp(x), axis=0)


def running(x: Any) -> Any:
    return np.cumsum(x)


def scattered(x: Any, where: Any) -> Any:
    return np.sum(x[where] ** 2)


def product(a: Any, b: Any) -> Any:
    return a @ b


def attention(x: Any) -> Any:
    """Each example needs more memory of its own than there is on a stack."""
    weights = np.exp(np.einsum("bid,bjd->bij", x, x) / 8.0)
    return np.sum(np.einsum("bij,bjd->bid", weights / np.sum(weights, axis=2, keepdims=True), x))


HEADS = RNG.standard_normal((8, 128, 32))
MATRIX = RNG.standard_normal((1000, 300))
SQUARE = RNG.standard_normal((300, 300))
PLACES = RNG.integers(0, 50, 200_000)


@pytest.mark.parametrize(
    ("function", "args"),
    [
        (chain, (LONG,)),
        (graphjit.value_and_grad(chain), (LONG,)),
        (rows, (MATRIX,)),
        (columns, (MATRIX,)),
        (graphjit.grad(scattered), (LONG[:50], PLACES)),
        (product, (MATRIX, SQUARE)),
        (product, (MATRIX.T, MATRIX)),
        (lambda x: np.max(np.exp(x)), (LONG,)),
        (graphjit.grad(attention), (HEADS,)),
    ],
    ids=["sum", "gradient", "rows", "columns", "scatter", "product", "transposed", "max", "heads"],
)  # fmt: skip
def test_large_loops_are_shared_and_bits_stay(function: Callable[..., Any], args: Any) -> None:
    assert shared(function, *args) >= 1
    plain = graphjit.jit(function, threads=1)(*args)
    several = graphjit.jit(function, threads=3)
    for _ in range(3):
        for a, b in zip(leaves(plain), leaves(several(*args)), strict=True):
            assert np.array_equal(a, b)


def leaves(result: Any) -> tuple[Any, ...]:
    return result if isinstance(result, tuple) else (result,)


def test_what_goes_from_turn_to_turn_is_not_shared() -> None:
    assert shared(running, LONG) == 0


def test_small_programs_are_not_shared() -> None:
    assert shared(chain, LONG[:100]) == 0


def test_a_sum_is_as_exact_as_before() -> None:
    x = np.full(1_000_000, 0.1)
    x[::2] = -0.3
    exact = np.float64(-0.1) * 1_000_000
    assert abs(graphjit.jit(np.sum)(x) - exact) < 1e-9


def test_infinities_and_nan_go_through_sums() -> None:
    x = np.ones(300_000)
    x[7], x[-1] = np.inf, 1.0
    assert graphjit.jit(np.sum)(x) == np.inf
    x[-2] = np.nan
    assert np.isnan(graphjit.jit(np.sum)(x))
    assert np.isnan(graphjit.jit(np.max)(x))


def test_a_failing_check_in_one_block_raises() -> None:
    where = PLACES.copy()
    function = graphjit.jit(lambda x, w: np.exp(x[w]))
    assert shared(function, LONG[:50], where) == 1
    where[123_456] = 50
    with pytest.raises(IndexRangeError):
        function(LONG[:50], where)
    where[123_456] = 3
    np.testing.assert_allclose(function(LONG[:50], where), np.exp(LONG[:50][where]), rtol=1e-14)


def test_a_training_loop_gives_the_same_for_any_number_of_threads() -> None:
    x, y = RNG.standard_normal((2048, 256)), RNG.standard_normal(2048)

    def loss(w: Any, x: Any, y: Any) -> Any:
        return np.mean((np.tanh(x @ w["a"]) @ w["b"] - y) ** 2)

    start = {"a": RNG.standard_normal((256, 256)) * 0.1, "b": RNG.standard_normal(256)}

    def trained(count: int) -> Any:
        with override(threads=count):
            return graphjit.train.minimize(
                loss, start, (x, y), graphjit.train.sgd(0.01), batch_size=1024, epochs=2
            )

    one, three = trained(1), trained(3)
    assert np.array_equal(one.losses, three.losses)
    assert all(np.array_equal(one.params[k], three.params[k]) for k in start)


# -- control ---------------------------------------------------------------------------------------


def in_process(text: str, **flags: str) -> str:
    """What a fresh process prints."""
    environment = {**os.environ, **flags}
    done = subprocess.run(
        [sys.executable, "-c", text], check=False, env=environment, capture_output=True, text=True,
        timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


BEGIN = """
import numpy as np, graphjit, os, sys
from graphjit.codegen import workers
x = np.linspace(0.0, 1.0, 300_000)
f = graphjit.value_and_grad(lambda x: np.sum(np.tanh(x) * np.exp(-x)){more})
"""


def test_small_programs_make_no_pool_and_large_ones_start_it_at_the_first_call() -> None:
    text = BEGIN.format(more=", threads=3") + (
        "g = graphjit.grad(lambda x: np.sum(x * x))\n"
        "g(x[:10])\n"
        "assert not workers._made.cache_info().currsize and 'Pool' not in dir(workers)\n"
        "f.explain_compile(x)\n"
        "assert workers.started() == 0\n"
        "f(x)\n"
        "assert workers.started() == 2, workers.started()\n"
    )
    in_process(text)


@pytest.mark.parametrize(
    ("more", "flags", "expected"),
    [
        (", threads=1", {}, 0),
        (", threads=4", {}, 3),
        ("", {"GRAPHJIT_THREADS": "3"}, 2),
        (", threads=2", {"GRAPHJIT_THREADS": "3"}, 1),
    ],
)
def test_how_many_threads(more: str, flags: dict[str, str], expected: int) -> None:
    text = BEGIN.format(more=more) + "f(x); print(workers.started())"
    assert int(in_process(text, **flags)) == expected


def test_a_limit_holds_within_its_block() -> None:
    text = BEGIN.format(more=", threads=3") + (
        "with graphjit.threads(1):\n"
        "    f(x)\n"
        "    print(workers.started())\n"
        "with graphjit.threads(2):\n"
        "    f(x)\n"
        "    print(workers.started())\n"
        "while workers.started() < 2:  # a busy machine's pool may rest for a while\n"
        "    f(x)\n"
        "print(workers.started())\n"
    )
    assert in_process(text).split() == ["0", "1", "2"]


@pytest.mark.parametrize("wrong", [0, -1, 2.0, True, "2", 257])
def test_a_wrong_number_of_threads_is_refused(wrong: Any) -> None:
    with pytest.raises(TraceError, match="threads cannot be"):
        graphjit.jit(chain, threads=wrong)
    with pytest.raises(TraceError, match="threads cannot be"):
        graphjit.grad(threads=wrong)(chain)


# -- processes and threads of Python ---------------------------------------------------------------


def test_threads_of_python_call_at_the_same_time() -> None:
    function = graphjit.value_and_grad(chain, threads=3)
    inputs = [RNG.standard_normal(300_000) for _ in range(6)]
    expected = [function(x) for x in inputs]
    wrong: list[Any] = []

    def work(place: int) -> None:
        for _ in range(20):
            value, slope = function(inputs[place])
            if value != expected[place][0] or not np.array_equal(slope, expected[place][1]):
                wrong.append(place)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(inputs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_forked_child_has_a_pool_of_its_own() -> None:
    text = BEGIN.format(more=", threads=3") + (
        "before = f(x)\n"
        "for _ in range(5):\n"
        "    child = os.fork()\n"
        "    if not child:\n"
        "        started = workers.started()\n"
        "        after = f(x)\n"
        "        same = after[0] == before[0] and (after[1] == before[1]).all()\n"
        "        os._exit(0 if same and started == 0 and workers.started() == 2 else 1)\n"
        "    assert os.waitpid(child, 0)[1] == 0\n"
        "    assert f(x)[0] == before[0]\n"
    )
    in_process(text)


def test_a_second_process_loads_the_program_and_gives_the_same(tmp_path: Any) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        BEGIN.format(more=", threads=3") + "value, slope = f(x)\n"
        "print(f.stats.cache.split(':')[0], float(value).hex(), slope.sum().hex(), "
        "workers.started())\n"
    )
    text = f"import runpy; runpy.run_path({str(script)!r}, run_name='__main__')"
    flags = {"GRAPHJIT_CACHE": "on", "GRAPHJIT_CACHE_DIR": str(tmp_path / "cache")}
    first, second = (in_process(text, **flags).split() for _ in range(2))
    assert (first[0], second[0]) == ("miss", "hit")
    assert first[1:] == second[1:]
    assert second[-1] == "2"


def test_interrupts_arrive_in_the_main_thread() -> None:
    text = BEGIN.format(more=", threads=3") + (
        "import signal, threading\n"
        "signal.signal(signal.SIGALRM, signal.default_int_handler)\n"
        "signal.setitimer(signal.ITIMER_REAL, 0.3)\n"
        "try:\n"
        "    while True: f(x)\n"
        "except KeyboardInterrupt:\n"
        "    print('interrupted', f(x)[0] == f(x)[0])\n"
    )
    assert in_process(text) == "interrupted True"


def test_a_pool_that_rests_leaves_calls_to_their_own_thread() -> None:
    text = BEGIN.format(more=", threads=3") + (
        "f.explain_compile(x)\n"
        "resume = workers.workers()._word('resume')\n"
        "resume.value = 2**62\n"
        "before = f(x)\n"
        "assert workers.started() == 0\n"
        "resume.value = 0\n"
        "after = f(x)\n"
        "print(workers.started(), before[0] == after[0], (before[1] == after[1]).all())\n"
    )
    assert in_process(text).split() == ["2", "True", "True"]


@pytest.mark.skipif(sys.platform != "linux", reason="counts of the system's")
def test_a_pool_that_rests_wakes_nobody() -> None:
    text = BEGIN.format(more=", threads=3") + (
        "import time\n"
        "def woken():\n"
        "    tasks = [t for t in os.listdir('/proc/self/task') if int(t) != os.getpid()]\n"
        "    texts = [open(f'/proc/self/task/{t}/status').read() for t in tasks]\n"
        "    return [t.partition('\\nvoluntary_ctxt_switches:')[2].split()[0] for t in texts]\n"
        "f(x)\n"
        "word = workers.workers()._word\n"
        "while word('sleepers').value < 2: time.sleep(0.01)\n"
        "time.sleep(0.05)\n"
        "before, word('resume').value = woken(), 2**62\n"
        "for _ in range(20): f(x)\n"
        "time.sleep(0.05)\n"
        "after, word('resume').value = woken(), 0\n"
        "while woken() == before: f(x)\n"
        "print(len(before) >= 2, after == before)\n"
    )
    assert in_process(text, GRAPHJIT_TIER="best") == "True True"


def test_the_library_keeps_its_own_number_of_threads() -> None:
    text = BEGIN.format(more=", threads=2") + (
        "from graphjit.codegen.blas import find\n"
        "a = np.ones((600, 600))\n"
        "before = find().threads()\n"
        "g = graphjit.jit(lambda a: a @ a, threads=2)\n"
        "assert (g(a) == 600).all()\n"
        "assert (graphjit.jit(lambda a: a @ a, threads=1)(a) == 600).all()\n"
        "print(find().threads() == before)\n"
    )
    assert in_process(text) == "True"


def test_calls_after_the_pool_has_stopped_run_alone() -> None:
    text = BEGIN.format(more=", threads=3") + (
        "import atexit\n"
        "def late():\n"
        "    print(f(x)[0] == before)\n"
        "atexit.register(late)\n"
        "before = f(x)[0]\n"
        "atexit.unregister(late); workers.workers().stop(); atexit.register(late)\n"
    )
    assert in_process(text) == "True"
