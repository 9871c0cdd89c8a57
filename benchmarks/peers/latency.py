"""One process that times calls from Python: the quiz, and a step with eight arrays.

python -m peers.latency '{"packages": ["graphjit", "casadi", "jax"], "rounds": 25, "core": 1}'
"""

from __future__ import annotations

import json
import sys
import timeit
from typing import Any

import numpy as np
from peers import formulas
from peers.child import pin
from peers.interface import Unsupported, leaves
from peers.problems import PROBLEMS

RATE = 0.1
SECONDS = 0.004
WARMING = 2000  # calls: the first compile, and a function called often gets a quicker way in
Timers = dict[str, timeit.Timer]


def timer(statement: str, **names: Any) -> timeit.Timer:
    """A loop around the statement, which adds about 10 ns to it."""
    return timeit.Timer(statement, globals=names)


def empty(x: float, z: float) -> None:
    """A Python function that does nothing."""


def quiz_timers(packages: list[str]) -> Timers:
    """Every way to call the quiz's value and gradients."""
    problem = PROBLEMS["quiz"]
    args = problem.arguments()
    timers = {"empty Python function": timer("f(x, z)", f=empty, x=2.0, z=3.0)}
    if "graphjit" in packages:
        from peers.graphjit import GraphJIT

        own = GraphJIT().build(problem, args).function
        timers["GraphJIT"] = timer("f(x, z)", f=own, x=2.0, z=3.0)
    if "casadi" in packages:
        from peers.casadi import Machine, Native

        for peer in (Machine(), Native()):
            built = peer.build(problem, args)
            timers[peer.name] = timer("f()", f=built.on_buffers(), owner=built)
    if "jax" in packages:
        from peers.jax import Jax

        for name in ("JAX", "JAX, floats in, NumPy out"):
            built = Jax().build(problem, args)
            if name == "JAX":
                built.on_device()
            statement = "f.run()" if name == "JAX" else "f.arrays(f.run())"
            timers[name] = timer(statement, f=built)
    return timers


def step_timers() -> Timers:
    """GraphJIT's step of the small net, and what it is made of."""
    import graphjit

    gradient = graphjit.value_and_grad(formulas.squared_error)

    def step(params, x, y):
        value, slopes = gradient(params, x, y)
        pairs = zip(params, slopes, strict=True)
        return value, [(w - RATE * dw, b - RATE * db) for (w, b), (dw, db) in pairs]

    args = PROBLEMS["net 10-16-16-1"].arguments()
    small = (np.ones(1),)
    own, least = graphjit.jit(step), graphjit.jit(lambda x: x + 1.0)
    outputs = [np.asarray(leaf) for leaf in leaves(own(*args))]
    least(*small)
    forms = ", ".join(f"empty({o.shape}, d{i})" for i, o in enumerate(outputs))
    dtypes = {f"d{i}": o.dtype for i, o in enumerate(outputs)}
    timers = {
        "call": timer("f(p, x, y)", f=own, p=args[0], x=args[1], y=args[2]),
        "new outputs": timer(forms, empty=np.empty, **dtypes),
    }
    for name, function, given in (("program", own, args), ("least program", least, small)):
        launch, pack, program = prepared(function, given)
        timers[name] = timer("f(pack)", f=launch, pack=pack, owner=program)
    return timers


def prepared(function: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """What starts a function's native program, and inputs, outputs and work memory for it.

    Raises:
        Unsupported: the program has no such entry.
    """
    try:
        program = next(iter(function._programs.values())).program  # noqa: SLF001 - no public way
        if program.improvement is not None:
            program.improvement.wait()  # else it would be the quick code that is timed
        outputs = [np.empty(shape, dtype) for shape, dtype in program.outputs]
        arrays = (*leaves(args), *program.constants, *outputs, *program.take_scratch())
        program.launch(arrays)
    except AttributeError as error:
        raise Unsupported(str(error)) from error
    return program.launch, arrays, program


def race(timers: Timers, rounds: int) -> dict[str, list[float]]:
    """Seconds a call, in turn, round after round."""
    counts = {name: calls_within(own) for name, own in timers.items()}
    samples: dict[str, list[float]] = {name: [] for name in timers}
    for _ in range(rounds):
        for name, own in timers.items():
            seconds = own.timeit(counts[name]) / counts[name]
            samples[name].append(float(f"{seconds:.4g}"))
    return samples


def calls_within(own: timeit.Timer) -> int:
    """How many calls take long enough to be timed, after what happens in the first ones."""
    own.timeit(WARMING)
    count, taken = own.autorange()
    return max(1, round(count * SECONDS / taken))


def main(order: dict[str, Any]) -> dict[str, Any]:
    packages, rounds = order["packages"], order["rounds"]
    answer: dict[str, Any] = {"quiz": race(quiz_timers(packages), rounds)}
    if "graphjit" in packages:
        try:
            answer["step"] = race(step_timers(), rounds)
        except Unsupported as error:
            answer["no step"] = str(error)
    return answer


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    pin(given.get("core"))
    print("\n" + json.dumps(main(given)))
