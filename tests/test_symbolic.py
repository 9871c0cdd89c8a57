"""Formulas: what is printed reads like a textbook, and is true."""

import io
import math
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import sympy
from matplotlib.mathtext import MathTextParser, math_to_image

import graphjit
from graphjit.errors import DTypeError, GraphJITError, MissingRule, ShapeError, TraceError
from graphjit.ir import TABLE, Builder, Graph, aval_of, evaluate
from graphjit.passes.adjoint import adjoint
from graphjit.passes.pipeline import PRIMAL, run
from graphjit.symbolic.formula import Label, Sheet
from graphjit.symbolic.names import FUNCTIONS
from graphjit.symbolic.translate import Translation
from samples import SAMPLES, Sample
from zoo import ZOO, Animal

symbolic = graphjit.symbolic
Function = Callable[..., Any]


def quiz(x: Any, z: Any) -> Any:
    return np.exp(x * z) + x * z / np.log(x) + np.sin(np.log(x)) / (x * z)


QUIZ = r"""
\begin{aligned}
y &= e^{x z} + \frac{x z}{\log x} + \frac{\sin \left(\log x\right)}{x z} \\
\frac{\partial y}{\partial x} &= z e^{x z} + \frac{z}{\log x} - \frac{z}{\left(\log x\right)^{2}}
 + \frac{\cos \left(\log x\right)}{x^{2} z} - \frac{\sin \left(\log x\right)}{x^{2} z} \\
\frac{\partial y}{\partial z} &= x e^{x z} + \frac{x}{\log x}
 - \frac{\sin \left(\log x\right)}{x z^{2}}
\end{aligned}
"""


def test_the_quiz_reads_like_the_textbook() -> None:
    s = symbolic(quiz)(2.0, 3.0)
    assert str(s).splitlines() == [
        "y = exp(x*z) + x*z/log(x) + sin(log(x))/(x*z)",
        "dy/dx = z*exp(x*z) + z/log(x) - z/log(x)**2 + cos(log(x))/(x**2*z) - sin(log(x))/(x**2*z)",
        "dy/dz = x*exp(x*z) + x/log(x) - sin(log(x))/(x*z**2)",
    ]
    assert s.latex() == QUIZ.strip().replace("\n ", " ")
    assert s._repr_latex_() == f"$${s.latex()}$$"


def of(f: Function, *args: Any) -> list[str]:
    """All formulas as Python, by default at arguments of 1."""
    return str(symbolic(f)(*(args or (1.0,)))).splitlines()


GOLDEN: list[tuple[Function, str]] = [
    (lambda x: x, "1"),
    (lambda x: 3.0, "0"),
    (lambda x: x**3 - 2 * x + 1, "3*x**2 - 2"),
    (lambda x: ((3 * x - 2) * x + 0) * x**2 + x, "12*x**3 - 6*x**2 + 1"),
    (lambda x: np.sqrt(x) + 1, "1/(2*sqrt(x))"),
    (lambda x: 1 / x, "-1/x**2"),
    (lambda x: 1 / (1 - x), "1/(1 - x)**2"),
    (lambda x: np.exp(-x) / np.exp(3 * x), "-4*exp(-4*x)"),
    (lambda x: x**x, "x**x + x**x*log(x)"),
    (lambda x: 2**x, "2**x*log(2)"),
    (lambda x: x**2.7, "2.7*x**1.7"),
    (lambda x: np.log10(x) + 1, "1/(x*log(10))"),
    (lambda x: np.tanh(x) + 1, "1 - tanh(x)**2"),
    (lambda x: 1 / (1 + np.exp(-x)), "(1 - expit(x))*expit(x)"),
    (lambda x: np.log(1 + np.exp(x)), "expit(x)"),
    (lambda x: np.arcsin(x) + 1, "1/sqrt(1 - x**2)"),
    (lambda x: np.arctan2(x, 2.0), "2/(x**2 + 4)"),
    (lambda x: np.hypot(x, 1.0), "x/sqrt(x**2 + 1)"),
    (lambda x: np.cbrt(x) + 1, "1/(3*cbrt(x)**2)"),
    (lambda x: np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi), "-x*exp(-x**2/2)/sqrt(2*pi)"),
    (lambda x: np.abs(x) + 1, "sign(x)"),
    (lambda x: np.maximum(x, 0), "heaviside(x, 1/2)"),
    (lambda x: np.minimum(3.0, x), "heaviside(3 - x, 1/2)"),
    (lambda x: (x > 2) * x, "where(x > 2, 1, 0)"),
    (lambda x: np.where(x > 0, np.sqrt(x), x * np.sin(x)),
     "where(x > 0, 1/(2*sqrt(x)), x*cos(x) + sin(x))"),
    (lambda x: np.where(x == 0, 1.0, np.sin(x) / np.where(x == 0, 1, x)),
     "where(x == 0, 0, cos(x)/where(x == 0, 1, x) - sin(x)/where(x == 0, 1, x)**2)"),
]  # fmt: skip


