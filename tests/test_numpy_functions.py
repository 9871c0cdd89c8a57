"""NumPy calls as a user writes them: the traced graph gives NumPy's value, dtype and shape."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from scipy import special

from graphjit.errors import GraphJITError
from samples import run

# Traced: x y (3,4), v (4), w (3), s (), A (4,5), B (2,3,4), C (2,4,5), S (4,4), u (1,4), e (0,4),
# n (4) integers, m (3,4) booleans, p a Python float. Concrete: k (2) indices, mask (3,4), c (4).
ARITHMETIC = """
x + y;  x - v;  x * w[:, None];  x / (y + 9);  B + x;  x + s;  s + s;  u + w[:, None];  x + u
x + 1;  x + 1.5;  x + True;  1 + x;  1.5 - x;  2 * x;  3.0 / (x + 9);  2.5 ** x;  x ** 2
2 ** abs(x);  x + np.float32(1.5);  np.float32(1.5) + x;  np.float64(2.0) * x;  x * np.float64(2)
np.arange(4) * x;  x + np.int8(3);  np.int64(3) * x;  n + 1;  n * 2.5;  n / 2;  n + x;  n ** 2
n + np.int8(1);  n * True;  x // 2;  x % 2;  7 // (abs(x) + 1);  7.5 % (abs(x) + 1);  n // 2
n % 3;  -x;  +x;  -n;  abs(x);  abs(n);  divmod(x, 2);  np.divmod(x, y + 9);  np.fmod(x, 2.0)
np.remainder(x, y + 9);  np.floor_divide(x, 2);  p + x;  p * 2;  2 * p;  p * p + x;  p + n;  p * s
-p * x;  p ** 2 * x;  x * (1 + p);  n * p;  p / 2 + x;  np.sin(p) + x;  np.sin(p) * p
p * np.float32(2);  np.maximum(p, x);  np.where(x > 0, p, x);  abs(p) * x
[1.0, 2.0, 3.0, 4.0] + x;  x + [1, 2, 3, 4];  x * (1.0, 2.0, 3.0, 4.0);  c + x;  x - c
c / (x + 9);  c * p;  x == y;  x != x;  x < y;  x <= 0;  0 < x;  x >= 0.5;  x > v;  n == 2
n > 1.5;  m == True;  p < x;  x == c;  m & (x > 0);  m | (x > 0);  m ^ m;  ~m;  ~n;  n & 3;  n | 1
n ^ 5;  n << 2;  n >> 1;  1 << n;  True & m;  np.add(x, 1);  np.subtract(1, x);  np.multiply(x, x)
np.true_divide(x, 2);  np.power(abs(x) + 1, 0.5);  np.add(x, 1, dtype=np.float64)
np.float_power(abs(x) + 1, 2);  np.negative(x);  np.positive(x);  x.__add__(1);  x.__radd__(2)
x + 10**3;  m + m;  m * m;  m + 1;  m * 1.5;  m * x;  m.astype(int) - 1;  x @ A;  v @ v;  x @ v
w @ x;  c @ x.T;  x.T @ [1.0, 2.0, 3.0];  B @ C;  x @ C;  n @ n;  m @ v
"""
ELEMENTARY = """
np.exp(x);  np.exp2(x);  np.expm1(x);  np.log(abs(x) + 1);  np.log2(abs(x) + 1)
np.log10(abs(x) + 1);  np.log1p(abs(x));  np.sqrt(abs(x));  np.cbrt(abs(x) + 1);  np.square(x)
np.reciprocal(abs(x) + 1.0);  np.sin(x);  np.cos(x);  np.tan(x);  np.arcsin(x / 9)
np.arccos(x / 9);  np.arctan(x);  np.asin(x / 9);  np.sinh(x);  np.cosh(x);  np.tanh(x)
np.arcsinh(x);  np.arccosh(abs(x) + 1);  np.arctanh(x / 9);  np.arctan2(x, y);  np.hypot(x, y)
np.logaddexp(x, y);  np.logaddexp2(x, y);  np.logaddexp(x, 0);  np.abs(x);  np.fabs(x)
np.sign(x);  np.floor(x);  np.ceil(x);  np.trunc(x);  np.rint(x);  np.floor(n);  np.round(x)
np.round(x, 2);  x.round(1);  np.around(x * 1.5, -1);  np.round(n, 1);  np.round(p, 1) * x
np.fix(x);  np.clip(x, -1, 1);  np.clip(x, None, 1);  np.clip(x, -0.5, None);  x.clip(0, 1)
np.clip(x, v, v + 1);  np.clip(n, 1, 2);  np.clip(n, 0.5, 2);  x.clip(min=0)
np.clip(x, min=0, max=1);  np.clip(p, 0, 1) * x;  np.maximum(x, y);  np.minimum(x, 0)
np.fmax(x, 0.0);  np.fmin(x, y);  np.maximum(n, 1.5);  np.maximum(m, m);  np.copysign(x, y)
np.heaviside(x, 0.5);  np.isnan(x);  np.isinf(x);  np.isfinite(x);  np.signbit(x)
np.logical_and(x, y);  np.logical_or(x > 0, m);  np.logical_xor(m, True);  np.logical_not(x)
np.invert(m);  np.where(x > 0, x, 0);  np.where(x > 0, 1.0, 0.0);  np.where(m, x, y)
np.where(x, x, v);  np.where(m, 1, 0);  np.where(x > 0, x, 0.5);  np.where(m, n, x)
np.where(mask, x, 1);  np.where(m, 1, 2.0);  np.where(m, True, x);  np.deg2rad(x);  np.radians(n)
np.rad2deg(x);  np.degrees(x);  np.sinc(x);  np.nan_to_num(x / 3);  np.isclose(x, y)
np.nan_to_num(np.log(x * 0));  np.nan_to_num(n);  np.exp(n);  np.sqrt(n)
np.select([x > 1, x > 0], [x, 2 * x], 0.5);  np.select([x > 1, x > 0], [x, 2 * x])
np.pow(abs(x), 2);  np.acos(x / 9);  np.atan2(x, y);  np.atanh(x / 9);  np.absolute(x)
special.expit(x);  special.erf(x);  special.erfc(x);  special.logit(special.expit(x))
special.log_expit(x);  special.xlogy(abs(x), abs(x) + 1);  special.expit(n)
special.xlog1py(abs(x), abs(x));  special.entr(abs(x));  special.ndtr(x);  special.expm1(x)
special.log1p(abs(x));  special.rel_entr(abs(x), abs(y) + 1);  special.kl_div(abs(x), abs(y) + 1)
special.huber(1.0, x);  special.erf(p) * x;  special.gammaln(x);  special.gammaln(n)
special.digamma(x);  special.psi(abs(x) + 1);  special.gammaln(p) * x
"""
REDUCTIONS = (
    ";  ".join(
        f"np.{name}({of}{axis}{keep})"
        for name in ["sum", "prod", "mean", "var", "std", "max", "min", "any", "all"]
        for of in ("x / 2", "B", "n", "m")
        for axis in ("", ", axis=0", ", axis=-1", ", axis=()", ", 0")
        for keep in ("", ", keepdims=True")
    )
    + """
