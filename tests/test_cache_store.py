"""The store of the disk cache: what it keeps, and what it does when the disk misbehaves."""

import errno
import hashlib
import json
import os
import resource
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from graphjit.cache import environment as where
from graphjit.cache import folder as folder_module
from graphjit.cache import store as store_module
from graphjit.cache.container import MAGIC, PREFIX, VERSION, packed
from graphjit.cache.environment import (
    compiler,
    environment,
    files,
    processor,
    sources,
    stamps,
    threads,
)
from graphjit.cache.folder import usual
from graphjit.cache.store import MEGABYTE, SUFFIX, UNFINISHED, Store, opened
from graphjit.errors import CacheWarning
from graphjit.flags import override

KEY, OTHER = (hashlib.sha256(text).hexdigest() for text in (b"one", b"two"))
MANIFEST = {"name": "loss", "shapes": [[3, 4], []], "rate": 0.1}
BLOBS = {"object": bytes(range(256)) * 8, "source": "x² = 1\n".encode(), "empty": b""}


@pytest.fixture(autouse=True)
def first_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder_module, "_warned", False)
    monkeypatch.setattr(store_module, "OFTEN", 256)  # look through the folder after each write


@pytest.fixture
def store(tmp_path: Path) -> Store:
    tmp_path.chmod(0o700)
    return Store(tmp_path, MEGABYTE)


def path_of(store: Store, key: str = KEY) -> Path:
    return store.folder / f"{key}{SUFFIX}"


def key(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


# -- keeping --------------------------------------------------------------------------------------


def test_what_is_put_is_got(store: Store) -> None:
    assert store.get(KEY) is None
    assert store.put(KEY, MANIFEST, BLOBS)
    entry = store.get(KEY)
    assert entry is not None
    assert (entry.manifest, entry.blobs) == (MANIFEST, BLOBS)
    assert store.get(OTHER) is None
    counts = store.counts
    assert (counts.hits, counts.misses, counts.written, counts.damaged) == (1, 2, 1, 0)


def test_an_entry_is_replaced(store: Store) -> None:
    store.put(KEY, MANIFEST, BLOBS)
    store.put(KEY, {"new": True}, {})
    entry = store.get(KEY)
    assert entry is not None
    assert entry.manifest == {"new": True}
    assert [file.key for file in store.files()] == [KEY]


def test_files_are_private(store: Store) -> None:
    store.put(KEY, MANIFEST, BLOBS)
    assert path_of(store).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("bad", ["", "../" + KEY, KEY.upper(), KEY + "0", KEY[:-1] + "/"])
def test_a_key_is_never_a_path(store: Store, bad: str) -> None:
    with pytest.raises(ValueError, match="digest"):
        store.get(bad)


# -- damage ---------------------------------------------------------------------------------------


def damaged(store: Store, data: bytes) -> None:
    """An entry with these bytes is a miss, is removed with a warning, and can be built again."""
    folder_module._warned = False
    path = path_of(store)
    path.write_bytes(data)
    path.chmod(0o600)
    with pytest.warns(CacheWarning, match="was damaged and is removed"):
        assert store.get(KEY) is None
    assert not path.exists()
    assert store.put(KEY, MANIFEST, BLOBS)
    assert store.get(KEY) is not None


def test_every_truncation_is_found(store: Store) -> None:
    data = packed(KEY, MANIFEST, BLOBS)
    places = {*range(0, len(data), 97), *range(PREFIX.size + 3), len(data) - 1}
    for place in sorted(places):
        damaged(store, data[:place])


def test_every_flipped_bit_is_found(store: Store) -> None:
    data = packed(KEY, MANIFEST, BLOBS)
    for place in {*range(0, len(data), 53), *range(PREFIX.size + 3), len(data) - 1}:
        changed = bytearray(data)
        changed[place] ^= 1 << place % 8
        damaged(store, bytes(changed))


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\0" * 4096, id="zeros, as after a power failure"),
        pytest.param(packed(OTHER, MANIFEST, BLOBS), id="another key"),
        pytest.param(packed(KEY, MANIFEST, BLOBS) + b"x", id="too long"),
        pytest.param(b"\x80\x04cposix\nsystem\n.", id="a pickle"),
        pytest.param(
            MAGIC + (VERSION + 1).to_bytes(4, "big") + packed(KEY, MANIFEST, BLOBS)[12:],
            id="another version",
        ),
    ],
)
def test_what_is_foreign_is_found(store: Store, data: bytes) -> None:
    damaged(store, data)


