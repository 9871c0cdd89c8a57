"""Fingerprints: every change that a trace could see changes them, and nothing else does."""

import enum
import json
import subprocess
import sys
import textwrap
import types
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphjit
from graphjit.cache.fingerprint import fingerprint, value_key
from graphjit.cache.libraries import Refused, version_of
from graphjit.cache.trees import classes_of
from graphjit.tracing.trees import Arguments
from graphjit.transforms.gradient import Gradient

# A program of several files; each change replaces one piece of its text.
MODEL = """
import dataclasses, enum, functools
import numpy as np
import graphjit
import helpers
from helpers import outer
from settings import Config, Kind, TABLE

SCALE = 2.0
WEIGHTS = np.arange(6.0).reshape(2, 3)
LARGE = np.zeros((100, 3))
LAYERS = [{"w": np.ones(3), "name": "first"}, {"w": np.ones(3), "name": "second"}]
CHOICES = {"red", "green", "blue"}
CONFIG = Config(rate=0.1, depth=2)

class Base:
    power = 2

    def shape(self, x):
        return x ** self.power

    def __mul__(self, x):
        return self.gain * x

class Net(Base):
    limit = 10.0

    def __init__(self):
        self.gain, self.unread = 1.5, 7

    @property
    def twice(self):
        return 2 * self.gain

    @staticmethod
    def activation(x):
        return np.tanh(x)

    def loss(self, x):
        return np.sum(self.activation(self.shape(x)) * self.twice) + self.limit

    def other(self, x):
        return x - 1

NET = Net()

def custom(x):
    return x * 3.0

custom = graphjit.custom_vjp(custom)
custom.defvjp(lambda x: (x * 3.0, None), lambda kept, g: (3.0 * g,))

@graphjit.grad
def nested(x):
    return np.sum(x ** 3)

def make(factor):
    bias = 0.5
    def inside(x, exponent=2, *, shift=1.0):
        return factor * x ** exponent + bias + shift
    return inside

inside = make(4.0)
part = functools.partial(make(1.0), exponent=3)

def by_class(x):
    return Net().shape(x)

def handed_on(config, x):
    return x * config.rate

def loss(x, y):
    parts = [
        np.mean((outer(x) - y) ** 2) * SCALE,
        np.sum(WEIGHTS * x), np.sum(LARGE @ x),
        sum(np.sum(x * layer["w"]) for layer in LAYERS),
        np.sum(helpers.direct(x)) * helpers.FACTOR,
        NET.loss(x), np.sum(NET * x), np.sum(custom(x)), np.sum(nested(x)),
        np.sum(inside(x)), np.sum(part(x)), np.sum(handed_on(CONFIG, x)), np.sum(by_class(x)),
        np.sum(x) * TABLE["a"][1] * (2.0 if CONFIG.kind is Kind.LEFT else 3.0),
        np.sum(x) * ("red" in CHOICES),
        np.sum(x[..., 0:2]) if isinstance(x, np.ndarray) else 0.0,
    ]
    return sum(parts)
"""
HELPERS = """
import numpy as np

FACTOR = 3.0
UNREAD = 1

def deepest(x):
    return np.sqrt(np.abs(x) + 1.0)

def middle(x):
    return deepest(x) + 1

def outer(x):
    return middle(x) * 2

def direct(x):
    return x + 1
"""
SETTINGS = """
import dataclasses, enum

class Kind(enum.Enum):
    LEFT = 1
    RIGHT = 2

@dataclasses.dataclass(frozen=True)
class Config:
    rate: float
    depth: int
    kind: Kind = Kind.LEFT

TABLE = {"a": (1, 2.0), "b": None}
"""
FILES = {"model.py": MODEL, "helpers.py": HELPERS, "settings.py": SETTINGS}
PRINT = """
import importlib, json, sys
from graphjit.cache.fingerprint import fingerprint
for folder in sys.argv[1:]:
    for name in ("model", "helpers", "settings"):
        sys.modules.pop(name, None)
    sys.path[0] = folder
    importlib.invalidate_caches()
    found = fingerprint(importlib.import_module("model").loss)
    print(json.dumps([found.key, found.reason, found.origins]))
"""
Change = tuple[str, str]
Printed = dict[str, tuple[str, str, str]]


