"""Flags: from the environment, for a block of code, and as a table."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import FrozenInstanceError
from typing import Any

import pytest

from graphjit.flags import NAMES, FlagError, Flags, current, override, read, table


def test_the_environment_sets_flags() -> None:
    found = read({"GRAPHJIT_DEBUG": "2", "GRAPHJIT_SKIP": "fuse, merge", "GRAPHJIT_JIT": "off"})
    assert found == Flags(debug=2, skip=("fuse", "merge"), jit=False)
    assert read({"DEBUG": "2"}) == Flags()


@pytest.mark.parametrize(
    ("name", "text", "hint"),
    [("DEBUG", "loud", "an integer"), ("DEBUG", "-1", "an integer"), ("VERIFY", "2", "0 or 1")],
)
def test_a_bad_value_is_named_with_what_it_should_be(name: str, text: str, hint: str) -> None:
    with pytest.raises(FlagError, match=f"GRAPHJIT_{name} cannot be {text!r}\n.*{hint}"):
        read({f"GRAPHJIT_{name}": text})


def test_the_environment_is_read_at_import() -> None:
    code = "from graphjit.flags import current; print(current().debug)"
    done = subprocess.run(
        [sys.executable, "-c", code], env={"GRAPHJIT_DEBUG": "3", "PYTHONPATH": ":".join(sys.path)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == "3\n"


def test_override_ends_with_its_block_also_by_an_error() -> None:
    before = current()
    with override(debug=2), override(jit=False):
        assert (current().debug, current().jit) == (2, False)
    assert current() is before
    with pytest.raises(ZeroDivisionError), override(debug=2):
        _ = 1 // 0
    assert current() is before


@pytest.mark.parametrize(
    "values", [{"debug": "x"}, {"debug": True}, {"debug": -1}, {"jit": 1}, {"skip": [1]}]
)
def test_override_refuses_a_value_of_another_type(values: dict[str, Any]) -> None:
    with pytest.raises(FlagError, match="cannot be"), override(**values):
        pass


def test_override_suggests_the_flag_that_was_meant() -> None:
    with pytest.raises(FlagError, match="no flag 'debg'\n  There is debug"), override(debg=1):
        pass


def test_override_holds_in_its_own_thread_only() -> None:
    with override(debug=current().debug + 5) as mine, ThreadPoolExecutor(1) as pool:
        assert pool.submit(lambda: current().debug).result() == mine.debug - 5


def test_flags_cannot_be_changed_in_place() -> None:
    with pytest.raises(FrozenInstanceError):
        current().debug = 3  # type: ignore[misc]


def test_the_table_has_a_row_for_each_flag() -> None:
    rows = table().splitlines()[2:]
    assert len(rows) == len(NAMES)
    assert all(f"`GRAPHJIT_{name.upper()}`" in row for name, row in zip(NAMES, rows, strict=True))
