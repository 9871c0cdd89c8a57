"""The arguments that convolution and pooling share: images, and how windows move over them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from graphjit.errors import DTypeError, ShapeError
from graphjit.ir.symbol import Symbol
from graphjit.tracing.origin import user_line

Layout = Literal["NHWC", "NCHW"]
Pair = int | Sequence[int]
Padding = Literal["SAME", "VALID"] | int | Sequence[Sequence[int]]
KERNELS = {"NHWC": "HWIO", "NCHW": "OIHW"}


class Axis(NamedTuple):
    """How windows move along one axis: over ``length`` elements, ``count`` of them."""

    length: int
    kernel: int
    stride: int
    dilation: int
    before: int
    after: int

    @property
    def turns(self) -> int:
        """How many windows there are."""
        span = self.dilation * (self.kernel - 1) + 1
        return (self.length + self.before + self.after - span) // self.stride + 1

    @property
    def window(self) -> tuple[int, int, int]:
        """As the row ``convolve`` has it."""
        return self.stride, self.dilation, self.before


def refuse(name: str, argument: str, expected: str, got: Any, hint: str = "") -> ShapeError:
    """The error for an argument that does not fit."""
    fact = f"graphjit.nn.{name}: {argument} must be {expected}, not {got!r}"
    return ShapeError(fact, origin=user_line(), hint=hint)


def images(name: str, argument: str, x: Any) -> Any:
    """An array of four axes of floats.

    Raises:
        ShapeError: it has not four axes.
        DTypeError: it is none of float32 or float64.
    """
    x = x if isinstance(x, Symbol) else np.asarray(x)
    if x.dtype not in (np.float32, np.float64):
        fact = f"graphjit.nn.{name}: {argument} must be float32 or float64, not {x.dtype}"
        hint = f"Convert it with {argument}.astype(np.float32)."
        raise DTypeError(fact, origin=user_line(), operands=(x.dtype,), hint=hint)
    if x.ndim != 4:
        hint = "One image is a batch of one: image[None]; a grey one has one channel: x[..., None]."
        raise refuse(name, argument, "an array of 4 axes", tuple(x.shape), hint)
    return x


def check_layout(name: str, layout: str) -> None:
    """Refuse what is no layout."""
    if layout not in KERNELS:
        raise refuse(name, "layout", '"NHWC" or "NCHW"', layout)


def windows(
    name: str, argument: str, lengths: Sequence[int], kernel: Sequence[int], stride: Pair,
    dilation: Pair, padding: Padding,
) -> tuple[Axis, ...]:  # fmt: skip
    """How windows move along height and width.

    Raises:
        ShapeError: a number that is no positive int, or windows larger than the padded image.
    """
    strides, dilations = pair(name, "stride", stride), pair(name, "dilation", dilation)
    sides = padded(name, lengths, kernel, strides, dilations, padding)
    numbers = zip(lengths, kernel, strides, dilations, sides, strict=True)
    axes = tuple(Axis(n, k, s, d, *p) for n, k, s, d, p in numbers)
    for axis, side in zip(axes, ("height", "width"), strict=True):
        span, room = axis.dilation * (axis.kernel - 1) + 1, sum((axis.length, *axis[4:]))
        if axis.kernel < 1 or (axis.turns < 1 and axis.length):
            expected = f"from 1 to {room} in {side}, as the padded image is"
            raise refuse(name, argument, expected, span, 'padding="SAME" takes any size.')
    return axes


def pair(name: str, argument: str, value: Any) -> tuple[int, int]:
    """A positive int for each of height and width."""
    both = tuple(value) if isinstance(value, list | tuple) else (value, value)
    if len(both) != 2 or any(not whole(n) or n < 1 for n in both):
        raise refuse(name, argument, "a positive int or a pair of them", value)
    return int(both[0]), int(both[1])


def whole(n: Any) -> bool:
    """Whether it is an int, not a bool nor a float."""
    return isinstance(n, int | np.integer) and not isinstance(n, bool)


def padded(
    name: str, lengths: Sequence[int], kernel: Sequence[int], strides: Sequence[int],
    dilations: Sequence[int], padding: Any,
) -> list[tuple[int, int]]:  # fmt: skip
    """How much is added before and after, along height and width."""
    if isinstance(padding, str) and padding == "VALID":
        return [(0, 0), (0, 0)]
    if isinstance(padding, str) and padding == "SAME":
        numbers = zip(lengths, kernel, strides, dilations, strict=True)
        return [same(n, (k - 1) * d + 1, s) for n, k, s, d in numbers]
    if whole(padding) and padding >= 0:
        return [(int(padding),) * 2] * 2
    sides = padding if isinstance(padding, list | tuple) else ()
    pairs = [tuple(s) if isinstance(s, list | tuple) else () for s in sides]
    if [len(p) for p in pairs] != [2, 2] or not all(whole(n) and n >= 0 for p in pairs for n in p):
        expected = '"SAME", "VALID", an int from 0 on, or ((top, bottom), (left, right))'
        raise refuse(name, "padding", expected, padding)
    return [(int(before), int(after)) for before, after in pairs]


def same(length: int, span: int, stride: int) -> tuple[int, int]:
    """The padding by which there are ``ceil(length / stride)`` windows."""
    total = max((-(-length // stride) - 1) * stride + span - length, 0)
    return total // 2, total - total // 2
