"""Every example runs as a user would run it, and asserts its own claims."""

import os
import re
import runpy
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from graphjit import certify
from graphjit.flags import override

EXAMPLES = {path.stem: path for path in (Path(__file__).parent.parent / "examples").glob("*.py")}
PICTURES = {
    "digits": ["some/where/digits-graph.svg", "some/where/digits-loss.png"],
    "logistic_regression": ["demo-output/logistic-regression.png"],
}
PRINTED = {
    "bundle_adjustment": (r"shape \(24, 45\), 29% of it", r"difference quotient: \de-(09|1\d)"),
    "convnet": (
        r"native loop +[\d,]+ steps a second",
        r"accuracy +9[789]\.\d% of 450 held-out digits",
    ),
    "export_step": (r"int step\(const double \*params", r"in Python: loss 0\.\d+ after 400 steps"),
    "gaussian_mixture": (r"means +reverse +3 .* ok", r"all agree\n", r"-367\.9 -> -12\d\.\d"),
    "hand_tracking": (r"pose found to \de-1\d in \d+ evaluations",),
    "lstm": (r"loss \d\.\d+ -> \d\.\d+",),
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


@pytest.mark.parametrize(
    ("name", "function", "arguments", "argnums"),
    [
        ("bundle_adjustment", "residuals", "cameras points weights which features", (1, 2)),
        ("hand_tracking", "residuals", "pose vertices weights measured", (0, 1, 2)),
        ("lstm", "loss", "params state sequence", (0, 1)),
    ],
)
def test_its_objective_is_certified(
    name: str, function: str, arguments: str, argnums: tuple[int, ...]
) -> None:
    """Gaussian mixture certifies itself. The first camera's angle is 0: differences warn there."""
    with override(jit=False):  # small programs: compiling them would take most of the time
        example = runpy.run_path(str(EXAMPLES[name]))
        args = tuple(example[argument] for argument in arguments.split())
        certificate = certify(example[function], args, argnums=argnums, entries=1)
    assert certificate.passed, certificate
    found = [c for c in certificate.comparisons if c.method in ("reverse", "forward", "mpmath")]
    assert all(c.agrees and c.ulps is not None and c.ulps < 50 for c in found), certificate
