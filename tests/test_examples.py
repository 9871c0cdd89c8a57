"""Every example runs as a user would run it, and asserts its own claims."""

import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

EXAMPLES = {path.stem: path for path in (Path(__file__).parent.parent / "examples").glob("*.py")}
PICTURES = {
    "digits": ["some/where/digits-graph.svg", "some/where/digits-loss.png"],
    "logistic_regression": ["demo-output/logistic-regression.png"],
}
PRINTED = {
    "digits": (
        r"compile time +\d+\.\d s",
        r"native loop +[\d,]+ steps a second",
        r"NumPy by hand +[\d,]+ steps a second; same result, to \de-1\d",
        r"accuracy +9\d\.\d% of 450 held-out digits",
    ),
    "logistic_regression": (r"gradient descent.* converged after", r"mini-batch SGD.* 9\d\.\d%"),
    "per_example_clipping": (
        r"norms +.* 30 numbers an example\n",
        r"clipped +.* 30 numbers an example\n",
        r"stored +.* 600 numbers an example\n",
        r"same sum, to \de-1\d",
    ),
    "quiz1": (
        r"y += 412.191457284121\n",
        r"dy/dx = 1208.38121512661\n",
        r"dy/dz = 809.707479218564\n",
    ),
    "symbolic_quiz": (
        r"\ndy/dz = x\*exp\(x\*z\) \+ x/log\(x\) - sin\(log\(x\)\)/\(x\*z\*\*2\)\n",
        r"\ndy/dx = 1208.38121512661 at",
        r"\ndy/dx = 1125899906842624\*x\*\*1125899906842623\n",
        r"\n 200 layers: +\d{5} characters\n",
    ),
    "quiz2": (r"largest difference from the closed form: \S+e-1\d",),
}
PNG = b"\x89PNG\r\n\x1a\n"


def run(name: str, folder: Path, *arguments: str) -> str:
    """What the example prints, run in an empty folder; its warnings are errors."""
    done = subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLES[name]), *arguments], cwd=folder,
        env={**os.environ, "MPLBACKEND": "Agg"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_it_runs_prints_and_writes_its_pictures(name: str, tmp_path: Path) -> None:
    assert len(EXAMPLES[name].read_text(encoding="utf-8").splitlines()) < 60
    text = run(name, tmp_path, *(["some/where"] if name == "digits" else []))
    for line in PRINTED.get(name, ()):
        assert re.search(line, text), text
    pictures = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    assert [str(p.relative_to(tmp_path)) for p in pictures] == PICTURES.get(name, [])
    for picture in pictures:
        if picture.suffix == ".svg":
            assert ET.parse(picture).getroot().tag.endswith("svg")
        else:
            assert picture.read_bytes().startswith(PNG)


def test_quiz1_visits_every_node_in_both_directions(tmp_path: Path) -> None:
    forward, backward = run("quiz1", tmp_path).split("backward")
    assert re.findall(r"^  v(\d+) =", forward, re.MULTILINE) == [str(i) for i in range(10)]
    assert re.findall(r"dy/dv(\d+) =", backward) == [str(i) for i in reversed(range(10))]
