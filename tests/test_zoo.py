"""The zoo itself: what the other tests lean on."""

import inspect
from typing import Any

import numpy as np
import optree
import pytest

from graphjit.ir import evaluate
from graphjit.ir.verify import verify
from zoo import ZOO, Animal

animals = pytest.mark.parametrize("animal", ZOO, ids=lambda animal: animal.name)


def test_the_zoo_is_large_and_no_name_occurs_twice() -> None:
    assert len(ZOO) >= 40
    assert len({animal.name for animal in ZOO}) == len(ZOO)


@animals
def test_it_gives_a_finite_float_scalar(animal: Animal) -> None:
    value = np.asarray(animal.function(*animal.args()))
    assert value.shape == ()
    assert value.dtype.kind == "f"
    assert np.isfinite(value)


@animals
def test_its_arguments_fit_and_are_the_same_each_time_but_never_the_same_objects(
    animal: Animal,
) -> None:
    first: Any = animal.args()
    second: Any = animal.args()
    assert inspect.signature(animal.function).bind(*first)
    for a, b in zip(optree.tree_leaves(first), optree.tree_leaves(second), strict=True):
        np.testing.assert_array_equal(a, b)
        assert isinstance(a, float) or a is not b


@animals
def test_its_graph_is_valid_and_means_what_numpy_computes(animal: Animal) -> None:
    graph, values = animal.trace()
    (found,) = evaluate(verify(graph), *values)
    expected = animal.function(*animal.args())
    rtol = 1e-5 if found.dtype == np.float32 else 1e-12
    np.testing.assert_allclose(found, expected, rtol=rtol)
    assert found.dtype == np.asarray(expected).dtype
