"""The disk cache between processes: a second one builds nothing, and bad input harms nobody."""

import json
import os
import pickle
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from graphjit.cache.store import SUFFIX

MODEL = """
import numpy as np
import helper

TABLE = np.linspace(0.0, 1.0, 400)

def loss(p, x):
    return np.mean((helper.features(x @ p["w"]) + p["b"]) ** 2) + np.sum(TABLE * p["b"])

def mean_square(p, x, y):
    return np.mean((helper.features(x @ p["w"]) + p["b"] - y) ** 2)
"""
HELPER = """
import numpy as np

def features(x):
    return np.tanh(inner(x))

def inner(x):
    return 2.0 * x
"""
# ``sys.argv[1]`` runs before anything is imported, ``sys.argv[2]`` before the first call.
GOLDEN = """
import sys, json, warnings
exec(sys.argv[1])
caught = warnings.catch_warnings(record=True)
seen = caught.__enter__()
warnings.simplefilter("always")
import numpy as np, graphjit, model
from graphjit import train
exec(sys.argv[2])
x, p = np.linspace(-1, 1, 12).reshape(4, 3), {"w": np.array([0.5, -1.0, 2.0]), "b": 0.25}
f = graphjit.value_and_grad(model.loss)
value, slope = f(p, x)
first = f.stats.cache, sorted(f.stats.seconds)
for _ in range(20):
    again = f(p, x)
assert again[0] == value and (again[1]["w"] == slope["w"]).all()
options = {"batch_size": 3, "epochs": 5, "seed": 0}
data = x, np.arange(4.0)
result = train.minimize(model.mean_square, p, data, train.adam(0.05), **options)
from graphjit.codegen import native
heavy = {"networkx", "numba", "scipy", "tqdm", "graphjit.passes.pipeline", "graphjit.codegen.lower",
         "graphjit.codegen.render_llvm", "graphjit.codegen.render_numba", "graphjit.codegen.build",
         "graphjit.train.step"}
print(json.dumps({
    "numbers": [float(value).hex(), slope["w"].tobytes().hex(), float(slope["b"]).hex(),
                result.params["w"].tobytes().hex(), result.losses.tobytes().hex()],
    "outcomes": [first[0], result.cache],
    "phases": first[1],
    "launch": f.stats.launch,
    "heavy": sorted(heavy & set(sys.modules)),
    "warnings": [str(w.message) for w in seen],
}))
"""
COUNTING = """
from graphjit.codegen import libllvm
compiled = []
def counting(kind):
    make = kind.object_file
    def counted(self, text, *rest):
        if text != libllvm.FIRST:
            compiled.append(text)
        return make(self, text, *rest)
    kind.object_file = counted
counting(libllvm.Direct)
counting(libllvm.Imported)
import atexit
atexit.register(lambda: print(len(compiled)))
"""
NEW = ["miss: not built before"] * 2
HIT = ["hit"] * 2

Answer = dict[str, Any]
Golden = Callable[..., Answer]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def golden(tmp_path: Path, place: Path) -> Golden:
    """Runs the golden script in a process of its own."""
    for name, text in (("model", MODEL), ("helper", HELPER)):
        (tmp_path / f"{name}.py").write_text(text)

    def run(before: str = "", then: str = "", **env: str) -> Answer:
        worker = start(tmp_path, place, before, then, **env)
        stdout, stderr = worker.communicate()
        assert worker.returncode == 0, stderr
        answer, *rest = stdout.splitlines()
        found: Answer = json.loads(answer)
        return {**found, "count": [int(line) for line in rest], "stderr": stderr}

    return run


def start(
    folder: Path, place: Path, before: str = "", then: str = "", **env: str
) -> subprocess.Popen[str]:
    """The golden script, under way."""
    code = [textwrap.dedent(text) for text in (before, then)]
    command = [sys.executable, "-c", GOLDEN, *code]
    known = {"GRAPHJIT_CACHE": "on", "GRAPHJIT_CACHE_DIR": str(place), "GRAPHJIT_TIER": "best"}
    pipe = subprocess.PIPE
    return subprocess.Popen(
        command, cwd=folder, env=os.environ | known | env, stdout=pipe, stderr=pipe, text=True
    )


@pytest.fixture
def cold(golden: Golden) -> Answer:
    """The first process."""
    answer = golden()
    assert answer["outcomes"] == NEW
    assert answer["warnings"] == []
    return answer


