"""What a graph cannot hold raises a GraphJITError that says what is wrong and the way out."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import special

from graphjit.errors import (
    DTypeError,
    GraphJITError,
    IndexRangeError,
    MissingRule,
    ShapeError,
    TraceError,
)
from graphjit.special import log_softmax, logsumexp, softmax
from samples import run, trace

X, V, S = np.arange(12.0).reshape(3, 4), np.arange(4.0), np.asarray(2.0)
N, M = np.arange(4), np.arange(4) > 1
OBJECTS = np.array([None, 1, "a", 2.0], dtype=object)
DATES = np.array(["2026-01-01"] * 4, dtype="datetime64[D]")


def assign(target: Any, value: Any) -> None:
    target[0] = value


def add_in_place(target: Any, value: Any) -> Any:
    target += value
    return target


NAMES = {
    "np": np, "math": math, "special": special, "assign": assign, "add_in_place": add_in_place,
    "M": M, "OBJECTS": OBJECTS, "DATES": DATES,
}  # fmt: skip
CASES: list[tuple[str, type[GraphJITError], str, str]] = [
    # shapes
    ("x + x.T", ShapeError, "broadcast together", "reshape or x[:, None]"),
    ("x @ x", ShapeError, "np.matmul: the axes to sum", "Transpose or reshape"),
    ("x @ 2.0", ShapeError, "np.matmul takes operands of", "Use * to scale"),
    ("np.dot(x, v[:3])", ShapeError, "np.dot: the axes to sum", "Transpose"),
    ("np.ones((2, 3, 4)) @ (np.ones((3, 4, 2)) * s)", ShapeError, "batch axes (2,) and (3,)", ""),
    ('np.einsum("ij,jk", x, x)', ShapeError, "axes named j", "Transpose or reshape"),
    ('np.einsum("ij,jk", x)', ShapeError, "names 2 operands, not 1", ""),
    ('np.einsum("ijk", x)', ShapeError, "does not name the axes", "one letter an axis"),
    ('np.einsum("ij->iz", x)', ShapeError, "must name letters of the operands", ""),
    ("x.reshape(5, -1)", ShapeError, "cannot reshape", "12, must stay"),
    ("np.concatenate([x, v])", ShapeError, "cannot be joined along axis 0", "must be equal"),
    ("np.stack([x, v])", ShapeError, "same shape", ""),
    ("np.split(x, 2)", ShapeError, "does not divide into 2", "indices to split at"),
    ("np.sum(x, axis=2)", ShapeError, "no axis 2", ""),
    ("np.sum(x, axis=(0, 0))", ShapeError, "names an axis twice", ""),
    ("np.squeeze(x, 0)", ShapeError, "cannot squeeze", ""),
    ("np.broadcast_to(x, (2, 4))", ShapeError, "cannot broadcast to (2, 4)", ""),
    ("np.max(x[:0])", ShapeError, "np.max of nothing", "Pass initial="),
    ("np.argmin(v[:0])", ShapeError, "np.argmin of nothing", ""),
    ("np.pad(v, (1, 2, 3))", ShapeError, "np.pad: (1, 2, 3)", "((before, after), ...)"),
    # Python wants a value
    ("v if s else x", TraceError, "needs the truth", "np.where"),
    ("max(s, 1.0)", TraceError, "needs the truth", "np.maximum for max()"),
    ("s in [1.0, 2.0]", TraceError, "needs the truth", "np.where"),
    ("float(s)", TraceError, "Python float", "np.sin for math.sin"),
    ("int(s)", TraceError, "Python int", "Use NumPy's own function"),
    ("complex(s)", TraceError, "Python complex", ""),
    ("math.sin(s)", TraceError, "Python float", "np.sin for math.sin"),
    ("range(n[0])", GraphJITError, "a size or a range", "Python ints"),
    ("np.zeros(n[0])", GraphJITError, "a size or a range", "Python ints"),
    ("[1, 2][n[0]]", GraphJITError, "Python index", ""),
    ("x.reshape(n[0], -1)", GraphJITError, "a size or a range", "Python ints"),
    ("s.item()", TraceError, "Python number", ""),
    ("v.tolist()", TraceError, "Python list", ""),
    ("len(s)", TraceError, "no len()", ""),
    ('f"{s:.3f}"', TraceError, "no digits to format", ""),
    # NumPy wants an array
    ("np.array([s, s])", TraceError, "stored in a NumPy array", "np.stack"),
    ("np.array([v, v])", TraceError, "stored in a NumPy array", "np.stack"),
    ("np.array([s, s], dtype=object)", TraceError, "NumPy array", "np.stack"),
    ("np.asarray(x)", TraceError, "NumPy array", "drop a np.asarray"),
    ("np.sum([x, x])", TraceError, "NumPy array", "np.stack"),
    ("np.arange(9)[n]", TraceError, "NumPy array", "pass an array that a traced value indexes"),
    ("np.zeros(4).__setitem__(slice(None), v)", TraceError, "NumPy array", ""),
    ("np.r_[v, v]", TraceError, "NumPy array", "np.concatenate"),
    ("special.logsumexp(x)", TraceError, "scipy.special.logsumexp", "from graphjit.special"),
    ("special.softmax(x, axis=0)", TraceError, "softmax takes no traced", "graphjit.special"),
    ("special.log_softmax(x)", TraceError, "scipy.special.log_softmax", "graphjit.special"),
    # assignment
    ("assign(v, 1.0)", TraceError, "cannot be assigned to", "np.where"),
    ("add_in_place(np.zeros(4), v)", TraceError, "np.add was to write", "x = x + t"),
    ("np.add(v, v, out=np.zeros(4))", TraceError, "np.add was to write", "Use the result"),
    ("np.add(np.ones(4), 1, out=v)", TraceError, "np.add was to write", "Use the result"),
    ("np.sum(x, axis=0, out=np.zeros(4))", MissingRule, "with out=", "Use the result"),
    ("add_in_place(v, 1)", TraceError, "an argument, a view", "x = x + t"),
    ("add_in_place((2 * v)[1:], 1)", TraceError, "an argument, a view", "x = x + t"),
    ("add_in_place(2 * v, x)", ShapeError, "does not fit into f64[4]", "x = x + t"),
    ("add_in_place(2 * n, v)", TraceError, "float64 result was to be stored in a int64", ""),
    # functions and options without a primitive
    ("np.nextafter(x, 1)", MissingRule, "np.nextafter has no primitive", "nearest"),
    ("np.nancumsum(x)", MissingRule, "np.nancumsum has no primitive", "np.cumsum"),
    ("np.linalg.svd(x)", MissingRule, "np.linalg.svd has no primitive", ""),
    ("np.fft.fft(v)", MissingRule, "np.fft.fft has no primitive", ""),
    ("special.gamma(v)", MissingRule, "scipy.special.gamma has no primitive", ""),
    ("v.sort()", MissingRule, "ndarray.sort has no primitive", "Methods that work"),
    ("np.hypot.reduce(v)", MissingRule, "np.hypot.reduce has no primitive", ""),
    ("np.sum(x, where=x > 1)", MissingRule, "np.sum is not supported with where=", "np.where"),
    ("np.add(v, v, where=M)", MissingRule, "np.add is not supported with where=", "np.where"),
    ("np.add(v, 1, dtype=int)", DTypeError, "np.add with dtype=int64 takes no float64", ""),
    ("np.less(v, 1, dtype=float)", MissingRule, "np.less is not supported with dtype=", ""),
    ("np.logical_and(m, m, where=M)", MissingRule, "np.logical_and is not", "np.where"),
    ('np.pad(v, 1, mode="linear_ramp")', MissingRule, "mode='linear_ramp'", ""),
    ("np.linalg.norm(x, 2)", MissingRule, "np.linalg.norm is not supported with ord=", ""),
    # dtypes
    ("v + OBJECTS", DTypeError, "dtype object", "float32 or float64"),
    ("OBJECTS + v", DTypeError, "object", ""),
    ('v * np.array(["a"] * 4)', DTypeError, "dtype <U1", "float32"),
    ("v + DATES", DTypeError, "datetime64", ""),
    ("v * (1 + 2j)", TraceError, "(1+2j) is no operand", "real numbers"),
    ("v * np.ones(4, complex)", DTypeError, "complex128", "float64"),
    ("v.astype(complex)", DTypeError, "complex128", "float64"),
    ("v.astype(np.float16)", DTypeError, "float16", "float32"),
    ("np.exp(m)", DTypeError, "float16", ".astype(np.float32)"),
    ("v * np.ones(4, np.float16)", DTypeError, "float16", "float32"),
    ('np.where(m, v, "a")', DTypeError, "", ""),
    ("np.where(m, v, None)", DTypeError, "object", ""),
    ('v + "a"', TraceError, "'a' is no operand of np.add", "real numbers"),
    ('"a" * s', TraceError, "'a' is no operand of np.multiply", ""),
    ("v + None", TraceError, "None is no operand", ""),
    ("v + [[1, 2], [3]]", DTypeError, "rows differ in length", ""),
    ("n + 10**30", DTypeError, "does not fit into int64", "as a float"),
    ("n.astype(np.int8) + 300", DTypeError, "300 does not fit into int8", ""),
    ("v & 1", DTypeError, "np.bitwise_and has no meaning", ""),
    ("-m", DTypeError, "np.negative has no meaning", ""),
    ("v * np.ma.array([1, 2, 3, 4], mask=M)", DTypeError, "MaskedArray", "filled"),
    ("v * np.ones((1, 4)).view(np.matrix)", DTypeError, "matrix cannot be used", "np.asarray"),
    # indices
    ("x[3]", IndexRangeError, "index 3 is out of bounds for axis 0 of size 3", ""),
    ("x[0, -5]", IndexRangeError, "index -5 is out of bounds for axis 1 of size 4", ""),
    ("x[[0, 5]]", IndexRangeError, "index 5 is out of bounds for an axis of size 3", ""),
    ("v[n + 3]", IndexRangeError, "index 4 is out of bounds for an axis of size 4", ""),
    ("x[0, 0, 0]", IndexRangeError, "too many indices: 3 for 2 axes", ""),
    ("x[..., ...]", IndexRangeError, "only one ...", ""),
    ("x[1.0]", IndexRangeError, "1.0 is no index", "integers, slices"),
    ('x["a"]', IndexRangeError, "'a' is no index", ""),
    ("v[v]", IndexRangeError, "float64 is no index", ""),
    ("v[m]", TraceError, "traced mask", "np.where(mask, x, 0)"),
    ("v[v > 1]", TraceError, "traced mask", "np.where(mask, x, 0)"),
    ("np.where(v > 1)", TraceError, "a condition alone", "both choices"),
    ("x[M[:2]]", IndexRangeError, "a mask of shape (2,) does not fit", ""),
    ("x[True]", TraceError, "True is no index", "x[None]"),
    ("x[n[0] : 2]", GraphJITError, "Python index", ""),
    ("x[[0, 1], [0, 1, 2]]", ShapeError, "broadcast together", ""),
]  # fmt: skip


@pytest.mark.parametrize(("expression", "kind", "fact", "hint"), CASES)
def test_the_error_says_what_is_wrong_and_the_way_out(
    expression: str, kind: type[GraphJITError], fact: str, hint: str
) -> None:
    function = eval(f"lambda x, v, s, n, m: {expression}", dict(NAMES))
    with pytest.raises(kind) as caught:
        run(function, X, V, S, N, M)
    assert fact in caught.value.fact
    assert hint in caught.value.hint


def test_an_element_of_an_array_set_to_a_traced_value_carries_the_error_as_its_cause() -> None:
    with pytest.raises(ValueError, match="setting an array element") as caught:
        run(lambda s: assign(np.zeros(3), s), S)
    assert isinstance(caught.value.__cause__, TraceError)
    assert "Python float" in str(caught.value.__cause__)


def test_a_symbol_outlives_no_trace() -> None:
    kept: list[Any] = []
    trace(lambda v: kept.__iadd__([2 * v]), V)
    for use in (lambda t: t + 1, np.sin, np.sum, lambda t: t[0], float, lambda t: t @ t):
        with pytest.raises(TraceError, match="after its trace had ended"):
            use(kept[0])


def test_hasattr_says_no_for_what_has_no_primitive() -> None:
    answers: list[bool] = []
    names = ("sort", "toarray", "sum")
    trace(lambda v: [v, answers.__iadd__(hasattr(v, name) for name in names)][0], V)
    assert answers == [False, False, True]


def test_a_comparison_with_none_or_text_is_python_s() -> None:
    answers: list[Any] = []
    trace(lambda v: [v, answers.__iadd__([v == None, v != None, v == "a"])][0], V)  # noqa: E711 - the test
    assert answers == [False, True, False]


def chained(v: Any) -> Any:
    """In-place operators on values of the function's own."""
    h = v * 2
    other = h
    h += 1
    h *= v
    copy = v.copy()
    copy -= h
    total = 0.0
    for element in h:
        kept, total = total, total + element
        total += kept
    return other + h, copy, total, h.astype(np.float32)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_an_in_place_operator_changes_the_array_under_all_its_names(dtype: Any) -> None:
    v = np.arange(4, dtype=dtype)
    for result, expected in zip(run(chained, v), chained(v), strict=True):
        assert result.dtype == expected.dtype
        np.testing.assert_allclose(result, expected)


