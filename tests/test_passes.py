"""Every pass on the zoo and on random graphs, then what each pass is for.

The rules of ``simplify`` are in test_simplify.py.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

from graphjit.errors import VerifyError
from graphjit.flags import override
from graphjit.ir import Builder, Graph, Node, Origin, aval_of, evaluate
from graphjit.ir.verify import verify
from graphjit.passes import pipeline
from graphjit.passes.accumulate import accumulate
from graphjit.passes.compare import agree, outcome, room
from graphjit.passes.fold import fold
from graphjit.passes.merge import merge
from graphjit.passes.order import order, peak, size
from graphjit.passes.pipeline import Between, PipelineError, Step, parse_pipeline, run
from graphjit.passes.prune import prune
from graphjit.passes.simplify import simplify
from random_graphs import random_arguments, random_graph
from zoo import ZOO, Animal, trace

Pass = Callable[[Graph], Graph]
EXACT: tuple[Pass, ...] = (order, prune, merge)
ALL: tuple[Pass, ...] = (*EXACT, fold, simplify, accumulate)
VECTOR = aval_of(np.zeros(4))

passes = pytest.mark.parametrize("rewriting", ALL, ids=lambda p: p.__name__)
animals = pytest.mark.parametrize("animal", ZOO, ids=lambda animal: animal.name)
seeds = pytest.mark.parametrize("seed", range(30))


def same_bits(expected: Any, found: Any) -> bool:
    return bool(expected.dtype == found.dtype and expected.tobytes() == found.tobytes())


def check(rewriting: Pass, graph: Graph, values: list[Any]) -> None:
    """What every pass promises, on one graph with one set of arguments."""
    text, nodes = str(graph), graph.nodes
    after = verify(rewriting(graph))
    assert str(graph) == text
    assert graph.nodes is nodes
    assert after.avals(after.inputs) == graph.avals(graph.inputs)
    assert after.avals(after.outputs) == graph.avals(graph.outputs)
    assert str(rewriting(after)) == str(after)
    equal = same_bits if rewriting in EXACT else partial(agree, tolerance=room(graph))
    old, new = outcome(graph, values), outcome(after, values)
    if isinstance(old, str):
        assert old == new
    else:
        assert all(map(equal, old, new))


@passes
@animals
def test_on_the_zoo_a_pass_keeps_its_promises(rewriting: Pass, animal: Animal) -> None:
    check(rewriting, *animal.trace())


@passes
@animals
def test_on_gradients_a_pass_keeps_its_promises(rewriting: Pass, animal: Animal) -> None:
    check(rewriting, *differentiated(animal))


def differentiated(animal: Animal) -> tuple[Graph, list[Any]]:
    """The value and gradient of an animal, cleaned up as far as ``merge``."""
    graph, values = animal.trace()
    floats = [str(i) for i in range(len(values)) if graph.nodes[graph.inputs[i]].aval.inexact]
    return run(graph, parse_pipeline(f"merge,adjoint(wrt={','.join(floats)})")), values


@passes
@seeds
def test_on_random_graphs_a_pass_keeps_its_promises(rewriting: Pass, seed: int) -> None:
    graph = random_graph(seed, 40)
    check(rewriting, graph, random_arguments(graph, seed))


@animals
def test_the_whole_pipeline_keeps_the_meaning(animal: Animal) -> None:
    graph, values = differentiated(animal)
    after = run(graph, parse_pipeline("prune,merge,fold,simplify,merge,simplify,order"))
    old, new = evaluate(graph, *values), evaluate(verify(after), *values)
    assert all(map(partial(agree, tolerance=room(graph)), old, new))
    assert len(after) <= len(graph)


@passes
def test_inputs_stay_all_and_in_order_hidden_ones_too(rewriting: Pass) -> None:
    builder, held = Builder(), np.arange(4.0)
    first = builder.input(VECTOR)
    hidden = builder.capture(held, VECTOR)
    last = builder.input(aval_of(1.0))
    graph = builder.graph([builder.emit("add", builder.emit("sin", hidden), hidden)])
    assert graph.inputs == (first, last, hidden)
    after = rewriting(graph)
    assert after.avals(after.inputs) == graph.avals(graph.inputs)
    (found,) = evaluate(after, np.ones(4), 2.0, held)
    np.testing.assert_array_equal(found, np.sin(held) + held)


@passes
def test_a_chain_of_100_000_nodes_needs_no_recursion(rewriting: Pass) -> None:
    builder = Builder()
    x = builder.input(VECTOR)
    for step in range(100_000):
        x = builder.emit(("sin", "tanh")[step % 2], x)
    assert len(rewriting(builder.graph([x]))) == 100_001


@passes
def test_a_node_keeps_its_line_and_its_side(rewriting: Pass) -> None:
    front, back = Origin("model.py", 3), Origin("model.py", 3, adjoint=True)
    builder = Builder()
    x = builder.input(VECTOR, Origin("model.py", 1))
    y = builder.emit("sin", x, origin=front)
    two = builder.broadcast_to(builder.constant(2.0), (4,))
    z = builder.emit("power", builder.emit("negative", y, origin=back), two, origin=back)
    after = rewriting(builder.graph([z]))
    found = {node.op: node.origin for node in after.nodes}
    assert found["sin"] == front
    assert found["square" if rewriting is simplify else "power"] == back


def ops(graph: Graph) -> list[str]:
    return [node.op for node in graph.nodes if node.op not in ("input", "constant", "broadcast")]


# -- prune, merge, order --------------------------------------------------------------------------


def test_prune_drops_what_no_output_needs() -> None:
    builder = Builder()
    x = builder.input(VECTOR)
    kept, _dead = builder.emit("sin", x), builder.emit("exp", builder.emit("cos", x))
    assert ops(prune(builder.graph([kept]))) == ["sin"]


def test_merge_joins_equal_nodes_and_sorts_operands_only_where_that_changes_no_bit() -> None:
    def function(x: Any, y: Any) -> Any:
        return np.sum(x * y + y * x) + np.sum(np.maximum(x, y) - np.maximum(y, x))

    graph, _ = trace(function, (np.ones(3), np.zeros(3)))
    after = merge(graph)
    assert after.count("multiply") == 1
    assert after.count("maximum") == 2


def test_merge_tells_parameters_apart() -> None:
    graph, _ = trace(lambda x: np.sum(x, 0)[0] + np.sum(x, 1)[0] + np.sum(x, 0)[0], (np.eye(2),))
    assert merge(graph).count("sum") == 2


def test_merge_tells_zeros_apart_by_their_sign() -> None:
    graph, values = trace(lambda x: np.copysign(x, 0.0) + np.copysign(x, -0.0), (np.ones(2),))
    (found,) = evaluate(merge(graph), *values)
    np.testing.assert_array_equal(found, [0, 0])


def test_merge_never_joins_inputs() -> None:
    graph, _ = trace(lambda x, y: np.sum(x - y), (np.ones(3), np.ones(3)))
    assert merge(graph).count("input") == 2


def test_order_finishes_one_branch_before_it_starts_the_next() -> None:
    builder = Builder()
    x = builder.input(VECTOR)
    large = [builder.emit(op, x) for op in ("exp", "sin", "cos", "tanh")]
    small = [builder.emit("sum", node, axes=(0,)) for node in large]
    graph = builder.graph(small)
    assert ops(order(graph)) == ["exp", "sum", "sin", "sum", "cos", "sum", "tanh", "sum"]


@animals
def test_order_never_raises_the_peak(animal: Animal) -> None:
    graph, _ = differentiated(animal)
    assert peak_of(order(graph)) <= peak_of(graph)


def peak_of(graph: Graph) -> int:
    return peak(graph, range(len(graph)), [size(node) for node in graph.nodes])


# -- fold -----------------------------------------------------------------------------------------


def folded(*arrays: Any, op: str = "", **params: Any) -> Graph:
    """A graph of constants, with an operation on them or none, folded."""
    builder = Builder()
    ids = [builder.constant(a) for a in arrays]
    return fold(builder.graph([builder.emit(op, *ids, **params) if op else ids[0]]))


def test_fold_computes_with_the_rows_own_function() -> None:
    after = folded([1.0, 2.0], [3.0, 5.0], op="arctan2")
    assert [node.op for node in after.nodes] == ["constant"]
    np.testing.assert_array_equal(evaluate(after)[0], np.arctan2([1.0, 2.0], [3.0, 5.0]))


def test_fold_keeps_equal_elements_as_one_number() -> None:
    after = folded(np.full((3, 4), 0.1))
    assert [node.op for node in after.nodes] == ["constant", "broadcast"]
    after = folded(np.full((30, 40), 0.1), np.full((30, 40), 3.0), op="multiply")
    assert [node.op for node in after.nodes] == ["constant", "broadcast"]
    assert after.nodes[0].params["value"] == 0.1 * 3.0


def test_fold_tells_zeros_apart_when_it_looks_for_equal_elements() -> None:
    assert [node.op for node in folded(np.array([0.0, -0.0])).nodes] == ["constant"]


@pytest.mark.parametrize("dtype", ["int64", "int32", "float32", "float64"])
def test_fold_knows_an_array_that_counts(dtype: str) -> None:
    for shape in ((100,), (100, 1), (1, 100)):
        array = np.arange(100, dtype=dtype).reshape(shape)
        after = folded(array)
        assert [node.op for node in after.nodes] == ["iota"]
        assert same_bits(array, evaluate(after)[0])


@pytest.mark.parametrize("array", [[0, 1, 3], [1, 2, 3], [[0, 1], [2, 3]], [True, False]])
def test_fold_leaves_other_arrays(array: Any) -> None:
    assert [node.op for node in folded(np.array(array)).nodes] == ["constant"]


def test_fold_makes_no_large_constant() -> None:
    column, row = np.arange(9.0)[:, None] ** 2, np.arange(9.0) ** 2
    assert folded(column, row, op="multiply").count("multiply") == 1


def test_fold_leaves_an_error_for_the_run() -> None:
    after = folded(np.array([0, 7]), op="wrap_index", size=5)
    assert after.count("wrap_index") == 1


def test_fold_does_not_touch_hidden_inputs() -> None:
    held = np.full(3, 2.0)
    graph, values = trace(lambda x: np.sum(x * (held * 3)), (np.ones(3),))
    hidden, values = trace(lambda x: np.sum(x * held) * 3, (np.ones(3),))
    assert len(fold(hidden).inputs) == len(hidden.inputs) == len(graph.inputs) == 2
    held[:] = 5
    assert evaluate(fold(hidden), *values) == (45.0,)


# -- pipelines and what happens between their passes ----------------------------------------------


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a pass that turns every sine into a cosine."""

    def wrong(graph: Graph) -> Graph:
        swapped = {"sin": "cos"}
        nodes = tuple(
            Node(n.id, swapped.get(n.op, n.op), n.inputs, n.aval, n.params, n.origin)
            for n in graph.nodes
        )
        return Graph(nodes, graph.inputs, graph.outputs)

    monkeypatch.setitem(pipeline.PASSES, "wrong", wrong)
    return "wrong"


