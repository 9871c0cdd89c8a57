"""The rules of ``simplify`` one by one: what each makes, where it must not, which bits stay."""

import inspect
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest
from scipy import special

from graphjit.ir import Aval, Builder, Graph, Origin, Symbol, evaluate
from graphjit.ir.dispatch import emit
from graphjit.ir.verify import verify
from graphjit.passes.fold import fold
from graphjit.passes.merge import merge
from graphjit.passes.prune import prune
from graphjit.passes.simplify import simplify

SPECIAL = [0.0, -0.0, 1.0, -1.0, 2.5, -3.0, 0.3, np.inf, -np.inf, np.nan, 1e300, -1e300, 5e-324]
FREE = ("input", "constant", "broadcast", "iota")


class Rule(NamedTuple):
    """An expression, the operations it comes down to, and how exactly."""

    name: str
    function: Callable[..., Any]
    ops: str
    exact: bool = True
    backward: bool = False
    dtype: str = "float64"


def built(rule: Rule, *shapes: tuple[int, ...]) -> Graph:
    """The expression of a rule as a graph, in the backward pass if the rule is of that kind."""
    builder = Builder(lambda: Origin("model.py", 1, adjoint=rule.backward))
    avals = [Aval(shape, np.dtype(rule.dtype)) for shape in shapes]
    result = rule.function(*(Symbol(builder, builder.input(aval)) for aval in avals))
    return merge(prune(builder.graph([result.id])))


def ops(graph: Graph) -> str:
    return " ".join(node.op for node in graph.nodes if node.op not in FREE)


def operands(count: int, dtype: str) -> list[Any]:
    """Special values, each with each."""
    values = SPECIAL if dtype.startswith("float") else list(range(-4, 5))
    with np.errstate(over="ignore"):
        grids = np.meshgrid(*[np.array(values).astype(dtype)] * count)
    return [grid.reshape(-1) for grid in grids]


def arity(rule: Rule) -> int:
    return len(inspect.signature(rule.function).parameters)


def strong(a: Any, b: Any) -> Any:
    return emit("strong_multiply", a, b * np.ones_like(a))


