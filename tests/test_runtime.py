"""What generated programs call: the same under both runtimes, and as NumPy says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.lib.stride_tricks import as_strided

from graphjit.codegen import blas, objects, runtime_numba, runtime_python
from graphjit.codegen.build import launcher, runtime
from graphjit.codegen.texts import compiled
from graphjit.ir.aval import DTYPES

BOTH = pytest.mark.parametrize("jit", [False, True], ids=["python", "numba"])
FLOATS = pytest.mark.parametrize("short", ["f64", "f32"])


def ran(text: str, names: str, pack: tuple[Any, ...], *, jit: bool) -> None:
    """Run the body of a program on its arguments."""
    head = f"import numpy as np\nfrom {runtime(jit=jit)} import kernel, {names}\n@kernel\n"
    lines = "\n    ".join(text.strip().splitlines())
    entry = compiled(f"{head}def run(args):\n    {lines}\n", "runtime")
    launcher(entry, jit=jit)(pack)


def test_both_runtimes_have_the_same_names() -> None:
    for name in (
        "kernel",
        "part",
        "hide",
        "gemm",
        "gemv",
        *runtime_python.ARRAYS,
        *runtime_python.SCALARS,
    ):
        assert getattr(runtime_numba, name)
        assert getattr(runtime_python, name)
    assert set(runtime_python.ARRAYS) == {f"array_{short}" for short in DTYPES}
    for module in (runtime_numba, runtime_python):
        with pytest.raises(AttributeError):
            _ = module.nothing_of_that_name


def test_blas_is_found_here() -> None:
    found = blas.find()
    assert found is not None
    assert set(found.addresses) == set(blas.ROUTINES)
    assert all(found.addresses.values())
    assert found.integer in {32, 64}
    assert objects.direct()


@BOTH
def test_arrays_and_scalars_of_every_dtype_are_read_and_written(jit: bool) -> None:
    shorts = sorted(DTYPES)
    arrays = [np.array([0, 1, 1], DTYPES[s]) for s in shorts]
    scalars = [DTYPES[s].type(1) for s in shorts]
    lines = []
    for i, short in enumerate(shorts):
        lines += [
            f"a{i} = array_{short}(args, {i})",
            f"s{i} = scalar_{short}(args, {len(shorts) + i})",
        ]
        lines += [f"a{i}[0] = s{i}[0]", f"a{i}[2] = part(a{i}, 1)[0] - a{i}[1]"]
    names = ", ".join(["part", *(f"{kind}_{s}" for kind in ("array", "scalar") for s in shorts)])
    ran("\n".join(lines), names, (*arrays, *scalars), jit=jit)
    for array in arrays:
        np.testing.assert_array_equal(array, np.array([1, 1, 0], array.dtype))


def test_a_python_float_is_a_scalar() -> None:
    for jit in (False, True):
        out = np.zeros(1)
        ran(
            "array_f64(args, 1)[0] = scalar_f64(args, 0)[0]",
            "array_f64, scalar_f64",
            (2.5, out),
            jit=jit,
        )
        assert out[0] == 2.5


def padded(x: Any, leading: int) -> tuple[Any, Any]:
    """The matrix inside rows of ``leading`` elements, as a view and as flat memory."""
    flat = np.full(x.shape[0] * leading, 7, x.dtype)
    view = as_strided(flat, x.shape, (leading * x.itemsize, x.itemsize))
    view[...] = x
    return view, flat


@BOTH
@FLOATS
@pytest.mark.parametrize(
    "transposed", [(a, b) for a in (False, True) for b in (False, True)], ids=str
)
def test_gemm_is_the_product_with_any_leading_dimension(
    transposed: tuple[bool, bool], short: str, jit: bool
) -> None:
    rng, (m, n, k) = np.random.default_rng(0), (5, 3, 4)
    a, b = (rng.normal(size=s).astype(DTYPES[short]) for s in ((m, k), (k, n)))
    one, flat_a = padded(a.T if transposed[0] else a, 8)
    two, flat_b = padded(b.T if transposed[1] else b, 9)
    result, flat_c = padded(np.zeros((m, n), a.dtype), 6)
    text = f"""
x = array_{short}(args, 0)
y = array_{short}(args, 1)
z = array_{short}(args, 2)
gemm({transposed[0]}, {transposed[1]}, {m}, {n}, {k}, x, 8, y, 9, z, 6)
"""
    ran(text, f"gemm, array_{short}", (flat_a, flat_b, flat_c), jit=jit)
    np.testing.assert_allclose(result, a @ b, rtol=1e-12 if short == "f64" else 1e-4)
    assert (as_strided(flat_c, (m - 1, 3), (6 * a.itemsize, a.itemsize))[:, :] == result[:-1]).all()
    assert (flat_c.reshape(m, 6)[:, n:] == 7).all()
    assert one.shape
    assert two.shape


@BOTH
@FLOATS
@pytest.mark.parametrize("transpose", [False, True])
def test_gemv_is_the_product_with_any_step(transpose: bool, short: str, jit: bool) -> None:
    rng, (rows, columns) = np.random.default_rng(1), (5, 3)
    a = rng.normal(size=(rows, columns)).astype(DTYPES[short])
    matrix = a.T if transpose else a
    x = rng.normal(size=matrix.shape[1] * 2).astype(a.dtype)
    y = np.full(matrix.shape[0] * 3, 7, a.dtype)
    text = f"""
a = array_{short}(args, 0)
x = array_{short}(args, 1)
y = array_{short}(args, 2)
gemv({transpose}, {rows}, {columns}, a, 4, x, 2, y, 3)
"""
    ran(text, f"gemv, array_{short}", (padded(a, 4)[1], x, y), jit=jit)
    rtol = 1e-12 if short == "f64" else 1e-4
    np.testing.assert_allclose(y[::3], matrix @ x[::2], rtol=rtol)
    assert (y[1::3] == 7).all()
    assert (y[2::3] == 7).all()


@BOTH
def test_a_hidden_length_is_the_length(jit: bool) -> None:
    out = np.zeros(1, np.int64)
    ran(
        "for i in range(hide(11)):\n    array_i64(args, 0)[0] += i",
        "hide, array_i64",
        (out,),
        jit=jit,
    )
    assert out[0] == 55


def test_where_python_lays_objects_out_otherwise_pointers_are_passed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(objects, "direct", lambda: False)
    out = np.zeros(3)
    text = "a = array_f64(args, 1)\na[1] = scalar_f64(args, 0)[0] + scalar_f32(args, 2)[0]"
    ran(text, "array_f64, scalar_f64, scalar_f32", (2.5, out, np.float32(0.5)), jit=True)
    np.testing.assert_array_equal(out, [0, 3, 0])


SCRIPT = """
import os, sys
from pathlib import Path
from graphjit.codegen.texts import folder
path = folder()
child = os.fork()
if not child:
    sys.exit(0 if folder() != path else 3)
_, status = os.waitpid(child, 0)
print(path, path.is_dir(), status)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows has no fork")
def test_generated_files_go_when_their_process_ends_and_not_before() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", SCRIPT], capture_output=True, text=True, check=True
    )
    path, there, status = done.stdout.split()
    assert (there, status) == ("True", "0")
    assert not Path(path).exists()
    assert not done.stderr
