"""LLVM's code generator, called directly or through llvmlite: one and the same."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from graphjit.cache.environment import installed
from graphjit.codegen import libllvm
from graphjit.codegen.native import BEST, compiled, host, this_one
from graphjit.errors import CompileError

TEXT = """
define void @twice(ptr %x) {
  %a = load <8 x double>, ptr %x
  %b = call <8 x double> @pair(<8 x double> %a)
  %c = call <8 x double> @pair(<8 x double> %a)
  %d = fmul <8 x double> %b, %c
  store <8 x double> %d, ptr %x
  ret void
}
define internal <8 x double> @pair(<8 x double> %a) alwaysinline {
  %b = fadd <8 x double> %a, %a
  ret <8 x double> %b
}
"""
DIRECT = isinstance(libllvm.library(), libllvm.Direct)
known = pytest.mark.skipif(not DIRECT, reason="llvmlite's library is not one that is known")


@pytest.fixture(scope="module")
def imported() -> libllvm.Imported:
    return libllvm.Imported()


def test_the_supported_version_is_known() -> None:
    if sys.platform.startswith("linux"):
        assert installed()[1].startswith(libllvm.KNOWN)
        assert DIRECT


def test_both_tell_the_same_of_the_processor(imported: libllvm.Imported) -> None:
    own = libllvm.library()
    assert (own.triple, own.cpu, own.features) == (
        imported.triple, imported.cpu, imported.features,
    )  # fmt: skip


def test_features_are_in_llvms_form() -> None:
    import llvmlite.binding as llvm

    assert this_one().features == llvm.get_host_cpu_features().flatten()


@pytest.mark.parametrize("passes", ["", "always-inliner", "always-inliner,new-gvn"])
@pytest.mark.parametrize("level", [0, 2])
@pytest.mark.parametrize("cpu", ["host", "x86-64"])
def test_both_make_the_same_code(
    imported: libllvm.Imported, cpu: str, level: int, passes: str
) -> None:
    if cpu == "host":
        name, features = host().cpu, host().features
    elif libllvm.library().triple.startswith("x86_64"):
        name, features = cpu, ""
    else:
        pytest.skip("another family")
    ours, theirs = (
        each.object_file(TEXT, name, features, level, passes)
        for each in (libllvm.library(), imported)
    )
    assert ours == theirs


def test_options_reach_the_code_generator() -> None:
    made = {
        libllvm.library().object_file(TEXT, host().cpu, features, level, passes)
        for features, level, passes in (
            (host().features, 0, ""), (host().features, 2, ""),
            (host().features, 2, "always-inliner"), ("-avx,-avx512f", 2, "always-inliner"),
        )
    }  # fmt: skip
    assert len(made) == (4 if DIRECT and "+avx," in host().features else len(made))
    assert len(made) > 1


@pytest.mark.parametrize("text", ["hello", "define void @f() { call void @g() ret void }"])
def test_what_is_no_module_is_an_error(text: str) -> None:
    with pytest.raises(CompileError, match=r"LLVM does not take the generated text: .*error: "):
        compiled(text)


def test_an_unknown_pass_is_an_error(imported: libllvm.Imported) -> None:
    for each in (libllvm.library(), imported):
        with pytest.raises((AttributeError, KeyError)):
            each.object_file(TEXT, host().cpu, host().features, 2, "no-such-pass")


def test_threads_compile_at_once() -> None:
    wanted = compiled(TEXT, BEST, "always-inliner")
    found: list[bytes] = []

    def work() -> None:
        found.extend(compiled(TEXT, BEST, "always-inliner") for _ in range(10))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 40
    assert set(found) == {wanted}


@known
@pytest.mark.parametrize(
    "place",
    [
        (Path("/nowhere"), "0.50.0"),  # there is no library
        (Path(__file__).parent, "0.51.0"),  # a version that we do not know
    ],
)
def test_elsewhere_llvmlite_is_imported(
    place: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(libllvm, "installed", lambda: place)
    assert isinstance(libllvm.loaded(), libllvm.Imported)


@known
def test_a_library_without_the_functions_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    functions = {**libllvm.FUNCTIONS, "NoSuchFunction": (None,)}
    monkeypatch.setattr(libllvm, "FUNCTIONS", functions)
    assert isinstance(libllvm.loaded(), libllvm.Imported)


def run(script: str) -> str:
    """What a process of its own prints."""
    variables = {**os.environ, "GRAPHJIT_CACHE": "off", "GRAPHJIT_RENDERER": "llvm"}
    command = [sys.executable, "-c", textwrap.dedent(script)]
    done = subprocess.run(command, capture_output=True, text=True, env=variables, check=True)
    return done.stdout + done.stderr


@known
def test_a_gradient_does_without_the_import_of_llvmlite() -> None:
    script = """
        import sys, threading
        import numpy as np, graphjit
        f = graphjit.grad(lambda x: np.sum(np.sin(x)))
        print(f(np.zeros(3)))
        for thread in threading.enumerate():
            if thread is not threading.current_thread():
                thread.join()
        print(f(np.zeros(3)), "llvmlite" in sys.modules)
    """
    assert run(script).splitlines() == ["[1. 1. 1.]", "[1. 1. 1.] False"]


def test_numba_and_graphjit_compile_in_one_process() -> None:
    script = """
        import threading
        import numpy as np, graphjit
        f = graphjit.grad(lambda x: np.sum(np.sin(x)))
        thread = threading.Thread(target=lambda: f(np.zeros(3)))
        thread.start()
        import numba
        g = numba.njit(lambda x: x + 1)
        print(g(1))
        thread.join()
        print(f(np.zeros(3)), graphjit.grad(lambda x: x * x)(3.0))
    """
    assert run(script).splitlines() == ["2", "[1. 1. 1.] 6.0"]


def test_a_failure_while_loading_early_is_met_by_who_needs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken() -> libllvm.Library:
        raise OSError("it cannot be loaded")

    monkeypatch.setattr(libllvm, "loaded", broken)
    once, before = libllvm.Once(), threading.active_count()
    once.early()
    with pytest.raises(OSError, match="it cannot be loaded"):
        once()
    assert threading.active_count() <= before + 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_child_loads_it_though_a_thread_of_its_parent_was_at_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun, done = threading.Event(), threading.Event()

    def slow() -> libllvm.Library:
        begun.set()
        done.wait(30)
        raise OSError("it cannot be loaded")

    monkeypatch.setattr(libllvm, "loaded", slow)
    once = libllvm.Once()
    once.early()
    assert begun.wait(30)
    child = os.fork()
    if not child:
        monkeypatch.setattr(libllvm, "loaded", libllvm.Imported)
        os._exit(7 if isinstance(once(), libllvm.Imported) else 1)
    done.set()
    waiting = threading.Timer(30, os.kill, (child, 9))
    waiting.start()
    status = os.waitpid(child, 0)[1]
    waiting.cancel()
    assert os.waitstatus_to_exitcode(status) == 7