def sine() -> Graph:
    return trace(lambda x: np.sum(np.sin(x) * 1.0), (np.ones(3),))[0]


@pytest.mark.parametrize(
    "text", ["", "prune", "prune,merge,fold,simplify,order", "merge,adjoint(wrt=0,1),prune,fuse"]
)
def test_a_pipeline_reads_back_from_its_text(text: str) -> None:
    assert str(parse_pipeline(text)) == text
    assert parse_pipeline(str(parse_pipeline(text))) == parse_pipeline(text)


def test_a_pipelines_text_may_have_spaces_and_parameters() -> None:
    steps = parse_pipeline(" prune , adjoint( wrt=0, 2 ) ,\n order ")
    assert steps == (Step("prune"), Step("adjoint", (("wrt", (0, 2)),)), Step("order"))


@pytest.mark.parametrize(
    ("text", "fact"),
    [
        ("prune,tidy", "there is no pass 'tidy'"),
        ("prune merge", "cannot be read from"),
        ("adjoint(wrt=x)", "takes integers"),
        ("adjoint(wrt=0", "cannot be read from"),
    ],
)
def test_a_pipelines_text_that_is_wrong_is_refused(text: str, fact: str) -> None:
    with pytest.raises(PipelineError, match=fact):
        parse_pipeline(text)