def written(folder: Path, old: str, new: str) -> str:
    """The program with one piece of its text replaced, in a folder of its own."""
    folder.mkdir(parents=True)
    assert sum(text.count(old) for text in FILES.values()) == 1, old
    for name, text in FILES.items():
        (folder / name).write_text(text.replace(old, new))
    return str(folder)


def printed(folder: Path, changes: dict[str, Change], **env: str) -> Printed:
    """Key, reason and origins of each changed program, as a new process finds them."""
    folders = [written(folder / str(i), *change) for i, change in enumerate(changes.values())]
    command = [sys.executable, "-c", PRINT, *folders]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = map(json.loads, done.stdout.splitlines())
    return {name: tuple(line) for name, line in zip(changes, lines, strict=True)}


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str, str]:
    found = printed(tmp_path_factory.mktemp("a"), {"": NOTHING}, PYTHONHASHSEED="1")
    return found[""]


@pytest.fixture(scope="module")
def changed(tmp_path_factory: pytest.TempPathFactory) -> Printed:
    return printed(tmp_path_factory.mktemp("b"), CHANGES)


@pytest.fixture(scope="module")
def same(tmp_path_factory: pytest.TempPathFactory) -> list[Printed]:
    where = tmp_path_factory.mktemp("c")
    return [printed(where / seed / "f", SAME, PYTHONHASHSEED=seed) for seed in ("0", "77")]


