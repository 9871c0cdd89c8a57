"""Named tuples and dataclasses of our own: as the library's, one for one."""

import copy
import dataclasses
import inspect
import pickle
import typing
from collections.abc import Callable
from dataclasses import FrozenInstanceError, field
from functools import partial
from typing import Any

import pytest

from graphjit import records


class Named(records.NamedTuple):
    """A named tuple."""

    first: int
    second: int = 2
    third: tuple[int, ...] = ()

    @property
    def total(self) -> int:
        return int(self.first + self.second)

    @classmethod
    def of(cls, first: int) -> Any:
        return cls(first)


class Theirs(typing.NamedTuple):
    """A named tuple."""

    first: int
    second: int = 2
    third: tuple[int, ...] = ()


def classes(decorate: Any) -> Any:
    """The same classes by a decorator."""

    @decorate(frozen=True, slots=True)
    class Slotted:
        """Frozen, in slots."""

        a: int
        b: list[Any] = field(default_factory=list)
        c: str = field(default="c", repr=False, compare=False)

    @decorate(frozen=True)
    class Frozen:
        """Frozen."""

        a: int
        b: list[Any] = field(default_factory=list)
        c: str = field(default="c", repr=False, compare=False)

        def twice(self) -> int:
            return 2 * self.a

    @decorate
    class Free:
        """Neither."""

        a: int
        b: list[Any] = field(default_factory=list)
        c: str = field(default="c", repr=False, compare=False)

    @decorate(eq=False, repr=False)
    class Plain:
        """Compared by identity."""

        a: int
        b: list[Any] = field(default_factory=list)
        c: str = field(default="c", repr=False, compare=False)

    @decorate(frozen=True)
    class Own:
        """With methods of its own."""

        a: int
        b: int = 0
        c: str = ""

        def __eq__(self, other: object) -> bool:
            return isinstance(other, type(self)) and self.a == other.a

        def __hash__(self) -> int:
            return 5

        def __repr__(self) -> str:
            return "own"

    return Slotted, Frozen, Free, Plain, Own


PAIRS = list(zip(classes(records.dataclass), classes(dataclasses.dataclass), strict=True))
Slotted, Frozen, *_ = classes(records.dataclass)
for made in (Slotted, Frozen):  # where pickles find them
    made.__qualname__ = made.__name__


def outcome(step: Callable[[], Any]) -> Any:
    """The result of a step, or the kind of its error."""
    try:
        return step()
    except Exception as error:  # noqa: BLE001 - both libraries' errors are compared
        return type(error)


def parameters(cls: Any) -> list[inspect.Parameter]:
    """Those of its constructor."""
    return list(inspect.signature(cls).parameters.values())


STEPS: dict[str, Callable[[Any], Any]] = {
    "repr": lambda cls: repr(cls(1)).rpartition(".")[2] if cls.__repr__ is not object else "",
    "default": lambda cls: (cls(1).b, cls(1).c),
    "fresh default": lambda cls: cls(1).b is cls(1).b,
    "by name": lambda cls: cls(c="z", a=3).a,
    "too few": lambda cls: cls(),
    "too many": lambda cls: cls(1, 2, 3, 4),
    "equal": lambda cls: cls(1) == cls(1),
    "unequal": lambda cls: cls(1) == cls(2),
    "not compared": lambda cls: cls(1, c="x") == cls(1, c="y"),
    "another class": lambda cls: cls.__eq__(cls(1), (1,)) if "__eq__" in vars(cls) else None,
    "hash": lambda cls: hash(cls(1, 2)) == hash(cls(1, 2)),
    "no hash": lambda cls: cls.__hash__ is None,
    "set": lambda cls: setattr(cls(1), "a", 2),
    "delete": lambda cls: delattr(cls(1), "a"),
    "dict": lambda cls: hasattr(cls(1), "__dict__"),
    "replace": lambda cls: dataclasses.replace(cls(1), a=7).a,
    "fields": lambda cls: [f.name for f in dataclasses.fields(cls)],
    "as dict": lambda cls: dataclasses.asdict(cls(1)),
    "copy": lambda cls: copy.deepcopy(cls(1, [2])).b,
    "match": lambda cls: cls.__match_args__,
    "signature": lambda cls: [(p.name, p.annotation) for p in parameters(cls)],
    "hints": lambda cls: typing.get_type_hints(cls.__init__),
    "doc": lambda cls: cls.__doc__,
}