def test_a_header_that_lies_about_lengths_is_found(store: Store) -> None:
    for part in (["a", -5, ""], ["a", 10**30, ""], ["a", "5", ""], ["a"], 7):
        header = json.dumps({"key": KEY, "manifest": {}, "parts": [part]}).encode()
        prefix = PREFIX.pack(MAGIC, VERSION, len(header), hashlib.sha256(header).digest())
        damaged(store, prefix + header)


def plant_symlink(path: Path) -> None:
    real = path.with_suffix(".real")
    path.rename(real)
    path.symlink_to(real)


def plant_hard_link(path: Path) -> None:
    os.link(path, path.with_suffix(".real"))


def plant_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path, 0o600)


def plant_writable(path: Path) -> None:
    path.chmod(0o622)


@pytest.mark.parametrize("plant", [plant_symlink, plant_hard_link, plant_pipe, plant_writable])
def test_a_file_that_others_could_have_written_is_not_read(store: Store, plant: Any) -> None:
    store.put(KEY, MANIFEST, BLOBS)
    plant(path_of(store))
    with pytest.warns(CacheWarning, match="damaged"):
        assert store.get(KEY) is None


def test_a_folder_in_the_place_of_an_entry_is_a_miss(store: Store) -> None:
    path_of(store).mkdir()
    with pytest.warns(CacheWarning):
        assert store.get(KEY) is None
    assert [fault for _, fault in store.verify()] != [""]


def test_verify_names_the_damaged_ones(store: Store) -> None:
    store.put(KEY, MANIFEST, BLOBS)
    store.put(OTHER, MANIFEST, BLOBS)
    path_of(store).write_bytes(packed(KEY, MANIFEST, BLOBS)[:-1])
    found = {file.key: fault for file, fault in store.verify()}
    assert found[OTHER] == ""
    assert "does not match its checksum" in found[KEY]
    assert store.clear() == 2
    assert list(store.verify()) == []


def test_an_entry_of_another_version_is_not_damaged(store: Store) -> None:
    data = packed(KEY, MANIFEST, BLOBS)
    path_of(store).write_bytes(data[:8] + (VERSION + 1).to_bytes(4, "big") + data[12:])
    path_of(store).chmod(0o600)
    assert [fault for _, fault in store.verify()] == [""]


# -- size -----------------------------------------------------------------------------------------


def test_the_least_recently_used_go_first(store: Store) -> None:
    store.limit = 10_000
    for number in range(9):
        store.put(key(number), {}, {"object": bytes(700)})
        os.utime(path_of(store, key(number)), (number, number))
    assert store.get(key(0)) is not None  # which makes it the newest
    for number in range(9, 12):
        store.put(key(number), {}, {"object": bytes(700)})
    kept = {file.key for file in store.files()}
    assert key(0) in kept
    assert key(11) in kept
    assert key(1) not in kept
    assert sum(file.size for file in store.files()) <= store.limit
    assert store.counts.removed == 12 - len(kept)


def test_what_is_larger_than_the_bound_is_not_kept(store: Store) -> None:
    store.limit = 1000
    store.put(KEY, {}, {})
    assert not store.put(OTHER, {}, {"object": bytes(1000)})
    assert [file.key for file in store.files()] == [KEY]


def test_a_hit_notes_the_time_at_most_once_a_minute(store: Store) -> None:
    store.put(KEY, MANIFEST, BLOBS)
    now = time.time()
    os.utime(path_of(store), (now - 30, now - 30))
    store.get(KEY)
    assert path_of(store).stat().st_mtime == pytest.approx(now - 30, abs=1e-3)
    for shift in (-90, 90):  # a clock may go backwards
        os.utime(path_of(store), (now + shift, now + shift))
        store.get(KEY)
        assert abs(path_of(store).stat().st_mtime - now) < 30