RULES = (
    # sums
    Rule("x + -0.0", lambda x: x + -0.0, ""),
    Rule("0.0 + exp", lambda x: 0.0 + np.exp(x), "exp"),
    Rule("x + 0 backward", lambda x: x + 0.0, "", backward=True, exact=False),
    Rule("x + 0 of integers", lambda x: 0 + x, "", dtype="int64"),
    Rule("x + (-y)", lambda x, y: x + -y, "subtract"),
    Rule("(-x) + y", lambda x, y: -x + y, "subtract"),
    Rule("x - (-y)", lambda x, y: x - -y, "add"),
    Rule("x - 0", lambda x: x - 0.0, ""),
    Rule("0 - x backward", lambda x: 0 - x, "negative", backward=True, exact=False),
    Rule("-0.0 - x", lambda x: -0.0 - x, "negative"),
    Rule("--x", lambda x: np.negative(-x), ""),
    Rule("-(x - y) backward", lambda x, y: -(x - y), "subtract", backward=True, exact=False),
    # products
    Rule("x * 1", lambda x: x * 1, ""),
    Rule("1 * x", lambda x: 1 * x, ""),
    Rule("x * ones", lambda x: x * np.ones_like(x), ""),
    Rule("x * -1", lambda x: x * -1, "negative"),
    Rule("-x * 3", lambda x: -x * 3, "multiply"),
    Rule("-(3 * x)", lambda x: -(3 * x), "multiply"),
    Rule("-x * -y", lambda x, y: -x * -y, "multiply"),
    Rule("x * x", lambda x: x * x, "square"),
    Rule("x * 0 of integers", lambda x: x * 0, "", dtype="int64"),
    Rule("strong x * 3", lambda x: strong(x, 3.0), "multiply", backward=True, exact=False),
    Rule("strong x * 1", lambda x: strong(x, 1.0), "", backward=True, exact=False),
    Rule("strong x * 0", lambda x: strong(x, 0.0), "", backward=True, exact=False),
    # quotients
    Rule("x / 1", lambda x: x / 1, ""),
    Rule("x / -1", lambda x: x / -1, "negative"),
    Rule("x / 4", lambda x: x / 4, "multiply"),
    Rule("-x / 3", lambda x: -x / 3, "divide"),
    Rule("-x / -y", lambda x, y: -x / -y, "divide"),
    Rule("logistic", lambda x: 1 / (1 + np.exp(-x)), "expit", exact=False),
    Rule("logistic, turned", lambda x: 1 / (np.exp(-x) + 1), "expit", exact=False),
    Rule("logistic of -x", lambda x: 1 / (1 + np.exp(x)), "negative expit", exact=False),
    Rule("logistic power", lambda x: (1 + np.exp(-x)) ** -1.0, "expit", exact=False),
    # powers
    Rule("x ** 0", lambda x: x**0, ""),
    Rule("x ** 1", lambda x: x**1, ""),
    Rule("x ** 2", lambda x: x**2, "square", exact=False),
    Rule("x ** 3", lambda x: x**3, "square multiply", exact=False),
    Rule("x ** 4", lambda x: x**4, "square square", exact=False),
    Rule("x ** 3 of integers", lambda x: x**3, "square multiply", dtype="int64"),
    Rule("x ** -1", lambda x: x**-1.0, "reciprocal", exact=False),
    Rule("x ** -2", lambda x: x**-2.0, "reciprocal square", exact=False),
    Rule("x ** -3", lambda x: x**-3.0, "power"),
    Rule("3 * (x * 7)", lambda x: 3 * (x * 7), "multiply", exact=False),
    Rule("1 ** x", lambda x: 1.0**x, ""),
    Rule("(-x)²", lambda x: np.square(-x), "square"),
    Rule("|x|²", lambda x: np.square(abs(x)), "square"),
    Rule("|-x|", lambda x: abs(-x), "absolute"),
    Rule("|x²|", lambda x: abs(x * x), "square"),
    # choice, logic, conversion
    Rule("where true", lambda x, y: np.where(True, x, y), ""),
    Rule("where 1 > 2", lambda x, y: np.where(np.ones_like(x) > 2, x, y * 2), "multiply"),
    Rule("where same", lambda x, y: np.where(x > y, x, x), ""),
    Rule("where not", lambda x, y: np.where(~(x > y), x, y), "greater where"),
    Rule("where where", lambda x, y: np.where(x > y, np.where(x > y, y, 2), x), "greater where"),
    Rule("where cast", lambda x, y: np.where(x > y, 3.0 * (x > y), x), "greater where"),
    Rule("not not", lambda x, y: ~~(x < y), "less"),
    Rule("and true", lambda x: (x < 3) & (np.zeros_like(x) < 1), "less"),
    Rule("or true", lambda x: (x < 3) | (np.zeros_like(x) < 1), ""),
    Rule("wide and back", lambda x: x.astype("f8").astype("f4"), "", dtype="float32"),
    Rule("wide, then whole", lambda x: x.astype("i8").astype("f8"), "cast", dtype="int32"),
    Rule("max(x, x)", lambda x: np.maximum(x, x), ""),
    Rule("+x", lambda x: +x, ""),
    # the backward pass of log(1 + exp(x))
)
SAME = (
    Rule("x + 0.0", lambda x: x + 0.0, "add"),
    Rule("0.0 - x", lambda x: 0.0 - x, "subtract"),
    Rule("x - (-0.0)", lambda x: x - -0.0, "subtract"),
    Rule("x * 0", lambda x: x * 0, "multiply"),
    Rule("x - x", lambda x: x - x, "subtract"),
    Rule("x / x", lambda x: x / x, "divide"),
    Rule("x / 3", lambda x: x / 3, "divide"),
    Rule("x / 0", lambda x: x / 0.0, "divide"),
    Rule("x / 2**-1074", lambda x: x / 5e-324, "divide"),
    Rule("x * 1e200 * 1e200", lambda x: x * 1e200 * 1e200, "multiply multiply"),
    Rule("x * 1e-200 * 1e-200", lambda x: x * 1e-200 * 1e-200, "multiply multiply"),
    Rule("2x * 100y", lambda x, y: x * 2 * (y * 100), "multiply multiply multiply", backward=True),
    Rule(
        "2x * 3y of integers",
        lambda x, y: x * 2 * (y * 3),
        "multiply multiply multiply",
        backward=True,
        dtype="int64",
    ),
    Rule("x * 2 * 3 of integers", lambda x: x * 2 * 3, "multiply multiply", dtype="int64"),
    Rule("-(x - y)", lambda x, y: -(x - y), "subtract negative"),
    Rule("x == x", lambda x: x == x, "equal"),
    Rule("0 ** x", lambda x: 0.0**x, "power"),
    Rule("log(exp(x))", lambda x: np.log(np.exp(x)), "exp log"),
    Rule("exp(log(x))", lambda x: np.exp(np.log(x)), "log exp"),
    Rule("2 / (1 + exp(x))", lambda x: 2 / (1 + np.exp(x)), "exp add divide"),
    Rule("1 / (2 + exp(x))", lambda x: 1 / (2 + np.exp(x)), "exp add divide"),
    Rule("exp / (2 + exp)", lambda x: np.exp(x) / (2 + np.exp(x)), "exp add divide"),
    Rule("other exp", lambda x, y: np.exp(x) / (1 + np.exp(y)), "exp exp add divide"),
    Rule("(a - b) / (a + b)", lambda x, y: (x - y) / (x + y), "subtract add divide"),
    Rule("sinh / cosh", lambda x, y: np.sinh(x) / np.cosh(y), "sinh cosh divide"),
    Rule("root of the root", lambda x: np.sqrt(np.sqrt(abs(x))), "absolute sqrt sqrt"),
    Rule("x * y / y", lambda x, y: x * y / y, "multiply divide"),
    Rule("x + y - y", lambda x, y: x + y - y, "add subtract"),
    Rule("where +-0", lambda x, y: np.where(x > y, 0.0, -0.0), "greater where"),
    Rule("not less", lambda x, y: ~(x < y), "less invert"),
    Rule("narrow and back", lambda x: x.astype("f4").astype("f8"), "cast cast"),
    Rule("i8 and back", lambda x: x.astype("f8").astype("i8"), "cast cast", dtype="int64"),
    Rule("max(x, y)", lambda a, b: np.maximum(b, a), "maximum"),
)