NOTHING = ("SCALE = 2.0", "SCALE = 2.0")
CHANGES = {
    "the body": ("np.mean((outer(x) - y) ** 2)", "np.mean((outer(x) - y) ** 4)"),
    "an operator": ("(outer(x) - y)", "(outer(x) + y)"),
    "a helper two levels down": ("np.abs(x) + 1.0", "np.abs(x) + 2.0"),
    "the type of a constant": ("np.abs(x) + 1.0", "np.abs(x) + 1"),
    "a function of NumPy": ("np.sqrt(np.abs", "np.cbrt(np.abs"),
    "a helper one level down": ("deepest(x) + 1", "deepest(x) - 1"),
    "a helper of a module": ("return x + 1", "return x + 2"),
    "which helper is meant": ("from helpers import outer", "from helpers import middle as outer"),
    "a constant of a module": ("FACTOR = 3.0", "FACTOR = 3.5"),
    "a global": ("SCALE = 2.0", "SCALE = 2.5"),
    "the type of a global": ("SCALE = 2.0", "SCALE = 2"),
    "the type of a global in NumPy": ("SCALE = 2.0", "SCALE = np.float64(2.0)"),
    "a global's sign of zero": ("limit = 10.0", "limit = -0.0"),
    "the contents of a small array": ("np.arange(6.0)", "np.arange(1.0, 7.0)"),
    "the shape of a small array": ("reshape(2, 3)", "reshape(3, 2)"),
    "the dtype of a small array": ("np.arange(6.0)", "np.arange(6)"),
    "the shape of a large array": ("np.zeros((100, 3))", "np.zeros((101, 3))"),
    "the dtype of a large array": ("np.zeros((100, 3))", "np.zeros((100, 3), np.float32)"),
    "the length of a list": ('"name": "second"}]', '"name": "second"}] * 2'),
    "an entry of a list": ('"name": "second"', '"name": "third"'),
    "a key of a dict": ('"name": "second"', '"title": "second"'),
    "an entry of a dict": ('(1, 2.0), "b"', '(1, 2.5), "b"'),
    "a set": ('"red", "green"', '"yellow", "green"'),
    "a field of a dataclass": ("Config(rate=0.1", "Config(rate=0.2"),
    "another field of a dataclass": ("depth=2)", "depth=3)"),
    "the default of a field": ("kind: Kind = Kind.LEFT", "kind: Kind = Kind.RIGHT"),
    "the value of an enum": ("LEFT = 1", "LEFT = 3"),
    "an attribute of self": ("self.gain, self.unread = 1.5", "self.gain, self.unread = 1.25"),
    "a class attribute": ("limit = 10.0", "limit = 11.0"),
    "a class attribute of a base": ("power = 2", "power = 3"),
    "an attribute that hides one of the class": ("= 1.5, 7", "= 1.5, 7; self.power = 2"),
    "a method": ("self.shape(x)) * self", "self.shape(x)) / self"),
    "a method of a base": ("x ** self.power", "x * self.power"),
    "a special method": ("self.gain * x", "self.gain / x"),
    "a property": ("2 * self.gain", "3 * self.gain"),
    "a static method": ("np.tanh(x)", "np.sinh(x)"),
    "what makes an instance": ("self.unread = 1.5, 7", "self.unread, self.x = 1.5, 7, 8"),
    "a derivative rule": ("(3.0 * g,)", "(2.0 * g,)"),
    "a function with a rule": ("return x * 3.0", "return x * 2.0"),
    "a nested derivative": ("np.sum(x ** 3)", "np.sum(x ** 4)"),
    "the kind of a nested derivative": ("@graphjit.grad", "@graphjit.grad(has_aux=True)"),
    "a nested compilation": ("@graphjit.grad", "@graphjit.jit"),
    "a closure value": ("inside = make(4.0)", "inside = make(5.0)"),
    "another closure value": ("bias = 0.5", "bias = 0.25"),
    "a default": ("exponent=2", "exponent=3.0"),
    "a keyword default": ("shift=1.0", "shift=2.0"),
    "an argument of a partial": ("make(1.0), exponent=3", "make(1.0), exponent=4"),
    "the closure of a partial": ("partial(make(1.0)", "partial(make(2.0)"),
    "an inner function": ("sum(np.sum(x * layer", "sum(np.sum(x + layer"),
    "a slice": ("x[..., 0:2]", "x[..., 0:1]"),
    "a global that a method of Python is": ("SCALE = 2.0", "SCALE = 2.0; sum = max"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_changes_it(original: tuple[str, str, str], changed: Printed, change: str) -> None:
    key, reason, _ = changed[change]
    assert reason == original[1] == ""
    assert len(key) == len(original[0]) == 64
    assert key != original[0]


def test_changes_differ(changed: Printed) -> None:
    assert len({key for key, _, _ in changed.values()}) == len(CHANGES)


SAME = {
    "another process": NOTHING,
    "a comment elsewhere": ("def other", "# a comment\n    def other"),
    "blank lines": ("SCALE = 2.0", "\n\n\n\nSCALE = 2.0\n\n"),
    "a method that is not run": ("return x - 1", "return x - 2"),
    "an attribute that is not read": ("NET = Net()", "NET = Net(); NET.unused = 1"),
    "a constant that is not read": ("UNREAD = 1", "UNREAD = 2"),
    "a name that is not read": ("import dataclasses, enum, functools", "import enum, functools"),
    "the contents of a large array": ("np.zeros((100, 3))", "np.ones((100, 3))"),
}


@pytest.mark.parametrize("change", SAME)
def test_no_change_leaves_it(
    original: tuple[str, str, str], same: list[Printed], change: str
) -> None:
    for found in same:
        assert found[change] == original


def test_a_comment_inside_moves_the_lines_alone(
    original: tuple[str, str, str], tmp_path: Path
) -> None:
    change = ("    parts = [", "    # a comment\n    parts = [")
    key, _, origins = printed(tmp_path, {"": change})[""]
    assert key == original[0]
    assert origins != original[2]


# -- what has none --------------------------------------------------------------------------------

RNG = np.random.default_rng(0)
OBJECTS = np.array([None, "x"])


class Odd(float):
    pass


class Wrapped(np.random.SeedSequence):
    pass


ODD = Odd(1.0)
GENERATOR = (i for i in range(3))


def reasons() -> dict[str, tuple[Any, str]]:
    wrapped = Wrapped()
    lock: Any = iter([1, 2])

    def imports(x: Any) -> Any:
        import zoo

        return zoo.ZOO

    return {
        "a generator": (lambda x: x * RNG.normal(), "global RNG: random numbers"),
        "numpy.random": (lambda x: x * np.random.rand(), "numpy.random"),  # noqa: NPY002
        "a file": (lambda x: x * np.load("a.npy"), "reads a file"),
        "open": (lambda x: x + open("a"), r"uses open\(\)"),  # noqa: PTH123
        "getattr": (lambda x: x + getattr(x, "s" + "hape"), r"uses getattr\(\)"),
        "globals": (lambda x: x * globals()["y"], r"uses globals\(\)"),
        "__dict__": (lambda x: x + np.__dict__["pi"], "reads __dict__"),
        "objects": (lambda x: x * OBJECTS, "global OBJECTS: an array .* object"),
        "a subclass": (lambda x: x * ODD, "Odd derives from builtins.float"),
        "a library's class": (lambda x: wrapped.spawn(1), "SeedSequence"),
        "an iterator": (lambda x: next(lock), "closure lock: .*list_iterator"),
        "a Python generator": (lambda x: next(GENERATOR), "global GENERATOR: .*generator"),
        "an import": (imports, "imports zoo"),
        "attributes by name": (lambda x: attrgetter("s")(x) + 1, r"attrgetter\(\)"),
        "a bound method": (lambda x, f=[1].index: x + f(1), "a method of a value of type list"),
        "the clock": (lambda x: time_of(x) + 1, "time"),
    }


def time_of(x: Any) -> Any:
    import time

    return x * time.time()


@pytest.mark.parametrize("case", list(reasons()))
def test_what_cannot_be_told_surely_has_none(case: str) -> None:
    function, words = reasons()[case]
    found = fingerprint(function)
    assert found.key == ""
    with pytest.raises(AssertionError, match=words):
        raise AssertionError(found.reason)


def test_a_list_that_holds_itself_has_an_answer() -> None:
    inside: list[Any] = [1.0]
    inside.append(inside)
    assert fingerprint(lambda x: x * inside[0]).key
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    assert "nested too deep" in fingerprint(lambda x: deep).reason
    while deep:  # Python frees a deep list by recursion
        deep = deep.pop()


def test_a_long_table_counts_with_its_contents() -> None:
    table = [float(i) for i in range(10_000)]
    before = fingerprint(lambda x: x * table[0])
    table[9_999] = 0.5
    after = fingerprint(lambda x: x * table[0])
    assert before.key
    assert before.key != after.key


# -- what comes with it ---------------------------------------------------------------------------

DATA, SWITCH = np.arange(300.0), np.ones(3)


def reader(x: Any) -> Any:
    shifted = x + DATA[:3]  # a line of reader
    return shifted * SWITCH


def test_large_contents_are_told_apart() -> None:
    before = fingerprint(reader)
    contents = before.contents()
    assert list(contents) == ["global DATA"]
    assert list(before.reads.arrays) == ["global DATA", "global SWITCH"]
    DATA[5] += 1
    after = fingerprint(reader)
    assert after.key == before.key
    assert after.contents() != contents
    SWITCH[0] += 1
    assert fingerprint(reader).key != before.key


def test_lines_move_with_their_function() -> None:
    found = fingerprint(lambda x: reader(x) * 2)
    lines = Path(__file__).read_text(encoding="utf-8").splitlines()
    line = next(i for i, text in enumerate(lines, 1) if "# a line of reader" in text)
    place = found.place_of(__file__, line)
    assert place == (1, 1)
    assert found.line_at(place) == (__file__, line)
    assert found.place_of(__file__, 1) is None
    assert found.place_of("elsewhere.py", line) is None


def test_wrappers_of_one_function_differ() -> None:
    def f(x: Any, y: Any) -> Any:
        return np.sum(x * y)

    wrapped = [
        f, graphjit.jit(f), graphjit.grad(f), graphjit.grad(f, argnums=1),
        graphjit.grad(f, argnums=(0, 1)), graphjit.value_and_grad(f), graphjit.hessian(f),
        graphjit.jacfwd(f), graphjit.jacrev(f), graphjit.vmap(f),
        graphjit.vmap(f, in_axes=(0, None)),
        graphjit.checkpoint(f), graphjit.custom_vjp(f), graphjit.jit(f, static_argnums=1),
    ]  # fmt: skip
    keys = [fingerprint(lambda x, g=g: g(x, x)).key for g in wrapped]
    assert all(keys)
    assert len(set(keys)) == len(keys)


def test_keys_of_plain_values() -> None:
    values = [
        1, 1.0, True, "1", b"1", None, 0.0, -0.0, (1,), [1], {1: 2}, {2: 1}, {1}, (1, (2,)),
        ((1, 2),), np.float32(1), np.float64(1), np.dtype("f4"),
        Gradient(), Gradient(argnums=1), Gradient(has_aux=True), slice(1), range(1), 1j, np.sin,
        np.float64, float("nan"),
    ]  # fmt: skip
    keys = [value_key(value) for value in values]
    assert all(keys)
    assert len(set(keys)) == len(keys)
    assert value_key({"b": {1, 2, 3}}) == value_key({"b": {3, 2, 1}})
    assert value_key(object()) == ""


def test_one_array_in_two_places_is_not_two_arrays() -> None:
    def make(a: Any, b: Any) -> Any:
        return lambda x: a @ x + b @ x

    one, two = np.zeros((100, 3)), np.zeros((100, 3))
    assert fingerprint(make(one, two)).key == fingerprint(make(two, one)).key
    assert fingerprint(make(one, one)).key != fingerprint(make(one, two)).key


class Turn(enum.Enum):
    LEFT = 1
    RIGHT = 2


def test_members_of_an_enum_that_are_only_counted() -> None:
    def f(x: Any) -> Any:
        return sum(x * turn.value for turn in Turn)

    before = fingerprint(f).key
    kept = globals()["Turn"]
    try:
        globals()["Turn"] = enum.Enum("Turn", {"LEFT": 1, "RIGHT": 3}, module=__name__)
        after = fingerprint(f).key
    finally:
        globals()["Turn"] = kept
    assert before
    assert after
    assert before != after


@dataclass
class Model:
    w: Any

    def predict(self, x: Any) -> Any:
        return x @ self.w * BIAS


BIAS = 1.0


def model_loss(model: Any, x: Any) -> Any:
    return np.sum(model.predict(x))


def test_methods_of_arguments_count(monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = Arguments(model_loss, ([Model(np.ones(3))], np.ones(3)), {})
    classes = classes_of(arguments.spec)
    assert classes == [Model]
    before = fingerprint(model_loss, classes).key
    assert before == fingerprint(model_loss, classes).key
    monkeypatch.setitem(globals(), "BIAS", 2.0)
    assert fingerprint(model_loss, classes).key not in (before, "")
    monkeypatch.setattr(Model, "predict", lambda self, x: x)
    other = fingerprint(model_loss, classes).key
    monkeypatch.setitem(globals(), "BIAS", 3.0)
    assert fingerprint(model_loss, classes).key == other


def test_what_is_too_deep_is_not_passed_over() -> None:
    def at_depth(depth: int, value: Any) -> Any:
        for _ in range(depth):
            value = [value]
        return lambda x: (x * value, value.times)

    class Scale:
        def __init__(self, by: float) -> None:
            self.by = by

        def times(self, x: Any) -> Any:
            return x * self.by

    for depth in range(8):
        for make in (Scale, lambda by: Scale(by).times, lambda by: partial(max, by)):
            one, two = (fingerprint(at_depth(depth, make(by))) for by in (1.0, 2.0))
            assert (one.key != two.key) or one.reason
        one, two = (fingerprint(at_depth(depth, by)) for by in (1.0, 2.0))
        assert one.key != two.key


def test_a_library_that_was_changed_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(np, "sinc", lambda x: x)
    assert "numpy.sinc is no longer" in fingerprint(lambda x: np.sinc(x) + 1).reason


def test_a_library_installed_again_is_another() -> None:
    status = Path(np.__file__).stat()
    assert version_of("numpy.linalg") == f"{np.__version__} {status.st_size} {status.st_mtime_ns}"
    with pytest.raises(Refused, match="tells no version"):
        version_of("nowhere")


def test_names_that_a_module_makes() -> None:
    made = types.ModuleType("made")
    made.__dict__["__getattr__"] = lambda name: FACTORS[name]
    one = fingerprint(lambda x: x * made.factor).key
    FACTORS["factor"] = 3.0
    assert one != fingerprint(lambda x: x * made.factor).key
    assert one


FACTORS = {"factor": 2.0}


def test_the_text_has_no_addresses() -> None:
    code = """
    import functools, numpy as np
    from graphjit.cache.fingerprint import fingerprint
    class A:
        def __init__(self, n): self.n, self.f = n, lambda x: x * n
        def __call__(self, x): return self.f(x)
    keys = {fingerprint(A(3)).key for _ in range(5)}
    print(len(keys), all(keys))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True
    )
    assert done.stdout == "1 True\n"
