"""Compiled functions and the disk cache: what a second program of a function is, and when."""

import gc
import json
import re
import threading
import types
import weakref
from collections import namedtuple
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optree
import pytest

import graphjit
from graphjit.cache import folder as folder_module
from graphjit.cache.store import SUFFIX, opened
from graphjit.errors import CacheWarning, IndexRangeError
from graphjit.flags import override
from graphjit.transforms import Compiled
from graphjit.transforms.reverse import Pullback, pullback_of
from zoo import ZOO, Animal

Made = Callable[[], Compiled]
NEW = "miss: not built before"
RATE = 3.0
TABLE = np.linspace(0.0, 1.0, 400)
MATRIX = np.eye(20) * 2 + 0.1
CALL = re.compile(r"  # test_cache_programs.py:\d+ .*for compiled in.*|:\d+")
Pair = namedtuple("Pair", "first second")  # noqa: PYI024 - as a user would write it


@dataclass
class Params:
    """Parameters with a text among them."""

    w: Any
    name: str = "net"


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr(folder_module, "_warned", False)
    where = tmp_path / "cache"
    with override(cache=True, cache_dir=str(where), tier="best"):
        yield where


@pytest.fixture
def loading(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From its call on nothing may be traced or compiled."""

    def refused(*_: Any, **__: Any) -> Any:
        raise AssertionError("traced or compiled")

    def begin() -> None:
        monkeypatch.setattr("graphjit.tracing.trace.substituted", refused)
        monkeypatch.setattr("graphjit.codegen.native.compiled", refused)
        monkeypatch.setattr("graphjit.codegen.build.machine_code", refused)

    return begin


def same(first: Any, second: Any) -> None:
    """The same containers, types and bits."""
    leaves, spec = optree.tree_flatten(first, namespace="graphjit")
    others, other = optree.tree_flatten(second, namespace="graphjit")
    assert spec == other
    for a, b in zip(leaves, others, strict=True):
        assert type(a) is type(b)
        np.testing.assert_array_equal(a, b)


def entries(place: Path) -> list[Path]:
    return sorted(place.glob(f"*{SUFFIX}"))


# -- the same numbers -----------------------------------------------------------------------------


def wrt(animal: Animal) -> tuple[int, ...]:
    """The arguments that are floats throughout."""
    places = enumerate(map(optree.tree_leaves, animal.args()))
    return tuple(i for i, ls in places if all(np.asarray(v).dtype.kind == "f" for v in ls))


@pytest.mark.parametrize("animal", ZOO, ids=lambda animal: animal.name)
def test_a_loaded_gradient_is_the_built_one(animal: Animal, loading: Callable[[], None]) -> None:
    def made() -> Compiled:
        return graphjit.value_and_grad(animal.function, wrt(animal))

    first = made()
    expected = first(*animal.args())
    assert first.stats.cache == NEW
    loading()
    second = made()
    for _ in range(2):
        same(second(*animal.args()), expected)
    assert second.stats.cache == "hit"
    assert second.stats.seconds.keys() == {"fingerprint", "load"}


def square(x: Any) -> Any:
    return np.sum(np.tanh(x) ** 2 * RATE)


def named(x: Any, y: Any) -> Any:
    return {"b": x + y, "a": Pair(np.sum(x), [None, x * 2, "text", 3]), "c": Params(y)}


def by_params(p: Any, x: Any) -> Any:
    return np.sum(np.tanh(x @ p.w)) * (2.0 if p.name == "net" else 3.0)


def power(x: Any, n: int, *, shift: Any = 0.5) -> Any:
    return np.sum(x**n + shift)


def elements(x: Any) -> Any:
    return np.sin(x) * x[::-1]


class Net:
    """A model with a method that is compiled."""

    def __init__(self) -> None:
        self.scale, self.table = 2.0, np.arange(200.0)

    @graphjit.grad
    def loss(self, x: Any) -> Any:
        return np.sum(x * self.scale + self.table[:3] * x)


class Other(Net):
    """The same with a decorated method of its own, as a second process has it."""

    loss = graphjit.grad(Net.loss.__wrapped__)


X = np.array([0.5, -1.0, 2.0])
CASES: dict[str, tuple[Made, tuple[Any, ...], dict[str, Any]]] = {
    "number": (lambda: graphjit.grad(lambda x: x * x), (1.5,), {}),
    "containers": (lambda: graphjit.jit(named), (X, 2.0), {}),
    "dataclass": (lambda: graphjit.grad(by_params), (Params(np.ones((3, 2))), X), {}),
    "static": (lambda: graphjit.grad(power), (X, 3), {}),
    "keywords": (lambda: graphjit.grad(power, static_argnames="shift"), (X, 2), {"shift": 1.5}),
    "auxiliary": (lambda: graphjit.grad(lambda x: (square(x), x + 1), has_aux=True), (X,), {}),
    "nested": (lambda: graphjit.grad(lambda x: np.sum(graphjit.grad(square)(x))), (X,), {}),
    "jacobian": (lambda: graphjit.jacobian(elements), (X,), {}),
    "hessian": (lambda: graphjit.hessian(square), (X,), {}),
    "vmap": (lambda: graphjit.vmap(graphjit.grad(square)), (np.ones((4, 3)),), {}),
    "budget": (lambda: graphjit.grad(square, budget=100), (X,), {}),
    "constant": (lambda: graphjit.grad(lambda x: 2.0), (X,), {}),
    "empty": (lambda: graphjit.jit(lambda x: ()), (X,), {}),
    "float32": (lambda: graphjit.grad(square), (X.astype(np.float32),), {}),
    "strided": (lambda: graphjit.jit(elements), (np.arange(6.0)[::2],), {}),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_made_of_a_function_is_kept(case: str, loading: Callable[[], None]) -> None:
    make, args, kwargs = CASES[case]
    first = make()
    for _ in range(20):  # the last of them natively
        expected = first(*args, **kwargs)
    assert first.stats.cache == NEW
    loading()
    second = make()
    for _ in range(20):
        same(second(*args, **kwargs), expected)
    assert second.stats.cache == "hit"
    assert second.stats.calls == 20


def test_a_method_is_kept(loading: Callable[[], None]) -> None:
    net, again = Net(), Other()
    expected = net.loss(X)
    again.loss.stats  # noqa: B018 - the decorated method of this instance is made
    assert again.loss(X).tolist() == expected.tolist()
    assert net.loss.stats.cache == NEW
    loading()
    third = Other()
    assert third.loss(X).tolist() == expected.tolist()
    assert third.loss.stats.cache == "hit"


def test_other_arguments_are_other_entries() -> None:
    f = graphjit.grad(square)
    for args in ((X,), (X[:2],), (X.astype(np.float32),)):
        f(*args)
        assert f.stats.cache == NEW
    g = graphjit.grad(power)
    for n in (2, 3, True):
        g(X, n)
        assert g.stats.cache == NEW
    assert g(X, 2).tolist() == (2 * X).tolist()


# -- misses ---------------------------------------------------------------------------------------

MODEL = """
import numpy as np

RATE = 2.0
LAYERS = [1.0, 2.0]
BIG = np.ones(300)

def deepest(x):
    return x * 3.0

def helper(x):
    return deepest(x) + 1.0

class Kind:
    def gain(self, x):
        return x * 1.5

KIND = Kind()

def loss(x):
    return np.sum(KIND.gain(helper(x)) ** 2 * RATE * LAYERS[1]) + np.sum(BIG) * np.sum(x)
"""


def module(text: str) -> types.ModuleType:
    made = types.ModuleType("model")
    exec(compile(text, "model.py", "exec"), vars(made))
    return made


CHANGES = {
    "helper": ("x * 3.0", "x * 4.0", "helper deepest changed"),
    "global": ("RATE = 2.0", "RATE = 2.5", "global RATE changed"),
    "element": ("[1.0, 2.0]", "[1.0, 4.0]", "global LAYERS[1] changed"),
    "method": ("x * 1.5", "x * 2.5", "helper gain changed"),
    "itself": ("** 2 *", "** 3 *", "its code changed"),
    "form": ("np.ones(300)", "np.ones(301)", "global BIG changed"),
    "name": (" * RATE *", " * RATE / LAYERS[0] *", "its code changed"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_a_miss_that_says_what_changed(change: str) -> None:
    old, new, reason = CHANGES[change]
    assert MODEL.count(old) == 1
    before, after = module(MODEL), module(MODEL.replace(old, new))
    x = np.array([0.5, 2.0])
    graphjit.grad(before.loss)(x)
    changed = graphjit.grad(after.loss)
    difference = [(after.loss(x + d) - after.loss(x - d)) / 2e-6 for d in np.eye(2) * 1e-6]
    np.testing.assert_allclose(changed(x), difference, rtol=1e-6)
    assert changed.stats.cache == f"miss: {reason}"
    again = graphjit.grad(module(MODEL).loss)
    again(x)
    assert again.stats.cache == "hit"  # both are kept


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("model", "0", "model: .* -> 0"),
        ("flags", "sse2", "the processor has other features"),
        ("llvmlite", "0.1", "llvmlite: .* -> 0.1"),
        ("numpy", "1.0", "numpy: .* -> 1.0"),
        ("graphjit", "0.0.0", "graphjit: .* -> 0.0.0"),
        ("sources", "0", "the files of graphjit changed"),
    ],
)
def test_another_machine_or_version_is_a_miss(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, reason: str
) -> None:
    from graphjit.cache.environment import environment

    expected = graphjit.grad(square)(X)
    other = {**environment(), name: value}
    for user in ("objects", "lookup"):
        monkeypatch.setattr(f"graphjit.cache.{user}.environment", lambda: other)
    f = graphjit.grad(square)
    same(f(X), expected)
    assert re.fullmatch(f"miss: {reason}", f.stats.cache)


def test_the_contents_of_a_large_array_are_an_input(loading: Callable[[], None]) -> None:
    table = np.linspace(0.0, 1.0, 400)

    def f(x: Any) -> Any:
        return np.sum(table * x)

    expected = graphjit.grad(f)(2.0)
    loading()
    second = graphjit.grad(f)
    table *= 2
    assert second(2.0) == 2 * expected
    assert second.stats.cache == "hit"
    table *= 2
    assert second(2.0) == 4 * expected


def test_contents_that_were_read_while_tracing_are_compared() -> None:
    matrix = np.eye(20) * 2

    def f(x: Any) -> Any:
        return np.sum(np.linalg.inv(matrix) @ x)

    x = np.ones(20)
    expected = graphjit.grad(f)(x)
    same_contents = graphjit.grad(f)
    same(same_contents(x), expected)
    assert same_contents.stats.cache == "hit"
    matrix *= 2
    other = graphjit.grad(f)
    same(other(x), expected / 2)
    words = "the contents of closure matrix changed while Python code depends on them"
    assert other.stats.cache == f"miss: {words}"
    matrix /= 2
    same(same_contents(x), expected)
    assert same_contents.stats.recompiles == []
    matrix *= 3
    np.testing.assert_allclose(same_contents(x), expected / 3)
    assert same_contents.stats.recompiles == [words]


def test_an_array_that_was_made_while_tracing_is_kept_with_its_elements(
    loading: Callable[[], None],
) -> None:
    def f(x: Any) -> Any:
        return np.sum(np.sin(np.arange(100.0)) * x)

    expected = graphjit.grad(f)(np.ones(100))
    loading()
    loaded = graphjit.grad(f)
    same(loaded(np.ones(100)), expected)
    assert loaded.stats.cache == "hit"


def test_a_global_that_changes_later_builds_again(monkeypatch: pytest.MonkeyPatch) -> None:
    graphjit.grad(square)(X)
    f = graphjit.grad(square)
    expected = f(X)
    assert f.stats.cache == "hit"
    monkeypatch.setitem(globals(), "RATE", 6.0)
    np.testing.assert_allclose(f(X), 2 * expected)
    assert f.stats.recompiles == ["global RATE: 3.0 -> 6.0"]
    assert f.stats.cache == "miss: global RATE changed"
    f(X[:2])
    assert f.stats.recompiles[-1] == "argument x: f64[3] -> f64[2]"


# -- lines ----------------------------------------------------------------------------------------

PICKING = """
import numpy as np

def pick(x, i):
    y = x * 2

    return np.sum(y[i])
"""


@pytest.mark.parametrize(
    ("old", "new", "outcome", "line"),
    [
        ("", "", "hit", 7),
        ("import numpy", "# a comment\n\nimport numpy", "hit", 9),
        ("    y =", "    # a comment\n    y =", "miss: lines were moved within a function", 8),
    ],
)
def test_an_error_names_the_line_as_it_is_now(old: str, new: str, outcome: str, line: int) -> None:
    x, good, bad = np.ones(5), np.array([1, 2]), np.array([1, 7])
    assert graphjit.jit(module(PICKING).pick)(x, good) == 4.0
    moved = graphjit.jit(module(PICKING.replace(old, new, 1)).pick)
    with pytest.raises(IndexRangeError) as caught:
        moved(x, bad)
    assert caught.value.origin is not None
    assert (caught.value.origin.file, caught.value.origin.line) == ("model.py", line)
    assert moved.stats.cache == outcome
    assert moved(x, good) == 4.0


# -- looking inside -------------------------------------------------------------------------------


def test_graph_and_text_of_a_loaded_program() -> None:
    first, second = graphjit.value_and_grad(square), graphjit.value_and_grad(square)
    for compiled in (first, second):
        compiled(X)
    assert second.stats.cache == "hit"
    for stage in ("traced", "adjoint", "fused"):
        both = [str(compiled.graph(X, stage=stage)) for compiled in (first, second)]
        assert CALL.sub("", both[0]) == CALL.sub("", both[1])
    assert second.source(X) == first.source(X)
    assert second.graph(X) is second.graph(X)


def test_what_a_loaded_program_cost() -> None:
    graphjit.grad(square)(X)
    report = graphjit.grad(square).explain_compile(X)
    assert list(report.seconds) == ["fingerprint", "load"]
    assert (list(report.passes), dict(report.work)) == ([], {})
    assert "a look into the cache" in str(report)


def test_a_loaded_function_can_be_part_of_another() -> None:
    graphjit.grad(square)(X)
    inner = graphjit.grad(square)
    slopes = inner(X)
    outer = graphjit.jit(lambda x: inner(x) * 2)
    same(outer(X), slopes * 2)
    assert (inner.stats.cache, outer.stats.cache) == ("hit", NEW)


def test_the_mode_of_a_loaded_jacobian() -> None:
    graphjit.jacobian(elements)(X)
    loaded = graphjit.jacobian(elements)
    loaded(X)
    assert loaded.stats.cache == "hit"
    assert loaded.stats.modes == ["forward: 3 inputs, 3 outputs"]
    assert loaded.mode(X) == "forward: 3 inputs, 3 outputs"


def test_stats_and_the_debug_flag_say_what_came_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    with override(debug=1):
        graphjit.grad(square)(X)
        assert f"graphjit: cache: {__name__}.square: {NEW}\n" in capsys.readouterr().err
        loaded = graphjit.grad(square)
        loaded(X)
        assert capsys.readouterr().err == f"graphjit: cache: {__name__}.square: hit\n"
    assert "cache            hit" in repr(loaded.stats)


@pytest.mark.parametrize(
    "flags", [{"debug": 2}, {"dump": "here"}, {"verify": True}, {"renderer": "numba", "jit": False}]
)
def test_who_wants_to_see_the_passes_sees_them(
    flags: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = graphjit.grad(square)(X)
    monkeypatch.chdir(tmp_path)
    with override(**flags):
        f = graphjit.grad(square)
        np.testing.assert_allclose(f(X), expected, rtol=1e-14)
    assert f.stats.cache == ""
    assert "trace" in f.stats.seconds


def test_passes_that_are_left_out_are_part_of_the_key() -> None:
    graphjit.grad(square)(X)
    with override(skip="simplify"):
        f = graphjit.grad(square)
        f(X)
        assert f.stats.cache == NEW


# -- what is not kept -----------------------------------------------------------------------------


def test_what_is_not_kept_says_why(place: Path) -> None:
    generator = np.random.default_rng(0)
    noisy = graphjit.grad(lambda x: np.sum(x * x) if generator is not None else 0.0)
    noisy(X)
    assert noisy.stats.cache == "not kept: closure generator: random numbers"

    class Local:
        pass

    fixed = graphjit.jit(lambda x, kind: x * 2, static_argnames="kind")
    fixed(X, kind=Local)
    assert fixed.stats.cache.startswith("not kept: a value of type builtins.type")
    assert all("program" not in str(path) for path in entries(place))


def test_tracing_that_changes_what_it_reads_is_not_kept() -> None:
    counter = [0]

    def f(x: Any) -> Any:
        counter[0] += 1
        return np.sum(x * counter[0])

    for count in (1, 2):
        compiled = graphjit.grad(f)
        assert compiled(X).tolist() == [count] * 3
        assert compiled.stats.cache == "not kept: tracing it changed what it reads"


def test_a_pullback_is_built_in_each_process() -> None:
    for _ in range(2):
        compiled = pullback_of(elements, Pullback())
        value, pull = compiled(X)
        same(value, elements(X))
        assert pull(np.ones(3))[0].shape == (3,)
        assert compiled.stats.cache.startswith("not kept: a value of type graphjit")


def test_what_is_not_kept_does_not_compile_its_text_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    generator = np.random.default_rng(0)

    def f(x: Any) -> Any:
        return np.sum(x * x) if generator is not None else 0.0

    graphjit.grad(f)(X)
    monkeypatch.setattr("graphjit.codegen.build.machine_code", None)
    same(graphjit.grad(f)(X), 2 * X)


def test_the_cache_can_be_off(place: Path) -> None:
    with override(cache=False):
        f = graphjit.grad(square)
        f(X)
    assert f.stats.cache == ""
    assert not place.exists()


# -- entries that do not serve --------------------------------------------------------------------


def rewritten(change: Callable[[dict[str, Any]], Any]) -> None:
    """Change the manifest of each program in the store."""
    store = opened()
    assert store is not None
    for file in store.files():
        entry = store.get(file.key)
        assert entry is not None
        if "code" in entry.manifest:
            change(entry.manifest)
            store.put(file.key, entry.manifest, entry.blobs)


WRONG: dict[str, Callable[[dict[str, Any]], Any]] = {
    "no memory": lambda m: m.pop("work"),
    "no result": lambda m: m.update(result=["what"]),
    "another result": lambda m: m.update(result=["named", "os", "nothing", [], []]),
    "no dtype": lambda m: m.update(outputs=[[[3], "nothing"]]),
    "a captured array": lambda m: m.update(captured=[["read", "nothing"]]),
    "a symbol": lambda m: m["code"].__setitem__(1, ["system"]),
    "a place": lambda m: m.update(checks=[[[99, 0, False], 3]]),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_an_entry_that_means_nothing_is_built_again(wrong: str) -> None:
    expected = graphjit.grad(square)(X)
    rewritten(WRONG[wrong])
    f = graphjit.grad(square)
    if wrong in ("a place", "a symbol"):
        same(f(X), expected)
        assert f.stats.cache.startswith("miss: ")
    else:
        with pytest.warns(CacheWarning, match="square cannot be used"):
            same(f(X), expected)
        assert f.stats.cache == "miss: its entry cannot be used"
    again = graphjit.grad(square)
    same(again(X), expected)
    assert again.stats.cache == "hit"  # it was replaced


@pytest.mark.parametrize("kind", ["code", "parts", ""])
def test_a_part_that_is_gone_is_a_miss(kind: str, place: Path) -> None:
    expected = graphjit.grad(square)(X)
    store = opened()
    assert store is not None
    for path in entries(place):
        entry = store.get(path.name.removesuffix(SUFFIX))
        assert entry is not None
        if (kind in entry.manifest) if kind else not entry.manifest:
            path.unlink()
    f = graphjit.grad(square)
    same(f(X), expected)
    outcomes = {"code": "miss: its entry is gone", "parts": "hit"}
    assert f.stats.cache == outcomes.get(kind, "miss: its object code is gone")


def test_entries_are_small_and_readable_as_json(place: Path) -> None:
    graphjit.grad(square)(X)
    assert len(entries(place)) == 3  # the program, its object code, the trail
    assert sum(path.stat().st_size for path in entries(place)) < 20_000
    store = opened()
    assert store is not None
    manifests = [store.get(path.name.removesuffix(SUFFIX)) for path in entries(place)]
    assert all(json.dumps(entry.manifest) for entry in manifests if entry)


# -- many at once ---------------------------------------------------------------------------------


def test_threads_load_one_program(loading: Callable[[], None]) -> None:
    first = graphjit.grad(square)
    for _ in range(20):
        expected = first(X)
    loading()
    loaded, start = graphjit.grad(square), threading.Barrier(8)
    flags: Any = {"cache": True, "cache_dir": str(opened().folder)}  # type: ignore[union-attr]

    def call(_: int) -> Any:
        with override(**flags):
            start.wait()
            return [loaded(X) for _ in range(50)]

    with ThreadPoolExecutor(8) as pool:
        for results in pool.map(call, range(8)):
            for result in results:
                same(result, expected)
    assert loaded.stats.specialisations == 1
    assert loaded.stats.calls == 400


def test_a_loaded_program_does_not_keep_its_function() -> None:
    def make(rate: float) -> Any:
        def f(x: Any) -> Any:
            return np.sum(x * x) * rate

        return f

    graphjit.grad(make(2.0))(X)
    f = make(2.0)
    compiled: Any = graphjit.grad(f)
    compiled(X)
    assert compiled.stats.cache == "hit"
    gone = weakref.ref(f)
    del f, compiled
    gc.collect()
    assert gone() is None