@pytest.mark.parametrize(("f", "derivative"), GOLDEN, ids=[text for _, text in GOLDEN])
def test_a_derivative_is_simplified_as_a_person_would(f: Function, derivative: str) -> None:
    assert symbolic(f)(1.0).derivative().text == derivative


def test_arrays_are_written_as_in_matrix_calculus() -> None:
    x, w, y = np.ones((5, 3)), np.ones(3), np.ones(5)

    def loss(x: Any, w: Any, y: Any) -> Any:
        return np.mean((x @ w - y) ** 2) + 0.1 * np.sum(w**2)

    s = symbolic(loss, argnums=1)(x, w, y)
    assert str(s).splitlines() == [
        "f = sum((x @ w - y)**2)/5 + 0.1*sum(w**2)",
        "df/dw = w/5 + 2*(x.T @ (x @ w - y))/5",
    ]
    assert s.latex().splitlines()[1:3] == [
        r"f &= \frac{\sum \left(x w - y\right)^{2}}{5} + 0.1 \sum w^{2} \\",
        r"\frac{df}{dw} &= \frac{w}{5} + \frac{2 x^{T} \left(x w - y\right)}{5}",
    ]
    assert str(s.second()) == "d²f/dw² v = v/5 + 2*(x.T @ (x @ v))/5"


def test_captured_arrays_keep_their_names() -> None:
    features = np.ones((4, 2))
    assert of(lambda w: np.sum(features @ w), np.ones(2)) == [
        "y = sum(features @ w)",
        "dy/dw = features.T @ full((4,), 1.0)",
    ]


def test_an_elementwise_function_of_arrays_has_a_formula_of_elements() -> None:
    s = symbolic(lambda x, a: a * np.sin(x))(np.ones(3), np.ones(3))
    assert [formula.text for formula in s.gradient] == ["a*cos(x)", "sin(x)"]
    assert s.derivative("a").latex() == r"\frac{\partial y}{\partial a} = \sin x"


def test_second_derivatives() -> None:
    s = symbolic(quiz)(2.0, 3.0)
    assert s.second("z").text == "x**2*exp(x*z) + 2*sin(log(x))/(x*z**3)"
    assert str(s.second("x", "z")).startswith("d²y/dx dz = exp(x*z) + x*z*exp(x*z) + 1/log(x)")
    assert s.second(0, 1).text == s.second("x", "z").text
    assert symbolic(lambda x: x**5)(1.0).second().latex() == r"\frac{d^{2} y}{dx^{2}} = 20 x^{3}"


# -- what is printed is true ----------------------------------------------------------------------


def values(text: str, namespace: dict[str, Any]) -> dict[str, Any]:
    """What each line of a text says, evaluated as Python."""
    found = {}
    for line in text.splitlines():
        left, _, right = line.partition(" = ")
        found[left] = namespace[left] = eval(right, namespace)
    return found


@pytest.mark.parametrize("animal", ZOO, ids=lambda animal: animal.name)
def test_the_text_of_the_zoo_is_its_value_and_gradient(animal: Animal) -> None:
    graph, inputs = animal.trace()
    graph = run(graph, PRIMAL)
    s = symbolic(animal.function)(*animal.args())
    floats = [i for i, v in enumerate(inputs) if np.asarray(v).dtype.kind == "f"]
    expected = evaluate(adjoint(graph, floats[: len(s.names)]), *inputs)
    with np.errstate(all="ignore"):
        found = values(str(s), dict(s.namespace))
    single = any(np.asarray(v).dtype == np.float32 for v in (*inputs, *expected))
    tolerance = 1e-4 if single else 1e-9
    labels = [s.letter, *(f"d{s.letter}/d{name}" for name in s.names)]
    for label, value in zip(labels, expected, strict=True):
        shown = np.broadcast_to(found[label], np.shape(value))
        np.testing.assert_allclose(shown, value, rtol=tolerance, atol=tolerance, err_msg=label)