np.sum(B, axis=(0, 2));  np.mean(B, axis=(0, -1), keepdims=True);  np.max(B, axis=(1, 2))
np.std(B, axis=(0, 1));  np.prod(B, axis=(-1, 0));  np.var(x, ddof=1);  np.std(x, axis=0, ddof=1)
np.var(x, correction=1);  np.var(x, 0, mean=np.mean(x, 0));  x.sum();  x.sum(axis=0);  x.sum(1)
x.mean(axis=0);  x.mean(0, keepdims=True);  x.std();  x.var(axis=1);  x.max();  x.min(axis=0)
x.prod();  x.any();  x.all(axis=0);  x.argmax();  x.argmin(axis=1);  m.sum();  m.mean();  n.sum()
n.mean();  n.prod();  np.argmax(x);  np.argmax(x, axis=0);  np.argmin(x, axis=-1)
np.argmax(x, axis=1, keepdims=True);  np.argmax(x, keepdims=True);  np.argmin(B)
np.sum(x, dtype=np.float64);  np.sum(n, dtype=np.float32);  np.sum(x, initial=2)
np.sum(x, initial=0.5);  np.prod(x, initial=2);  np.max(x, initial=0);  np.max(e, axis=1)
np.max(e, axis=0, initial=1);  np.sum(e);  np.prod(e);  np.mean(e, axis=1);  np.any(e);  np.all(e)
np.sum(e, axis=0);  np.cumsum(e);  np.ptp(x);  np.ptp(x, axis=0);  np.average(x)
np.average(x, axis=0);  np.average(x, axis=1, weights=abs(v) + 1)
np.average(x, weights=abs(y) + 1);  np.count_nonzero(x);  np.count_nonzero(x > 0, axis=0)
np.add.reduce(x);  np.add.reduce(x, axis=1);  np.multiply.reduce(x);  np.maximum.reduce(x, axis=1)
np.logical_and.reduce(m);  np.add.accumulate(x);  np.add.outer(v, w);  np.multiply.outer(v, w)
np.amax(x);  np.amin(x, 0);  np.sum(s);  np.mean(s);  np.max(s);  np.cumsum(x)
np.cumsum(x, axis=0);  x.cumsum(1);  np.cumsum(n);  np.cumsum(m);  np.cumprod(x)
np.cumprod(x, axis=-1);  np.cumprod(n);  np.cumsum(n, dtype=np.float32);  np.diff(x)
np.diff(x, axis=0);  np.diff(x, n=2);  np.diff(n);  np.diff(m);  np.diff(v, prepend=0)
np.diff(v, append=v[:1]);  np.cumsum(s);  np.diff(x, n=0);  np.nansum(x);  np.nanmean(x)
np.linalg.norm(v);  np.linalg.norm(x);  np.linalg.norm(x, axis=1)
np.linalg.norm(x, axis=0, keepdims=True);  np.linalg.norm(v, 1);  np.linalg.norm(v, np.inf)
np.linalg.norm(v, 3);  np.linalg.norm(v, -np.inf);  np.linalg.norm(x, "fro")
np.linalg.norm(x, 1);  np.linalg.norm(x, np.inf);  np.linalg.norm(v, 0)
np.linalg.norm(x, keepdims=True);  np.linalg.norm(x, ord=2, axis=1);  np.linalg.vector_norm(x)
np.linalg.vector_norm(x, axis=1, ord=1);  np.linalg.norm(n);  np.linalg.norm(B, axis=(1, 2))
np.linalg.norm(B);  np.trace(S);  S.trace();  np.trace(S, offset=1);  np.trace(x)
np.mean(n, dtype=np.float32);  np.std(n);  np.trapezoid(v);  np.trapezoid(x, dx=0.5)
np.trapezoid(v, c);  sum(v);  np.cumulative_sum(v);  np.sum(x > 0);  np.sum(x > 0, axis=0) / 3
np.mean(x > 0);  x.sum(axis=(0, 1));  np.var(n, axis=0);  p * np.sum(n);  np.var(m, axis=0)
"""
)
PRODUCTS = """
np.dot(x, A);  np.dot(v, v);  np.dot(x, v);  np.dot(w, x);  np.dot(B, A)
np.dot(B, C.swapaxes(0, 1));  np.dot(s, x);  x.dot(A);  np.dot(2.0, x);  np.dot(n, n)
np.dot(m, v);  np.dot(x, [1, 2, 3, 4]);  np.matmul(x, A);  np.matmul(v, v);  np.matmul(x, v)
np.matmul(w, x);  np.matmul(B, C);  np.matmul(B, A);  np.matmul(x, C);  np.matmul(B, v)
np.matmul(v, C);  np.matmul(B[:1], C);  np.matmul(B[:, None], C);  np.matmul(m, m.T)
np.matmul(B[:, :1], C);  np.matmul(x[:, :1], u);  np.matmul(e, A);  np.matmul(e.T, e)
np.matmul(A.T, e.T);  np.inner(v, v);  np.inner(x, y);  np.inner(B, x);  np.inner(s, x)
np.outer(v, w);  np.outer(x, w);  np.outer(v, 2.0);  np.vdot(v, v);  np.vdot(x, y);  np.kron(x, y)
np.kron(v, x);  np.kron(B, v);  np.tensordot(x, A, 1);  np.tensordot(x, y, 2)
np.tensordot(v, w, 0);  np.tensordot(B, C, axes=((0, 2), (0, 1)))
np.tensordot(B, x, axes=([1, 2], [0, 1]));  np.tensordot(B, x, axes=(2, 1))
np.tensordot(B, v, axes=(-1, 0));  np.einsum("ij,jk->ik", x, A);  np.einsum("ij,jk", x, A)
np.einsum("ij->ji", x);  np.einsum("ij", x);  np.einsum("ji", x);  np.einsum("ij->", x)
np.einsum("ij->j", x);  np.einsum("ii", S);  np.einsum("ii->i", S);  np.einsum("ij,ij->", x, y)
np.einsum("ij,ij->ij", x, y);  np.einsum("i,j->ij", v, w);  np.einsum("i,j->ji", v, w)
np.einsum("i,j", v, w);  np.einsum("bij,bjk->bik", B, C);  np.einsum("...ij,...jk->...ik", B, C)
np.einsum("...ij,...jk", B, C);  np.einsum("...i,i->...", B, v);  np.einsum("...,...->...", x, v)
np.einsum("...i->...", x);  np.einsum("i...->...", x);  np.einsum("...ij->...ji", B)
np.einsum("ij,jk,ik->", x, A, x @ A);  np.einsum("i,ij,j->", w, x, v)
np.einsum("bij,bjk,kl->il", B, C, A.T);  np.einsum("i,j,k->ijk", v, w, v)
np.einsum("ij,j->i", x, v);  np.einsum("ij,i->j", x, w);  np.einsum("i,i->", v, v)
np.einsum("ij,kj->", x, y);  np.einsum("ij,kl->", x, A);  np.einsum("ij,jk->ki", x, A)
np.einsum("iij->j", np.stack([S, S], -1));  np.einsum("iii->i", np.stack([S, S, S, S]))
np.einsum("iii", np.stack([S, S, S, S]));  np.einsum("ii,i->", S, v)
np.einsum("ij,jk,kl,lm->im", x, A, A.T, A);  np.einsum("ij , jk -> ik", x, A)
np.einsum("i,i,i->i", v, v, v);  np.einsum("i,i,i->", v, v, v)
np.einsum("ij,j->ij", x, u[0, :1]);  np.einsum("ij,ij->j", u, x)
np.einsum("bi,bj->ij", B[0], B[1]);  np.einsum(",ij->ij", s, x);  np.einsum(",->", s, s)
np.einsum("ij,jk->ik", x, A, optimize=True);  np.einsum("ij,jk->ik", e, A)
np.einsum("ij,ik->jk", e, e);  np.einsum("ij,jk->ik", x, c[:, None]);  np.einsum("i->i", n)
np.einsum("i,i", n, n);  np.einsum("ij,ij->i", m, m);  np.einsum("ij->i", m)
np.einsum("ij,j->i", x, n);  np.einsum("a...b,b...->a...", B, np.ones((4, 3)))
np.einsum(x, [0, 1], A, [1, 2]);  np.einsum(x, [0, 1], A, [1, 2], [0, 2])
np.einsum("...,ij->...ij", s, x);  np.einsum("ij...,jk...->ik...", x, A)
np.einsum("ijk,ilm,njm,nlk->", *[np.stack([S, S, S, S])] * 4);  np.linalg.multi_dot([x, A, A.T])
np.linalg.matmul(x, A);  np.linalg.outer(v, w);  np.linalg.tensordot(x, A, axes=1)
np.linalg.trace(S);  np.linalg.matrix_power(S, 3);  np.vecdot(x, v);  np.linalg.vecdot(x, y)
np.matvec(B, v);  np.vecmat(v, C);  np.cross(x[:, :3], y[:, :3]);  np.linalg.diagonal(S)
np.einsum("ij,ij,ij->i", x, y, u);  np.einsum("i,ij", w, x);  np.dot(x.T, w);  x.T @ y;  x @ y.T
np.matmul(p, x);  np.dot(e, v);  np.dot(e.T, np.zeros((0, 2)));  np.dot(p, x);  x @ x.T @ x
np.inner(2, x);  np.vdot(n, n);  np.matrix_transpose(B);  np.linalg.matrix_transpose(B)
np.linalg.matrix_norm(B);  np.dot(B[0, :, 0], w)
"""
LAYOUT = """
x.T;  v.T;  B.T;  x.mT;  np.transpose(x);  np.transpose(B, (2, 0, 1))
np.transpose(B, (-1, 0, 1));  B.transpose(1, 0, 2);  B.transpose((1, 0, 2));  B.transpose()
B.transpose(None);  np.swapaxes(B, 0, -1);  B.swapaxes(1, 2);  np.permute_dims(x, (1, 0))
np.moveaxis(B, 0, -1);  np.moveaxis(B, (0, 1), (1, 2));  np.moveaxis(B, [0, 1], [-1, 0])
np.rollaxis(B, 2);  np.rollaxis(B, 0, 3);  np.rot90(x);  np.rot90(B, 3, (1, 2))
np.reshape(x, (4, 3));  np.reshape(x, -1);  np.reshape(x, (2, -1));  x.reshape(2, -1)
x.reshape((6, 2));  x.reshape(-1);  x.reshape([4, 3]);  x.reshape(12);  x.reshape(2, 6, order="C")
np.reshape(x, (4, 3), order="F");  np.ravel(x);  x.ravel();  x.flatten();  x.ravel(order="F")
x.flatten("F");  e.reshape(4, 0);  e.reshape(-1, 2);  e.ravel();  np.ravel(s);  s.reshape(1, 1)
s.reshape(());  x.reshape(np.int64(4), 3);  np.expand_dims(x, 0);  np.expand_dims(x, -1)
np.expand_dims(x, (0, 2));  np.squeeze(u);  u.squeeze();  u.squeeze(0);  np.squeeze(u, axis=0)
np.squeeze(u[None], axis=(0, 1));  np.squeeze(s);  np.broadcast_to(v, (3, 4))
np.broadcast_to(s, 3);  np.broadcast_to(1.5 * u, (2, 3, 4));  np.broadcast_to(x, x.shape)
np.broadcast_arrays(v, w[:, None]);  np.concatenate([x, y]);  np.concatenate([x, y], axis=1)
np.concatenate((x, np.ones((3, 1))), axis=-1);  np.concatenate([x, y], axis=None)
np.concatenate([x, n[None]]);  np.concatenate([x, e]);  np.concatenate([n, n])
np.concatenate([v, [1, 2.0]]);  np.concatenate([x]);  np.concatenate([n, m[0]])
np.concatenate([v, v], dtype=np.float64);  np.concat([v, w]);  np.append(v, 1.0)
np.append(x, y, axis=0);  np.stack([x, y]);  np.stack([x, y], axis=-1);  np.stack([x, y], 1)
np.stack([s, s]);  np.stack([s, 1.0]);  np.stack([v, c]);  np.stack([p, p]);  np.stack([n, v])
np.hstack([v, w]);  np.hstack([x, y]);  np.hstack([s, s]);  np.hstack((v, 1.0))
np.vstack([v, v]);  np.vstack([x, v]);  np.vstack((s, s));  np.dstack([x, y])
np.column_stack([v, v]);  np.column_stack([x, w]);  np.block([[x, y], [y, x]]);  np.unstack(x)
np.split(x, 3);  np.split(x, 2, axis=1);  np.split(x, [1, 3], axis=1);  np.split(v, [2])
np.array_split(v, 3);  np.array_split(x, 2);  np.hsplit(x, 2);  np.vsplit(x, 3);  np.hsplit(v, 2)
np.split(v, [3, 1]);  np.split(v, [2, 9]);  np.split(v, [-1]);  np.split(x, np.array([1, 2]))
np.dsplit(B, 2);  np.tile(v, 2);  np.tile(x, (2, 1));  np.tile(v, (2, 3));  np.tile(x, 2)
np.tile(s, 3);  np.tile(B, (2, 1));  np.tile(v, 0);  np.tile(x, ());  np.repeat(x, 2)
np.repeat(x, 2, axis=0);  x.repeat(3, axis=-1);  np.repeat(v, [1, 0, 2, 3])
np.repeat(x, [2, 1, 0], axis=0);  np.repeat(s, 3);  np.repeat(v, 0);  np.repeat(v, [2])
np.flip(x);  np.flip(x, 0);  np.flip(B, (0, -1));  np.fliplr(x);  np.flipud(x);  np.flip(v)
np.flip(s);  np.roll(x, 1);  np.roll(x, 2, axis=0);  np.roll(x, -1, axis=1)
np.roll(x, (1, -2), axis=(0, 1));  np.roll(v, 9);  np.roll(x, 1, axis=(0, 1))
np.roll(x, (1, 1), axis=0);  np.roll(e, 1);  np.roll(s, 1);  np.roll(x, (1, 2), axis=(0, 0))
np.pad(v, 2);  np.pad(x, 1);  np.pad(x, (1, 2));  np.pad(x, ((1, 0), (0, 2)))
np.pad(v, 1, constant_values=3);  np.pad(x, 1, constant_values=((1, 2), (3, 4)))
np.pad(v, (1, 2), mode="edge");  np.pad(x, 2, mode="reflect");  np.pad(x, 2, "symmetric")
np.pad(x, ((1, 2), (2, 0)), mode="wrap");  np.pad(v, 2, "constant", constant_values=(1.5, 2))
np.pad(v, {0: 1});  np.pad(x, {-1: (1, 2)});  np.pad(v, 6, mode="reflect")
np.pad(n, 1, constant_values=2.7);  np.pad(x, [(0, 0), (1, 1)]);  np.pad(e, 1);  np.pad(v, 0)
np.pad(s, 1);  np.pad(v, 1, constant_values=s);  x.astype(np.float32);  x.astype("float64")
x.astype(int);  m.astype(float);  n.astype(np.float32);  x.astype(bool);  np.astype(x, np.float32)
x.copy();  np.copy(x);  np.atleast_1d(s);  np.atleast_2d(v);  np.atleast_3d(x)
np.atleast_1d(s, v);  np.atleast_3d(v);  np.atleast_3d(s);  np.meshgrid(v, w)
np.meshgrid(v, w, indexing="ij");  x.astype(np.float32, copy=False);  np.zeros_like(x)
np.ones_like(x);  np.full_like(x, 2.5);  np.full_like(n, 2);  np.zeros_like(x, dtype=int)
np.ones_like(x, shape=(2,));  np.full_like(x, v);  np.full_like(n, 2.7);  np.zeros_like(s)
np.tril(S);  np.triu(x, 1);  np.tril(B, -1);  np.diag(v);  np.diag(S);  np.diag(v, 1)
np.diag(v, -2);  np.diag(x, -1);  np.diagonal(B, axis1=1, axis2=2);  x.diagonal();  np.diagflat(v)
np.vander(v);  np.vander(v, 2, increasing=True);  x.shape[0] * x;  np.shape(x)[1] * x
np.size(x) * x;  np.ndim(B) * x;  len(x) * x;  x.size * x;  x.ndim * x;  x / x.shape[1]
np.real(x);  x.real;  np.conj(x);  x.conj();  np.ediff1d(v);  np.delete(v, 1);  np.size(x, 0) * x
np.imag(x);  x.nbytes * x;  x.itemsize * v
"""
INDEXING = """
x[1, ..., k];  x[k, ..., 1];  B[:, 1, ..., k];  B[1:, ..., 0, k]
B[0, ..., [True, False, True, False]]
x[0];  x[-1];  x[0, 1];  x[1:];  x[:, 0];  x[:, -1];  x[..., 0];  x[None];  x[:, None]
x[..., None];  x[None, ..., None];  v[::-1];  v[::2];  v[1:3];  v[3:0:-1];  v[-2:];  v[5:]
v[2:1];  x[::-1, ::2];  x[::-2, 1:-1];  x[()];  x[...];  s[()];  s[None];  s[...];  x[0:0]
x[:, 4:];  v[-1::-2];  v[10:1:-1];  B[0];  B[..., -1];  B[:, 1];  B[0, ..., 1];  B[0, 1, 2]
B[:, None, :, 0];  B[1:, :2, ::3];  x[np.int64(1)];  x[np.array(1)];  v[np.array(2)];  e[0:0]
e[:, 1];  x[[0, 2]];  x[k];  x[:, k];  x[k, k];  x[k, :];  x[k, 1];  x[1, k];  x[[0, 1], [1, 2]]
x[np.arange(3), [0, 3, 1]];  x[k[:, None], k];  x[[-1, -2]];  B[k - 1];  B[:, k];  B[..., k]
B[0, k];  B[:, k, k];  B[k - 1, :, k];  B[0, :, k];  B[:, 0, k];  B[k - 1, k, k];  B[k - 1, 1, :]
B[:, k, None];  B[k - 1, None, k];  B[None, k - 1];  B[..., None, k];  B[[[0, 1], [1, 0]]]
B[:, [[0, 1], [1, 0]]];  B[0, :, [1, 2]];  x[[]];  x[:, []];  x[np.zeros((0,), int)]
x[np.zeros((2, 0), int)];  x[mask];  x[mask[:, 0]];  x[:, mask[0]];  x[mask[:, 0], mask[0]]
x[mask[:, 0], 1];  B[:, mask];  B[0][mask];  x[[True, False, True]];  x[~mask];  B[mask[:2, 0], k]
x[k, ::2];  x[::-1, k];  x[k, 1:][:, ::-1];  x[1:, k];  B[1:, k, ::2];  B[k - 1, 1:, 0]
B[k - 1, ..., k];  B[k - 1, ...];  x[..., k, k];  x[k, ..., k];  x[k][0];  x[:, None, k]
x[k, None];  x[n[:1]];  v[n];  x[:, n];  x[n[0]];  x[0, n];  x[n[:3], n[:3]];  v[n[None]]
x[n[:2], k];  x[n[:1] - 1];  v[np.argmax(v)];  x[np.arange(3), np.argmax(x, axis=1)]
x[np.argmin(w)];  v[n][::-1];  x[1, n[0]];  B[0, n[:3], n[:3]];  B[:, n[0], 1];  np.take(x, k)
np.take(x, k, axis=0);  np.take(x, [0, -1], axis=1);  x.take([1, 2]);  np.take(x, 1, axis=0)
np.take(v, n);  np.take(x, [9], mode="clip");  np.take(x, [9, -1], mode="wrap")
np.take_along_axis(x, np.argmax(x, axis=1)[:, None], axis=1)
np.take_along_axis(x, np.array([[0], [1], [2]]), 1)
np.take_along_axis(x, np.argmax(x, axis=0, keepdims=True), 0);  np.take_along_axis(v, n, None)
np.compress([True, False, True], x, axis=0);  np.extract(mask, x);  x[0][1];  x[:, 1:3][0]
x[1][::-1];  x.T[0];  x.T[k];  np.where(mask)[0] + x[0, 0];  [row.sum() for row in x]
[a + b for a, b in zip(v, w)];  np.stack([r * 2 for r in x]);  a if (a := x[0]) is not None else 0
np.tril_indices(3)[0] + s;  S[np.tril_indices(4)];  S[np.diag_indices(4)];  x[range(2)];  x[9]
x[0, 9];  x[[0, 9]];  x[:, [4]];  x[0, 0, 0];  x[np.array([-4])];  v[[-5]];  x["a"];  x[1.0]
x[[0.5]];  x[..., ...];  x[mask.T];  s[0];  e[0];  x[k, np.arange(3)];  x[None, None, 0, 0, 0]
"""
REFUSED = """
np.i0(x);  np.sin(m);  np.exp(m);  np.ldexp(x, 2);  special.erfinv(x / 9);  special.log_ndtr(x)
special.erfcx(x);  special.exprel(x);  np.median(v);  np.median(x, axis=0);  np.sort(v)
np.sum([x, y]);  np.sum([x, y], axis=0);  np.mean([x, y], axis=0);  np.max([s, s]);  np.cov(x)
np.corrcoef(x);  np.sum(x, where=m);  np.mean(x, where=m);  np.nanmax(x);  np.logaddexp.reduce(v)
np.convolve(v, w);  np.correlate(v, w);  np.r_[v, w];  np.c_[v, v]
np.pad(v, 2, mode="reflect", reflect_type="odd");  np.pad(v, 2, mode="linear_ramp")
np.pad(v, 2, mode="maximum");  np.pad(x, 1, "mean");  x[True];  x[False];  s[True];  x[True, 0]
x[None, True];  np.choose(n % 2, [v, -v])
"""


def expressions(text: str) -> list[str]:
    return list(
        dict.fromkeys(part.strip() for part in text.replace("\n", ";").split(";") if part.strip())
    )


EXPRESSIONS = [
    expression
    for text in (ARITHMETIC, ELEMENTARY, REDUCTIONS, PRODUCTS, LAYOUT, INDEXING)
    for expression in expressions(text)
]
NAMES = ("x", "y", "v", "w", "s", "A", "B", "C", "S", "u", "e", "n", "m", "p")
CONCRETE = {
    "np": np, "special": special, "k": np.array([1, 2]), "c": np.array([0.5, -1.5, 2.0, 1.0]),
    "mask": np.array([[1, 0, 0, 1], [0, 1, 1, 0], [1, 1, 0, 0]], bool),
}  # fmt: skip


def arguments(dtype: Any) -> list[Any]:
    """One array for each name, of floats or of whole numbers."""
    generator = np.random.default_rng(7)
    shapes = ((3, 4), (3, 4), (4,), (3,), (), (4, 5), (2, 3, 4), (2, 4, 5), (4, 4), (1, 4), (0, 4))
    floats = [np.asarray(np.round(generator.uniform(-3, 3, s) * 4) / 4 + 0.01) for s in shapes]
    return [*(f.astype(dtype) for f in floats), np.array([0, 2, 1, 2]), floats[0] > 0, 0.75]


def outcome(function: Any, *args: Any) -> Any:
    """What NumPy gives, or the error it raises."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            return function(*args)
        except (ValueError, TypeError, IndexError) as error:
            return error


def same(expected: Any, result: Any, dtype: Any) -> None:
    expected = np.asarray(expected)
    assert (result.shape, result.dtype) == (expected.shape, expected.dtype)
    tolerance = 2e-5 if np.float32 in (dtype, result.dtype) else 1e-12
    np.testing.assert_allclose(result, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64], ids=["f64", "f32", "i64"])
@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_the_graph_gives_what_numpy_gives(expression: str, dtype: Any) -> None:
    function = eval(f"lambda {', '.join(NAMES)}: {expression}", dict(CONCRETE))
    args = arguments(dtype)
    expected = outcome(function, *args)
    if isinstance(expected, Exception):
        with pytest.raises(GraphJITError):
            run(function, *args)
        return
    results = run(function, *args)
    whole = list(expected) if isinstance(expected, tuple | list) else [expected]
    assert len(results) == len(whole)
    for one, other in zip(whole, results, strict=True):
        same(one, other, dtype)