@pytest.mark.parametrize(("ours", "theirs"), PAIRS, ids=[pair[1].__name__ for pair in PAIRS])
@pytest.mark.parametrize("step", STEPS)
def test_dataclasses_are_as_the_librarys(ours: Any, theirs: Any, step: str) -> None:
    if step == "repr" and "__repr__" not in vars(theirs):
        assert ours.__repr__ is object.__repr__
        return
    found, wanted = (outcome(partial(STEPS[step], cls)) for cls in (ours, theirs))
    assert found == wanted
    assert isinstance(found, type) == isinstance(wanted, type)


@pytest.mark.parametrize("cls", [Slotted, Frozen])
def test_frozen_objects_take_no_other_attribute(cls: Any) -> None:
    with pytest.raises(FrozenInstanceError):
        cls(1).other = 2


def test_errors_of_frozen_objects_name_the_field() -> None:
    with pytest.raises(FrozenInstanceError, match="cannot assign to field 'a' of Slotted"):
        Slotted(1).a = 2
    with pytest.raises(FrozenInstanceError, match="cannot delete field 'b' of Frozen"):
        del Frozen(1).b


@pytest.mark.parametrize("cls", [Slotted, Frozen])
def test_pickles_of_frozen_objects(cls: Any) -> None:
    value = cls(1, [2], "d")
    again = pickle.loads(pickle.dumps(value))
    assert again == value
    assert again.c == "d"


@pytest.mark.parametrize(
    "step",
    [
        lambda cls: cls(1)[:2],
        lambda cls: cls(1)._replace(second=5).second,
        lambda cls: cls(1)._asdict(),
        lambda cls: cls._fields,
        lambda cls: cls._field_defaults,
        lambda cls: cls._make((1, 2, 3)).third,
        lambda cls: [cls()],
        lambda cls: cls(1, 2, 3, 4),
        lambda cls: hash(cls(1)),
        lambda cls: cls(1) == (1, 2, ()),
        lambda cls: repr(cls(1)).partition("(")[2],
        lambda cls: hasattr(cls(1), "__dict__"),
        lambda cls: cls.__mro__[1:],
        type,
        lambda cls: cls.__doc__,
        lambda cls: list(cls.__annotations__),
        lambda cls: cls.__module__,
        lambda cls: [p.name for p in parameters(cls)],
        lambda cls: [p.annotation is p.empty for p in parameters(cls)],
        typing.get_type_hints,
        lambda cls: typing.get_type_hints(cls.__new__),
    ],
)
def test_named_tuples_are_as_the_librarys(step: Callable[[Any], Any]) -> None:
    assert outcome(partial(step, Named)) == outcome(partial(step, Theirs))


def test_named_tuples_keep_what_the_class_says() -> None:
    assert Named.of(3).total == 5
    assert Named.__qualname__ == "Named"
    assert pickle.loads(pickle.dumps(Named(1))) == Named(1)


def test_a_mutable_default_is_refused() -> None:
    with pytest.raises(ValueError, match="mutable default"):

        @records.dataclass
        class Shared:
            values: list[Any] = []  # noqa: RUF012 - what is refused


def test_annotations_are_never_looked_at() -> None:
    body = {"__annotations__": {"a": "no such name", "b": "1 +"}, "__module__": __name__, "b": 3}
    made: Any = records.Named("Made", (records.NamedTuple,), body)
    assert made(1) == (1, 3)
