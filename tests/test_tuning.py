"""The numbers that code is made by: the table, the file of measured ones, and measuring them."""

from __future__ import annotations

import itertools
import json
import math
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graphjit import tuning
from graphjit.cache import environment
from graphjit.calibrate import bench, measures, timing
from graphjit.calibrate.measures import Trial, fitted, lost
from graphjit.cli import main
from graphjit.codegen import llvm_matrix_choice
from graphjit.codegen.llvm_matrix import MatrixProduct, Steps
from graphjit.codegen.llvm_matrix_choice import choice, deep, further, nearby
from graphjit.codegen.llvm_matrix_rows import tile_of
from graphjit.codegen.native import host
from graphjit.errors import TuningWarning
from graphjit.flags import override
from graphjit.tuning import RANGES, TABLE, Caches, numbers, read, replaced, write

WIDTHS = pytest.mark.parametrize("width", TABLE)


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    """A file that the flag names, and nothing read before."""
    tuning.contents.cache_clear()
    tuning._measured.cache_clear()
    with override(tuning=str(tmp_path / "settings" / "tuning.json")):
        yield tmp_path / "settings" / "tuning.json"
    tuning.contents.cache_clear()
    tuning._measured.cache_clear()


# -- the table -------------------------------------------------------------------------------------


@WIDTHS
def test_the_tables_numbers_could_be_measured(width: int) -> None:
    found = numbers(TABLE[width])
    assert len(found) == 1 + 2 * 4
    for name, value in found.items():
        low, high = RANGES[name.partition(" ")[0]]
        assert low <= value <= high
    assert found["unrolled"] in tuning.POWERS


@WIDTHS
def test_each_number_can_be_replaced(width: int) -> None:
    for name in numbers(TABLE[width]):
        changed = numbers(replaced(TABLE[width], name, 3))
        assert changed == {**numbers(TABLE[width]), name: 3}