UNARY = (np.sin, np.cos, np.exp, np.tanh, np.log, np.sqrt, np.abs, np.square, np.arctan, np.log1p,
         np.cbrt, np.negative, np.reciprocal, np.sinh, np.arcsinh, np.expm1)  # fmt: skip
BINARY = (np.add, np.subtract, np.multiply, np.divide, np.maximum, np.minimum, np.hypot,
          np.arctan2, np.power, np.logaddexp)  # fmt: skip


def random_formula(seed: int) -> Function:
    """A formula of two to twelve steps, each on one of the last few values."""
    random = np.random.default_rng(seed)
    steps = random.integers(0, 100, size=(int(random.integers(2, 13)), 4)).tolist()

    def formula(x: Any, y: Any, z: Any) -> Any:
        known = [x, y, z]
        for kind, which, a, b in steps:
            first, second = known[-1 - a % 4 % len(known)], known[-1 - b % 5 % len(known)]
            if kind < 45:
                known.append(UNARY[which % len(UNARY)](first))
            elif kind < 85:
                known.append(BINARY[which % len(BINARY)](first, second))
            else:
                known.append(first ** (2, 3, -1, 0.5, 1.5, 2.7)[which % 6] * (0.1, 3, -2.5)[b % 3])
        return known[-1] + known[-2] * known[-3]

    return formula


def formulas(count: int) -> Iterator[tuple[int, Any, tuple[Any, ...]]]:
    """Random formulas that are finite where they are printed, with their true values."""
    for seed in range(count):
        f, args = random_formula(seed), np.random.default_rng(seed).uniform(0.3, 2, 3).tolist()
        with np.errstate(all="ignore"):
            s = symbolic(f)(*args)
            graph = run(s.traced.graph, PRIMAL)
            expected = evaluate(adjoint(graph, [0, 1, 2]), *args)
        if np.all(np.isfinite(expected)) and np.max(np.abs(expected)) < 1e8:
            yield seed, s, expected


def test_the_text_of_random_formulas_is_their_value_and_gradient() -> None:
    checked = 0
    for seed, s, expected in formulas(150):
        with np.errstate(all="ignore"):
            found = values(str(s), dict(s.namespace))
        labels = [s.letter, *(f"d{s.letter}/d{name}" for name in s.names)]
        shown = [found[label] for label in labels]
        np.testing.assert_allclose(shown, expected, rtol=1e-7, atol=1e-7, err_msg=str(seed))
        checked += 1
    assert checked > 100


def graph_of(sample: Sample, operands: tuple[Any, ...]) -> Graph:
    """The row as a graph of one node."""
    builder = Builder()
    inputs = [builder.input(aval_of(x)) for x in operands]
    return builder.graph([builder.emit(sample.op, *inputs, **sample.params)])


@pytest.mark.parametrize("sample", SAMPLES, ids=str)
def test_every_row_is_written_truly(sample: Sample) -> None:
    operands = sample.operands(np.dtype(np.float64))
    graph = graph_of(sample, operands)
    names = [f"x{i}" for i in range(len(operands))]
    translation = Translation(graph, names, set())
    root = (Label("y", "y"), translation.place[graph.outputs[0]])
    sheet = Sheet(translation.pool, (root,), frozenset(names), root)
    (line,) = sheet.text
    namespace = {**FUNCTIONS, **translation.constants, **dict(zip(names, operands, strict=True))}
    with np.errstate(all="ignore"):
        (expected,) = evaluate(graph, *operands)
        found = np.broadcast_to(eval(line.right, namespace), expected.shape)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12, equal_nan=True)
    (shown,) = sheet.latex
    if "cases" not in shown.right:
        MathTextParser("path").parse(f"${shown.right}$")


def test_every_elementwise_row_has_a_latex_or_a_name() -> None:
    unusual = {name for name, row in TABLE.items() if row.kind == "map" and not row.latex}
    assert unusual <= {
        "trunc", "rint", "copysign", "heaviside", "fmax", "fmin", "logaddexp2", "isnan", "isinf",
        "isfinite", "signbit", "fmod", "wrap_index", "invert", "left_shift", "right_shift",
        "bitwise_and", "bitwise_or", "bitwise_xor", "polygamma",
    }  # fmt: skip


