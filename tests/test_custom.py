"""custom_vjp and custom_jvp: the rule is taken, in every mode, at every order, in every nesting."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest

import graphjit
from graphjit import custom_jvp, custom_vjp, grad, jacfwd, jacrev, vmap
from graphjit.codegen.build import Program
from graphjit.errors import DTypeError, MissingRule, ShapeError, TraceError
from graphjit.flags import override
from graphjit.ir import Graph, evaluate
from graphjit.ir.text import parse, show
from graphjit.ir.verify import verify
from graphjit.passes.adjoint import adjoint
from graphjit.passes.batch import batch
from graphjit.passes.pipeline import PROGRAM, run
from graphjit.passes.tangent import tangent
from graphjit.tracing.trace import trace

RNG = np.random.default_rng(7)
X, Y, W = RNG.normal(size=4), RNG.uniform(0.5, 2, size=4), RNG.normal(size=(4, 4)) * 0.5
SHIFT = np.array([0.1, 0.2, 0.3, 0.4])


@pytest.fixture(autouse=True)
def as_plain_python() -> Iterator[None]:
    """Generated programs run as Python: they are small, and compiling them takes longer."""
    with override(jit=False):
        yield


# -- functions, each with a rule and without ------------------------------------------------------


def plain(x: Any, y: Any) -> Any:
    return np.sin(x) * y + SHIFT


@custom_vjp
def by_vjp(x: Any, y: Any) -> Any:
    return plain(x, y)


def by_vjp_fwd(x: Any, y: Any) -> Any:
    return by_vjp(x, y), {"x": x, "y": y, "power": 2}


def by_vjp_bwd(kept: Any, ct: Any) -> Any:
    assert kept["power"] == 2
    return ct * kept["y"] * np.cos(kept["x"]), ct * np.sin(kept["x"])


by_vjp.defvjp(by_vjp_fwd, by_vjp_bwd)


@custom_jvp
def by_jvp(x: Any, y: Any) -> Any:
    return plain(x, y)


@by_jvp.defjvp
def by_jvp_rule(primals: Any, tangents: Any) -> Any:
    (x, y), (dx, dy) = primals, tangents
    return by_jvp(x, y), (by_jvp(x, y) - SHIFT) / y * dy + np.cos(x) * y * dx


def plain_tree(params: Any, n: int) -> Any:
    h = np.tanh(params["w"] @ params["b"])
    return {"loss": np.sum(h * h) / n, "state": (h, n)}


@custom_vjp
def tree_by_vjp(params: Any, n: int) -> Any:
    return plain_tree(params, n)


def tree_fwd(params: Any, n: int) -> Any:
    result = plain_tree(params, n)
    return result, (result["state"][0], params)


def tree_bwd(kept: Any, ct: Any) -> Any:
    h, params = kept
    assert ct["state"][1] is None
    dz = (ct["loss"] * 2 * h / 3 + ct["state"][0]) * (1 - h * h)
    return {"w": np.outer(dz, params["b"]), "b": params["w"].T @ dz}, None


tree_by_vjp.defvjp(tree_fwd, tree_bwd)


@custom_jvp
def tree_by_jvp(params: Any, n: int) -> Any:
    return plain_tree(params, n)


@tree_by_jvp.defjvp
def tree_rule(primals: Any, tangents: Any) -> Any:
    (params, n), (d, none) = primals, tangents
    assert none is None
    result = plain_tree(params, n)
    h = result["state"][0]
    dh = (1 - h * h) * (d["w"] @ params["b"] + params["w"] @ d["b"])
    return result, {"loss": 2 * np.sum(h * dh) / n, "state": (dh, None)}


def total(f: Callable[..., Any]) -> Callable[..., Any]:
    return lambda x, y: np.sum(f(x, y * y) ** 2)


def tree_total(f: Callable[..., Any]) -> Callable[..., Any]:
    def loss(w: Any, b: Any) -> Any:
        result = f({"w": w, "b": b}, 3)
        return result["loss"] + np.sum(np.sin(result["state"][0]))

    return loss


def in_a_scan(f: Callable[..., Any]) -> Callable[..., Any]:
    """The rule inside a loop's body, with a value of the loop that the outside also sees."""

    def loss(x: Any, y: Any) -> Any:
        last, seen = graphjit.scan(lambda h, t: (f(h, y) * 0.5, f(h, t * y)), x, np.arange(1.0, 4))
        return np.sum(last) + np.sum(seen**2)

    return loss


