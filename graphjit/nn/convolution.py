"""Convolution of images with a kernel."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphjit.errors import ShapeError
from graphjit.ir.table.rules import apply_row
from graphjit.nn.arguments import (
    KERNELS,
    Layout,
    Padding,
    Pair,
    check_layout,
    images,
    refuse,
    windows,
)
from graphjit.tracing.origin import user_line

SPECS = {
    ("NHWC", False): "nHWc,HWco->nHWo",
    ("NCHW", False): "ncHW,ocHW->noHW",
    ("NHWC", True): "nHWgc,HWcgo->nHWgo",
    ("NCHW", True): "ngcHW,gocHW->ngoHW",
}


def conv2d(
    x: Any, w: Any, stride: Pair = 1, padding: Padding = "SAME", dilation: Pair = 1,
    groups: int = 1, layout: Layout = "NHWC",
) -> Any:  # fmt: skip
    """The convolution of images with a kernel, as networks have it: the kernel is not flipped.

    In the layout NHWC, for one group::

        y[n, i, j, o] = sum over a, b, c of
            x[n, stride i + dilation a - top, stride j + dilation b - left, c] w[a, b, c, o]

    where ``x`` counts as zero outside of the image. With groups, channels are cut into so many
    equal runs, and each run of output channels sees its own run of input channels; as many groups
    as input channels make a depthwise convolution.

    Args:
        x: Images of shape (N, H, W, C), or (N, C, H, W) in the layout NCHW.
        w: The kernel, of shape (KH, KW, C / groups, O), or (O, C / groups, KH, KW) in NCHW.
        stride: How far apart windows are, an int or one for each of height and width.
        padding: ``"SAME"``: as many windows as ``ceil(length / stride)``, with the odd zero at the
            end; ``"VALID"``: none; an int for all four sides; or ((top, bottom), (left, right)).
        dilation: How far apart the elements of a window are, an int or a pair.
        groups: A divisor of C and of O.
        layout: ``"NHWC"`` or ``"NCHW"``.

    Returns:
        Images of shape (N, H', W', O), or (N, O, H', W'), with ``H' = (H + top + bottom -
        dilation (KH - 1) - 1) // stride + 1``, of NumPy's common dtype of x and w.

    Raises:
        ShapeError: shapes, or one of the numbers, do not fit.
        DTypeError: x or w is no array of float32 or float64.

    Formula: V. Dumoulin, F. Visin, "A guide to convolution arithmetic for deep learning", 2016.
    """
    x, w = images("conv2d", "x", x), images("conv2d", "w", w)
    check_layout("conv2d", layout)
    height, width = (layout.index(c) for c in "HW")
    channels, inside, out = (
        layout.index("C"),
        KERNELS[layout].index("I"),
        KERNELS[layout].index("O"),
    )
    check_groups(groups, x.shape[channels], w.shape[inside], w.shape[out])
    kernel = [w.shape[KERNELS[layout].index(c)] for c in "HW"]
    axes = windows(
        "conv2d", "w", (x.shape[height], x.shape[width]), kernel, stride, dilation, padding
    )
    dtype = np.result_type(x.dtype, w.dtype)
    x, w = x.astype(dtype, copy=False), w.astype(dtype, copy=False)
    if groups > 1:
        x, w = split(x, channels, groups), split(w, out, groups)
    window, sizes = tuple(a.window for a in axes), tuple(a.turns for a in axes)
    spec = SPECS[layout, groups > 1]
    y = apply_row("convolve", x, w, spec=spec, of="y", window=window, sizes=sizes)
    return joined(y, channels) if groups > 1 else y


def split(x: Any, axis: int, groups: int) -> Any:
    """An axis as groups and what is in a group."""
    size = x.shape[axis] // groups
    return np.reshape(x, (*x.shape[:axis], groups, size, *x.shape[axis + 1 :]))


def joined(x: Any, axis: int) -> Any:
    """The reverse of ``split``."""
    size = x.shape[axis] * x.shape[axis + 1]
    return np.reshape(x, (*x.shape[:axis], size, *x.shape[axis + 2 :]))


def check_groups(groups: Any, channels: int, inside: int, out: int) -> None:
    """Refuse channels that do not fit, in the image, the kernel and the groups."""
    if type(groups) is not int or groups < 1:
        raise refuse("conv2d", "groups", "a positive int", groups)
    if channels % groups or out % groups:
        expected = f"a divisor of the channels of x ({channels}) and of w ({out})"
        raise refuse("conv2d", "groups", expected, groups)
    if channels != inside * groups:
        fact = (
            f"graphjit.nn.conv2d: w must have {channels // groups} input channels in each of "
            f"{groups} groups, as x has {channels}, not {inside}"
        )
        hint = "w has the axes KH, KW, C / groups, O in NHWC, and O, C / groups, KH, KW in NCHW."
        raise ShapeError(fact, origin=user_line(), hint=hint)
