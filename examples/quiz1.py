"""The lecture's first quiz: y = exp(xz) + xz / log x + sin(log x) / (xz) at x = 2, z = 3."""

import numpy as np

import graphjit
from graphjit.ir import Builder, Symbol, evaluate
from graphjit.passes.adjoint import Backward
from graphjit.passes.merge import merge


def f(x, z):
    return np.exp(x * z) + x * z / np.log(x) + np.sin(np.log(x)) / (x * z)


def sweep(graph, *args):
    """The value of every node, forward; and of every cotangent, as reverse mode visits them."""
    builder = Builder()
    inputs = [builder.input(graph.nodes[i].aval) for i in graph.inputs]
    backward = Backward(builder, graph, inputs, list(graph.inputs))
    backward.run({graph.outputs[0]: Symbol(builder, builder.constant(1.0))})
    cotangents = [backward.cotangents[node.id].id for node in graph.nodes]
    values = evaluate(builder.graph([*backward.place, *cotangents]), *args)
    return values[: len(graph)], values[len(graph) :]


slopes = graphjit.value_and_grad(f, argnums=(0, 1))
y, (dx, dz) = slopes(2.0, 3.0)
print(f"y     = {y:.12f}\ndy/dx = {dx:.11f}\ndy/dz = {dz:.12f}\n")

graph = merge(slopes.graph(2.0, 3.0, stage="traced"))  # x z and log x, written more than once
values, cotangents = sweep(graph, 2.0, 3.0)
print("forward, in topological order")
for node in graph.nodes:
    operation = f"{node.op}({', '.join(f'v{i}' for i in node.inputs)})"
    print(f"  v{node.id} = {operation:<16} = {values[node.id]:<18.15g}")
print("\nbackward, in the reverse order: each node adds to the slopes of its operands")
for node in reversed(graph.nodes):
    users = " and ".join(f"v{i}" for i in graph.users[node.id]) or "the start, dy/dy = 1"
    print(f"  {node.op:<9} dy/dv{node.id} = {cotangents[node.id]:<18.15g} from {users}")

expected = 412.1914572841211755, 1208.3812151266096294, 809.7074792185640812
assert np.allclose((y, dx, dz), expected, rtol=1e-13, atol=0)
assert np.allclose((values[graph.outputs[0]], cotangents[0], cotangents[1]), expected, rtol=1e-13)