class Case(NamedTuple):
    custom: Callable[..., Any]
    plain: Callable[..., Any]
    args: tuple[Any, ...]


CASES = {
    f"{name}-{kind}": Case(around(rule), around(same), args)
    for name, around, kind, rule, same, args in [
        ("one", total, "vjp", by_vjp, plain, (X, Y)),
        ("one", total, "jvp", by_jvp, plain, (X, Y)),
        ("tree", tree_total, "vjp", tree_by_vjp, plain_tree, (W, X)),
        ("tree", tree_total, "jvp", tree_by_jvp, plain_tree, (W, X)),
        ("scan", in_a_scan, "vjp", by_vjp, plain, (X, Y)),
        ("scan", in_a_scan, "jvp", by_jvp, plain, (X, Y)),
    ]
}
ALL = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
BOTH = (0, 1)


def close(found: Any, expected: Any) -> None:
    for one, two in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-9, atol=1e-11)


@ALL
def test_value_and_gradient_are_the_functions_own(case: Case) -> None:
    np.testing.assert_allclose(graphjit.jit(case.custom)(*case.args), case.plain(*case.args))
    close(grad(case.custom, BOTH)(*case.args), grad(case.plain, BOTH)(*case.args))


@ALL
def test_forward_mode_and_second_derivatives(case: Case) -> None:
    close(jacfwd(case.custom, BOTH)(*case.args), jacrev(case.plain, BOTH)(*case.args))

    def squared(f: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *args: sum(np.sum(g * g) for g in grad(f, BOTH)(*args))

    found, expected = squared(case.custom), squared(case.plain)
    close(grad(found, BOTH)(*case.args), grad(expected, BOTH)(*case.args))
    along = tuple(np.cos(a) for a in case.args)
    hvps = [graphjit.hvp(f, case.args, along) for f in (case.custom, case.plain)]
    close(*hvps)


@ALL
def test_examples_in_batches(case: Case) -> None:
    many = np.stack([case.args[1] * s for s in (1.0, -0.5, 2.0)])
    for f, g in ((case.custom, case.plain), (grad(case.custom, BOTH), grad(case.plain, BOTH))):
        np.testing.assert_equal(len(many), 3)
        found = vmap(f, (None, 0))(case.args[0], many)
        expected = [g(case.args[0], one) for one in many]
        parts = zip(*expected, strict=True) if isinstance(found, tuple) else [expected]
        found = found if isinstance(found, tuple) else (found,)
        close(found, [np.stack(part) for part in parts])


@ALL
def test_the_gradient_of_a_batch_sums_over_what_examples_share(case: Case) -> None:
    many = np.stack([case.args[1] * s for s in (1.0, -0.5, 2.0)])

    def loss(f: Callable[..., Any]) -> Callable[..., Any]:
        return lambda x, ys: np.sum(vmap(f, (None, 0))(x, ys) ** 2)

    close(
        grad(loss(case.custom), BOTH)(case.args[0], many),
        grad(loss(case.plain), BOTH)(case.args[0], many),
    )


def nestings(f: Callable[..., Any], v: Any) -> dict[str, Callable[..., Any]]:
    """Second and third derivatives of ``f(x, y)``, each a function of one example."""
    slope = grad(f)

    def second(x: Any, y: Any) -> Any:
        return np.sum(slope(x, y) * v)

    return {
        "hessian": graphjit.hessian(f),
        "mixed": jacfwd(slope, 1),
        "hvp": lambda x, y: graphjit.hvp(f, (x, y), (v, None)),
        "reverse over reverse": grad(second),
        "of the other": grad(second, 1),
        "third": grad(lambda x, y: np.sum(grad(second)(x, y) * v)),
        "jvp of jvp": lambda x, y: graphjit.jvp(
            lambda x: graphjit.jvp(f, (x, y), (v, None))[1], (x,), (v,)
        )[1],
        "examples inside": lambda x, y: grad(
            lambda y: np.sum(vmap(slope, (0, None))(np.stack([x, v]), y) ** 2)
        )(y),
    }


def bent(f: Callable[..., Any]) -> Callable[..., Any]:
    return lambda x, y: np.sum(np.cos(f(x, y)) ** 2)


@pytest.mark.parametrize("axes", [(0, 0), (0, None), (None, 0)], ids=str)
@pytest.mark.parametrize("nesting", nestings(plain, X))
def test_examples_in_batches_at_higher_order(nesting: str, axes: Any) -> None:
    args = [
        np.stack([a, 2 * a, a - 3]) if axis == 0 else a
        for a, axis in zip((X, Y), axes, strict=True)
    ]
    by_hand = nestings(bent(plain), W[0])[nesting]
    each = [
        by_hand(*(a[k] if axis == 0 else a for a, axis in zip(args, axes, strict=True)))
        for k in range(3)
    ]
    for rule in (by_vjp, by_jvp, graphjit.checkpoint(plain)):
        found = vmap(nestings(bent(rule), W[0])[nesting], axes)(*args)
        np.testing.assert_allclose(found, np.stack(each), rtol=1e-9, atol=1e-11)


@ALL
def test_its_graph_is_printed_read_verified_and_evaluated(case: Case) -> None:
    traced = trace(case.custom, case.args)
    graph, values = verify(traced.graph), [*case.args, *traced.captured]
    assert parse(show(graph)) == graph
    np.testing.assert_allclose(evaluate(graph, *values)[0], case.plain(*case.args))
    wide = verify(batch(graph, [1], 2))
    turned = verify(adjoint(tangent(graph, [0]), [0, 1]))
    assert parse(show(wide)) == wide
    for each in (graph, turned):
        done = verify(run(each, PROGRAM))
        assert not any(carried(done, op) for op in ("custom_vjp", "custom_jvp"))


def carried(graph: Graph, op: str) -> int:
    """How many nodes of this kind are in a graph, or in what its nodes carry."""
    return graph.count(op) + sum(carried(body, op) for n in graph.nodes for body in n.bodies)


def test_a_compiled_gradient_is_one_loop() -> None:
    with override(jit=True):
        gradient = grad(total(by_vjp), BOTH)
        close(gradient(X, Y), grad(total(plain), BOTH)(X, Y))
        assert len(Program(gradient.graph(X, Y, stage="adjoint"), "f").loops.kernels) == 1


# -- that the rule is taken, and not the function -------------------------------------------------


@custom_vjp
def clipped(x: Any) -> Any:
    """The identity, with a gradient of at most 1."""
    return x * 1.0


clipped.defvjp(lambda x: (x, None), lambda _, ct: (np.clip(ct, -1.0, 1.0),))


def test_a_rule_may_be_no_derivative_at_all() -> None:
    x = np.array([0.1, 0.5, 3.0])
    np.testing.assert_array_equal(grad(lambda x: np.sum(clipped(x) ** 2))(x), [0.2, 1.0, 1.0])
    with pytest.raises(MissingRule, match=r"clipped is a custom_vjp whose(.|\n)*custom_jvp"):
        jacfwd(clipped)(x)


def test_the_forward_rule_replaces_the_function_and_only_where_differentiated() -> None:
    @custom_vjp
    def f(x: Any) -> Any:
        return x * 2

    f.defvjp(lambda x: (x * 100, x), lambda kept, ct: (ct * 7 * kept,))
    assert graphjit.jit(f)(3.0) == 6.0
    assert graphjit.value_and_grad(f)(3.0) == (300.0, 21.0)
    assert graphjit.value_and_grad(lambda x, y: f(y) * x)(2.0, 3.0) == (12.0, 6.0)


def test_a_rule_that_is_exact_where_the_function_is_not() -> None:
    @custom_jvp
    def softplus(x: Any) -> Any:
        return np.log(1 + np.exp(x))

    softplus.defjvp(lambda p, t: (np.logaddexp(p[0], 0.0), t[0] / (1 + np.exp(-p[0]))))
    assert grad(softplus)(1000.0) == 1.0
    assert jacfwd(softplus)(1000.0) == 1.0
    assert grad(grad(softplus))(0.0) == 0.25


def test_outside_a_trace_it_just_runs() -> None:
    calls = []

    @custom_vjp
    def f(x: Any, *, again: bool = False) -> Any:
        calls.append(type(x))
        return [x, again]

    assert f(3, again=True) == [3, True]
    assert calls == [int]


def test_rules_that_call_their_function_end() -> None:
    @custom_jvp
    def exponential(x: Any) -> Any:
        return np.exp(x)

    @exponential.defjvp
    def rule(primals: Any, tangents: Any) -> Any:
        y = exponential(*primals)
        return y, y * tangents[0]

    f: Callable[..., Any] = exponential
    for _ in range(5):
        f = grad(f)
    np.testing.assert_allclose(f(0.5), np.exp(0.5), rtol=1e-14)


# -- arguments ------------------------------------------------------------------------------------


def test_arguments_without_a_derivative() -> None:
    @functools.partial(custom_vjp, nondiff_argnums=(0, 2))
    def apply(f: Any, x: Any, n: int) -> Any:
        return f(x) * n

    def fwd(f: Any, x: Any, n: int) -> Any:
        return f(x) * n, x

    def bwd(f: Any, n: int, x: Any, ct: Any) -> Any:
        return (10 * n * ct * grad(f)(x),)

    apply.defvjp(fwd, bwd)
    np.testing.assert_allclose(grad(lambda x: apply(np.sin, x, 3))(0.3), 30 * np.cos(0.3))

    @functools.partial(custom_jvp, nondiff_argnums=0)
    def power(n: int, x: Any) -> Any:
        return x**n

    power.defjvp(lambda n, p, t: (p[0] ** n, -n * p[0] ** (n - 1) * t[0]))
    assert grad(lambda x: power(3, x))(2.0) == -12.0


def test_keywords_defaults_and_methods() -> None:
    class Layer:
        scale = 3.0

        @custom_vjp
        def apply(self, x: Any, y: Any = 2.0) -> Any:
            return self.scale * x * y

    Layer.apply.defvjp(
        lambda self, x, y: (self.scale * x * y, (x, y)),
        lambda kept, ct: (None, ct * kept[1] * 5, ct * kept[0]),
    )
    layer = Layer()
    assert layer.apply(1.0, y=4.0) == 12.0
    assert grad(layer.apply)(2.0) == 10.0
    assert grad(lambda x: layer.apply(y=x, x=7.0))(2.0) == 7.0


def test_arrays_of_integers_have_no_cotangent() -> None:
    @custom_vjp
    def pick(x: Any, index: Any) -> Any:
        return x[index]

    def bwd(kept: Any, ct: Any) -> Any:
        size, index = kept
        return np.sum(np.where(np.arange(size) == index[:, None], ct[:, None], 0.0), axis=0), None

    pick.defvjp(lambda x, index: (x[index], (x.size, index)), bwd)
    gradient = grad(lambda x, index: np.sum(pick(x, index) ** 2))
    np.testing.assert_allclose(gradient(X, np.array([1, 1, 3])), [0, 4 * X[1], 0, 2 * X[3]])


def test_later_contents_of_a_captured_array_are_seen() -> None:
    scale = np.ones(100)

    @custom_vjp
    def f(x: Any) -> Any:
        return x * scale

    f.defvjp(lambda x: (x * scale, None), lambda _, ct: (ct * scale * 2,))
    gradient = grad(lambda x: np.sum(f(x)))
    np.testing.assert_array_equal(gradient(np.ones(100)), 2 * scale)
    scale *= 3
    np.testing.assert_array_equal(gradient(np.ones(100)), 2 * scale)


def test_what_it_closes_over_is_constant_or_refused() -> None:
    def loss(x: Any, y: Any) -> Any:
        @custom_vjp
        def f(x: Any) -> Any:
            return x * y

        f.defvjp(lambda x: (x * y, None), lambda _, ct: (ct * y,))
        return np.sum(f(x))

    np.testing.assert_allclose(grad(loss)(X, Y), Y)
    with pytest.raises(TraceError, match=r"f has a derivative rule, but depends(.|\n)*stop_grad"):
        grad(loss, argnums=1)(X, Y)
    with pytest.raises(TraceError, match=r"f has a derivative rule, but depends"):
        jacfwd(loss, argnums=1)(X, Y)


def test_float32_stays_and_python_floats_take_the_others_dtype() -> None:
    @custom_jvp
    def double(x: Any) -> Any:
        return 2.0 * x

    double.defjvp(lambda p, t: (2.0 * p[0], 2.0 * t[0]))
    x = np.ones(3, np.float32)
    f = graphjit.value_and_grad(lambda x, s: np.sum(double(x) * double(s)))
    value, slope = f(x, 0.5)
    assert (value.dtype, slope.dtype) == (np.float32, np.float32)
    np.testing.assert_array_equal(slope, [2, 2, 2])


# -- errors ---------------------------------------------------------------------------------------


def with_rule(fwd: Any, bwd: Any) -> Callable[..., Any]:
    @custom_vjp
    def f(params: Any, y: Any) -> Any:
        return params["a"] * y

    f.defvjp(fwd, bwd)
    return lambda a, y: np.sum(f({"a": a}, y))


def good(params: Any, y: Any) -> Any:
    return params["a"] * y, None


BAD_VJP = {
    "no pair": (lambda p, y: p["a"] * y, good, TraceError, r"must return a pair \(result, resid"),
    "another structure": (
        lambda p, y: ([p["a"] * y], None), good, TraceError,
        r"returns another structure than f(.|\n)*f: \*, the rule: \[\*\]",
    ),
    "another shape": (
        lambda p, y: (np.sum(y), None), good, ShapeError,
        r"of f must return f64\[4\] as the result, not f64\[\]",
    ),
    "another dtype": (
        lambda p, y: (y.astype(np.float32), None), good, DTypeError,
        r"must return f64\[4\] as the result, not f32\[4\]",
    ),
    "one cotangent": (
        good, lambda _, ct: ct, TraceError,
        r"a tuple with one cotangent for each of its 2 arguments(.|\n)*params, y(.|\n)*f64\[4\]",
    ),
    "cotangent's structure": (
        good, lambda _, ct: ([ct], ct), TraceError,
        r"a cotangent of argument params in its own structure(.|\n)*\{'a': \*\}(.|\n)*\[\*\]",
    ),
    "cotangent's shape": (
        good, lambda _, ct: ({"a": np.sum(ct)}, ct), ShapeError,
        r"must return f64\[4\] as the cotangent of argument params\['a'\], not f64\[\]",
    ),
    "cotangent's dtype": (
        good, lambda _, ct: ({"a": ct}, ct > 0), DTypeError,
        r"must return f64\[4\] as the cotangent of argument y, not bool\[4\]",
    ),
    "no number": (
        good, lambda _, ct: ({"a": ct}, "text"), DTypeError,
        r"must return f64\[4\] as the cotangent of argument y, not str",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_VJP)
def test_a_vjp_rule_that_returns_the_wrong_thing(name: str) -> None:
    fwd, bwd, error, words = BAD_VJP[name]
    with pytest.raises(error, match=words) as caught:
        grad(with_rule(fwd, bwd))(X, Y)
    assert caught.value.origin is not None
    assert caught.value.origin.file == __file__
    assert f"test_custom.py:{caught.value.origin.line}" in str(caught.value)


@pytest.mark.parametrize(
    ("rule", "error", "words"),
    [
        (lambda p, t: p[0], TraceError, r"must return a pair \(result, tangent\)(.|\n)*f64\[4\]"),
        (lambda p, t: ((p[0],), t[0]), TraceError, "another structure than double"),
        (lambda p, t: (p[0], (t[0],)), TraceError, "a tangent of the result in its own structure"),
        (lambda p, t: (p[0], t[0][:2]), ShapeError, r"f64\[4\] as the tangent of the result"),
        (lambda p, t: (p[0], t[0].astype(np.float32)), DTypeError, r"not f32\[4\]"),
    ],
)
def test_a_jvp_rule_that_returns_the_wrong_thing(rule: Any, error: Any, words: str) -> None:
    @custom_jvp
    def double(x: Any) -> Any:
        return x * 2

    double.defjvp(rule)
    with pytest.raises(error, match=words) as caught:
        grad(lambda x: np.sum(double(x)))(X)
    assert caught.value.origin.file == __file__


def test_other_mistakes() -> None:
    @custom_vjp
    def bare(x: Any) -> Any:
        return x

    with pytest.raises(TraceError, match=r"bare has no derivative rule yet(.|\n)*bare.defvjp"):
        grad(bare)(1.0)
    with pytest.raises(TraceError, match="a function is needed, not int"):
        custom_jvp(3)  # type: ignore[arg-type]
    with pytest.raises(TraceError, match="nondiff_argnums=4 is no parameter of plain"):
        custom_vjp(plain, nondiff_argnums=4)

    @custom_vjp
    def keyed(x: Any, *, y: Any) -> Any:
        return x * y

    keyed.defvjp(lambda x: (x, None), lambda _, ct: (ct,))
    with pytest.raises(TraceError, match="takes arguments by position"):
        grad(lambda x: keyed(x, y=x))(1.0)