def test_every_pass_can_be_named_and_says_what_it_does() -> None:
    for name, rewriting in ((name, pipeline.PASSES[name]) for name in pipeline.NAMES):
        assert rewriting.__name__ == name
        assert "Before:" in (rewriting.__doc__ or "")
        assert "after:" in (rewriting.__doc__ or "")


def test_the_hook_records_each_pass() -> None:
    between = Between()
    run(sine(), parse_pipeline("prune,simplify"), between)
    assert [record.step for record in between.records] == ["prune", "simplify"]
    before, after = between.records[1].nodes
    assert after < before
    assert all(record.seconds > 0 for record in between.records)


def test_debug_1_prints_counts_and_2_the_graphs(capsys: pytest.CaptureFixture[str]) -> None:
    with override(debug=1):
        run(sine(), parse_pipeline("simplify"))
    assert "simplify: 6 -> 3 nodes" in capsys.readouterr().err
    with override(debug=2):
        run(sine(), parse_pipeline("simplify"))
    assert "= sin(%0)" in capsys.readouterr().err


def test_debug_0_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    run(sine(), parse_pipeline("simplify"))
    assert capsys.readouterr() == ("", "")


def test_dump_writes_each_graph(tmp_path: Any) -> None:
    with override(dump=str(tmp_path / "graphs")):
        run(sine(), parse_pipeline("prune,adjoint(wrt=0)"))
    names = sorted(path.name for path in (tmp_path / "graphs").iterdir())
    assert names == ["01-prune.txt", "02-adjoint.txt"]
    assert "cos(%0)" in (tmp_path / "graphs" / names[1]).read_text()


