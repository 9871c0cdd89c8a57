"""Values that turns of a loop hand on to the next: the same bits as when each computes its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest

import graphjit
from graphjit.codegen import duration, llvm_inner, llvm_neighbours
from graphjit.codegen.llvm_loops import Inner
from graphjit.codegen.llvm_neighbours import LEAST, MOST, Neighbours, neighbours
from graphjit.codegen.loops import Address, Buffer, Check, Constant, Index, Let, Load, Store, Value
from graphjit.codegen.native import host, made_for
from graphjit.flags import override

F64, I64 = np.dtype(np.float64), np.dtype(np.int64)
X = Buffer("x", 100, F64, "input", (100,))
Y = Buffer("y", 100, F64, "output", (100,))
WHERE = Buffer("where", 100, I64, "input", (100,))
Function = Callable[..., Any]


@pytest.fixture(autouse=True)
def machine_code(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """In short loops, too."""
    monkeypatch.setattr(llvm_inner, "SEVERAL", 0.5)
    with override(renderer="llvm", cache="off", tier="best"):
        yield


@pytest.fixture
def handed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many values each loop hands on."""
    found: list[int] = []

    def counted(*args: Any) -> Neighbours:
        result = neighbours(*args)
        found.append(len(result.earlier))
        return result

    monkeypatch.setattr(llvm_neighbours, "neighbours", counted)
    return found


def none(body: Sequence[Inner], *_: Any) -> Neighbours:
    return Neighbours(body, {}, ())


def leaves(result: Any) -> list[np.ndarray[Any, Any]]:
    return [np.asarray(x) for x in (result if isinstance(result, tuple) else (result,))]


def check(f: Function, *args: Any) -> None:
    """With and without, by one thread, and by three that share whatever they can."""
    found = leaves(graphjit.jit(f)(*args))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(llvm_neighbours, "neighbours", none)
        plain = leaves(graphjit.jit(f)(*args))
    for one, other, expected in zip(found, plain, leaves(f(*args)), strict=True):
        assert one.tobytes() == other.tobytes()
        close = 1e-4 if one.dtype == np.float32 else 1e-10
        np.testing.assert_allclose(one, expected, rtol=close, atol=close)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(duration, "SHARED", 0.0)
        shared = graphjit.jit(f, threads=3)
        three = leaves(shared(*args))
        with graphjit.threads(1):
            alone = leaves(shared(*args))
    for one, other, expected in zip(three, alone, found, strict=True):
        assert one.tobytes() == other.tobytes()
        np.testing.assert_allclose(one, expected, rtol=1e-4, atol=1e-4)


def rosenbrock(x: Any) -> Any:
    return np.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def curvature(x: Any) -> Any:
    return np.sum((x[2:] - 2 * x[1:-1] + x[:-2]) ** 2)


STENCILS: dict[str, Function] = {
    "rosenbrock": graphjit.value_and_grad(rosenbrock),
    "lengths": lambda x: np.sqrt(1 + np.diff(x[1:]) ** 2) * np.sqrt(1 + np.diff(x[:-1]) ** 2),
    "curvature": graphjit.grad(curvature),
    "three": lambda x: np.tanh(x[2:] * x[2:]) + np.tanh(x[1:-1] ** 2) - np.tanh(x[:-2] ** 2),
    "backwards": lambda x: np.exp(-x[::-1][1:]) * np.exp(-x[::-1][:-1]),
    "every other": lambda x: np.sin(-x[:-2:2]) - np.sin(-x[2::2]),
    "rows": lambda x: np.sum(np.exp(-x[:, 1:]) * np.exp(-x[:, :-1]), axis=1),
    "product": lambda x: np.prod((np.cos(x[1:] * x[1:]) + np.cos(x[:-1] * x[:-1]) + 30) / 31),
    "largest": lambda x: np.max(np.sin(3 * x[1:]) - np.sin(3 * x[:-1])),
}
CASES: list[tuple[type, int]] = [(np.float64, size) for size in (6, 9, 16, 17, 100, 9001)]
CASES += [(np.float32, size) for size in (17, 33, 4097)]