def test_the_folder_is_looked_through_now_and_then(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "OFTEN", 0)
    looks = [0]
    shrink = Store.shrink

    def counted(self: Store) -> None:
        looks[0] += 1
        shrink(self)

    monkeypatch.setattr(Store, "shrink", counted)
    for number in range(300):
        store.put(key(number), {}, {"object": bytes(5000)})
        size = sum(file.size for file in store.files())
        assert size < store.limit * (1 + 2 / store_module.SHARE)
    assert 50 < looks[0] < 100


def test_abandoned_files_are_removed_and_those_being_written_are_not(store: Store) -> None:
    old, new = (store.folder / f"{name}{UNFINISHED}" for name in ("old", "new"))
    old.touch()
    os.utime(old, (0, 0))
    new.touch()
    store.put(KEY, MANIFEST, BLOBS)
    assert not old.exists()
    assert new.exists()
    assert store.clear() == 1
    assert list(store.folder.iterdir()) == []


# -- a disk that fails ----------------------------------------------------------------------------


def failing(code: int) -> Any:
    def fail(*args: Any, **kwargs: Any) -> Any:
        raise OSError(code, os.strerror(code))

    return fail


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS])
@pytest.mark.parametrize("place", ["open", "write", "rename", "scan"])
def test_a_disk_that_fails_is_a_warning(
    store: Store, monkeypatch: pytest.MonkeyPatch, code: int, place: str
) -> None:
    store.put(KEY, MANIFEST, BLOBS)
    fail = failing(code)
    target: tuple[Any, str] = {
        "open": (os, "open"),
        "write": (store_module, "open"),
        "rename": (Path, "replace"),
        "scan": (os, "scandir"),
    }[place]
    with monkeypatch.context() as patch:
        patch.setattr(*target, fail, raising=False)
        with pytest.warns(CacheWarning, match="cannot be written") as caught:
            assert [store.put(OTHER, MANIFEST, BLOBS) for _ in range(2)] == [False, False]
    assert len(caught) == 1
    assert store.get(KEY) is not None
    assert not list(store.folder.glob(f"*{UNFINISHED}"))


def test_a_full_disk_leaves_no_part_of_an_entry(store: Store) -> None:
    code = """
import resource, signal, sys, pathlib
from graphjit.cache.store import Store
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
store = Store(pathlib.Path(sys.argv[1]), 2**20)
print(store.put("0" * 64, {}, {"object": bytes(100_000)}), store.put("1" * 64, {}, {}))
"""
    assert resource.RLIMIT_FSIZE >= 0
    done = run(code, str(store.folder))
    assert done.stdout == "False True\n"
    assert done.stderr.count("CacheWarning") == 1
    assert [path.name for path in store.folder.iterdir()] == ["1" * 64 + SUFFIX]


def test_an_interrupt_while_writing_leaves_no_part_of_an_entry(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*args: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        store.put(KEY, MANIFEST, BLOBS)
    assert list(store.folder.iterdir()) == []


def test_a_folder_that_is_gone_is_a_miss_and_a_warning(store: Store) -> None:
    store.folder.rmdir()
    assert store.get(KEY) is None
    with pytest.warns(CacheWarning, match="cannot be written"):
        assert not store.put(KEY, MANIFEST, BLOBS)


def test_threads_read_what_others_write_and_remove(store: Store) -> None:
    store.limit = 3000
    faults: list[Any] = []

    def work(seed: int) -> None:
        for step in range(60):
            name = key((seed + step) % 5)
            store.put(name, {"key": name}, {"object": bytes(800)})
            entry = store.get(name)
            if entry is not None and entry.manifest != {"key": name}:
                faults.append(entry)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults
    assert store.counts.damaged == 0
    assert not list(store.folder.glob(f"*{UNFINISHED}"))


def test_processes_build_the_same_entry_at_once(store: Store) -> None:
    code = """
import pathlib, sys
from graphjit.cache.store import Store
store = Store(pathlib.Path(sys.argv[1]), 2**20)
for _ in range(100):
    store.put("0" * 64, {}, {"object": bytes(20_000)})
    assert store.get("0" * 64).blobs["object"] == bytes(20_000)
print(store.counts.damaged)
"""
    workers = [spawn(code, str(store.folder)) for _ in range(3)]
    assert [worker.communicate() for worker in workers] == [("0\n", "")] * 3
    assert len(list(store.folder.iterdir())) == 1


def spawn(code: str, *args: str, **env: str) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", code, *args]
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=os.environ | env)


