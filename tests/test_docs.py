"""The pages are true: their Python runs, and prints what they say it prints.

The ``python`` blocks of a page run in turn, as one module ``model.py``; a ``text`` block that
follows one is what that block prints, or the error it raises. Durations and rates may differ.
``python tests/test_docs.py`` writes the present output and the table of flags into the pages.
"""

import contextlib
import io
import linecache
import os
import re
import sys
import tempfile
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

from graphjit import flags
from graphjit.errors import GraphJITError

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?", re.MULTILINE | re.DOTALL)
TABLE = re.compile(r"^\| variable .*?\n(?=\n|\Z)", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?:)([^)#]+)(#[^)]*)?\)")
MEASURED = re.compile(r"\d[\d,.]*(?= (?:ms|s|steps a second)\b)")
MODULE = "model"


class Page:
    """Runs the blocks of a page as one module in the working folder."""

    def __init__(self) -> None:
        self.module = types.ModuleType(MODULE)
        self.lines: list[str] = []

    def run(self, block: str) -> str:
        """What the block prints; an error of the library's own counts as printed."""
        start = len(self.lines)
        self.lines += block.splitlines(keepends=True)
        file = f"{MODULE}.py"
        linecache.cache[file] = (len(self.lines), None, self.lines, file)
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            try:
                exec(compile("\n" * start + block, file, "exec"), vars(self.module))
            except GraphJITError as error:
                printed.write(f"{type(error).__name__}: {error}")
        return "\n".join(line.rstrip() for line in printed.getvalue().splitlines()) + "\n"


@contextlib.contextmanager
def page() -> Iterator[Page]:
    """A page's module, importable by its name as long as it runs."""
    made = Page()
    sys.modules[MODULE] = made.module
    try:
        with flags.override(cache=False, tier="best"):  # also where this file is run as a program
            yield made
    finally:
        del sys.modules[MODULE], linecache.cache[f"{MODULE}.py"]


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_its_code_prints_what_it_says(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with page() as running:
        for block, expected in BLOCK.findall(path.read_text(encoding="utf-8")):
            printed = running.run(block)
            told = f"python tests/test_docs.py rewrites the output in {name(path)}"
            assert MEASURED.sub("#", printed).strip() == MEASURED.sub("#", expected).strip(), told


@pytest.mark.parametrize("path", [*PAGES, *ROOT.glob("*.md")], ids=name)
def test_its_links_lead_somewhere(path: Path) -> None:
    for target, _ in LINK.findall(path.read_text(encoding="utf-8")):
        assert (path.parent / target).exists(), target


def test_the_table_of_flags_is_that_of_the_code() -> None:
    text = (ROOT / "docs" / "flags.md").read_text(encoding="utf-8")
    assert [table.strip() for table in TABLE.findall(text)] == [flags.table()]


def refreshed(text: str) -> str:
    """The page with its present output and table."""
    with page() as running:

        def shown(match: re.Match[str]) -> str:
            printed, told = running.run(match[1]), match[2]
            same = told is not None and MEASURED.sub("#", printed) == MEASURED.sub("#", told)
            output = f"\n```text\n{told if same else printed}```\n" if printed.strip() else ""
            return f"```python\n{match[1]}```\n{output}"

        text = BLOCK.sub(shown, text)
    return TABLE.sub(lambda _: flags.table() + "\n", text)


if __name__ == "__main__":
    for each in PAGES:
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            each.write_text(refreshed(each.read_text(encoding="utf-8")), encoding="utf-8")
