"""Functions written to files: a Python module without GraphJIT, and object code for C."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import optree
import pytest

from graphjit import train
from graphjit.codegen import llvm_library
from graphjit.codegen.loops import (
    Gemm,
    Gemv,
)
from graphjit.codegen.native import host, made_for
from graphjit.codegen.walks import walk
from graphjit.control import while_loop
from graphjit.errors import CompileError, DTypeError
from graphjit.exports import NativeFunction, export
from graphjit.exports.declare import kind
from graphjit.exports.form import Form, form_of
from graphjit.exports.loops import dense, written_by_us
from graphjit.exports.processors import LEVELS, processor
from graphjit.exports.render_module import render_module
from graphjit.transforms import grad, hessian, jit, value_and_grad
from zoo import ZOO, Animal

Array = np.ndarray[Any, Any]
animals = pytest.mark.parametrize("animal", ZOO, ids=lambda animal: animal.name)
needs_gcc = pytest.mark.skipif(not shutil.which("gcc"), reason="there is no C compiler gcc")
RNG = np.random.default_rng(0)


def leaves(tree: Any) -> list[Any]:
    """The traced leaves, arrays or numbers."""
    found = optree.tree_leaves(tree, namespace="graphjit")
    arrays = [np.asarray(a) for a in found if isinstance(a, float | np.ndarray | np.generic)]
    return [a if a.ndim else a[()] for a in arrays]


def energy(w: Array, x: Array) -> Any:
    return np.sum(np.tanh(x @ w) ** 2)


def regression(params: Any, x: Array, y: Array) -> Any:
    hidden = np.tanh(x @ params["w"] + params["b"])
    return np.mean((hidden @ params["v"] - y) ** 2)


def network() -> tuple[Any, Array, Array]:
    params = {"w": RNG.normal(size=(3, 8)), "b": np.zeros(8), "v": RNG.normal(size=8)}
    return params, RNG.normal(size=(20, 3)), RNG.normal(size=20)


def root(a: Any) -> Any:
    return while_loop(lambda c: np.abs(c * c - a) > 1e-12, lambda c: (c + a / c) / 2, a)


def pick(table: Array, i: Array) -> Any:
    return table[i]


def mixed(flag: Any, k: Any, x: Any, mask: Any) -> Any:
    return np.where(mask, x, -x) * k + flag, ~mask, k


TABLE = RNG.normal(size=(5, 30)).astype(">f8").T  # neither contiguous nor of native byte order
SHORT = np.array([np.inf, -1.5, np.nan, 0.25, -0.0])
MIXED = np.bool_(True), np.int8(-3), np.float32(2.5), np.array([True, False, True])


def captured(x: Array) -> Any:
    return np.sum(np.cos(TABLE @ x)), np.where(np.isfinite(SHORT), SHORT * x, SHORT)


def zoo(name: str) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    animal = next(a for a in ZOO if a.name == name)
    return value_and_grad(animal.function), animal.args()


CASES: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
    "quiz": zoo("quiz"),
    "float32_net": zoo("float32_net"),
    "embedding": zoo("embedding"),
    "attention": zoo("attention"),
    "root": (grad(root), (2.0,)),
    "mixed": (mixed, MIXED),
    "captured": (captured, (np.ones(5),)),
    "large": (value_and_grad(energy), (RNG.normal(size=(40, 30)), RNG.normal(size=(500, 40)))),
    "empty": zoo("empty"),
    "hessian": (hessian(energy), (RNG.normal(size=(2, 3)), RNG.normal(size=(4, 2)))),
}
cases = pytest.mark.parametrize("case", CASES)


def assert_close(expected: Any, found: Sequence[Any]) -> None:
    wanted = leaves(expected)
    assert len(wanted) == len(found)
    for a, b in zip(wanted, found, strict=True):
        assert np.asarray(a).dtype == b.dtype
        rtol = 1e-5 if b.dtype == np.float32 else 1e-11
        np.testing.assert_allclose(np.reshape(b, np.shape(a)), a, rtol=rtol, atol=rtol)


# -- Python --------------------------------------------------------------------------------------


def as_python(form: Form) -> Callable[..., Any]:
    """The function of the module's text, run as plain Python."""
    text = render_module(form, "f")
    compiled = 'compiled = numba.njit(error_model="numpy", nogil=True)\n'
    assert text.count(compiled) == 1
    assert "graphjit" not in text
    namespace: dict[str, Any] = {}
    exec(text.replace(compiled, "compiled = lambda function: function\n"), namespace)
    return np.errstate(all="ignore")(namespace["f"])  # type: ignore[no-any-return]