def test_skip_leaves_passes_out() -> None:
    between = Between()
    with override(skip="simplify"):
        after = run(sine(), parse_pipeline("prune,simplify,order"), between)
    assert [record.step for record in between.records] == ["prune", "order"]
    assert after.count("multiply") == 1


def test_debug_4_names_the_first_pass_that_changes_the_meaning(broken: str) -> None:
    with override(debug=4), pytest.raises(VerifyError, match="the pass wrong changed the meaning"):
        run(sine(), parse_pipeline(f"prune,{broken},order"))


def test_debug_4_accepts_the_passes_there_are() -> None:
    with override(debug=4):
        after = run(sine(), parse_pipeline("prune,merge,adjoint(wrt=0),fold,simplify,order"))
    assert "cos" in ops(after)


def test_without_debug_4_meaning_is_not_compared(broken: str) -> None:
    assert "cos" in ops(run(sine(), parse_pipeline(broken)))


def test_verify_finds_an_invalid_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    def reverse(graph: Graph) -> Graph:
        return Graph(graph.nodes[::-1], graph.inputs, graph.outputs)

    monkeypatch.setitem(pipeline.PASSES, "reverse", reverse)
    run(sine(), [Step("reverse")])
    with override(verify=True), pytest.raises(VerifyError):
        run(sine(), [Step("reverse")])
