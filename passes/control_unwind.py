"""How the backward pass of a while loop is itself pulled back: as another one of its kind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphjit.ir.builder import Builder
from graphjit.ir.graph import Graph
from graphjit.passes.control import Reverse, widened, zeros
from graphjit.passes.prune import prune


def reverse_unwind(given: Reverse) -> list[Any]:
    """The loop up the rounds, with more on its tape; then down them again.

    See ``Unwinding`` for why one more pair of loops is enough, at any order.

    Raises:
        MissingRule: a ``custom_vjp`` in the loop has a backward rule that is not linear.
    """
    node, builder = given.node, given.builder
    check_rules(node.params["step"])
    found, o = Unwinding(given), given.operands
    tests, first = node.params["tests"], node.params["tests"] + node.params["consts"]
    last, sums = tests + len(found.kinds), len(found.sums)
    inputs = [
        *o[:first],
        *(given.cotangent(i) for i in range(sums)),
        *o[first:last],
        *(given.cotangent(sums + i) for i in range(len(found.carried))),
    ]
    loop = {
        "test": widened(node.params["test"], found.carried), "step": found.step, "tests": tests,
        "consts": node.params["consts"] + sums,
    }  # fmt: skip
    state = [zeros(builder, found.kinds[i]) for i in found.floats]
    items = builder.emit_control(
        "unwind", [*inputs, *o[last:], *state], **loop, pull=found.pull, sums=len(found.fixed)
    )
    after = items[: len(found.fixed)] + items[len(found.fixed) + len(found.carried) :]
    places = [tests + i for i in (*found.fixed, *found.floats)]
    if any(given.active[last:]):
        ends = builder.emit_control("while", inputs, **loop)
        after += ends[last - first : -1]
        places += range(last, len(o))
    return given.shares(after, places)


class Unwinding:
    """The bodies of a backward pass that is pulled back, both on the same state.

    A backward pass carries ``back`` down the rounds, by a pull that is linear in it. The
    cotangents of ``back`` then go *up* the rounds, by the transpose of the pull, which does not
    look at ``back`` itself: so they are carried beside the loop's own state, and recorded with
    it. Down the rounds ``back`` is there again, and with it what the pull says of the state; and
    that is carried as well, together with what the step hands down.

    Attributes:
        kinds: The avals of the step's inputs: constants, then the state.
        fixed: Which constants have a cotangent.
        floats: Which parts of the state have one.
        sums: The avals of the first results, those of constants.
        carried: The avals of ``back``.
        step: Up. It takes the constants and the cotangents of ``sums``; the state and those of
            ``back``.
        pull: Down. It takes the same, then ``back`` and the cotangents of the state.
    """

    def __init__(self, given: Reverse) -> None:
        params = given.node.params
        step, pull, tests, self.consts = (params[k] for k in ("step", "pull", "tests", "consts"))
        self.strong = given.strong
        self.kinds = step.avals(step.inputs)
        self.fixed = [i for i in range(self.consts) if given.active[tests + i]]
        self.floats = [i for i in range(self.consts, len(self.kinds)) if self.kinds[i].inexact]
        results = pull.avals(pull.outputs)
        self.sums, self.carried = results[: params["sums"]], results[params["sums"] :]
        self.step, self.pull = self.up(step, pull), self.down(step, pull)

    def entered(self, builder: Builder) -> tuple[list[int], list[int]]:
        """What both take: constants and state, and the cotangents of the pull's results."""
        fixed = [builder.input(a) for a in self.kinds[: self.consts]]
        sums = [builder.input(a) for a in self.sums]
        state = [builder.input(a) for a in self.kinds[self.consts :]]
        back = [builder.input(a) for a in self.carried]
        return [*fixed, *state], [*sums, *back]

    def up(self, step: Graph, pull: Graph) -> Graph:
        """The step, and the transpose of the pull."""
        builder = Builder()
        own, cotangents = self.entered(builder)
        after = appended(builder, step, own)
        # The transpose of what is linear is the same everywhere, so it is taken at zero.
        still = [zeros(builder, aval) for aval in self.carried]
        turned = self.pulled(pull, range(len(own), len(pull.inputs)))
        shares = appended(builder, turned, [*own, *still, *cotangents])[len(pull.outputs) :]
        return prune(builder.graph([*after, *shares]))

    def down(self, step: Graph, pull: Graph) -> Graph:
        """The pull, and the cotangents that constants and state get from it and from the step."""
        builder = Builder()
        own, cotangents = self.entered(builder)
        back = [builder.input(a) for a in self.carried]
        state = [builder.input(self.kinds[i]) for i in self.floats]
        wrt, cut = [*self.fixed, *self.floats], len(self.fixed)
        one = appended(builder, self.pulled(pull, wrt), [*own, *back, *cotangents])
        two = appended(builder, self.pulled(step, wrt), [*own, *state])[len(step.outputs) :]
        after, shares = one[len(self.sums) : len(pull.outputs)], one[len(pull.outputs) :]
        total = [builder.emit("add", a, b) for a, b in zip(shares, two, strict=True)]
        return prune(builder.graph([*total[:cut], *after, *total[cut:]]))

    def pulled(self, graph: Graph, wrt: Sequence[int]) -> Graph:
        """The graph, with the cotangents of these inputs after its outputs."""
        from graphjit.passes.adjoint import pullback  # which calls these rules

        return pullback(graph, wrt, strong=self.strong)


def appended(builder: Builder, graph: Graph, inputs: Sequence[int]) -> list[int]:
    """A graph's outputs, on these inputs."""
    place = builder.inline(graph, inputs)
    return [place[i] for i in graph.outputs]


def check_rules(graph: Graph) -> None:
    """Refuse backward rules that are not linear in the cotangent: their transpose moves.

    Raises:
        MissingRule: naming the function, with the line of the call.
    """
    from graphjit.passes.custom import linear_rule  # which imports the rules of control flow

    for node in graph.nodes:
        if node.op == "custom_vjp":
            linear_rule(node, "so the gradient of a while_loop around it has no gradient")
        for body in node.bodies:
            check_rules(body)