@pytest.mark.parametrize("rule", RULES + SAME, ids=lambda rule: rule.name)
def test_a_rule_makes_what_it_says_and_no_special_value_changes(rule: Rule) -> None:
    values = operands(arity(rule), rule.dtype)
    graph = built(rule, *[v.shape for v in values])
    after = verify(simplify(graph))
    assert ops(after) == rule.ops
    (expected,), (found,) = evaluate(graph, *values), evaluate(after, *values)
    if rule.backward and not rule.exact:
        keep = ~np.isnan(expected)
        np.testing.assert_allclose(found[keep], expected[keep], rtol=1e-15)
        return
    np.testing.assert_allclose(found, expected, rtol=1e-15, atol=5e-308)
    if rule.exact and expected.dtype.kind == "f":
        real = ~np.isnan(expected)
        np.testing.assert_array_equal(np.signbit(found[real]), np.signbit(expected[real]))
        np.testing.assert_array_equal(found, expected)


def test_rules_for_the_backward_pass_stay_out_of_the_forward_pass() -> None:
    for rule in RULES:
        if rule.backward and not rule.name.startswith("strong"):
            values = operands(arity(rule), rule.dtype)
            forward = built(rule._replace(backward=False), *[v.shape for v in values])
            assert ops(simplify(forward)) != rule.ops