@animals
def test_the_text_means_the_same(animal: Animal) -> None:
    both, args = value_and_grad(animal.function), animal.args()
    found = as_python(form_of(both, args, {}).plain())(*leaves(args))
    assert_close(both(*args), found if isinstance(found, tuple) else (found,))


RUN = """
import importlib, sys
sys.modules["graphjit"] = sys.modules["scipy"] = None  # importing either is an error
import numpy as np
for name in sys.argv[1:]:
    function = getattr(importlib.import_module(name), name)
    given = np.load(f"{name}_in.npz")
    found = function(*[given[k] for k in sorted(given)])
    found = found if isinstance(found, tuple) else (found,)
    np.savez(f"{name}_out.npz", **{f"{i:03}": a for i, a in enumerate(found)})
assert not [name for name in sys.modules if name.startswith("graphjit.")]
"""


def test_the_modules_run_where_there_is_no_graphjit(tmp_path: Path) -> None:
    names = [case for case in CASES if case != "attention"]
    for name in names:
        f, args = CASES[name]
        exported = export(f, args, name, tmp_path, forms=("py",))
        assert exported.module == tmp_path / f"{name}.py"
        assert exported.object is exported.header is None
        given = {f"{i:03}": a for i, a in enumerate(leaves(args))}
        np.savez(tmp_path / f"{name}_in.npz", **given)
    done = subprocess.run(
        [sys.executable, "-c", RUN, *names], cwd=tmp_path, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(tmp_path)}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for name in names:
        f, args = CASES[name]
        found = np.load(tmp_path / f"{name}_out.npz")
        assert_close(jit(f)(*args), [found[k] for k in sorted(found)])


def test_the_module_says_what_it_takes_and_checks_it() -> None:
    f = as_python(form_of(energy, (np.ones((2, 3)), np.ones((4, 2))), {}).plain())
    assert "w: float64 array, 2 x 3." in (f.__doc__ or "")
    with pytest.raises(TypeError, match="w must be of dtype float64, not float32"):
        f(np.ones((2, 3), np.float32), np.ones((4, 2)))
    with pytest.raises(ValueError, match=r"x must have the shape \(4, 2\), not \(4, 3\)"):
        f(np.ones((2, 3)), np.ones((4, 3)))
    assert f(np.ones((3, 2)).T, np.ones((4, 2))) == f(np.ones((2, 3)), np.ones((4, 2)))
    take = as_python(form_of(pick, (np.ones(3), np.array([0])), {}))
    with pytest.raises(IndexError, match="out of bounds for an axis of size 3 at test_export"):
        take(np.ones(3), np.array([3]))


def test_whole_products_are_np_dot_where_a_blas_is_wanted() -> None:
    f, args = CASES["large"]
    form = form_of(f, args, {})
    text = render_module(form.plain(dense), "f")
    assert text.count("np.dot(") == 2
    assert "np.dot(" not in render_module(form.plain(), "f")
    assert_close(f(*args), as_python(form.plain(dense))(*leaves(args)))


def test_names_that_python_needs_are_not_shadowed() -> None:
    def tricky(np_: Any, run: Any, compiled: Any, tricky: Any, conforming: Any, x: Any) -> Any:
        return np_ * run + compiled * tricky + np.exp(conforming) * x

    args = (1.0, 2.0, 3.0, 4.0, 5.0, 6.0)
    assert as_python(form_of(tricky, args, {}))(*args) == pytest.approx(jit(tricky)(*args))


# -- plain loops ---------------------------------------------------------------------------------