@pytest.mark.parametrize(("dtype", "size"), CASES)
@pytest.mark.parametrize("name", STENCILS)
def test_the_same_bits(name: str, dtype: Any, size: int) -> None:
    shape = (5, size) if name == "rows" else (size,)
    check(STENCILS[name], np.random.default_rng(size).standard_normal(shape).astype(dtype))


@pytest.mark.parametrize("width", [16, 32])
@pytest.mark.parametrize("name", STENCILS)
def test_the_same_bits_in_narrower_vectors(name: str, width: int) -> None:
    shape = (5, 101) if name == "rows" else (101,)
    with made_for(host()._replace(vector_bytes=width, fma=host().fma and width > 16)):
        check(STENCILS[name], np.random.default_rng(1).standard_normal(shape))


@pytest.mark.parametrize("name", STENCILS)
def test_neighbours_are_found(name: str, handed: list[int]) -> None:
    x = np.random.default_rng(0).standard_normal((5, 300) if name == "rows" else 300)
    graphjit.jit(STENCILS[name])(x)
    assert max(handed) > 0


def test_short_loops_do_not_look_for_them(
    handed: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(llvm_inner, "SEVERAL", 4)
    lanes = host().vector_bytes // 8
    graphjit.jit(STENCILS["lengths"])(np.arange(4.0 * lanes + 1))
    assert handed == []
    graphjit.jit(STENCILS["lengths"])(np.arange(8.0 * lanes + 3))
    assert handed == [1]


UNARY = (np.tanh, np.exp, np.sin, np.square, np.negative, np.abs)
BINARY = (np.add, np.subtract, np.multiply, np.maximum)


def random_stencil(seed: int) -> Function:
    """A function of windows of its argument, of which some values are the same a turn apart."""
    rng = np.random.default_rng(seed)
    plan = [
        (int(rng.integers(3)), int(rng.integers(100)), int(rng.integers(100))) for _ in range(9)
    ]

    def f(x: Any) -> Any:
        values = [np.tanh(0.5 * x[k : len(x) - 3 + k]) for k in range(4)] + [
            x[k : len(x) - 3 + k] for k in range(4)
        ]
        for kind, a, b in plan:
            one, other = values[a % len(values)], values[b % len(values)]
            if kind:
                values.append(BINARY[(a + b) % 4](one, other))
            else:
                values.append(np.tanh(UNARY[(a + b) % 6](np.tanh(one))))
        last = values[-1] * values[-2] + values[-3]
        return last, np.sum(last * values[-4]), np.max(values[-5])

    return f


@pytest.mark.parametrize("seed", range(40))
def test_random_stencils(seed: int, handed: list[int]) -> None:
    size = int(np.random.default_rng(seed).integers(6, 90))
    check(random_stencil(seed), np.random.default_rng(seed).standard_normal(size))
    assert handed


def test_random_stencils_hand_on(handed: list[int]) -> None:
    x = np.random.default_rng(0).standard_normal(200)
    for seed in range(10):
        graphjit.jit(random_stencil(seed))(x)
    assert sum(handed) > 10


# -- bodies written by hand ------------------------------------------------------------------------


def load(name: str, offset: int, step: int = 1, buffer: Buffer = X) -> Load:
    return Load(Value(name, buffer.dtype), Address(buffer, offset, (("i", step),)))


def let(name: str, op: str, *operands: str | float, dtype: Any = F64) -> Let:
    given = [
        Value(o, dtype) if isinstance(o, str) else Constant(o, np.dtype(dtype)) for o in operands
    ]
    return Let(Value(name, np.dtype(dtype)), op, tuple(given))


def stored(name: str, buffer: Buffer = Y) -> Store:
    return Store(Address(buffer, 0, (("i", 1),)), Value(name, F64))


def found(*body: Inner, carried: Sequence[str] = ()) -> dict[str, str]:
    result = neighbours(body, "i", carried, {})
    return {v: u.name for v, u in result.earlier.items()}


def squares(offset: int, name: str, step: int = 1) -> list[Inner]:
    return [
        load(f"{name}0", offset, step), let(f"{name}1", "multiply", f"{name}0", f"{name}0"),
        let(name, "multiply", f"{name}1", 3.0),
    ]  # fmt: skip


def both(*body: Inner) -> list[Inner]:
    return [*body, let("sum", "add", "a", "b"), stored("sum")]


def test_a_value_is_that_of_the_turn_before() -> None:
    body = both(*squares(0, "a"), *squares(1, "b"))
    result = neighbours(body, "i", (), {})
    assert {v: u.name for v, u in result.earlier.items()} == {"a": "b"}
    assert [s.value.name for s in result.body if not isinstance(s, Store)] == [
        "b0", "b1", "b", "a", "sum",
    ]  # fmt: skip
    assert list(result.first) == body[:3]


def test_what_is_not_of_the_turn_before() -> None:
    assert found(*both(*squares(0, "a"), *squares(2, "b"))) == {}
    assert found(*both(*squares(0, "a", 2), *squares(1, "b", 2))) == {}
    assert found(*both(*squares(0, "a", 2), *squares(2, "b", 2))) == {"a": "b"}
    assert found(*both(*squares(0, "a", -1), *squares(1, "b", -1))) == {"b": "a"}
    assert found(*both(*squares(0, "a"), *squares(1, "b", 2))) == {}
    other = [*squares(1, "b")[:2], let("b", "multiply", "b1", 4.0)]
    assert found(*both(*squares(0, "a"), *other)) == {}


def test_one_operation_is_computed_again() -> None:
    assert LEAST == 2
    single: list[Inner] = [
        load("a0", 0),
        let("a", "negative", "a0"),
        load("b0", 1),
        let("b", "negative", "b0"),
    ]
    assert found(*both(*single)) == {}


def test_values_from_outside_are_the_same_in_all_turns() -> None:
    def scaled(offset: int, name: str, factor: str) -> list[Inner]:
        return [
            load(f"{name}0", offset), let(f"{name}1", "multiply", f"{name}0", factor),
            let(name, "multiply", f"{name}1", factor),
        ]  # fmt: skip

    assert found(*both(*scaled(0, "a", "c"), *scaled(1, "b", "c"))) == {"a": "b"}
    assert found(*both(*scaled(0, "a", "c"), *scaled(1, "b", "d"))) == {}


def test_what_is_written_is_not_read_a_turn_later() -> None:
    body = both(*squares(0, "a"), *squares(1, "b"))
    assert found(*body[:-1], stored("sum", X)) == {}
    result = neighbours([*body[:-1], stored("sum")], "i", (), {"y": "x"})
    assert result.earlier == {}


def test_places_that_are_computed_are_of_no_turn() -> None:
    def picked(offset: int, name: str) -> list[Inner]:
        place = Value(f"{name}p", I64)
        return [
            load(f"{name}p", offset, 1, WHERE),
            Load(Value(f"{name}0", F64), Address(X, 0, ((place.name, 1),))),
            *squares(offset, name)[1:],
        ]

    assert found(*both(*picked(0, "a"), *picked(1, "b"))) == {}


def test_checks_and_the_index_stay() -> None:
    place = Value("p", I64)
    check = Check(place, Value("w", I64), 100, 1)
    number = Index(Value("n", I64), 0, (("i", 1),))
    body = [load("w", 0, 1, WHERE), check, number, *both(*squares(0, "a"), *squares(1, "b"))]
    result = neighbours(body, "i", (), {})
    assert check in result.body
    assert number not in result.body  # nobody needs it
    assert set(result.earlier) == {"a"}


def test_the_largest_are_handed_on_and_not_too_many() -> None:
    body: list[Inner] = []
    for buffer in range(MOST + 2):
        own = X._replace(name=f"x{buffer}")
        for offset in (0, 1):
            name = f"v{buffer}{offset}"
            body += [
                Load(Value(f"{name}0", F64), Address(own, offset, (("i", 1),))),
                *squares(offset, name)[1:],
                *([let(f"{name}x", "sqrt", name)] if buffer == 5 else []),
                stored(f"{name}x" if buffer == 5 else name, Y._replace(name=f"y{name}")),
            ]
    result = found(*body)
    assert len(result) == MOST
    assert result["v50x"] == "v51x"


def test_sums_stay_where_they_are() -> None:
    body = [
        *squares(0, "a"),
        *squares(1, "b"),
        let("d", "add", "a", "b"),
        let("s", "add", "s", "d"),
    ]
    result = neighbours(body, "i", ["s"], {})
    assert set(result.earlier) == {"a"}
    assert result.body[-1] == body[-1]