def entries(place: Path) -> list[Path]:
    return sorted(place.glob(f"*{SUFFIX}"))


# -- two processes --------------------------------------------------------------------------------


def test_the_second_process_compiles_nothing(cold: Answer, golden: Golden) -> None:
    warm = golden(then=COUNTING)
    assert warm["numbers"] == cold["numbers"]
    assert warm["outcomes"] == HIT
    assert warm["phases"] == ["fingerprint", "load"]
    assert warm["launch"] == cold["launch"]
    assert warm["heavy"] == []
    assert warm["count"] == [0]
    assert warm["stderr"] == ""


def test_the_count_counts(golden: Golden) -> None:
    answer = golden(then=COUNTING)
    assert answer["count"][0] >= 2  # the function, the training loop, and how they are called
    assert "graphjit.codegen.lower" in answer["heavy"]


def test_without_the_cache_the_numbers_are_the_same(
    cold: Answer, golden: Golden, place: Path
) -> None:
    before = {path: path.stat().st_mtime_ns for path in place.iterdir()}
    answer = golden(GRAPHJIT_CACHE="off")
    assert answer["numbers"] == cold["numbers"]
    assert answer["outcomes"] == ["", ""]
    assert {path: path.stat().st_mtime_ns for path in place.iterdir()} == before


@pytest.mark.parametrize(
    ("file", "old", "new", "outcome"),
    [
        ("helper", "2.0 * x", "3.0 * x", "miss: helper inner changed"),
        ("helper", "np.tanh(", "np.sin(", "miss: helper features changed"),
        ("helper", "import numpy as np\n", "import numpy as np\nUNREAD = 1\n", "hit"),
        ("model", "def loss", "# a comment\n\ndef loss", "hit"),
        ("model", "1.0, 400", "2.0, 400", "hit"),  # the elements of a large array are an input
    ],
)
def test_an_edited_file(
    cold: Answer, golden: Golden, tmp_path: Path, file: str, old: str, new: str, outcome: str
) -> None:
    path = tmp_path / f"{file}.py"
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))
    warm, off = golden(), golden(GRAPHJIT_CACHE="off")
    assert warm["outcomes"][0] == outcome
    assert warm["numbers"] == off["numbers"]
    assert (warm["numbers"] != cold["numbers"]) == (outcome != "hit" or "2.0, 400" in new)
    assert golden()["outcomes"] == HIT


def test_another_folder_hash_seed_and_processor_name_for_numba_are_no_difference(
    cold: Answer, golden: Golden
) -> None:
    for env in ({"PYTHONHASHSEED": "7"}, {"NUMBA_CPU_NAME": "generic"}, {"PYTHONOPTIMIZE": "0"}):
        warm = golden(**env)
        assert (warm["outcomes"], warm["numbers"]) == (HIT, cold["numbers"])


def test_another_processor_is_a_miss(cold: Answer, golden: Golden) -> None:
    other = golden(
        then="""
        from pathlib import Path
        from graphjit.cache import environment
        environment.CPU_INFORMATION = Path("missing")
        import llvmlite.binding as llvm
        llvm.get_host_cpu_name = lambda: "x86-64"
        """
    )
    assert all(re.match("miss: (?!not built)", outcome) for outcome in other["outcomes"])
    assert other["warnings"] == []
    warm = golden()
    assert (warm["outcomes"], warm["numbers"]) == (HIT, cold["numbers"])


def test_processes_that_build_the_same_at_once(golden: Golden, tmp_path: Path, place: Path) -> None:
    workers = [start(tmp_path, place) for _ in range(3)]
    answers = [worker.communicate() for worker in workers]
    found = [json.loads(stdout) for stdout, _ in answers]
    assert [stderr for _, stderr in answers] == [""] * 3
    assert len({json.dumps(answer["numbers"]) for answer in found}) == 1
    assert [answer["warnings"] for answer in found] == [[]] * 3
    assert [path.name for path in place.iterdir() if path.suffix != SUFFIX] == []
    assert golden()["outcomes"] == HIT


# -- damage ---------------------------------------------------------------------------------------


