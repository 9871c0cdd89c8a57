"""Convolution and pooling: values by plain loops and by SciPy, derivatives, renderers, errors."""

import itertools
import re
from functools import partial
from typing import Any

import numpy as np
import pytest
from scipy.signal import correlate2d

import graphjit
from graphjit import check_grads, nn
from graphjit.codegen.native import host, made_for
from graphjit.errors import DTypeError, ShapeError
from graphjit.flags import override

Array = np.ndarray[Any, Any]
RANDOM = np.random.default_rng(5)

# x (N, H, W, C), the kernel's height, width and output channels, then the options of conv2d
CONVOLUTIONS: tuple[tuple[tuple[int, ...], tuple[int, int, int], dict[str, Any]], ...] = (
    ((2, 5, 6, 3), (3, 3, 4), {}),
    ((1, 4, 4, 2), (1, 1, 5), {}),
    ((2, 3, 2, 2), (5, 4, 3), {}),
    ((2, 7, 5, 3), (3, 2, 2), {"padding": "VALID"}),
    ((2, 7, 6, 2), (2, 3, 3), {"stride": 2}),
    ((1, 8, 7, 2), (2, 1, 3), {"stride": (3, 2), "padding": "VALID"}),
    ((2, 6, 7, 2), (3, 2, 3), {"dilation": (2, 3), "padding": 2}),
    ((1, 7, 9, 2), (3, 3, 2), {"stride": 2, "dilation": 2, "padding": "SAME"}),
    ((2, 4, 5, 2), (2, 2, 3), {"padding": ((2, 0), (1, 3)), "stride": (1, 2)}),
    ((2, 5, 4, 4), (3, 3, 6), {"groups": 2}),
    ((2, 4, 5, 3), (3, 2, 3), {"groups": 3, "stride": 2}),
    ((1, 5, 5, 2), (3, 3, 4), {"groups": 2, "dilation": 2, "padding": 1}),
    ((2, 5, 5, 3), (3, 3, 1), {"padding": "VALID"}),
    ((1, 6, 9, 1), (2, 2, 40), {}),
    ((1, 1, 1, 1), (1, 1, 1), {}),
)
POOLS: tuple[tuple[tuple[int, ...], Any, dict[str, Any]], ...] = (
    ((2, 6, 4, 3), 2, {}),
    ((2, 7, 5, 2), (3, 2), {}),
    ((1, 6, 5, 2), 3, {"stride": 1}),
    ((1, 6, 5, 2), 2, {"stride": 3}),
    ((2, 5, 5, 2), 3, {"stride": 2, "padding": "SAME"}),
    ((1, 4, 5, 1), (2, 3), {"padding": ((1, 0), (2, 1)), "stride": (2, 1)}),
    ((1, 3, 3, 2), 1, {}),
)
LAYOUTS = ("NHWC", "NCHW")
case = pytest.mark.parametrize(("shape", "kernel", "options"), CONVOLUTIONS)
pool_case = pytest.mark.parametrize(("shape", "size", "options"), POOLS)
layouts = pytest.mark.parametrize("layout", LAYOUTS)