# -- size -----------------------------------------------------------------------------------------


def squared(times: int) -> Function:
    def f(x: Any) -> Any:
        for _ in range(times):
            x = x * x
        return x

    return f


def with_sine(times: int) -> Function:
    def f(x: Any) -> Any:
        for _ in range(times):
            x = x * np.sin(x)
        return x

    return f


def sigmoids(layers: int) -> Function:
    def f(x: Any) -> Any:
        for weight in range(1, layers + 1):
            x = 1 / (1 + np.exp(-weight * x))
        return x

    return f


def test_fifty_squarings_are_one_power() -> None:
    assert of(squared(50)) == [
        f"y = x**{2**50}",
        f"dy/dx = {2**50}*x**{2**50 - 1}",
    ]


def test_shared_parts_have_names() -> None:
    lines = of(with_sine(4))
    assert lines[:2] == ["u = x*sin(x)*sin(x*sin(x))", "y = u*sin(u)*sin(u*sin(u))"]
    assert lines[2] == (
        "v = u*(u*sin(u)*cos(u*sin(u)) + sin(u*sin(u)))*cos(u)"
        " + (u*sin(u)*cos(u*sin(u)) + sin(u*sin(u)))*sin(u)"
    )
    assert lines[3] == (
        "dy/dx = (x*v*sin(x)*cos(x*sin(x)) + v*sin(x*sin(x)))*sin(x)"
        " + (x**2*v*sin(x)*cos(x*sin(x)) + x*v*sin(x*sin(x)))*cos(x)"
    )


def test_names_of_parts_are_none_of_the_arguments() -> None:
    def f(u: Any, y: Any) -> Any:
        part = np.sin(u) * np.sin(y) * np.sin(u * y) * np.cos(u / y)
        return part * np.sin(part) * np.sin(part**2)

    s = symbolic(f)(1.0, 2.0)
    names = [line.partition(" = ")[0] for line in str(s).splitlines()]
    assert len(set(names)) == len(names)
    assert not {"u", "y"} & set(names)
    assert s.letter == "f"


@pytest.mark.parametrize("family", [squared, with_sine, sigmoids])
@pytest.mark.parametrize("written", [str, lambda s: s.latex()], ids=["text", "latex"])
def test_the_length_grows_with_the_number_of_operations(family: Any, written: Function) -> None:
    lengths = [len(written(symbolic(family(n))(0.5))) for n in (25, 50, 100, 200)]
    first, second, third = np.diff(lengths)
    assert second < 2.4 * first
    assert third < 2.4 * second


def test_depth_is_no_recursion() -> None:
    def chain(x: Any) -> Any:
        for _ in range(1500):
            x = np.sin(x)
        return x

    s = symbolic(chain)(1.0)
    assert sys.getrecursionlimit() <= 1500
    assert len(str(s)) < 200_000
    assert max(map(len, str(s.value).splitlines())) < 400


# -- SymPy ----------------------------------------------------------------------------------------


def test_sympy_finds_the_same_derivatives() -> None:
    s = symbolic(quiz)(2.0, 3.0)
    x, z = sympy.symbols("x z", real=True)
    value = sympy.exp(x * z) + x * z / sympy.log(x) + sympy.sin(sympy.log(x)) / (x * z)
    found = s.sympy()
    assert list(found) == ["y", "dy/dx", "dy/dz"]
    assert sympy.simplify(found["y"] - value) == 0
    assert sympy.simplify(found["dy/dx"] - sympy.diff(value, x)) == 0
    assert sympy.simplify(s.derivative("z").sympy() - sympy.diff(value, z)) == 0
    assert sympy.simplify(s.second(0, 1).sympy() - sympy.diff(value, x, z)) == 0


def test_sympy_agrees_with_random_formulas_to_thirty_digits() -> None:
    checked = 0
    for seed, s, expected in formulas(60):
        try:
            converted = s.sympy()
        except MissingRule:
            continue
        arguments = s.traced.arguments.leaves
        symbols = {sympy.Symbol(n, real=True): sympy.Float(v, 40)
                   for n, v in zip("xyz", arguments, strict=True)}  # fmt: skip
        for formula, value in zip(converted.values(), expected, strict=True):
            digits = complex(sympy.N(formula.subs(symbols), 30))
            assert digits.imag == 0
            assert math.isclose(digits.real, value, rel_tol=1e-7, abs_tol=1e-7), seed
            checked += 1
    assert checked > 100