class Bomb:
    """What a planted pickle would run."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def cut(path: Path, place: int) -> None:
    path.write_bytes(path.read_bytes()[:place])


def flipped(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place % len(data)] ^= 16
    path.write_bytes(data)


def exchanged(path: Path, _: int) -> None:
    others = [other for other in entries(path.parent) if other != path]
    path.write_bytes(others[0].read_bytes())


def linked(path: Path, _: int) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to(path.with_name("elsewhere"))


def pickled(path: Path, _: int) -> None:
    path.write_bytes(pickle.dumps(Bomb(path.parent / "bang")))


def second_name(path: Path, place: int) -> None:
    path.with_name(f"name{place}").hardlink_to(path)


def piped(path: Path, _: int) -> None:
    path.unlink()
    os.mkfifo(path)


def open_to_all(path: Path, _: int) -> None:
    path.chmod(0o666)


DAMAGES: list[tuple[Callable[[Path, int], None], int]] = [
    (cut, 0), (cut, 5), (cut, 100), (cut, -1), (flipped, 3), (flipped, 9), (flipped, 60),
    (flipped, -1), (flipped, 2000), (exchanged, 0), (linked, 0), (pickled, 0), (second_name, 0),
    (piped, 0), (open_to_all, 0),
]  # fmt: skip


@pytest.mark.parametrize(
    ("damage", "where"), DAMAGES, ids=lambda value: getattr(value, "__name__", str(value))
)
def test_damaged_entries_are_built_again(
    cold: Answer, golden: Golden, place: Path, damage: Callable[[Path, int], None], where: int
) -> None:
    for number, path in enumerate(entries(place)):
        damage(path, where or number)
    answer = golden()
    assert answer["numbers"] == cold["numbers"]
    assert all(outcome.startswith("miss: ") for outcome in answer["outcomes"])
    assert len(answer["warnings"]) == 1
    assert "was damaged and is removed" in answer["warnings"][0]
    assert not (place / "bang").exists()
    healed = golden()
    assert (healed["outcomes"], healed["warnings"]) == (HIT, [])
    assert healed["numbers"] == cold["numbers"]


def test_files_that_are_no_entries_are_let_be(cold: Answer, golden: Golden, place: Path) -> None:
    names = ["notes.txt", "x.entry", f"{'0' * 64}{SUFFIX}", ".hidden"]
    for name in names:
        (place / name).write_text("nothing")
    warm = golden()
    assert (warm["outcomes"], warm["warnings"]) == (HIT, [])
    assert warm["numbers"] == cold["numbers"]
    assert all((place / name).exists() for name in names)


# -- folders that cannot be used ------------------------------------------------------------------


def uncached(answer: Answer, cold: Answer, words: str) -> None:
    assert answer["numbers"] == cold["numbers"]
    assert answer["outcomes"] == ["", ""]
    assert len(answer["warnings"]) == 1
    assert words in answer["warnings"][0]
    assert "GRAPHJIT_CACHE=off" in answer["warnings"][0]


def test_a_folder_that_all_can_write_is_not_read(cold: Answer, golden: Golden, place: Path) -> None:
    place.chmod(0o777)
    uncached(golden(), cold, "can be written by others")


def test_a_folder_of_another_user_is_not_read(cold: Answer, golden: Golden) -> None:
    other = "import os\nreal = os.geteuid()\nos.geteuid = lambda: real + 1"
    uncached(golden(other), cold, "belongs to another user")


def test_a_folder_that_cannot_be_made(cold: Answer, golden: Golden, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    where = str(tmp_path / "file" / "cache")
    uncached(golden(GRAPHJIT_CACHE_DIR=where), cold, "cannot be made")


def test_a_full_disk(cold: Answer, golden: Golden, tmp_path: Path) -> None:
    full = "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (200, 200))"
    where = tmp_path / "full"
    answer = golden(full, GRAPHJIT_CACHE_DIR=str(where))
    assert answer["numbers"] == cold["numbers"]
    assert all("not kept" in outcome for outcome in answer["outcomes"])
    assert len(answer["warnings"]) == 1
    assert "cannot be written" in answer["warnings"][0]
    assert list(where.iterdir()) == []


def test_a_folder_that_becomes_unreadable(cold: Answer, golden: Golden, place: Path) -> None:
    away = f"import shutil\nshutil.rmtree({str(place)!r})"
    answer = golden(then=f"graphjit.cache\n{away}" if False else away)
    assert answer["numbers"] == cold["numbers"]
    assert answer["warnings"] == []
    assert golden()["outcomes"] == HIT