@pytest.mark.parametrize(("c", "d", "left"), [(0.5, 3.0, 2), (-0.25, 4.0, 2), (2.0, 0.5, 1)])
def test_the_numbers_of_two_products_come_together(c: float, d: float, left: int) -> None:
    """But for numbers next to the smallest, where rounding is coarse before and after."""
    rule = Rule("", lambda x, y: x * c * (y * d), "", backward=True)
    special = operands(2, "float64")
    wide = np.random.default_rng(0).uniform(-1, 1, (2, 1000)) * 10.0 ** np.arange(-120, 120, 0.24)
    normal = np.all(np.abs(special) != 5e-324, axis=0)
    values = [np.concatenate([s[normal], w]) for s, w in zip(special, wide, strict=True)]
    graph = built(rule, *[v.shape for v in values])
    after = verify(simplify(graph))
    assert after.count("multiply") + after.count("negative") == left
    (expected,), (found,) = evaluate(graph, *values), evaluate(after, *values)
    np.testing.assert_allclose(found, expected, rtol=1e-15)


def test_a_root_is_taken_where_numpy_takes_one() -> None:
    rule = Rule("x ** 0.5", lambda x: x**0.5, "")
    x = np.array(SPECIAL)
    after = simplify(built(rule, x.shape))
    assert ops(after) == "sqrt"
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(evaluate(after, x)[0], x**0.5)


STABLE: dict[str, tuple[Callable[..., Any], str]] = {
    "log(1 + exp(x))": (lambda x: np.log(1 + np.exp(x)), "logaddexp"),
    "log(exp(x) + 1)": (lambda x: np.log(np.exp(x) + 1), "logaddexp"),
    "log1p(exp(x))": (lambda x: np.log1p(np.exp(x)), "logaddexp"),
    "log(sigmoid)": (lambda x: np.log(1 / (1 + np.exp(-x))), "log_expit"),
    "log(1 - sigmoid)": (lambda x: np.log(1 - 1 / (1 + np.exp(-x))), "negative log_expit"),
    "log2(1 + exp2(x))": (lambda x: np.log2(1 + np.exp2(x)), "logaddexp2"),
    "exp / (1 + exp)": (lambda x: np.exp(x) / (1 + np.exp(x)), "expit"),
    "exp / (exp + 1)": (lambda x: np.exp(x) / (np.exp(x) + 1), "expit"),
    "sinh / cosh": (lambda x: np.sinh(x) / np.cosh(x), "tanh"),
    "tanh": (lambda x: (np.exp(x) - np.exp(-x)) / (np.exp(x) + np.exp(-x)), "tanh"),
    "tanh(x / 2)": (lambda x: (np.exp(x) - 1) / (1 + np.exp(x)), "tanh"),
    "tanh(-x / 2)": (lambda x: (1 - np.exp(x)) / (np.exp(x) + 1), "tanh"),
    "square ** 0.5": (lambda x: (x * x) ** 0.5, "absolute"),
    "sqrt(x * x)": (lambda x: np.sqrt(x * x), "absolute"),
}
FAR = {
    "logaddexp": (0.0, 1000.0), "logaddexp2": (0.0, 1000.0), "log_expit": (-1000.0, 0.0),
    "expit": (0.0, 1.0), "tanh": (-1.0, 1.0), "absolute": (1000.0, 1000.0),
}  # fmt: skip


@pytest.mark.parametrize("name", STABLE)
def test_a_stable_form_agrees_and_is_right_where_the_written_one_overflows(name: str) -> None:
    function, wanted = STABLE[name]
    x = np.linspace(-30, 20, 101)
    after = verify(simplify(built(Rule(name, function, ""), x.shape)))
    assert ops(after).removeprefix("multiply ") == wanted
    np.testing.assert_allclose(evaluate(after, x)[0], function(x), rtol=1e-6, atol=1e-15)
    far = np.array([-1000.0, 1000.0])
    small, large = evaluate(simplify(built(Rule(name, function, ""), far.shape)), far)[0]
    turned = (large, small) if name == "tanh(-x / 2)" else (small, large)
    assert turned == pytest.approx(FAR.get(wanted, (0.0, -1000.0)), abs=1e-300)


