"""What is built and installed is the tree as it stands, under the names that users import."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("setuptools", minversion="77", reason="building a wheel needs setuptools")

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = {"graphjit": "graphjit", "ir": "graphjit/ir", "passes": "graphjit/passes"}
FILES = ("pyproject.toml", "README.md", "LICENSE")
BUILD = "import setuptools.build_meta as b, sys; print(b.build_{kind}(sys.argv[1]))"
WHERE = """
import graphjit.ir, graphjit.passes, importlib.util, sys
assert not [name for name in ("ir", "passes") if importlib.util.find_spec(name)]
print(graphjit.__file__, graphjit.ir.__file__, graphjit.passes.__file__, sep="\\n")
"""


def shipped() -> Iterator[str]:
    """The files of the tree that a wheel must hold, as it names them."""
    for folder, target in FOLDERS.items():
        for where, _, names in os.walk(ROOT / folder):  # does not enter graphjit/ir -> ../ir
            inside = Path(where).relative_to(ROOT / folder)
            if "__pycache__" not in inside.parts:
                yield from ((target / inside / n).as_posix() for n in names if n[0] != ".")


def python(code: str, *args: str | Path, cwd: Path, path: Path | None = None) -> str:
    """What a new Python process in `cwd` prints; its own words are the message if it fails."""
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    if path:
        env["PYTHONPATH"] = str(path)
    command = [sys.executable, "-c", code, *map(str, args)]
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def build(kind: str, tree: Path, out: Path) -> Path:
    """Build a wheel or an sdist of `tree` into the folder `out`, with nothing from a network."""
    return out / python(BUILD.format(kind=kind), out, cwd=tree).splitlines()[-1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel that is built from the sdist, so that either one's missing file is seen here."""
    tmp = tmp_path_factory.mktemp("build")
    for folder in FOLDERS:
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / folder, tmp / "tree" / folder, symlinks=True, ignore=ignore)
    for name in FILES:
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, tmp / "tree")
    with tarfile.open(build("sdist", tmp / "tree", tmp)) as sdist:
        sdist.extraction_filter = getattr(tarfile, "data_filter", None)  # Python 3.11.4 and newer
        sdist.extractall(tmp / "sdist")
    (unpacked,) = (tmp / "sdist").iterdir()
    return zipfile.ZipFile(build("wheel", unpacked, tmp))


def test_the_wheel_holds_the_tree(wheel: zipfile.ZipFile) -> None:
    held = {n for n in wheel.namelist() if ".dist-info/" not in n}
    missing, extra = set(shipped()) - held, held - set(shipped())
    assert not missing, f"add to packages or package-data in pyproject.toml: {sorted(missing)}"
    assert not extra, f"not in the tree: {sorted(extra)}"
    assert "graphjit/py.typed" in held


def test_the_wheel_installs_one_package(wheel: zipfile.ZipFile) -> None:
    tops = {n.split("/")[0] for n in wheel.namelist()}
    assert {t for t in tops if not t.endswith(".dist-info")} == {"graphjit"}


def test_the_wheel_imports(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    wheel.extractall(tmp_path / "site")
    found = python(WHERE, cwd=tmp_path, path=tmp_path / "site").splitlines()
    assert all(Path(file).is_relative_to(tmp_path / "site") for file in found), found


def test_the_tree_imports_from_another_folder(tmp_path: Path) -> None:
    found = [Path(file).resolve() for file in python(WHERE, cwd=tmp_path).splitlines()]
    assert found == [ROOT / folder / "__init__.py" for folder in FOLDERS], (
        "the tests run against another copy; install this one: pip install --editable ."
    )


@pytest.mark.parametrize("name", ["ir", "passes"])
def test_the_tree_shows_editors_what_is_installed(name: str) -> None:
    link = ROOT / "graphjit" / name
    assert link.is_symlink()
    assert link.readlink() == Path("..", name)