def test_limits_go_with_the_caches(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = Caches(1 << 15, 1 << 19, 1 << 24)
    monkeypatch.setattr(llvm_matrix_choice, "caches", lambda: sizes)
    assert (nearby(), further(), deep()) == (1 << 20, 1 << 22, 768)


def test_the_caches_of_linux_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = [
        ("Data", "1", "48K"), ("Instruction", "1", "32K"), ("Unified", "2", "2M"),
        ("Unified", "3", "?"),
    ]  # fmt: skip
    for i, (kind, level, size) in enumerate(known):
        folder = tmp_path / "cache" / f"index{i}"
        folder.mkdir(parents=True)
        for name, text in (("type", kind), ("level", level), ("size", size)):
            (folder / name).write_text(text + "\n")
    (tmp_path / "cache" / "index9").mkdir()
    monkeypatch.setattr(tuning, "CPU", tmp_path)
    assert tuning.caches.__wrapped__() == (48 << 10, 2 << 20, tuning.USUAL.third)
    monkeypatch.setattr(tuning, "CPU", tmp_path / "nowhere")
    assert tuning.caches.__wrapped__() == tuning.USUAL


def test_numbers_in_force_choose_the_way_of_a_product() -> None:
    product = MatrixProduct(np.dtype(float), 64, 64, 64, Steps(64, 1), Steps(64, 1), Steps(64, 1))
    table = TABLE[host().vector_bytes]
    free = table.products[8]._replace(call=1 << 40, matrix=1 << 40, alone=1 << 40)
    never = table.products[8]._replace(call=0, plain=0.0, across=0.0)
    with tuning.override(table._replace(products={**table.products, 8: free})):
        assert choice(product) is not None
    with tuning.override(table._replace(products={**table.products, 8: never})):
        assert choice(product) is None


def test_numbers_in_force_choose_the_tiles() -> None:
    steps = Steps(64, 1)
    product = MatrixProduct(np.dtype(float), 64, 64, 64, steps, steps, steps)
    table, usual = TABLE[host().vector_bytes], tile_of(product)
    with tuning.override(table._replace(tiles=table.tiles._replace(sums=2))):
        assert tile_of(product).rows * tile_of(product).vectors <= 2
    assert tile_of(product) == usual
    assert usual.rows * usual.vectors > 2


@WIDTHS
def test_tiles_leave_registers_for_what_is_loaded(width: int) -> None:
    table, tiles = TABLE[width], TABLE[width].tiles
    most = max(tiles.held, tiles.sums, tiles.finished, tiles.busy, table.kept)
    assert most < tiles.registers
    assert tiles.columns < tiles.held


# -- the file --------------------------------------------------------------------------------------


def test_what_is_written_is_in_force(path: Path) -> None:
    width = host().vector_bytes
    assert tuning.tuning(width) == TABLE[width]
    write(path, width, {"unrolled": 8, "call f8": 777})
    found = tuning.tuning(width)
    assert (found.unrolled, found.products[8].call) == (8, 777)
    assert found.products[4] == TABLE[width].products[4]
    with override(tuning="off"):
        assert tuning.tuning(width) == TABLE[width]


def test_what_others_have_measured_stays(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(path, 32, {"unrolled": 2})
    monkeypatch.setattr(tuning, "model", lambda: "another")
    write(path, 64, {"unrolled": 8})
    assert sorted(read(path).values(), key=str) == [{"unrolled": 2}, {"unrolled": 8}]
    assert tuning.tuning(32) == TABLE[32]
    assert [item.name for item in path.parent.iterdir()] == [path.name]


def of_this(**found: Any) -> str:
    return json.dumps({"version": 1, "processors": {"x": found}})


DAMAGED = {
    "nothing": b"", "no JSON": b"{", "no text": b"\xff\xfe\x00", "a list": b"[]", "null": b"null",
    "no version": b"{}", "another version": b'{"version": 2, "processors": {}}',
    "no processors": b'{"version": 1}', "a number": b'{"version": 1, "processors": 3}',
    "a string": b'{"version": 1, "processors": {"x": "y"}}', "deep": b"[" * 100_000,
    "an unknown name": of_this(width=3).encode(), "text": of_this(unrolled="4").encode(),
    "true": of_this(unrolled=True).encode(), "NaN": of_this(unrolled=math.nan).encode(),
    "infinite": of_this(**{"call f8": math.inf}).encode(),
    "too small": of_this(**{"plain f4": 0.01}).encode(),
    "too large": of_this(**{"alone f8": 1 << 50}).encode(),
    "no power of two": of_this(unrolled=6).encode(), "no dtype": of_this(call=100).encode(),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_file_is_ignored_with_one_warning(path: Path, name: str) -> None:
    path.parent.mkdir()
    path.write_bytes(DAMAGED[name])
    width = host().vector_bytes
    with pytest.warns(TuningWarning, match=r"tuning.json is not used: .*bench --calibrate") as seen:
        assert [tuning.tuning(width) for _ in range(3)] == [TABLE[width]] * 3
    assert len(seen) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write(path, width, {"unrolled": 2})
        assert tuning.tuning(width).unrolled == 2


def test_a_file_that_cannot_be_read_is_none(path: Path) -> None:
    path.mkdir(parents=True)
    assert tuning.tuning(64) == TABLE[64]
    assert tuning.digest() == ""


def test_programs_on_disk_go_with_the_numbers(path: Path) -> None:
    keys = []
    for count in (None, 2, 8):
        if count is not None:
            write(path, 64, {"unrolled": count})
        keys.append(environment.environment.__wrapped__()["tuning"])
    assert len(set(keys)) == 3
    assert keys[0] == ""


@pytest.mark.parametrize(
    ("platform", "variables", "expected"),
    [
        ("linux", {"XDG_CONFIG_HOME": "/somewhere"}, "/somewhere/graphjit"),
        ("linux", {"XDG_CONFIG_HOME": "relative"}, "HOME/.config/graphjit"),
        ("linux", {}, "HOME/.config/graphjit"),
        ("darwin", {}, "HOME/Library/Application Support/graphjit"),
        ("win32", {"APPDATA": "/roaming"}, "/roaming/graphjit"),
    ],
)
def test_the_file_is_where_the_platform_has_settings(
    platform: str, variables: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("XDG_CONFIG_HOME", "APPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", platform)
    assert str(tuning.folder()) == expected.replace("HOME", str(Path.home()))
    with override(tuning=""):
        assert tuning.file() == tuning.folder() / "tuning.json"


def test_importing_the_library_reads_nothing() -> None:
    text = "import sys, graphjit; print([m for m in sys.modules if 'tuning' in m or 'calib' in m])"
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, check=True)
    assert done.stdout.strip() == b"[]"


# -- measuring -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("call", "slope"), [(100, 1.2), (400, 1.6), (1000, 2.4)])
def test_the_costs_of_the_blas_are_found_again(call: int, slope: float) -> None:
    """Times of a BLAS that costs so much are told from those of ours with nothing lost."""
    rng = np.random.default_rng(call)
    trials = []
    for alone in np.geomspace(50, 50_000, 40):
        library = call + slope * alone
        cost = library * rng.choice([0.7, 0.85, 1.2, 1.5])
        trials.append(Trial(int(cost), alone, cost, library))
    found = fitted({"plain": trials}, {"call": 5000, "plain": 9.0})
    assert lost(trials, found["call"], found["plain"]) < 0.05
    assert lost(trials, 5000, 9.0) > 1
    assert fitted({"plain": trials}, found) == found


def test_nothing_changes_for_nothing() -> None:
    trials = [Trial(100, 100.0, 1.0, 1.001), Trial(100, 100.0, 1.001, 1.0)]
    assert fitted({"plain": trials}, {"call": 10, "plain": 0.5}) == {"call": 10, "plain": 0.5}


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure little."""
    monkeypatch.setattr(measures, "SHAPES", ((4, 4, 4), (8, 8, 8)))
    monkeypatch.setattr(measures, "LADDER", (8,))
    monkeypatch.setattr(timing, "ROUND", 1000.0)
    monkeypatch.setattr(timing.nanoseconds, "__defaults__", (2,))


@pytest.mark.usefixtures("short")
def test_calibrating_writes_what_it_says(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--dry-run"]) == 0
    assert capsys.readouterr().out.endswith("nothing is kept\n")
    assert not path.exists()
    assert main(["bench", "--calibrate"]) == 0
    shown = capsys.readouterr().out
    (found,) = read(path).values()
    assert f"written to {path}" in shown
    width = host().vector_bytes
    assert numbers(tuning.tuning(width)) == {**numbers(TABLE[width]), **found}
    assert found.keys() >= numbers(TABLE[width]).keys() - {"alone f4", "alone f8"}
    for name in found:
        assert f"  {name} " in shown


@pytest.mark.usefixtures("short")
def test_calibrating_without_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    with override(tuning="off"):
        assert main(["bench", "--calibrate"]) == 0
    assert "nothing is kept: GRAPHJIT_TUNING is off" in capsys.readouterr().out


def test_both_ways_of_a_product_compute_the_same() -> None:
    table = TABLE[host().vector_bytes]
    for shape, across in itertools.product([(5, 7, 3), (16, 16, 16)], [False, True]):
        p = measures.Product(shape, np.dtype(float), across)
        args = measures.operands(p)
        results = []
        for chosen in measures.both(p, table).values():
            program = timing.program_of(measures.multiplied(p), args, chosen)
            results.append(program(*args)[0])
        np.testing.assert_allclose(results[0], results[1], rtol=1e-12)
        right = args[1].T if across else args[1]
        np.testing.assert_allclose(results[0], args[0] @ right, rtol=1e-12)


def test_the_benchmark_prints_a_row_for_each_program(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench, "CALLS", 1)
    monkeypatch.setattr(bench, "ROUNDS", 1)
    monkeypatch.setattr(timing.nanoseconds, "__defaults__", (1,))
    assert main(["bench"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + len(bench.cases())
    for line, case in zip(lines[1:], bench.cases(), strict=True):
        assert line.startswith(case.name)
        assert len(line[30:].split()) == 3


def test_the_flag_is_read_from_the_environment() -> None:
    text = "from graphjit.tuning import file; print(file())"
    for value, expected in (("off", "None"), ("/a/file.json", "/a/file.json")):
        variables = {**os.environ, "GRAPHJIT_TUNING": value}
        done = subprocess.run(
            [sys.executable, "-c", text], capture_output=True, check=True, env=variables, text=True
        )
        assert done.stdout.strip() == expected