def test_the_square_of_a_root_is_what_it_was_taken_of() -> None:
    x = np.array([-1.0, 0.0, 4.0, 1e-320, np.inf, np.nan])
    for function, wanted in (
        (lambda x: np.sqrt(x) ** 2, "greater_equal where"),
        (lambda x: np.sqrt(np.sum(x**2, axis=1)) ** 2, "square sum"),
    ):
        given = x if wanted.startswith("greater") else np.stack([x, x], axis=1)
        graph = built(Rule("", function, ""), given.shape)
        after = verify(simplify(graph))
        assert ops(after) == wanted
        expected, found = evaluate(graph, given)[0], evaluate(after, given)[0]
        np.testing.assert_allclose(found, expected, rtol=1e-15, atol=1e-320)


def test_the_logistic_has_a_finite_slope_where_exp_overflows() -> None:
    rule = Rule("logistic", lambda x: 1 / (1 + np.exp(-x)), "")
    x = np.array([-1000.0, -30.0, 0.0, 30.0, 1000.0])
    (y,) = evaluate(simplify(built(rule, x.shape)), x)
    np.testing.assert_array_equal(y, special.expit(x))
    assert np.isfinite(y * (1 - y)).all()


def wide(x: Any, *shape: int) -> Any:
    return np.broadcast_to(x, shape)


LAYOUT = (
    Rule("reshape to its own shape", lambda x: np.reshape(x, x.shape), ""),
    Rule("reshape of reshape", lambda x: x.reshape(6, 4).reshape(8, 3), "reshape"),
    Rule("reshape and back", lambda x: x.reshape(24).reshape(2, 3, 4), ""),
    Rule("transpose of nothing", lambda x: np.transpose(x, (0, 1, 2)), ""),
    Rule("transpose and back", lambda x: x.T.T, ""),
    Rule("transposes", lambda x: np.swapaxes(np.swapaxes(x, 0, 1), 1, 2), "transpose"),
    Rule("slice of all", lambda x: x[:, 0:3], ""),
    Rule("slice of slice", lambda x: x[:, ::2][1:, :1, 1:3], "slice"),
    Rule("reversed twice", lambda x: x[::-1, :, ::-1][::-1, :, ::-1], ""),
    Rule("part of joined", lambda x: np.concatenate([x, 2 * x, x], 1)[:, 3:6], "multiply"),
    Rule("not a part", lambda x: np.concatenate([x, x], 1)[:, 2:5], "concatenate slice"),
    Rule("joined alone", lambda x: np.concatenate([x], 1), ""),
    Rule("joined with nothing", lambda x: np.concatenate([x, x[:, :0]], 1), ""),
    Rule("pad and cut", lambda x: np.pad(x, 1)[1:-1, 1:-1, 1:-1], ""),
    Rule("pad and pad", lambda x: np.pad(np.pad(x, 1), 2), "embed"),
    Rule("broadcast again", lambda x: wide(wide(x[0, 0], 3, 4), 2, 3, 4), "slice"),
    Rule("broadcast with leading ones", lambda x: wide(x[None], 5, 2, 3, 4), ""),
    Rule("sum over nothing", lambda x: np.sum(x, axis=()), ""),
    Rule("sum over axes of 1", lambda x: np.sum(x[:1, :, :1], axis=(0, 2)), "slice reshape"),
    Rule("max over axes of 1", lambda x: np.max(x[None], axis=0), ""),
    Rule("sum of moved", lambda x: np.sum(x.T), "sum"),
    Rule("sum of reshaped", lambda x: np.sum(x.reshape(8, 3)), "sum"),
    Rule("partial sum of moved", lambda x: np.sum(x.T, axis=0), "transpose sum"),
    Rule("sum of repeated", lambda x: np.sum(wide(x[0, 0], 7, 4), 0), "slice reshape multiply"),
    Rule("sum of numbers", lambda x: np.sum(np.ones_like(x)), ""),
    Rule("max of repeated", lambda x: np.max(wide(x[0, 0], 7, 4), axis=0), "slice reshape"),
    Rule("running sum of one", lambda x: np.cumsum(x[:1], axis=0), "slice"),
    Rule("product of a transpose", lambda x: x[0].T @ x[1], "slice reshape slice reshape contract"),
    Rule("hoisted", lambda x: np.exp(wide(x[0, 0], 3, 4)), "slice reshape exp"),
    Rule("hoisted with a number", lambda x: wide(x[0, 0], 3, 4) * 3, "slice reshape multiply"),
)  # fmt: skip