def operands(
    shape: tuple[int, ...], kernel: tuple[int, int, int], groups: int = 1
) -> tuple[Array, Array]:
    """Images and a kernel, in NHWC and HWIO."""
    sizes = (*kernel[:2], shape[3] // groups, kernel[2])
    return RANDOM.normal(size=shape), RANDOM.normal(size=sizes)


def laid_out(x: Array, w: Array, layout: str) -> tuple[Array, Array]:
    """The same in another layout."""
    if layout == "NHWC":
        return x, w
    return x.transpose(0, 3, 1, 2).copy(), w.transpose(3, 2, 0, 1).copy()


def both(value: Any) -> tuple[int, int]:
    return value if isinstance(value, tuple) else (value, value)


def amounts(x: Array, size: tuple[int, int], options: dict[str, Any], default: str) -> Any:
    """The padding before and after along each axis, by TensorFlow's definition of SAME."""
    padding = options.get("padding", default)
    if padding == "VALID":
        return ((0, 0), (0, 0))
    if isinstance(padding, int):
        return ((padding, padding),) * 2
    if padding != "SAME":
        return padding
    found = []
    strides, dilations = both(options.get("stride", 1)), both(options.get("dilation", 1))
    for n, k, s, d in zip(x.shape[1:3], size, strides, dilations, strict=True):
        short = max(((n + s - 1) // s - 1) * s + (k - 1) * d + 1 - n, 0)
        found.append((short // 2, short - short // 2))
    return tuple(found)


def windows(
    x: Array, size: tuple[int, int], options: dict[str, Any], default: str, fill: float
) -> Any:
    """For each window its row and column, and its elements, of shape (N, KH, KW, C)."""
    sides = amounts(x, size, options, default)
    padded = np.pad(x, ((0, 0), *sides, (0, 0)), constant_values=fill)
    (s, t), (d, e) = both(options.get("stride", 1)), both(options.get("dilation", 1))
    (h, w), (reach, span) = padded.shape[1:3], ((size[0] - 1) * d, (size[1] - 1) * e)
    for i, j in itertools.product(range(0, h - reach, s), range(0, w - span, t)):
        yield (i // s, j // t), padded[:, i : i + reach + 1 : d, j : j + span + 1 : e]


def assembled(parts: dict[tuple[int, int], Array]) -> Array:
    rows, columns = (max(at[axis] for at in parts) + 1 for axis in (0, 1))
    return np.stack(
        [np.stack([parts[i, j] for j in range(columns)], axis=1) for i in range(rows)], axis=1
    )


def by_loops(x: Array, w: Array, options: dict[str, Any]) -> Array:
    """The definition: each window times the kernel of its group."""
    groups = options.get("groups", 1)
    parts = {}
    for at, window in windows(x, w.shape[:2], options, "SAME", 0):
        cut = [np.split(a, groups, axis=3) for a in (window, w)]
        sums = [np.tensordot(a, b, ([1, 2, 3], [0, 1, 2])) for a, b in zip(*cut, strict=True)]
        parts[at] = np.concatenate(sums, axis=1)
    return assembled(parts)


def pooled(x: Array, size: Any, options: dict[str, Any], fold: Any, fill: float) -> Array:
    """The definition: a fold of each window."""
    options = {"stride": size, **options}
    found = windows(x, both(size), options, "VALID", fill)
    return assembled({at: fold(window, axis=(1, 2)) for at, window in found})


def back(y: Array, layout: str) -> Array:
    return y if layout == "NHWC" else y.transpose(0, 2, 3, 1)


@case
@layouts
def test_a_convolution_is_its_definition(
    shape: Any, kernel: Any, options: dict[str, Any], layout: Any
) -> None:
    x, w = operands(shape, kernel, options.get("groups", 1))
    expected = by_loops(x, w, options)
    given = laid_out(x, w, layout)

    def f(x: Any, w: Any) -> Any:
        return nn.conv2d(x, w, **options, layout=layout)

    np.testing.assert_allclose(back(f(*given), layout), expected, rtol=1e-12, atol=1e-12)
    for renderer in ("llvm", "numba"):
        with override(renderer=renderer, jit=renderer == "llvm"):
            found = graphjit.jit(f)(*given)
        np.testing.assert_allclose(back(found, layout), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("padding", "mode"), [("SAME", "same"), ("VALID", "valid"), (2, "full")])
def test_one_channel_is_scipys_correlation(padding: Any, mode: str) -> None:
    image, kernel = RANDOM.normal(size=(7, 6)), RANDOM.normal(size=(3, 3))
    found = nn.conv2d(image[None, :, :, None], kernel[:, :, None, None], padding=padding)
    np.testing.assert_allclose(found[0, :, :, 0], correlate2d(image, kernel, mode), atol=1e-13)


@case
@layouts
def test_derivatives_of_a_convolution_to_second_order(
    shape: Any, kernel: Any, options: dict[str, Any], layout: Any
) -> None:
    x, w = laid_out(*operands(shape, kernel, options.get("groups", 1)), layout)

    def f(x: Any, w: Any) -> Any:
        return np.sin(nn.conv2d(x, w, **options, layout=layout))

    check_grads(f, (x, w), argnums=(0, 1), order=2, directions=1)


@case
def test_gradients_are_alike_in_both_renderers(
    shape: Any, kernel: Any, options: dict[str, Any]
) -> None:
    """The transposes' transposes too: the gradient of a gradient's square."""
    x, w = operands(shape, kernel, options.get("groups", 1))

    def f(x: Any, w: Any) -> Any:
        return np.sum(nn.conv2d(x, w, **options) ** 3)

    def g(x: Any, w: Any) -> Any:
        first, second = graphjit.grad(f, argnums=(0, 1))(x, w)
        return np.sum(first**2) + np.sum(second**2)

    found = graphjit.grad(g, argnums=(0, 1))(x, w)
    with override(renderer="numba", jit=False):
        again = graphjit.grad(g, argnums=(0, 1))(x, w)
    for a, b in zip(found, again, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9 * np.abs(b).max())


@case
def test_forward_and_reverse_mode_agree(shape: Any, kernel: Any, options: dict[str, Any]) -> None:
    x, w = operands(shape, kernel, options.get("groups", 1))

    def f(x: Any, w: Any) -> Any:
        return nn.conv2d(x, w, **options)

    dx, dw = RANDOM.normal(size=x.shape), RANDOM.normal(size=w.shape)
    y, dy = graphjit.jvp(f, (x, w), (dx, dw))
    np.testing.assert_allclose(dy, f(dx, w) + f(x, dw), atol=1e-12)
    ct = RANDOM.normal(size=y.shape)
    _, pull = graphjit.vjp(f, x, w)
    gx, gw = pull(ct)
    np.testing.assert_allclose(np.sum(gx * dx) + np.sum(gw * dw), np.sum(ct * dy), rtol=1e-10)


@pytest.mark.parametrize("in_axes", [(0, None), (None, 0), (0, 0), (1, 0)])
@pytest.mark.parametrize("options", [{}, {"stride": 2, "padding": 1}, {"groups": 2}])
def test_vmap_is_a_loop(in_axes: Any, options: dict[str, Any]) -> None:
    x, w = operands((2, 5, 4, 2), (3, 3, 4), options.get("groups", 1))
    xs, ws = (
        a if axis is None else np.stack([a, 2 * a + 1, a * a], axis=axis)
        for a, axis in zip((x, w), in_axes, strict=True)
    )

    def f(x: Any, w: Any) -> Any:
        return nn.conv2d(x, w, **options)

    def g(x: Any, w: Any) -> Any:
        return graphjit.grad(lambda w: np.sum(f(x, w) ** 2))(w)

    for function in (f, g):
        found = graphjit.vmap(function, in_axes=in_axes)(xs, ws)
        pairs = [
            [
                a if axis is None else np.take(a, i, axis)
                for a, axis in zip((xs, ws), in_axes, strict=True)
            ]
            for i in range(3)
        ]
        expected = np.stack([function(*pair) for pair in pairs])
        np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("options", [{}, {"stride": 2}, {"groups": 2}, {"padding": "VALID"}])
def test_an_empty_batch_is_empty_and_its_gradient_zero(options: dict[str, Any]) -> None:
    x, w = operands((0, 4, 4, 2), (3, 3, 4), options.get("groups", 1))
    y = graphjit.jit(lambda x, w: nn.conv2d(x, w, **options))(x, w)
    assert y.shape == nn.conv2d(x, w, **options).shape
    assert y.shape[0] == 0
    gx, gw = graphjit.grad(lambda x, w: np.sum(nn.conv2d(x, w, **options)), argnums=(0, 1))(x, w)
    assert gx.shape == x.shape
    np.testing.assert_array_equal(gw, np.zeros(w.shape))
    pools: tuple[Any, ...] = (nn.max_pool2d, nn.avg_pool2d)
    for pool in pools:
        f = partial(pool, size=2)
        assert f(x).shape == graphjit.jit(f)(x).shape == (0, 2, 2, 2)


@pytest.mark.parametrize("channels", [1, 3, 16, 17, 70])
def test_single_precision_in_all_tilings(channels: int) -> None:
    """Part vectors, several vectors, more panels than one; forward and both gradients."""
    x = RANDOM.normal(size=(2, 9, 11, 3)).astype(np.float32)
    w = RANDOM.normal(size=(3, 3, 3, channels)).astype(np.float32)
    ct = RANDOM.normal(size=(2, 9, 11, channels)).astype(np.float32)

    def f(x: Any, w: Any) -> Any:
        return np.sum(nn.conv2d(x, w) * ct)

    value, (gx, gw) = graphjit.value_and_grad(f, argnums=(0, 1))(x, w)
    assert (gx.dtype, gw.dtype) == (np.float32, np.float32)
    wide = [a.astype(np.float64) for a in (x, w)]
    exact = graphjit.value_and_grad(f, argnums=(0, 1))(*wide)
    np.testing.assert_allclose(value, exact[0], rtol=1e-4, atol=1e-3)
    for a, b in zip((gx, gw), exact[1], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("width", [16, 32, 64])
def test_vectors_of_every_width(width: int) -> None:
    x, w = operands((2, 7, 9, 3), (3, 2, 21))

    def f(x: Any, w: Any) -> Any:
        return np.sum(nn.conv2d(x, w) ** 2)

    with made_for(host()._replace(vector_bytes=width)):
        found = graphjit.grad(f, argnums=(0, 1))(x, w)
    with override(renderer="numba", jit=False):
        expected = graphjit.grad(f, argnums=(0, 1))(x, w)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_kernels_that_are_read_by_panels(layout: Any) -> None:
    shape, kernel = (1, 3, 4, 128), (3, 2, 192)
    x, w = laid_out(*operands(shape, kernel), layout)

    def f(x: Any, w: Any) -> Any:
        return nn.conv2d(x, w, layout=layout)

    y, pull = graphjit.vjp(f, x, w)
    np.testing.assert_allclose(y, f(x, w), rtol=1e-10, atol=1e-10)
    ct, dx, dw = (RANDOM.normal(size=a.shape) for a in (y, x, w))
    for found, moved, change in zip(pull(ct), (dx, dw), (f(dx, w), f(x, dw)), strict=True):
        np.testing.assert_allclose(np.sum(found * moved), np.sum(ct * change), rtol=1e-9)


def test_dtypes_are_numpys() -> None:
    x, w = operands((1, 3, 3, 2), (2, 2, 2))
    assert nn.conv2d(x.astype(np.float32), w).dtype == np.float64
    traced = graphjit.jit(nn.conv2d, static_argnames=())(x.astype(np.float32), w)
    assert traced.dtype == np.float64


def test_no_copy_of_all_windows() -> None:
    """The memory that a convolution needs is one padded image, not a batch of windows."""
    x = np.zeros((32, 16, 16, 8), np.float32)
    w = np.zeros((3, 3, 8, 16), np.float32)
    source = graphjit.jit(nn.conv2d).source(x, w)
    (work,) = re.findall(r"work_f32 = .*f32\[(\d+)\]", source)
    assert int(work) == 18 * 18 * 8


@pool_case
@layouts
def test_pooling_is_its_definition(
    shape: Any, size: Any, options: dict[str, Any], layout: Any
) -> None:
    x = RANDOM.normal(size=shape)
    given = x if layout == "NHWC" else x.transpose(0, 3, 1, 2).copy()
    count = pooled(np.ones(shape), size, options, np.sum, 0)
    cases: tuple[tuple[Any, Array], ...] = (
        (nn.max_pool2d, pooled(x, size, options, np.max, -np.inf)),
        (nn.avg_pool2d, pooled(x, size, options, np.sum, 0) / count),
    )
    for pool, expected in cases:
        f = partial(pool, size=size, **options, layout=layout)
        np.testing.assert_allclose(back(f(given), layout), expected, rtol=1e-13)
        for renderer in ("llvm", "numba"):
            with override(renderer=renderer, jit=renderer == "llvm"):
                found = graphjit.jit(f)(given)
            np.testing.assert_allclose(back(found, layout), expected, rtol=1e-13)
        check_grads(f, given, order=2, directions=1)


@pool_case
def test_the_mean_with_padding_counted(shape: Any, size: Any, options: dict[str, Any]) -> None:
    x = RANDOM.normal(size=shape)
    expected = pooled(x, size, options, np.mean, 0)
    np.testing.assert_allclose(
        nn.avg_pool2d(x, size, **options, count_include_pad=True), expected, rtol=1e-12
    )


@pytest.mark.parametrize("options", [{}, {"stride": 1}, {"stride": 1, "padding": "SAME"}])
def test_ties_share_the_gradient_as_those_of_max(options: dict[str, Any]) -> None:
    x = np.array([[1.0, 3, 3], [3, 0, 2], [5, 5, 1]])[None, :, :, None]

    def gradient(x: Any) -> Any:
        return graphjit.grad(lambda x: np.sum(nn.max_pool2d(x, 2, **options)))(x)

    expected = np.zeros((3, 3))
    padded = np.pad(x[0, :, :, 0], (0, 1), constant_values=-np.inf)
    step = options.get("stride", 2)
    stop = 3 if options.get("padding") else 2
    for i, j in itertools.product(range(0, stop, step), repeat=2):
        window = padded[i : i + 2, j : j + 2]
        if window.shape == (2, 2):
            share = graphjit.grad(np.max)(window)
            rows, columns = min(2, 3 - i), min(2, 3 - j)
            expected[i : i + rows, j : j + columns] += share[:rows, :columns]
    np.testing.assert_allclose(gradient(x)[0, :, :, 0], expected)


def test_padding_never_wins() -> None:
    x = np.full((1, 2, 2, 1), -np.inf)
    assert nn.max_pool2d(np.full((1, 2, 2, 1), -1e30), 3, 1, "SAME").max() == -1e30
    gradient = graphjit.grad(lambda x: np.sum(nn.max_pool2d(x, 2, 2, 1)))(x)
    np.testing.assert_array_equal(gradient, np.ones((1, 2, 2, 1)))


def test_nan_wins_a_window() -> None:
    x = np.zeros((1, 4, 4, 1))
    x[0, 0, 1, 0] = np.nan
    found = graphjit.jit(lambda x: nn.max_pool2d(x, 2))(x)
    np.testing.assert_array_equal(np.isnan(found[0, :, :, 0]), [[True, False], [False, False]])


@pytest.mark.parametrize("pool", [nn.max_pool2d, nn.avg_pool2d])
@pytest.mark.parametrize("options", [{}, {"stride": 1, "padding": "SAME"}])
def test_pooling_maps_over_a_new_axis(pool: Any, options: dict[str, Any]) -> None:
    x, f = RANDOM.normal(size=(3, 2, 5, 4, 2)), partial(pool, size=2, **options)
    found = graphjit.vmap(f)(x)
    np.testing.assert_allclose(found, np.stack([f(one) for one in x]), rtol=1e-13)


X, W = np.zeros((2, 5, 5, 4)), np.zeros((3, 3, 4, 6))
ERRORS: tuple[tuple[Any, type[Exception], str], ...] = (
    (lambda: nn.conv2d(X[0], W), ShapeError, r"conv2d: x must be an array of 4 axes, not \(5, "),
    (lambda: nn.conv2d(X, W[0]), ShapeError, r"w must be an array of 4 axes, not \(3, 4, 6\)"),
    (lambda: nn.conv2d(X.astype(int), W), DTypeError, "x must be float32 or float64, not int64"),
    (lambda: nn.conv2d(X, W[:, :, :3]), ShapeError, "4 input channels in each of 1 groups.* not 3"),
    (lambda: nn.conv2d(X, W, groups=4), ShapeError, r"divisor of .* x \(4\) and of w \(6\), not 4"),
    (lambda: nn.conv2d(X, W, groups=0), ShapeError, "groups must be a positive int, not 0"),
    (lambda: nn.conv2d(X, W, stride=0), ShapeError, "stride must be a positive int or a pair.* 0"),
    (lambda: nn.conv2d(X, W, stride=(1, 2, 3)), ShapeError, r"stride must be .* \(1, 2, 3\)"),
    (lambda: nn.conv2d(X, W, dilation=1.5), ShapeError, "dilation must be .* not 1.5"),  # type: ignore[arg-type]
    (lambda: nn.conv2d(X, W, padding="same"), ShapeError, "padding must be \"SAME\", .* 'same'"),  # type: ignore[arg-type]
    (lambda: nn.conv2d(X, W, padding=-1), ShapeError, "padding must be .* not -1"),
    (lambda: nn.conv2d(X, W, padding=((1, 1),)), ShapeError, r"padding must be .* \(\(1, 1\),\)"),
    (lambda: nn.conv2d(X, W, layout="HWC"), ShapeError, 'layout must be "NHWC" or "NCHW", not'),  # type: ignore[arg-type]
    (lambda: nn.conv2d(X, W, padding="VALID", dilation=3), ShapeError, "w must be from 1 to 5"),
    (lambda: nn.max_pool2d(X, 6), ShapeError, "max_pool2d: size must be from 1 to 5 in height"),
    (lambda: nn.max_pool2d(X, (2, 0)), ShapeError, r"size must be a positive int .* \(2, 0\)"),
    (lambda: nn.max_pool2d(X, 2, padding=2), ShapeError, "padding must be less than the window"),
    (lambda: nn.avg_pool2d(X > 0, 2), DTypeError, "avg_pool2d: x must be float32 or .* not bool"),
)  # fmt: skip


@pytest.mark.parametrize(("call", "kind", "words"), ERRORS)
def test_an_error_names_the_argument_and_what_it_got(call: Any, kind: Any, words: str) -> None:
    with pytest.raises(kind, match=words) as caught:
        call()
    assert "test_nn.py" in str(caught.value)


def test_an_error_in_a_traced_function_names_its_line() -> None:
    def f(x: Any) -> Any:
        return nn.conv2d(x, W, groups=3)

    with pytest.raises(ShapeError, match=r"(?s)divisor of the channels.*return nn.conv2d"):
        graphjit.jit(f)(X)


@case
def test_the_sparse_jacobian_is_the_dense_one(
    shape: Any, kernel: Any, options: dict[str, Any]
) -> None:
    x, w = operands(shape, kernel, options.get("groups", 1))
    cases: tuple[tuple[Any, Array], ...] = (
        (lambda x: np.ravel(nn.conv2d(x, w, **options)), x),
        (lambda w: np.ravel(nn.conv2d(x, w, **options)), w),
        (lambda x: graphjit.grad(lambda x: np.sum(nn.conv2d(x, w, **options) ** 3))(x).ravel(), x),
    )
    for f, at in cases:
        found = graphjit.sparse.jacobian(f)(at)
        expected = graphjit.jacobian(f)(at).reshape(found.shape)
        np.testing.assert_allclose(found.toarray(), expected, atol=1e-11)
