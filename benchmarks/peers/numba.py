"""Hand-written Numba: loops without fast-math, as most people write them."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from peers.interface import Unsupported, leaves, mapped
from peers.models import BATCH, RATE, STEPS
from peers.problems import Problem
from workloads import elementwise, logistic, networks, quiz
from workloads.case import njit
from workloads.layers import PRODUCTS

Answer = tuple[Callable[[], Any], Callable[[Any], Any]]
LOOPS = PRODUCTS["Numba, loops"]


@njit
def black_scholes(s, k, time, rate, volatility, ds, dk, dt, dr, dv):
    value = 0.0
    for i in range(s.size):
        root = math.sqrt(time[i])
        spread = volatility[i] * root
        drift = (rate[i] + volatility[i] * volatility[i] / 2) * time[i]
        first = (math.log(s[i] / k[i]) + drift) / spread
        p = 0.5 + 0.5 * math.erf(first * math.sqrt(0.5))
        q = 0.5 + 0.5 * math.erf((first - spread) * math.sqrt(0.5))
        discount = math.exp(-rate[i] * time[i])
        paid = k[i] * discount * q
        bell = s[i] * math.exp(-0.5 * first * first) / math.sqrt(2 * math.pi)
        value += s[i] * p - paid
        ds[i], dk[i] = p, -discount * q
        dt[i] = bell * volatility[i] / (2 * root) + rate[i] * paid
        dr[i], dv[i] = time[i] * paid, bell * root
    return value


@njit
def whitened(mean, root, below, x, c, z):
    """Q (x - mean), into z; half the sum of its squares."""
    total, at = 0.0, 0
    for i in range(x.size):
        c[i] = x[i] - mean[i]
        z[i] = root[i] * c[i]
        for j in range(i):
            z[i] += below[at] * c[j]
            at += 1
        total += z[i] * z[i]
    return 0.5 * total


@njit
def pulled(weight, root, below, c, z, dmean, dq, dbelow):
    """Adds one component's gradients of one example."""
    at = 0
    for i in range(c.size):
        slope = -weight * z[i]
        dq[i] += slope * c[i] * root[i] + weight
        dmean[i] -= slope * root[i]
        for j in range(i):
            dbelow[at] += slope * c[j]
            dmean[j] -= slope * below[at]
            at += 1


@njit
def mixture(alphas, means, q, below, x, dalphas, dmeans, dq, dbelow):
    """Without the constant."""
    n, d = x.shape
    k = alphas.size
    c, z, each = np.empty((k, d)), np.empty((k, d)), np.empty(k)
    root = np.exp(q)
    dalphas[:] = -n * np.exp(alphas - alphas.max()) / np.exp(alphas - alphas.max()).sum()
    dmeans[:] = 0
    dq[:] = root * root
    dbelow[:] = below
    value = -n * (np.log(np.exp(alphas - alphas.max()).sum()) + alphas.max())
    value += 0.5 * ((root * root).sum() + (below * below).sum())
    shift = alphas + q.sum(axis=1)
    for i in range(n):
        for j in range(k):
            each[j] = shift[j] - whitened(means[j], root[j], below[j], x[i], c[j], z[j])
        largest = each.max()
        total = 0.0
        for j in range(k):
            each[j] = math.exp(each[j] - largest)
            total += each[j]
        value += math.log(total) + largest
        for j in range(k):
            weight = each[j] / total
            dalphas[j] += weight
            pulled(weight, root[j], below[j], c[j], z[j], dmeans[j], dq[j], dbelow[j])
    return value


def quiz_call(args: Any) -> Answer:
    return partial(quiz.by_numba, *args), list


def logistic_call(args: Any) -> Answer:
    (w, b), x, labels = args
    slope = np.empty_like(w)
    call = partial(logistic.by_loops, w, float(b), x, labels, np.empty(len(x)), slope)
    return call, lambda result: [result[0], slope, result[1]]


def epoch_call(args: Any) -> Answer:
    (w, b), x, labels, order = args
    train, losses = logistic.loop_of(logistic.by_loops), np.empty(-(-len(x) // BATCH))

    def call() -> Any:
        own = w.copy()
        return own, train(own, float(b), x, labels, order, BATCH, RATE, losses)

    return call, lambda result: [losses[-1], *result]


def net_call(args: Any, steps: int) -> Answer:
    params, x, y = args
    known = networks.regression(x.dtype.type, len(x))
    space = known.empty(len(x))
    step = networks.step_of(networks.gradient_of(LOOPS, known.head, x.dtype.type))
    rate = x.dtype.type(RATE)

    @njit
    def many(p1, p2, p3, x, y, g1, g2, g3, space):
        value = step(p1, p2, p3, x, y, g1, g2, g3, space, rate)
        for _ in range(steps - 1):
            value = step(p1, p2, p3, x, y, g1, g2, g3, space, rate)
        return value

    def call() -> Any:
        own = mapped(np.copy, params)
        return many(*own, x, y, *space), own

    return call, leaves


def into(function: Any, places: int, constant: float = 0.0) -> Callable[[Any], Answer]:
    """A kernel that writes gradients of the first arguments into arrays that are kept."""

    def made(args: Any) -> Answer:
        slopes = [np.empty_like(leaf) for leaf in args[:places]]
        return partial(function, *args, *slopes), lambda value: [value + constant, *slopes]

    return made


def mixture_call(args: Any) -> Answer:
    from peers.models import mixture_constant

    constant = mixture_constant(len(args[4]), *args[1].shape)
    return into(mixture, 4, constant)(args)


KERNELS: dict[str, Callable[[Any], Answer]] = {
    "quiz": quiz_call,
    "logistic": logistic_call,
    "logistic_epoch": epoch_call,
    "descent_step": partial(net_call, steps=1),
    "descent_loop": partial(net_call, steps=STEPS),
    "chain": into(elementwise.chain_by_numba, 1),
    "rosenbrock": into(elementwise.rosenbrock_by_numba, 1),
    "mixture": mixture_call,
    "black_scholes": into(black_scholes, 5),
}


class Kernel:
    """A kernel on these arguments; its first call compiles."""

    def __init__(self, call: Callable[[], Any], answer: Callable[[Any], Any]) -> None:
        self.run, self.answer = call, answer

    def compile(self) -> dict[str, float]:
        """The first call."""
        self.run()
        return {}

    def call(self) -> Callable[[], Any]:
        """The call without a method around it."""
        return self.run

    def arrays(self, result: Any) -> list[np.ndarray]:
        """They are NumPy's."""
        return [np.array(leaf) for leaf in self.answer(result)]


class Numba:
    """The same algorithms as in C."""

    name = "Numba, hand"

    def warm_up(self) -> None:
        """One trivial kernel."""
        njit(lambda x: x + 1)(1.0)

    def build(self, problem: Problem, args: tuple[Any, ...]) -> Kernel:
        """Those that are short by hand."""
        if problem.function not in KERNELS:
            raise Unsupported("not written by hand")
        return Kernel(*KERNELS[problem.function](args))


PEERS = {"": Numba}