PRODUCTS = {
    "plain": lambda a, b: a @ b,
    "left": lambda a, b: a.T @ b[: a.shape[0]],
    "right": lambda a, b: a @ (b[:, :7] * 1.0),
    "both": lambda a, b: (b.T @ a.T).T * 2,
    "batch": lambda a, b: np.einsum("ij,kj->ik", a, b.T),
    "vector": lambda a, b: a @ b[:, 0],
    "row": lambda a, b: b[:, 1] @ a.T,
    "down": lambda a, b: a[:, 2] @ a,
    "parts": lambda a, b: a[1:7, 2:] @ b[2:, 3:9],
}


@pytest.mark.parametrize("name", PRODUCTS)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_products_as_loops_are_those_of_the_blas(name: str, dtype: type) -> None:
    args: tuple[Array, Array]
    args = RNG.normal(size=(9, 8)).astype(dtype), RNG.normal(size=(8, 11)).astype(dtype)
    if name == "left":
        args = args[0], RNG.normal(size=(9, 11)).astype(dtype)
    form = form_of(PRODUCTS[name], args, {})
    before = [s for k in form.program.kernels for s in walk(k.statements)]
    after = [s for k in form.plain().program.kernels for s in walk(k.statements)]
    assert any(isinstance(s, Gemm | Gemv) for s in before)
    assert not any(isinstance(s, Gemm | Gemv) for s in after)
    out: Array = np.full(form.outputs[0].aval.shape, 7, dtype)
    NativeFunction(form.plain()).ctypes(*args, out)
    assert_close(PRODUCTS[name](*args), [out])
    assert_close(PRODUCTS[name](*args), [as_python(form.plain())(*args)])


# -- C -------------------------------------------------------------------------------------------

MAIN = """
#include <stdio.h>
#include <string.h>
#include "{name}.h"
{arrays}
static unsigned char work[{guard}_WORK_BYTES + 64];
int main(void) {{
    {reads}
    int status = {name}({given});
    if (status) return 10 + status;
    {writes}
    if ({name}_on({again}, (void *)(((uintptr_t)work + 63) / 64 * 64))) return 2;
    return {differ} ? 3 : 0;
}}
"""


def main_program(form: Form, name: str) -> str:
    """A program that reads the arguments, calls the function twice, and writes the results."""
    arrays, reads, writes, again, differ = [], [], [], [], ["0"]
    for item in (*form.inputs, *form.outputs):
        element, size = kind(item.aval.dtype), max(item.aval.size, 1)
        arrays.append(f"static {element} v_{item.name}[{size}];")
        if not item.result:
            reads.append(f"fread(v_{item.name}, {element_size(element)}, {item.aval.size}, stdin);")
            continue
        arrays.append(f"static {element} w_{item.name}[{size}];")
        bytes_ = f"{element_size(element)} * {item.aval.size}"
        writes.append(f"fwrite(v_{item.name}, 1, {bytes_}, stdout);")
        differ.append(f"memcmp(v_{item.name}, w_{item.name}, {bytes_})")
        again.append(f"w_{item.name}")
    inputs = [f"*v_{i.name}" if i.scalar else f"v_{i.name}" for i in form.inputs]
    outputs = [f"v_{i.name}" for i in form.outputs]
    return MAIN.format(
        name=name, guard=name.upper(), arrays="\n".join(arrays), reads="\n    ".join(reads),
        writes="\n    ".join(writes), given=", ".join([*inputs, *outputs]),
        again=", ".join([*inputs, *again]), differ=" || ".join(differ),
    )  # fmt: skip


def element_size(element: str) -> str:
    return f"sizeof({element})"


def run_c(folder: Path, form: Form, name: str, args: Any, *more: str) -> list[Array]:
    """Compile, link and run the program; what it wrote."""
    (folder / "main.c").write_text(main_program(form, name))
    flags = ["-std=c11", "-Wall", "-Werror=implicit-function-declaration", "-I."]
    command = ["gcc", *flags, "main.c", *more, f"{name}.o", "-lm", "-o", "main"]
    built = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    data = b"".join(np.ascontiguousarray(a).tobytes() for a in leaves(args))
    done = subprocess.run([str(folder / "main")], input=data, capture_output=True, check=False)
    assert done.returncode == 0
    found, place = [], 0
    for item in form.outputs:
        size = item.aval.size * item.aval.dtype.itemsize
        found.append(np.frombuffer(done.stdout[place : place + size], item.aval.dtype))
        place += size
    assert place == len(done.stdout)
    return found


