"""The order in which training visits examples: NumPy's, whoever draws it."""

from typing import Any

import numpy as np
import pytest

from graphjit import train
from graphjit.codegen.epoch import Epoch
from graphjit.flags import override
from graphjit.train import shuffle
from graphjit.train.shuffle import OFTEN, Draws, Order

LENGTHS = 1, 2, 3, 5, 64, 65, 100, 777, 1023, 1024, 1025, 10_000, 65_537, 4, 1


def drawn(draws: Draws, n: int, count: int = 1) -> np.ndarray:
    """The next permutations, one a row."""
    orders = np.full((count, n), -1)
    draws.fill(orders)
    return orders


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if many examples had been ordered before."""
    monkeypatch.setattr(shuffle, "_ordered", [OFTEN])


@pytest.mark.parametrize("seed", [0, 1, 2**70, True, [3, 4], np.random.SeedSequence(5)])
@pytest.mark.usefixtures("often")
def test_our_permutations_are_numpy_s(seed: Any) -> None:
    ours, theirs = Draws(seed), np.random.default_rng(seed)
    for n in LENGTHS:
        (order,) = drawn(ours, n)
        assert ours.state is not None
        np.testing.assert_array_equal(order, theirs.permutation(n))


@pytest.mark.usefixtures("often")
def test_the_same_seed_begins_anew() -> None:
    first, second = Draws(11), Draws(11)
    before = drawn(first, 30, 2)
    np.testing.assert_array_equal(drawn(second, 30, 2), before)
    assert not np.array_equal(drawn(second, 30, 2), before)


@pytest.mark.parametrize("n", [1, 2, 3, 17, 100])
@pytest.mark.usefixtures("often")
def test_many_at_once_are_those_one_after_the_other(n: int) -> None:
    ours, theirs = Draws(2), np.random.default_rng(2)
    for count in (1, 40, 3):
        expected = [theirs.permutation(n) for _ in range(count)]
        np.testing.assert_array_equal(drawn(ours, n, count), expected)


@pytest.mark.parametrize("before", [0, 1, 2, 3, 4])
def test_they_go_on_where_numpy_stood(before: int, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = Draws(7), np.random.default_rng(7)
    monkeypatch.setattr(shuffle, "_ordered", [0])
    for n in range(30, 30 + before):
        np.testing.assert_array_equal(drawn(ours, n)[0], theirs.permutation(n))
    assert ours.state is None
    monkeypatch.setattr(shuffle, "_ordered", [OFTEN])
    for n in (31, 2, 500):
        np.testing.assert_array_equal(drawn(ours, n)[0], theirs.permutation(n))
    assert ours.state is not None


@pytest.mark.parametrize("held", [0, 1])
@pytest.mark.parametrize("n", [5, 8, 9, 33])
@pytest.mark.usefixtures("often")
def test_our_generator_stands_where_numpy_s_does(n: int, held: int) -> None:
    """Also the half of a number that was not asked for yet."""
    theirs = np.random.default_rng(4)
    theirs.integers(100, size=held, dtype=np.uint32)
    shuffler = shuffle.made()
    assert shuffler is not None
    ours = Draws(4)
    ours.state = shuffle.state_of(theirs)
    for _ in range(50):
        ours.shuffle(np.empty((1, n), np.int64), shuffler)
        theirs.permutation(n)
        expected = shuffle.state_of(theirs)
        held = int(expected[4])
        np.testing.assert_array_equal(ours.state[: 5 + held], expected[: 5 + held])


@pytest.mark.parametrize("kind", [np.random.MT19937, np.random.Philox, np.random.SFC64])
@pytest.mark.usefixtures("often")
def test_a_generator_that_is_given_moves_on(kind: Any) -> None:
    for make in (kind, np.random.PCG64):
        ours, theirs = (np.random.Generator(make(3)) for _ in range(2))
        np.testing.assert_array_equal(drawn(Draws(ours), 50)[0], theirs.permutation(50))
        assert ours.integers(1 << 40) == theirs.integers(1 << 40)


@pytest.mark.usefixtures("often")
def test_an_old_generator_that_is_given_moves_on() -> None:
    ours, theirs = (np.random.RandomState(np.random.PCG64(3)) for _ in range(2))
    expected = np.random.default_rng(theirs).permutation(50)
    np.testing.assert_array_equal(drawn(Draws(ours), 50)[0], expected)
    assert ours.randint(1 << 30) == theirs.randint(1 << 30)


@pytest.mark.usefixtures("often")
def test_without_machine_code_numpy_draws() -> None:
    with override(jit=False):
        draws = Draws(0)
        expected = np.random.default_rng(0).permutation(20)
        np.testing.assert_array_equal(drawn(draws, 20)[0], expected)
    assert draws.state is None


@pytest.mark.parametrize("seed", [None, 3])
def test_there_is_a_batch_to_look_ahead_at(seed: int | None) -> None:
    order = Order(Epoch(10, 4), None if seed is None else Draws(seed))
    for first, last in ((0, 1), (1, 4), (4, 5), (5, 6), (6, 7)):
        found = order.between(first, last)
        assert found[:2] == (first, last)
        assert len(found.numbers) == 10 * (last - first) + 4
        assert found.numbers.min() == 0
        assert found.numbers.max() == 9
        for epoch in found.numbers[:-4].reshape(-1, 10):
            np.testing.assert_array_equal(np.sort(epoch), np.arange(10))


def test_an_order_is_kept_until_the_one_after_the_next() -> None:
    """Where a loss is no number, training goes back to the last but one."""
    order = Order(Epoch(10, 4), Draws(0))
    known = [(found := order.between(0, 1), found.numbers.copy())]
    for epoch in range(1, 6):
        assert order.between(epoch - 1, epoch) is known[-1][0]
        found = order.between(epoch, epoch + 1)
        known = [known[-1], (found, found.numbers.copy())]
        for one, numbers in known:
            np.testing.assert_array_equal(one.numbers, numbers)


@pytest.mark.parametrize("at_once", [1, 140, 100_000])
@pytest.mark.parametrize("chunk", [0.0, 0.2])
@pytest.mark.parametrize("shuffled", [False, True])
def test_wherever_native_calls_end_the_steps_are_the_same(
    at_once: int, chunk: float, shuffled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(1)
    x, y, size, epochs = rng.standard_normal((70, 3)), rng.standard_normal(70), 16, 7
    monkeypatch.setattr("graphjit.train.run.CHUNK_SECONDS", chunk)
    monkeypatch.setattr("graphjit.train.run.AT_ONCE", at_once)
    ours = train.minibatch_sgd(
        squared, np.zeros(3), (x, y), 0.05, batch_size=size, epochs=epochs, seed=6
    ) if shuffled else train.minimize(
        squared, np.zeros(3), (x, y), train.sgd(0.05), batch_size=size, epochs=epochs,
        shuffle=False,
    )  # fmt: skip
    w, draws, losses = np.zeros(3), np.random.default_rng(6), []
    for _ in range(epochs):
        order = draws.permutation(70) if shuffled else np.arange(70)
        for start in range(0, 70, size):
            rows = order[start : start + size]
            error = x[rows] @ w - y[rows]
            losses.append(np.mean(error**2))
            w = w - 0.05 * 2 * error @ x[rows] / len(rows)
    np.testing.assert_allclose(ours.losses, losses, rtol=1e-12)
    np.testing.assert_allclose(ours.params, w, rtol=1e-12)


def squared(w: Any, x: Any, y: Any) -> Any:
    """Linear regression."""
    return np.mean((x @ w - y) ** 2)


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