def run(code: str, *args: str, **env: str) -> subprocess.CompletedProcess[str]:
    worker = spawn(code, *args, **env)
    stdout, stderr = worker.communicate()
    assert worker.returncode == 0, stderr
    return subprocess.CompletedProcess(args, 0, stdout, stderr)


# -- the folder -----------------------------------------------------------------------------------


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    where = tmp_path / "new folder" / "Größe"
    with override(cache=True, cache_dir=str(where)):
        yield where


def refused(words: str) -> None:
    with pytest.warns(CacheWarning, match=words) as caught:
        assert opened() is None
    assert "GRAPHJIT_CACHE=off" in str(caught[0].message)
    with warnings.catch_warnings(record=True) as again:
        assert opened() is None
    assert not again


def test_the_folder_is_made_for_its_user_alone(place: Path) -> None:
    store = opened()
    assert store is not None
    assert store.put(KEY, MANIFEST, BLOBS)
    assert place.stat().st_mode & 0o777 == 0o700
    assert opened() is store
    with override(cache_size=1):
        assert opened() is store
        assert store.limit == MEGABYTE


def test_the_cache_can_be_off(place: Path) -> None:
    with override(cache=False):
        assert opened() is None
    assert not place.exists()


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o702])
def test_a_folder_that_others_can_write_is_not_used(place: Path, mode: int) -> None:
    place.mkdir(parents=True)
    place.chmod(mode)
    refused(f"can be written by others, so it is not used.*Run chmod 700 {place}")


def test_a_folder_that_is_meant_for_all_is_left_as_it_is(place: Path) -> None:
    place.mkdir(parents=True)
    place.chmod(0o1777)
    with pytest.warns(CacheWarning, match="can be written by others") as caught:
        assert opened() is None
    assert "chmod" not in str(caught[0].message)
    assert list(place.iterdir()) == []


def test_the_folder_of_another_user_is_not_used(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.mkdir(parents=True, mode=0o700)
    owner = place.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    refused("belongs to another user, so it is not used")


def test_the_link_of_another_user_is_not_followed(
    place: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    real = tmp_path / "real"
    real.mkdir(mode=0o700)
    place.parent.mkdir()
    place.symlink_to(real)
    found = place.lstat()
    assert opened() is not None  # a link of one's own is fine
    theirs = os.stat_result((*found[:4], found.st_uid + 1, *found[5:10]))
    monkeypatch.setattr(Path, "lstat", lambda self: theirs)
    refused("belongs to another user")


def test_a_file_in_the_place_of_the_folder(place: Path) -> None:
    place.parent.mkdir()
    place.touch()
    refused("cannot be made")


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for place in (
        tmp_path / "file" / "below",
        Path("/proc/nowhere/cache"),
        tmp_path / ("x" * 4096),
    ):
        folder_module._warned = False
        with override(cache=True, cache_dir=str(place)):
            refused("cannot be made")


def test_no_home_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    monkeypatch.setattr(sys, "platform", "linux")
    with override(cache=True, cache_dir=""):
        refused("no folder for the cache was found")


@pytest.mark.parametrize(
    ("platform", "names", "expected"),
    [
        ("linux", {}, "~/.cache/graphjit"),
        ("linux", {"XDG_CACHE_HOME": "/var/x"}, "/var/x/graphjit"),
        ("linux", {"XDG_CACHE_HOME": "relative"}, "~/.cache/graphjit"),
        ("linux", {"XDG_CACHE_HOME": ""}, "~/.cache/graphjit"),
        ("darwin", {"XDG_CACHE_HOME": "/var/x"}, "~/Library/Caches/graphjit"),
        ("win32", {"LOCALAPPDATA": "/Users/me/Local"}, "/Users/me/Local/graphjit/Cache"),
        ("win32", {}, "~/AppData/Local/graphjit/Cache"),
    ],
)
def test_the_usual_folder(platform: str, names: dict[str, str], expected: str) -> None:
    assert usual(names, platform) == Path(expected).expanduser()


# -- what else makes a key ------------------------------------------------------------------------


def test_the_environment_names_versions_and_processor() -> None:
    import llvmlite
    import numpy as np

    found = environment()
    assert found["numpy"] == np.__version__
    assert llvmlite.__version__ in found["llvmlite"]
    assert sys.version in found["python"]
    assert all(isinstance(value, str) for value in found.values())
    assert json.loads(json.dumps(dict(found))) == found


def test_the_threads_of_the_blas_are_part_of_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1}, raising=False)
    assert threads({}) == threads({"OMP_NUM_THREADS": "4"}) == "several"
    assert threads({"OMP_NUM_THREADS": "1"}) == threads({"OPENBLAS_NUM_THREADS": "1"}) == "one"
    assert threads({"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "2"}) == "several"
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0}, raising=False)
    assert threads({}) == "one"


