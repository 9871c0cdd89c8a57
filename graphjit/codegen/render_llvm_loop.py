"""Render a training loop as LLVM IR: the kernels of a step inside one loop over batches."""

from __future__ import annotations

import re

from graphjit.codegen.epoch import CONVERGED, NOT_FINITE, Epoch
from graphjit.codegen.llvm_text import kind
from graphjit.codegen.loops import LoopProgram
from graphjit.codegen.native import host
from graphjit.codegen.render_llvm import Kernels, Rendered, launch, module_text, threaded
from graphjit.codegen.render_loop import loop_arguments, merged

# Full batches an epoch from which on the code of the last, smaller one is made in half the time,
# and calls the BLAS: it is as long as the other, and hardly ever runs.
SELDOM = 8
QUICK = """attributes #2 = {{ nounwind optnone noinline "min-legal-vector-width"="{bits}" }}
"""

LOOP = """
define void @run(ptr %table) #0 {{
entry:
{pointers}
  %first = load i64, ptr %control
  %last_ = getelementptr i64, ptr %control, i64 1
  %last = load i64, ptr %last_
  %origin_ = getelementptr i64, ptr %control, i64 2
  %origin = load i64, ptr %origin_
  %done_ = getelementptr i64, ptr %control, i64 3
  %reason_ = getelementptr i64, ptr %control, i64 4
  %mean_ = getelementptr double, ptr %monitor, i64 1
  %tolerance_ = getelementptr double, ptr %monitor, i64 2
  %any = icmp slt i64 %first, %last
  br i1 %any, label %turns, label %end
turns:
  %step = phi i64 [ %first, %entry ], [ %after, %next ]
  %row = sub i64 %step, %first
  %turn = urem i64 %step, {steps}
  %epoch = udiv i64 %step, {steps}
  %passed = sub i64 %epoch, %origin
  %begin = mul i64 %passed, {examples}
  %inside = mul i64 %turn, {batch}
  %at = add i64 %begin, %inside
  %whole = icmp slt i64 %turn, {full}
  br i1 %whole, label %full, label %rest
full:
{full_calls}
  br label %seen
rest:
{rest_calls}
  br label %seen
seen:
  %count = phi double [ {batch}.0, %full ], [ {remaining}.0, %rest ]
  %loss_ = getelementptr {loss}, ptr %losses, i64 %row
  %loss_own = load {loss}, ptr %loss_
  {widen}
  %after = add i64 %step, 1
  store i64 %after, ptr %done_
  %gap = fsub double %loss, %loss
  %finite = fcmp oeq double %gap, 0.0
  br i1 %finite, label %sum, label %broken
broken:
  store i64 {not_finite}, ptr %reason_
  br label %end
sum:
  %total = load double, ptr %monitor
  %share = fmul double %loss, %count
  %more = fadd double %total, %share
  store double %more, ptr %monitor
  %ends = icmp eq i64 %turn, {final}
  br i1 %ends, label %settle, label %next
settle:
  %mean = fdiv double %more, {examples}.0
  %old = load double, ptr %mean_
  %change = fsub double %old, %mean
  %size = call double @llvm.fabs.f64(double %change)
  %tolerance = load double, ptr %tolerance_
  %settled = fcmp ole double %size, %tolerance
  store double 0.0, ptr %monitor
  store double %mean, ptr %mean_
  br i1 %settled, label %converged, label %next
converged:
  store i64 {converged}, ptr %reason_
  br label %end
next:
  %going = icmp slt i64 %after, %last
  br i1 %going, label %turns, label %end
end:
  ret void
}}"""


def render_loop(full: LoopProgram, rest: LoopProgram | None, epoch: Epoch, title: str) -> Rendered:
    """A module whose ``run(table)`` trains from one step to another.

    ``table`` holds the addresses of what ``loop_arguments`` lists; what ``control`` and
    ``monitor`` mean is said in ``render_loop`` of the readable text.
    """
    program, module = merged(full, rest), threaded()
    order = loop_arguments(program)
    kernels = Kernels(module, program, order)
    full_calls = "\n".join(kernels.calls(full.kernels, SELDOM))
    known, helpers = len(kernels.names), set(module.helpers)
    module.own = epoch.full < SELDOM
    rest_calls = "\n".join(kernels.calls(rest.kernels)) if rest else ""
    if not module.own:
        module.helpers.update({n: quick(t) for n, t in module.helpers.items() if n not in helpers})
    places = {b.name: i for i, b in enumerate(order)}
    pointers = [
        f"  %{n}_ = getelementptr ptr, ptr %table, i64 {places[n]}\n  %{n} = load ptr, ptr %{n}_"
        for n in ("control", "monitor", "losses")
    ]
    losses = order[places["losses"]].dtype
    wide = losses.itemsize == 8
    module.declare("llvm.fabs.f64", "double", ["double"])
    run = LOOP.format(
        pointers="\n".join(pointers), steps=epoch.steps, examples=epoch.examples,
        batch=epoch.batch, full=epoch.full, remaining=epoch.rest, final=epoch.steps - 1,
        full_calls=full_calls, rest_calls=rest_calls,
        loss=kind(losses, 1), not_finite=NOT_FINITE, converged=CONVERGED,
        widen="%loss = fadd double %loss_own, -0.0" if wide
        else "%loss = fpext float %loss_own to double",
    )  # fmt: skip
    texts = kernels.functions()
    if not module.own:
        texts[known:] = map(quick, texts[known:])
    functions = [*texts, run, launch(order)]
    text = module_text(module, functions, title) + QUICK.format(bits=8 * host().vector_bytes)
    return Rendered(text, module.symbols, module.shared)


def quick(text: str) -> str:
    """A function whose code is made in half the time."""
    return re.sub("#[01] {$", "#2 {", text, count=1, flags=re.MULTILINE)