def test_a_view_taken_before_an_in_place_operator_is_not_lost() -> None:
    def function(v: Any) -> Any:
        h = v * 2
        view = h[1:]
        h += 1
        return view

    with pytest.raises(TraceError, match="has a view"):
        run(function, V)


SPECIAL = [
    (logsumexp, special.logsumexp, {}),
    (logsumexp, special.logsumexp, {"axis": 0}),
    (logsumexp, special.logsumexp, {"axis": (0, 1), "keepdims": True}),
    (logsumexp, special.logsumexp, {"axis": -1, "b": np.array([1.0, 0.0, 2.0, 0.5])}),
    (softmax, special.softmax, {}),
    (softmax, special.softmax, {"axis": 1}),
    (log_softmax, special.log_softmax, {"axis": (0, 1)}),
    (log_softmax, special.log_softmax, {"axis": 0}),
]
ROWS = [
    X,
    X.astype(np.float32),
    X.astype(int),
    1e4 * X,
    -1e4 * X,
    np.where(X == 1, -np.inf, X),
    np.full((3, 4), -np.inf),
    np.where(X == 1, np.inf, X),
]


@pytest.mark.parametrize(("ours", "scipys", "options"), SPECIAL)
@pytest.mark.parametrize("x", ROWS, ids=range(len(ROWS)))
def test_the_special_functions_agree_with_scipys(
    ours: Any, scipys: Any, options: dict[str, Any], x: Any
) -> None:
    with np.errstate(all="ignore"):
        expected = np.asarray(scipys(x, **options))
        np.testing.assert_array_equal(ours(x, **options), expected)
    (result,) = run(lambda t: ours(t, **options), x)
    assert (result.shape, result.dtype) == (expected.shape, expected.dtype)
    np.testing.assert_allclose(result, expected, rtol=1e-5 if x.dtype == np.float32 else 1e-12)