@needs_gcc
@cases
def test_a_c_program_gets_the_same_bits(case: str, tmp_path: Path) -> None:
    f, args = CASES[case]
    exported = export(f, args, case, tmp_path, forms="object")
    form = form_of(f, args, {}).plain(written_by_us)
    found = run_c(tmp_path, form, case, args)
    here = [np.full(i.aval.shape or (1,), 7, i.aval.dtype) for i in form.outputs]
    kept = {name: np.ascontiguousarray(a, "=f8") for name, a in form.captured.items()}
    NativeFunction(replace(form, captured=kept), blas=False).ctypes(*leaves(args), *here)
    for a, b in zip(here, found, strict=True):
        np.testing.assert_array_equal(a.reshape(-1), b)
    assert_close(jit(f)(*args), found)
    assert exported.signature.startswith(f"int {case}(")


@needs_gcc
def test_code_for_any_processor_of_the_family_runs_here(tmp_path: Path) -> None:
    f, args = CASES["large"]
    export(f, args, "large", tmp_path, forms="object", cpu="generic")
    assert_close(f(*args), run_c(tmp_path, form_of(f, args, {}).plain(), "large", args))


def test_each_level_of_a_processor_has_its_vectors(tmp_path: Path) -> None:
    if "+sse2" not in host().features:
        pytest.skip("x86-64 only")
    f, args = CASES["large"]
    codes = []
    for cpu in ("generic", *LEVELS):
        with made_for(processor(cpu)):
            assert host().vector_bytes == LEVELS.get(cpu, (16,))[0]
        path = export(f, args, "large", tmp_path, forms="object", cpu=cpu).object
        assert path is not None
        codes.append(path.read_bytes())
    assert codes[0] == codes[1]  # generic is the first level
    assert len({*codes}) >= 4


CBLAS = """
void cblas_dgemm(int order, int ta, int tb, int m, int n, int k, double alpha, const double *a,
                 int lda, const double *b, int ldb, double beta, double *c, int ldc) {
    if (order != 101 || alpha != 1 || beta != 0) return;
    for (int i = 0; i < m; i++)
        for (int j = 0; j < n; j++) {
            double total = 0;
            for (int p = 0; p < k; p++)
                total += (ta == 112 ? a[p * lda + i] : a[i * lda + p]) *
                         (tb == 112 ? b[j * ldb + p] : b[p * ldb + j]);
            c[i * ldc + j] = total;
        }
}
"""


