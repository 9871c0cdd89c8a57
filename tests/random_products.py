"""Random programs of batched products, for the passes that choose how these are stored."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

SIZES = {"n": 9, "k": 3, "i": 4, "j": 4, "b": 2}
Named = tuple[str, Any]  # the letters of a value's axes, and the value


def shuffled(rng: np.random.Generator, letters: str) -> str:
    return "".join(rng.permutation(list(letters)))


def mapped(rng: np.random.Generator, values: list[Named]) -> Named:
    """An elementwise formula of one value, or of two whose axes are lined up by hand."""
    letters, x = values[int(rng.integers(len(values)))]
    fits = [v for v in values if v[0] and set(v[0]) <= set(letters)]
    if not fits or rng.random() < 0.3:
        return letters, np.sin(x) * 0.5 + x
    others, y = fits[int(rng.integers(len(fits)))]
    order = [others.index(c) for c in letters if c in others]
    y = np.transpose(y, order)
    y = np.reshape(y, [SIZES[c] if c in others else 1 for c in letters])
    return letters, x * y + 0.25 if rng.random() < 0.5 else np.maximum(x - y, -1)


def reduced(rng: np.random.Generator, values: list[Named]) -> Named:
    letters, x = values[int(rng.integers(len(values)))]
    if not letters:
        return letters, x
    axis = int(rng.integers(len(letters)))
    function = (np.sum, np.max, np.mean)[int(rng.integers(3))]
    return letters[:axis] + letters[axis + 1 :], function(x, axis=axis)


def multiplied(rng: np.random.Generator, values: list[Named]) -> Named:
    """A product of two values whose result has some of their axes, in any order."""
    (a, x), (b, y) = (values[int(rng.integers(len(values)))] for _ in range(2))
    alone = (set(a) ^ set(b)) | {c for c in set(a) & set(b) if rng.random() < 0.5}
    kept = shuffled(rng, "".join(sorted(alone)))[:3]
    dropped = set(a + b) - set(kept)
    if any((c in a) != (c in b) for c in dropped):  # sums over one operand alone
        kept = shuffled(rng, "".join(sorted(alone)))
    return (kept, np.einsum(f"{a},{b}->{kept}", x, y)) if len(kept) <= 4 else (a, x)


def laid_out(rng: np.random.Generator, values: list[Named]) -> Named:
    """A transpose, a slice taken and joined again, or a reshape to and fro."""
    letters, x = values[int(rng.integers(len(values)))]
    if not letters:
        return letters, x
    match int(rng.integers(3)):
        case 0:
            order = rng.permutation(len(letters))
            return "".join(letters[a] for a in order), np.transpose(x, [int(a) for a in order])
        case 1:
            return letters, np.concatenate([x[:1], x[1:] * 2], axis=0)
        case _:
            return letters, np.reshape(np.cos(np.reshape(x, (-1,))), np.shape(x))


STEPS: list[Callable[[np.random.Generator, list[Named]], Named]]
STEPS = [mapped, mapped, reduced, multiplied, multiplied, laid_out]


def program(seed: int) -> Callable[..., Any]:
    def f(x: Any, y: Any, w: Any) -> Any:
        rng = np.random.default_rng(seed)
        values: list[Named] = [("nki", x), ("bn", y), ("kij", w)]
        values.append(("nkj", np.einsum("kij,nki->nkj", w, np.sin(x))))
        for _ in range(int(rng.integers(4, 12))):
            values.append(STEPS[int(rng.integers(len(STEPS)))](rng, values))
        picked = [values[int(rng.integers(3, len(values)))][1] for _ in range(3)]
        return sum(np.mean(np.tanh(p)) for p in picked), picked[0]

    return f


def arguments(seed: int) -> list[Any]:
    rng = np.random.default_rng(seed)
    return [
        rng.standard_normal(tuple(SIZES[c] for c in letters)) for letters in ("nki", "bn", "kij")
    ]


def agrees(expected: Any, found: Any) -> None:
    for a, b in zip(expected, found, strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-9, atol=1e-11)