@pytest.mark.parametrize("rule", LAYOUT, ids=lambda rule: rule.name)
def test_layout_comes_down_to_what_moves(rule: Rule) -> None:
    x = np.random.default_rng(0).normal(size=(2, 3, 4))
    graph = built(rule, x.shape)
    after = verify(simplify(fold(graph)))
    assert ops(after) == rule.ops
    np.testing.assert_allclose(evaluate(after, x)[0], evaluate(graph, x)[0], rtol=1e-14)


def test_what_is_hoisted_is_computed_once() -> None:
    rule = Rule("", lambda x: np.exp(np.broadcast_to(x, (1000, 4))), "")
    (exp,) = (node for node in simplify(built(rule, (4,))).nodes if node.op == "exp")
    assert exp.aval.shape == (4,)


# -- indexing: one element a row ----------------------------------------------------------------


def picked(
    function: Callable[..., Any], rows: int = 5, below: int = 3, counts: bool = True
) -> Graph:
    """A function of a float matrix, the row numbers (as a constant) and a checked index."""
    builder = Builder()
    x = Symbol(builder, builder.input(Aval((rows, 3), np.dtype(float))))
    y = Symbol(builder, builder.input(Aval((5,), np.dtype(np.intp))))
    first = Symbol(builder, builder.constant(np.arange(5) if counts else [0, 1, 2, 4, 3]))
    index = emit("wrap_index", y, size=below)
    return builder.graph([function(x, emit("wrap_index", first, size=rows), index).id])


def pick(x: Any, first: Any, y: Any) -> Any:
    return emit("gather", np.exp(x), first, y, axes=(0, 1))


def put(x: Any, first: Any, y: Any) -> Any:
    return emit("scatter_add", np.exp(x[:, 0]), first, y, axes=(0, 1), shape=(5, 3))


def each_index() -> Iterator[tuple[Any, Any]]:
    rng = np.random.default_rng(1)
    for _ in range(4):
        yield rng.normal(size=(5, 3)), rng.integers(-3, 3, 5)
    yield np.array([[np.inf, 0, np.nan]] * 5), np.array([0, 1, 2, -1, -2])


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (pick, "wrap_index exp reshape equal where sum"),
        (put, "wrap_index slice exp equal reshape where"),
    ],
)
def test_one_element_a_row_becomes_a_choice_that_fuses(
    function: Callable[..., Any], expected: str
) -> None:
    graph = picked(function)
    after = verify(simplify(fold(graph)))
    assert sorted(set(ops(after).split())) == sorted(set(expected.split()))
    for x, y in each_index():
        np.testing.assert_array_equal(evaluate(after, x, y)[0], evaluate(graph, x, y)[0])


@pytest.mark.parametrize(
    "graph",
    [
        picked(pick, counts=False),
        picked(pick, rows=6),
        picked(pick, below=4),
        picked(lambda x, first, y: emit("gather", x, first, y, axes=(0, 1))),
        picked(lambda x, first, y: emit("gather", np.exp(x), y, first, axes=(1, 0))),
    ],
    ids=["other rows", "more rows", "index not below the axis", "of an argument", "other axes"],
)
def test_other_gathers_stay(graph: Graph) -> None:
    assert simplify(fold(graph)).count("gather") == 1


def test_an_index_is_checked_unless_it_cannot_be_wrong() -> None:
    graph = simplify(fold(picked(pick)))
    assert graph.count("wrap_index") == 1  # that of y; the row numbers need none
    rule = Rule("", lambda x: np.exp(x)[np.argmax(x)], "")
    assert simplify(built(rule, (5,))).count("wrap_index") == 0
