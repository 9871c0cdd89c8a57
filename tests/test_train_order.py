"""The order in which training visits examples: NumPy's, whoever draws it."""

from typing import Any

import numpy as np
import pytest

from graphjit import train
from graphjit.codegen.epoch import Epoch
from graphjit.flags import override
from graphjit.train import shuffle
from graphjit.train.run import Order
from graphjit.train.shuffle import OFTEN, Draws

LENGTHS = 1, 2, 3, 5, 64, 65, 100, 777, 1023, 1024, 1025, 10_000, 65_537, 4, 1


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if many examples had been ordered before."""
    monkeypatch.setattr(shuffle, "_ordered", [OFTEN])


@pytest.mark.parametrize("seed", [0, 1, [3, 4], np.random.SeedSequence(5)])
@pytest.mark.usefixtures("often")
def test_our_permutations_are_numpy_s(seed: Any) -> None:
    ours, theirs = Draws(seed), np.random.default_rng(seed)
    for n in LENGTHS:
        order = ours.permutation(n)
        assert ours.words is not None
        assert order.dtype == np.int64
        np.testing.assert_array_equal(order, theirs.permutation(n))


@pytest.mark.parametrize("before", [0, 1, 2, 3, 4])
def test_they_go_on_where_numpy_stood(before: int, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = Draws(7), np.random.default_rng(7)
    monkeypatch.setattr(shuffle, "_ordered", [0])
    for n in range(30, 30 + before):
        np.testing.assert_array_equal(ours.permutation(n), theirs.permutation(n))
    assert ours.words is None
    monkeypatch.setattr(shuffle, "_ordered", [OFTEN])
    for n in (31, 2, 500):
        np.testing.assert_array_equal(ours.permutation(n), theirs.permutation(n))
    assert ours.words is not None


@pytest.mark.usefixtures("often")
def test_words_that_do_not_suffice_are_drawn_further() -> None:
    """Where many are too large, more are drawn and the beginning is the same."""
    shuffler = shuffle.made()
    assert shuffler is not None
    ours = Draws(0)
    ours.words = np.full(400, 2**32 - 1, np.uint32)  # each is too large for a place below 127
    order = np.zeros(100, np.int64)
    ours.shuffle(order, shuffler)
    np.testing.assert_array_equal(order, np.random.default_rng(0).permutation(100))


@pytest.mark.parametrize("kind", [np.random.MT19937, np.random.Philox, np.random.SFC64])
@pytest.mark.usefixtures("often")
def test_a_generator_that_is_given_moves_on(kind: Any) -> None:
    for make in (kind, np.random.PCG64):
        ours, theirs = (np.random.Generator(make(3)) for _ in range(2))
        np.testing.assert_array_equal(Draws(ours).permutation(50), theirs.permutation(50))
        assert ours.integers(1 << 40) == theirs.integers(1 << 40)


@pytest.mark.usefixtures("often")
def test_an_old_generator_that_is_given_moves_on() -> None:
    ours, theirs = (np.random.RandomState(np.random.PCG64(3)) for _ in range(2))
    np.testing.assert_array_equal(
        Draws(ours).permutation(50), np.random.default_rng(theirs).permutation(50)
    )
    assert ours.randint(1 << 30) == theirs.randint(1 << 30)


@pytest.mark.usefixtures("often")
def test_without_machine_code_numpy_draws() -> None:
    with override(jit=False):
        draws = Draws(0)
        np.testing.assert_array_equal(
            draws.permutation(20), np.random.default_rng(0).permutation(20)
        )
    assert draws.words is None


@pytest.mark.parametrize("seed", [None, 3])
def test_there_is_a_batch_to_look_ahead_at(seed: int | None) -> None:
    order = Order(Epoch(10, 4), None if seed is None else Draws(seed))
    for first, last in ((0, 1), (0, 3), (2, 3)):
        found = order.between(first, last)
        assert len(found) == 10 * (last - first) + 4
        for epoch in found[:-4].reshape(-1, 10):
            np.testing.assert_array_equal(np.sort(epoch), np.arange(10))


def test_training_visits_the_same_examples(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    data = rng.standard_normal((70, 3)), rng.standard_normal(70)

    def trained() -> Any:
        return train.minibatch_sgd(
            lambda w, x, y: np.mean((x @ w - y) ** 2), np.zeros(3), data, batch_size=32, epochs=5
        ).params

    monkeypatch.setattr(shuffle, "_ordered", [0])
    before = trained()
    monkeypatch.setattr(shuffle, "_ordered", [OFTEN])
    np.testing.assert_array_equal(trained(), before)