def call_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no product be small enough for code of our own."""
    monkeypatch.setattr(llvm_library, "gemm", llvm_library.gemm_call)
    monkeypatch.setattr(llvm_library, "gemv", llvm_library.gemv_call)


def test_products_that_the_renderer_can_write_out_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    f, args = CASES["large"]
    form = form_of(f, args, {})

    def products(form: Form) -> int:
        found = [s for k in form.program.kernels for s in walk(k.statements)]
        return sum(isinstance(s, Gemm | Gemv) for s in found)

    with made_for(host()._replace(vector_bytes=16)):
        assert products(form.plain(written_by_us)) == products(form) == 2
    call_the_library(monkeypatch)
    assert products(form.plain(written_by_us)) == 0


@needs_gcc
def test_products_call_a_blas_by_its_standard_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    call_the_library(monkeypatch)
    f, args = CASES["large"]
    exported = export(f, args, "large", tmp_path, blas=True)
    assert exported.header is not None
    assert "It calls cblas_dgemm" in exported.header.read_text()
    (tmp_path / "blas.c").write_text(CBLAS)
    assert_close(f(*args), run_c(tmp_path, form_of(f, args, {}), "large", args, "blas.c"))


@needs_gcc
def test_c_is_told_of_an_index_out_of_range(tmp_path: Path) -> None:
    args = np.arange(5.0), np.array([1, 2])
    exported = export(pick, args, "take", tmp_path)
    assert exported.header is not None
    words = "1: an index is out of bounds for an axis of size 5 at test_export_files.py:"
    assert words in exported.header.read_text()
    form = form_of(pick, args, {})
    assert_close(np.array([4.0, 0.0]), run_c(tmp_path, form, "take", (args[0], np.array([-1, 0]))))
    data = args[0].tobytes() + np.array([0, 5]).tobytes()
    done = subprocess.run([str(tmp_path / "main")], input=data, check=False)
    assert done.returncode == 11


@needs_gcc
def test_the_header_is_one_for_c_plus_plus_too(tmp_path: Path) -> None:
    if not shutil.which("g++"):
        pytest.skip("there is no g++")
    export(mixed, MIXED, "mixed", tmp_path, forms="object")
    (tmp_path / "main.cpp").write_text('#include "mixed.h"\nint main() { return !&mixed; }\n')
    command = ["g++", "-w", "main.cpp", "mixed.o", "-lm", "-o", "main"]
    subprocess.run(command, cwd=tmp_path, check=True)
    subprocess.run([str(tmp_path / "main")], check=True)


# -- a training step -----------------------------------------------------------------------------


def test_a_step_is_that_of_the_training_loop() -> None:
    params, x, y = network()
    optimizer = train.adam(0.01)
    step = jit(train.train_step(regression, optimizer))
    expected = train.minimize(regression, params, (x, y), optimizer, epochs=20)
    state = optimizer.init(params)
    for loss in expected.losses:
        found = step(params, state, x, y)
        assert found.loss == pytest.approx(loss, rel=1e-12)
        params, state = found.params, found.state
    for name, value in expected.params.items():
        np.testing.assert_allclose(params[name], value, rtol=1e-11)


@needs_gcc
def test_a_step_is_exported_whole(tmp_path: Path) -> None:
    params, x, y = network()
    optimizer = train.adam(0.01)
    step = train.train_step(regression, optimizer)
    args = (params, optimizer.init(params), x, y)
    exported = export(step, args, "step", tmp_path)
    assert "const double *params_w" in exported.signature
    assert "double *out_loss, double *out_params_b" in exported.signature
    found = run_c(tmp_path, form_of(step, args, {}).plain(), "step", args)
    assert_close(jit(step)(*args), found)
    assert_close(jit(step)(*args), as_python(form_of(step, args, {}).plain())(*leaves(args)))


def test_a_step_needs_an_optimizer() -> None:
    with pytest.raises(DTypeError, match="is no optimizer"):
        train.train_step(regression, 0.1)  # type: ignore[arg-type]


# -- bad input -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"name": "no name"}, "'no name' is no name of a function in Python and C\n(.*\n)*.*Use a"),
        ({"name": "3d"}, "'3d' is no name"),
        ({"name": "größe"}, "is no name"),
        ({"name": "../f"}, "is no name"),
        ({"name": "double"}, "'double' has a meaning of its own in Python or C"),
        ({"name": "lambda"}, "has a meaning of its own"),
        ({"name": "exp"}, "has a meaning of its own"),
        ({"forms": ("py", "dll")}, "there is no form 'dll'"),
        ({"forms": "objects"}, "Did you mean 'object'"),
        ({"cpu": "x86-64-v9"}, "there is no processor 'x86-64-v9'"),
        ({"folder": "missing/folder"}, "the files cannot be written: No such file or directory"),
    ],
)
def test_bad_options_are_told_so(
    options: dict[str, Any], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CompileError, match=words):
        export(np.sin, (1.0,), **{"name": "f", **options})
    assert not list(tmp_path.iterdir())


def test_a_failure_leaves_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "f.h").mkdir()
    (tmp_path / "f.py").write_text("old")
    with pytest.raises(CompileError, match="the files cannot be written"):
        export(np.sin, (1.0,), "f", tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["f.h", "f.o", "f.py"]


def test_text_of_the_users_cannot_leave_a_comment(tmp_path: Path) -> None:
    args = ({'*/ int x; /*"""\n': 1.0},)
    exported = export(lambda p: p['*/ int x; /*"""\n'] * 2, args, "f", tmp_path)
    assert exported.header is not None
    body = exported.header.read_text().split("#ifndef")[0]
    assert body.count("*/") == 1
    assert as_python(form_of(lambda p: p['*/ int x; /*"""\n'] * 2, args, {}))(3.0) == 6.0
