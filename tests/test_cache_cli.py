"""``graphjit cache info``, ``clear`` and ``verify``, as a new user meets them."""

import subprocess
import sys
from pathlib import Path

import pytest

from graphjit.cache.store import MEGABYTE, SUFFIX, Store
from graphjit.cli import main
from graphjit.flags import override

KEY = "5" * 64


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def said(capsys: pytest.CaptureFixture[str], place: Path, *words: str) -> tuple[int, str]:
    with override(cache=True, cache_dir=str(place)):
        code = main(["cache", *words])
    out, err = capsys.readouterr()
    return code, out + err


def filled(place: Path) -> Store:
    place.mkdir(mode=0o700)
    store = Store(place, MEGABYTE)
    store.put(KEY, {}, {"object": bytes(MEGABYTE // 2)})
    return store


def test_an_empty_cache(capsys: pytest.CaptureFixture[str], place: Path) -> None:
    code, text = said(capsys, place, "info")
    assert code == 0
    assert f"{place} (not made yet)" in text
    assert "0.0 of 512 MB" in text
    assert said(capsys, place, "verify") == (0, "0 entries read, 0 damaged\n")
    assert said(capsys, place, "clear") == (0, f"0 entries removed from {place}\n")
    assert not place.exists()  # looking makes nothing


def test_info_counts(capsys: pytest.CaptureFixture[str], place: Path) -> None:
    filled(place)
    _, text = said(capsys, place, "info")
    facts = dict(line.split(maxsplit=1) for line in text.splitlines())
    assert facts["entries"] == "1"
    assert facts["size"] == "0.5 of 512 MB"
    assert facts["state"] == "on"


def test_clear_removes(capsys: pytest.CaptureFixture[str], place: Path) -> None:
    store = filled(place)
    (place / "notes.txt").touch()
    assert said(capsys, place, "clear") == (0, f"1 entry removed from {place}\n")
    assert store.get(KEY) is None
    assert (place / "notes.txt").exists()  # what is not the cache's own stays


def test_verify_reports(capsys: pytest.CaptureFixture[str], place: Path) -> None:
    filled(place)
    assert said(capsys, place, "verify") == (0, "1 entry read, 0 damaged\n")
    file = place / f"{KEY}{SUFFIX}"
    file.write_bytes(file.read_bytes()[:-1])
    code, text = said(capsys, place, "verify")
    assert code == 1
    assert f"{file}: part 'object' does not match its checksum" in text
    assert "1 entry read, 1 damaged" in text
    assert file.exists()  # verify only looks


def test_a_folder_that_is_not_private(capsys: pytest.CaptureFixture[str], place: Path) -> None:
    filled(place)
    place.chmod(0o777)
    for action in ("info", "verify", "clear"):
        code, text = said(capsys, place, action)
        assert code == 2
        assert f"chmod 700 {place}" in text
    assert (place / f"{KEY}{SUFFIX}").exists()


@pytest.mark.parametrize("words", [[], ["cache"], ["cache", "empty"]])
def test_words_that_mean_nothing_are_explained(
    capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(words)
    assert "usage: graphjit" in capsys.readouterr().err


def test_the_module_is_the_command(place: Path) -> None:
    command = [sys.executable, "-m", "graphjit", "cache", "info"]
    env = {"GRAPHJIT_CACHE_DIR": str(place), "GRAPHJIT_CACHE": "off", "PATH": ""}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "off (GRAPHJIT_CACHE)" in done.stdout
