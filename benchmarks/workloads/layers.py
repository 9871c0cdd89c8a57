# ruff: noqa: ARG001 - all products take the same arguments
"""Layers and losses by hand in Numba: np.dot, or loops whose innermost runs along memory."""

from __future__ import annotations

import math

import numpy as np
from workloads.case import njit


@njit
def dot(a, b, out, spare):
    """``out = a b``."""
    np.dot(a, b, out)


@njit
def dot_tn(a, b, out, spare):
    """``out = aᵀ b``."""
    np.dot(a.T, b, out)


@njit
def dot_nt(a, b, out, spare):
    """``out = a bᵀ``."""
    np.dot(a, b.T, out)


@njit
def loops(a, b, out, spare):
    for i in range(a.shape[0]):
        for j in range(b.shape[1]):
            out[i, j] = 0
        for k in range(a.shape[1]):
            for j in range(b.shape[1]):
                out[i, j] += a[i, k] * b[k, j]


@njit
def loops_tn(a, b, out, spare):
    out[:] = 0
    for k in range(a.shape[0]):
        for i in range(a.shape[1]):
            for j in range(b.shape[1]):
                out[i, j] += a[k, i] * b[k, j]


@njit
def loops_nt(a, b, out, spare):
    """The sum over a shared last axis is not vectorised, so the small matrix is turned first."""
    for i in range(b.shape[0]):
        for k in range(b.shape[1]):
            spare[k, i] = b[i, k]
    loops(a, spare[: b.shape[1], : b.shape[0]], out, spare)


PRODUCTS = {"Numba, np.dot": (dot, dot_tn, dot_nt), "Numba, loops": (loops, loops_tn, loops_nt)}


def sigmoid_layers(products, dtype):
    """Forward and backward of a layer of sigmoids."""
    dot, _, dot_nt = products
    one = dtype(1)

    @njit
    def forward(x, w, b, out, spare):
        dot(x, w, out, spare)
        for i in range(out.shape[0]):
            for j in range(out.shape[1]):
                out[i, j] = one / (one + math.exp(-(out[i, j] + b[j])))

    @njit
    def backward(delta, w, hidden, out, spare):
        """The cotangent of the layer below's affine part."""
        dot_nt(delta, w, out, spare)
        for i in range(out.shape[0]):
            for j in range(out.shape[1]):
                out[i, j] *= hidden[i, j] * (one - hidden[i, j])

    return forward, backward


def affine_gradients(products):
    """The gradients of weights and biases."""
    dot_tn = products[1]

    @njit
    def gradients(x, delta, dw, db, spare):
        dot_tn(x, delta, dw, spare)
        db[:] = 0
        for i in range(delta.shape[0]):
            for j in range(delta.shape[1]):
                db[j] += delta[i, j]

    return gradients


@njit
def descend(w, b, dw, db, rate):
    for i in range(w.shape[0]):
        for j in range(w.shape[1]):
            w[i, j] -= rate * dw[i, j]
    for j in range(b.size):
        b[j] -= rate * db[j]


def squared_error_head(dtype):
    one, two = dtype(1), dtype(2)

    @njit
    def head(z, b, y, delta):
        """The loss, and its slope in the last layer's affine part."""
        loss, scale = dtype(0), two / dtype(y.size)
        for i in range(z.shape[0]):
            out = one / (one + math.exp(-(z[i, 0] + b[0])))
            off = out - y[i, 0]
            loss += off * off
            delta[i, 0] = scale * off * out * (one - out)
        return loss / dtype(y.size)

    return head


def cross_entropy_head(dtype):
    @njit
    def head(z, b, y, delta):
        """Row by row: the largest logit, the exponentials and their sum, the slopes."""
        loss, scale = dtype(0), dtype(1) / dtype(y.size)
        for i in range(z.shape[0]):
            largest = dtype(-np.inf)
            for j in range(z.shape[1]):
                z[i, j] += b[j]
                largest = max(largest, z[i, j])
            total = dtype(0)
            for j in range(z.shape[1]):
                delta[i, j] = math.exp(z[i, j] - largest)
                total += delta[i, j]
            loss += math.log(total) + largest - z[i, y[i]]
            for j in range(z.shape[1]):
                delta[i, j] *= scale / total
            delta[i, y[i]] -= scale
        return loss * scale

    return head