def test_another_processor_is_another_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    first = "processor\t: 0\nmodel\t\t: 17\ncpu MHz\t\t: 2596.1\nflags\t\t: sse2 avx2\n\n"
    told = tmp_path / "cpuinfo"
    monkeypatch.setattr(where, "CPU_INFORMATION", told)
    told.write_text(first + first.replace("17", "18"))
    before = processor()
    assert before == {"model": "17", "flags": "sse2 avx2"}
    told.write_text(first.replace("2596.1", "1200.0"))
    assert processor() == before
    told.write_text(first.replace("avx2", "avx"))
    assert processor() == {**before, "flags": "sse2 avx"}


def test_where_the_system_does_not_tell_the_processor_llvm_does(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import llvmlite.binding as llvm

    monkeypatch.setattr(where, "CPU_INFORMATION", tmp_path / "missing")
    before = processor()
    assert before["cpu"] == llvm.get_host_cpu_name()
    monkeypatch.setattr(llvm, "get_host_cpu_name", lambda: "pentium")
    assert {k for k, v in processor().items() if v != before[k]} == {"cpu"}


def test_the_environment_needs_no_compiler() -> None:
    code = """
import sys
from graphjit.cache.environment import CPU_INFORMATION, environment
environment()
print("numba" in sys.modules, "llvmlite" in sys.modules and CPU_INFORMATION.exists())
"""
    assert run(code).stdout == "False False\n"


def test_llvmlite_tells_its_version_loaded_or_not(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib.machinery import PathFinder

    import llvmlite

    assert llvmlite.__version__ in compiler()["llvmlite"]
    monkeypatch.setattr(PathFinder, "find_spec", lambda _: None)
    assert compiler() == {"llvmlite": llvmlite.__version__}


def test_the_library_may_be_in_an_archive(tmp_path: Path) -> None:
    archive = tmp_path / "all.zip"
    archive.write_bytes(b"one")
    folder = str(archive / "graphjit")
    before = list(files(folder))
    assert len(before) == 1
    archive.write_bytes(b"another")
    assert list(files(folder)) != before


def test_the_library_s_own_code_is_part_of_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "inner" / "code.py"
    file.parent.mkdir()
    file.write_text("a = 1\n")
    before = list(stamps(str(tmp_path), len(str(tmp_path))))
    assert [line.split()[0] for line in before] == [str(Path("/inner/code.py"))]
    file.write_text("a = 12\n")
    assert list(stamps(str(tmp_path), len(str(tmp_path)))) != before
    module = sys.modules["graphjit"]
    assert sources(module) == sources(module)