def test_a_sympy_expression_becomes_a_function_that_can_be_differentiated() -> None:
    x, z = sympy.symbols("x z")
    value = sympy.exp(x * z) + x * z / sympy.log(x) + sympy.sin(sympy.log(x)) / (x * z)
    f = symbolic.from_sympy(value, (x, z))
    assert f(2.0, 3.0) == pytest.approx(quiz(2.0, 3.0), rel=1e-15)
    assert symbolic(f)(2.0, 3.0).derivative("z").text == (
        "x*(exp(x*z) + 1/log(x)) - sin(log(x))/(x*z**2)"
    )
    slope = graphjit.grad(f)(2.0, 3.0)
    assert slope == pytest.approx(float(sympy.diff(value, x).subs({x: 2, z: 3})), rel=1e-13)


X = sympy.Symbol("x", real=True)


@pytest.mark.parametrize(
    "expr",
    [
        sympy.Piecewise((sympy.sqrt(X), X > 1), (X**2, X > 0), (-X, True)),
        sympy.Max(X, 1, X**2) - sympy.Min(X, 3),
        sympy.Heaviside(X - 1) + sympy.sign(X) * sympy.Abs(X - 2),
        sympy.erf(X) + sympy.atan2(X, 2) + sympy.pi**X + sympy.Rational(1, 3),
        sympy.tan(X) + sympy.asin(X / 9) + sympy.cosh(X) + sympy.floor(X) + sympy.Mod(X, 2),
    ],
    ids=str,
)
@pytest.mark.parametrize("at", [-0.7, 0.4, 1.3, 2.5])
def test_sympys_own_functions_mean_the_same_in_numpy(expr: Any, at: float) -> None:
    with np.errstate(all="ignore"):
        found = symbolic.from_sympy(expr, X)(at)
        arrays = symbolic.from_sympy(expr, [X])(np.array([at, at]))
    assert found == pytest.approx(float(expr.subs(X, at)), rel=1e-13)
    np.testing.assert_array_equal(arrays, [found, found])


# -- pictures and refusals ------------------------------------------------------------------------


def test_a_formula_can_be_drawn() -> None:
    latex = symbolic(quiz)(2.0, 3.0).derivative("x").latex()
    picture = io.BytesIO()
    math_to_image(f"${latex}$", picture, format="png")
    assert picture.getvalue().startswith(b"\x89PNG")


def message(error: pytest.ExceptionInfo[GraphJITError]) -> str:
    assert f"{__file__}:" in str(error.value)
    return str(error.value)


def test_an_integer_is_refused_with_its_line() -> None:
    with pytest.raises(DTypeError) as error:
        symbolic(lambda n, x: n * x, argnums=0)(2, 1.0)
    assert "integer argument n cannot be differentiated" in message(error)
    with pytest.raises(DTypeError, match="no float argument to differentiate"):
        symbolic(lambda n: n * 2.0)(3)


def test_an_array_that_is_no_elementwise_function_is_refused_with_its_line() -> None:
    with pytest.raises(ShapeError) as error:
        symbolic(lambda x: np.cumsum(x) + 1)(np.ones(3))
    assert "of shape (3,) is no formula of one element" in message(error)
    assert "np.sum" in message(error)


def test_several_results_are_refused() -> None:
    with pytest.raises(TraceError, match="one number or array") as error:
        symbolic(lambda x: (x, x))(1.0)
    assert "result[0], result[1]" in message(error)


def test_an_unknown_argument_is_refused() -> None:
    with pytest.raises(TraceError, match="Differentiated are: x, z") as error:
        symbolic(quiz)(2.0, 3.0).derivative("y")
    assert "'y'" in message(error)


def test_what_sympy_does_not_have_is_refused() -> None:
    with pytest.raises(MissingRule, match="sum has no counterpart in SymPy"):
        symbolic(lambda x: np.sum(x) + 1)(np.ones(3)).sympy()
    with pytest.raises(MissingRule, match="zeta has no counterpart"):
        symbolic.from_sympy(sympy.zeta(X), X)
    with pytest.raises(GraphJITError, match="holds z, which is no parameter"):
        symbolic.from_sympy(X + sympy.Symbol("z"), X)
