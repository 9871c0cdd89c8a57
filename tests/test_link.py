"""Images of object files run as LLVM's own linker lets the object files run, or are not made."""

import ctypes
import re
import struct
import sys
from collections.abc import Callable
from typing import Any

import llvmlite.binding as llvm
import pytest

from graphjit.codegen.code import Code
from graphjit.codegen.image import Image, is_image
from graphjit.codegen.link import Unknown, image, linked
from graphjit.codegen.native import BEST, compiled, object_file
from graphjit.errors import CompileError

ELF = llvm.get_default_triple().startswith("x86_64") and sys.platform.startswith("linux")
pytestmark = pytest.mark.skipif(not ELF, reason="images are made of ELF for x86-64")

CONSTANTS = """
@table = private constant [4 x double] [double 1.5, double 2.5, double -3.0, double 1.0e300]
define double @called(double %x, i64 %i) {
  %at = getelementptr [4 x double], ptr @table, i64 0, i64 %i
  %value = load double, ptr %at
  %sum = call double @helper(double %value, double %x)
  ret double %sum
}
define internal double @helper(double %a, double %b) noinline {
  %big = fmul double %a, 0x3FF3C0CA428C59FB
  %sum = fadd double %big, %b
  ret double %sum
}
"""
IMPORTS = """
declare double @sin(double)
declare double @cos(double)
declare double @given(double)
declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)
define double @called(double %x, i64 %i) {
  %room = alloca [4096 x i8]
  call void @llvm.memset.p0.i64(ptr %room, i8 1, i64 4096, i1 false)
  %at = getelementptr i8, ptr %room, i64 %i
  %byte = load i8, ptr %at
  %whole = sitofp i8 %byte to double
  %a = call double @sin(double %x)
  %b = call double @cos(double %a)
  %c = call double @given(double %b)
  %sum = fadd double %c, %whole
  ret double %sum
}
"""
CHOICES = """
define double @called(double %x, i64 %i) {
  switch i64 %i, label %other [
    i64 0, label %a
    i64 1, label %b
    i64 2, label %c
    i64 3, label %d
  ]
a:
  %ra = fadd double %x, 1.0
  ret double %ra
b:
  %rb = fmul double %x, %x
  ret double %rb
c:
  %rc = fdiv double 3.0, %x
  ret double %rc
d:
  %rd = fsub double 4.0, %x
  ret double %rd
other:
  ret double %x
}
"""
DATA = """
@outside = external global double
declare double @given(double)
define double @called(double %x, i64 %i) {
  %y = load double, ptr @outside
  %sum = fadd double %x, %y
  store double %sum, ptr @outside
  %z = call double @given(double %sum)
  ret double %z
}
"""
VARIABLE = """
@count = internal global double 1.0
define double @called(double %x, i64 %i) {
  %old = load double, ptr @count
  %new = fadd double %old, %x
  store double %new, ptr @count
  ret double %new
}
"""
Kind = ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_double, ctypes.c_int64)
Given = ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_double)


given = Given(lambda x: 10.0 * x)
outside = ctypes.c_double(0.0)
SYMBOLS = {
    "given": ctypes.cast(given, ctypes.c_void_p).value or 0,
    "outside": ctypes.addressof(outside),
}


def called(content: bytes) -> Any:
    code = Code(content, SYMBOLS)
    call = Kind(code.address("called"))
    call.owner = code  # type: ignore[attr-defined]
    return call


@pytest.mark.parametrize("level", [0, BEST])
@pytest.mark.parametrize("text", [CONSTANTS, IMPORTS, CHOICES])
def test_an_image_is_what_llvm_links(text: str, level: int) -> None:
    content = object_file(text, level)
    assert is_image(linked(content))
    ours, theirs = called(linked(content)), called(content)
    for i in range(4):
        assert ours(0.75, i) == theirs(0.75, i)


@pytest.mark.parametrize("level", [0, BEST])
def test_memory_that_somebody_else_has(level: int) -> None:
    content = compiled(DATA, level)
    assert is_image(content)
    outside.value = 2.0
    assert called(content)(1.0, 0) == 30.0
    assert outside.value == 3.0


def test_the_pool_of_threads_is_an_image() -> None:
    from graphjit.codegen.llvm_threads_pool import text

    assert is_image(compiled(text(), 0))


def test_an_image_runs_wherever_it_is_put() -> None:
    content = compiled(CONSTANTS)
    calls = [called(content) for _ in range(50)]
    assert {call(0.5, 3) for call in calls} == {1.0e300 * float.fromhex("0x1.3c0ca428c59fbp0")}
    assert len({ctypes.cast(call, ctypes.c_void_p).value for call in calls}) == 50


def test_an_image_of_many_functions() -> None:
    text = "\n".join(
        re.sub(r"@(called|helper|table)\b", rf"@\1_{i}", CONSTANTS).replace("-3.0", f"{i}.0")
        for i in range(300)
    )
    code = Code(compiled(text), {})
    for i in (0, 1, 150, 299):
        scaled = i * float.fromhex("0x1.3c0ca428c59fbp0")
        assert Kind(code.address(f"called_{i}"))(0.25, 2) == scaled + 0.25


def test_what_has_variables_is_linked_by_llvm() -> None:
    content = object_file(VARIABLE)
    with pytest.raises(Unknown):
        image(content)
    assert linked(content) == content
    call = called(linked(content))
    assert [call(1.0, 0), call(1.0, 0)] == [2.0, 3.0]


@pytest.mark.parametrize(
    "harm",
    [
        lambda content: b"",
        lambda content: b"\xcf\xfa\xed\xfe" + content[4:],  # the format of macOS
        lambda content: content[:18] + struct.pack("<H", 183) + content[20:],  # for ARM
    ],
)
def test_other_formats_are_left_to_llvm(harm: Callable[[bytes], bytes]) -> None:
    content = harm(object_file(CONSTANTS))
    assert linked(content) == content


def test_an_import_that_is_not_there() -> None:
    with pytest.raises(CompileError, match="given_by_nobody"):
        Code(compiled(IMPORTS.replace("@given(", "@given_by_nobody(")), {})


def test_an_image_is_read_as_it_was_written() -> None:
    made = image(object_file(IMPORTS))
    assert Image.read(made.written()) == made
    assert set(made.functions) == {"called"}
    assert set(made.imports) >= {"sin", "cos", "given"}
