"""The described functions as LLVM IR: written out in place, or as functions of a module."""

from __future__ import annotations

from collections.abc import Sequence

from graphjit.codegen.llvm_instructions import scalarised, select
from graphjit.codegen.llvm_scalars import operation
from graphjit.codegen.llvm_scaling import SCALING, scales, scaling
from graphjit.codegen.llvm_text import BOOL, Body, Module, Operand, constant, kind, suffix
from graphjit.codegen.loops import Constant, Let, Scalar
from graphjit.codegen.mathematics import APART, ScalarFunction, described, scalar_function
from graphjit.codegen.native import host
from graphjit.ir.aval import DType


def computed(body: Body, let: Let, operands: Sequence[Operand], *, inline: bool = True) -> Operand:
    """Write a statement on operands that are known; ``inline`` its functions, or call them."""
    if let.op == "rare":
        return rare(body, let.params[0], *body.alike(*operands))
    if described(let.op, let.value.dtype):
        return called(body, let.op, body.alike(*operands), inline=inline)
    if let.op in SCALING:
        return scaling(body, let, operands)
    return operation(body, let.op, operands, let.value.dtype)


def called(body: Body, op: str, operands: Sequence[Operand], *, inline: bool = True) -> Operand:
    """Call a described function, which is written beside when it is first needed."""
    dtype, lanes = operands[0].dtype, operands[0].lanes
    name = f"{op}_{suffix(dtype, lanes)}"
    if name not in body.module.helpers:
        body.module.helpers[name] = ""  # stands for itself while it is written
        function = written(body.module, op, dtype)
        body.module.helpers[name] = definition(body.module, name, function, lanes)
    where = " alwaysinline" if inline else ""
    text = f"call {kind(dtype, lanes)} @{name}({', '.join(map(str, operands))}){where}"
    return body.value(text, dtype, lanes)


def fuses(module: Module) -> bool:
    """Whether products and sums are to be one operation."""
    return host().fma if module.fused is None else module.fused


def written(module: Module, op: str, dtype: DType) -> ScalarFunction:
    """The form of a described function that the processor has the instructions for."""
    fused, splits = form(module)
    return scalar_function(op, dtype, fused=fused, scaling=splits)


def form(module: Module) -> tuple[bool, bool]:
    """Whether described functions have ``fma``, and whether they split and scale numbers."""
    fused = fuses(module)
    return fused, fused and (scales() if module.scaling is None else module.scaling)


def definition(module: Module, name: str, function: ScalarFunction, lanes: int) -> str:
    """A function of vectors."""
    body = Body(module)
    parameters = [Operand(f"%{p.name}", p.dtype, lanes) for p in function.parameters]
    result = body.spread(expanded(body, function, parameters), lanes)
    head = f"define internal {result.kind} @{name}({', '.join(map(str, parameters))}) #1 {{"
    return "\n".join([head, "entry:", *body.text_lines(), f"  ret {result}", "}"])


def expanded(body: Body, function: ScalarFunction, operands: Sequence[Operand]) -> Operand:
    """Write a function out in place."""
    known = {p.name: o for p, o in zip(function.parameters, operands, strict=True)}
    for let in function.body:
        known[let.value.name] = computed(body, let, [found(known, o) for o in let.operands])
    return found(known, function.result)


def found(known: dict[str, Operand], x: Scalar) -> Operand:
    """A constant, or what is known under a name."""
    return constant(x.value, x.dtype) if isinstance(x, Constant) else known[x.name]


def rare(body: Body, function: str, condition: Operand, usual: Operand, *x: Operand) -> Operand:
    """``usual``; where the condition holds in a lane, what another function gives for it."""
    lanes, dtype = usual.lanes, usual.dtype
    any_lane = condition
    if lanes > 1:
        any_lane = body.call(f"llvm.vector.reduce.or.{suffix(BOOL, lanes)}", BOOL, 1, [condition])
    name = f"rare_{function}_{suffix(dtype, lanes)}"
    if name not in body.module.helpers:
        body.module.helpers[name] = slow(body.module, name, function, dtype, lanes, len(x))
    before, there, after = body.block, body.label(), body.label()
    body.put(f"br {any_lane}, label %{there}, label %{after}")
    body.begin(there)
    operands = ", ".join(map(str, (condition, usual, *x)))
    result = body.let(f"call {usual.kind} @{name}({operands})")
    body.put(f"br label %{after}")
    body.begin(after)
    phi = f"phi {usual.kind} [ {usual.text}, %{before} ], [ {result}, %{there} ]"
    return body.value(phi, dtype, lanes)


def slow(module: Module, name: str, function: str, dtype: DType, lanes: int, count: int) -> str:
    """A function out of the way: a described one, or the C library's, a lane at a time."""
    body = Body(module)
    condition, usual = Operand("%c", BOOL, lanes), Operand("%u", dtype, lanes)
    x = [Operand(f"%x{i}", dtype, lanes) for i in range(count)]
    value = called(body, function, x) if function in APART else lane_by_lane(body, function, x)
    result = select(body, condition, value, usual)
    parameters = ", ".join(map(str, (condition, usual, *x)))
    head = f"define internal {usual.kind} @{name}({parameters}) noinline cold {{"
    return "\n".join([head, "entry:", *body.text_lines(), f"  ret {result}", "}"])


def lane_by_lane(body: Body, function: str, x: Sequence[Operand]) -> Operand:
    """A function of the C library on each lane in turn: one call in a loop is short."""
    dtype, lanes = x[0].dtype, x[0].lanes
    if lanes == 1:
        return scalarised(body, function, list(x), dtype)

    def turn(i: Operand, state: list[Operand]) -> list[Operand]:
        parts = [body.value(f"extractelement {o}, {i}", dtype) for o in x]
        result = scalarised(body, function, parts, dtype)
        return [body.value(f"insertelement {state[0]}, {result}, {i}", dtype, lanes)]

    return body.repeat(lanes, [Operand("poison", dtype, lanes)], turn)[0]
